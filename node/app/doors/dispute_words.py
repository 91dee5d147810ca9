"""What happens next in a case, by whom, and until when: docs/spec/parties.md and law.md (CT3) in the words of users."""

from typing import NamedTuple

from node.api.views.disputes import DisputeStage
from node.arbitration.party import CaseView
from protocol.dispute.acting import LAST_ROUND, NO_HOLD, PAID, Sight
from protocol.dispute.case import Round, Stage
from protocol.dispute.party import Brief, Closed, GivenUp, Held, Open, is_against
from protocol.dispute.schedule import SEATS
from protocol.settlement.deadlines import deadlines_of, is_over
from protocol.units import UnixTime


class Next(NamedTuple):
    """The next step, and its last second as far as that is known."""

    step: str
    by: UnixTime | None = None


NOTHING = Next("")
BY_HAND = " (your node if it ran the part itself, or you by `stoa disputes appeal`)"


def round_seen(view: CaseView) -> Round | None:
    """Return the round of an open case as it was seen last; None before, or if the facts are ahead of what was seen."""
    state, sight = view.file.state, view.sight
    if not isinstance(state, Open) or sight is None or sight.round.stage is Stage.NONE:
        return None
    return sight.round if sight.round.number == state.number else None


def stage_of(view: CaseView) -> DisputeStage:
    """Return how far the current round is."""
    if isinstance(view.file.state, Closed):
        return "closed"
    current, sight = round_seen(view), view.sight
    if current is None or sight is None:
        return ""
    if current.stage is Stage.CLOSED:
        return "closed"
    if not current.ended_after and not is_over(current.schedule.open_by, sight.now):
        return "drawing" if current.stage is Stage.DRAWING else "voting"
    return "closing" if current.number == LAST_ROUND or is_over(current.appeal_by, sight.now) else "appeal"


def next_of(view: CaseView) -> Next:
    """Return what happens next; nothing if all is done."""
    brief, state = view.file.brief, view.file.state
    match state:
        case Held():
            if view.reluctance:
                by_hand = "" if view.reluctance in (PAID, NO_HOLD) else "; you may, by `stoa disputes open`"
                return Next(f"your node opens no case: {view.reluctance}{by_hand}", _last_opening(brief, view.sight))
            return _before(brief, state, view.sight)
        case Open():
            return _in_court(view, brief, state)
        case Closed(taken=None) if brief.is_paid_from_hold:
            return Next("your node takes what the decision gives it out of the channel", latest_of(brief))
        case Closed() | GivenUp():
            return NOTHING


def latest_of(brief: Brief) -> UnixTime:
    """Return the last second of any verdict."""
    return deadlines_of(brief.award).latest_resolve_by


def _before(brief: Brief, held: Held, sight: Sight | None) -> Next:
    times = deadlines_of(brief.award)
    if brief.on_channel:
        if held.is_ordered:
            return Next("your node opens the case, as you ordered", times.latest_dispute_by)
        if brief.is_requester:
            if brief.award.liability:
                return Next("your node opens the case", times.latest_dispute_by)
            return Next(
                "the provider may open a case; nothing is locked that would give your bond back", times.claim_by
            )
        return Next("the requester pays, or your node opens the case after that", times.claim_by)
    if sight is not None and sight.resolve_by is not None:
        return Next("your node opens the case" + (", as you ordered" if held.is_ordered else ""), sight.resolve_by)
    if sight is not None and sight.dispute_by is not None:
        step = "your node disputes the claim" if brief.is_requester else "the requester may dispute the claim"
        return Next(step, sight.dispute_by)
    return Next("a claim on the escrow is waited for", times.claim_by)


def _last_opening(brief: Brief, sight: Sight | None) -> UnixTime | None:
    """Return until when somebody may still open a case, as far as that is known."""
    if brief.on_channel:
        return deadlines_of(brief.award).latest_dispute_by
    return sight.resolve_by or sight.dispute_by if sight is not None else None


def _in_court(view: CaseView, brief: Brief, state: Open) -> Next:
    current = round_seen(view)
    if current is None:
        return Next("the chain is looked at")
    seats, times = SEATS[current.number], current.schedule
    match stage_of(view):
        case "drawing":
            return Next(f"{seats} arbiters are drawn, and vote", times.open_by)
        case "voting":
            return Next(f"the {seats} arbiters vote", times.open_by)
        case "appeal":
            return Next(_appeal_words(brief, state), current.appeal_by)
        case "closing" | "closed" | "":
            closer = "your node" if state.opener == brief.own else "the other side, or your node a little later,"
            return Next(f"{closer} closes the case, and everybody is paid", latest_of(brief))


def _appeal_words(brief: Brief, state: Open) -> str:
    if state.ordered == state.number + 1:
        return "your node appeals, as you ordered"
    decision = state.decision
    if decision is None:
        return f"either side may appeal, since nothing was decided{BY_HAND}; else the case is closed"
    if is_against(brief, state.opener, decision.finding):
        return f"you may appeal{BY_HAND}; else the case is closed"
    return "the other side may appeal; else the case is closed"
