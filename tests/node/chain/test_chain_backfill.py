"""A long history into the index: ranges at once, refusals, reorganisations, ends in the middle; and the check of it."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import trio
from sqlalchemy import delete, update

from node.chain.chain import Chain
from node.chain.errors import RpcRefused
from node.chain.event_check import RangeCheck, check_index, compute_return, records
from node.chain.event_index import NEWEST, EventIndex, open_event_index
from node.chain.event_ranges import RANGES_AT_ONCE
from node.chain.event_store import CHAIN_SCHEMA, Checkpoint, SqlEventStore, chain_log
from node.chain.event_subscription import BlocksReverted, IndexedEvent
from node.chain.local import DEPLOYER
from node.chain.profile import ChainProfile
from node.chain.rpc import Json, Rpc, hexed, members, quantity
from node.operations.clock import SystemClock
from node.storage.storage import Storage
from protocol.identity import Address, Digest
from protocol.signing.keccak import keccak256
from protocol.units import UnixTime
from tests.node.chain.chain_world import PROFILE, World, included
from tests.stores import Store

PATIENCE_S = 120
PAUSED = bytes(keccak256(b"Paused(address)"))
EVENTS_A_CALL = 20
DEEP = 6


@dataclass
class Watched(Rpc):
    """The chain's node, behind somebody who counts, refuses and interferes."""

    behind: Rpc
    most_blocks: int = 10**9
    most_at_once: int = 10**9
    before_logs: Callable[[int], Awaitable[None]] | None = None
    before_block: Callable[[int], Awaitable[None]] | None = None
    after_logs: Callable[[int], None] | None = None
    spans: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    refused: int = 0
    now: int = 0
    at_once: int = 0

    @property
    def url(self) -> str:
        return self.behind.url

    async def call(self, method: str, *params: Json) -> Json:
        if method != "eth_getLogs":
            if method == "eth_getBlockByNumber" and params[0] != "latest" and self.before_block is not None:
                await self.before_block(quantity(params[0]))
            return await self.behind.call(method, *params)
        query = params[0]
        assert isinstance(query, dict)
        first, last = await self._span(query)
        self.now += 1
        self.at_once = max(self.at_once, self.now)
        try:
            if last - first >= self.most_blocks or self.now > self.most_at_once:
                self.refused += 1
                raise RpcRefused(method, -32005, "query returns too much")
            self.spans.append((first, last))
            if self.before_logs is not None:
                await self.before_logs(len(self.spans))
            answer = await self.behind.call(method, *params)
            if self.after_logs is not None:
                self.after_logs(first)
            return answer
        finally:
            self.now -= 1

    async def _span(self, query: dict[str, Json]) -> tuple[int, int]:
        if "blockHash" not in query:
            return quantity(query["fromBlock"]), quantity(query["toBlock"])
        block = await self.behind.call("eth_getBlockByHash", query["blockHash"], False)
        number = quantity(members(block).get("number"))
        return number, number


@dataclass
class Lagging(Rpc):
    """Two nodes behind one address: one that knows all, and one that answers for logs and has blocks up to `knows`."""

    behind: Rpc
    knows: int
    asked_too_early: trio.Event = field(default_factory=trio.Event)

    @property
    def url(self) -> str:
        return self.behind.url

    async def call(self, method: str, *params: Json) -> Json:
        answer = await self.behind.call(method, *params)
        if method != "eth_getLogs":
            return answer
        query = members(params[0])
        if "blockHash" in query:
            block = members(await self.behind.call("eth_getBlockByHash", query["blockHash"], False))
            if quantity(block.get("number")) > self.knows:
                self.asked_too_early.set()
                raise RpcRefused(method, -32000, "unknown block")
            return answer
        assert isinstance(answer, list)
        known = [each for each in answer if quantity(members(each).get("blockNumber")) <= self.knows]
        if len(known) < len(answer):
            self.asked_too_early.set()
        return [*known]


