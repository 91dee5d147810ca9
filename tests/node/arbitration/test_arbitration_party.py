"""A party follows its cases to their end: whatever crashes, is away, refuses or comes too late."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from node.arbitration.arbiter import NotIntroduced
from node.arbitration.dossier_desk import NoCaseOfOurs, NoCaseYet, NotDrawnYet, NotInCommittee
from node.arbitration.party_ports import EscrowSight
from protocol.dispute.bond import bond_account
from protocol.dispute.messages import DOSSIER_METHOD, EVIDENCE_METHOD, Dossier, DossierRequest
from protocol.dispute.objects import Finding
from protocol.dispute.party import Brief, Closed, GivenUp, Held
from protocol.errors import TransientError
from protocol.identity import ZERO_DIGEST, Address, Digest, PeerId
from protocol.market.objects import Award
from protocol.settlement.deadlines import deadlines_of
from protocol.signing.eip712 import digest
from protocol.task.audit import Rerun
from protocol.units import UnixTime
from protocol.wire.codec import decode, encode
from tests.node.arbitration.party_lab import (
    ARBITERS,
    ATTITUDE,
    CrashAt,
    FakeCourt,
    FakeCourthouse,
    FakeEscrows,
    FakePapers,
    LabParty,
    brief_about,
    eventually,
    open_court,
    open_lab_party,
    refusal,
)
from tests.protocol.dispute.dispute_samples import (
    ACCEPTANCE,
    AWARD,
    AWARD_ID,
    BUYER,
    DOMAIN,
    MANIFEST,
    RECEIPT,
    SELLER,
    blob,
)

RERUN = Rerun(outcome=0, output=blob("true output").digest, fuel=900, peak_mib=1, bytes_in=7, bytes_out=10)
ON_ESCROW = replace(AWARD, channel=ZERO_DIGEST)
ESCROW_ID = digest(DOMAIN, ON_ESCROW)
STRANGER = Address(b"\x99" * 20)


def refuted(award: Award = AWARD) -> Brief:
    return brief_about(award, BUYER, rerun=RERUN)


def papers_of(*briefs: Brief) -> FakePapers:
    return FakePapers(briefs={brief.award_id: brief for brief in briefs})


@asynccontextmanager
async def open_pair(folder: Path) -> AsyncGenerator[tuple[FakeCourt, LabParty, LabParty], None]:
    """Run requester and provider of one award over a channel."""
    async with AsyncExitStack() as stack:
        court = await stack.enter_async_context(open_court())
        buyer, seller = [
            await stack.enter_async_context(
                open_lab_party(court, folder, own, papers=papers_of(brief_about(AWARD, own)))
            )
            for own in (BUYER, SELLER)
        ]
        yield court, buyer, seller


async def ended(party: LabParty, award: Digest = AWARD_ID) -> Closed:
    await eventually(lambda: award not in party.files.open)
    file = await party.files.find(award)
    assert file is not None
    assert isinstance(file.state, Closed)
    return file.state


# ------------------------------------------------------------------------------------------------ the usual course


async def test_a_refuted_receipt_is_a_case_by_itself_and_closed_by_who_opened_it(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_pair(tmp_path) as (court, buyer, seller):
        await buyer.files.hold(refuted())
        await eventually(lambda: AWARD_ID in seller.files.open)
        court.decide(AWARD_ID, Finding.NOT_JUDGED, due=900)
        for party in (buyer, seller):
            state = await ended(party)
            assert (state.opener, state.finding, state.due) == (BUYER, Finding.NOT_JUDGED, 900)
        assert court.acts == [("open", BUYER), ("close", BUYER)]
        assert await buyer.storage.cursors.get("party.facts") is not None


async def test_who_is_found_wrong_and_knows_better_appeals_and_what_it_put_down_is_counted(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_pair(tmp_path) as (court, buyer, seller):
        await buyer.files.hold(refuted())
        await eventually(lambda: AWARD_ID in seller.files.open)
        court.decide(AWARD_ID, Finding.UPHELD)
        await eventually(lambda: court.cases[AWARD_ID].round.number == 1)
        court.decide(AWARD_ID, Finding.WRONG_RESULT)  # now the seller knows better
        await eventually(lambda: court.cases[AWARD_ID].round.number == 2)
        court.decide(AWARD_ID, Finding.WRONG_RESULT)
        states = [await ended(buyer), await ended(seller)]
        assert [state.finding for state in states] == [Finding.WRONG_RESULT] * 2
        fee = AWARD.dispute_fee
        assert [state.bonds for state in states] == [fee + fee // 5 * 11, fee // 5 * 23]
        accounts = [bond_account(AWARD_ID, number) for number in range(3)]
        assert buyer.bonds.closed == seller.bonds.closed == accounts, "nothing can be signed for them any more"
        assert court.acts == [("open", BUYER), ("appeal", BUYER), ("appeal", SELLER), ("close", BUYER)]


async def test_the_other_side_closes_what_the_opener_leaves(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_pair(tmp_path) as (court, buyer, seller):
        await buyer.files.hold(refuted())
        await eventually(lambda: AWARD_ID in seller.files.open)
        buyer.court.away = True
        assert (await ended(seller)).finding is Finding.NONE
        assert court.acts == [("open", BUYER), ("close", SELLER)]
        buyer.court.away = False
        assert (await ended(buyer)).finding is Finding.NONE, "told by the facts when the chain is back"
        assert len(court.acts) == 2


async def test_what_the_requester_finds_after_the_provider_went_to_court_counts(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_pair(tmp_path) as (court, buyer, _):
        court.open(AWARD, SELLER, Digest(b"\x01" * 32))
        await eventually(lambda: AWARD_ID in buyer.files.open)
        await buyer.files.hold(refuted())
        await buyer.files.hold(refuted())  # told twice
        court.decide(AWARD_ID, Finding.UPHELD)
        await eventually(lambda: ("appeal", BUYER) in court.acts)
        assert [type(event).__name__ for _, event in buyer.steps[:3]] == ["NoneType", "CaseBegan", "EvidenceFound"]


async def test_two_cases_at_once_don_t_wait_for_each_other(autojump_clock: MockClock, tmp_path: Path) -> None:
    other = replace(AWARD, attempt=1)
    other_id = digest(DOMAIN, other)
    briefs = [refuted(), refuted(other)]
    async with open_court() as court, open_lab_party(court, tmp_path, BUYER, papers=papers_of(*briefs)) as buyer:
        for brief in briefs:
            await buyer.files.hold(brief)
        await eventually(lambda: court.cases.keys() == {AWARD_ID, other_id})
        court.decide(other_id, Finding.WRONG_RESULT)
        assert (await ended(buyer, other_id)).finding is Finding.WRONG_RESULT
        assert AWARD_ID in buyer.files.open, "nobody voted: its round takes all its time"
        assert (await ended(buyer)).finding is Finding.NONE
        views = await buyer.party.views()
        assert {type(view.file.state) for view in views} == {Closed}


async def test_a_case_of_strangers_is_no_business_of_ours(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_court() as court, open_lab_party(court, tmp_path, BUYER) as buyer:
        court.open(replace(AWARD, requester=STRANGER), STRANGER, Digest(b"\x01" * 32))
        await trio.sleep(100)
        assert not buyer.files.open
        assert await buyer.party.views() == ()


# ------------------------------------------------------------------------------------------------------- escrow


async def test_on_an_escrow_the_case_waits_for_the_claim_and_its_dispute(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with (
        open_court() as court,
        open_lab_party(court, tmp_path, BUYER, papers=papers_of(refuted(ON_ESCROW))) as buyer,
    ):
        await buyer.files.hold(refuted(ON_ESCROW))
        await trio.sleep(100)
        assert not court.cases
        buyer.escrows.sight = EscrowSight(resolve_by=UnixTime(court.clock.now() + 2_400), is_over=False)
        await eventually(lambda: ESCROW_ID in court.cases)


async def test_a_provider_goes_to_court_over_a_disputed_claim_that_the_requester_leaves_at_that(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    brief = replace(refuted(ON_ESCROW), own=SELLER, rerun=None)
    async with (
        open_court() as court,
        open_lab_party(court, tmp_path, SELLER, papers=papers_of(brief)) as seller,
    ):
        wait = ON_ESCROW.resolve_within
        seller.escrows.sight = EscrowSight(resolve_by=UnixTime(court.clock.now() + wait), is_over=False)
        await seller.files.hold(brief)
        await trio.sleep(wait / 8)
        assert not court.cases, "whoever disputes has the first word"
        await eventually(lambda: ESCROW_ID in court.cases)
        assert court.acts == [("open", SELLER)]


async def test_an_escrow_that_was_closed_needs_no_court(autojump_clock: MockClock, tmp_path: Path) -> None:
    closed = FakeEscrows(sight=EscrowSight(resolve_by=None, is_over=True))
    async with open_court() as court, open_lab_party(court, tmp_path, BUYER, escrows=closed) as buyer:
        await buyer.files.hold(refuted(ON_ESCROW))
        await eventually(lambda: not buyer.files.open)
        file = await buyer.files.find(ESCROW_ID)
        assert file is not None
        assert isinstance(file.state, GivenUp)
        assert "without a claim" in file.state.reason


# ------------------------------------------------------------------------------------------- trouble of all kinds


async def test_a_bond_that_the_wallet_refuses_is_told_and_tried_again_until_it_is_granted(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_court() as court, open_lab_party(court, tmp_path, BUYER, papers=papers_of(refuted())) as buyer:
        buyer.court.refuses = refusal("the cap per day is reached")
        await buyer.files.hold(refuted())
        await eventually(lambda: buyer.court.refusals >= 2)
        (view,) = await buyer.party.views()
        assert view.problem == "the cap per day is reached (raise wallet.caps)"
        assert isinstance(view.file.state, Held)
        buyer.court.refuses = None
        await eventually(lambda: AWARD_ID in court.cases)
        await trio.sleep(10)
        (view,) = await buyer.party.views()
        assert view.problem == ""


async def test_a_case_that_the_configuration_leaves_alone_says_so_while_it_can_still_be_opened(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    shy = replace(ATTITUDE, open=False)
    async with open_court() as court, open_lab_party(court, tmp_path, BUYER, attitude=shy) as buyer:
        await buyer.files.hold(refuted())
        await trio.sleep(10)
        (view,) = await buyer.party.views()
        assert "disputes.open" in view.reluctance
        assert not court.cases
    async with open_court() as court, open_lab_party(court, tmp_path / "other", BUYER) as buyer:
        buyer.court.refuses = refusal("the cap per day is reached")
        await buyer.files.hold(refuted())
        await trio.sleep(10)
        (view,) = await buyer.party.views()
        assert view.reluctance == "", "it would"


async def test_a_bond_that_is_refused_for_too_long_ends_the_matter(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_court() as court, open_lab_party(court, tmp_path, BUYER) as buyer:
        buyer.court.refuses = refusal("the cap per day is reached")
        await buyer.files.hold(refuted())
        await eventually(lambda: not buyer.files.open)
        assert court.clock.now() > deadlines_of(AWARD).latest_dispute_by
        file = await buyer.files.find(AWARD_ID)
        assert file is not None
        assert isinstance(file.state, GivenUp)
        assert "too late" in file.state.reason
        await buyer.files.hold(refuted())  # held again, it stays over
        assert not buyer.files.open


async def test_an_appeal_that_is_refused_for_too_long_leaves_the_decision_and_the_case_is_closed(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_court() as court, open_lab_party(court, tmp_path, BUYER, papers=papers_of(refuted())) as buyer:
        await buyer.files.hold(refuted())
        await eventually(lambda: AWARD_ID in court.cases)
        buyer.court.refuses = refusal("the purse is empty")
        court.decide(AWARD_ID, Finding.UPHELD)
        assert (await ended(buyer)).finding is Finding.UPHELD
        assert buyer.court.refusals >= 2
        assert [act for act, _ in court.acts] == ["open", "close"]


async def test_a_chain_that_is_away_only_delays(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_court() as court, open_lab_party(court, tmp_path, BUYER, papers=papers_of(refuted())) as buyer:
        buyer.court.away = True
        await buyer.files.hold(refuted())
        await trio.sleep(120)
        (view,) = await buyer.party.views()
        assert (view.sight, "reached" in view.problem) == (None, True)
        buyer.court.away = False
        await eventually(lambda: AWARD_ID in court.cases)
        buyer.court.away = True
        court.decide(AWARD_ID, Finding.WRONG_RESULT)
        await trio.sleep(300)
        buyer.court.away = False
        assert (await ended(buyer)).finding is Finding.WRONG_RESULT


DURABLE_STEPS_AND_TRANSACTIONS = 10


@pytest.mark.parametrize("step", range(DURABLE_STEPS_AND_TRANSACTIONS + 1))
async def test_a_crash_after_any_durable_step_or_transaction_changes_nothing(
    autojump_clock: MockClock, tmp_path: Path, step: int
) -> None:
    crash = CrashAt(step)
    async with open_court() as court, trio.open_nursery() as nursery:
        nursery.start_soon(vote_at_once, court)
        runs = 0
        while True:
            runs += 1
            courthouse = FakeCourthouse(court, BUYER)
            courthouse.after_send = crash
            papers = papers_of(refuted())
            with trio.CancelScope() as crash.scope:
                async with open_lab_party(
                    court, tmp_path, BUYER, papers=papers, courthouse=courthouse, on_step=crash
                ) as buyer:
                    await buyer.files.hold(refuted())
                    state = await ended(buyer)
                assert (state.finding, state.number) == (Finding.WRONG_RESULT, 1)
                assert state.bonds == AWARD.dispute_fee + AWARD.dispute_fee // 5 * 11
                break
        nursery.cancel_scope.cancel()
        assert runs == (1 if step == DURABLE_STEPS_AND_TRANSACTIONS else 2)
        assert court.acts == [("open", BUYER), ("appeal", BUYER), ("close", BUYER)]


async def test_a_case_that_was_given_up_right_before_a_crash_is_not_taken_up_again(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_court() as court:
        with trio.CancelScope() as scope:
            closed = FakeEscrows(sight=EscrowSight(resolve_by=None, is_over=True))
            steps = 0

            def crash() -> None:
                nonlocal steps
                steps += 1
                if steps == 2:  # the reason was held, then given up
                    scope.cancel()

            async with open_lab_party(court, tmp_path, BUYER, escrows=closed, on_step=crash) as buyer:
                await buyer.files.hold(refuted(ON_ESCROW))
                await trio.sleep_forever()
        assert scope.cancelled_caught
        async with open_lab_party(court, tmp_path, BUYER) as buyer:
            assert not buyer.files.open
            (view,) = await buyer.party.views()
            assert isinstance(view.file.state, GivenUp)


async def vote_at_once(court: FakeCourt) -> None:
    """Be a committee that is wrong in the first round and right from then on."""
    while True:
        await trio.sleep(1)
        case = court.cases.get(AWARD_ID)
        if case is not None and case.vote is None:
            court.decide(AWARD_ID, Finding.WRONG_RESULT if case.round.number else Finding.UPHELD)


# ------------------------------------------------------------------------------------------------------ dossiers


async def ask(party: LabParty, wallet: Address | None, award: Digest = AWARD_ID) -> Dossier:
    peer = PeerId("stranger" if wallet is None else wallet.hex())
    answer = await party.peers.handlers[DOSSIER_METHOD](peer, encode(DossierRequest(award=award)))
    return decode(Dossier, answer)


async def test_committee_and_other_side_are_shown_the_dossier_and_granted_its_blobs_and_nobody_else(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_pair(tmp_path) as (court, buyer, seller):
        with pytest.raises(NoCaseYet):
            await ask(seller, ARBITERS[0])
        assert (await ask(seller, BUYER)).receipt == RECEIPT, "who may still go to court sees first what it is about"
        await buyer.files.hold(refuted())
        await eventually(lambda: AWARD_ID in seller.files.open)
        seller.peers.granted.clear()
        for wallet, problem in ((None, NotIntroduced), (STRANGER, NotInCommittee)):
            with pytest.raises(problem):
                await ask(seller, wallet)
        with pytest.raises(NoCaseOfOurs):
            await ask(seller, ARBITERS[0], Digest(b"\x66" * 32))
        assert not {wallet for _, wallet in seller.peers.granted} & {STRANGER}
        seller.court.is_drawn = False
        with pytest.raises(NotDrawnYet):
            await ask(seller, ARBITERS[0])
        await ask(seller, BUYER)
        seller.court.is_drawn = True
        seller.peers.granted.clear()
        shown = await ask(seller, ARBITERS[0])
        assert (shown.award, shown.receipt) == (AWARD, RECEIPT)
        blobs = {MANIFEST.module.digest, blob("input 1").digest, RECEIPT.value.output, RECEIPT.value.logs}
        assert seller.peers.granted == {(each, ARBITERS[0]) for each in blobs}
        court.decide(AWARD_ID, Finding.WRONG_RESULT)
        await ended(buyer)
        with pytest.raises(NoCaseOfOurs, match="over"):
            await ask(buyer, ARBITERS[0])


async def test_a_case_about_a_part_that_was_paid_is_shown_the_part_that_came_later(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_pair(tmp_path) as (court, _, seller):
        court.open(AWARD, BUYER, Digest(b"\x0b" * 32), part=0)
        await eventually(lambda: AWARD_ID in seller.files.open)
        shown = await ask(seller, ARBITERS[0])
        assert (shown.receipt, shown.before) == (RECEIPT, ACCEPTANCE)


async def test_a_case_about_a_claim_on_an_escrow_is_shown_that_claim(autojump_clock: MockClock, tmp_path: Path) -> None:
    papers = papers_of(brief_about(ON_ESCROW, SELLER))
    async with open_court() as court, open_lab_party(court, tmp_path, SELLER, papers=papers) as seller:
        court.open(ON_ESCROW, BUYER, Digest(b"\x0b" * 32), part=0)
        await eventually(lambda: ESCROW_ID in seller.files.open)
        assert (await ask(seller, ARBITERS[0], ESCROW_ID)).receipt is None


async def test_a_court_that_can_not_be_reached_refuses_nobody_for_good(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_pair(tmp_path) as (_, buyer, seller):
        await buyer.files.hold(refuted())
        await eventually(lambda: AWARD_ID in seller.files.open)
        seller.court.away = True
        with pytest.raises(TransientError):
            await ask(seller, ARBITERS[0])
        await ask(seller, BUYER)


async def test_the_committee_is_shown_the_dossier_unasked_and_who_is_away_a_little_later(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_pair(tmp_path) as (court, buyer, _):
        buyer.peers.unreachable = {ARBITERS[0]}
        await buyer.files.hold(refuted())
        await eventually(lambda: len(buyer.peers.sent) == len(ARBITERS) - 1)
        buyer.peers.unreachable = set()
        await trio.sleep(100)
        assert sorted(wallet for wallet, _, _ in buyer.peers.sent) == sorted(ARBITERS), "each is told once"
        assert {method for _, method, _ in buyer.peers.sent} == {EVIDENCE_METHOD}
        assert decode(Dossier, buyer.peers.sent[0][2]).award == AWARD
        court.decide(AWARD_ID, Finding.UPHELD)
        await eventually(lambda: len(buyer.peers.sent) == 2 * len(ARBITERS))  # the next round's is told anew


async def test_what_a_case_is_judged_by_is_kept_as_long_as_it_can_be_judged(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_pair(tmp_path) as (court, buyer, _):
        async with buyer.storage.blobs.open_writer(max_bytes=100, expected=MANIFEST.module.digest) as writer:
            await writer.write(b"module")
            await writer.commit(keep_until=court.clock.now())
        await buyer.files.hold(refuted())
        await eventually(lambda: AWARD_ID in court.cases)
        await trio.sleep(1_000)
        await buyer.storage.blobs.collect_garbage()
        assert await buyer.storage.blobs.has(MANIFEST.module.digest)
