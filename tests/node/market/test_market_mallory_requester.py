"""A requester that deviates at each message: providers work for one part at most, and remember who cheated them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.market.provider import AWARD_MAX_BYTES
from protocol.errors import ProtocolError
from protocol.identity import ZERO_ADDRESS, Digest
from protocol.market.auction_states import Decided, Revealing
from protocol.market.errors import RuleBroken
from protocol.market.evidence import TwoAwards, TwoRolls
from protocol.market.messages import AwardAnnouncement, RollAnnouncement
from protocol.market.objects import Award
from protocol.market.roll import make_roll
from protocol.market.transcript import Transcript, verify_transcript
from protocol.market.transcript_errors import OmittedCommitment, WrongPrice, WrongWinner
from protocol.signing.signed import Signed
from protocol.task import delivery, purchase
from protocol.task.messages import (
    AWARD_METHOD,
    FUNDING_METHOD,
    PAYMENT_METHOD,
    AwardNotice,
    CancelNotice,
    FundingNotice,
    PaymentNotice,
    VoucherNotice,
)
from protocol.task.objects import Acceptance
from protocol.units import Amount
from protocol.wire.codec import encode
from tests.node.market.fake_bank import DOMAIN, FakePayerRails
from tests.node.market.mallory_lab import (
    PURSE,
    LabNode,
    Stage,
    bend,
    check_books,
    finish,
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

PARTS = 3


class NoMoney(FakePayerRails):
    """Says that an award is funded, and funds nothing."""

    async def fund(self, award: Signed[Award], award_id: Digest) -> VoucherNotice | None:
        await trio.lowlevel.checkpoint()
        return None


class NoPayment(FakePayerRails):
    """Funds awards and never moves a payment."""

    async def pay(
        self, award: Signed[Award], award_id: Digest, acceptance: Signed[Acceptance], *, last: bool
    ) -> VoucherNotice | None:
        await trio.lowlevel.checkpoint()
        return None


async def offer_of(mallory: LabNode) -> Digest:
    return await mallory.requester.submit(await make_wish(mallory, parts=PARTS, budget=1_000_000))


async def join_mallory(stage: Stage, payer: Callable[..., FakePayerRails] = FakePayerRails) -> LabNode:
    """Mallory's purse is counted apart, so that `check_books` goes on counting the honest requester's alone."""
    mallory = await stage.join("mallory", payer=payer(stage.bank))
    stage.bank.purses[mallory.wallet] = PURSE
    return mallory


async def settle(stage: Stage) -> None:
    """Nobody works any more; honest money adds up; everybody else goes on trading."""
    await wait_idle(stage)
    await trio.sleep(5)  # until its reveals end, an auction counts as work that may come
    await _take_mallory_out(stage)
    await check_books(stage)
    await trade_honestly(stage)


async def _take_mallory_out(stage: Stage) -> None:
    """The sum over all purses is still the sum of what was paid in; then set Mallory's share aside."""
    assert stage.bank.total() == 2 * PURSE
    honest = {node.wallet for node in stage.honest}
    (mallory,) = (wallet for wallet in stage.bank.purses if wallet not in honest)
    earned = sum(amount for node in stage.honest[1:] if (amount := stage.bank.purses[node.wallet]))
    held = sum(stage.bank.held.values())
    assert stage.bank.purses[mallory] + earned + held == PURSE
    for node in stage.honest[1:]:
        stage.bank.purses[node.wallet] = 0
    stage.bank.purses[mallory] = 0
    stage.bank.held.clear()


async def check_refused(stage: Stage, mallory: LabNode, reason: str) -> None:
    """No honest provider bids on the next offer of Mallory's."""
    providers = stage.honest[1:]
    before = [dict(provider.provider.bids) for provider in providers]
    offer_id = await offer_of(mallory)
    row = await finish(mallory, offer_id)
    assert row.state == "failed"
    assert "no provider bid" in row.reason
    for provider, known in zip(providers, before, strict=True):
        assert set(provider.provider.bids) <= set(known)
        assert any(reason in each for each in provider.provider.reasons)


