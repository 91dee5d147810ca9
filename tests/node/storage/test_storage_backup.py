"""Backups: consistent beside a writer, checked, whole or not at all."""

import errno
import os
import random
import shutil
import tarfile
from contextlib import closing
from io import BytesIO
from pathlib import Path

import pytest
import trio

from node.operations.clock import Clock
from node.storage import backup, restore
from node.storage.backup import Progress, backup_steps
from node.storage.backup_file import MANIFEST_NAME, unpack
from node.storage.chain import Entry
from node.storage.engine import DATABASE_NAME
from node.storage.errors import BackupBroken, BackupUnusable, DiskFull, FolderNotEmpty, JournalBroken
from node.storage.restoration import latest_restoration
from node.storage.restore import restore_backup
from node.storage.storage import Storage, open_storage
from protocol.units import UnixTime

RECORDS = 40
SEED = 20261120


def entry(number: int) -> Entry:
    return Entry(stream="s", kind="k", body=f"<body {number:06}>".encode())


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def append(storage: Storage, count: int) -> None:
    first = storage.journal.head.seq
    for number in range(first, first + count):
        await storage.journal.append([entry(number)])


def take(folder: Path, target: Path, clock: Clock, **files: Path) -> list[Progress]:
    named = {name.replace("_", "."): path for name, path in files.items()}
    return list(backup_steps(folder, target, files=named, with_blobs=True, now=clock.now()))


async def make(folder: Path, target: Path, clock: Clock) -> None:
    """Make a folder with records and a blob, and a backup of it."""
    keys = folder.parent / "keys.json"
    keys.write_text("encrypted")
    async with open_storage(folder, clock=clock) as storage:
        await append(storage, RECORDS)
        await storage.blobs.put(b"kept" * 1000, keep_until=UnixTime(clock.now() + 1000))
        await storage.blobs.put(b"no longer kept", keep_until=UnixTime(clock.now() - 1))
        take(folder, target, clock, wallet_json=keys, host_json=folder.parent / "missing")


async def test_a_restored_folder_has_every_record_key_and_kept_blob_and_knows_that_it_was_restored(
    folder: Path, clock: Clock, tmp_path: Path
) -> None:
    begun_at = clock.now()
    await make(folder, tmp_path / "b.tar", clock)
    made_by = clock.now()
    await restore_backup(tmp_path / "b.tar", tmp_path / "new", clock=clock)
    assert (tmp_path / "new" / "wallet.json").read_text() == "encrypted"
    assert not (tmp_path / "new" / "host.json").exists()
    async with open_storage(folder, clock=clock) as old, open_storage(tmp_path / "new", clock=clock) as new:
        assert await new.journal.replay("s") == await old.journal.replay("s")
        assert (await new.journal.verify()).seq == RECORDS + 1
        restoration = await latest_restoration(new.journal)
        assert restoration is not None
        assert (restoration.seq, restoration.restored.last) == (RECORDS + 1, RECORDS)
        assert begun_at <= restoration.restored.made_at <= made_by
        assert await latest_restoration(old.journal) is None
    kept = [path.read_bytes() for path in (tmp_path / "new" / "blobs").glob("??/*")]
    assert kept == [b"kept" * 1000]
    modes = {path.stat().st_mode & 0o077 for path in (tmp_path / "new").rglob("*") if not path.is_symlink()}
    assert {mode for mode in modes if mode} <= {
        0o044,
        0o055,
    }  # SQLite's own files follow the umask; the folder is closed
    assert (tmp_path / "new").stat().st_mode & 0o077 == 0


async def test_a_backup_beside_a_busy_writer_is_one_moment_of_its_journal(
    folder: Path, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        backup, "PAGES_PER_STEP", 1
    )  # as many moments as can be in which the writer could get in between
    async with open_storage(folder, clock=clock) as storage, trio.open_nursery() as nursery:
        await append(storage, 200)
        before = storage.journal.head.seq

        async def write() -> None:
            while True:
                await append(storage, 1)

        nursery.start_soon(write)
        steps = backup_steps(folder, tmp_path / "b.tar", files={}, with_blobs=True, now=clock.now())
        while await trio.to_thread.run_sync(next, steps, None) is not None:
            pass
        after = storage.journal.head.seq
        nursery.cancel_scope.cancel()
    assert after > before
    manifest = await restore_backup(tmp_path / "b.tar", tmp_path / "new", clock=clock)
    assert before <= manifest.head.seq <= after
    async with open_storage(tmp_path / "new", clock=clock) as storage:
        records = await storage.journal.replay("s")
        assert [record.body for record in records] == [entry(number).body for number in range(manifest.head.seq)]


