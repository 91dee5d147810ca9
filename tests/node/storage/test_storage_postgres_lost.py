"""PostgreSQL goes away at bad moments: nothing acknowledged is lost, nothing is there twice or without the lock."""

import signal
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest
import trio
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from node.operations.clock import Clock
from node.storage import read_model, writer
from node.storage.chain import Entry
from node.storage.errors import DatabaseTaken, DatabaseUnreachable, JournalRolledBack
from node.storage.health import check_database
from node.storage.postgres.address import read_address
from node.storage.postgres.database import LOCK_KEY
from node.storage.storage import Storage, open_storage
from node.storage.writer import WriterClosed
from tests.node.storage.cutting_proxy import Cut, CuttingProxy, run_proxy
from tests.postgres_lab import PostgresServer
from tests.stores import Store

LONG_S = 120.0
BOUND_S = 200.0
END_WRITER = """
SELECT pg_terminate_backend(pid, 60000) FROM pg_locks
WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@pytest.fixture
def proxy(postgres_server: PostgresServer) -> Generator[CuttingProxy]:
    with (
        tempfile.TemporaryDirectory(prefix="stoa-cut-") as folder,
        run_proxy(Path(folder), postgres_server.socket) as proxy,
    ):
        yield proxy


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may take long to start a server again."""
    monkeypatch.setattr(writer, "PATIENCE_S", LONG_S)
    monkeypatch.setattr(read_model, "PATIENCE_S", LONG_S)


def entry(body: str) -> Entry:
    return Entry(stream="s", kind="k", body=body.encode())


async def bodies(storage: Storage) -> list[str]:
    return [record.body.decode() for record in await storage.journal.replay("s")]


async def writes(storage: Storage, what: str, text: str) -> None:
    """Write `text` as a record, or as a cursor: a group that appends nothing."""
    if what == "record":
        await storage.journal.append([entry(text)])
    else:
        await storage.cursors.set("c", text.encode())


async def written(storage: Storage, what: str) -> list[str]:
    if what == "record":
        return await bodies(storage)
    value = await storage.cursors.get("c")
    return [value.decode()] if value is not None else []


@pytest.mark.parametrize("what", ["record", "cursor"])
@pytest.mark.parametrize("cut", list(Cut))
async def test_a_line_that_is_cut_at_the_commit_leaves_no_doubt(
    cut: Cut, what: str, proxy: CuttingProxy, postgres: Store, folder: Path, clock: Clock
) -> None:
    database = postgres.server.new_database()
    address = read_address(postgres.server.url(database, sockets=proxy.folder))
    with trio.fail_after(BOUND_S):
        async with open_storage(folder, clock=clock, address=address) as storage:
            await writes(storage, what, "before")
            proxy.cut_next(cut)
            is_acknowledged = True
            try:
                await writes(storage, what, "cut")
            except DatabaseUnreachable:
                is_acknowledged = False
            assert proxy.cuts == 1
            match cut:
                case Cut.BEFORE:
                    assert not is_acknowledged
                case Cut.ANSWERED:
                    assert is_acknowledged
                case Cut.SENT:
                    pass
            assert ("cut" in await written(storage, what)) == is_acknowledged
            await writes(storage, what, "after")
            found = await written(storage, what)
            assert found[-1] == "after"
            if what == "record":
                assert found == ["before", *(["cut"] if is_acknowledged else []), "after"]
            head = storage.journal.head
        async with open_storage(folder, clock=clock, address=address) as storage:
            assert storage.journal.head == head
            assert await written(storage, what) == found


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL])
async def test_a_server_that_dies_under_writers_is_waited_for_and_nothing_acknowledged_is_lost(
    how: signal.Signals, postgres: Store, folder: Path, clock: Clock
) -> None:
    acknowledged: list[str] = []
    refused: list[str] = []
    rounds = 2

    async def write(storage: Storage, number: int) -> None:
        for count in range(10_000):
            text = f"{number}/{count}"
            try:
                await storage.journal.append([Entry(stream=f"w{number}", kind="k", body=text.encode())])
            except DatabaseUnreachable:
                refused.append(text)
            else:
                acknowledged.append(text)

    with trio.fail_after(BOUND_S):
        async with postgres.open(folder, clock=clock) as storage, trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(write, storage, number)
            for _ in range(rounds):
                enough = len(acknowledged) + 40
                while len(acknowledged) < enough:
                    await trio.sleep(0.01)
                await trio.to_thread.run_sync(postgres.server.stop, how)
                await trio.to_thread.run_sync(postgres.server.start)
            enough = len(acknowledged) + 40
            while len(acknowledged) < enough:
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
        async with postgres.open(folder, clock=clock) as storage:
            head = await storage.journal.verify()
            stored = [r.body.decode() for r in await storage.journal.read_after(0, limit=head.seq + 1)]
    assert len(set(stored)) == len(stored) == head.seq
    assert set(acknowledged) <= set(stored)
    assert not set(refused) & set(stored)


async def test_a_server_that_was_away_between_two_writes_is_not_noticed(
    postgres: Store, folder: Path, clock: Clock
) -> None:
    with trio.fail_after(BOUND_S):
        async with postgres.open(folder, clock=clock) as storage:
            await storage.journal.append([entry("1")])
            assert await bodies(storage) == ["1"]
            await trio.to_thread.run_sync(postgres.server.stop)
            await trio.to_thread.run_sync(postgres.server.start)
            await storage.journal.append([entry("2")])
            assert await bodies(storage) == ["1", "2"]


