"""Watchtowers on a real chain: what they take from whom, that they act, and that no crash makes them miss it."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
import trio

from node.payments.errors import ChannelUnknown
from node.payments.watch import tower as tower_module
from node.payments.watch.errors import NotAClient, TooOften
from node.payments.watch.settings import WatchSettings
from node.payments.watch.tower import Tower
from node.storage.writer import WriterClosed
from protocol.channel.holds import build_voucher
from protocol.channel.objects import ChannelKey, Hold, channel_id
from protocol.channel.watch import WatchOrder, verify_watch_order
from protocol.channel.watch_messages import (
    HAND_MAX_BYTES,
    HAND_METHOD,
    NEWEST_METHOD,
    STATE_METHOD,
    HandAnswer,
    Handed,
    HandRequest,
    KeptAnswer,
    KeptRequest,
    WatchStateAnswer,
    WatchStateRequest,
)
from protocol.identity import ZERO_DIGEST, Address, Digest, PeerId
from protocol.signing.ecdsa import address_of, sign
from protocol.signing.eip712 import digest
from protocol.signing.keccak import keccak256
from protocol.signing.signed import sign_struct
from protocol.units import ONE_TOKEN, Amount
from protocol.wire.codec import decode, encode
from tests.node.payments.payments_world import (
    PATIENCE_S,
    STAKE,
    Crash,
    Party,
    World,
    engage,
    eventually,
    key_of,
    pay,
)

DEPOSIT = 2 * ONE_TOKEN
ENOUGH = 60
PRICE = 400_000
PAYEE, TOWER = address_of(key_of("payee")), address_of(key_of("other"))
FOR_PAYEE = WatchSettings(clients=frozenset({PAYEE}), least=Amount(50))
BY_TOWER = WatchSettings(towers=(TOWER,), hand_at=Amount(1))


async def ask(world: World, method: str, body: bytes, *, client: Address = PAYEE) -> bytes:
    """Ask the tower as somebody's node would."""
    return await world.link.handlers[TOWER, method](PeerId(client.hex()), body)


async def hand(world: World, *orders: WatchOrder, client: Address = PAYEE) -> tuple[Handed, ...]:
    body = await ask(world, HAND_METHOD, encode(HandRequest(orders=orders)), client=client)
    return decode(HandAnswer, body, max_bytes=HAND_MAX_BYTES).results


async def open_channel(payer: Party, payee: Address = PAYEE, deposit: int = DEPOSIT) -> ChannelKey:
    await payer.payments.payer.open_channel(payee, Amount(deposit))
    counter = await payer.gateway.channels.counter_of(payer.address)
    token = payer.chain.deployment.token
    return ChannelKey(payer=payer.address, signer=payer.address, payee=payee, token=token, counter=counter)


def order_of(
    world: World, key: ChannelKey, channel: Digest, sequence: int, cumulative: int, *holds: Hold
) -> WatchOrder:
    """Return what an honest payee hands over, by the keys of the parties of this world."""
    domain = world.chain.deployment.channel_domain
    voucher = build_voucher(channel, sequence, Amount(cumulative), holds)
    payee = next(name for name in ("payer", "payee", "other") if address_of(key_of(name)) == key.payee)
    return WatchOrder(
        key=key,
        voucher=sign_struct(key_of("payer"), domain, voucher),
        holds=holds,
        payee_signature=sign(key_of(payee), digest(domain, voucher)),
    )