async def test_a_changed_or_missing_byte_anywhere_is_found_before_anything_is_put_in_place(
    folder: Path, clock: Clock, tmp_path: Path
) -> None:
    await make(folder, tmp_path / "b.tar", clock)
    whole = (tmp_path / "b.tar").read_bytes()
    end = whole.rindex(b"}") + 1
    chance = random.Random(SEED)
    damaged = tmp_path / "damaged.tar"
    for round_ in range(60):
        data = bytearray(whole)
        if round_ % 3:
            data[chance.randrange(end)] ^= 1 << chance.randrange(8)
        else:
            data = data[: chance.randrange(end)]
        damaged.write_bytes(data)
        try:
            manifest = unpack(damaged, tmp_path / "probe")
        except BackupBroken:
            with pytest.raises(BackupBroken):
                await restore_backup(damaged, tmp_path / "new", clock=clock)
            assert not (tmp_path / "new").exists()
        else:  # the byte is one that fills up a block
            assert manifest == unpack(tmp_path / "b.tar", tmp_path / "probe2")
            shutil.rmtree(tmp_path / "probe2")
        shutil.rmtree(tmp_path / "probe", ignore_errors=True)
    assert names(tmp_path) == {"data", "b.tar", "damaged.tar", "keys.json"}


def tar(path: Path, name: str, *, kind: bytes = tarfile.REGTYPE) -> None:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        info = tarfile.TarInfo(name)
        info.type, info.size = kind, 3
        if kind == tarfile.SYMTYPE:
            info.size, info.linkname = 0, "/etc/passwd"
        archive.addfile(info, BytesIO(b"abc"))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../outside", tarfile.REGTYPE),
        ("/etc/outside", tarfile.REGTYPE),
        ("blobs/ab/../../outside", tarfile.REGTYPE),
        ("wallet.json", tarfile.SYMTYPE),
        ("wallet.json", tarfile.LNKTYPE),
        ("wallet.json", tarfile.DIRTYPE),
        (MANIFEST_NAME, tarfile.REGTYPE),
    ],
)
async def test_a_forged_backup_writes_nothing_outside_and_is_refused(
    name: str, kind: bytes, clock: Clock, tmp_path: Path
) -> None:
    tar(tmp_path / "b.tar", name, kind=kind)
    with pytest.raises(BackupBroken):
        await restore_backup(tmp_path / "b.tar", tmp_path / "new", clock=clock)
    assert names(tmp_path) == {"b.tar"}


async def test_a_folder_with_anything_in_it_is_not_restored_into(folder: Path, clock: Clock, tmp_path: Path) -> None:
    await make(folder, tmp_path / "b.tar", clock)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(FolderNotEmpty, match="is not empty"):
        await restore_backup(tmp_path / "b.tar", tmp_path / "full", clock=clock)
    assert names(tmp_path / "full") == {"x"}
    (tmp_path / "empty").mkdir()
    await restore_backup(tmp_path / "b.tar", tmp_path / "empty", clock=clock)
    assert (tmp_path / "empty" / DATABASE_NAME).exists()


async def test_a_backup_that_stops_early_leaves_nothing(folder: Path, clock: Clock, tmp_path: Path) -> None:
    await make(folder, tmp_path / "b.tar", clock)
    async with open_storage(folder, clock=clock):
        for count in range(1, 4):
            with closing(backup_steps(folder, tmp_path / "c.tar", files={}, with_blobs=True, now=clock.now())) as steps:
                for _ in range(count):
                    next(steps, None)
            (tmp_path / "c.tar").unlink(missing_ok=True)
            assert names(tmp_path) == {"data", "b.tar", "keys.json"}
        with pytest.raises(BackupUnusable, match="it exists"):
            take(folder, tmp_path / "b.tar", clock)
        with pytest.raises(BackupUnusable, match="No such file"):
            take(folder, tmp_path / "missing" / "b.tar", clock)


async def test_a_restore_that_runs_out_of_disk_leaves_nothing(
    folder: Path, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make(folder, tmp_path / "b.tar", clock)

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull):
        await restore_backup(tmp_path / "b.tar", tmp_path / "new", clock=clock)
    monkeypatch.undo()
    assert names(tmp_path) == {"data", "b.tar", "keys.json"}


async def test_a_restore_that_fails_after_all_checks_leaves_nothing(
    folder: Path, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make(folder, tmp_path / "b.tar", clock)

    def fail(_folder: Path) -> None:
        raise OSError(errno.EIO, "the disk is gone")

    monkeypatch.setattr(restore, "flush_folder", fail)
    with pytest.raises(BackupUnusable, match="the disk is gone"):
        await restore_backup(tmp_path / "b.tar", tmp_path / "new", clock=clock)
    assert names(tmp_path) == {"data", "b.tar", "keys.json"}


async def test_a_broken_journal_is_not_backed_up(folder: Path, clock: Clock, tmp_path: Path) -> None:
    await make(folder, tmp_path / "b.tar", clock)
    async with open_storage(folder, clock=clock) as storage:
        await append(storage, 1100)  # beyond what an open looks at
    path = folder / DATABASE_NAME
    data = path.read_bytes()
    assert data.count(b"<body 000003>") == 1
    path.write_bytes(data.replace(b"<body 000003>", b"<Body 000003>"))
    async with open_storage(folder, clock=clock):
        with pytest.raises(JournalBroken, match="record 4"):
            take(folder, tmp_path / "c.tar", clock)
    assert not (tmp_path / "c.tar").exists()