async def test_while_the_server_is_away_writers_hear_that_nothing_was_kept_and_health_says_why(
    postgres: Store, folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "PATIENCE_S", 0.0)
    monkeypatch.setattr(read_model, "PATIENCE_S", 0.0)
    with trio.fail_after(BOUND_S):
        async with postgres.open(folder, clock=clock) as storage:
            await storage.journal.append([entry("1")])
            assert (await check_database(storage.writer)).reason == ""
            await trio.to_thread.run_sync(postgres.server.stop)
            try:
                for _ in range(3):
                    with pytest.raises(DatabaseUnreachable, match="can't be reached") as caught:
                        await storage.journal.append([entry("lost")])
                    assert "storage.url" in caught.value.advice
                assert "can't be reached" in (await check_database(storage.writer)).reason
                with pytest.raises(DatabaseUnreachable):
                    await bodies(storage)
            finally:
                await trio.to_thread.run_sync(postgres.server.start)
            await storage.journal.append([entry("2")])
            assert await bodies(storage) == ["1", "2"]
            assert (await check_database(storage.writer)).reason == ""


async def test_a_node_that_is_stopped_while_the_server_is_away_stops_and_says_what_it_does_not_know(
    proxy: CuttingProxy, postgres: Store, folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "CLOSING_PATIENCE_S", 0.2)
    database = postgres.server.new_database()
    address = read_address(postgres.server.url(database, sockets=proxy.folder))
    heard: list[str] = []

    async def write(storage: Storage) -> None:
        try:
            with trio.CancelScope(shield=True):
                await storage.journal.append([entry("in doubt")])
        except WriterClosed as error:
            heard.append(str(error))

    with trio.fail_after(BOUND_S):
        async with (
            trio.open_nursery() as nursery,
            open_storage(folder, clock=clock, address=address) as storage,
        ):
            await storage.journal.append([entry("1")])
            proxy.cut_next(Cut.ANSWERED, for_good=True)
            nursery.start_soon(write, storage)
            while storage.writer.trouble is None:
                await trio.sleep(0.01)
    assert heard == ["storage failed; the next start shows whether this change was made"]
    async with open_storage(folder, clock=clock, address=read_address(postgres.server.url(database))) as storage:
        assert await bodies(storage) == ["1", "in doubt"]


async def test_a_session_that_the_server_ended_is_replaced_with_the_lock(
    postgres: Store, folder: Path, clock: Clock
) -> None:
    with trio.fail_after(BOUND_S):
        async with postgres.open(folder, clock=clock) as storage:
            for number in range(5):
                await storage.journal.append([entry(str(number))])
                with postgres.server.connect(database_of(postgres, folder)) as admin:
                    assert admin.execute(END_WRITER).fetchall() == [(True,)]
            await storage.journal.append([entry("5")])
            assert await bodies(storage) == list("012345")
            with postgres.server.connect(database_of(postgres, folder)) as admin:
                assert admin.execute("SELECT pg_try_advisory_lock(%s)", (LOCK_KEY,)).fetchone() == (False,)


async def test_a_node_whose_database_was_taken_meanwhile_never_writes_again(
    postgres: Store, folder: Path, clock: Clock
) -> None:
    refused: list[Exception] = []

    async def run() -> None:
        async with postgres.open(folder, clock=clock) as storage:
            await storage.journal.append([entry("1")])
            with postgres.server.connect(database_of(postgres, folder)) as other:
                other.execute(END_WRITER)
                other.execute("SELECT pg_advisory_lock(%s)", (LOCK_KEY,))  # as another node would
                try:
                    await storage.journal.append([entry("2")])
                except WriterClosed as error:
                    refused.append(error)

    with trio.fail_after(BOUND_S), pytest.RaisesGroup(DatabaseTaken, flatten_subgroups=True):
        await run()
    assert len(refused) == 1
    async with postgres.open(folder, clock=clock) as storage:
        assert await bodies(storage) == ["1"]


async def test_a_server_that_comes_back_without_acknowledged_records_stops_the_node(
    postgres: Store, folder: Path, clock: Clock
) -> None:
    """As after a failover to a standby that had fallen behind."""

    async def run() -> None:
        async with postgres.open(folder, clock=clock) as storage:
            for number in range(3):
                await storage.journal.append([entry(str(number))])
            with postgres.server.connect(database_of(postgres, folder)) as admin:
                admin.execute("DELETE FROM journal WHERE seq = 3")
                admin.execute(END_WRITER)
            with pytest.raises(WriterClosed):
                await storage.journal.append([entry("3")])

    with trio.fail_after(BOUND_S), pytest.RaisesGroup(JournalRolledBack, flatten_subgroups=True):
        await run()
    with pytest.raises(JournalRolledBack, match="the newest 1 are missing"):
        async with postgres.open(folder, clock=clock):
            pytest.fail("opened")


def database_of(store: Store, folder: Path) -> str:
    return store.url(folder).split("/")[3].split("?")[0]


@pytest.mark.parametrize("makes_of_it", ["another error", "nothing"])
async def test_a_job_that_hides_a_lost_connection_does_not_end_the_writer(
    makes_of_it: str, postgres: Store, folder: Path, clock: Clock
) -> None:
    def job(connection: Connection) -> None:
        with postgres.server.connect(database_of(postgres, folder)) as admin:
            admin.execute(END_WRITER)
        try:
            connection.exec_driver_sql("SELECT 1")
        except DBAPIError as error:
            if makes_of_it == "another error":
                raise LookupError("something else") from error

    async with postgres.open(folder, clock=clock) as storage:
        with pytest.raises(DatabaseUnreachable):
            await storage.writer.submit(job)
        await storage.journal.append([entry("1")])
        assert await bodies(storage) == ["1"]