async def make_events(world: World, calls: int, each: int = EVENTS_A_CALL) -> None:
    """Let the escrow's address report `each` events a call: code that does nothing else stands there for the test."""
    loop = f"60{each:02x}5b337f{PAUSED.hex()}60006000a2600190038060025700"
    await world.rpc.call("anvil_setCode", hexed(world.deployment.escrow), "0x" + loop)
    for _ in range(calls):
        call: dict[str, Json] = {"from": hexed(DEPLOYER), "to": hexed(world.deployment.escrow)}
        await included(world.rpc, await world.rpc.call("eth_sendTransaction", call))


@asynccontextmanager
async def opened(store: Store, folder: Path) -> AsyncGenerator[tuple[Storage, SqlEventStore], None]:
    async with store.open(folder, clock=SystemClock(), schema_parts=[CHAIN_SCHEMA]) as storage:
        yield storage, SqlEventStore(storage)


async def read_all(chain: Chain, events: SqlEventStore) -> EventIndex:
    """Read until the index has all that is confirmed now, and end."""
    confirmed = await chain.confirmed()
    with trio.fail_after(PATIENCE_S):
        async with open_event_index(chain, events) as index:
            await index.wait_for(confirmed.number)
    return index


async def compare(chain: Chain, events: SqlEventStore) -> list[RangeCheck]:
    return [each async for each in check_index(chain, events)]


def chain_of(world: World, rpc: Rpc, **changes: int) -> Chain:
    profile: ChainProfile = replace(PROFILE, **changes)
    return Chain(rpc, profile, world.deployment)


async def test_ten_thousand_events_are_read_in_ranges_at_once_and_equal_the_chain(
    world: World, store: Store, tmp_path: Path
) -> None:
    await make_events(world, 50, each=200)
    watched = Watched(world.rpc)
    chain = chain_of(world, watched, log_range=5)
    async with opened(store, tmp_path) as (_, events):
        await read_all(chain, events)
        checked = await compare(chain, events)
    assert sum(each.on_chain for each in checked) >= 10_000
    assert all(each.is_equal and each.stored == each.on_chain for each in checked)
    assert 1 < watched.at_once <= RANGES_AT_ONCE


async def test_a_node_that_refuses_ranges_is_asked_for_less_and_not_refused_each_time(
    world: World, store: Store, tmp_path: Path
) -> None:
    await make_events(world, 30)
    await world.mine(300)
    watched = Watched(world.rpc, most_blocks=7)
    chain = chain_of(world, watched, log_range=64)
    async with opened(store, tmp_path) as (_, events):
        await read_all(chain, events)
        refusals = watched.refused
        assert all(each.is_equal for each in await compare(chain_of(world, world.rpc), events))
    assert max(last - first for first, last in watched.spans) < 7
    # 64, 32, 16 and 8 blocks are refused, each up to four times at once; a greater range is tried again now and then.
    assert refusals <= 4 * RANGES_AT_ONCE + 3 * RANGES_AT_ONCE


async def test_a_node_that_answers_only_one_request_at_a_time_is_asked_so(
    world: World, store: Store, tmp_path: Path
) -> None:
    await make_events(world, 20)
    chain = chain_of(world, Watched(world.rpc, most_at_once=1), log_range=2)
    async with opened(store, tmp_path) as (_, events):
        await read_all(chain, events)
        assert all(each.is_equal for each in await compare(chain_of(world, world.rpc), events))


@pytest.mark.parametrize("new", [1, NEWEST + 3])
async def test_of_several_nodes_behind_one_address_one_that_lags_hides_nothing(
    world: World, store: Store, tmp_path: Path, new: int
) -> None:
    head = await world.chain.head()
    lagging = Lagging(world.rpc, knows=head.number + new - 1)
    chain = chain_of(world, lagging)
    with trio.fail_after(PATIENCE_S):
        async with opened(store, tmp_path) as (_, events), open_event_index(chain, events) as index:
            await index.wait_for(head.number)
            await world.mine(new - 1)
            await make_events(world, 1)
            await lagging.asked_too_early.wait()
            lagging.knows = 10**9
            await index.wait_for((await world.chain.head()).number)
            checked = await compare(chain, events)
    assert all(each.is_equal for each in checked)
    assert sum(each.stored for each in checked) == EVENTS_A_CALL


