"""Cases about this node's own tasks and work."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from node.api.views.names import RailName
from protocol.identity import Address, Digest
from protocol.units import Amount, UnixTime

DisputeState: TypeAlias = Literal["held", "open", "won", "lost", "undecided", "given-up"]
DisputeStage: TypeAlias = Literal["", "drawing", "voting", "appeal", "closing", "closed"]
FindingName: TypeAlias = Literal[
    "", "upheld", "wrong result", "overbilled", "output missing", "inputs missing", "not judged", "no decision"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class DisputeView:
    """A case, before the court or on its way there.

    Attributes:
        role: What this node is in it.
        opened_by_us: Whether this node opened it; None while nobody has.
        ordered: Whether a user ordered what comes next by hand: the case, or an appeal of this round.
        part: What it is about; None while nobody knows.
        round: From 0; None before the first.
        stage: How far the round is, as far as the chain was seen; empty without an open case.
        seats, votes: How many sit in this round, and how many of them have voted on the chain; None without a case.
        deadline: Last second of an appeal of this round, and the case can be closed after it; None if it isn't open.
        finding: What the current round, or the whole case, found; empty while nothing is decided.
        due: What the award is worth by that finding.
        claimed: What the provider's receipt asks for in all; None if none is here.
        price: What it would have been worth at most.
        liability: What of the provider's stake answers for it, if it was locked.
        fee: The dispute fee, which the loser pays, and the bond of the first round.
        bonds: What this node has put down.
        reason: Why it went to court, or why it did not.
        next: What happens next, and by whom, in words; empty if nothing does.
        next_by: Until when at the latest; None if that is not known.
        problem: What is in the way of the next step; empty if nothing is.
    """

    award: Digest
    role: Literal["requester", "provider"]
    peer: Address
    state: DisputeState
    opened_by_us: bool | None
    ordered: bool
    part: int | None
    round: int | None
    stage: DisputeStage
    seats: int | None
    votes: int | None
    deadline: UnixTime | None
    finding: str
    due: Amount | None
    claimed: Amount | None
    price: Amount
    liability: Amount
    fee: Amount
    bonds: Amount
    reason: str
    next: str
    next_by: UnixTime | None
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DisputeEnd:
    """One way a case can end.

    Attributes:
        finding: What the court finds; empty if this node does nothing now.
        to_provider: What the provider is paid for the work; with "overbilled" at most.
        from_stake: What the provider's stake loses.
        own: What this node has more than now, its bond counted; below zero for less. What the receipt asks for counts
            as nobody's until it is paid.
    """

    finding: FindingName
    to_provider: Amount
    from_stake: Amount
    own: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DisputeQuote:
    """A case, or an appeal, before it is ordered.

    Attributes:
        role: What this node is in it.
        rail: What pays the award.
        round: The round that is asked for: 0 for a new case.
        seats: How many arbiters it has.
        part: What it is about.
        claimed: What the provider's receipt asks for in all; what was accepted or paid of it stays so.
        bond: What this node puts down for it.
        until: The last second at which the contract takes it.
        liability: What of the provider's stake is locked for the award.
        expected: What this node thinks that the court finds; empty if it can't tell.
        found: How it knows, or why it can't, in words.
        warning: Why there is nothing to gain, as far as it can tell; then only `anyway` orders it. Empty if there is.
        notes: What else to know.
        otherwise: What comes if this node does nothing.
        ends: Every way in which it can end.
    """

    award: Digest
    role: Literal["requester", "provider"]
    peer: Address
    rail: RailName
    round: int
    seats: int
    part: int
    claimed: Amount
    bond: Amount
    until: UnixTime
    liability: Amount
    expected: FindingName
    found: str
    warning: str
    notes: tuple[str, ...]
    otherwise: DisputeEnd
    ends: tuple[DisputeEnd, ...]
