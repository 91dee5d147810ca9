"""Feedback about a paid award, as a registry of ERC-8004 takes it. Pure: docs/spec/feedback.md, FB1 to FB4.

What is said is what was paid for: the share of the award's parts that were delivered and accepted, as the standard's
`successRate`. What proves it is the last acceptance, which the requester signed: the feedback's hash is its digest.
"""

from dataclasses import dataclass
from typing import Final

from protocol.errors import ProtocolError
from protocol.identity import Address, Digest, format_address
from protocol.signing.eip712 import Domain, digest
from protocol.task.objects import Acceptance
from protocol.units import WHOLE, Amount, Seconds, Uint32, UnixTime

AGENT_METHOD: Final = "reputation/agent"
"""An `AgentRequest`, at most `AGENT_MAX_BYTES`; the answer is an `AgentAnswer`, as small."""
AGENT_MAX_BYTES: Final = 64
TAG1: Final = "successRate"
TAG2: Final = "stoa"
DECIMALS: Final = 2
GIVEN_UP_AFTER: Final = Seconds(7 * 86_400)
"""From the award's end. So a node that begins to write feedback says nothing about the distant past."""


class NotPaid(ProtocolError):
    """Nothing was paid under this award, so there is nothing to say about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRequest:
    """Which agent are you in the registry of feedback at this address?"""

    registry: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentAnswer:
    """The agent's number, 32 bytes, big-endian; None if the node is none there. The registry is asked whether it is."""

    agent: Digest | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidAward:
    """An award that is over, and what was accepted under it.

    Attributes:
        award: Its digest.
        provider: Who was hired.
        parts: Of the award.
        paid_parts: Delivered and accepted.
        last_part: The last of them.
        receipt: Digest of its receipt.
        due: What all of them cost.
        ended_at: When nothing more could come of it.
    """

    award: Digest
    provider: Address
    parts: Uint32
    paid_parts: Uint32
    last_part: Uint32
    receipt: Digest
    due: Amount
    ended_at: UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """What is written: `value / 10**decimals` per cent, and its evidence."""

    value: int
    decimals: int
    tag1: str
    tag2: str
    uri: str
    hash: Digest


def make_feedback(domain: Domain, paid: PaidAward) -> Feedback:
    """Return what there is to say about an award.

    Raises:
        NotPaid: Nothing was paid under it.
    """
    if not 0 < paid.paid_parts <= paid.parts or paid.due <= 0:
        raise NotPaid(f"nothing was paid under award {paid.award.hex()}")
    accepted = Acceptance(award=paid.award, part=paid.last_part, receipt=paid.receipt, due=paid.due)
    market = f"eip155:{domain.chain_id}:{format_address(domain.verifying_contract)}"
    return Feedback(
        value=WHOLE * paid.paid_parts // paid.parts,
        decimals=DECIMALS,
        tag1=TAG1,
        tag2=TAG2,
        uri=f"stoa:{market}/award/0x{paid.award.hex()}/part/{paid.last_part}/receipt/0x{paid.receipt.hex()}",
        hash=digest(domain, accepted),
    )
