"""What a party of a dispute knows of its case, requester or provider. Pure: docs/spec/parties.md.

Theory. A case is the court's, so a state here changes on the court's confirmed facts alone; what the party adds is one
conviction, formed before: the requester's own run of the part, or the provider's own receipt. What it does about the
case follows from these and from what is seen of the chain (`protocol.dispute.acting`).

    state   event          next
    Held    CaseBegan      Open          by us, or by the other side before us
    Held    CaseOrdered    Held          the user wants it opened
    Held    Abandoned      GivenUp
    Open    VoteCarried    Open          what the round decided
    Open    RoundAsked     Open          the next round, undecided
    Open    AppealOrdered  Open          the user wants the next round
    Open    CaseEnded      Closed        the court is done
    Closed  CaseSettled    Closed        so is this party: its hold is enforced or let go of, its bonds count no more
    any     EvidenceFound  same          a conviction that was formed later

A fact that is told again, or of a round that is over, changes nothing.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Final, TypeAlias

from protocol.dispute.bond import bond_of
from protocol.dispute.case import Appealed, CaseClosed, CaseFact, CaseOpened, RoundDecided
from protocol.dispute.objects import Finding, Vote
from protocol.identity import ZERO_DIGEST, Address, Digest
from protocol.market.objects import Award, Offer
from protocol.signing.signed import Signed
from protocol.task.audit import Rerun
from protocol.task.objects import Receipt
from protocol.units import Amount, Uint8, Uint32
from protocol.wire.codec import MaxLen, tagged

Reason: TypeAlias = Annotated[str, MaxLen(512)]

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
    def is_paid_from_hold(self) -> bool:
        """Whether this party is the payee of a hold, which a verdict can enforce and nothing else."""
        return self.on_channel and not self.is_requester

    @property
    def is_convinced(self) -> bool:
        """Whether this party knows the result itself: only then does it contradict a committee."""
        return (self.rerun if self.is_requester else self.receipt) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Nobody has opened a case yet. `is_ordered`: the user wants it opened, whatever the node would do by itself."""

    is_ordered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """The court has it.

    Attributes:
        opener: Who asked for the first round.
        part, receipt: What it is about, as the court tells.
        number: The current round.
        vote: What that round decided; None before, or without a majority.
        standing: What the last round before it decided: without a vote of its own, that is the decision (CT8).
        bonds: What this party has put down in all.
        ordered: The round for which the user wants an appeal, whatever the node would do by itself; 0 for none.
    """

    opener: Address
    part: Uint32
    receipt: Digest
    bonds: Amount
    number: Uint8 = 0
    vote: Vote | None = None
    standing: Vote | None = None
    ordered: Uint8 = 0

    @property
    def decision(self) -> Vote | None:
        """What is decided so far; None if nothing is."""
        return self.vote or self.standing


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """The court is done. `finding` is NONE if no round decided anything; otherwise `due` is what the award is worth.

    `taken` is what this party had its hold in a channel pay it after that; None until that, too, is done.
    """

    opener: Address
    part: Uint32
    number: Uint8
    finding: Finding
    due: Amount
    bonds: Amount
    taken: Amount | None = None


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


@tagged(7)
@dataclass(frozen=True, slots=True, kw_only=True)
class CaseSettled:
    """This party has nothing left to do about its closed case. `taken` came to it out of its hold in a channel."""

    taken: Amount


@tagged(8)
@dataclass(frozen=True, slots=True, kw_only=True)
class CaseOrdered:
    """The user wants a case, knowing its bond, which is the award's dispute fee."""


@tagged(9)
@dataclass(frozen=True, slots=True, kw_only=True)
class AppealOrdered:
    """The user wants round `round`, knowing its bond (`bond_of`)."""

    round: Uint8


Event: TypeAlias = (
    CaseBegan
    | VoteCarried
    | RoundAsked
    | CaseEnded
    | Abandoned
    | EvidenceFound
    | CaseSettled
    | CaseOrdered
    | AppealOrdered
)


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """What a party knows of one case."""

    brief: Brief
    state: State


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
        case Held(is_ordered=False), CaseOrdered():
            return Held(is_ordered=True)
        case Open(number=number, vote=None), VoteCarried() if event.round == number:
            return replace(state, vote=event.vote)
        case Open(number=number), RoundAsked() if event.round == number + 1:
            bond = bond_of(brief.award.dispute_fee, event.round) if event.appellant == brief.own else 0
            return replace(
                state, number=event.round, vote=None, standing=state.decision, bonds=Amount(state.bonds + bond)
            )
        case Open(number=number, ordered=ordered), AppealOrdered() if event.round == number + 1 != ordered:
            return replace(state, ordered=event.round)
        case Open(), CaseEnded():
            return Closed(
                opener=state.opener,
                part=state.part,
                number=state.number,
                finding=event.finding,
                due=event.due,
                bonds=state.bonds,
            )
        case Closed(taken=None), CaseSettled(taken=taken):
            return replace(state, taken=taken)
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


def is_done(file: File) -> bool:
    """Tell whether nothing is left to do."""
    state = file.state
    return isinstance(state, GivenUp) or (isinstance(state, Closed) and state.taken is not None)


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
