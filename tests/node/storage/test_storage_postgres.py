"""What PostgreSQL must be before a node trusts it, who may have it, and what an operator hears when it is not fit."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest
import trio

from node.operations.clock import Clock
from node.storage.binding import ID_NAME
from node.storage.chain import Entry
from node.storage.errors import (
    DatabaseDamaged,
    DatabaseInUse,
    DatabaseMismatch,
    DatabaseUnreachable,
    DatabaseUnusable,
    DataFolderInUse,
    DiskFull,
    JournalBroken,
    JournalRolledBack,
)
from node.storage.postgres import database as postgres_database
from node.storage.postgres.address import read_address
from node.storage.postgres.database import PostgresDatabase
from node.storage.postgres.server import list_worries
from node.storage.storage import Storage, open_storage
from tests.postgres_lab import PostgresServer
from tests.stores import Store

CHILD = Path(__file__).parent / "appending_child.py"
ROOT = Path(__file__).parents[3]
SECRET = "hunter2-of-the-database"
ENOUGH = 60


def name_of(store: Store, folder: Path) -> str:
    return store.url(folder).split("/")[3].split("?")[0]


def entry(number: int) -> Entry:
    return Entry(stream="s", kind="k", body=str(number).encode())


async def fill(store: Store, folder: Path, clock: Clock, count: int) -> None:
    async with store.open(folder, clock=clock) as storage:
        await storage.journal.append([entry(number) for number in range(count)])


def start(command: list[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, text=True)


async def test_a_killed_node_lets_go_of_the_database_and_nothing_acknowledged_is_lost(
    postgres: Store, folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_database, "LOCK_PATIENCE_S", 0.2)
    url = postgres.url(folder)
    command = [sys.executable, str(CHILD), str(folder), url]
    with start(command) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(ENOUGH)]
        with pytest.raises(DataFolderInUse):
            async with postgres.open(folder, clock=clock):
                pytest.fail("opened")
        with pytest.raises(DatabaseInUse, match=r"in use by another node .session") as caught:
            async with open_storage(folder.with_name("second"), clock=clock, address=read_address(url)):
                pytest.fail("opened")
        assert "storage.url" in caught.value.advice
        child.send_signal(signal.SIGKILL)
        lines += child.stdout.readlines()
    acknowledged = [line.strip().partition(" ") for line in lines if line.endswith("\n")]
    assert len(acknowledged) >= ENOUGH
    monkeypatch.setattr(postgres_database, "LOCK_PATIENCE_S", 60.0)  # the server may be slow to see that it is gone
    async with postgres.open(folder, clock=clock) as storage:
        head = await storage.journal.verify()
        stored = {r.seq: r.body.decode() for r in await storage.journal.read_after(0, limit=head.seq + 1)}
    for seq, _, body in acknowledged:
        assert stored[int(seq)] == body


async def test_folder_and_database_must_belong_together(postgres: Store, folder: Path, clock: Clock) -> None:
    await fill(postgres, folder, clock, 3)
    mine, other = postgres.address(folder), folder.with_name("other")
    with pytest.raises(DatabaseMismatch, match="the journal of another data folder"):
        async with open_storage(other, clock=clock, address=mine):
            pytest.fail("a new folder took over a journal")
    await fill(postgres, other, clock, 3)
    with pytest.raises(DatabaseMismatch, match="the journal of another data folder"):
        async with open_storage(other, clock=clock, address=mine):
            pytest.fail("opened")
    with pytest.raises(DatabaseMismatch, match=r"storage\.url is not set"):
        async with open_storage(folder, clock=clock):
            pytest.fail("began a second journal")
    empty = read_address(postgres.server.url(postgres.server.new_database()))
    with pytest.raises(JournalRolledBack, match="the newest 3 are missing"):
        async with open_storage(folder, clock=clock, address=empty):
            pytest.fail("opened an empty database")
    sqlite = folder.with_name("sqlite")
    async with open_storage(sqlite, clock=clock):
        pass
    with pytest.raises(DatabaseMismatch, match="holds a journal in SQLite"):
        async with open_storage(sqlite, clock=clock, address=empty):
            pytest.fail("left a journal behind")
    assert stat.S_IMODE((folder / ID_NAME).stat().st_mode) == 0o600


async def test_a_crash_between_the_folders_number_and_the_databases_costs_nothing(
    postgres: Store, folder: Path, clock: Clock
) -> None:
    await trio.Path(folder).mkdir()
    (folder / ID_NAME).write_text("ab" * 16 + "\n")
    await fill(postgres, folder, clock, 1)
    await fill(postgres, folder, clock, 1)
    assert (folder / ID_NAME).read_text() == "ab" * 16 + "\n"


async def test_records_that_were_changed_or_lost_on_the_server_are_found(
    postgres: Store, folder: Path, clock: Clock
) -> None:
    await fill(postgres, folder, clock, 5)
    with postgres.server.connect(name_of(postgres, folder)) as admin:
        admin.execute("UPDATE journal SET body = 'changed' WHERE seq = 2")
    with pytest.raises(JournalBroken, match="record 2"):
        async with postgres.open(folder, clock=clock):
            pytest.fail("opened")
    with postgres.server.connect(name_of(postgres, folder)) as admin:
        admin.execute("DELETE FROM journal WHERE seq <= 2")
    with pytest.raises(JournalBroken, match="record 1: it is missing"):
        async with postgres.open(folder, clock=clock):
            pytest.fail("opened")


LOSE_INDEX = "UPDATE pg_index SET indisready = {} WHERE indexrelid = 'uq_journal_stream_version'::regclass"


async def test_after_the_server_started_anew_a_row_that_an_index_lost_is_found(
    postgres: Store, folder: Path, clock: Clock
) -> None:
    await fill(postgres, folder, clock, 3)
    with postgres.server.connect(name_of(postgres, folder)) as admin:
        admin.execute(LOSE_INDEX.format("false"))
    await fill(postgres, folder, clock, 2)
    with postgres.server.connect(name_of(postgres, folder)) as admin:
        admin.execute(LOSE_INDEX.format("true"))
    async with postgres.open(folder, clock=clock):
        pass  # the same server: nothing speaks for damage
    await trio.to_thread.run_sync(postgres.server.stop)
    await trio.to_thread.run_sync(postgres.server.start)
    with pytest.raises(DatabaseDamaged, match="uq_journal_stream_version has 3 of 5 rows"):
        async with postgres.open(folder, clock=clock):
            pytest.fail("opened")


def role(server: PostgresServer, *statements: str) -> str:
    """Make an ordinary user and a database of the superuser's, and return the user's address."""
    database = server.new_database()
    user = f"u{database}"
    with server.connect(database) as admin:
        admin.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{SECRET}'".encode())
        for each in statements:
            admin.execute(each.format(user=user, database=database).encode())
    return server.url(database, user=user)


async def refused(url: str, folder: Path, clock: Clock) -> DatabaseUnusable:
    with pytest.raises(DatabaseUnusable) as caught:
        async with open_storage(folder, clock=clock, address=read_address(url)):
            pytest.fail("opened")
    assert caught.value.advice
    return caught.value


async def test_an_ordinary_user_needs_the_right_to_make_tables_and_nothing_more(
    postgres_server: PostgresServer, folder: Path, clock: Clock
) -> None:
    error = await refused(role(postgres_server), folder, clock)
    assert "may not make tables in schema public" in str(error)
    assert "OWNER TO" in error.advice
    error = await refused(role(postgres_server, "DROP SCHEMA public"), folder, clock)
    assert "any schema" in str(error)
    url = role(postgres_server, "ALTER DATABASE {database} OWNER TO {user}")
    async with open_storage(folder, clock=clock, address=read_address(url)) as storage:
        assert await storage.journal.append([entry(1)]) == 1


async def test_a_database_that_cannot_keep_a_promise_is_refused(
    postgres_server: PostgresServer, folder: Path, clock: Clock
) -> None:
    latin = postgres_server.new_database("ENCODING 'LATIN1' TEMPLATE template0")
    assert "its encoding is LATIN1" in str(await refused(postgres_server.url(latin), folder, clock))

    frozen = postgres_server.new_database()
    with postgres_server.connect(frozen) as admin:
        admin.execute(f"ALTER DATABASE {frozen} SET default_transaction_read_only = on".encode())
    assert "read-only" in str(await refused(postgres_server.url(frozen), folder, clock))

    missing = postgres_server.url("no_such_database")
    assert 'database "no_such_database" does not exist' in str(await refused(missing, folder, clock))
    nobody = postgres_server.url("postgres", user="no_such_user")
    assert 'role "no_such_user" does not exist' in str(await refused(nobody, folder, clock))

    with postgres_server.connect() as admin:
        admin.execute("ALTER SYSTEM SET fsync = off")
    try:
        await trio.to_thread.run_sync(postgres_server.stop)
        await trio.to_thread.run_sync(lambda: postgres_server.start(fsync="off", full_page_writes="off"))
        url = postgres_server.url(postgres_server.new_database())
        error = await refused(url, folder, clock)
        assert "fsync off" in str(error)
        facts, _ = PostgresDatabase(read_address(url)).look(1)
        assert [text.split(" is off")[0] for text, _ in list_worries(facts)] == ["full_page_writes"]
    finally:
        with postgres_server.connect() as admin:
            admin.execute("ALTER SYSTEM RESET ALL")
        await trio.to_thread.run_sync(postgres_server.stop)
        await trio.to_thread.run_sync(postgres_server.start)


async def test_commits_are_durable_and_limits_of_the_role_do_not_end_the_session(
    postgres_server: PostgresServer, folder: Path, clock: Clock
) -> None:
    url = role(
        postgres_server,
        "ALTER DATABASE {database} OWNER TO {user}",
        "ALTER ROLE {user} SET synchronous_commit = off",
        "ALTER ROLE {user} SET idle_session_timeout = 100",
        "ALTER ROLE {user} SET statement_timeout = 1",
    )
    shown = ("synchronous_commit", "idle_session_timeout", "statement_timeout")

    async with open_storage(folder, clock=clock, address=read_address(url)) as storage:
        found = await storage.writer.submit(
            lambda c: [c.exec_driver_sql(f"SHOW {name}").scalar_one() for name in shown]
        )
    assert found == ["on", "0", "0"]


async def test_nobody_there_may_pass_and_is_no_mistake(folder: Path, clock: Clock, tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnreachable, match="can't be reached") as caught:
        async with open_storage(folder, clock=clock, address=read_address(f"postgresql:///x?host={tmp_path}")):
            pytest.fail("opened")
    assert "psql" in caught.value.advice


def test_an_address_never_shows_its_password(tmp_path: Path) -> None:
    url = f"postgresql://stoa:{SECRET}@127.0.0.1:1/x?connect_timeout=2"
    address = read_address(url)
    assert SECRET not in repr(address) + str(address)
    assert address.place == "database x at 127.0.0.1:1"
    with pytest.raises(DatabaseUnreachable) as caught:
        PostgresDatabase(address).connect_writer()
    assert SECRET not in str(caught.value) + repr(caught.value.__cause__) + caught.value.advice
    for bad in (f"postgresql://stoa:%zz{SECRET}@h/x", f"postgresql://u:{SECRET}@h/x?nonsense=1", f"mysql://{SECRET}"):
        with pytest.raises(DatabaseUnusable, match="no address of PostgreSQL") as broken:
            read_address(bad)
        assert SECRET not in str(broken.value) + broken.value.advice
    file = tmp_path / "password"
    file.write_text(f"{SECRET}\nmore")
    assert read_address("postgresql://u@h/x", file).parameters["password"] == SECRET
    with pytest.raises(DatabaseUnusable, match="password_file is set"):
        read_address(url, file)
    file.write_text("\n")
    with pytest.raises(DatabaseUnusable, match="no password"):
        read_address("postgresql://u@h/x", file)
    with pytest.raises(DatabaseUnusable, match="can't be read"):
        read_address("postgresql://u@h/x", tmp_path / "missing")


async def test_a_password_opens_the_database_from_wherever_it_may_come(
    postgres_server: PostgresServer, folder: Path, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = role(postgres_server, "ALTER DATABASE {database} OWNER TO {user}")
    user = url.split("//")[1].split("@")[0]
    rules = postgres_server.data / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"local all {user} scram-sha-256\n{before}")
    try:
        with postgres_server.connect() as admin:
            admin.execute("SELECT pg_reload_conf()")
        with_secret = url.replace(f"{user}@", f"{user}:{SECRET}@")
        for wrong in (url, url.replace(f"{user}@", f"{user}:wrong@")):
            while "password" not in str(await refused(wrong, folder, clock)):
                await trio.sleep(0.05)  # the server reads its rules a moment later
        file, pgpass = tmp_path / "password", tmp_path / "pgpass"
        file.write_text(SECRET)
        pgpass.write_text(f"*:*:*:{user}:{SECRET}\n")
        pgpass.chmod(0o600)
        addresses = [read_address(with_secret), read_address(url, file), read_address(f"{url}&passfile={pgpass}")]
        for number, address in enumerate(addresses, 1):
            async with open_storage(folder, clock=clock, address=address) as storage:
                assert await storage.journal.append([entry(number)]) == number
    finally:
        rules.write_text(before)
        with postgres_server.connect() as admin:
            admin.execute("SELECT pg_reload_conf()")


@pytest.fixture
def small_disk() -> Generator[Path]:
    """A file system of 8 MiB that the server may write."""
    mount = shutil.which("mount")
    folder = Path(tempfile.mkdtemp(prefix="stoa-small-"))
    folder.chmod(0o755)
    command = [str(mount), "-t", "tmpfs", "-o", "size=8M,mode=0777", "stoa-test", str(folder)]
    if mount is None or os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        folder.rmdir()
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
    folder.rmdir()


def enlarge(mount: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64M", str(mount)], check=True)


async def test_a_full_disk_of_the_server_refuses_the_append_and_goes_on_once_there_is_room(
    small_disk: Path, postgres: Store, folder: Path, clock: Clock
) -> None:
    space = f"s{postgres.server.new_database()}"
    async with postgres.open(folder, clock=clock):
        pass
    place = small_disk / "space"
    place.mkdir()
    shutil.chown(place, postgres.server.data.stat().st_uid)
    place.chmod(0o700)
    with postgres.server.connect(name_of(postgres, folder)) as admin:
        admin.execute(f"CREATE TABLESPACE {space} LOCATION '{place}'".encode())
        admin.execute(f"ALTER TABLE journal SET TABLESPACE {space}".encode())
        admin.execute(b"ALTER TABLE journal ALTER COLUMN body SET STORAGE PLAIN")
    try:
        async with postgres.open(folder, clock=clock) as storage:
            kept = await append_until_full(storage)
            assert kept > 5
            assert (await storage.journal.verify()).seq == kept
            enlarge(small_disk)
            assert await storage.journal.append([entry(0)]) == kept + 1
            assert (await storage.journal.verify()).seq == kept + 1
    finally:
        with postgres.server.connect() as admin:
            admin.execute(f"DROP DATABASE {name_of(postgres, folder)} WITH (FORCE)".encode())
            admin.execute(f"DROP TABLESPACE {space}".encode())


async def append_until_full(storage: Storage) -> int:
    for number in range(10_000):
        try:
            await storage.journal.append([Entry(stream="s", kind="k", body=os.urandom(7000))])
        except DiskFull:
            return number
    pytest.fail("the disk never filled up")