async def test_a_tower_brings_the_newest_voucher_of_a_payee_that_is_away_on_chain(world: World) -> None:
    async with world.party("other", watch=FOR_PAYEE) as tower:
        towers = tower_of(tower)
        async with world.party("payer") as payer, world.party("payee", watch=BY_TOWER) as payee:
            signed, _, _ = await engage(world, payer, payee, PRICE, arbiter=tower.address, dispute_fee=Amount(7))
            channel = signed.value.channel
            await pay(payer, payee, signed, 0, 100)
            await payee.payments.payee.claim(channel)
            await eventually(lambda: payee.payments.payee.channels()[0].claimed == 100)
            await pay(payer, payee, signed, 1, 250)  # the hold of the rest is not let go of
            handover = payee.payments.handover
            assert handover is not None
            await eventually(lambda: [(each.at_stake, each.held) for each in handover.covers()] == [(0, {TOWER: 3})])
        (view,) = towers.watches()
        assert (view.client, view.payer, view.sequence) == (PAYEE, payer.address, 3)
        assert view.worth == PRICE + 7  # what is paid and what is held
        await leave(world, channel)

        async def is_presented() -> bool:
            return (await tower.gateway.channels.state_of(channel)).sequence == 3

        await until(is_presented)
        await eventually(lambda: not towers.watches()[0].acting and towers.watches()[0].act_at is None)
        state = await tower.gateway.channels.state_of(channel)
        assert (state.claimed, state.held) == (250, PRICE + 7 - 250)
        (client,) = await towers.clients()
        assert (client.wallet, client.watches, client.acts) == (PAYEE, 1, 1)
        assert await sent_by(world, TOWER) == 1
    async with world.party("payee", watch=BY_TOWER) as payee:  # it is back, and finds it done
        await eventually(lambda: payee.payments.payee.channels()[0].claimed == 250)
        await payee.payments.payee.drain()
        assert (await world.balances("payee"))["payee"] == STAKE + 250
        found = await payee.gateway.channels.state_of(channel)
        assert (found.sequence, found.held) == (3, PRICE + 7 - 250)


async def test_a_lying_client_has_nothing_kept_for_it(world: World) -> None:
    other = address_of(key_of("payer"))
    settings = replace(FOR_PAYEE, clients=frozenset({PAYEE, TOWER}), least=Amount(ONE_TOKEN))
    async with world.party("payer") as payer, world.party("other", watch=settings) as tower:
        towers = tower_of(tower)
        key = await open_channel(payer)
        small = await open_channel(payer, deposit=ONE_TOKEN - 1)
        foreign = await open_channel(payer, payee=TOWER)
        ours, tiny, theirs = (channel.channel for channel in payer.payments.payer.channels())
        unknown = replace(key, counter=99)
        hold = Hold(award=Digest(keccak256(b"award")), arbiter=other, amount=Amount(5))
        good = order_of(world, key, ours, 5, 100, hold)
        verify_watch_order(world.chain.deployment.channel_domain, good)

        with pytest.raises(NotAClient):  # before a byte of it is read
            await ask(world, HAND_METHOD, b"\xc1", client=other)
        assert towers.watches() == ()

        async def refused(order: WatchOrder, code: str, held: int = 0) -> None:
            (result,) = await hand(world, order)
            assert (result.problem.split(":")[0], result.sequence) == (code, held)

        lone = replace(good, payee_signature=good.voucher.signature)
        await refused(lone, "BadSignature")
        await refused(replace(good, voucher=replace(good.voucher, signature=good.payee_signature)), "BadSignature")
        await refused(replace(good, holds=()), "HoldsMismatch")
        await refused(replace(good, key=small), "WrongChannel")
        await refused(order_of(world, foreign, theirs, 1, 1), "NotYourChannel")
        await refused(order_of(world, key, ours, 0, 100), "StaleVoucher")
        await refused(order_of(world, small, tiny, 1, 100), "TooSmall")
        await refused(order_of(world, unknown, channel_id(unknown), 1, 100), "ChannelUnknown")
        assert towers.watches() == ()

        results = await hand(world, order_of(world, foreign, theirs, 1, 1), good, good)
        assert [(each.problem.split(":")[0], each.sequence) for each in results] == [
            ("NotYourChannel", 0),
            ("", 5),
            ("", 5),
        ]
        await refused(order_of(world, key, ours, 4, 200), "StaleVoucher", 5)
        await refused(order_of(world, key, ours, 5, 101, hold), "ConflictingVoucher", 5)
        await refused(order_of(world, key, ours, 6, 99, hold), "CumulativeFell", 5)
        assert [(view.sequence, view.worth) for view in towers.watches()] == [(5, 105)]

        # Another client learns nothing of it, and can't touch it.
        (result,) = await hand(world, good, client=TOWER)
        assert (result.problem.split(":")[0], result.sequence) == ("NotYourChannel", 0)
        assert await state_for(world, TOWER) == {}
        assert await kept_for(world, TOWER, ours) is None
        assert await state_for(world, PAYEE) == {ours: 5}
        assert await kept_for(world, PAYEE, ours) == good


