"""The doors to this node's own cases."""

from collections.abc import Sequence

from node.api import views
from node.api.views.disputes import DisputeState
from node.app.node import Node
from node.arbitration.party import CaseView
from protocol.dispute.case import Stage
from protocol.dispute.objects import Finding
from protocol.dispute.party import Closed, GivenUp, Held, Open, is_won
from protocol.errors import ProtocolError
from protocol.units import Amount, UnixTime


class NoSuchDispute(ProtocolError):
    """No case is about an award with that id, or several are."""


class DisputeDoors:
    """See `NodeFacade`."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def dispute_list(self) -> tuple[views.DisputeView, ...]:
        """See `NodeFacade`. On a network without a court there are none."""
        party = self._node.party
        return () if party is None else tuple(dispute_view(each) for each in await party.views())

    async def dispute_show(self, award: str) -> views.DisputeView:
        """See `NodeFacade`."""
        return pick(await self.dispute_list(), award)


def pick(cases: Sequence[views.DisputeView], award: str) -> views.DisputeView:
    """Return the case about the award whose id begins so.

    Raises:
        NoSuchDispute: There is none, or there are several; of nothing at all there is none.
    """
    digits = award.lower().removeprefix("0x")
    found = [each for each in cases if digits and each.award.hex().startswith(digits)]
    if len(found) != 1:
        problem = "several cases are about awards that begin" if found else "no case is about an award that begins"
        raise NoSuchDispute(f"{problem} with {digits!r}", advice="see `stoa disputes list`")
    return found[0]


def dispute_view(view: CaseView) -> views.DisputeView:
    """Return a case as users see it."""
    brief, state = view.file.brief, view.file.state
    opener = state.opener if isinstance(state, Open | Closed) else None
    finding, due = _finding(view)
    return views.DisputeView(
        award=brief.award_id,
        role="requester" if brief.is_requester else "provider",
        peer=brief.award.provider if brief.is_requester else brief.award.requester,
        state=_state(view),
        opened_by_us=None if opener is None else opener == brief.own,
        part=state.part if isinstance(state, Open | Closed) else brief.receipt.value.part if brief.receipt else None,
        round=state.number if isinstance(state, Open | Closed) else None,
        deadline=_deadline(view),
        finding=finding,
        due=due,
        price=brief.award.price,
        liability=brief.award.liability,
        bonds=state.bonds if isinstance(state, Open | Closed) else Amount(0),
        reason=state.reason if isinstance(state, GivenUp) else brief.reason,
        problem=view.problem,
    )


def _state(view: CaseView) -> DisputeState:
    match view.file.state:
        case Held():
            return "held"
        case Open():
            return "open"
        case GivenUp():
            return "given-up"
        case Closed() as closed:
            won = is_won(view.file.brief, closed)
            return "undecided" if won is None else "won" if won else "lost"


def _finding(view: CaseView) -> tuple[str, Amount | None]:
    match view.file.state:
        case Open(vote=vote) if vote is not None:
            return describe(vote.finding), vote.due
        case Closed(finding=finding, due=due) if finding is not Finding.NONE:
            return describe(finding), due
        case _:
            return "", None


def _deadline(view: CaseView) -> UnixTime | None:
    is_open = isinstance(view.file.state, Open) and view.sight is not None and view.sight.round.stage is not Stage.NONE
    return view.sight.round.appeal_by if is_open and view.sight is not None else None


def describe(finding: int) -> str:
    """Return what users read of a finding."""
    return Finding(finding).name.lower().replace("_", " ")
