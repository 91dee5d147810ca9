"""A payer whose folder went back in time, on a real chain, signs nothing until the payee has shown what it forgot."""

import shutil
from dataclasses import replace

import pytest
import trio

from node.payments.errors import NotConfirmedInTime
from node.storage.backup import backup_steps
from node.storage.restore import restore_backup
from protocol.channel.errors import StateInDoubt
from protocol.channel.messages import NEWEST_METHOD, VOUCHER_METHOD
from protocol.identity import Address
from protocol.settlement.rail import ChannelOutlook
from protocol.units import ONE_TOKEN, Amount
from tests.node.payments.payments_world import (
    CLOCK,
    SETTINGS,
    STAKE,
    Party,
    World,
    accept,
    engage,
    eventually,
    pay,
)

PRICE = 400_000
DEPOSIT = 2 * ONE_TOKEN
HASTY = replace(SETTINGS, confirm_timeout_s=1.0)


def back_up(world: World, party: Party) -> None:
    steps = backup_steps(party.storage.folder, world.folder / "backup.tar", files={}, with_blobs=True, now=CLOCK.now())
    for _ in steps:
        pass


async def go_back(world: World, name: str) -> None:
    """Lose the folder of a party that is not running, and restore it."""
    shutil.rmtree(world.folder / name)
    await restore_backup(world.folder / "backup.tar", world.folder / name, clock=CLOCK)


def outlook(payer: Party, payee: Address) -> ChannelOutlook:
    return payer.payments.payer._channels.outlook(payee, Amount(0))  # pyright: ignore[reportPrivateUsage]


def phase(payer: Party) -> str:
    (view,) = payer.payments.payer.channels()
    return view.phase


async def test_a_restored_payer_signs_nothing_until_it_was_shown_what_it_forgot_and_then_pays_on(world: World) -> None:
    async with world.party("payee") as payee:
        async with world.party("payer") as payer:
            award, award_id, _ = await engage(world, payer, payee, PRICE)
            await pay(payer, payee, award, 0, 100)
            back_up(world, payer)
            await pay(payer, payee, award, 1, 250)
            other, other_id, _ = await engage(world, payer, payee, PRICE)
        await go_back(world, "payer")

        world.link.cut.add(NEWEST_METHOD)
        async with world.party("payer", settings=HASTY) as payer:
            await eventually(lambda: payer.payments.feed.number > 0)
            assert phase(payer) == "in doubt"
            assert outlook(payer, payee.address).free == 0
            acceptance = await accept(payer, award, 1, 300)
            with pytest.raises(NotConfirmedInTime, match="signed in the channel before"):
                await payer.payments.payer.pay(award, award_id, acceptance, last=False)
            with pytest.raises(NotConfirmedInTime):
                await payer.payments.payer.fund(award, award_id)
            assert await payer.payments.payer.close(award, award_id) is None
        (held,) = payee.payments.payee.channels()
        assert (held.earned, held.held) == (250, 2 * PRICE - 250)

        async with world.party("payer", settings=HASTY) as payer:  # a second start does not forget the doubt
            await eventually(lambda: payer.payments.feed.number > 0)
            assert phase(payer) == "in doubt"
        world.link.cut.clear()
        async with world.party("payer") as payer:
            await eventually(lambda: phase(payer) == "open")
            (view,) = payer.payments.payer.channels()
            assert (view.paid, view.held) == (250, 2 * PRICE - 250)
            await pay(payer, payee, award, 1, 300)  # the payee takes what is signed now
            await payer.payments.payer.close(award, award_id)
            await payee.payments.payee.settle(award, award_id, None, None, None)
            await payee.payments.payee.settle(other, other_id, None, None, None)  # forgotten here, and let go of there
            await eventually(lambda: not payer.payments.payer.channels()[0].held)
            await eventually(lambda: payer.payments.payer.channels()[0].acknowledged)
            assert await payer.payments.payer.close_channel(view.channel) == "closed"
        balances = await world.balances("payer", "payee")
    assert balances == {"payer": STAKE - 300, "payee": STAKE + 300, "channels": 0, "escrow": 0}


async def test_a_channel_that_was_opened_after_the_backup_is_taken_up_with_all_that_was_signed_in_it(
    world: World,
) -> None:
    async with world.party("payee") as payee:
        async with world.party("payer") as payer:
            await eventually(lambda: payer.payments.feed.number > 0)
            back_up(world, payer)
            award, _, _ = await engage(world, payer, payee, PRICE)
            await pay(payer, payee, award, 0, 100)
        await go_back(world, "payer")
        world.link.cut.add(NEWEST_METHOD)
        async with world.party("payer", settings=HASTY) as payer:
            await eventually(lambda: bool(payer.payments.payer.channels()))
            assert phase(payer) == "in doubt"
        world.link.cut.clear()
        async with world.party("payer") as payer:
            await eventually(lambda: phase(payer) == "open")
            (view,) = payer.payments.payer.channels()
            assert (view.deposit, view.paid, view.held) == (DEPOSIT, 100, PRICE - 100)
            assert await payer.gateway.channels.counter_of(payer.address) == 1


