"""A stranger that heard the gossip and speaks up in conversations of others: nobody believes it."""

from dataclasses import replace
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from protocol.errors import ProtocolError
from protocol.identity import ContentDigest, Digest
from protocol.task import purchase
from protocol.task.messages import (
    AWARD_METHOD,
    CANCEL_METHOD,
    FAILURE_METHOD,
    FUNDING_METHOD,
    PAYMENT_METHOD,
    PROGRESS_METHOD,
    RECEIPT_METHOD,
    START_METHOD,
    AwardNotice,
    CancelNotice,
    FailureNotice,
    FundingNotice,
    Notes,
    PaymentNotice,
    ProgressNotice,
    ReceiptNotice,
    StartNotice,
)
from protocol.task.objects import Acceptance, Receipt, Start
from protocol.units import Amount, UnixTime
from protocol.wire.codec import encode
from tests.node.market.fake_hub import EPOCH
from tests.node.market.mallory_lab import (
    award_in_force,
    check_books,
    finish,
    id_of,
    open_stage,
    row_of,
    run_for_a_while,
    signed_by,
    trade_honestly,
    wait_idle,
    wait_until,
)
from tests.node.market.market_lab import make_wish

EMPTY = ContentDigest(bytes(32))


def forged_receipt(award_id: Digest, part: int, due: int) -> ReceiptNotice:
    receipt = Receipt(
        award=award_id,
        part=part,
        outcome=0,
        output=EMPTY,
        logs=EMPTY,
        fuel=1,
        peak_mib=1,
        bytes_in=17,
        bytes_out=0,
        due=Amount(due),
        notes=EMPTY,
    )
    notes = Notes(wall_ms=1, cpu_ms=1, host="stranger")
    return ReceiptNotice(receipt=signed_by("stranger", receipt), output_bytes=0, log_bytes=0, notes=notes)


