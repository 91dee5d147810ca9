import os
import shutil
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
import sqlalchemy as sa

from node.operations.clock import Clock
from node.storage.chain import Entry
from node.storage.errors import DiskFull
from node.storage.storage import Storage, open_storage
from protocol.units import UnixTime

LATER = UnixTime(1_900_000_000)
ROOT = Path(__file__).parents[3]
MOUNT_BYTES = 4 * 2**20


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Path]:
    """A file system of 4 MiB."""
    mount = shutil.which("mount")
    folder = tmp_path / "small"
    folder.mkdir()
    command = [str(mount), "-t", "tmpfs", "-o", f"size={MOUNT_BYTES}", "stoa-test", str(folder)]
    if mount is None or os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root; the other tests here limit SQLite and the process")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def entry(number: int) -> Entry:
    return Entry(stream="s", kind="k", body=number.to_bytes(4, "big") * 25_000)


async def append_until_full(storage: Storage) -> int:
    """Return how many appends were acknowledged before the first that was not."""
    for number in range(1000):
        try:
            await storage.journal.append([entry(number)])
        except DiskFull:
            return number
    pytest.fail("the disk never filled up")


def enlarge(mount: Path) -> None:
    subprocess.run(["mount", "-o", f"remount,size={4 * MOUNT_BYTES}", str(mount)], check=True)


async def test_a_full_disk_refuses_the_append_and_keeps_what_was_acknowledged(small_disk: Path, clock: Clock) -> None:
    folder = small_disk / "data"
    async with open_storage(folder, clock=clock) as storage:
        await storage.blobs.put(b"small", keep_until=LATER)
        acknowledged = await append_until_full(storage)
        assert acknowledged > 5
        assert storage.journal.head.seq == acknowledged
        assert (await storage.journal.verify()).seq == acknowledged
        with pytest.raises(DiskFull, match="no room"):
            await storage.blobs.put(bytes(MOUNT_BYTES), keep_until=LATER)
        assert storage.blobs.used_bytes == len(b"small")
        assert list((folder / "blobs" / "incoming").iterdir()) == []
        enlarge(small_disk)
        assert await storage.journal.append([entry(0)]) == acknowledged + 1  # the same storage goes on
        acknowledged = (await storage.journal.verify()).seq
    async with open_storage(folder, clock=clock) as storage:
        assert await storage.journal.append([entry(1)]) == acknowledged + 1
        assert (await storage.journal.verify()).seq == acknowledged + 1


async def test_after_space_was_freed_the_same_storage_goes_on(folder: Path, clock: Clock) -> None:
    def limit_pages(connection: sa.Connection, extra: int) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages + extra}")

    async with open_storage(folder, clock=clock) as storage:
        await storage.transact(lambda transaction: limit_pages(transaction.connection, 100))
        acknowledged = await append_until_full(storage)
        assert acknowledged > 1
        await storage.transact(lambda transaction: limit_pages(transaction.connection, 1000))
        assert await storage.journal.append([entry(7)]) == acknowledged + 1
        assert (await storage.journal.verify()).seq == acknowledged + 1
        assert [r.version for r in await storage.journal.replay("s")] == list(range(1, acknowledged + 2))


LIMITED = """
import resource, sys
from pathlib import Path
import trio
from node.operations.clock import SystemClock
from node.storage.errors import DiskFull
from node.storage.storage import open_storage
from protocol.units import UnixTime

async def main():
    folder = Path(sys.argv[1])
    async with open_storage(folder, clock=SystemClock()) as storage:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
        kept = await storage.blobs.put(bytes(1_000_000), keep_until=UnixTime(2**40))
        try:
            await storage.blobs.put(b"x" * 1_000_001, keep_until=UnixTime(2**40))
        except DiskFull as error:
            assert "no room" in str(error) and error.advice
        else:
            raise SystemExit("the write past the limit succeeded")
        assert storage.blobs.used_bytes == 1_000_000
        assert [path.name for path in (folder / "blobs").glob("??/*")] == [kept.hex()]
        assert not list((folder / "blobs" / "incoming").iterdir())

trio.run(main)
"""


def test_a_blob_past_the_file_size_limit_leaves_nothing_half_written(folder: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-c", LIMITED, str(folder)],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
