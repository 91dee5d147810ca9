import time
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from node.operations.clock import Clock, TrioClock
from node.operations.health import Status
from node.storage import health
from node.storage.blocking import in_line
from node.storage.errors import BlobMissing, ConcurrentAppend
from node.storage.event_log import EventLog
from node.storage.health import check_room
from node.storage.journal import Transaction
from node.storage.storage import Storage
from protocol.identity import ContentDigest
from protocol.units import Uint64, UnixTime
from protocol.wire.codec import tagged
from tests.stores import Store

LATER = UnixTime(1_900_000_000)


@tagged(1)
@dataclass(frozen=True, slots=True, kw_only=True)
class Paid:
    amount: Uint64


@tagged(2)
@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    pass


Event: TypeAlias = Paid | Closed


def log_of(storage: Storage) -> "EventLog[Event]":
    return EventLog(storage.journal, "spending", Event)


async def test_events_are_loaded_as_they_were_appended(folder: Path, clock: Clock, store: Store) -> None:
    async with store.open(folder, clock=clock) as storage:
        log = log_of(storage)
        assert await log.load() == ()
        await log.append(Paid(amount=1), Paid(amount=2))
        await log.append(Closed())
    async with store.open(folder, clock=clock) as storage:
        log = log_of(storage)
        assert await log.load() == (Paid(amount=1), Paid(amount=2), Closed())
        await log.append(Paid(amount=3))
        assert len(await log_of(storage).load()) == 4
        assert [record.kind for record in await storage.journal.replay("spending")] == [
            "Paid",
            "Paid",
            "Closed",
            "Paid",
        ]


async def test_a_second_owner_is_refused_and_tasks_of_one_owner_are_not(
    folder: Path, clock: Clock, store: Store
) -> None:
    async with store.open(folder, clock=clock) as storage:
        mine, other = log_of(storage), log_of(storage)
        await mine.load()
        await other.load()
        async with trio.open_nursery() as nursery:
            for amount in range(20):
                nursery.start_soon(mine.append, Paid(amount=amount))
        with pytest.raises(ConcurrentAppend):
            await other.append(Closed())
        assert len(await other.load()) == 20
        await other.append(Closed())


def keep_busy(_transaction: Transaction) -> None:
    time.sleep(0.1)  # a real one, on the writer's thread: what is appended meanwhile has to wait


async def test_a_cancelled_append_leaves_the_log_usable(folder: Path, clock: Clock, store: Store) -> None:
    async with store.open(folder, clock=clock) as storage:
        log = log_of(storage)
        await log.load()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(storage.transact, keep_busy)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(log.append, Paid(amount=1))
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        await log.append(Closed())
        assert await log_of(storage).load() == (Paid(amount=1), Closed())


async def test_storage_in_line_takes_no_virtual_time(folder: Path, autojump_clock: MockClock, store: Store) -> None:
    jumps: list[float] = []

    async def tick() -> None:
        while True:
            await trio.sleep(1)
            jumps.append(trio.current_time())

    clock = TrioClock.starting_at(UnixTime(1_800_000_000))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        async with store.open(folder, clock=clock, run_blocking=in_line) as storage:
            log = log_of(storage)
            await log.load()
            for amount in range(30):
                await log.append(Paid(amount=amount))
            digest = await storage.blobs.put(b"x" * 1_000_000, keep_until=LATER)
            await storage.blobs.verify(digest)
            assert len(await log.load()) == 30
        assert jumps == []
        assert clock.now() == 1_800_000_000
        nursery.cancel_scope.cancel()


async def test_a_blob_is_read_by_pieces_and_not_collected_meanwhile(folder: Path, store: Store) -> None:
    early = TrioClock.starting_at(UnixTime(1_700_000_000))
    async with store.open(folder, clock=early) as storage:
        digest = await storage.blobs.put(b"0123456789", keep_until=UnixTime(0))
    late = TrioClock.starting_at(UnixTime(1_800_000_000))
    async with store.open(folder, clock=late) as storage:
        async with storage.blobs.open_reader(digest) as reader:
            assert reader.size == 10
            assert await reader.read_at(2, 3) == b"234"
            assert await storage.blobs.collect_garbage() == 0
            assert await reader.read_at(8, 5) == b"89"
            assert await reader.read_at(10, 1) == b""
        assert await storage.blobs.collect_garbage() == 10
        with pytest.raises(BlobMissing):
            async with storage.blobs.open_reader(ContentDigest(bytes(32))):
                pytest.fail("opened")


async def test_scarce_room_is_reported(
    folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    async with store.open(folder, clock=clock, blob_quota_bytes=10) as storage:
        await storage.blobs.put(b"x" * 9, keep_until=LATER)
        monkeypatch.setattr(health, "SCARCE_BYTES", 0)
        assert (await check_room(folder, storage.blobs)).status == Status.OK
        await storage.blobs.put(b"y", keep_until=LATER)
        report = await check_room(folder, storage.blobs)
        assert (report.status, report.reason) == (Status.DEGRADED, "blobs take 0 of 0 MiB")
        monkeypatch.setattr(health, "SCARCE_BYTES", 2**80)
        assert (await check_room(folder, storage.blobs)).status == Status.DEGRADED
        monkeypatch.setattr(health, "GONE_BYTES", 2**80)
        assert (await check_room(folder, storage.blobs)).status == Status.FAILED
