"""How a requester makes sure that results are right, and what makes cheating a loss (docs/spec/bill.md, section 4).

The policy is the requester's, its digest stands in the offer. An audit is drawn after the receipt exists, from a secret
that was sealed before it: the provider can't tell which receipt will be audited, the requester can't pick one.
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

from protocol.errors import ProtocolError
from protocol.identity import Digest
from protocol.signing.keccak import keccak256
from protocol.task.manifest import MAX_FUEL, MAX_MEMORY_MIB, Blob
from protocol.units import WHOLE, Amount, BasisPoints, Uint16, Uint32, Uint64, format_amount
from protocol.wire.codec import decode_as, encode, tagged

VERIFICATION_MAX_BYTES: Final = 64
SECRET_BYTES: Final = 32
FLOOR_BPS: Final = BasisPoints(2_000)
"""The least liability against a budget below which a node warns in any case (L5): 20 %."""
MOST_TIMES: Final = 4
"""How many times as often as the best provider the worst is audited."""


class InvalidVerification(ProtocolError):
    """A policy that means nothing, or bytes that are not the policy which the offer names."""


class SealMismatch(ProtocolError):
    """A revealed secret that is not the one that was sealed in the award."""


@tagged(1)
@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Nothing is checked beyond the receipt's own arithmetic."""


@tagged(2)
@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """Each receipt is run again with probability `rate` at least, drawn by the sealed secret; 1 to 10,000 basis points.

    How much more often, `adapt_rate` says from the reputation in the roll.
    """

    rate: BasisPoints

    def __post_init__(self) -> None:
        if not 0 < self.rate <= WHOLE:
            raise InvalidVerification(f"an audit rate is 1 to {WHOLE} basis points, not {self.rate}")


@tagged(3)
@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """`count` providers run the same parts, at least two; receipts stay private until all are in."""

    count: Uint16

    def __post_init__(self) -> None:
        if self.count < 2:
            raise InvalidVerification(f"comparing takes at least 2 copies, not {self.count}")


@tagged(4)
@dataclass(frozen=True, slots=True, kw_only=True)
class ByTest:
    """A deterministic module judges what goes in and what comes out of every part, so the part itself need not be (L2).

    Attributes:
        module: The test. It runs on the task's engine, as `protocol.task.testing` says.
        fuel: What a run of it may use.
        memory_mib: Its linear memory at most, MiB.
    """

    module: Blob
    fuel: Uint64
    memory_mib: Uint32

    def __post_init__(self) -> None:
        if not 0 < self.fuel <= MAX_FUEL:
            raise InvalidVerification(f"a test's fuel limit of {self.fuel}; allowed are 1 to {MAX_FUEL}")
        if not 0 < self.memory_mib <= MAX_MEMORY_MIB:
            raise InvalidVerification(f"a test's memory of {self.memory_mib} MiB; allowed are 1 to {MAX_MEMORY_MIB}")


Verification: TypeAlias = Trust | Audit | Copies | ByTest


