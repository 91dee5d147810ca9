"""Starts, receipts and acceptances, checked before anything is built on them (docs/spec/bill.md, section 3).

Both sides compute the bill with `amount_due`; a receipt that says anything else is refused, so there is nothing to
haggle about. `Progress` is how far an award has come: which part is next, and the running total so far (C6).
"""

from dataclasses import dataclass, replace

from protocol.errors import ProtocolError
from protocol.identity import ContentDigest, Digest
from protocol.market.objects import Award
from protocol.settlement.deadlines import is_over
from protocol.signing.eip712 import Domain
from protocol.signing.signed import Signed, verify_signer
from protocol.task.manifest import Manifest
from protocol.task.objects import Acceptance, Receipt, Start
from protocol.task.outcome import OutcomeClass, classify, describe, is_success
from protocol.task.pricing import Rates, Usage, award_part_price, due_for_part, usage_at_limits
from protocol.task.verification import ByTest, Verification
from protocol.units import Amount, Uint8, format_amount


class WrongAward(ProtocolError):
    """A signed object that speaks of another award."""


class PartOutOfOrder(ProtocolError):
    """A part that is not the next one: parts are delivered, then paid, in order (M2)."""


class UsageAboveLimits(ProtocolError):
    """A receipt for more than the part could have used."""


class WrongUsage(ProtocolError):
    """A receipt with a figure that contradicts the manifest or the outcome."""


class NothingDue(ProtocolError):
    """A receipt for a run that nothing is due for under a test: there is nothing to accept (TM6)."""


class WrongDue(ProtocolError):
    """A running total that the bill does not give."""

    def __init__(self, *, claimed: Amount, expected: Amount) -> None:
        super().__init__(
            f"the total due is given as {format_amount(claimed)}, the bill makes {format_amount(expected)}"
        )
        self.claimed, self.expected = claimed, expected


class DeliveryMismatch(ProtocolError):
    """The bytes delivered are not the ones that the receipt names."""


class AcceptanceMismatch(ProtocolError):
    """An acceptance that does not answer the receipt it should."""


class StartTooLate(ProtocolError):
    """A start dated after the award's `start_by`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an award has come.

    Attributes:
        next_part: Number, in the task, of the part that comes next.
        due: Total due for the parts before it, token base units.
    """

    next_part: int
    due: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a bill under one award is computed from; `award_id` is its digest, `policy` the offer's."""

    award: Award
    award_id: Digest
    manifest: Manifest
    rates: Rates
    policy: Verification

    @property
    def last_part(self) -> int:
        """Return the number of the award's last part in the task."""
        return self.award.first_part + self.award.parts - 1


def first_progress(award: Award) -> Progress:
    """Return where an award begins."""
    return Progress(next_part=award.first_part, due=Amount(0))


def is_complete(award: Award, progress: Progress) -> bool:
    """Tell whether every part of the award has its receipt."""
    return progress.next_part == award.first_part + award.parts


def amount_due(terms: Terms, progress: Progress, *, outcome: Uint8, usage: Usage) -> Amount:
    """Return the running total that the receipt of the next part must carry.

    Under a test a second run need not use the same, so nobody could check a bill by usage: what succeeds is due the
    part's price, everything else nothing (TM6). Whether the output is right the test says, and not the bill.

    Raises:
        InvalidPart: The award has no part left.
        UnknownOutcome: No outcome of this protocol version.
        InvalidRates: The part would be free at its limits.
    """
    part = progress.next_part
    price = award_part_price(terms.award, part)
    if isinstance(terms.policy, ByTest):
        return Amount(progress.due + (price if is_success(outcome) else 0))
    due = due_for_part(rates=terms.rates, manifest=terms.manifest, part=part, price=price, outcome=outcome, usage=usage)
    return Amount(progress.due + due)


def verify_start(domain: Domain, terms: Terms, signed: Signed[Start]) -> Digest:
    """Check a start, and return its id.

    Raises:
        BadSignature: Not the provider's.
        WrongAward: It starts something else.
        StartTooLate: Dated after `start_by`.
    """
    identity = verify_signer(domain, signed, terms.award.provider)
    _check_award(terms, signed.value.award)
    if is_over(terms.award.start_by, signed.value.at):
        raise StartTooLate(f"started at {signed.value.at}, the award allowed it until {terms.award.start_by}")
    return identity


