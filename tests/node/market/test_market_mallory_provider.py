"""A provider that deviates at each message: paid for nothing that it did not deliver, and a standby does the rest."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from trio.testing import MockClock

from protocol.errors import ProtocolError, TransientError
from protocol.identity import ContentDigest, Digest
from protocol.market.auction_states import Collecting
from protocol.market.evidence import TwoCommitments
from protocol.market.messages import BidAnnouncement, CommitmentAnnouncement
from protocol.market.objects import Commitment
from protocol.task import purchase
from protocol.task.messages import (
    FAILURE_METHOD,
    PROGRESS_METHOD,
    RECEIPT_METHOD,
    START_METHOD,
    FailureNotice,
    ProgressNotice,
    ReceiptNotice,
    StartNotice,
)
from protocol.units import Amount
from protocol.wire.codec import encode
from tests.node.market.mallory_lab import (
    LabNode,
    Stage,
    bend,
    bend_gossip,
    check_books,
    finish,
    holds_outputs,
    lose,
    open_stage,
    resigned,
    shout,
    signed_by,
    trade_honestly,
    wait_idle,
    wait_until,
)
from tests.node.market.market_lab import make_wish

EMPTY = ContentDigest(bytes(32))
PARTS = 3


async def buy(stage: Stage) -> Digest:
    requester = stage.honest[0]
    return await requester.requester.submit(await make_wish(requester, parts=PARTS, budget=1_000_000))


async def check_standby_did_it(stage: Stage, mallory: LabNode, offer_id: Digest, *, paid_to_mallory: int = 0) -> None:
    """The honest provider did all that Mallory was not paid for, and everything adds up."""
    requester, standby = stage.honest
    row = await finish(requester, offer_id)
    assert (row.state, row.paid_parts, row.provider) == ("done", PARTS, standby.wallet), row
    assert row.spent <= row.budget
    assert await holds_outputs(requester, PARTS)
    await wait_idle(stage)
    await check_books(stage)
    assert stage.bank.purses[mallory.wallet] == paid_to_mallory
    await trade_honestly(stage)


async def test_a_bidder_that_commits_twice_takes_no_part_and_is_known_for_it(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_stage(tmp_path, prices=(110_000,)) as stage:
        mallory = await stage.join("mallory", gfuel=100_000)
        requester, standby = stage.honest
        offer_id = await buy(stage)
        auction = requester.requester.tasks[offer_id].auction

        def has_two() -> bool:
            return isinstance(auction.state, Collecting) and len(auction.state.commitments) == 2

        await wait_until(has_two)
        second = Commitment(offer=offer_id, bidder=mallory.wallet, hash=Digest(b"\x01" * 32))
        await shout(mallory, CommitmentAnnouncement(signed=signed_by("mallory", second)))
        await check_standby_did_it(stage, mallory, offer_id)
        assert isinstance(standby.gossip.proof_against(mallory.wallet), TwoCommitments)


@pytest.mark.parametrize(
    "change", [{"price": Amount(1)}, {"eta": 1}, {"roll": Digest(b"\x07" * 32)}, {"salt": Digest(bytes(32))}]
)
async def test_a_bid_that_opens_nothing_or_to_no_roll_does_not_count(
    autojump_clock: MockClock, tmp_path: Path, change: dict[str, Any]
) -> None:
    async with open_stage(tmp_path, prices=(110_000,)) as stage:
        mallory = await stage.join("mallory", gfuel=100_000)
        bent = bend_gossip(
            stage,
            mallory,
            BidAnnouncement,
            lambda each: BidAnnouncement(signed=resigned("mallory", each.signed, **change)),
        )
        offer_id = await buy(stage)
        await check_standby_did_it(stage, mallory, offer_id)
        assert bent[0] > 0


async def test_a_winner_that_never_starts_is_replaced_at_start_by(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_stage(tmp_path, prices=(110_000,)) as stage:
        mallory = await stage.join("mallory", gfuel=100_000)
        lose(stage, mallory, START_METHOD)
        offer_id = await buy(stage)
        await check_standby_did_it(stage, mallory, offer_id)
        assert mallory.sandbox.runs == []


@pytest.mark.parametrize("seconds", [1, 10**9])
async def test_a_start_dated_after_start_by_binds_nobody(
    autojump_clock: MockClock, tmp_path: Path, seconds: int
) -> None:
    async with open_stage(tmp_path, prices=(110_000,)) as stage:
        mallory = await stage.join("mallory", gfuel=100_000)
        requester = stage.honest[0]

        def late(notice: StartNotice) -> StartNotice:
            (task,) = requester.requester.tasks.values()
            state = task.purchase.state
            assert isinstance(state, purchase.Funding | purchase.Awaiting)
            return StartNotice(start=resigned("mallory", notice.start, at=state.award.value.start_by + seconds))

        bent = bend(stage, mallory, START_METHOD, late, kind=StartNotice)
        offer_id = await buy(stage)
        await check_standby_did_it(stage, mallory, offer_id)
        assert bent == [1]


async def test_messages_that_are_sent_many_times_count_once(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_stage(tmp_path, prices=(100_000, 110_000)) as stage:
        requester, winner, _ = stage.honest
        sent: list[tuple[str, bytes]] = []
        stage.hub.twist = lambda source, what, data: (
            sent.append((what, data)) or data if source == winner.wallet and what.startswith("task/") else data
        )
        offer_id = await buy(stage)
        task = requester.requester.tasks[offer_id].purchase
        answered = refused = 0
        while task.state.progress.paid_parts < PARTS:
            await wait_until(lambda: len(sent) > 0)
            await wait_until(lambda: True)
            batch, sent[:] = list(sent), []
            stage.hub.twist = lambda _source, _what, data: data
            for method, body in batch * 8:
                try:
                    await winner.peers.call(requester.wallet, method, body)
                    answered += 1
                except (ProtocolError, TransientError):
                    refused += 1
            stage.hub.twist = lambda source, what, data: (
                sent.append((what, data)) or data if source == winner.wallet and what.startswith("task/") else data
            )
        row = await finish(requester, offer_id)
        assert (row.state, row.attempt, row.paid_parts) == ("done", 0, PARTS)
        assert answered > 20
        await wait_idle(stage)
        await check_books(stage)
        await trade_honestly(stage)


RECEIPTS: dict[str, Callable[[ReceiptNotice], ReceiptNotice]] = {
    "another part": lambda each: _with(each, part=each.receipt.value.part + 1),
    "a part that the task does not have": lambda each: _with(each, part=2**32 - 1),
    "a higher total": lambda each: _with(each, due=Amount(each.receipt.value.due + 1)),
    "a lower total": lambda each: _with(each, due=Amount(each.receipt.value.due - 1)),
    "the greatest total": lambda each: _with(each, due=Amount(2**128 - 1)),
    "fuel above the limit": lambda each: _with(each, fuel=10**9 + 1),
    "memory above the limit": lambda each: _with(each, peak_mib=17),
    "output above the limit": lambda each: _with(each, bytes_out=2049),
    "other inputs": lambda each: _with(each, bytes_in=each.receipt.value.bytes_in + 1),
    "more fuel than billed": lambda each: _with(each, fuel=each.receipt.value.fuel + 10_000_000),
    "an unknown outcome": lambda each: _with(each, outcome=190),
    "an outcome that nobody judges": lambda each: _with(each, outcome=255, due=Amount(0)),
    "a leaky trap with little fuel": lambda each: _with(each, outcome=160),
    "an output that it does not have": lambda each: _with(each, output=ContentDigest(b"\x09" * 32)),
    "more bytes than it billed": lambda each: replace(each, output_bytes=each.output_bytes + 1),
    "a huge output": lambda each: replace(each, output_bytes=2**64 - 1),
    "huge logs": lambda each: replace(each, log_bytes=2**64 - 1),
    "another hand": lambda each: replace(each, receipt=signed_by("provider-0", each.receipt.value)),
}


def _with(notice: ReceiptNotice, **changes: Any) -> ReceiptNotice:
    return replace(notice, receipt=resigned("mallory", notice.receipt, **changes))


@pytest.mark.parametrize("lie", RECEIPTS)
async def test_a_receipt_that_lies_is_not_paid(autojump_clock: MockClock, tmp_path: Path, lie: str) -> None:
    async with open_stage(tmp_path, prices=(110_000,)) as stage:
        mallory = await stage.join("mallory", gfuel=100_000)
        bent = bend(stage, mallory, RECEIPT_METHOD, RECEIPTS[lie], kind=ReceiptNotice)
        offer_id = await buy(stage)
        harmless = lie == "more bytes than it billed"
        if harmless:  # only the announced size is wrong; what came is what was billed
            assert (await finish(stage.honest[0], offer_id)).state == "done"
            await wait_idle(stage)
            await check_books(stage)
        else:
            await check_standby_did_it(stage, mallory, offer_id)
            assert set(mallory.sandbox.runs) == {0}
        assert bent[0] > 0


async def test_a_provider_that_lies_at_its_second_part_keeps_what_it_earned_with_the_first(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_stage(tmp_path, prices=(110_000,)) as stage:
        mallory = await stage.join("mallory", gfuel=100_000)
        requester = stage.honest[0]
        bend(
            stage,
            mallory,
            RECEIPT_METHOD,
            lambda each: each if each.receipt.value.part == 0 else _with(each, due=Amount(each.receipt.value.due + 1)),
            kind=ReceiptNotice,
        )
        offer_id = await buy(stage)
        task = requester.requester.tasks[offer_id].purchase
        await wait_until(lambda: task.state.progress.paid_parts == 1)
        earned = task.state.progress.spent
        assert earned > 0
        await check_standby_did_it(stage, mallory, offer_id, paid_to_mallory=earned)


@pytest.mark.parametrize("served", [b"other bytes", b"x" * 5000, None], ids=["other", "longer", "nothing"])
async def test_an_output_that_is_not_the_one_of_the_receipt_is_not_paid(
    autojump_clock: MockClock, tmp_path: Path, served: bytes | None
) -> None:
    async with open_stage(tmp_path, prices=(110_000,)) as stage:
        mallory = await stage.join("mallory", gfuel=100_000)
        stage.hub.serve = lambda source, data: served if source == mallory.wallet else data
        offer_id = await buy(stage)
        await check_standby_did_it(stage, mallory, offer_id)


async def test_a_loser_can_not_give_up_bill_or_speak_for_the_award_of_another(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_stage(tmp_path, prices=(100_000,)) as stage:
        loser = await stage.join("mallory", gfuel=110_000)
        requester, winner = stage.honest
        offer_id = await buy(stage)
        await wait_until(lambda: bool(winner.provider.deliveries))
        (award_id,) = winner.provider.deliveries
        for _ in range(30):
            for method, body in (
                (FAILURE_METHOD, encode(FailureNotice(award=award_id, part=0, outcome=0, logs=EMPTY, reason="no"))),
                (PROGRESS_METHOD, encode(ProgressNotice(award=award_id, part=0, fuel=2**64 - 1, bytes_out=0))),
            ):
                with pytest.raises(ProtocolError):
                    await loser.peers.call(requester.wallet, method, body)
        row = await finish(requester, offer_id)
        assert (row.state, row.attempt, row.provider) == ("done", 0, winner.wallet)
        await wait_idle(stage)
        await check_books(stage)
        await trade_honestly(stage)


async def test_a_provider_that_floods_progress_delays_nobody_and_words_for_a_terminal_are_defused(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_stage(tmp_path, prices=(110_000,)) as stage:
        mallory = await stage.join("mallory", gfuel=100_000)
        requester = stage.honest[0]
        lose(stage, mallory, RECEIPT_METHOD)
        offer_id = await buy(stage)
        await wait_until(lambda: mallory.sandbox.runs == [0])
        (award_id,) = mallory.provider.deliveries
        for each in range(100):
            notice = ProgressNotice(award=award_id, part=each, fuel=each, bytes_out=0)
            await mallory.peers.call(requester.wallet, PROGRESS_METHOD, encode(notice))
        last = FailureNotice(award=award_id, part=0, outcome=0, logs=EMPTY, reason="\x1b[2J\x07 gone")
        await mallory.peers.call(requester.wallet, FAILURE_METHOD, encode(last))
        await check_standby_did_it(stage, mallory, offer_id)
        (failed,) = (event for event in stage.hub.purchases[offer_id] if isinstance(event, purchase.ProviderFailed))
        assert "\x1b" not in failed.reason
        assert failed.reason.endswith("gone")


async def test_what_no_decoder_takes_is_refused_at_every_door(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_stage(tmp_path, prices=(100_000,)) as stage:
        mallory = await stage.join("mallory")
        requester, provider = stage.honest
        for victim in (requester, provider):
            for method in victim.peers.methods:
                for garbage in (
                    b"",
                    b"\xc1",
                    b"\x93\x01",
                    b"\xff" * 400,
                    b"\xdd\xff\xff\xff\xff",
                    b"\x03",
                ):
                    with pytest.raises(ProtocolError):
                        await mallory.peers.call(victim.wallet, method, garbage)
        await trade_honestly(stage)
