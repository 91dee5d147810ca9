"""One dispute as a party of it goes through it, requester or provider. Pure: docs/spec/parties.md.

Theory. A case is the court's, so a state here changes on the court's confirmed facts alone; what the party adds is one
conviction, formed before: the requester's own run of the part, or the provider's own receipt. All it does follows
from the state, that conviction and what is seen of the chain now (`Sight`), so `next_act` computes it afresh each time,
and what was done twice is refused by the contract and harms nobody.

    state   condition                                                           act
    -----   ---------                                                           ---
    Held    channel, until deliverBy + 2*pace                                   OpenCase
    Held    escrow, the claim is disputed and there is time to judge            OpenCase
    Held    the bond is above what we put down; it is too late                  Abandon
    Open    decided against us and our conviction, within the appeal's time     AppealCase
    Open    that time is over: who opened it at once, the other a little later   CloseCase

    state   event          next
    Held    CaseBegan      Open          by us, or by the other side before us
    Held    Abandoned      GivenUp
    Open    VoteCarried    Open          what the round decided
    Open    RoundAsked     Open          the next round, undecided
    Open    CaseEnded      Closed
    any     EvidenceFound  same          a conviction that was formed later

A fact that is told again, or of a round that is over, changes nothing.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Final, TypeAlias

from protocol.dispute.bond import bond_of
from protocol.dispute.case import Appealed, CaseClosed, CaseFact, CaseOpened, Round, RoundDecided, Stage
from protocol.dispute.objects import Finding, Vote
from protocol.dispute.schedule import SEATS
from protocol.identity import ZERO_DIGEST, Address, Digest
from protocol.market.objects import Award, Offer
from protocol.settlement.deadlines import deadlines_of, is_open, is_over
from protocol.signing.signed import Signed
from protocol.task.audit import Rerun
from protocol.task.objects import Receipt
from protocol.units import Amount, Uint8, Uint32, UnixTime
from protocol.wire.codec import MaxLen, tagged

Reason: TypeAlias = Annotated[str, MaxLen(512)]

LAST_ROUND: Final = len(SEATS) - 1
_AGAINST_PROVIDER: Final = frozenset((Finding.WRONG_RESULT, Finding.OVERBILLED, Finding.OUTPUT_MISSING))


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """What a party goes to court with; the first record of its stream.

    Attributes:
        award: The award; at most one case is ever about it.
        award_id: Its digest.
        offer: Its offer, which the court has to be shown.
        own: This party's address: the award's requester or its provider.
        receipt: What is disputed, as the provider signed it; None if it never came here.
        rerun: What the requester found when it ran the part itself; None if it did not, and on the provider's side.
        reason: Why, in words.
    """

    award: Award
    award_id: Digest
    offer: Offer
    own: Address
    receipt: Signed[Receipt] | None = None
    rerun: Rerun | None = None
    reason: Reason = ""

    @property
    def is_requester(self) -> bool:
        """Whether this party bought the work."""
        return self.own == self.award.requester

    @property
    def on_channel(self) -> bool:
        """Whether the award is paid over a channel."""
        return self.award.channel != ZERO_DIGEST

    @property
    def is_convinced(self) -> bool:
        """Whether this party knows the result itself: only then does it contradict a committee."""
        return (self.rerun if self.is_requester else self.receipt) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Nobody has opened a case yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """The court has it.

    Attributes:
        opener: Who asked for the first round.
        part, receipt: What it is about, as the court tells.
        number: The current round.
        vote: What that round decided; None before, or without a majority.
        bonds: What this party has put down in all.
    """

    opener: Address
    part: Uint32
    receipt: Digest
    bonds: Amount
    number: Uint8 = 0
    vote: Vote | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """All is paid. `finding` is NONE if no round decided anything; otherwise `due` is what the award is worth."""

    opener: Address
    part: Uint32
    number: Uint8
    finding: Finding
    due: Amount
    bonds: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenUp:
    """There was no case, and there can't be one any more."""

    reason: Reason


