import errno
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from node.operations.clock import Clock
from node.storage.anchor import ANCHOR_NAME, Anchor
from node.storage.chain import Entry, Head
from node.storage.engine import DATABASE_NAME
from node.storage.errors import DatabaseDamaged, DataFolderInUse, JournalBroken, JournalRolledBack
from node.storage.journal import TAIL_RECORDS
from node.storage.storage import Storage, open_storage
from node.storage.writer import GROUP_JOBS, QUEUE_JOBS, WriterClosed

CHILD = Path(__file__).parent / "appending_child.py"
ROOT = Path(__file__).parents[3]


def start_child(folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, str(CHILD), str(folder)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        text=True,
    )


def append_until_killed(folder: Path, acknowledgements: int) -> list[tuple[int, str]]:
    """Run the child, kill it with SIGKILL after so many acknowledgements, and return all it gave."""
    with start_child(folder) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(acknowledgements)]
        child.send_signal(signal.SIGKILL)
        lines += child.stdout.readlines()
    whole = [line for line in lines if line.endswith("\n")]
    return [(int(seq), body) for seq, _, body in (line.strip().partition(" ") for line in whole)]


async def test_nothing_acknowledged_is_lost_when_the_process_is_killed(folder: Path, clock: Clock) -> None:
    acknowledged: list[tuple[int, str]] = []
    seen = 0
    for count in (1, 50, 333):
        child_folder = folder / str(count)
        acknowledged = append_until_killed(child_folder, count)
        assert len(acknowledged) >= count
        async with open_storage(child_folder, clock=clock) as storage:
            head = await storage.journal.verify()
            stored = {record.seq: record.body.decode() for record in await storage.journal.read_after(0, limit=10_000)}
            assert len(stored) == head.seq
            for seq, body in acknowledged:
                assert stored[seq] == body
            seen += len(acknowledged)
    assert seen >= 384


async def fill(folder: Path, clock: Clock, count: int) -> None:
    async with open_storage(folder, clock=clock) as storage:
        for start in range(0, count, 100):
            numbers = range(start, min(count, start + 100))
            await storage.journal.append([Entry(stream="s", kind="k", body=f"<body {n:06}>".encode()) for n in numbers])


def flip(folder: Path, needle: bytes) -> None:
    """Change one letter of `needle` where the database file holds it."""
    path = folder / DATABASE_NAME
    data = path.read_bytes()
    assert data.count(needle) == 1
    path.write_bytes(data.replace(needle, b"<Body" + needle[5:]))


async def test_a_flipped_bit_in_the_middle_is_found_by_verify_and_by_replay(folder: Path, clock: Clock) -> None:
    await fill(folder, clock, TAIL_RECORDS + 200)
    flip(folder, b"<body 000099>")
    async with open_storage(folder, clock=clock) as storage:  # an open checks the newest records only
        with pytest.raises(JournalBroken, match="record 100: its content") as caught:
            await storage.journal.verify()
        assert "backup" in caught.value.advice
        with pytest.raises(JournalBroken, match="record 100"):
            await storage.journal.replay("s")
        assert len(await storage.journal.replay("s", after_version=100)) == TAIL_RECORDS + 100


async def test_a_flipped_bit_near_the_end_keeps_the_folder_closed(folder: Path, clock: Clock) -> None:
    await fill(folder, clock, 20)
    flip(folder, b"<body 000003>")
    with pytest.raises(JournalBroken, match="record 4"):
        async with open_storage(folder, clock=clock):
            pytest.fail("opened")


async def test_a_deleted_record_is_found(folder: Path, clock: Clock) -> None:
    await fill(folder, clock, 20)
    with sqlite3.connect(folder / DATABASE_NAME) as database:
        database.execute("DELETE FROM journal WHERE seq = 7")
    database.close()
    with pytest.raises(JournalBroken, match="record 7: it is missing"):
        async with open_storage(folder, clock=clock):
            pytest.fail("opened")


@pytest.mark.parametrize("keep", [0, 0.3, 0.9])
async def test_a_truncated_wal_is_not_taken_for_the_whole_journal(keep: float, folder: Path, clock: Clock) -> None:
    acknowledged = append_until_killed(folder, 100)
    wal = folder / f"{DATABASE_NAME}-wal"
    wal.write_bytes(wal.read_bytes()[: int(keep * wal.stat().st_size)])
    with pytest.raises(JournalRolledBack, match="are missing") as caught:
        async with open_storage(folder, clock=clock):
            pytest.fail("opened")
    assert caught.value.acknowledged >= max(seq for seq, _ in acknowledged)
    assert "-wal" in caught.value.advice

    async with open_storage(folder, clock=clock, accept_lost_tail=True) as storage:
        assert (await storage.journal.verify()).seq == caught.value.found
        await storage.journal.append([Entry(stream="s", kind="k", body=b"")])
    async with open_storage(folder, clock=clock) as storage:
        assert storage.journal.head.seq == caught.value.found + 1


