"""Cases about this node's own tasks and work."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from protocol.identity import Address, Digest
from protocol.units import Amount, UnixTime

DisputeState: TypeAlias = Literal["held", "open", "won", "lost", "undecided", "given-up"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DisputeView:
    """A case, before the court or on its way there.

    Attributes:
        role: What this node is in it.
        opened_by_us: Whether this node opened it; None while nobody has.
        part: What it is about; None while nobody knows.
        round: From 0; None before the first.
        deadline: Last second of an appeal of this round, and the case can be closed after it; None if it isn't open.
        finding: What the current round, or the whole case, found; empty while nothing is decided.
        due: What the award is worth by that finding.
        price: What it would have been worth at most.
        liability: What of the provider's stake answers for it, if it was locked.
        bonds: What this node has put down.
        reason: Why it went to court, or why it did not.
        problem: What is in the way of the next step; empty if nothing is.
    """

    award: Digest
    role: Literal["requester", "provider"]
    peer: Address
    state: DisputeState
    opened_by_us: bool | None
    part: int | None
    round: int | None
    deadline: UnixTime | None
    finding: str
    due: Amount | None
    price: Amount
    liability: Amount
    bonds: Amount
    reason: str
    problem: str