async def test_no_client_takes_more_room_or_time_than_it_has(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tower_module, "REQUESTS_A_MINUTE", 1_000)
    settings = replace(FOR_PAYEE, watches_per_client=2, bytes_per_client=1_000)
    async with world.party("payer") as payer:
        keys = [await open_channel(payer) for _ in range(3)]
        channels = [channel.channel for channel in payer.payments.payer.channels()]
        plain = [order_of(world, key, channel, 1, 60) for key, channel in zip(keys, channels, strict=True)]
        holds = tuple(
            Hold(award=Digest(bytes([number]) * 32), arbiter=PAYEE, amount=Amount(1)) for number in range(1, 9)
        )
        large = order_of(world, keys[0], channels[0], 2, 60, *holds)
        assert 2 * len(encode(plain[0])) < settings.bytes_per_client < len(encode(plain[0])) + len(encode(large))
        assert len(encode(large)) < settings.bytes_per_client
        async with world.party("other", watch=settings) as tower:
            towers = tower_of(tower)
            results = await hand(world, *plain)
            assert [each.problem.split(":")[0] for each in results] == ["", "", "TooManyWatches"]
            (result,) = await hand(world, large)  # it would fit alone, and not beside the other
            assert (result.problem.split(":")[0], result.sequence) == ("TooManyWatches", 1)
            (client,) = await towers.clients()
            assert (client.watches, client.size) == (2, sum(len(encode(order)) for order in plain[:2]))
            for sequence in range(2, 40):  # updates take the room of what they replace
                (result,) = await hand(world, order_of(world, keys[1], channels[1], sequence, 60))
                assert result == Handed(channel=channels[1], sequence=sequence, problem="")
            await towers.drop(channels[0])
            with pytest.raises(ChannelUnknown):
                await towers.drop(channels[0])
            (result,) = await hand(world, plain[2])
            assert result.problem == ""
            before = await state_for(world, PAYEE)
            monkeypatch.setattr(tower_module, "REQUESTS_A_MINUTE", 3)
            refusals = 0
            for _ in range(8):  # at least one whole minute's worth within two minutes
                try:
                    await hand(world, plain[1])
                except TooOften:
                    refusals += 1
            assert refusals >= 2
        async with world.party("other", watch=settings) as tower:  # what was said to be held is held after a restart
            assert await state_for(world, PAYEE) == before == {channels[1]: 39, channels[2]: 1}
            # A client that was struck off the list is served to the end, and hands over nothing more.
        async with world.party("other", watch=replace(settings, clients=frozenset())) as tower:
            towers = tower_of(tower)
            assert len(towers.watches()) == 2
            assert [(each.wallet, each.allowed) for each in await towers.clients()] == [(PAYEE, False)]
            with pytest.raises(NotAClient):
                await hand(world, plain[1])


