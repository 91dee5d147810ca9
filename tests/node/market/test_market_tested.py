"""Tasks whose result differs from run to run, on the payment path: what passes its test is paid, a lie is not."""

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from blake3 import blake3
from trio.testing import MockClock

from node.market.case_book import CASE, stream_of
from node.storage.machine_log import load_machine
from protocol.errors import ProtocolError, TransientError
from protocol.identity import ContentDigest, Digest
from protocol.task import purchase
from protocol.task.audit import Finding
from protocol.task.manifest import Blob
from protocol.task.outcome import Outcome
from protocol.task.verification import ByTest
from protocol.units import Amount, UnixTime
from tests.node.market.fake_hub import EPOCH
from tests.node.market.fake_sandbox import FakeSandbox
from tests.node.market.mallory_lab import Stage, check_books, finish, open_stage, wait_idle
from tests.node.market.market_lab import LabNode, make_wish
from tests.node.market.test_market_audits import events_of

PARTS = 3
CHECK = b"the test"


async def buy(stage: Stage, *, fuel: int = 1_000_000) -> Digest:
    requester = stage.honest[0]
    await requester.storage.blobs.put(CHECK, keep_until=UnixTime(EPOCH + 10**6))
    module = Blob(digest=ContentDigest(blake3(CHECK).digest()), size=len(CHECK))
    wish = await make_wish(requester, parts=PARTS, budget=130_000 * PARTS)
    policy = ByTest(module=module, fuel=fuel, memory_mib=16)
    return await requester.requester.submit(replace(wish, verification=policy))


def writes_ever_anew(sandbox: FakeSandbox) -> None:
    numbers = count()
    sandbox.writes = lambda part: b"right: part %d, try %d" % (part, next(numbers))


def judges(sandbox: FakeSandbox) -> None:
    sandbox.passes = lambda output: 0 if output.startswith(b"right") else 1


def lies(node: LabNode) -> None:
    """Let a provider write what fails, and believe that it passes."""
    node.sandbox.writes = lambda part: b"wrong: part %d" % part
    node.sandbox.passes = lambda _output: 0