async def test_an_old_backup_of_the_database_is_not_taken_for_the_journal(folder: Path, clock: Clock) -> None:
    await fill(folder, clock, 10)
    backup = folder / "backup"
    shutil.copy(folder / DATABASE_NAME, backup)
    await fill(folder, clock, 10)
    shutil.copy(backup, folder / DATABASE_NAME)
    with pytest.raises(JournalRolledBack, match="the newest 10 are missing"):
        async with open_storage(folder, clock=clock):
            pytest.fail("opened")


async def test_another_journal_of_the_same_length_is_not_taken_for_this_one(folder: Path, clock: Clock) -> None:
    await fill(folder / "mine", clock, 10)
    async with open_storage(folder / "other", clock=clock) as storage:
        await storage.journal.append([Entry(stream="s", kind="k", body=b"other")] * 10)
    shutil.copy(folder / "other" / DATABASE_NAME, folder / "mine" / DATABASE_NAME)
    with pytest.raises(JournalRolledBack, match="not the one that had been acknowledged"):
        async with open_storage(folder / "mine", clock=clock):
            pytest.fail("opened")


@pytest.mark.parametrize("slot", [0, 512])
async def test_a_torn_anchor_slot_costs_nothing(slot: int, folder: Path, clock: Clock) -> None:
    for _ in range(3):
        await fill(folder, clock, 2)
    data = bytearray((folder / ANCHOR_NAME).read_bytes())
    data[slot + 3] ^= 1
    (folder / ANCHOR_NAME).write_bytes(data)
    async with open_storage(folder, clock=clock) as storage:
        assert storage.journal.head.seq == 6


def write_rubbish(folder: Path) -> None:
    folder.mkdir()
    (folder / DATABASE_NAME).write_bytes(b"not a database" * 1000)


async def test_a_file_that_is_no_database_is_reported_as_damaged(folder: Path, clock: Clock) -> None:
    write_rubbish(folder)
    with pytest.raises(DatabaseDamaged):
        async with open_storage(folder, clock=clock):
            pytest.fail("opened")


async def test_a_second_node_on_the_same_folder_is_refused_and_told_who_has_it(folder: Path, clock: Clock) -> None:
    with start_child(folder) as child:
        assert child.stdout is not None
        child.stdout.readline()
        with pytest.raises(DataFolderInUse, match=f"process {child.pid}") as caught:
            async with open_storage(folder, clock=clock):
                pytest.fail("opened")
        assert caught.value.pid == child.pid
        child.kill()
    async with open_storage(folder, clock=clock) as storage:  # the lock died with its holder
        with pytest.raises(DataFolderInUse):
            async with open_storage(folder, clock=clock):
                pytest.fail("opened twice in one process")
        assert storage.journal.head.seq > 0


WAITERS = GROUP_JOBS + QUEUE_JOBS + 100


async def test_when_storage_itself_fails_every_waiting_caller_hears_of_it(
    folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[int] = []

    def fail(_anchor: Anchor, _head: Head) -> None:
        raise OSError(errno.EIO, "the disk is gone")

    async def append(storage: Storage, number: int) -> None:
        with trio.CancelScope(shield=True):  # as a service's cleanup would
            try:
                await storage.journal.append([Entry(stream=f"s{number}", kind="k", body=b"")])
            except WriterClosed:
                heard.append(number)

    async def run() -> None:
        async with open_storage(folder, clock=clock) as storage, trio.open_nursery() as nursery:
            monkeypatch.setattr(Anchor, "write", fail)
            for number in range(WAITERS):
                nursery.start_soon(append, storage, number)

    with trio.fail_after(60), pytest.RaisesGroup(OSError, flatten_subgroups=True):
        await run()
    assert sorted(heard) == list(range(WAITERS))
    monkeypatch.undo()
    async with open_storage(folder, clock=clock) as storage:  # what was committed is kept, and whole
        assert (await storage.journal.verify()).seq == len(await storage.journal.streams())
