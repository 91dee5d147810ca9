"""A state machine in the journal: durable before visible, and again after a restart."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from node.operations.clock import TrioClock
from node.storage.errors import ConcurrentAppend
from node.storage.machine_log import Machine, OpenStreams, load_machine, open_machine, select_open_streams
from node.storage.storage import Storage
from protocol.errors import ProtocolError
from protocol.units import Uint64
from protocol.wire.codec import tagged
from tests.stores import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    start: Uint64


@tagged(1)
@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    amount: Uint64


class TooMuch(ProtocolError):
    """Beyond what the counter takes."""


def add(state: int, event: Added) -> tuple[int, tuple[str, ...]]:
    if state + event.amount > 10:
        raise TooMuch("beyond ten")
    return state + event.amount, (f"say {state + event.amount}",)


COUNTER: Machine[Begun, int, Added, str] = Machine(
    context=Begun, events=Added, begin=lambda begun: begun.start, transition=add
)

CEILING: Machine[Begun, int, Added, str] = Machine(
    context=Begun,
    events=Added,
    begin=lambda begun: begun.start,
    transition=lambda state, event: (max(state, event.amount), ()),
)
"""Takes the highest amount it hears of: the same one twice is a repeat."""


async def open_streams(storage: Storage) -> tuple[str, ...]:
    return await storage.read.query(lambda connection: select_open_streams(connection, "counter/"))


async def test_a_machine_is_replayed_to_where_it_was(folder: Path, clock: TrioClock, store: Store) -> None:
    async with store.open(folder, clock=clock, projections=[OpenStreams()]) as storage:
        counter = await open_machine(storage.journal, COUNTER, "counter/a", Begun(start=3))
        assert await counter.apply(Added(amount=4)) == ("say 7",)
    async with store.open(folder, clock=clock, projections=[OpenStreams()]) as storage:
        again = await load_machine(storage.journal, COUNTER, "counter/a")
        assert (again.state, again.context) == (7, Begun(start=3))
        assert await again.apply(Added(amount=3)) == ("say 10",)


async def test_a_refused_event_writes_nothing_and_changes_nothing(folder: Path, clock: TrioClock, store: Store) -> None:
    async with store.open(folder, clock=clock, projections=[OpenStreams()]) as storage:
        counter = await open_machine(storage.journal, COUNTER, "counter/a", Begun(start=3))
        with pytest.raises(TooMuch):
            await counter.apply(Added(amount=8))
        assert counter.state == 3
        assert len(await storage.journal.replay("counter/a")) == 1


async def test_an_event_of_which_nothing_comes_is_not_kept(folder: Path, clock: TrioClock, store: Store) -> None:
    judged: list[tuple[int, int]] = []

    def is_repeat(before: int, after: int) -> bool:
        judged.append((before, after))
        return before == after

    async with store.open(folder, clock=clock, projections=[OpenStreams()]) as storage:
        counter = await open_machine(storage.journal, COUNTER, "counter/a", Begun(start=3))
        assert not await counter.apply_unless(is_repeat, Added(amount=0))
        assert await counter.apply_unless(is_repeat, Added(amount=2))
        with pytest.raises(TooMuch):
            await counter.apply_unless(is_repeat, Added(amount=8))
        assert (counter.state, judged) == (5, [(3, 3), (3, 5)])
        assert [record.kind for record in await storage.journal.replay("counter/a")] == ["Opened", "Added"]


async def test_two_at_once_are_compared_one_after_the_other(folder: Path, clock: TrioClock, store: Store) -> None:
    async with store.open(folder, clock=clock, projections=[OpenStreams()]) as storage:
        counter = await open_machine(storage.journal, CEILING, "counter/a", Begun(start=3))
        kept: list[bool] = []

        async def lift() -> None:
            kept.append(await counter.apply_unless(lambda before, after: before == after, Added(amount=7)))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(lift)
        assert sorted(kept) == [False] * 4 + [True]
        assert len(await storage.journal.replay("counter/a")) == 2


async def test_a_stream_begins_once(folder: Path, clock: TrioClock, store: Store) -> None:
    async with store.open(folder, clock=clock, projections=[OpenStreams()]) as storage:
        await open_machine(storage.journal, COUNTER, "counter/a", Begun(start=3))
        with pytest.raises(ConcurrentAppend):
            await open_machine(storage.journal, COUNTER, "counter/a", Begun(start=4))


async def test_two_owners_of_one_stream_are_told_apart(folder: Path, clock: TrioClock, store: Store) -> None:
    async with store.open(folder, clock=clock, projections=[OpenStreams()]) as storage:
        one = await open_machine(storage.journal, COUNTER, "counter/a", Begun(start=0))
        other = await load_machine(storage.journal, COUNTER, "counter/a")
        await one.apply(Added(amount=1))
        with pytest.raises(ConcurrentAppend):
            await other.apply(Added(amount=2))
        assert other.state == 0


async def test_a_restart_takes_up_only_what_was_not_closed(folder: Path, clock: TrioClock, store: Store) -> None:
    async with store.open(folder, clock=clock, projections=[OpenStreams()]) as storage:
        for name in ("a", "b"):
            await open_machine(storage.journal, COUNTER, f"counter/{name}", Begun(start=0))
        closing = await load_machine(storage.journal, COUNTER, "counter/a")
        await closing.close()
        assert await open_streams(storage) == ("counter/b",)
        closed = await load_machine(storage.journal, COUNTER, "counter/a")
        assert closed.state == 0


async def test_an_event_that_changes_nothing_is_not_written(folder: Path, clock: TrioClock, store: Store) -> None:
    same: Machine[Begun, Begun, Added, str] = Machine(
        context=Begun, events=Added, begin=lambda begun: begun, transition=lambda state, _event: (state, ())
    )
    async with store.open(folder, clock=clock) as storage:
        machine = await open_machine(storage.journal, same, "counter/a", Begun(start=3))
        for _ in range(3):
            assert await machine.apply(Added(amount=1)) == ()
        assert storage.journal.head.seq == 1
        await machine.close()
        assert [record.version for record in await storage.journal.replay("counter/a")] == [1, 2]
