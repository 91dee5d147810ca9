"""Channels between two nodes on a real chain: every balance adds up to the base unit."""

from dataclasses import replace

import pytest
import trio

from node.app.contract_chain import ContractChain
from node.chain.errors import Reverted
from node.payments import account
from node.payments.errors import ChannelUnknown, InsufficientTokens, OpenFailed, OutOfGas
from protocol.channel.errors import ExitPending, WorkOutstanding
from protocol.channel.objects import ChannelKey
from protocol.identity import ZERO_DIGEST
from protocol.settlement.rail import Rail
from protocol.signing.ecdsa import address_of
from protocol.spending import SpendingCapExceeded
from protocol.task.messages import VoucherNotice
from protocol.units import ONE_TOKEN, Amount, Seconds
from tests.node.payments.payments_world import (
    NO_CAPS,
    PATIENCE_S,
    SETTINGS,
    STAKE,
    World,
    accept,
    engage,
    eventually,
    key_of,
    pay,
    prepare,
    receipt_of,
)

PRICE = 400_000
DEPOSIT = 2 * ONE_TOKEN


async def test_a_task_in_two_parts_is_paid_over_a_channel_and_claimed(world: World) -> None:
    async with world.party("payer") as payer, world.party("payee") as payee:
        signed, award_id, notice = await engage(world, payer, payee, PRICE)
        assert signed.value.channel != ZERO_DIGEST
        assert isinstance(notice, VoucherNotice)
        assert notice.voucher.value.held == PRICE
        await pay(payer, payee, signed, 0, 150_000)
        acceptance = await pay(payer, payee, signed, 1, 350_001, last=True)
        await payer.payments.payer.close(signed, award_id)
        await payee.payments.payee.settle(signed, award_id, None, acceptance, None)
        await eventually(lambda: payer.payments.payer.channels()[0].held == 0)
        (view,) = payer.payments.payer.channels()
        assert (view.deposit, view.paid, view.free) == (DEPOSIT, 350_001, DEPOSIT - 350_001)
        await eventually(lambda: payer.payments.payer.channels()[0].acknowledged)
        with trio.fail_after(PATIENCE_S):
            await payee.payments.payee.drain()
        assert payee.payments.payee.channels()[0].claimed == 350_001
        earnings = await payee.payments.payee.earnings()
        assert (earnings.earned, earnings.claimable, earnings.unpaid) == (350_001, 0, 0)
        balances = await world.balances("payer", "payee")
    assert balances == {
        "payer": STAKE - DEPOSIT,
        "payee": STAKE + 350_001,
        "channels": DEPOSIT - 350_001,
        "escrow": 0,
    }


async def test_everything_said_twice_counts_once(world: World) -> None:
    world.link.twice |= {"channel/voucher", "channel/release", "channel/close"}
    async with world.party("payer") as payer, world.party("payee") as payee:
        signed, award_id, first = await engage(world, payer, payee, PRICE)
        rails = payer.payments.payer
        assert await rails.fund(signed, award_id) == first
        await payee.payments.payee.receive_funding(signed, award_id, first)
        await payee.payments.payee.wait_funded(signed, award_id)
        acceptance = await accept(payer, signed, 0, 100)
        paid = await rails.pay(signed, award_id, acceptance, last=False)
        assert await rails.pay(signed, award_id, acceptance, last=False) == paid
        for _ in range(2):
            await payee.payments.payee.receive_payment(signed, award_id, acceptance, paid)
            await payee.payments.payee.settle(signed, award_id, None, acceptance, None)
            await rails.close(signed, award_id)
        await eventually(lambda: rails.channels()[0].held == 0 and rails.channels()[0].acknowledged)
        assert rails.channels()[0].paid == payee.payments.payee.channels()[0].earned == 100
        assert await rails.close_channel(signed.value.channel) == "closed"
        balances = await world.balances("payer", "payee")
    assert balances == {"payer": STAKE - 100, "payee": STAKE + 100, "channels": 0, "escrow": 0}