async def test_two_rolls_are_proof_and_providers_refuse_a_requester_caught_at_it(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_stage(tmp_path, prices=(100_000, 110_000)) as stage:
        mallory = await join_mallory(stage)
        offer_id = await offer_of(mallory)
        auction = mallory.requester.tasks[offer_id].auction
        await wait_until(lambda: isinstance(auction.state, Revealing))
        state = auction.state
        assert isinstance(state, Revealing)
        leaves = tuple(replace(leaf, reputation=10_000) for leaf in state.leaves)
        second = signed_by("mallory", make_roll(offer_id, leaves))
        await shout(mallory, RollAnnouncement(signed=second, leaves=leaves))
        await finish(mallory, offer_id)
        for provider in stage.honest[1:]:
            assert isinstance(provider.gossip.proof_against(mallory.wallet), TwoRolls)
            assert provider.sandbox.runs == []
        await check_refused(stage, mallory, "proved to cheat")
        await settle(stage)


async def test_two_awards_are_proof_and_providers_refuse_a_requester_caught_at_it(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_stage(tmp_path, prices=(100_000, 110_000)) as stage:
        mallory = await join_mallory(stage)
        offer_id = await offer_of(mallory)
        auction = mallory.requester.tasks[offer_id].auction
        await wait_until(lambda: bool(stage.honest[1].provider.deliveries))
        state = auction.state
        assert isinstance(state, Decided)
        second = signed_by("mallory", replace(state.awards[0], channel=Digest(b"\x02" * 32)))
        await shout(mallory, AwardAnnouncement(signed=second, bid_ids=state.bid_ids))
        await finish(mallory, offer_id)
        await wait_idle(stage)
        for provider in stage.honest[1:]:
            assert isinstance(provider.gossip.proof_against(mallory.wallet), TwoAwards)
        await check_refused(stage, mallory, "proved to cheat")
        await settle(stage)


async def test_any_peer_that_heard_the_gossip_recomputes_the_winner(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_stage(tmp_path, prices=(100_000, 110_000, 120_000)) as stage:
        bystander = await stage.join("bystander")
        requester, winner, *losers = stage.honest
        offer_id = await requester.requester.submit(await make_wish(requester, parts=PARTS))
        auction = requester.requester.tasks[offer_id].auction
        await finish(requester, offer_id)
        transcript = await auction.transcript()
        for peer in (bystander, winner, *losers):
            verified = verify_transcript(DOMAIN, transcript, peer.gossip.heard_of(offer_id))
            assert verified.initial[0].candidate.bid.bidder == winner.wallet
            assert [one.bid.bidder for one in verified.ranked] == [each.wallet for each in (winner, *losers)]
            heard = peer.gossip.observed.auctions[offer_id]
            assert [each.signed for each in heard.awards] == list(transcript.awards)


async def test_a_transcript_that_omits_a_commitment_this_peer_heard_before_the_close_fails_verification(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_stage(tmp_path, prices=(100_000, 110_000)) as stage:
        mallory = await join_mallory(stage)
        bystander = await stage.join("bystander")
        _, winner, omitted = stage.honest
        lose(stage, omitted, "commitments", "market/message", target=mallory)
        offer_id = await offer_of(mallory)
        auction = mallory.requester.tasks[offer_id].auction
        await finish(mallory, offer_id)
        transcript = await auction.transcript()
        assert omitted.wallet not in {leaf.bidder for leaf in transcript.leaves}
        for peer in (bystander, winner):
            with pytest.raises(OmittedCommitment) as caught:
                verify_transcript(DOMAIN, transcript, peer.gossip.heard_of(offer_id))
            assert caught.value.bidder == omitted.wallet
        assert winner.sandbox.runs == []
        assert all(peer.gossip.strikes_of(mallory.wallet) for peer in (bystander, winner))


async def test_providers_refuse_a_requester_caught_at_leaving_a_bidder_out(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_stage(tmp_path, prices=(100_000, 110_000, 120_000)) as stage:
        mallory = await join_mallory(stage)
        omitted = stage.honest[2]
        lose(stage, omitted, "commitments", "market/message", target=mallory)
        await finish(mallory, await offer_of(mallory))
        await trio.sleep(1)
        stage.hub.is_lost = lambda _source, _target, _what: False
        await check_refused_by(stage.honest[1:2] + stage.honest[3:], stage, mallory)
        await settle(stage)


async def check_refused_by(providers: list[LabNode], stage: Stage, mallory: LabNode) -> None:
    await finish(mallory, await offer_of(mallory))
    await wait_idle(stage)
    for provider in providers:
        assert "this requester left bidders out" in provider.provider.reasons
        assert provider.sandbox.runs == []


Forge = Callable[[Award, LabNode], dict[str, Any]]

WRONG_AWARDS: dict[str, tuple[Forge, type[RuleBroken]]] = {
    "to the loser": (lambda _award, loser: {"provider": loser.wallet}, WrongWinner),
    "one unit below the price": (lambda award, _loser: {"price": award.price - 1}, WrongPrice),
    "one unit above the price": (lambda award, _loser: {"price": award.price + 1}, WrongPrice),
}


@pytest.mark.parametrize("forgery", WRONG_AWARDS)
async def test_an_award_to_the_wrong_winner_or_at_the_wrong_price_is_refused_and_remembered(
    autojump_clock: MockClock, tmp_path: Path, forgery: str
) -> None:
    async with open_stage(tmp_path, prices=(100_000, 110_000)) as stage:
        mallory = await join_mallory(stage)
        _, winner, loser = stage.honest
        lose(stage, mallory, AWARD_METHOD, "awards")
        offer_id = await offer_of(mallory)
        task = mallory.requester.tasks[offer_id]
        await wait_until(lambda: isinstance(task.purchase.state, purchase.Awaiting))
        transcript: Transcript = await task.auction.transcript()
        stage.hub.is_lost = lambda _source, _target, _what: False
        forge, error = WRONG_AWARDS[forgery]
        forged = resigned("mallory", transcript.awards[0], **forge(transcript.awards[0].value, loser))
        victim = loser if forged.value.provider == loser.wallet else winner
        notice = AwardNotice(award=forged, transcript=replace(transcript, awards=(forged,)))
        assert len(encode(notice)) < AWARD_MAX_BYTES
        with pytest.raises(error):
            await mallory.peers.call(victim.wallet, AWARD_METHOD, encode(notice))
        assert victim.gossip.strikes_of(mallory.wallet) == 1
        mallory.requester.cancel(offer_id)
        await finish(mallory, offer_id)
        await wait_idle(stage)
        await check_refused_by([victim], stage, mallory)
        await settle(stage)


async def test_an_award_without_money_is_not_begun(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_stage(tmp_path, prices=(100_000,)) as stage:
        mallory = await join_mallory(stage, NoMoney)
        row = await finish(mallory, await offer_of(mallory))
        assert (row.state, row.spent) == ("failed", 0)
        assert stage.honest[1].sandbox.runs == []
        await settle(stage)


def _other(**changes: Any) -> Callable[[PaymentNotice], PaymentNotice]:
    return lambda each: PaymentNotice(acceptance=resigned("mallory", each.acceptance, **changes))


PAYMENTS: dict[str, Callable[[PaymentNotice], PaymentNotice]] = {
    "less": lambda each: _other(due=Amount(each.acceptance.value.due - 1))(each),
    "nothing": _other(due=Amount(0)),
    "more": lambda each: _other(due=Amount(each.acceptance.value.due + 1))(each),
    "another part": lambda each: _other(part=each.acceptance.value.part + 1)(each),
    "another receipt": _other(receipt=Digest(b"\x03" * 32)),
    "another award": _other(award=Digest(b"\x04" * 32)),
    "another hand": lambda each: PaymentNotice(acceptance=signed_by("provider-0", each.acceptance.value)),
}


@pytest.mark.parametrize("payment", PAYMENTS)
async def test_an_acceptance_that_does_not_answer_the_receipt_buys_no_second_part(
    autojump_clock: MockClock, tmp_path: Path, payment: str
) -> None:
    async with open_stage(tmp_path, prices=(100_000,)) as stage:
        mallory = await join_mallory(stage)
        bent = bend(stage, mallory, PAYMENT_METHOD, PAYMENTS[payment], kind=PaymentNotice)
        await _buy_and_stop_paying(stage, mallory)
        assert bent[0] > 0


async def test_an_acceptance_without_its_money_buys_no_second_part(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_stage(tmp_path, prices=(100_000,)) as stage:
        await _buy_and_stop_paying(stage, await join_mallory(stage, NoPayment))


async def test_silence_buys_no_second_part_and_the_receipt_stays_as_evidence(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_stage(tmp_path, prices=(100_000,)) as stage:
        mallory = await join_mallory(stage)
        lose(stage, mallory, PAYMENT_METHOD)
        await _buy_and_stop_paying(stage, mallory)


async def _buy_and_stop_paying(stage: Stage, mallory: LabNode) -> None:
    """The provider runs one part, waits for its pace, and keeps start and receipt to claim with."""
    provider = stage.honest[1]
    offer_id = await offer_of(mallory)
    await wait_until(lambda: bool(provider.provider.deliveries))
    (award_id,) = provider.provider.deliveries
    await wait_idle(stage)
    assert provider.sandbox.runs == [0]
    assert provider.payee.settled == [award_id]
    state: delivery.State = delivery.Offered(job=stage.hub.jobs[award_id])
    for event in stage.hub.deliveries[award_id]:
        state, _ = delivery.transition(state, event)
    assert isinstance(state, delivery.Dropped)
    assert state.receipt is not None
    assert (state.receipt.part, state.paid) == (0, 0)
    if offer_id in mallory.requester.tasks:
        mallory.requester.cancel(offer_id)
        await finish(mallory, offer_id)
    await settle(stage)


CANCEL_AT: dict[str, Callable[[LabNode, Digest], bool]] = {
    "seeking": lambda node, offer: isinstance(node.requester.tasks[offer].auction.state, Revealing),
    "funding": lambda node, offer: isinstance(node.requester.tasks[offer].purchase.state, purchase.Funding),
    "awaiting": lambda node, offer: isinstance(node.requester.tasks[offer].purchase.state, purchase.Awaiting),
    "running": lambda node, offer: isinstance(node.requester.tasks[offer].purchase.state, purchase.Running),
    "after one part": lambda node, offer: node.requester.tasks[offer].purchase.state.progress.paid_parts == 1,
    "after two parts": lambda node, offer: node.requester.tasks[offer].purchase.state.progress.paid_parts == 2,
}


@pytest.mark.parametrize("moment", CANCEL_AT)
async def test_a_task_that_is_cancelled_at_any_state_pays_what_was_delivered(
    autojump_clock: MockClock, tmp_path: Path, moment: str
) -> None:
    async with open_stage(tmp_path, prices=(100_000,)) as stage:
        mallory = await join_mallory(stage)
        provider = stage.honest[1]
        offer_id = await offer_of(mallory)
        await wait_until(lambda: CANCEL_AT[moment](mallory, offer_id))
        mallory.requester.cancel(offer_id)
        row = await finish(mallory, offer_id)
        assert row.state == "cancelled"
        await wait_idle(stage)
        assert row.spent == stage.bank.purses[provider.wallet]
        assert len(provider.sandbox.runs) <= row.paid_parts + 1
        await settle(stage)


@pytest.mark.parametrize("served", [b"other bytes", b"x" * 5000, None], ids=["other", "longer", "nothing"])
async def test_inputs_that_are_not_those_of_the_manifest_or_not_served_bind_nobody(
    autojump_clock: MockClock, tmp_path: Path, served: bytes | None
) -> None:
    async with open_stage(tmp_path, prices=(100_000,)) as stage:
        mallory = await join_mallory(stage)
        stage.hub.serve = lambda source, data: served if source == mallory.wallet else data
        row = await finish(mallory, await offer_of(mallory))
        assert (row.state, row.spent) == ("failed", 0)
        assert stage.honest[1].sandbox.runs == []
        await settle(stage)


async def test_messages_out_of_order_or_replayed_change_nothing(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_stage(tmp_path, prices=(100_000,)) as stage:
        mallory = await join_mallory(stage)
        provider = stage.honest[1]
        sent: list[tuple[str, bytes]] = []

        def record(source: bytes, what: str, data: bytes) -> bytes:
            if source == mallory.wallet and what.startswith("task/"):
                sent.append((what, data))
            return data

        stage.hub.twist = record
        offer_id = await offer_of(mallory)
        nothing = Digest(b"\x05" * 32)
        acceptance = Acceptance(award=nothing, part=0, receipt=nothing, due=Amount(0))
        for method, body in (
            (FUNDING_METHOD, encode(FundingNotice(award=nothing))),
            (PAYMENT_METHOD, encode(PaymentNotice(acceptance=signed_by("mallory", acceptance)))),
            ("task/cancel", encode(CancelNotice(award=nothing, reason="?"))),
        ):
            with pytest.raises(ProtocolError):
                await mallory.peers.call(provider.wallet, method, body)
        row = await finish(mallory, offer_id)
        assert (row.state, row.paid_parts) == ("done", PARTS)
        await wait_idle(stage)
        runs, purse = list(provider.sandbox.runs), stage.bank.purses[provider.wallet]
        stage.hub.twist = lambda _source, _what, data: data
        for method, body in sent:
            with pytest.raises(ProtocolError):
                await mallory.peers.call(provider.wallet, method, body)
        await trio.sleep(30)
        assert provider.sandbox.runs == runs == [0, 1, 2]
        assert stage.bank.purses[provider.wallet] == purse
        await settle(stage)


async def test_an_award_that_names_another_requesters_offer_is_refused(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_stage(tmp_path, prices=(100_000,)) as stage:
        mallory = await join_mallory(stage)
        requester, provider = stage.honest
        lose(stage, requester, AWARD_METHOD)
        offer_id = await requester.requester.submit(await make_wish(requester, parts=PARTS))
        task = requester.requester.tasks[offer_id]
        await wait_until(lambda: isinstance(task.purchase.state, purchase.Awaiting))
        transcript = await task.auction.transcript()
        stolen = resigned("mallory", transcript.awards[0], requester=mallory.wallet, arbiter=ZERO_ADDRESS)
        for notice in (
            AwardNotice(award=stolen, transcript=replace(transcript, awards=(stolen,))),
            AwardNotice(award=transcript.awards[0], transcript=transcript),
        ):
            with pytest.raises(ProtocolError):
                await mallory.peers.call(provider.wallet, AWARD_METHOD, encode(notice))
        assert provider.gossip.strikes_of(requester.wallet) == 0
        stage.hub.is_lost = lambda _source, _target, _what: False
        assert (await finish(requester, offer_id)).state == "done"
        await settle_after_honest(stage, mallory)


async def settle_after_honest(stage: Stage, mallory: LabNode) -> None:
    await wait_idle(stage)
    assert stage.bank.purses[mallory.wallet] == PURSE
    assert stage.bank.total() == 2 * PURSE
    stage.bank.purses[mallory.wallet] = 0
    await check_books(stage)
    await trade_honestly(stage)