async def test_a_tower_that_dies_at_each_commit_still_brings_all_of_it_on_chain(world: World) -> None:
    crashes = 0
    async with world.party("payer") as payer:
        key = await open_channel(payer)
        channel = payer.payments.payer.channels()[0].channel
    hold = Hold(award=Digest(keccak256(b"award")), arbiter=TOWER, amount=Amount(30))
    order = order_of(world, key, channel, 7, 500, hold)
    is_taken = is_leaving = is_done = False

    async def live(tower: Party) -> None:
        nonlocal is_taken, is_leaving
        towers = tower_of(tower)
        if is_taken:
            assert [view.sequence for view in towers.watches()] == [7]  # what was acknowledged is kept
        else:
            is_taken = (await hand(world, order)) == (Handed(channel=channel, sequence=7, problem=""),)
        if not is_leaving:
            await leave(world, channel)
            is_leaving = True

        async def is_presented() -> bool:
            return (await tower.gateway.channels.state_of(channel)).sequence == 7

        await until(is_presented)
        await eventually(lambda: not towers.watches()[0].acting)

    while not is_done:
        try:
            async with world.party("other", watch=FOR_PAYEE, crash_at_commit=1 + crashes // 2) as tower:
                await live(tower)
                is_done = True
        except* (Crash, WriterClosed):
            crashes += 1
            assert crashes < ENOUGH
    assert crashes >= 4
    assert await world.balances("payee") == {"payee": STAKE + 500, "channels": DEPOSIT - 500, "escrow": 0}
    assert await sent_by(world, TOWER) == 1  # it paid for one transaction


async def test_a_tower_that_may_not_act_says_so_acts_when_it_may_and_forgets_what_is_over(world: World) -> None:
    async with world.party("payer") as payer:
        keys = [await open_channel(payer) for _ in range(2)]
        channels = [each.channel for each in payer.payments.payer.channels()]
    orders = [order_of(world, key, name, 1, 60) for key, name in zip(keys, channels, strict=True)]
    async with world.party("other", watch=replace(FOR_PAYEE, acts_per_day=1)) as tower:
        towers = tower_of(tower)
        assert not any(each.problem for each in await hand(world, *orders))
        await leave(world, *channels)
        await eventually(lambda: any("acts_per_day" in view.trouble for view in towers.watches()))

        async def are_claimed(amounts: list[int], tower: Party = tower) -> bool:
            found = [await tower.gateway.channels.state_of(channel) for channel in channels]
            return sorted(state.claimed for state in found) == amounts

        await until(lambda: are_claimed([0, 60]))
    async with world.party("other", watch=replace(FOR_PAYEE, acts_per_day=2)) as tower:
        later = tower_of(tower)
        await until(lambda tower=tower: are_claimed([60, 60], tower))
        assert len(later.watches()) == 2
        async with world.party("payer") as payer:  # takes the rest, and with it the channels end
            await eventually(lambda: payer.payments.payer.channels() == ())
        await eventually(lambda: later.watches() == ())
    async with world.party("other", watch=FOR_PAYEE):
        assert await state_for(world, PAYEE) == {}


def tower_of(party: Party) -> Tower:
    assert party.payments.tower is not None
    return party.payments.tower


async def leave(world: World, *channels: Digest) -> None:
    """Have the payer begin to leave without asking the payee, and go: who is not there withdraws nothing meanwhile."""
    async with world.party("payer") as payer:
        for channel in channels:
            assert await payer.payments.payer.close_channel(channel, force=True) == "leaving"

        async def has_begun() -> bool:
            states = [await payer.gateway.channels.state_of(channel) for channel in channels]
            return all(state.exits_at for state in states)

        await until(has_begun)


async def sent_by(world: World, wallet: Address) -> int:
    return int(str(await world.chain.rpc.call("eth_getTransactionCount", f"0x{wallet.hex()}", "latest")), 16)


async def state_for(world: World, client: Address) -> dict[Digest, int]:
    body = await ask(world, STATE_METHOD, encode(WatchStateRequest(after=ZERO_DIGEST)), client=client)
    answer = decode(WatchStateAnswer, body, max_bytes=HAND_MAX_BYTES)
    return {entry.channel: entry.sequence for entry in answer.watches}


async def kept_for(world: World, client: Address, channel: Digest) -> WatchOrder | None:
    body = await ask(world, NEWEST_METHOD, encode(KeptRequest(channel=channel)), client=client)
    return decode(KeptAnswer, body, max_bytes=HAND_MAX_BYTES).order


async def until(is_true: Callable[[], Awaitable[bool]]) -> None:
    with trio.fail_after(PATIENCE_S):
        while not await is_true():
            await trio.sleep(0.05)
