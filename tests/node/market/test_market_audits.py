"""Audits on the payment path: what is drawn is run again before it is accepted, and a lie is not paid."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.market.auction_run import auction_machine
from node.market.auction_run import stream_of as auction_stream
from node.market.case_book import CASE, PREFIX, stream_of
from node.market.delivery_run import DELIVERY
from node.market.delivery_run import stream_of as delivery_stream
from node.market.purchase_run import PURCHASE
from node.market.purchase_run import stream_of as purchase_stream
from node.reputation.conduct import Reputations
from node.storage.machine_log import load_machine
from protocol.errors import ProtocolError, StoaError, TransientError
from protocol.identity import Address, ContentDigest, Digest
from protocol.market.auction_states import Decided
from protocol.reputation.beta import NEWCOMER, Record, compute_reputation
from protocol.signing.eip712 import digest
from protocol.signing.keccak import keccak256
from protocol.task import delivery, purchase
from protocol.task.audit import Finding
from protocol.task.messages import (
    FAILURE_METHOD,
    PAYMENT_METHOD,
    RECEIPT_METHOD,
    SEAL_METHOD,
    FailureNotice,
    SealNotice,
)
from protocol.task.outcome import Outcome
from protocol.task.verification import Audit, Trust, Verification, adapt_rate, is_audited, seal
from protocol.units import WHOLE, BasisPoints
from protocol.wire.codec import encode
from tests.node.market.fake_bank import DOMAIN
from tests.node.market.fake_sandbox import FakeSandbox, output_of
from tests.node.market.mallory_lab import (
    Stage,
    bend,
    blob_of,
    check_books,
    finish,
    holds_outputs,
    open_stage,
    run_for_a_while,
    trade_honestly,
    wait_idle,
    wait_until,
)
from tests.node.market.market_lab import LabNode, make_wish

ALWAYS = Audit(rate=BasisPoints(WHOLE))
PARTS = 3
EMPTY = ContentDigest(bytes(32))


def made_up(part: int) -> bytes:
    return b"made up result of %d" % part


def writes_otherwise(sandbox: FakeSandbox) -> None:
    sandbox.writes = made_up


def bills_more_fuel(sandbox: FakeSandbox) -> None:
    sandbox.fuel += 1_000_000


def ends_otherwise(sandbox: FakeSandbox) -> None:
    sandbox.outcome = 7


LIES: dict[str, Callable[[FakeSandbox], None]] = {
    "another output": writes_otherwise,
    "more fuel": bills_more_fuel,
    "another outcome": ends_otherwise,
}


def ends_unjudged(outcome: Outcome) -> Callable[[FakeSandbox], None]:
    def spoil(sandbox: FakeSandbox) -> None:
        sandbox.outcome = int(outcome)

    return spoil


def raises(error: StoaError) -> Callable[[FakeSandbox], None]:
    def spoil(sandbox: FakeSandbox) -> None:
        sandbox.fails = error

    return spoil


def runs_another_engine(sandbox: FakeSandbox) -> None:
    sandbox.engine = keccak256(b"another engine")


TROUBLES: dict[str, Callable[[FakeSandbox], None]] = {
    "too slow": ends_unjudged(Outcome.WALL_LIMIT),
    "a stack overflow": ends_unjudged(Outcome.STACK_OVERFLOW),
    "workers that die": raises(TransientError("the worker died")),
    "no room": raises(ProtocolError("no room")),
    "another engine": runs_another_engine,
}


async def buy(stage: Stage, policy: Verification = ALWAYS, *, parts: int = PARTS) -> Digest:
    requester = stage.honest[0]
    wish = await make_wish(requester, parts=parts, budget=130_000 * parts)
    return await requester.requester.submit(replace(wish, verification=policy))


async def reputation_of(node: LabNode, provider: LabNode) -> int:
    opinions = await Reputations(node.storage.journal, node.storage.read).of([provider.wallet])
    return opinions[provider.wallet]


def events_of(stage: Stage, offer_id: Digest, kind: type[Any]) -> list[Any]:
    return [event for event in stage.hub.purchases[offer_id] if isinstance(event, kind)]


async def test_an_honest_provider_is_audited_at_every_part_and_paid(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_stage(tmp_path, prices=(100_000,)) as stage:
        requester, provider = stage.honest
        offer_id = await buy(stage)
        row = await finish(requester, offer_id)
        assert (row.state, row.paid_parts, row.attempt) == ("done", PARTS, 0)
        assert requester.sandbox.runs == provider.sandbox.runs == list(range(PARTS))
        passed = events_of(stage, offer_id, purchase.AuditPassed)
        assert [event.finding for event in passed] == [Finding.EQUAL] * PARTS
        await wait_idle(stage)
        await check_books(stage)
        assert stage.bank.purses[provider.wallet] == row.spent > 0
        assert await reputation_of(requester, provider) == compute_reputation(Record(settled=PARTS))


@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_is_found_not_paid_remembered_and_taken_to_court(
    autojump_clock: MockClock, tmp_path: Path, lie: str
) -> None:
    async with open_stage(tmp_path, prices=(110_000,)) as stage:
        mallory = await stage.join("mallory", gfuel=100_000)
        LIES[lie](mallory.sandbox)
        requester, standby = stage.honest
        offer_id = await buy(stage)
        row = await finish(requester, offer_id)
        assert (row.state, row.paid_parts, row.attempt) == ("done", PARTS, 1)
        assert stage.bank.purses[mallory.wallet] == 0
        assert stage.bank.purses[standby.wallet] == row.spent > 0
        assert not any(stage.bank.held.values()), "what was promised to the liar is asked back"
        assert await holds_outputs(requester, PARTS)
        await wait_idle(stage)
        await check_books(stage)

        (refuted,) = events_of(stage, offer_id, purchase.AuditRefuted)
        held = (await load_machine(requester.storage.journal, CASE, stream_of(refuted.receipt_id))).context
        case = held.case
        assert (case.award.value.provider, case.receipt.value.part) == (mallory.wallet, 0)
        assert digest(DOMAIN, case.receipt.value) == refuted.receipt_id
        assert digest(DOMAIN, held.offer.value) == offer_id
        assert case.rerun.output == blob_of(output_of(0))
        for evidence in (case.receipt.value.output, case.rerun.output):
            assert await requester.storage.blobs.has(evidence)
        assert await reputation_of(requester, mallory) == compute_reputation(Record(refuted=1))
        assert compute_reputation(Record(refuted=1)) < compute_reputation(Record(failed=1)) // 10

        await trade_honestly(stage)


async def test_a_lie_at_the_second_part_leaves_the_first_one_paid(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_stage(tmp_path, prices=(110_000,)) as stage:
        mallory = await stage.join("mallory", gfuel=100_000)

        def from_the_second_on(part: int) -> bytes:
            return made_up(part) if part else output_of(part)

        mallory.sandbox.writes = from_the_second_on
        requester, standby = stage.honest
        row = await finish(requester, offer_id := await buy(stage))
        assert (row.state, row.attempt) == ("done", 1)
        assert stage.bank.purses[mallory.wallet] > 0
        assert stage.bank.purses[mallory.wallet] + stage.bank.purses[standby.wallet] == row.spent
        (refuted,) = events_of(stage, offer_id, purchase.AuditRefuted)
        assert "part 1" in refuted.reason
        await wait_idle(stage)
        await check_books(stage)


async def test_what_the_lot_spares_is_not_run_again_and_the_provider_can_check_the_lot(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    policy, parts = Audit(rate=BasisPoints(1_500)), 16
    async with open_stage(tmp_path, prices=(100_000,)) as stage:
        requester, provider = stage.honest
        offer_id = await buy(stage, policy, parts=parts)
        row = await finish(requester, offer_id)
        assert row.state == "done"
        await wait_idle(stage)
        award_id = next(iter(stage.hub.jobs))
        delivered = (await load_machine(provider.storage.journal, DELIVERY, delivery_stream(award_id))).state
        assert isinstance(delivered, delivery.Delivered)
        assert delivered.secret is not None
        assert seal(delivered.secret) == delivered.job.award.value.audit_seal
        rate = adapt_rate(policy.rate, compute_reputation(NEWCOMER))
        receipts = [event.receipt_id for event in events_of(stage, offer_id, purchase.PartReceived)]
        drawn = [part for part, receipt in enumerate(receipts) if is_audited(delivered.secret, receipt, rate)]
        assert requester.sandbox.runs == drawn
        assert 0 < len(drawn) < parts, "the seed draws some and spares some, or this shows nothing"


async def test_the_secret_is_durable_before_the_award_and_told_with_the_last_payment_only(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    sent: list[tuple[str, bytes]] = []

    def listen(_source: object, what: str, data: bytes) -> bytes:
        sent.append((what, data))
        return data

    async with open_stage(tmp_path, prices=(100_000,)) as stage:
        requester = stage.honest[0]
        stage.hub.twist = listen
        offer_id = await buy(stage)
        auction = requester.requester.tasks[offer_id].auction
        await wait_until(lambda: any(what.startswith("task/award") for what, _ in sent))
        stored = await load_machine(requester.storage.journal, auction_machine(DOMAIN), auction_stream(offer_id))
        assert isinstance(stored.state, Decided)
        secret, award = stored.state.assignments[0].secret, stored.state.assignments[0].award
        assert secret is not None
        assert award is not None
        assert award.audit_seal == seal(secret)
        assert auction.lot_of(award) is not None
        await finish(requester, offer_id)
        told = [index for index, (_, data) in enumerate(sent) if secret in data]
        paid = [index for index, (what, _) in enumerate(sent) if what == PAYMENT_METHOD]
        assert {sent[index][0] for index in told} == {SEAL_METHOD}
        assert paid[PARTS - 2] < min(told) < paid[PARTS - 1], "after all but the last payment"


async def test_who_opens_the_seal_wrongly_pays_all_the_same(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_stage(tmp_path, prices=(100_000,)) as stage:
        requester, provider = stage.honest
        other = Digest(b"\x07" * 32)
        bent = bend(stage, requester, SEAL_METHOD, lambda each: replace(each, secret=other), kind=SealNotice)
        row = await finish(requester, await buy(stage))
        await wait_idle(stage)
        assert bent[0] > 0
        award_id = next(iter(stage.hub.jobs))
        delivered = (await load_machine(provider.storage.journal, DELIVERY, delivery_stream(award_id))).state
        assert isinstance(delivered, delivery.Delivered)
        assert (delivered.secret, delivered.paid) == (None, row.spent)


async def test_under_trust_nothing_is_sealed_or_run_again(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_stage(tmp_path, prices=(100_000,)) as stage:
        writes_otherwise(stage.honest[1].sandbox)
        row = await finish(stage.honest[0], await buy(stage, Trust()))
        assert row.state == "done", "trust pays for whatever comes"
        assert stage.honest[0].sandbox.runs == []
        (job,) = stage.hub.jobs.values()
        assert job.award.value.audit_seal == bytes(32)


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_an_audit_that_comes_to_nothing_is_never_held_against_the_provider(
    autojump_clock: MockClock, tmp_path: Path, trouble: str
) -> None:
    async with open_stage(tmp_path, prices=(100_000,)) as stage:
        requester, provider = stage.honest
        TROUBLES[trouble](requester.sandbox)
        row = await finish(requester, offer_id := await buy(stage))
        assert (row.state, row.attempt) == ("done", 0)
        passed = events_of(stage, offer_id, purchase.AuditPassed)
        assert {event.finding for event in passed} == {Finding.UNDECIDED}
        await wait_idle(stage)
        await check_books(stage)
        assert await reputation_of(requester, provider) == compute_reputation(Record(settled=PARTS))


async def test_a_crash_in_the_middle_of_an_audit_runs_it_again(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_stage(tmp_path, prices=(110_000,), buys=False) as stage:
        mallory = await stage.join("mallory", gfuel=100_000)
        writes_otherwise(mallory.sandbox)
        requester, scope = await stage.hub.nursery.start(partial(run_for_a_while, stage), "requester", None)
        stage.bank.purses[requester.wallet] = 10_000_000
        wish = replace(await make_wish(requester, parts=PARTS), verification=ALWAYS)
        offer_id = await requester.requester.submit(wish)
        bought = requester.requester.tasks[offer_id].purchase
        await wait_until(lambda: isinstance(bought.state, purchase.Auditing) and bool(requester.sandbox.runs))
        first = bought.state
        scope.cancel()
        await wait_until(lambda: requester.wallet not in stage.hub.nodes)
        requester, _ = await stage.hub.nursery.start(partial(run_for_a_while, stage), "requester", None)
        again = requester.requester.tasks[offer_id].purchase.state
        assert again == first, "the receipt in question is the one that was drawn before the crash"
        row = await finish(requester, offer_id)
        assert (row.state, row.attempt) == ("done", 1)
        assert requester.sandbox.runs[0] == 0
        assert stage.bank.purses[mallory.wallet] == 0
        streams = await requester.storage.journal.streams(PREFIX)
        assert len(list(streams)) == 1


async def test_giving_up_or_sending_another_receipt_does_not_end_an_audit(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_stage(tmp_path, prices=(110_000,)) as stage:
        mallory = await stage.join("mallory", gfuel=100_000)
        writes_otherwise(mallory.sandbox)
        requester = stage.honest[0]
        offer_id = await buy(stage)
        bought = requester.requester.tasks[offer_id].purchase
        await wait_until(lambda: isinstance(bought.state, purchase.Auditing))
        state = bought.state
        assert isinstance(state, purchase.Auditing)
        notice = FailureNotice(award=state.award_id, part=0, outcome=0, logs=EMPTY, reason="my disk died")
        await mallory.peers.call(requester.wallet, FAILURE_METHOD, encode(notice))
        assert bought.state is state
        row = await finish(requester, offer_id)
        assert (row.state, row.attempt) == ("done", 1)
        assert len(events_of(stage, offer_id, purchase.AuditRefuted)) == 1
        assert stage.bank.purses[mallory.wallet] == 0


async def test_who_cancels_while_an_audit_runs_pays_for_what_it_finds_to_be_right(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_stage(tmp_path, prices=(100_000,)) as stage:
        requester, provider = stage.honest
        offer_id = await buy(stage)
        bought = requester.requester.tasks[offer_id].purchase
        await wait_until(lambda: isinstance(bought.state, purchase.Auditing))
        requester.requester.cancel(offer_id)
        row = await finish(requester, offer_id)
        assert (row.state, row.paid_parts) == ("cancelled", 1)
        await wait_until(lambda: stage.bank.purses[provider.wallet] == row.spent > 0)
        await wait_idle(stage)
        await check_books(stage)


async def test_receipts_that_are_sent_again_during_an_audit_are_answered_and_not_piled_up(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_stage(tmp_path, prices=(100_000,)) as stage:
        requester, provider = stage.honest
        last: list[bytes] = []
        twist_before = stage.hub.twist

        def listen(source: Address, what: str, data: bytes) -> bytes:
            if what == RECEIPT_METHOD:
                last.append(data)
            return twist_before(source, what, data)

        stage.hub.twist = listen
        offer_id = await buy(stage, parts=1)
        bought = requester.requester.tasks[offer_id].purchase
        await wait_until(lambda: isinstance(bought.state, purchase.Auditing))
        for _ in range(40):
            assert await provider.peers.call(requester.wallet, RECEIPT_METHOD, last[0]) == b""
        assert (await finish(requester, offer_id)).state == "done"
        stored = (await load_machine(requester.storage.journal, PURCHASE, purchase_stream(offer_id))).state
        assert isinstance(stored, purchase.Done)


async def test_a_market_trades_on_after_an_audit(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_stage(tmp_path, prices=(100_000,)) as stage:
        await finish(stage.honest[0], await buy(stage))
        await wait_idle(stage)
        await trade_honestly(stage)
        await trio.lowlevel.checkpoint()