async def test_two_tasks_share_a_channel_that_is_topped_up_for_the_second(world: World) -> None:
    async with world.party("payer") as payer, world.party("payee") as payee:
        one, two = await prepare(world, payer, payee, 1_500_000), await prepare(world, payer, payee, 1_500_000)
        assert one[0].channel == two[0].channel
        notices: list[VoucherNotice | None] = []
        for award, award_id in (one, two):  # both were prepared against the same free deposit
            notices.append(await payer.payments.payer.fund(payer.sign(award), award_id))
        await payee.payments.payee.receive_funding(payer.sign(two[0]), two[1], notices[1])
        await payee.payments.payee.receive_funding(payer.sign(one[0]), one[1], notices[0])  # late: older than the other
        for award, award_id in (one, two):
            await payee.payments.payee.wait_funded(payer.sign(award), award_id)
        (view,) = payer.payments.payer.channels()
        assert (view.deposit, view.held, view.tasks) == (2 * DEPOSIT, 3_000_000, 2)
        await pay(payer, payee, payer.sign(two[0]), 0, 1_000_000)
        await pay(payer, payee, payer.sign(one[0]), 0, 1)
        assert payee.payments.payee.channels()[0].earned == 1_000_001
        balances = await world.balances("payer")
    assert balances["payer"] + balances["channels"] == STAKE


async def test_tasks_prepared_at_the_same_time_open_one_channel(world: World) -> None:
    async with world.party("payer") as payer, world.party("payee") as payee:
        channels: list[bytes] = []

        async def prepare_one() -> None:
            award, _ = await prepare(world, payer, payee, PRICE)
            channels.append(award.channel)

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(prepare_one)
        assert len(channels) == 4
        assert len(set(channels)) == 1
        assert await payer.gateway.channels.counter_of(payer.address) == 1


async def test_the_plan_names_rail_and_reason_and_changes_nothing(world: World) -> None:
    async with world.party("payer") as payer:
        await payer.payments.feed.wait_reached(1)
        offer = world.offer(payer.address)
        small = await payer.payments.payer.plan(None, Amount(PRICE), offer)
        assert (small.rail, small.top_up) == (Rail.CHANNEL, PRICE)
        large = await payer.payments.payer.plan(None, Amount(25 * ONE_TOKEN), offer)
        assert large.rail is Rail.ESCROW
        assert "threshold" in large.reason
        lasting = await payer.payments.payer.plan(None, Amount(PRICE), replace(offer, resolve_within=10_000))
        assert lasting.rail is Rail.ESCROW
        assert "longer than a hold" in lasting.reason
        assert payer.payments.payer.channels() == ()


async def test_a_cap_takes_the_promise_back_and_leaves_the_channel_usable(world: World) -> None:
    caps = replace(NO_CAPS, per_task=Amount(500_000))
    async with world.party("payer", caps=caps) as payer, world.party("payee") as payee:
        award, award_id = await prepare(world, payer, payee, 500_001)
        with pytest.raises(SpendingCapExceeded):
            await payer.payments.payer.fund(payer.sign(award), award_id)
        assert payer.payments.payer.channels()[0].held == 0
        signed, _, _ = await engage(world, payer, payee, 500_000)
        await pay(payer, payee, signed, 0, 500_000)
        assert payee.payments.payee.channels()[0].earned == 500_000


async def test_a_wallet_without_tokens_or_gas_is_told_so_before_anything_begins(world: World) -> None:
    async with world.party("payer") as payer, world.party("payee") as payee:
        offer = world.offer(payer.address)
        with pytest.raises(InsufficientTokens):
            await payer.payments.payer.prepare(payee.address, Amount(STAKE + 1), offer)
        await world.chain.rpc.call("anvil_setBalance", "0x" + payer.address.hex(), "0x1")
        with pytest.raises(OutOfGas):
            await payer.payments.payer.prepare(payee.address, Amount(PRICE), offer)
        assert payer.payments.payer.channels() == ()


async def test_a_payer_that_exits_with_a_task_in_flight_still_owes_what_it_held(world: World) -> None:
    async with world.party("payer") as payer, world.party("payee") as payee:
        signed, award_id, _ = await engage(world, payer, payee, PRICE)
        other, other_id = await prepare(world, payer, payee, PRICE)
        await pay(payer, payee, signed, 0, 100_000)
        with pytest.raises(WorkOutstanding):
            await payer.payments.payer.close_channel(signed.value.channel)
        assert await payer.payments.payer.close_channel(signed.value.channel, force=True) == "leaving"
        with pytest.raises(ExitPending):
            await payer.payments.payer.fund(payer.sign(other), other_id)
        await eventually(lambda: payee.payments.payee.channels()[0].phase == "defending")
        await eventually(lambda: payer.payments.payer.channels()[0].leaves_at is not None)
        (left,), (answering,) = payer.payments.payer.channels(), payee.payments.payee.channels()
        assert left.leaves_at == answering.leaves_at
        with pytest.raises(ExitPending):
            await payee.payments.payee.wait_funded(payer.sign(other), other_id)
        # The hold was presented, so work on the first task goes on and is paid.
        await eventually(lambda: payee.payments.payee.channels()[0].claimed == 100_000)
        acceptance = await pay(payer, payee, signed, 1, PRICE, last=True)
        await eventually(lambda: payee.payments.payee.channels()[0].claimed == PRICE)
        await payee.payments.payee.settle(signed, award_id, None, acceptance, None)
        await eventually(lambda: payer.payments.payer.channels() == ())
        await eventually(lambda: payee.payments.payee.channels() == ())
        balances = await world.balances("payer", "payee")
    assert balances == {"payer": STAKE - PRICE, "payee": STAKE + PRICE, "channels": 0, "escrow": 0}