async def test_a_stranger_can_not_start_fail_or_bill_an_award_of_others(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_stage(tmp_path, prices=(100_000, 110_000)) as stage:
        requester = stage.honest[0]
        stranger = await stage.join("stranger")
        offer_id = await requester.requester.submit(await make_wish(requester, parts=4, budget=1_000_000))
        task = requester.requester.tasks[offer_id].purchase
        refused = 0
        while offer_id in requester.requester.tasks:
            await trio.sleep(0.05)
            if not isinstance(task.state, purchase.Funding | purchase.Awaiting | purchase.Running):
                continue
            award_id = task.state.award_id
            start = signed_by("stranger", Start(award=award_id, at=UnixTime(EPOCH)))
            part = task.state.progress.paid_parts
            for method, body in (
                (START_METHOD, encode(StartNotice(start=start))),
                (RECEIPT_METHOD, encode(forged_receipt(award_id, part, 1))),
                (FAILURE_METHOD, encode(FailureNotice(award=award_id, part=0, outcome=0, logs=EMPTY, reason="ha"))),
                (PROGRESS_METHOD, encode(ProgressNotice(award=award_id, part=9, fuel=9, bytes_out=9))),
            ):
                try:
                    await stranger.peers.call(requester.wallet, method, body)
                except ProtocolError:
                    refused += 1
        row = await row_of(requester, offer_id)
        assert (row.state, row.attempt, row.paid_parts) == ("done", 0, 4)
        assert refused > 10
        await wait_idle(stage)
        await check_books(stage)
        await trade_honestly(stage)


async def test_a_stranger_can_not_keep_a_provider_alive_that_has_vanished(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_stage(tmp_path, prices=(110_000,)) as stage:
        requester = stage.honest[0]
        stranger = await stage.join("stranger")
        async with trio.open_nursery() as nursery:
            winner, cancel = await nursery.start(run_for_a_while, stage, "winner", 100_000)
            assert not winner.provider.deliveries
            offer_id = await requester.requester.submit(await make_wish(requester, parts=3, budget=1_000_000))
            task = requester.requester.tasks[offer_id].purchase
            await wait_until(lambda: task.state.progress.paid_parts == 1)
            first = award_in_force(requester, offer_id)
            cancel.cancel()
            gone_at = trio.current_time()
            body = encode(ProgressNotice(award=id_of(first.value), part=1, fuel=1, bytes_out=1))
            receipt = encode(forged_receipt(id_of(first.value), 1, 10**5))
            while task.state.progress.attempt == 0:
                for method, data in ((PROGRESS_METHOD, body), (RECEIPT_METHOD, receipt)):
                    with pytest.raises(ProtocolError):
                        await stranger.peers.call(requester.wallet, method, data)
                await trio.sleep(0.3)
            assert trio.current_time() - gone_at < 10
            row = await finish(requester, offer_id)
        assert (row.state, row.attempt, row.paid_parts) == ("done", 1, 3)
        await wait_idle(stage)
        await check_books(stage)


async def test_a_stranger_can_not_pay_cancel_or_fund_for_a_requester(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_stage(tmp_path, prices=(100_000,)) as stage:
        requester, provider = stage.honest
        stranger = await stage.join("stranger")
        offer_id = await requester.requester.submit(await make_wish(requester, parts=3, budget=1_000_000))
        await wait_until(lambda: bool(provider.provider.deliveries))
        (award_id,) = provider.provider.deliveries
        acceptance = Acceptance(award=award_id, part=0, receipt=award_id, due=Amount(0))
        refused = 0
        while offer_id in requester.requester.tasks:
            for method, body in (
                (CANCEL_METHOD, encode(CancelNotice(award=award_id, reason="the requester cancelled"))),
                (FUNDING_METHOD, encode(FundingNotice(award=award_id))),
                (PAYMENT_METHOD, encode(PaymentNotice(acceptance=signed_by("stranger", acceptance)))),
            ):
                try:
                    await stranger.peers.call(provider.wallet, method, body)
                except ProtocolError:
                    refused += 1
            await trio.sleep(0.1)
        row = await row_of(requester, offer_id)
        assert (row.state, row.paid_parts) == ("done", 3)
        assert refused >= 30
        await wait_idle(stage)
        await check_books(stage)
        await trade_honestly(stage)


async def test_a_stranger_can_not_frame_a_requester_with_a_mangled_transcript(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_stage(tmp_path, prices=(100_000, 110_000)) as stage:
        requester, winner, loser = stage.honest
        stranger = await stage.join("stranger")
        stage.hub.is_lost = lambda source, _target, what: source == requester.wallet and what == AWARD_METHOD
        offer_id = await requester.requester.submit(await make_wish(requester, parts=3))
        auction = requester.requester.tasks[offer_id].auction
        task = requester.requester.tasks[offer_id].purchase
        await wait_until(lambda: isinstance(task.state, purchase.Awaiting))
        transcript = await auction.transcript()
        mangled = (
            replace(transcript, bids=transcript.bids[:1]),
            replace(transcript, bids=()),
            replace(transcript, leaves=transcript.leaves[:1]),
            replace(transcript, roll=None),
        )
        for victim in (winner, loser):
            for each in mangled:
                with pytest.raises(ProtocolError):
                    await stranger.peers.call(
                        victim.wallet, AWARD_METHOD, encode(AwardNotice(award=transcript.awards[0], transcript=each))
                    )
            assert victim.gossip.strikes_of(requester.wallet) == 0
        stage.hub.is_lost = lambda _source, _target, _what: False
        assert (await finish(requester, offer_id)).state == "done"
        await wait_idle(stage)
        await check_books(stage)
        await trade_honestly(stage)


async def test_receipts_for_a_task_that_is_over_cost_a_stranger_more_than_the_requester(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_stage(tmp_path, prices=(100_000,)) as stage:
        requester, provider = stage.honest
        stranger = await stage.join("stranger")
        offer_id = await requester.requester.submit(await make_wish(requester, parts=2))
        await wait_until(lambda: bool(provider.provider.deliveries))
        (award_id,) = provider.provider.deliveries
        await finish(requester, offer_id)
        paid = dict(stage.bank.paid)
        for _ in range(50):
            with pytest.raises(ProtocolError):
                await stranger.peers.call(requester.wallet, RECEIPT_METHOD, encode(forged_receipt(award_id, 1, 5)))
        assert stage.bank.paid == paid
        await trade_honestly(stage)
