"""The doors to this node's own cases."""

from collections.abc import Sequence
from typing import cast

from node.api import views
from node.api.views.disputes import DisputeState, FindingName
from node.app.doors.arbiters import NoCourt
from node.app.doors.dispute_words import next_of, round_seen, stage_of
from node.app.doors.names import rail_of
from node.app.node import Node
from node.arbitration.ordering import Ordering
from node.arbitration.party import CaseView
from node.arbitration.quoting import Quote
from protocol.dispute.objects import Finding
from protocol.dispute.party import Closed, GivenUp, Held, Open, State, is_won
from protocol.dispute.prospects import Prospect, prospects_of, without
from protocol.dispute.schedule import SEATS
from protocol.errors import ProtocolError
from protocol.units import Amount


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

    async def dispute_open_quote(self, award: str, *, look: bool) -> views.DisputeQuote:
        """See `NodeFacade`."""
        return quote_view(await self._ordering().quoting.opening(award, look=look))

    async def dispute_open(self, award: str, bond: Amount, *, anyway: bool) -> views.DisputeView:
        """See `NodeFacade`."""
        ordered = await self._ordering().open(award, bond, anyway=anyway)
        return await self.dispute_show(ordered.hex())

    async def dispute_appeal_quote(self, award: str) -> views.DisputeQuote:
        """See `NodeFacade`."""
        return quote_view(await self._ordering().quoting.appeal(award))

    async def dispute_appeal(self, award: str, bond: Amount, *, anyway: bool) -> views.DisputeView:
        """See `NodeFacade`."""
        ordered = await self._ordering().appeal(award, bond, anyway=anyway)
        return await self.dispute_show(ordered.hex())

    def _ordering(self) -> Ordering:
        if self._node.ordering is None:
            raise NoCourt(
                "this network has no court",
                advice="its deployments file names none (court); what is disputed here is split as the award says",
            )
        return self._node.ordering


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
    current, upcoming = round_seen(view), next_of(view)
    return views.DisputeView(
        award=brief.award_id,
        role="requester" if brief.is_requester else "provider",
        peer=brief.award.provider if brief.is_requester else brief.award.requester,
        state=_state(view),
        opened_by_us=None if opener is None else opener == brief.own,
        ordered=_is_ordered(state),
        part=state.part if isinstance(state, Open | Closed) else brief.receipt.value.part if brief.receipt else None,
        round=state.number if isinstance(state, Open | Closed) else None,
        stage=stage_of(view),
        seats=None if current is None else current.seats,
        votes=None if current is None else current.opened_seats.bit_count(),
        deadline=None if current is None else current.appeal_by,
        finding=finding,
        due=due,
        price=brief.award.price,
        liability=brief.award.liability,
        claimed=None if brief.receipt is None else brief.receipt.value.due,
        fee=brief.award.dispute_fee,
        bonds=state.bonds if isinstance(state, Open | Closed) else Amount(0),
        reason=state.reason if isinstance(state, GivenUp) else brief.reason,
        next=upcoming.step,
        next_by=upcoming.by,
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


def _is_ordered(state: State) -> bool:
    match state:
        case Held(is_ordered=is_ordered):
            return is_ordered
        case Open(ordered=ordered, number=number):
            return ordered > number
        case _:
            return False


def quote_view(quote: Quote) -> views.DisputeQuote:
    """Return a quote as users see it."""
    brief = quote.brief
    return views.DisputeQuote(
        award=brief.award_id,
        role="requester" if brief.is_requester else "provider",
        peer=brief.award.provider if brief.is_requester else brief.award.requester,
        rail=rail_of(brief.award.channel),
        round=quote.number,
        seats=SEATS[quote.number],
        part=quote.part,
        claimed=quote.claimed,
        bond=quote.bond,
        until=quote.until,
        liability=quote.stakes.lock,
        expected="" if quote.expected is None else name_of(quote.expected),
        found=quote.found,
        warning=quote.warning,
        notes=quote.notes,
        otherwise=_end_view(without(quote.stakes)),
        ends=tuple(_end_view(each) for each in prospects_of(quote.stakes)),
    )


def _end_view(end: Prospect) -> views.DisputeEnd:
    return views.DisputeEnd(
        finding="" if end.finding is None else name_of(end.finding),
        to_provider=end.to_provider,
        from_stake=end.from_stake,
        own=end.own,
    )


def name_of(finding: Finding) -> FindingName:
    """Return a finding's name in a quote; that of none is one as well."""
    return "no decision" if finding is Finding.NONE else cast("FindingName", describe(finding))


def describe(finding: int) -> str:
    """Return what users read of a finding."""
    return Finding(finding).name.lower().replace("_", " ")
