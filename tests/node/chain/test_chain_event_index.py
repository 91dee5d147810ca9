"""The event index over a real anvil and the real database: order, restarts, ranges, reorganisations."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path

import pytest
import trio

from node.chain.abi import load_artifact
from node.chain.chain import Block, Chain, RawLog
from node.chain.channel_events import ChannelOpened, ToppedUp
from node.chain.errors import ChainUnreachable, ProtocolMismatch
from node.chain.event_index import EventIndex, NodeBehind, open_event_index
from node.chain.event_store import BEGINNING, CHAIN_SCHEMA, SqlEventStore
from node.chain.event_subscription import BlockConfirmed, BlocksReverted, Delivery, IndexedEvent, Subscription
from node.chain.events import EVENTS, snake
from node.chain.gateway import Gateway, open_gateway
from node.chain.profile import SEPOLIA, ChainProfile
from node.operations.clock import SystemClock
from node.storage.storage import open_storage
from protocol.channel.objects import ChannelKey
from protocol.identity import Address, Digest
from protocol.units import Amount, UnixTime
from tests.node.chain.chain_world import PATIENCE_S, PROFILE, World

PAYEE = Address(b"\x55" * 20)


@asynccontextmanager
async def indexing(
    world: World, folder: Path, profile: ChainProfile = PROFILE
) -> AsyncGenerator[tuple[EventIndex, SqlEventStore], None]:
    async with open_storage(folder, clock=SystemClock(), schema_parts=[CHAIN_SCHEMA]) as storage:
        store = SqlEventStore(storage)
        async with open_event_index(Chain(world.rpc, profile, world.deployment), store) as index:
            yield index, store


@asynccontextmanager
async def trading(world: World) -> AsyncGenerator[Gateway, None]:
    async with world.transactor() as transactor:
        gateway = open_gateway(world.chain, transactor)
        await gateway.token.ensure_allowance(world.deployment.payment_channel, Amount(1_000))
        yield gateway


async def open_channel(world: World, gateway: Gateway, amount: int) -> ChannelOpened:
    return await gateway.channels.open(signer=world.address(), payee=PAYEE, amount=Amount(amount), key=str(amount))


async def next_of(subscription: Subscription, kind: type[Delivery]) -> Delivery:
    with trio.fail_after(PATIENCE_S):
        while True:
            delivery = await subscription.receive()
            if isinstance(delivery, kind):
                return delivery


async def events_until(subscription: Subscription, block: int) -> list[IndexedEvent]:
    """Collect events until `block` is confirmed; a reorganisation on the way takes back what it undoes."""
    seen: list[IndexedEvent] = []
    with trio.fail_after(PATIENCE_S):
        while True:
            match await subscription.receive():
                case IndexedEvent() as event:
                    seen.append(event)
                case BlocksReverted(to=to):
                    seen = [event for event in seen if event.position.block <= to]
                case BlockConfirmed(number=number) if number >= block:
                    return seen
                case BlockConfirmed():
                    pass


def deposits(events: list[IndexedEvent]) -> list[int]:
    return [event.event.deposit for event in events if isinstance(event.event, ChannelOpened | ToppedUp)]


async def test_events_arrive_typed_in_order_and_each_once(world: World, tmp_path: Path) -> None:
    async with indexing(world, tmp_path) as (index, _), trading(world) as gateway:
        opened = await open_channel(world, gateway, 100)
        key = ChannelKey(
            payer=opened.payer, signer=opened.signer, payee=opened.payee, token=opened.token, counter=opened.counter
        )
        await gateway.channels.top_up(key, Amount(5), key="more")
        await open_channel(world, gateway, 200)
        head = await world.chain.head()
        events = await events_until(index.subscribe(), head.number)
    assert [type(event.event).__name__ for event in events] == ["ChannelOpened", "ToppedUp", "ChannelOpened"]
    assert deposits(events) == [100, 105, 200]
    assert events[0].event == opened


async def test_a_reader_that_stopped_goes_on_after_what_it_dealt_with(world: World, tmp_path: Path) -> None:
    async with trading(world) as gateway:
        for amount in (10, 20, 30):
            await open_channel(world, gateway, amount)
        async with indexing(world, tmp_path) as (index, _):
            first = await next_of(index.subscribe(), IndexedEvent)
        await open_channel(world, gateway, 40)
        head = await world.chain.head()
        async with indexing(world, tmp_path) as (index, _):
            rest = await events_until(index.subscribe(first.position), head.number)
    assert deposits(rest) == [20, 30, 40]


async def test_a_long_history_is_read_in_ranges(world: World, tmp_path: Path) -> None:
    async with trading(world) as gateway:
        await open_channel(world, gateway, 10)
        await world.mine(50)
        await open_channel(world, gateway, 20)
    head = await world.chain.head()
    async with indexing(world, tmp_path, replace(PROFILE, log_range=7)) as (index, store):
        assert deposits(await events_until(index.subscribe(), head.number)) == [10, 20]
        numbers = [checkpoint.number for checkpoint in await store.checkpoints()]
    assert max(after - before for before, after in pairwise(numbers)) <= 7


async def test_an_event_is_delivered_only_once_it_is_deep_enough(world: World, tmp_path: Path) -> None:
    async with indexing(world, tmp_path, replace(PROFILE, confirmations=3)) as (index, _), trading(world) as gateway:
        opened = await open_channel(world, gateway, 10)
        subscription = index.subscribe()
        block = (await world.chain.head()).number
        with trio.move_on_after(0.3) as patience:
            await next_of(subscription, IndexedEvent)
        assert patience.cancelled_caught
        await world.mine(2)
        delivered = await next_of(subscription, IndexedEvent)
    assert isinstance(delivered, IndexedEvent)
    assert (delivered.event, delivered.position.block) == (opened, block)


async def test_a_reorganisation_within_the_confirmations_is_never_seen(world: World, tmp_path: Path) -> None:
    async with indexing(world, tmp_path, replace(PROFILE, confirmations=4)) as (index, _), trading(world) as gateway:
        await open_channel(world, gateway, 10)
        await world.mine()
        await world.rpc.call("anvil_reorg", 2, [])
        await world.mine(6)
        subscription = index.subscribe()
        with trio.fail_after(PATIENCE_S):
            await index.wait_for((await world.chain.head()).number - 3)
        seen = [await subscription.receive()]
    assert [type(delivery) for delivery in seen] == [BlockConfirmed]
    assert index.reverts == []


async def test_a_deeper_reorganisation_is_undone_and_the_new_chain_read(world: World, tmp_path: Path) -> None:
    async with indexing(world, tmp_path) as (index, store), trading(world) as gateway:
        await open_channel(world, gateway, 10)
        kept = (await world.chain.head()).number
        subscription = index.subscribe()
        assert deposits(await events_until(subscription, kept)) == [10]
        await open_channel(world, gateway, 20)
        lost = await next_of(subscription, IndexedEvent)
        assert isinstance(lost, IndexedEvent)
        await world.rpc.call("anvil_reorg", 1, [])
        reverted = await next_of(subscription, BlocksReverted)
        assert isinstance(reverted, BlocksReverted)
        assert reverted.to == kept
        head = await world.chain.head()
        assert deposits(await events_until(subscription, head.number)) == []
        assert deposits(await events_until(index.subscribe(), head.number)) == [10]
        assert all(log.block <= kept for log in await store.logs_after(BEGINNING, up_to=10**6, limit=100))
    async with indexing(world, tmp_path) as (index, _):
        late = await index.subscribe(lost.position).receive()
        assert late == reverted


async def test_a_local_chain_that_began_anew_undoes_everything(world: World, tmp_path: Path) -> None:
    fresh = await world.rpc.call("evm_snapshot")
    async with indexing(world, tmp_path) as (index, _):
        async with trading(world) as gateway:
            await open_channel(world, gateway, 10)
        subscription = index.subscribe()
        await next_of(subscription, IndexedEvent)
        await world.rpc.call("evm_revert", fresh)
        reverted = await next_of(subscription, BlocksReverted)
        assert isinstance(reverted, BlocksReverted)
        assert reverted.to <= (await world.chain.head()).number


async def test_a_public_node_that_lags_is_waited_for_and_undoes_nothing(world: World, tmp_path: Path) -> None:
    profile = replace(SEPOLIA, confirmations=1, poll_s=0.02)
    async with indexing(world, tmp_path, profile) as (index, _):
        fresh = await world.rpc.call("evm_snapshot")
        await world.mine(5)
        with trio.fail_after(PATIENCE_S):
            await index.wait_for((await world.chain.head()).number)
        await world.rpc.call("evm_revert", fresh)
        with pytest.raises(NodeBehind, match="does not know block"):
            await index._undo_lost_blocks()  # pyright: ignore[reportPrivateUsage] - what each poll begins with
        assert index.reverts == []


class ScriptedChain(Chain):
    """Blocks as a test lists them, without logs; and what was asked."""

    blocks: tuple[Block, ...] = ()
    asked: tuple[str, ...] = ()
    fails = False

    async def _find(self, tag: str) -> Block | None:
        self.asked = (*self.asked, tag)
        number = len(self.blocks) - 1 if tag == "latest" else int(tag, 16)
        return self.blocks[number] if number < len(self.blocks) else None

    async def logs_of(self, addresses: Sequence[Address], block: Block) -> tuple[RawLog, ...]:
        if self.fails:
            raise ChainUnreachable("http://node", "it is away")
        return ()


def branch(*names: str) -> tuple[Block, ...]:
    digests = [Digest(name.encode().rjust(32, b"-")) for name in names]
    parents = [Digest(bytes(32)), *digests]
    return tuple(
        Block(number=number, hash=digest, parent=parents[number], time=UnixTime(number), base_fee=0)
        for number, digest in enumerate(digests)
    )


@asynccontextmanager
async def scripted(world: World, folder: Path) -> AsyncGenerator[tuple[ScriptedChain, EventIndex], None]:
    async with open_storage(folder, clock=SystemClock(), schema_parts=[CHAIN_SCHEMA]) as storage:
        chain = ScriptedChain(world.rpc, PROFILE, replace(world.deployment, block=0))
        yield chain, EventIndex(chain, SqlEventStore(storage))


async def test_a_chain_that_stands_still_is_asked_one_question_a_look(world: World, tmp_path: Path) -> None:
    async with scripted(world, tmp_path) as (chain, index):
        chain.blocks = branch("a", "b", "c")
        await index._poll()  # pyright: ignore[reportPrivateUsage] - one look, without waiting for the next
        chain.asked = ()
        for _ in range(3):
            await index._poll()  # pyright: ignore[reportPrivateUsage]
        assert chain.asked == ("latest",) * 3
        chain.blocks = branch("a", "b", "c", "d")
        await index._poll()  # pyright: ignore[reportPrivateUsage]
        assert index.last is not None
        assert index.last.number == 3


async def test_a_branch_that_comes_back_after_a_failed_look_is_read_again(world: World, tmp_path: Path) -> None:
    async with scripted(world, tmp_path) as (chain, index):
        chain.blocks = branch("a", "b", "c")
        await index._poll()  # pyright: ignore[reportPrivateUsage]
        chain.blocks, chain.fails = branch("a", "B", "C"), True
        with pytest.raises(ChainUnreachable):
            await index._poll()  # pyright: ignore[reportPrivateUsage]
        chain.blocks, chain.fails = branch("a", "b", "c"), False
        await index._poll()  # pyright: ignore[reportPrivateUsage]
        assert index.last is not None
        assert index.last.hash == chain.blocks[2].hash


async def test_a_chain_that_goes_away_and_comes_back_only_delays(world: World, tmp_path: Path) -> None:
    async with indexing(world, tmp_path) as (index, _), trading(world) as gateway:
        subscription = index.subscribe()
        await next_of(subscription, BlockConfirmed)
        world.anvil.process.send_signal(19)  # SIGSTOP: it accepts connections and answers nothing
        await trio.sleep(0.3)
        world.anvil.process.send_signal(18)
        await open_channel(world, gateway, 10)
        await next_of(subscription, IndexedEvent)


def test_every_event_class_names_what_the_contract_reports() -> None:
    for name, classes in EVENTS.items():
        reported = {item.name: item for item in load_artifact(name).abi.events.values()}
        for solidity, cls in classes.items():
            names = {snake(argument) for argument, _ in reported[solidity].inputs}
            assert {field.name for field in fields(cls)} <= names, solidity
        assert set(reported) - set(classes) <= {"EIP712DomainChanged", "DrawRequested", "Pruned"}


async def test_a_log_of_the_wrong_range_or_of_another_shape_is_not_stored(world: World, tmp_path: Path) -> None:
    async with indexing(world, tmp_path) as (index, _), trading(world) as gateway:
        await open_channel(world, gateway, 10)
        (raw,) = await world.chain.logs([world.deployment.payment_channel], 0, 10**6)
        stray = replace(raw, block=raw.block + 1)
        with pytest.raises(ProtocolMismatch, match="a log of block"):
            index._check(stray, raw.block, raw.block)  # pyright: ignore[reportPrivateUsage]
        torn: RawLog = replace(raw, data=raw.data[:-1])
        with pytest.raises(ProtocolMismatch, match="never make"):
            index._check(torn, raw.block, raw.block)  # pyright: ignore[reportPrivateUsage]


async def test_a_reader_that_had_come_to_the_newest_block_is_told_of_it_again_and_of_nothing_else(
    world: World, tmp_path: Path
) -> None:
    async with indexing(world, tmp_path) as (index, _):
        await world.mine()
        last = await next_of(index.subscribe(), BlockConfirmed)
        assert isinstance(last, BlockConfirmed)
        again = index.subscribe(last.position)
        with trio.fail_after(PATIENCE_S):
            assert await again.receive() == last
        await world.mine()
        following = await next_of(again, BlockConfirmed)
        assert isinstance(following, BlockConfirmed)
        assert following.number > last.number