async def test_an_opening_that_the_backup_had_not_finished_is_not_made_twice(world: World) -> None:
    async with world.party("payee") as payee:
        async with world.party("payer") as payer:
            await eventually(lambda: payer.payments.feed.number > 0)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(payer.payments.payer.open_channel, payee.address, Amount(DEPOSIT))
                await eventually(lambda: bool(payer.payments.payer.channels()))
                assert phase(payer) == "opening"
                back_up(world, payer)
        await go_back(world, "payer")
        async with world.party("payer") as payer:
            await eventually(lambda: phase(payer) == "open")
            await eventually(lambda: not payer.transactor.in_hand())
            assert await payer.gateway.channels.counter_of(payer.address) == 1
            (view,) = payer.payments.payer.channels()
            assert (view.deposit, view.paid, view.held) == (DEPOSIT, 0, 0)
        assert (await world.balances("payer"))["payer"] == STAKE - DEPOSIT


async def test_a_top_up_that_the_backup_had_not_finished_is_not_made_twice(world: World) -> None:
    async with world.party("payee") as payee:
        async with world.party("payer") as payer:
            channel = await payer.payments.payer.open_channel(payee.address, Amount(DEPOSIT))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(payer.payments.payer.top_up, channel, Amount(7))
                await eventually(lambda: bool(payer.transactor.in_hand()))
                back_up(world, payer)
        await go_back(world, "payer")
        async with world.party("payer") as payer:
            await eventually(lambda: phase(payer) == "open")
            await eventually(lambda: payer.payments.payer.channels()[0].deposit == DEPOSIT + 7)
            await eventually(lambda: not payer.transactor.in_hand())
        assert (await world.balances("payer"))["payer"] == STAKE - DEPOSIT - 7


async def test_a_folder_that_was_copied_by_hand_is_found_out_by_what_the_payee_holds(world: World) -> None:
    async with world.party("payee") as payee:
        async with world.party("payer") as payer:
            award, award_id, _ = await engage(world, payer, payee, PRICE)
            await pay(payer, payee, award, 0, 100)
        shutil.copytree(world.folder / "payer", world.folder / "copy")
        async with world.party("payer") as payer:
            await pay(payer, payee, award, 0, 200)
            await pay(payer, payee, award, 0, 250)
        shutil.rmtree(world.folder / "payer")
        (world.folder / "copy").rename(world.folder / "payer")
        async with world.party("payer") as payer:
            # The payee was paid more than this payer knows: what it signs now is stale, and the answer tells so.
            await payer.payments.payer.pay(award, award_id, await accept(payer, award, 0, 101), last=False)
            await eventually(lambda: payer.payments.payer.channels()[0].paid == 250)
            await eventually(lambda: payer.payments.payer.channels()[0].acknowledged)
            await pay(payer, payee, award, 1, 300)
        (view,) = payee.payments.payee.channels()
        assert view.earned == 300


async def test_a_folder_that_was_copied_by_hand_is_found_out_by_what_the_chain_has_paid(world: World) -> None:
    async with world.party("payee") as payee:
        async with world.party("payer") as payer:
            award, award_id, _ = await engage(world, payer, payee, PRICE)
        shutil.copytree(world.folder / "payer", world.folder / "copy")
        async with world.party("payer") as payer:
            await pay(payer, payee, award, 0, 200)
            (view,) = payee.payments.payee.channels()
            await payee.payments.payee.claim(view.channel)
            await eventually(lambda: payer.payments.payer.channels()[0].claimed == 200)
        shutil.rmtree(world.folder / "payer")
        (world.folder / "copy").rename(world.folder / "payer")
        world.link.cut |= {NEWEST_METHOD, VOUCHER_METHOD}
        async with world.party("payer", settings=HASTY) as payer:
            await eventually(lambda: phase(payer) == "in doubt")
            with pytest.raises((NotConfirmedInTime, StateInDoubt)):
                await payer.payments.payer.pay(award, award_id, await accept(payer, award, 0, 201), last=False)
        world.link.cut.clear()
        async with world.party("payer") as payer:
            await eventually(lambda: phase(payer) == "open")
            assert payer.payments.payer.channels()[0].paid == 200


async def test_whoever_lost_the_payee_gets_the_deposit_back_by_leaving(world: World) -> None:
    async with world.party("payee") as payee, world.party("payer") as payer:
        award, _, _ = await engage(world, payer, payee, PRICE)
        back_up(world, payer)
        await pay(payer, payee, award, 0, 100)
    await go_back(world, "payer")
    async with world.party("payer") as payer:
        await eventually(lambda: phase(payer) == "in doubt")
        (view,) = payer.payments.payer.channels()
        assert await payer.payments.payer.close_channel(view.channel) == "leaving"
        await eventually(lambda: not payer.payments.payer.channels(), patience_s=60)
    assert (await world.balances("payer"))["payer"] == STAKE