def verify_receipt(
    domain: Domain, terms: Terms, progress: Progress, signed: Signed[Receipt]
) -> tuple[Digest, Progress]:
    """Check everything about a receipt that can be checked without running the part again.

    Args:
        domain: The market's.
        terms: The award and what its bill is computed from.
        progress: Where the award stood before this receipt.
        signed: The receipt.

    Returns:
        Its id, and where the award stands with it.

    Raises:
        BadSignature: Not the provider's.
        WrongAward: For another award.
        PartOutOfOrder: Not the next part, or none is left.
        UnknownOutcome: No outcome of this protocol version.
        UsageAboveLimits: A figure above the part's limit.
        WrongUsage: A figure that contradicts the manifest or the outcome.
        NothingDue: Under a test, for a run that did not succeed.
        WrongDue: Not what the bill gives.
        InvalidRates: The part would be free at its limits.
    """
    receipt = signed.value
    identity = verify_signer(domain, signed, terms.award.provider)
    _check_award(terms, receipt.award)
    if receipt.part != progress.next_part or receipt.part > terms.last_part:
        raise PartOutOfOrder(
            f"receipt for part {receipt.part}, expected {progress.next_part} (the last is {terms.last_part})"
        )
    usage = usage_of(receipt)
    if isinstance(terms.policy, ByTest) and not is_success(receipt.outcome):
        raise NothingDue(f"part {receipt.part} ended with: {describe(receipt.outcome)}; only an output can be tested")
    if classify(receipt.outcome) is not OutcomeClass.UNJUDGED:
        _check_usage(terms.manifest, receipt, usage)
    due = amount_due(terms, progress, outcome=receipt.outcome, usage=usage)
    if receipt.due != due:
        raise WrongDue(claimed=receipt.due, expected=due)
    return identity, replace(progress, next_part=receipt.part + 1, due=due)


def usage_of(receipt: Receipt) -> Usage:
    """Return the judged units of a receipt."""
    return Usage(fuel=receipt.fuel, peak_mib=receipt.peak_mib, bytes_in=receipt.bytes_in, bytes_out=receipt.bytes_out)


def verify_delivery(
    receipt: Receipt, *, output: ContentDigest, output_bytes: int, logs: ContentDigest, log_bytes: int
) -> None:
    """Check what came over the network against the receipt, before accepting it.

    Raises:
        DeliveryMismatch: Other bytes, or another number of them.
    """
    if output != receipt.output:
        raise DeliveryMismatch(f"the output of part {receipt.part} is not the one that its receipt names")
    if logs != receipt.logs:
        raise DeliveryMismatch(f"the logs of part {receipt.part} are not the ones that its receipt names")
    if output_bytes + log_bytes != receipt.bytes_out:
        raise DeliveryMismatch(
            f"part {receipt.part} is billed for {receipt.bytes_out} bytes out, but {output_bytes + log_bytes} came"
        )


def verify_acceptance(
    domain: Domain, terms: Terms, receipt_id: Digest, receipt: Receipt, signed: Signed[Acceptance]
) -> Digest:
    """Check that an acceptance answers the receipt `receipt_id`, and return its id.

    Raises:
        BadSignature: Not the requester's.
        WrongAward: For another award.
        AcceptanceMismatch: For another receipt, part or total.
    """
    acceptance = signed.value
    identity = verify_signer(domain, signed, terms.award.requester)
    _check_award(terms, acceptance.award)
    if acceptance.receipt != receipt_id:
        raise AcceptanceMismatch("the acceptance names another receipt")
    if acceptance.part != receipt.part:
        raise AcceptanceMismatch(f"the acceptance is for part {acceptance.part}, the receipt for {receipt.part}")
    if acceptance.due != receipt.due:
        raise AcceptanceMismatch(
            f"the acceptance owes {format_amount(acceptance.due)}, the receipt asks {format_amount(receipt.due)}"
        )
    return identity


def _check_award(terms: Terms, named: Digest) -> None:
    if named != terms.award_id:
        raise WrongAward(f"it names award {named.hex()}, not {terms.award_id.hex()}")


def _check_usage(manifest: Manifest, receipt: Receipt, usage: Usage) -> None:
    most = usage_at_limits(manifest, receipt.part)
    kind = classify(receipt.outcome)
    for name in ("fuel", "peak_mib", "bytes_out"):
        used, limit = getattr(usage, name), getattr(most, name)
        if used > limit:
            raise UsageAboveLimits(f"part {receipt.part}: {name} is {used}, the manifest allows {limit}")
    if usage.bytes_in != most.bytes_in:
        raise WrongUsage(f"part {receipt.part}: bytes_in is {usage.bytes_in}, its inputs have {most.bytes_in}")
    if kind is OutcomeClass.LEAKY and usage.fuel != most.fuel:
        raise WrongUsage(
            f"part {receipt.part}: a leaky trap is billed in full, but the receipt states {usage.fuel} fuel"
        )