async def test_a_payee_that_is_away_does_not_keep_the_deposit(world: World) -> None:
    async with world.party("payer", settings=replace(SETTINGS, close_within=Seconds(1))) as payer:
        async with world.party("payee") as payee:
            signed, _, _ = await engage(world, payer, payee, PRICE)
            acceptance = await pay(payer, payee, signed, 0, 123)
            await payer.payments.payer.close(signed, acceptance.value.award)
            await payee.payments.payee.settle(signed, acceptance.value.award, None, acceptance, None)
            await eventually(lambda: payer.payments.payer.channels()[0].held == 0)
            await payee.payments.payee.drain()
        world.link.cut |= {"channel/close"}
        assert await payer.payments.payer.close_channel(signed.value.channel) == "leaving"
        await eventually(lambda: payer.payments.payer.channels() == ())
        balances = await world.balances("payer", "payee")
    assert balances == {"payer": STAKE - 123, "payee": STAKE + 123, "channels": 0, "escrow": 0}


async def test_vouchers_that_got_lost_are_sent_until_they_are_held(world: World) -> None:
    world.link.cut |= {"channel/voucher", "channel/release"}
    async with world.party("payer") as payer, world.party("payee") as payee:
        signed, award_id, _ = await engage(world, payer, payee, PRICE)
        acceptance = await accept(payer, signed, 0, 77)
        await payer.payments.payer.pay(signed, award_id, acceptance, last=False)  # and the market's message is lost too
        await payer.payments.payer.close(signed, award_id)
        await payee.payments.payee.note_receipt(signed, award_id, payee.sign(receipt_of(award_id, 0, 77)))
        await trio.sleep(1)
        assert payee.payments.payee.channels()[0].earned == 0
        assert not payer.payments.payer.channels()[0].acknowledged
        world.link.cut.clear()
        await eventually(lambda: payee.payments.payee.channels()[0].earned == 77)
        # The payee is still at work, as far as it knows, so the hold stands.
        assert payer.payments.payer.channels()[0].held == PRICE - 77
        await payee.payments.payee.settle(signed, award_id, None, None, None)
        await eventually(lambda: payer.payments.payer.channels()[0].held == 0)


async def test_a_payee_that_is_back_hears_of_the_next_hold_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.party("payer") as payer, world.party("payee") as payee:
        signed, award_id, _ = await engage(world, payer, payee, PRICE)
        monkeypatch.setattr(account, "FIRST_RETRY_S", 600.0)
        await pay(payer, payee, signed, 0, 77)
        await eventually(lambda: payer.payments.payer.channels()[0].acknowledged)
        world.link.cut.add("channel/voucher")
        await payer.payments.payer.pay(signed, award_id, await accept(payer, signed, 1, 78), last=False)
        await eventually(lambda: world.link.lost["channel/voucher"] > 0)
        world.link.cut.clear()
        award, another_id = await prepare(world, payer, payee, PRICE)
        await payer.payments.payer.fund(payer.sign(award), another_id)
        await eventually(lambda: payer.payments.payer.channels()[0].acknowledged)


async def test_a_hold_that_the_payee_never_lets_go_comes_free_with_its_last_deadline(world: World) -> None:
    world.link.cut |= {"channel/release"}
    async with world.party("payer") as payer, world.party("payee") as payee:
        signed, award_id, _ = await engage(
            world, payer, payee, PRICE, start_within=1, max_eta=1, pace=1, resolve_within=1
        )
        await payer.payments.payer.close(signed, award_id)
        assert payer.payments.payer.channels()[0].held == PRICE
        await eventually(lambda: payer.payments.payer.channels()[0].held == 0)
        await eventually(lambda: payer.payments.payer.channels()[0].acknowledged)
        assert payee.payments.payee.channels()[0].held == 0


async def test_a_payee_that_let_go_takes_no_work_under_that_award(world: World) -> None:
    async with world.party("payer") as payer, world.party("payee") as payee:
        award, award_id = await prepare(world, payer, payee, PRICE)
        signed = payer.sign(award)
        notice = await payer.payments.payer.fund(signed, award_id)
        await payee.payments.payee.receive_funding(signed, award_id, notice)
        await payer.payments.payer.close(signed, award_id)
        await eventually(lambda: payer.payments.payer.channels()[0].held == 0)
        await eventually(lambda: payer.payments.payer.channels()[0].acknowledged)
        with pytest.raises(Exception, match="let go"):
            await payee.payments.payee.wait_funded(signed, award_id)