async def test_ever_new_results_that_pass_are_paid_the_whole_price(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_stage(tmp_path, prices=(100_000,)) as stage:
        requester, provider = stage.honest
        for node in stage.honest:
            judges(node.sandbox)
        writes_ever_anew(provider.sandbox)
        offer_id = await buy(stage)
        row = await finish(requester, offer_id)
        assert (row.state, row.paid_parts, row.attempt) == ("done", PARTS, 0)
        (won,) = events_of(stage, offer_id, purchase.WinnerChosen)
        assert stage.bank.purses[provider.wallet] == row.spent == won.award.value.price
        assert requester.sandbox.runs == [], "no part was run again"
        assert (
            requester.sandbox.tests == provider.sandbox.tests == [b"right: part %d, try %d" % (n, n) for n in range(3)]
        )
        assert [event.finding for event in events_of(stage, offer_id, purchase.AuditPassed)] == [Finding.EQUAL] * PARTS
        await wait_idle(stage)
        await check_books(stage)


async def test_the_guest_has_true_chance_and_time(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_stage(tmp_path, prices=(100_000,)) as stage:
        requester, provider = stage.honest
        await finish(requester, await buy(stage))
        seen = provider.sandbox.seen
        wished = (await make_wish(requester, parts=PARTS)).manifest
        assert len({each.seed for each in seen}) == PARTS
        assert wished.seed not in {each.seed for each in seen}
        assert all(each.clock > EPOCH for each in seen)
        assert {replace(each, clock=wished.clock, seed=wished.seed) for each in seen} == {wished}, (
            "nothing else differs"
        )


async def test_an_output_that_fails_is_not_paid_and_taken_to_court(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_stage(tmp_path, prices=(110_000,)) as stage:
        mallory = await stage.join("mallory", gfuel=100_000)
        requester, standby = stage.honest
        for node in stage.honest:
            judges(node.sandbox)
        writes_ever_anew(standby.sandbox)
        lies(mallory)
        offer_id = await buy(stage)
        row = await finish(requester, offer_id)
        assert (row.state, row.paid_parts, row.attempt) == ("done", PARTS, 1)
        assert stage.bank.purses[mallory.wallet] == 0
        assert stage.bank.purses[standby.wallet] == row.spent > 0
        await wait_idle(stage)
        await check_books(stage)
        (refuted,) = events_of(stage, offer_id, purchase.AuditRefuted)
        assert "failed the test" in refuted.reason
        case = (await load_machine(requester.storage.journal, CASE, stream_of(refuted.receipt_id))).context.case
        assert case.award.value.provider == mallory.wallet
        assert case.rerun.outcome == 1
        assert await requester.storage.blobs.has(case.receipt.value.output)


@pytest.mark.parametrize("outcome", [Outcome.STACK_OVERFLOW, Outcome.CPU_LIMIT, Outcome.WALL_LIMIT])
async def test_what_an_output_may_have_brought_about_is_contested_and_not_paid(
    autojump_clock: MockClock, tmp_path: Path, outcome: Outcome
) -> None:
    async with open_stage(tmp_path, prices=(110_000,)) as stage:
        mallory = await stage.join("mallory", gfuel=100_000)
        requester = stage.honest[0]
        requester.sandbox.passes = lambda output: int(outcome) if output.startswith(b"wrong") else 0
        lies(mallory)
        offer_id = await buy(stage)
        row = await finish(requester, offer_id)
        assert (row.state, row.attempt) == ("done", 1)
        assert stage.bank.purses[mallory.wallet] == 0
        assert len(events_of(stage, offer_id, purchase.ReceiptContested)) == 1
        assert not events_of(stage, offer_id, purchase.AuditRefuted)


def fails_now(sandbox: FakeSandbox) -> None:
    sandbox.fails_tests = TransientError("no worker")


def can_not(sandbox: FakeSandbox) -> None:
    sandbox.fails_tests = ProtocolError("no room")


def breaks_down(sandbox: FakeSandbox) -> None:
    sandbox.passes = lambda _output: int(Outcome.HOST_FAILURE)


@pytest.mark.parametrize("trouble", [fails_now, can_not, breaks_down])
async def test_where_the_requesters_own_machine_fails_the_work_is_paid(
    autojump_clock: MockClock, tmp_path: Path, trouble: Callable[[FakeSandbox], None]
) -> None:
    async with open_stage(tmp_path, prices=(100_000,)) as stage:
        requester, provider = stage.honest
        trouble(requester.sandbox)
        offer_id = await buy(stage)
        row = await finish(requester, offer_id)
        assert row.state == "done"
        assert stage.bank.purses[provider.wallet] == row.spent > 0
        passed = events_of(stage, offer_id, purchase.AuditPassed)
        assert [event.finding for event in passed] == [Finding.UNDECIDED] * PARTS


async def test_a_provider_whose_output_fails_signs_nothing_and_a_standby_does_the_work(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_stage(tmp_path, prices=(110_000,)) as stage:
        unlucky = await stage.join("unlucky", gfuel=100_000)
        requester, standby = stage.honest
        for node in (*stage.honest, unlucky):
            judges(node.sandbox)
        writes_ever_anew(standby.sandbox)
        offer_id = await buy(stage)
        row = await finish(requester, offer_id)
        assert (row.state, row.attempt) == ("done", 1)
        assert stage.bank.purses[standby.wallet] == row.spent > 0
        assert len(unlucky.sandbox.tests) == 1
        (failed,) = events_of(stage, offer_id, purchase.ProviderFailed)
        assert "its output fails the test" in failed.reason
        assert not events_of(stage, offer_id, purchase.AuditRefuted)


async def test_a_test_that_says_nothing_is_no_reason_to_sign_and_the_requester_is_told_why(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_stage(tmp_path, prices=(100_000,)) as stage:
        requester, provider = stage.honest
        provider.sandbox.passes = lambda _output: int(Outcome.STACK_OVERFLOW)
        offer_id = await buy(stage)
        row = await finish(requester, offer_id)
        assert (row.state, row.spent) == ("failed", Amount(0))
        (failed,) = events_of(stage, offer_id, purchase.ProviderFailed)
        assert "the test of its output can't be judged: stack overflow" in failed.reason


async def test_a_run_that_fails_is_not_tested_and_not_signed_for(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_stage(tmp_path, prices=(100_000,)) as stage:
        requester, provider = stage.honest
        provider.sandbox.outcome = 3
        offer_id = await buy(stage)
        row = await finish(requester, offer_id)
        assert (row.state, row.spent) == ("failed", Amount(0))
        assert provider.sandbox.tests == []
        (failed,) = events_of(stage, offer_id, purchase.ProviderFailed)
        assert "exit code 3" in failed.reason


async def test_a_test_that_is_dearer_than_the_budget_allows_is_not_bid_on(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_stage(tmp_path, prices=(100_000,)) as stage:
        requester = stage.honest[0]
        row = await finish(requester, await buy(stage, fuel=10**9))
        assert row.state == "failed"
        assert "budget" in "".join(stage.honest[1].provider.reasons)
