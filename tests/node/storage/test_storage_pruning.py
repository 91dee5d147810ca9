"""Pruning: what is over and old goes, the rest is as it was, and the chain holds over the gaps."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
import sqlalchemy as sa
import trio

from node.storage import journal, pruning
from node.storage.backup import backup_steps
from node.storage.chain import Entry, Record
from node.storage.engine import DATABASE_NAME
from node.storage.errors import JournalBroken
from node.storage.machine_log import CLOSED, OPENED
from node.storage.pruning import count_gaps, prune
from node.storage.restore import restore_backup
from node.storage.storage import Storage, open_storage
from protocol.units import UnixTime
from tests.stores import Store

TAIL = 3
KEEP_S = 100
RULES = {"old/": KEEP_S}


@dataclass
class HandClock:
    """Time that passes when the test says so."""

    at: int = 1_800_000_000

    def now(self) -> UnixTime:
        return UnixTime(self.at)

    def unix_time(self) -> float:
        return float(self.at)

    def monotonic(self) -> float:
        return float(self.at)

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)


@dataclass
class Forgotten:
    """A projection that only listens."""

    name: str = "forgotten"
    version: int = 1
    tables: Sequence[sa.Table] = ()
    streams: list[str] = field(default_factory=list[str])

    def apply(self, connection: sa.Connection, record: Record) -> None:
        """Nothing is kept."""

    def forget(self, connection: sa.Connection, stream: str) -> None:
        self.streams.append(stream)


@pytest.fixture(autouse=True)
def _short_tail(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction] - pytest uses it
    monkeypatch.setattr(pruning, "TAIL_RECORDS", TAIL)
    monkeypatch.setattr(journal, "TAIL_RECORDS", TAIL)


def entry(stream: str, kind: str = "happened", body: bytes = b"\x01") -> Entry:
    return Entry(stream=stream, kind=kind, body=body)


async def add(storage: Storage, *entries: Entry) -> None:
    for each in entries:
        await storage.journal.append([each])


async def live(storage: Storage, stream: str, *, close: bool = True) -> None:
    """Let a stream begin, happen, and end if it is to."""
    await add(storage, entry(stream, OPENED), entry(stream))
    if close:
        await add(storage, entry(stream, CLOSED, b""))


async def bury(storage: Storage) -> None:
    """Add the records that a short tail holds."""
    for _ in range(TAIL + 1):
        await add(storage, entry("new"))


async def gaps(storage: Storage) -> int:
    return await storage.read.query(count_gaps)


def end_of(folder: Path) -> None:
    """Leave behind what a kill leaves, so that the next open checks everything."""
    (folder / f"{DATABASE_NAME}-wal").touch()


async def test_a_stream_that_ended_long_ago_goes_and_what_is_open_young_or_of_another_kind_stays(
    folder: Path, store: Store
) -> None:
    clock, told = HandClock(), Forgotten()
    async with store.open(folder, clock=clock, projections=[told]) as storage:
        await live(storage, "old/over")
        await live(storage, "old/open", close=False)
        await live(storage, "other/over")
        clock.at += KEEP_S + 1
        await live(storage, "old/young")
        await bury(storage)
        assert await prune(storage, RULES) == 1
        assert await storage.journal.replay("old/over") == ()
        lengths = [len(await storage.journal.replay(stream)) for stream in ("old/open", "other/over", "old/young")]
        assert lengths == [2, 3, 3]
        assert told.streams == ["old/over"]
        assert await prune(storage, RULES) == 0
        assert (await storage.journal.verify()).seq == storage.journal.head.seq


async def test_the_newest_records_stay_however_old_they_are(folder: Path, store: Store) -> None:
    clock = HandClock()
    async with store.open(folder, clock=clock) as storage:
        await live(storage, "old/over")
        clock.at += KEEP_S + 1
        assert await prune(storage, RULES) == 0
        await add(storage, *[entry("new")] * TAIL)
        assert await prune(storage, RULES) == 0
        await add(storage, entry("new"))
        assert await prune(storage, RULES) == 1
    end_of(folder)
    async with store.open(folder, clock=clock) as storage:
        assert len(await storage.journal.replay("new")) == TAIL + 1


async def test_gaps_that_touch_become_one(folder: Path, store: Store) -> None:
    clock = HandClock()
    async with store.open(folder, clock=clock) as storage:
        for number in range(9):
            await live(storage, f"old/{number}")
        clock.at += KEEP_S + 1
        await bury(storage)
        middle = {"old/4": KEEP_S}
        assert (await prune(storage, middle), await gaps(storage)) == (1, 1)
        assert (await prune(storage, {"old/2": KEEP_S}), await gaps(storage)) == (1, 2)
        assert (await prune(storage, {"old/3": KEEP_S}), await gaps(storage)) == (1, 1)
        assert (await prune(storage, RULES), await gaps(storage)) == (6, 1)
        assert (await storage.journal.verify()).seq == storage.journal.head.seq


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_is_pruned_in_whatever_order_the_rest_is_replayed_as_it_was_written(
    folder: Path, seed: int, store: Store
) -> None:
    chance, clock = Random(seed), HandClock()
    written: dict[str, list[bytes]] = {}
    pruned: set[str] = set()
    for _ in range(4):  # lives of the node, each ended by a kill
        async with store.open(folder, clock=clock) as storage:
            for _ in range(60):
                clock.at += 1
                stream = chance.choice(["kept", *(f"old/{number}" for number in range(len(written) + 1))])
                if stream in pruned or written.get(stream, [b""])[-1] == b"end":
                    continue
                kind, body = (OPENED if stream not in written else "happened"), chance.randbytes(3)
                if stream != "kept" and stream in written and chance.random() < 0.5:
                    kind, body = CLOSED, b"end"
                await add(storage, entry(stream, kind, body))
                written.setdefault(stream, []).append(body)
            clock.at += chance.choice([0, KEEP_S // 2, KEEP_S])
            await prune(storage, {chance.choice(["old/", "old/1", "old/2"]): KEEP_S})
            for stream, bodies in written.items():
                found = [record.body for record in await storage.journal.replay(stream)]
                if not found and bodies[-1] == b"end":
                    pruned.add(stream)
                else:
                    assert found == bodies
            assert (await storage.journal.verify()).seq == storage.journal.head.seq
            everything = await storage.journal.read_after(0, limit=10_000)
            survivors = sum(len(bodies) for stream, bodies in written.items() if stream not in pruned)
            assert len(everything) == survivors
            middle = storage.journal.head.seq // 2  # wherever a reader goes on, in a gap or not
            assert await storage.journal.read_after(middle, limit=10_000) == tuple(
                record for record in everything if record.seq > middle
            )
        if not store.is_postgres:  # there nothing is torn, and every open checks the end (docs/spec/storage.md)
            end_of(folder)
    assert pruned


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM journal_gap",
        "UPDATE journal_gap SET hash = zeroblob(32)",
        "UPDATE journal_gap SET last = last - 1",
        "UPDATE journal_gap SET first = first + 1",
        "DELETE FROM journal WHERE stream = 'kept'",
    ],
)
async def test_a_gap_that_is_not_as_it_was_noted_breaks_the_chain(folder: Path, damage: str) -> None:
    clock = HandClock()
    async with open_storage(folder, clock=clock) as storage:
        await add(storage, entry("kept"))
        await live(storage, "old/over")
        await add(storage, entry("kept"))
        clock.at += KEEP_S + 1
        await bury(storage)
        assert await prune(storage, RULES) == 1
    with closing(sqlite3.connect(folder / DATABASE_NAME)) as connection:
        assert connection.execute(damage).rowcount > 0
        connection.commit()
    end_of(folder)
    with pytest.raises(JournalBroken):
        async with open_storage(folder, clock=clock):
            pytest.fail("opened")


async def test_a_damaged_record_is_told_and_not_swept_away(folder: Path) -> None:
    clock = HandClock()
    async with open_storage(folder, clock=clock) as storage:
        await live(storage, "old/over")
        clock.at += KEEP_S + 1
        await bury(storage)
        with closing(sqlite3.connect(folder / DATABASE_NAME)) as connection:
            connection.execute("UPDATE journal SET body = x'02' WHERE seq = 2")
            connection.commit()
        with pytest.raises(JournalBroken, match="2"):
            await prune(storage, RULES)
        assert await gaps(storage) == 0


async def test_a_pruned_journal_is_backed_up_restored_and_goes_on(folder: Path, tmp_path: Path) -> None:
    clock, target, again = HandClock(), tmp_path / "backup.tar", tmp_path / "again"
    async with open_storage(folder, clock=clock) as storage:
        await add(storage, entry("kept"))
        await live(storage, "old/over")
        clock.at += KEEP_S + 1
        await bury(storage)
        assert await prune(storage, RULES) == 1
        for _ in backup_steps(folder, target, files={}, with_blobs=False, now=clock.now()):
            pass
    await restore_backup(target, again, clock=clock)
    async with open_storage(again, clock=clock) as storage:
        assert len(await storage.journal.replay("kept")) == 1
        assert await storage.journal.replay("old/over") == ()
        await add(storage, entry("old/over", OPENED))
        assert (await storage.journal.verify()).seq == storage.journal.head.seq