@dataclass(frozen=True, slots=True, kw_only=True)
class Lot:
    """What decides which receipts under one award are audited: known to the requester alone until the award's end."""

    secret: Digest
    rate: BasisPoints

    def falls_on(self, receipt: Digest) -> bool:
        """Tell whether `receipt` is to be audited."""
        return is_audited(self.secret, receipt, self.rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deterrence:
    """Whether a cheat loses more than it gains on average (L5).

    Attributes:
        deters: Whether the rule holds. If not, the node warns and records it.
        needed: The least liability with which it would hold; None if no liability is enough (nothing is checked).
        reason: Why, in words.
    """

    deters: bool
    needed: Amount | None
    reason: str


def verification_digest(policy: Verification) -> Digest:
    """Return the `verification` of an offer: the keccak of the policy's canonical encoding."""
    return keccak256(encode(policy, Verification))


def encode_verification(policy: Verification) -> bytes:
    """Return the bytes that travel with the offer."""
    return encode(policy, Verification)


def decode_verification(data: bytes, expected: Digest) -> Verification:
    """Read the policy that an offer names.

    Raises:
        InvalidVerification: Not the bytes that the offer names, or a policy that means nothing.
        DecodeError: Not a policy that this version knows.
    """
    if keccak256(data) != expected:
        raise InvalidVerification("these bytes are not the verification policy that the offer names")
    policy: Verification = decode_as(Verification, data, max_bytes=VERIFICATION_MAX_BYTES)
    return policy


def adapt_rate(rate: BasisPoints, reputation: Uint16) -> BasisPoints:
    """Return how often a provider of this reputation is audited under a policy of `rate`.

    It falls in a straight line from four times the rate at reputation 0 to the rate itself at 10,000, rounded up: it
    never reaches zero, and what deters at `rate` deters everybody.

    Args:
        rate: The policy's, 1 to 10,000.
        reputation: As the roll states it, 0 to 10,000, so the provider can compute the same.

    Returns:
        `rate` to 10,000 basis points.
    """
    assert 0 < rate <= WHOLE
    assert 0 <= reputation <= WHOLE
    scaled = rate * (WHOLE + (MOST_TIMES - 1) * (WHOLE - reputation))
    return BasisPoints(min(WHOLE, -(-scaled // WHOLE)))


def copies_of(policy: Verification) -> int:
    """Return the `copies` that an offer with this policy must carry."""
    return policy.count if isinstance(policy, Copies) else 1


def blobs_of(policy: Verification) -> tuple[Blob, ...]:
    """Return what a provider, and whoever judges, needs besides the blobs of the manifest."""
    return (policy.module,) if isinstance(policy, ByTest) else ()


def seal(secret: bytes) -> Digest:
    """Return the `auditSeal` of an award: the keccak of 32 secret bytes.

    Raises:
        InvalidVerification: Not 32 bytes. A short secret could be guessed.
    """
    if len(secret) != SECRET_BYTES:
        raise InvalidVerification(f"an audit secret has {SECRET_BYTES} bytes, this has {len(secret)}")
    return keccak256(secret)


def is_audited(secret: bytes, receipt: Digest, rate: BasisPoints) -> bool:
    """Tell whether the lot falls on `receipt`: uint(keccak(secret, receipt)) mod 10000 < rate."""
    return int.from_bytes(keccak256(secret + receipt)) % WHOLE < rate


def verify_seal(audit_seal: Digest, secret: bytes) -> None:
    """Check a revealed secret against the award's seal.

    Raises:
        SealMismatch: Another secret than the sealed one.
        InvalidVerification: Not 32 bytes.
    """
    if seal(secret) != audit_seal:
        raise SealMismatch("the revealed audit secret is not the one that the award sealed")


def verify_lot(audit_seal: Digest, secret: bytes, receipt: Digest, rate: BasisPoints) -> bool:
    """Check a revealed secret against the award's seal, and tell whether `receipt` was to be audited.

    Raises:
        SealMismatch: Another secret than the sealed one.
        InvalidVerification: Not 32 bytes.
    """
    verify_seal(audit_seal, secret)
    return is_audited(secret, receipt, rate)


def describe_policy(policy: Verification) -> str:
    """Say in words how results are checked."""
    match policy:
        case Trust():
            return "trust: nothing is checked"
        case Audit(rate=rate):
            return f"audit: {rate / 100:g} % of the receipts or more are run again"
        case Copies(count=count):
            return f"copies: {count} providers do the work, and their results are compared"
        case ByTest(module=module):
            return f"test: every output is judged by the module {module.digest.hex()[:16]}"


def assess_deterrence(policy: Verification, *, price: Amount, liability: Amount, budget: Amount) -> Deterrence:
    """Judge whether `liability` deters from cheating on an award of `price` under `policy` (L5).

    A cheat that is audited with probability p gains `price` with 1 - p and loses `liability` with p, so it must hold
    that `liability >= price * (1 - p) / p`. Below a fifth of the budget the node warns whatever the policy,
    unless every receipt is audited or tested: then a cheat is never paid, and small tasks lock no liability.
    """
    floor = -(-budget * FLOOR_BPS // WHOLE)
    match policy:
        case Trust():
            return Deterrence(
                deters=False, needed=None, reason="nothing is checked, so a wrong result is never noticed"
            )
        case Copies(count=count):
            needed, why = floor, f"{count} copies are compared"
        case ByTest():
            needed, why = 0, "every output is tested before it is paid"
        case Audit(rate=rate):
            needed = 0 if rate == WHOLE else max(floor, -(-price * (WHOLE - rate) // rate))
            why = f"at least {rate / 100:g} % of the receipts are audited"
    deters = liability >= needed
    verb = "deters" if deters else "does not deter"
    reason = f"{why}; a liability of {format_amount(liability)} {verb}, {format_amount(needed)} is needed"
    return Deterrence(deters=deters, needed=Amount(needed), reason=reason)
