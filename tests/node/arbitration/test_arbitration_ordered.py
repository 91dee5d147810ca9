"""A user takes an award to court by hand: told everything before, refused with a reason, done once whatever crashes."""

from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.arbitration.party_ports import EscrowClaim, EscrowSight, Subject
from node.arbitration.refusals import (
    BondNotCovered,
    CaseExists,
    DearerThanAgreed,
    NoCourtNamed,
    NoReceipt,
    NoSuchAward,
    NotDisputable,
    NothingToGain,
    NotYet,
    TooLateForCourt,
)
from node.arbitration.rehearsal import Rehearsed
from protocol.dispute.acting import Attitude, HoldSight
from protocol.dispute.bond import bond_of
from protocol.dispute.objects import Finding
from protocol.dispute.party import Brief, Closed, GivenUp, Held, Open
from protocol.errors import ProtocolError
from protocol.identity import ZERO_DIGEST, Address, Digest
from protocol.market.objects import Award
from protocol.settlement.deadlines import deadlines_of
from protocol.signing.eip712 import digest
from protocol.task.audit import Rerun
from protocol.units import Amount, UnixTime
from tests.node.arbitration.order_lab import RICH, Desk, FakeLooking, FakeOrderPapers, LockSight, desk_of
from tests.node.arbitration.party_lab import (
    CrashAt,
    FakeCourt,
    FakeCourthouse,
    FakeHolds,
    LabParty,
    brief_about,
    eventually,
    open_court,
    open_lab_party,
    refusal,
)
from tests.protocol.dispute.dispute_samples import AWARD, AWARD_ID, BUYER, DOMAIN, RECEIPT, SELLER, blob

UNWILLING = Attitude(open=False, appeal=False, max_bond=Amount(0), min_resolve_within=300, stagger=20)
"""Does nothing by itself: what happens was ordered."""
FEE = AWARD.dispute_fee
ON_ESCROW = replace(AWARD, channel=ZERO_DIGEST)
ESCROW_ID = digest(DOMAIN, ON_ESCROW)
RERUN = Rerun(outcome=0, output=blob("true output").digest, fuel=900, peak_mib=1, bytes_in=7, bytes_out=10)
WRONG = Rehearsed(
    finding=Finding.WRONG_RESULT, receipt=RECEIPT, rerun=RERUN, reason="this node ran it itself: wrong result"
)
RIGHT = replace(WRONG, finding=Finding.UPHELD, reason="this node ran it itself: upheld")
CLAIM = EscrowClaim(subject=Subject(part=1, receipt=digest(DOMAIN, RECEIPT.value)), due=RECEIPT.value.due)
UNPAID = HoldSight(unpaid=Amount(900_000), held=Amount(1_150_000))


class Place:
    """A court, one node that is a party before it, and its user."""

    def __init__(self, court: FakeCourt, party: LabParty, desk: Desk) -> None:
        self.court, self.party, self.desk = court, party, desk

    def state(self, award: Digest = AWARD_ID) -> object:
        return self.party.files.open[award].state.state


async def open_place(
    stack: AsyncExitStack,
    folder: Path,
    own: Address,
    *,
    award: Award = AWARD,
    finds: Rehearsed = WRONG,
    attitude: Attitude = UNWILLING,
    papers: FakeOrderPapers | None = None,
    holds: FakeHolds | None = None,
) -> Place:
    """Run a court, and a node before it that knows one award."""
    court = await stack.enter_async_context(open_court())
    party = await stack.enter_async_context(
        open_lab_party(
            court, folder, own, attitude=attitude, papers=papers or papers_of(brief_about(award, own)), holds=holds
        )
    )
    return Place(court, party, desk_of(party, FakeLooking(finds=finds)))


def papers_of(*briefs: Brief) -> FakeOrderPapers:
    return FakeOrderPapers(briefs={brief.award_id: brief for brief in briefs})


# ------------------------------------------------------------------------------------------------ what is opened