async def test_a_payout_that_the_token_refuses_waits_as_a_credit_and_goes_elsewhere(world: World) -> None:
    token = "0x" + world.deployment.token.hex()
    rpc = world.chain.rpc
    async with world.party("payer") as payer, world.party("payee") as payee:
        signed, award_id, _ = await engage(world, payer, payee, PRICE)
        acceptance = await pay(payer, payee, signed, 1, PRICE, last=True)
        await payee.payments.payee.settle(signed, award_id, None, acceptance, None)
        code = await rpc.call("eth_getCode", token, "latest")
        await rpc.call("anvil_setCode", token, "0x60006000fd")  # reverts whatever is asked of it
        await payee.payments.payee.drain()
        assert payee.payments.payee.channels()[0].claimed == PRICE
        await rpc.call("anvil_setCode", token, code)
        channels = world.deployment.payment_channel
        earnings = await payee.payments.payee.earnings()
        assert earnings.credits == {channels: PRICE}
        before = await world.balances("payer", "payee", "other")
        assert (before["payee"], before["channels"]) == (STAKE, DEPOSIT)
        await payee.payments.payee.withdraw_credit(channels, address_of(key_of("other")))
        assert (await payee.payments.payee.earnings()).credits == {}
        after = await world.balances("payer", "payee", "other")
    assert (after["payee"], after["other"]) == (STAKE, STAKE + PRICE)
    assert sum(after.values()) == sum(before.values()) == 3 * STAKE


async def test_a_channel_of_strangers_is_not_ours_to_use(world: World) -> None:
    async with world.party("payer") as payer, world.party("payee"), world.party("other") as other:
        channel = await payer.payments.payer.open_channel(other.address, Amount(10))
        with pytest.raises(ChannelUnknown):
            await other.payments.payer.top_up(channel, Amount(1))
        await payer.payments.payer.top_up(channel, Amount(5))
        await eventually(lambda: [view.deposit for view in other.payments.payee.channels()] == [15])


async def test_a_channel_whose_opening_was_given_up_and_that_is_there_after_all_is_taken_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_arguments: object, **_named: object) -> ChannelKey:
        raise Reverted("Error", {}, b"", contract="PaymentChannel")

    async with world.party("payer") as payer, world.party("payee") as payee:
        with monkeypatch.context() as patch:
            patch.setattr(ContractChain, "open_channel", refuse)
            with pytest.raises(OpenFailed):
                await payer.payments.payer.open_channel(payee.address, Amount(DEPOSIT))
        await eventually(lambda: payer.payments.payer.channels() == ())
        await payer.gateway.token.ensure_allowance(world.deployment.payment_channel, Amount(DEPOSIT))
        await payer.gateway.channels.open(  # the same number, by another program with the wallet's key
            signer=payer.address, payee=payee.address, amount=Amount(DEPOSIT), key="another program"
        )
        # What may have been signed for it is asked of the payee first, as of any channel that the node did not open.
        await eventually(lambda: [view.phase for view in payer.payments.payer.channels()] == ["open"])
        await engage(world, payer, payee, PRICE)
        (view,) = payer.payments.payer.channels()
        assert (view.deposit, view.held) == (DEPOSIT, PRICE)
    async with world.party("payer") as payer:  # and it is there after a restart, once
        await eventually(lambda: [view.deposit for view in payer.payments.payer.channels()] == [DEPOSIT])


async def test_an_opening_that_another_program_forestalled_leaves_two_channels_and_loses_neither(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    openings = ContractChain.open_channel

    async def forestalled(self: ContractChain, key: ChannelKey, amount: Amount, *, order: str) -> ChannelKey:
        await payer.gateway.token.ensure_allowance(world.deployment.payment_channel, amount)
        await payer.gateway.channels.open(signer=key.signer, payee=key.payee, amount=amount, key="another program")
        await eventually(lambda: any(view.phase == "open" for view in payer.payments.payer.channels()))
        return await openings(self, key, amount, order=order)

    async with world.party("payer") as payer, world.party("payee") as payee:
        monkeypatch.setattr(ContractChain, "open_channel", forestalled)
        await payer.payments.payer.open_channel(payee.address, Amount(DEPOSIT))
        await eventually(lambda: [view.phase for view in payer.payments.payer.channels()] == ["open", "open"])