@pytest.mark.parametrize("moment", [1, 3, 4, 5, 7, 9, 10])
async def test_a_reorganisation_by_six_blocks_during_the_back_fill_leaves_what_the_chain_has(
    world: World, store: Store, tmp_path: Path, moment: int
) -> None:
    await make_events(world, 20)

    async def reorganise(request: int) -> None:
        if request == moment:
            await world.rpc.call("anvil_reorg", DEEP, [])

    watched = Watched(world.rpc, before_logs=reorganise)
    chain = chain_of(world, watched, log_range=2)
    async with opened(store, tmp_path) as (_, events):
        await read_all(chain, events)
        checked = await compare(chain_of(world, world.rpc), events)
        last = (await events.checkpoints())[-1]
    assert all(each.is_equal for each in checked)
    assert sum(each.stored for each in checked) == (20 - DEEP) * EVENTS_A_CALL
    assert last.number == (await world.chain.head()).number


@pytest.mark.parametrize("within", [False, True], ids=["between-reads", "within-a-read"])
async def test_a_reorganisation_that_only_old_ranges_show_is_found(
    world: World, store: Store, tmp_path: Path, *, within: bool
) -> None:
    """All that is asked of the node after the reorganisation fits together; what was read before it does not."""
    deep = 3 * RANGES_AT_ONCE
    await make_events(world, 30)
    head, begin = (await world.chain.head()).number, world.deployment.block
    # The first block of a read of which the block before is lost, too, and after which there is another whole read.
    lost = head - deep + 1
    point = begin + -(-(lost + 1 - begin) // RANGES_AT_ONCE) * RANGES_AT_ONCE
    assert lost < point <= head - RANGES_AT_ONCE
    one_was_read, lock, done = trio.Event(), trio.Lock(), False

    async def reorganise(number: int) -> None:
        nonlocal done
        if number < point or (within and number == point):
            return
        if within:
            await one_was_read.wait()
        async with lock:
            if not done:
                done = True
                await world.rpc.call("anvil_reorg", deep, [])

    def note(first: int) -> None:
        if first == point:
            one_was_read.set()

    watched = Watched(world.rpc, before_block=reorganise, after_logs=note)
    async with opened(store, tmp_path) as (_, events):
        await read_all(chain_of(world, watched, log_range=1), events)
        checked = await compare(chain_of(world, world.rpc), events)
    assert done
    assert all(each.is_equal for each in checked)
    assert sum(each.stored for each in checked) == (30 - deep) * EVENTS_A_CALL


@pytest.mark.parametrize("moment", [1, 2, 5, 6, 9])
async def test_an_end_in_the_middle_leaves_a_beginning_from_which_the_next_start_goes_on(
    world: World, store: Store, tmp_path: Path, moment: int
) -> None:
    await make_events(world, 20)
    ended = trio.Event()

    async def end(request: int) -> None:
        if request == moment:
            ended.set()
            await trio.sleep_forever()

    chain = chain_of(world, Watched(world.rpc, before_logs=end), log_range=2)
    async with opened(store, tmp_path) as (_, events), trio.open_nursery() as nursery:
        nursery.start_soon(EventIndex(chain, events).run)
        await ended.wait()
        nursery.cancel_scope.cancel()
    async with opened(store, tmp_path) as (_, events):
        kept = [each.number for each in await events.checkpoints()]
        again = Watched(world.rpc)
        await read_all(chain_of(world, again, log_range=2), events)
        assert all(each.is_equal for each in await compare(chain_of(world, world.rpc), events))
    assert min(first for first, _ in again.spans) == max(kept, default=world.deployment.block - 1) + 1
    starts = [first for first, _ in again.spans]
    assert len(set(starts)) == len(starts)


async def test_the_check_names_what_is_missing_extra_or_altered_and_reading_again_mends_it(
    world: World, store: Store, tmp_path: Path
) -> None:
    await make_events(world, 12)
    chain = chain_of(world, world.rpc, log_range=4)
    async with opened(store, tmp_path) as (storage, events):
        index = await read_all(chain, events)
        assert index.last is not None
        block = index.last.number - 3
        away = chain_log.c.block == block
        await storage.transact(
            lambda transaction: transaction.connection.execute(
                delete(chain_log).where(away, chain_log.c.log_index == 3)
            )
        )
        change = update(chain_log).where(chain_log.c.block == block + 1, chain_log.c.log_index == 2)
        await storage.transact(lambda transaction: transaction.connection.execute(change.values(data=b"\1")))
        stray = update(chain_log).where(chain_log.c.block == block + 2, chain_log.c.log_index == EVENTS_A_CALL - 1)
        await storage.transact(lambda transaction: transaction.connection.execute(stray.values(log_index=500)))

        found = [each for one in await compare(chain, events) for each in one.differences]
        assert [(each.kind, each.block, each.index) for each in found] == [
            ("missing", block, 3),
            ("altered", block + 1, 2),
            ("missing", block + 2, EVENTS_A_CALL - 1),
            ("extra", block + 2, 500),
        ]
        unequal = [each for each in await compare(chain, events) if not each.is_equal]
        assert min(each.first for each in unequal) <= block

        begin = world.deployment.block
        await events.revert(compute_return(await events.checkpoints(), block=found[0].block, begin=begin))
        await read_all(chain, events)
        assert all(each.is_equal for each in await compare(chain, events))


async def test_readers_are_told_that_blocks_are_read_again(world: World, store: Store, tmp_path: Path) -> None:
    await make_events(world, 3)
    chain = chain_of(world, world.rpc)
    async with opened(store, tmp_path) as (_, events):
        async with open_event_index(chain, events) as index:
            subscription = index.subscribe()
            with trio.fail_after(PATIENCE_S):
                while not isinstance(delivery := await subscription.receive(), IndexedEvent):
                    pass
        await events.revert(world.deployment.block - 1)
        async with open_event_index(chain, events) as index:
            with trio.fail_after(PATIENCE_S):
                first = await index.subscribe(delivery.position).receive()
    assert isinstance(first, BlocksReverted)
    assert first.to == world.deployment.block - 1


def test_an_index_goes_back_to_a_place_where_it_can_go_on() -> None:
    ends = [Checkpoint(number=number, hash=Digest(bytes(32)), time=UnixTime(0)) for number in (10, 20, 30)]
    assert compute_return(ends, block=21, begin=5) == 20
    assert compute_return(ends, block=20, begin=5) == 10
    assert compute_return(ends, block=10, begin=5) == 4
    assert compute_return([], block=10, begin=5) == 4


async def test_an_index_of_other_contracts_is_read_anew(world: World, store: Store, tmp_path: Path) -> None:
    await make_events(world, 2)
    before = Chain(world.rpc, PROFILE, replace(world.deployment, reputation=Address(b"\x66" * 20)))
    after = Chain(world.rpc, PROFILE, replace(world.deployment, reputation=Address(b"\x77" * 20)))
    async with opened(store, tmp_path) as (_, events):
        assert (await read_all(before, events)).reverts == []
        assert (await read_all(before, events)).reverts == []
        index = await read_all(after, events)
        assert index.reverts == [world.deployment.block - 1]
        assert all(each.is_equal for each in await compare(after, events))
        source = await events.source()
        assert source is not None
        assert after.deployment.reputation in source.contracts


async def test_a_record_tells_network_and_transaction_and_is_settled_by_the_networks_confirmations(
    world: World, store: Store, tmp_path: Path
) -> None:
    """The node was told to wait for one block; the network's profile (here Sepolia's) asks for twelve."""
    await make_events(world, 14, each=1)
    chain = chain_of(world, world.rpc)
    chain = Chain(world.rpc, replace(chain.profile, name="sepolia"), world.deployment)
    async with opened(store, tmp_path) as (_, events):
        await read_all(chain, events)
        head = (await world.chain.head()).number
        found = [each async for each in records(chain, events, since=head - 13)]
    assert [each.block for each in found] == list(range(head - 13, head + 1))
    assert [each.settled for each in found] == [True] * 3 + [False] * 11
    assert {(each.network, each.chain_id, each.contract, each.event) for each in found} == {
        ("sepolia", 31337, "Escrow", "NewBusinessPaused")
    }
    (receipt,) = [await world.chain.receipt(found[0].transaction)]
    assert receipt is not None
    assert receipt.block == found[0].block
