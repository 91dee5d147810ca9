"""The event index's tables."""

from dataclasses import replace
from pathlib import Path

from node.chain.chain import RawLog
from node.chain.event_store import BEGINNING, CHAIN_SCHEMA, Checkpoint, Position, SqlEventStore
from node.operations.clock import SystemClock
from node.storage.schema import schema_differences
from protocol.identity import Address, Digest
from protocol.units import UnixTime
from tests.stores import Store

LOG = RawLog(
    block=5,
    block_hash=Digest(b"\x05" * 32),
    transaction=Digest(b"\x06" * 32),
    index=0,
    address=Address(b"\x07" * 20),
    topics=(Digest(b"\x08" * 32), Digest(b"\x09" * 32)),
    data=b"\x01\x02",
)


def checkpoint(number: int) -> Checkpoint:
    return Checkpoint(number=number, hash=Digest(number.to_bytes(32)), time=UnixTime(number))


async def test_the_migrations_make_the_tables_that_the_code_sees(tmp_path: Path, store: Store) -> None:
    async with store.open(tmp_path, clock=SystemClock(), schema_parts=[CHAIN_SCHEMA]) as storage:
        assert await storage.read.query(lambda connection: list(schema_differences(connection, CHAIN_SCHEMA))) == []


async def test_logs_come_back_as_they_were_in_order_and_after_a_position(tmp_path: Path, store: Store) -> None:
    logs = [LOG, replace(LOG, index=3, topics=(), data=b""), replace(LOG, block=7, index=1)]
    async with store.open(tmp_path, clock=SystemClock(), schema_parts=[CHAIN_SCHEMA]) as storage:
        events = SqlEventStore(storage)
        await events.append(checkpoint(7), list(reversed(logs)))
        assert list(await events.logs_after(BEGINNING, up_to=7, limit=10)) == logs
        assert list(await events.logs_after(Position(block=5, index=0, epoch=0), up_to=7, limit=10)) == logs[1:]
        assert list(await events.logs_after(Position(block=5, index=0, epoch=0), up_to=6, limit=10)) == logs[1:2]
        assert list(await events.logs_after(BEGINNING, up_to=7, limit=1)) == logs[:1]


async def test_a_revert_drops_what_is_above_and_is_remembered(tmp_path: Path, store: Store) -> None:
    async with store.open(tmp_path, clock=SystemClock(), schema_parts=[CHAIN_SCHEMA]) as storage:
        events = SqlEventStore(storage)
        await events.append(checkpoint(5), [LOG])
        await events.append(checkpoint(6), [replace(LOG, block=6)])
        await events.revert(5)
        await events.append(checkpoint(6), [])
        await events.revert(4)
    async with store.open(tmp_path, clock=SystemClock(), schema_parts=[CHAIN_SCHEMA]) as storage:
        events = SqlEventStore(storage)
        assert await events.reverts_after(0) == (5, 4)
        assert await events.reverts_after(1) == (4,)
        assert await events.checkpoints() == ()
        assert await events.logs_after(BEGINNING, up_to=9, limit=10) == ()


async def test_only_the_newest_checkpoints_are_kept(tmp_path: Path, store: Store) -> None:
    async with store.open(tmp_path, clock=SystemClock(), schema_parts=[CHAIN_SCHEMA]) as storage:
        events = SqlEventStore(storage, keep_checkpoints=4)
        for number in range(7):
            await events.append(checkpoint(number), [])
        kept = [each.number for each in await events.checkpoints()]
    assert kept == [3, 4, 5, 6]
