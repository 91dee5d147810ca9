"""`stoa backup` and `stoa restore`, as their users meet them."""

import json
from pathlib import Path

import trio

from node.operations.clock import SystemClock
from node.storage.chain import Entry
from node.storage.engine import DATABASE_NAME
from node.storage.restoration import latest_restoration
from node.storage.storage import open_storage
from tests.node.cli.cli_lab import running, stoa


async def write_records(folder: Path, count: int) -> None:
    async with open_storage(folder, clock=SystemClock()) as storage:
        await storage.journal.append([Entry(stream="s", kind="k", body=b"")] * count)


async def read_records(folder: Path) -> tuple[int, bool]:
    """Return how many records of the stream there are, and whether the journal knows that it was restored."""
    async with open_storage(folder, clock=SystemClock()) as storage:
        return len(await storage.journal.replay("s")), await latest_restoration(storage.journal) is not None


def test_a_running_node_is_asked_for_the_backup(tmp_path: Path) -> None:
    with running(tmp_path) as place:
        document = place.json("backup", str(tmp_path / "b.tar"), "--no-blobs")
        assert document == {"backup": str(tmp_path / "b.tar"), "bytes": 10}
        assert place.node.backups == [(str(tmp_path / "b.tar"), "", False)]


def test_without_a_node_the_command_makes_the_backup_and_restore_corrects_the_paths(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("correct horse\n")
    old, new, file = tmp_path / "old", tmp_path / "new", tmp_path / "b.tar"
    made = stoa("--data-dir", str(old), "init", "--password-file", str(password), "--listen-port", "4711")
    assert made.exit_code == 0, made.output
    trio.run(write_records, old, 3)

    written = stoa("--data-dir", str(old), "backup", str(file))
    assert written.exit_code == 0, written.output
    assert "checked" in written.output
    again = stoa("--data-dir", str(old), "backup", str(file), "--json")
    assert again.exit_code == 7
    assert json.loads(again.stderr)["error"]["kind"] == "BackupUnusable"

    restored = stoa("restore", str(file), "--to", str(new), "--json")
    assert restored.exit_code == 0, restored.output
    assert json.loads(restored.stdout)["records"] == 3
    assert trio.run(read_records, new) == (3, True)
    config = (new / "stoa.toml").read_text()
    assert f'data_dir = "{new}"' in config
    assert "listen_port = 4711" in config
    assert (new / "wallet.json").read_bytes() == (old / "wallet.json").read_bytes()
    assert stoa("restore", str(file), "--to", str(new)).exit_code == 7


def test_a_folder_that_lost_its_newest_records_goes_on_only_by_way_of_a_restore(tmp_path: Path) -> None:
    old, new, file = tmp_path / "old", tmp_path / "new", tmp_path / "b.tar"
    trio.run(write_records, old, 3)
    earlier = (old / DATABASE_NAME).read_bytes()
    trio.run(write_records, old, 4)
    (old / DATABASE_NAME).write_bytes(earlier)

    refused = stoa("--data-dir", str(old), "backup", str(file), "--json")
    error = json.loads(refused.stderr)["error"]
    assert (refused.exit_code, error["kind"]) == (7, "JournalRolledBack")
    assert "stoa backup" in error["advice"]
    assert "--accept-lost-tail" in error["advice"]
    assert "stoa restore" in error["advice"]
    for _ in range(2):  # the folder itself stays refused
        taken = stoa("--data-dir", str(old), "backup", str(file), "--accept-lost-tail")
        assert taken.exit_code == 0, taken.output
        assert stoa("restore", str(file), "--to", str(new)).exit_code == 0
        assert trio.run(read_records, new) == (3, True)
        new, file = tmp_path / "newer", tmp_path / "c.tar"
    assert stoa("--data-dir", str(old), "backup", str(tmp_path / "d.tar")).exit_code == 7


def test_a_folder_without_a_journal_is_not_backed_up(tmp_path: Path) -> None:
    refused = stoa("--data-dir", str(tmp_path / "nothing"), "backup", str(tmp_path / "b.tar"), "--json")
    assert refused.exit_code == 7
    assert json.loads(refused.stderr)["error"]["kind"] == "NothingToBackUp"
    assert not (tmp_path / "nothing").exists()
