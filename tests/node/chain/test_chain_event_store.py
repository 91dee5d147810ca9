"""The event index's tables."""

from dataclasses import replace
from pathlib import Path

from node.chain.chain import RawLog
from node.chain.event_store import BEGINNING, CHAIN_SCHEMA, Checkpoint, Position, SqlEventStore
from node.operations.clock import SystemClock
from node.storage.engine import open_reader_engine
from node.storage.schema import schema_differences
from node.storage.storage import open_storage
from protocol.identity import Address, Digest
from protocol.units import UnixTime

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


async def test_the_migrations_make_the_tables_that_the_code_sees(tmp_path: Path) -> None:
    async with open_storage(tmp_path, clock=SystemClock(), schema_parts=[CHAIN_SCHEMA]):
        pass
    engine = open_reader_engine(tmp_path)
    with engine.connect() as connection:
        assert schema_differences(connection, CHAIN_SCHEMA) == []
    engine.dispose()


async def test_logs_come_back_as_they_were_in_order_and_after_a_position(tmp_path: Path) -> None:
    logs = [LOG, replace(LOG, index=3, topics=(), data=b""), replace(LOG, block=7, index=1)]
    async with open_storage(tmp_path, clock=SystemClock(), schema_parts=[CHAIN_SCHEMA]) as storage:
        store = SqlEventStore(storage)
        await store.append(checkpoint(7), list(reversed(logs)))
        assert list(await store.logs_after(BEGINNING, up_to=7, limit=10)) == logs
        assert list(await store.logs_after(Position(block=5, index=0, epoch=0), up_to=7, limit=10)) == logs[1:]
        assert list(await store.logs_after(Position(block=5, index=0, epoch=0), up_to=6, limit=10)) == logs[1:2]
        assert list(await store.logs_after(BEGINNING, up_to=7, limit=1)) == logs[:1]


async def test_a_revert_drops_what_is_above_and_is_remembered(tmp_path: Path) -> None:
    async with open_storage(tmp_path, clock=SystemClock(), schema_parts=[CHAIN_SCHEMA]) as storage:
        store = SqlEventStore(storage)
        await store.append(checkpoint(5), [LOG])
        await store.append(checkpoint(6), [replace(LOG, block=6)])
        await store.revert(5)
        await store.append(checkpoint(6), [])
        await store.revert(4)
    async with open_storage(tmp_path, clock=SystemClock(), schema_parts=[CHAIN_SCHEMA]) as storage:
        store = SqlEventStore(storage)
        assert await store.reverts_after(0) == (5, 4)
        assert await store.reverts_after(1) == (4,)
        assert await store.checkpoints() == ()
        assert await store.logs_after(BEGINNING, up_to=9, limit=10) == ()


async def test_only_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    async with open_storage(tmp_path, clock=SystemClock(), schema_parts=[CHAIN_SCHEMA]) as storage:
        store = SqlEventStore(storage, keep_checkpoints=4)
        for number in range(7):
            await store.append(checkpoint(number), [])
        kept = [each.number for each in await store.checkpoints()]
    assert kept == [3, 4, 5, 6]