State: TypeAlias = Held | Open | Closed | GivenUp


@tagged(1)
@dataclass(frozen=True, slots=True, kw_only=True)
class CaseBegan:
    """The court has opened a case."""

    opener: Address
    part: Uint32
    receipt: Digest


@tagged(2)
@dataclass(frozen=True, slots=True, kw_only=True)
class VoteCarried:
    """More than half of the seats of a round gave this vote."""

    round: Uint8
    vote: Vote


@tagged(3)
@dataclass(frozen=True, slots=True, kw_only=True)
class RoundAsked:
    """Somebody appealed: round `round` has begun."""

    round: Uint8
    appellant: Address


@tagged(4)
@dataclass(frozen=True, slots=True, kw_only=True)
class CaseEnded:
    """The case is closed."""

    finding: Finding
    due: Amount


@tagged(5)
@dataclass(frozen=True, slots=True, kw_only=True)
class Abandoned:
    """This party will not open a case, or can't."""

    reason: Reason


@tagged(6)
@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceFound:
    """The requester ran the part itself after the other side had opened a case, and found this."""

    receipt: Signed[Receipt]
    rerun: Rerun
    reason: Reason


Event: TypeAlias = CaseBegan | VoteCarried | RoundAsked | CaseEnded | Abandoned | EvidenceFound


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """What a party knows of one case."""

    brief: Brief
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What a party sees now. Nothing of it is kept.

    Attributes:
        now: Time of the newest block.
        round: The case's current round as of that block; of stage NONE without a case.
        resolve_by: Until when the escrow waits for a verdict; None while its claim is not disputed, and on a channel.
        escrow_over: Whether the escrow is closed, so that no verdict can move it.
    """

    now: UnixTime
    round: Round
    resolve_by: UnixTime | None = None
    escrow_over: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Attitude:
    """How a party goes to court, and what the court's contract asks for.

    Attributes:
        open, appeal: Whether it opens cases; whether it appeals.
        max_bond: Most that it puts down in one case, all rounds together; None for as much as it takes.
        min_resolve_within: Fewer seconds are not enough for a case on an escrow.
        stagger: How many seconds later than the opener it closes a case that the other side opened.
    """

    open: bool = True
    appeal: bool = True
    max_bond: Amount | None = None
    min_resolve_within: int
    stagger: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCase:
    """Open a case; on an escrow about its claim, on a channel about the receipt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppealCase:
    """Ask for round `number`, for `bond`."""

    number: int
    bond: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseCase:
    """Have everybody paid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Abandon:
    """Nothing can be opened any more: write down why."""

    reason: Reason


Act: TypeAlias = OpenCase | AppealCase | CloseCase | Abandon


def begin(brief: Brief) -> File:
    """Return what is known at first."""
    return File(brief=brief, state=Held())


def transition(file: File, event: Event) -> File:
    """Apply one event; return `file` itself if it tells nothing new."""
    if isinstance(event, EvidenceFound):
        if file.brief.rerun is not None:
            return file
        brief = replace(file.brief, receipt=event.receipt, rerun=event.rerun, reason=event.reason)
        return replace(file, brief=brief)
    after = _after(file.brief, file.state, event)
    return file if after is file.state else replace(file, state=after)


def _after(brief: Brief, state: State, event: Event) -> State:
    match state, event:
        case Held(), CaseBegan():
            bond = brief.award.dispute_fee if event.opener == brief.own else 0
            return Open(opener=event.opener, part=event.part, receipt=event.receipt, bonds=Amount(bond))
        case Held(), Abandoned(reason=reason):
            return GivenUp(reason=reason)
        case Open(number=number, vote=None), VoteCarried() if event.round == number:
            return replace(state, vote=event.vote)
        case Open(number=number), RoundAsked() if event.round == number + 1:
            bond = bond_of(brief.award.dispute_fee, event.round) if event.appellant == brief.own else 0
            return replace(state, number=event.round, vote=None, bonds=Amount(state.bonds + bond))
        case Open(), CaseEnded():
            return Closed(
                opener=state.opener,
                part=state.part,
                number=state.number,
                finding=event.finding,
                due=event.due,
                bonds=state.bonds,
            )
        case _:
            return state


def event_of(fact: CaseFact) -> Event | None:
    """Return what a fact of the court says to a party, or None."""
    match fact:
        case CaseOpened():
            return CaseBegan(opener=fact.opener, part=fact.part, receipt=fact.receipt)
        case RoundDecided():
            return VoteCarried(round=fact.round, vote=fact.vote)
        case Appealed():
            return RoundAsked(round=fact.round, appellant=fact.appellant)
        case CaseClosed():
            return CaseEnded(finding=fact.finding, due=fact.due)
        case _:
            return None


def next_act(file: File, sight: Sight, attitude: Attitude) -> Act | None:
    """Return what this party has to do now, or None."""
    brief, state = file.brief, file.state
    match state:
        case Held() if sight.round.stage is Stage.NONE:
            return _opening(brief, sight, attitude)
        case Open() if sight.round.stage is not Stage.CLOSED:
            return _appeal(brief, state, sight, attitude) or _close(brief, state, sight, attitude)
        case _:
            return None


def is_against(brief: Brief, opener: Address, finding: int) -> bool:
    """Tell whether a finding makes this party the loser (CT9)."""
    if finding == Finding.INPUTS_MISSING:
        return opener == brief.own
    return finding == Finding.UPHELD if brief.is_requester else finding in _AGAINST_PROVIDER


def is_won(brief: Brief, closed: Closed) -> bool | None:
    """Tell whether this party won; None if nothing was decided, or nobody was found to be at fault."""
    if closed.finding in (Finding.NONE, Finding.NOT_JUDGED):
        return None
    return not is_against(brief, closed.opener, closed.finding)


def _opening(brief: Brief, sight: Sight, attitude: Attitude) -> Act | None:
    if not attitude.open:
        return Abandon(reason="this node opens no cases (disputes.open)")
    if attitude.max_bond is not None and brief.award.dispute_fee > attitude.max_bond:
        return Abandon(reason="the bond is above what this node puts down in one case (disputes.max_bond)")
    if brief.on_channel:
        if is_open(deadlines_of(brief.award).latest_dispute_by, sight.now):
            return OpenCase()
        return Abandon(reason="it is too late: no case was open by deliverBy + 2*pace")
    if sight.escrow_over:
        return Abandon(reason="the escrow was closed without a claim that had to be judged")
    if sight.resolve_by is None:
        return None  # no claim yet, or payments are about to dispute it
    if sight.resolve_by - sight.now < attitude.min_resolve_within:
        return Abandon(reason="it is too late: the escrow waits no longer than the court needs at least")
    return OpenCase()


def _appeal(brief: Brief, state: Open, sight: Sight, attitude: Attitude) -> Act | None:
    current = sight.round
    if state.vote is None or current.number != state.number or state.number == LAST_ROUND or not attitude.appeal:
        return None
    if not brief.is_convinced or not is_against(brief, state.opener, state.vote.finding):
        return None
    is_decided = bool(current.ended_after) or is_over(current.schedule.open_by, sight.now)
    if not is_decided or is_over(current.appeal_by, sight.now):
        return None
    bond = bond_of(brief.award.dispute_fee, state.number + 1)
    if attitude.max_bond is not None and state.bonds + bond > attitude.max_bond:
        return None
    return AppealCase(number=state.number + 1, bond=bond)


def _close(brief: Brief, state: Open, sight: Sight, attitude: Attitude) -> Act | None:
    # The escrow must hear of the decision before its own time is over; after the last round that is soon.
    stagger = 0 if state.opener == brief.own else min(attitude.stagger, sight.round.time // 48)
    return CloseCase() if is_over(UnixTime(sight.round.appeal_by + stagger), sight.now) else None
