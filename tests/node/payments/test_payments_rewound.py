"""Confirmed blocks that vanish stop a node once: what it holds may be wrong, but its exits and claims must go on."""

import pytest
import trio

from node.chain.event_store import SqlEventStore
from node.payments.errors import ChainRewound
from protocol.units import Amount
from tests.node.payments.payments_world import PATIENCE_S, STAKE, World, engage, pay

PRICE, PAID = Amount(400_000), Amount(150_000)


async def test_after_what_was_read_is_forgotten_the_second_start_goes_on_and_claims_once(world: World) -> None:
    async with world.party("payer") as payer:
        async with world.party("payee") as payee:
            signed, _, _ = await engage(world, payer, payee, PRICE)
            await pay(payer, payee, signed, 0, PAID)
            await payee.payments.payee.claim(signed.value.channel)
            with trio.fail_after(PATIENCE_S):
                await payee.payments.payee.drain()
            # As a reorganisation deeper than the confirmations does, or `stoa chain reindex`.
            await SqlEventStore(payee.storage).revert(world.deployment.block - 1)
        with pytest.RaisesGroup(ChainRewound, flatten_subgroups=True):
            async with world.party("payee"):
                with trio.fail_after(PATIENCE_S):
                    await trio.sleep_forever()
        async with world.party("payee") as payee:
            with trio.fail_after(PATIENCE_S):
                while payee.payments.feed.number < (await world.chain.head()).number:
                    await trio.sleep(0.05)
            (view,) = payee.payments.payee.channels()
            assert (view.earned, view.claimed, view.deposit) == (PAID, PAID, 2_000_000)
            await pay(payer, payee, signed, 1, PRICE, last=True)
            await payee.payments.payee.claim(signed.value.channel)
            with trio.fail_after(PATIENCE_S):
                await payee.payments.payee.drain()
        assert (await world.balances("payee"))["payee"] == STAKE + PRICE