async def test_a_requester_orders_a_case_over_a_channel_that_its_node_would_not_open(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        place = await open_place(stack, tmp_path, BUYER)
        quote = await place.desk.ordering.quoting.opening(AWARD_ID.hex()[:8])
        assert (quote.number, quote.bond, quote.part, quote.claimed) == (0, FEE, 1, RECEIPT.value.due)
        assert quote.until == deadlines_of(AWARD).latest_dispute_by
        assert (quote.expected, quote.warning) == (Finding.WRONG_RESULT, "")
        assert "disputes.max_bond" in quote.notes[0]
        assert not place.party.files.open, "nothing is written before it is ordered"
        assert await place.desk.ordering.open(AWARD_ID.hex(), FEE, anyway=False) == AWARD_ID
        state = place.state()
        assert isinstance(state, Open)
        assert (state.opener, state.bonds) == (BUYER, FEE)
        assert len(place.desk.looking.matters) == 1, "what was run for the quote need not be run again"
        brief = place.party.files.open[AWARD_ID].state.brief
        assert (brief.rerun, brief.reason) == (RERUN, "ordered by hand: this node ran it itself: wrong result")


async def test_a_provider_orders_a_case_without_waiting_for_a_payment(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    holds = FakeHolds()
    holds.sight = UNPAID
    async with AsyncExitStack() as stack:
        place = await open_place(stack, tmp_path, SELLER, holds=holds)
        quote = await place.desk.ordering.quoting.opening(AWARD_ID.hex())
        assert (quote.expected, quote.warning) == (Finding.UPHELD, "")
        assert quote.stakes.asked == UNPAID.unpaid
        assert any("may still pay" in note for note in quote.notes)
        await place.desk.ordering.open(AWARD_ID.hex(), FEE, anyway=False)
        assert place.court.clock.now() < deadlines_of(AWARD).claim_by
        assert holds.acts[0] == "secure", "the hold stands before the case is open"
        assert place.court.acts == [("open", SELLER)]


async def test_a_requester_orders_a_case_over_a_claim_that_its_node_would_let_pass(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        place = await open_place(stack, tmp_path, BUYER, award=ON_ESCROW)
        until = UnixTime(place.court.clock.now() + 100)
        place.party.escrows.sight = EscrowSight(resolve_by=None, is_over=False, dispute_by=until, claim=CLAIM)
        quote = await place.desk.ordering.quoting.opening(ESCROW_ID.hex())
        assert (quote.until, quote.stakes.now_bps) == (until, 10_000)
        assert place.desk.looking.within_s < 100 - ON_ESCROW.pace // 4 + 1, "there is time left to open after the look"
        await place.desk.ordering.open(ESCROW_ID.hex(), FEE, anyway=False)
        assert place.court.acts == [("open", BUYER)]


async def test_a_provider_orders_a_case_over_a_claim_that_is_disputed(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        place = await open_place(stack, tmp_path, SELLER, award=ON_ESCROW)
        waits = UnixTime(place.court.clock.now() + ON_ESCROW.resolve_within)
        place.party.escrows.sight = EscrowSight(resolve_by=waits, is_over=False, claim=CLAIM)
        quote = await place.desk.ordering.quoting.opening(ESCROW_ID.hex())
        assert quote.until == waits - UNWILLING.min_resolve_within
        assert quote.stakes.without_bps == ON_ESCROW.split_bps
        await place.desk.ordering.open(ESCROW_ID.hex(), FEE, anyway=False)
        assert place.court.acts == [("open", SELLER)]


async def test_what_was_found_for_the_order_is_a_conviction_that_appeals(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    willing = replace(UNWILLING, appeal=True, max_bond=None)
    async with AsyncExitStack() as stack:
        place = await open_place(stack, tmp_path, BUYER, attitude=willing)
        await place.desk.ordering.open(AWARD_ID.hex(), FEE, anyway=False)
        place.court.decide(AWARD_ID, Finding.UPHELD)
        await eventually(lambda: ("appeal", BUYER) in place.court.acts)


# ------------------------------------------------------------------------------------------------ what is refused


async def refused(place: Place, kind: type[ProtocolError], award: str = "", **how: Any) -> str:
    with pytest.raises(kind) as caught:
        await place.desk.ordering.open(award or AWARD_ID.hex(), how.get("bond", FEE), anyway=how.get("anyway", False))
    assert caught.value.advice, "it says what to do"
    assert not place.court.acts
    assert not place.party.files.open
    return str(caught.value)


async def test_an_award_that_is_not_ours_or_names_no_court_has_no_case(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    bare = replace(AWARD, dispute_fee=Amount(0))
    other = replace(AWARD, arbiter=Address(b"\x44" * 20))
    papers = papers_of(*(brief_about(each, BUYER) for each in (bare, other)))
    async with AsyncExitStack() as stack:
        place = await open_place(stack, tmp_path, BUYER, papers=papers)
        for award in (bare, other):
            await refused(place, NoCourtNamed, digest(DOMAIN, award).hex())
        for digits in ("ffff", "", "0x", "zz"):
            with pytest.raises(NoSuchAward):
                await place.desk.ordering.quoting.opening(digits)


async def test_too_late_says_since_when(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        place = await open_place(stack, tmp_path, BUYER)
        await trio.sleep(deadlines_of(AWARD).latest_dispute_by - place.court.clock.now() + 4)
        assert "the last second was 2027-" in await refused(place, TooLateForCourt)


@pytest.mark.parametrize(
    ("own", "sight", "kind"),
    [
        (BUYER, EscrowSight(resolve_by=None, is_over=True), NotDisputable),
        (BUYER, EscrowSight(resolve_by=None, is_over=False), NotDisputable),
        (SELLER, EscrowSight(resolve_by=None, is_over=False, dispute_by=UnixTime(2**40), claim=CLAIM), NotDisputable),
        (BUYER, EscrowSight(resolve_by=None, is_over=False, dispute_by=UnixTime(9), claim=CLAIM), TooLateForCourt),
        (SELLER, EscrowSight(resolve_by=UnixTime(309), is_over=False, claim=CLAIM), TooLateForCourt),
    ],
)
async def test_an_escrow_without_an_open_claim_has_no_case(
    autojump_clock: MockClock, tmp_path: Path, own: Address, sight: EscrowSight, kind: type[ProtocolError]
) -> None:
    async with AsyncExitStack() as stack:
        place = await open_place(stack, tmp_path, own, award=ON_ESCROW)
        place.party.escrows.sight = sight
        await refused(place, kind, ESCROW_ID.hex())


async def test_over_a_channel_there_is_nothing_to_judge_without_a_receipt_or_an_unpaid_part(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        place = await open_place(
            stack, tmp_path / "a", BUYER, papers=papers_of(brief_about(AWARD, BUYER, receipt=None))
        )
        await refused(place, NoReceipt)
        for sight in (replace(UNPAID, unpaid=Amount(0)), replace(UNPAID, held=Amount(0))):
            holds = FakeHolds()
            holds.sight = sight
            seller = await open_place(stack, tmp_path / str(sight.unpaid), SELLER, holds=holds)
            await refused(seller, NotDisputable)


async def test_a_case_that_exists_says_how_far_it_is(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        place = await open_place(stack, tmp_path, BUYER)
        place.court.open(AWARD, SELLER, Digest(b"\x01" * 32))
        with pytest.raises(CaseExists, match="a moment ago"):  # the newest block has it, no confirmed one
            await place.desk.ordering.open(AWARD_ID.hex(), FEE, anyway=False)
        await eventually(lambda: AWARD_ID in place.party.files.open)
        with pytest.raises(CaseExists, match="open, in round 1"):
            await place.desk.ordering.open(AWARD_ID.hex(), FEE, anyway=False)
        await eventually(lambda: not place.party.files.open)
        with pytest.raises(CaseExists, match="it is over"):
            await place.desk.ordering.open(AWARD_ID.hex(), FEE, anyway=False)
        assert ("open", BUYER) not in place.court.acts


async def test_a_bond_beyond_caps_or_purse_or_what_was_agreed_is_refused_before_anything_is_signed(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        place = await open_place(stack, tmp_path, BUYER)
        await refused(place, DearerThanAgreed, bond=Amount(FEE - 1))
        place.desk.purse.left = Amount(FEE - 1)
        assert "per day" in await refused(place, BondNotCovered)
        place.desk.purse.left, place.desk.purse.tokens = FEE, Amount(FEE - 1)
        assert "the wallet has" in await refused(place, BondNotCovered)
        place.desk.purse.tokens = FEE
        await place.desk.ordering.open(AWARD_ID.hex(), FEE, anyway=False)


async def test_who_would_lose_the_bond_for_nothing_is_warned_and_has_to_say_so(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        place = await open_place(stack, tmp_path, BUYER, finds=RIGHT)
        assert "upheld" in await refused(place, NothingToGain)
        await place.desk.ordering.open(AWARD_ID.hex(), FEE, anyway=True)
        assert place.party.files.open[AWARD_ID].state.brief.rerun is None, "a run that agrees appeals nothing"
        place.court.decide(AWARD_ID, Finding.UPHELD)
        await eventually(lambda: AWARD_ID not in place.party.files.open)
        assert place.court.acts == [("open", BUYER), ("close", BUYER)]


async def test_without_a_lock_a_requester_has_nothing_to_gain_over_a_channel(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        place = await open_place(stack, tmp_path, BUYER)
        place.desk.locks.sight = LockSight()
        assert "nothing of the provider's stake is locked" in await refused(place, NothingToGain)
        await place.desk.ordering.open(AWARD_ID.hex(), FEE, anyway=True)
        assert place.court.acts == [("open", BUYER)]


async def test_a_reason_in_many_words_is_cut_and_not_refused(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        place = await open_place(stack, tmp_path, BUYER, finds=replace(WRONG, reason="é" * 600))
        await place.desk.ordering.open(AWARD_ID.hex(), FEE, anyway=False)
        assert len(place.party.files.open[AWARD_ID].state.brief.reason.encode()) in (511, 512)


async def test_who_says_anyway_waits_for_no_run(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        place = await open_place(stack, tmp_path, BUYER)
        await place.desk.ordering.open(AWARD_ID.hex(), FEE, anyway=True)
        assert not place.desk.looking.matters


# ------------------------------------------------------------------------------------------ trouble of all kinds


async def test_an_order_that_the_wallet_refuses_is_told_and_followed_until_it_is_granted(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        place = await open_place(stack, tmp_path, BUYER)
        place.party.court.refuses = refusal("the cap per day is reached")
        await place.desk.ordering.open(AWARD_ID.hex(), FEE, anyway=False)
        (view,) = await place.party.party.views()
        assert (view.file.state, view.problem) == (
            Held(is_ordered=True),
            "the cap per day is reached (raise wallet.caps)",
        )
        place.desk.purse.left = Amount(FEE - 1)  # what was signed for counts against a cap, and is not asked for again
        quote = await place.desk.ordering.quoting.opening(AWARD_ID.hex())
        assert "ordered it already" in quote.notes[-1]
        place.party.court.refuses = None
        await eventually(lambda: place.court.acts == [("open", BUYER)])


async def test_a_user_whose_chain_goes_away_is_told_at_once(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        place = await open_place(stack, tmp_path, BUYER)
        courthouse = place.party.court

        def leave() -> None:
            courthouse.away = True

        place.desk.looking.on_look = leave
        began = trio.current_time()
        await place.desk.ordering.open(AWARD_ID.hex(), FEE, anyway=False)
        assert trio.current_time() - began < 30
        assert "can't be reached" in place.party.party.problem_of(AWARD_ID)
        courthouse.away = False
        await eventually(lambda: place.court.acts == [("open", BUYER)])


async def test_an_order_that_comes_too_late_is_given_up(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        place = await open_place(stack, tmp_path, BUYER)
        place.party.court.refuses = refusal("the cap per day is reached")
        await place.desk.ordering.open(AWARD_ID.hex(), FEE, anyway=False)
        await eventually(lambda: not place.party.files.open)
        file = await place.party.files.find(AWARD_ID)
        assert file is not None
        assert isinstance(file.state, GivenUp)
        await refused(place, NotDisputable)


async def test_an_appeal_is_ordered_once_there_is_a_decision_and_as_long_as_it_can_be_appealed(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        place = await open_place(stack, tmp_path, BUYER)
        ordering, bond = place.desk.ordering, bond_of(FEE, 1)
        with pytest.raises(NotYet, match="no case is open"):
            await ordering.quoting.appeal(AWARD_ID.hex())
        place.court.open(AWARD, SELLER, Digest(b"\x01" * 32))
        await eventually(lambda: AWARD_ID in place.party.files.open)
        await eventually(lambda: isinstance(place.state(), Open))
        with pytest.raises(NotYet, match="not decided yet"):
            await ordering.quoting.appeal(AWARD_ID.hex())
        place.court.decide(AWARD_ID, Finding.UPHELD)
        await trio.sleep(10)
        quote = await ordering.quoting.appeal(AWARD_ID.hex())
        assert (quote.number, quote.bond, quote.stakes.standing) == (1, bond, Finding.UPHELD)
        assert quote.until == place.court.cases[AWARD_ID].round.appeal_by
        with pytest.raises(DearerThanAgreed):
            await ordering.appeal(AWARD_ID.hex(), FEE, anyway=False)
        place.party.court.refuses = refusal("the cap per day is reached")
        await ordering.appeal(AWARD_ID.hex(), bond, anyway=False)
        assert "the cap per day" in place.party.party.problem_of(AWARD_ID)
        place.party.court.refuses, place.desk.purse.left = None, Amount(0)
        await ordering.appeal(AWARD_ID.hex(), bond, anyway=False)  # said again, it is the same order
        await eventually(lambda: place.court.cases[AWARD_ID].round.number == 1)
        await trio.sleep(10)
        place.desk.purse.left = RICH
        state = place.state()
        assert isinstance(state, Open)
        assert (state.number, state.bonds) == (1, bond)
        place.court.decide(AWARD_ID, Finding.WRONG_RESULT)
        await trio.sleep(10)
        with pytest.raises(NothingToGain):
            await ordering.appeal(AWARD_ID.hex(), bond_of(FEE, 2), anyway=False)
        await eventually(lambda: not place.party.files.open)
        with pytest.raises(NotYet, match="it is over"):
            await ordering.quoting.appeal(AWARD_ID.hex())


STEPS = 12
"""Records and transactions: reason, order, case, fact; vote, order, appeal, fact; vote, close, end, settled."""


async def wrong_then_right(court: FakeCourt) -> None:
    """Be a committee that is wrong in the first round and right in the second."""
    while True:
        await trio.sleep(1)
        case = court.cases.get(AWARD_ID)
        if case is not None and case.vote is None and not case.round.ended_after:
            court.decide(AWARD_ID, Finding.WRONG_RESULT if case.round.number else Finding.UPHELD)


async def order_all(desk: Desk, party: LabParty) -> None:
    """Be a user who orders the case and the appeal, again after each crash, until there is nothing to order."""
    with suppress(CaseExists):
        await desk.ordering.open(AWARD_ID.hex(), FEE, anyway=False)
    while AWARD_ID in party.files.open:
        try:
            await desk.ordering.appeal(AWARD_ID.hex(), bond_of(FEE, 1), anyway=False)
        except (NotYet, TooLateForCourt, NothingToGain, DearerThanAgreed):
            await trio.sleep(1)


@pytest.mark.parametrize("step", range(STEPS + 1))
async def test_a_crash_after_any_record_or_transaction_opens_and_appeals_once(
    autojump_clock: MockClock, tmp_path: Path, step: int
) -> None:
    crash, runs = CrashAt(step), 0
    async with open_court() as court, trio.open_nursery() as nursery:
        nursery.start_soon(wrong_then_right, court)
        while True:
            runs += 1
            courthouse = FakeCourthouse(court, BUYER)
            courthouse.after_send = crash
            with trio.CancelScope() as crash.scope:
                async with open_lab_party(
                    court,
                    tmp_path,
                    BUYER,
                    papers=papers_of(brief_about(AWARD, BUYER)),
                    attitude=UNWILLING,
                    courthouse=courthouse,
                    on_step=crash,
                ) as buyer:
                    await order_all(desk_of(buyer, FakeLooking(finds=WRONG)), buyer)
                    file = await buyer.files.find(AWARD_ID)
                    assert file is not None
                    assert isinstance(file.state, Closed)
                    assert (file.state.finding, file.state.number) == (Finding.WRONG_RESULT, 1)
                    assert file.state.bonds == FEE + bond_of(FEE, 1)
                break
        nursery.cancel_scope.cancel()
        assert runs == (1 if step == STEPS else 2)
        assert court.acts == [("open", BUYER), ("appeal", BUYER), ("close", BUYER)]
