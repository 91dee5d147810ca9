"""Claims of several channels on a real chain: one transaction, when gas is cheap, and never in the way of an exit."""

from dataclasses import dataclass, replace
from typing import cast

import pytest
import trio

from node.app.contract_chain import ContractChain
from node.chain.chain import Block, Chain
from node.chain.channel_events import ChannelClaimed
from node.chain.event_index import EventIndex, EventStore
from node.chain.events import decode_log
from node.chain.gateway import open_gateway
from node.payments import claiming
from protocol.channel.objects import ChannelKey, Voucher
from protocol.signing.ecdsa import address_of
from protocol.signing.signed import Signed
from protocol.units import Amount, Seconds
from tests.node.payments.payments_world import SETTINGS, STAKE, Party, World, engage, eventually, key_of, pay

PRICE = 400_000
PAID = 150_000
PATIENT = replace(SETTINGS, claim_at=Amount(PAID), claim_patience=Seconds(86_400))


@dataclass
class Gas:
    """Whether gas is cheap, as all nodes of a test see it."""

    cheap: bool = False


@pytest.fixture
def gas(monkeypatch: pytest.MonkeyPatch) -> Gas:
    gas = Gas()

    async def is_gas_cheap(_chain: ContractChain) -> bool:
        return gas.cheap

    monkeypatch.setattr(ContractChain, "is_gas_cheap", is_gas_cheap)
    monkeypatch.setattr(claiming, "GAS_LOOK_S", 0.1)
    return gas


def claimed(payee: Party) -> list[int]:
    return [view.claimed for view in payee.payments.payee.channels()]


async def test_two_channels_are_claimed_in_one_transaction_once_gas_is_cheap(world: World, gas: Gas) -> None:
    async with (
        world.party("payer") as payer,
        world.party("other") as other,
        world.party("payee", settings=PATIENT) as payee,
    ):
        for each in (payer, other):
            signed, _, _ = await engage(world, each, payee, PRICE)
            await pay(each, payee, signed, 0, PAID)
        await eventually(lambda: payee.payments.payee.claims_waiting == 2)
        assert claimed(payee) == [0, 0]
        gas.cheap = True
        await eventually(lambda: claimed(payee) == [PAID, PAID])
        head = await world.chain.head()
        logs = await world.chain.logs((world.deployment.payment_channel,), 0, head.number)
        balances = await world.balances("payee")
    claims = [raw.transaction for raw in logs if isinstance(decode_log(world.deployment, raw), ChannelClaimed)]
    assert (len(claims), len(set(claims))) == (2, 1)
    assert balances["payee"] == STAKE + 2 * PAID


async def test_an_exit_is_answered_though_a_claim_waits_for_cheap_gas(world: World, gas: Gas) -> None:
    async with world.party("payer") as payer, world.party("payee", settings=PATIENT) as payee:
        signed, _, _ = await engage(world, payer, payee, PRICE)
        await pay(payer, payee, signed, 0, PAID)
        await eventually(lambda: payee.payments.payee.claims_waiting == 1)
        assert await payer.payments.payer.close_channel(signed.value.channel, force=True) == "leaving"
        await eventually(lambda: claimed(payee) == [PAID])
        assert payee.payments.payee.claims_waiting == 0


async def test_an_exit_that_is_not_answered_yet_is_told_with_its_last_second(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go, present = trio.Event(), ContractChain.present

    async def present_later(chain: ContractChain, key: ChannelKey, voucher: Signed[Voucher]) -> int:
        await may_go.wait()
        return await present(chain, key, voucher)

    monkeypatch.setattr(ContractChain, "present", present_later)
    async with world.party("payer") as payer, world.party("payee") as payee:
        signed, _, _ = await engage(world, payer, payee, PRICE)
        view = payee.payments.payee.channels
        assert view()[0].answer_by == 0
        assert await payer.payments.payer.close_channel(signed.value.channel, force=True) == "leaving"
        await eventually(lambda: view()[0].phase == "defending")
        state = await payee.gateway.channels.state_of(signed.value.channel)
        assert view()[0].answer_by == state.exits_at > 0
        may_go.set()
        await eventually(lambda: view() == () or view()[0].answer_by == 0)


async def test_what_a_claim_costs_follows_the_price_of_gas(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    newest = replace(await world.chain.head(), base_fee=20 * 10**9)

    async def head(_chain: Chain) -> Block:
        return newest

    monkeypatch.setattr(Chain, "head", head)  # the chain's own grows on, and its price falls meanwhile
    costs = await contract_chain(world).claim_costs()
    assert (costs.base, costs.each) == (
        2_700_001,
        960_001,
    )  # 45,000 and 16,000 units at 20 gwei and 1 wei, $3000 a coin


async def test_gas_is_cheap_when_it_has_become_so(world: World) -> None:
    chain, rpc = contract_chain(world), world.chain.rpc
    for base_fee in (50 * 10**9, 50 * 10**9, 8):  # what the local chain began with is between the two
        await rpc.call("anvil_setNextBlockBaseFeePerGas", hex(base_fee))
        await rpc.call("anvil_mine", "0x1")
    assert await chain.is_gas_cheap()
    await rpc.call("anvil_setNextBlockBaseFeePerGas", hex(900 * 10**9))
    await rpc.call("anvil_mine", "0x1")
    assert not await chain.is_gas_cheap()


def contract_chain(world: World) -> ContractChain:
    index = EventIndex(world.chain, cast("EventStore", None))  # not read here
    return ContractChain(world.chain, index, open_gateway(world.chain), address_of(key_of("payee")))


async def test_a_user_that_wants_its_money_now_gets_it(world: World, gas: Gas) -> None:
    async with world.party("payer") as payer, world.party("payee", settings=PATIENT) as payee:
        signed, _, _ = await engage(world, payer, payee, PRICE)
        await pay(payer, payee, signed, 0, PAID)
        await eventually(lambda: payee.payments.payee.claims_waiting == 1)
        await payee.payments.payee.claim(signed.value.channel)
        await eventually(lambda: claimed(payee) == [PAID])
