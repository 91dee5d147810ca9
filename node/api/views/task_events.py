"""What happens to a task, as `task watch` tells it."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from node.api.views.names import FinalState, RailName
from node.api.views.status import CountView
from node.api.views.tasks import PartView, RefutedView
from protocol.identity import Address, Digest
from protocol.units import Amount, UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class AuctionOpened:
    """The offer is out.

    Attributes:
        verification: How results are checked, in words.
        warning: Why nothing deters a provider from cheating; empty if something does.
    """

    kind: Literal["auction-opened"] = "auction-opened"
    at: UnixTime
    format: str
    budget: Amount
    parts: int
    max_eta_s: int
    commit_by: UnixTime
    reveal_by: UnixTime
    copies: int = 1
    verification: str = ""
    warning: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BidderCommitted:
    """A sealed bid came in; `count` with this one."""

    kind: Literal["bidder-committed"] = "bidder-committed"
    at: UnixTime
    bidder: Address
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RollSigned:
    """Who takes part is fixed."""

    kind: Literal["roll-signed"] = "roll-signed"
    at: UnixTime
    bidders: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BidRevealed:
    """A bid was opened."""

    kind: Literal["bid-revealed"] = "bid-revealed"
    at: UnixTime
    bidder: Address
    price: Amount
    eta_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WinnerChosen:
    """A provider was chosen. `attempt` above 0: it is a standby for the parts from `first_part` on."""

    kind: Literal["winner-chosen"] = "winner-chosen"
    at: UnixTime
    provider: Address
    price: Amount
    attempt: int
    first_part: int
    parts: int
    award: Digest
    rail: RailName
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RailFunded:
    """The money is promised, by a hold in a channel or an escrow."""

    kind: Literal["rail-funded"] = "rail-funded"
    at: UnixTime
    rail: RailName
    amount: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkStarted:
    """The provider holds all inputs and is bound."""

    kind: Literal["work-started"] = "work-started"
    at: UnixTime
    provider: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class PartProgress:
    """How far a part is, as its provider says. With several copies, each provider tells of its own."""

    kind: Literal["part-progress"] = "part-progress"
    at: UnixTime
    provider: Address
    part: int
    fuel: int
    fuel_limit: int
    bytes_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PartDelivered:
    """A receipt passed every check and its output is here; its payment is under way."""

    kind: Literal["part-delivered"] = "part-delivered"
    at: UnixTime
    part: PartView
    spent: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderFailed:
    """The provider did not start, fell silent or broke a rule; a standby is looked for."""

    kind: Literal["provider-failed"] = "provider-failed"
    at: UnixTime
    provider: Address
    reason: str
    missing_parts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptRefuted:
    """A receipt was found to be different from what the part gives: it is not paid, its provider replaced."""

    kind: Literal["receipt-refuted"] = "receipt-refuted"
    at: UnixTime
    refuted: RefutedView
    missing_parts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEnded:
    """The last event of every task.

    Attributes:
        reason: Why it failed; empty if it is done.
        advice: What to change; may be empty.
        sellers_heard: How many nodes committed to a bid.
        refusals: Reasons for which nodes did not bid, as far as they are known.
    """

    kind: Literal["task-ended"] = "task-ended"
    at: UnixTime
    state: FinalState
    reason: str
    advice: str
    spent: Amount
    paid_parts: int
    sellers_heard: int
    refusals: tuple[CountView, ...]


TaskEvent: TypeAlias = (
    AuctionOpened
    | BidderCommitted
    | RollSigned
    | BidRevealed
    | WinnerChosen
    | RailFunded
    | WorkStarted
    | PartProgress
    | PartDelivered
    | ProviderFailed
    | ReceiptRefuted
    | TaskEnded
)
