import contextlib
import sqlite3
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.operations.clock import Clock, TrioClock
from node.storage.chain import EMPTY, Entry, Record, compute_hash, is_linked
from node.storage.engine import DATABASE_NAME
from node.storage.errors import ConcurrentAppend
from node.storage.journal import MAX_BODY_BYTES, Transaction
from node.storage.storage import Storage, open_storage
from node.storage.writer import WriterClosed
from protocol.units import UnixTime
from tests.stores import Store


def entry(stream: str, body: bytes = b"\x01", kind: str = "happened") -> Entry:
    return Entry(stream=stream, kind=kind, body=body)


async def test_a_stream_is_replayed_in_the_order_in_which_it_was_appended(
    folder: Path, clock: Clock, store: Store
) -> None:
    async with store.open(folder, clock=clock) as storage:
        assert await storage.journal.append([entry("task:1", b"a"), entry("task:2", b"b"), entry("task:1", b"c")]) == 3
    async with store.open(folder, clock=clock) as storage:
        assert await storage.journal.append([entry("task:1", b"d")]) == 4
        records = await storage.journal.replay("task:1")
        assert [(r.seq, r.version, r.body) for r in records] == [(1, 1, b"a"), (3, 2, b"c"), (4, 3, b"d")]
        assert [r.body for r in await storage.journal.replay("task:1", after_version=2)] == [b"d"]
        assert await storage.journal.replay("task:3") == ()
        assert (await storage.journal.verify()).seq == 4


async def test_concurrent_appends_each_get_a_place_of_their_own(folder: Path, clock: Clock, store: Store) -> None:
    places: list[int] = []

    async def one(number: int) -> None:
        places.append(await storage.journal.append([entry(f"task:{number % 7}", number.to_bytes(2, "big"))]))

    async with store.open(folder, clock=clock) as storage:
        async with trio.open_nursery() as nursery:
            for number in range(300):
                nursery.start_soon(one, number)
        assert sorted(places) == list(range(1, 301))
        assert (await storage.journal.verify()).seq == 300
        bodies = [r.body for n in range(7) for r in await storage.journal.replay(f"task:{n}")]
        assert sorted(bodies) == [n.to_bytes(2, "big") for n in range(300)]


async def test_of_two_writers_that_saw_the_same_version_only_one_succeeds(
    folder: Path, clock: Clock, store: Store
) -> None:
    refused: list[ConcurrentAppend] = []

    async def one(body: bytes) -> None:
        try:
            await storage.journal.append([entry("channel:1", body)], expected_versions={"channel:1": 1})
        except ConcurrentAppend as error:
            refused.append(error)

    async with store.open(folder, clock=clock) as storage:
        await storage.journal.append([entry("channel:1")], expected_versions={"channel:1": 0})
        async with trio.open_nursery() as nursery:
            for body in (b"x", b"y", b"z"):
                nursery.start_soon(one, body)
        assert [(e.expected, e.found) for e in refused] == [(1, 2), (1, 2)]
        assert len(await storage.journal.replay("channel:1")) == 2
        assert (await storage.journal.verify()).seq == 2


async def test_a_refused_append_leaves_nothing_of_itself_and_its_group_goes_on(
    folder: Path, clock: Clock, store: Store
) -> None:
    outcomes: dict[int, str] = {}

    async def one(number: int) -> None:
        entries = [entry("a", bytes([number])), entry(f"own:{number}")]
        try:
            # All but the first expect a version that the first one's append has left behind.
            await storage.journal.append(entries, expected_versions={"a": 0} if number % 2 else {})
            outcomes[number] = "kept"
        except ConcurrentAppend:
            outcomes[number] = "refused"

    async with store.open(folder, clock=clock) as storage:
        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(one, number)
        kept = {number for number, outcome in outcomes.items() if outcome == "kept"}
        assert 20 <= len(kept) <= 21
        assert {r.body[0] for r in await storage.journal.replay("a")} == kept
        assert set(await storage.journal.streams("own:")) == {f"own:{number}" for number in kept}
        assert (await storage.journal.verify()).seq == 2 * len(kept)


async def test_a_transaction_that_raises_undoes_entries_and_cursor(folder: Path, clock: Clock, store: Store) -> None:
    def job(transaction: Transaction) -> None:
        transaction.append([entry("a")])
        transaction.set_cursor("blocks", b"\x05")
        assert transaction.get_cursor("blocks") == b"\x05"
        raise LookupError("no")

    async with store.open(folder, clock=clock) as storage:
        with pytest.raises(LookupError):
            await storage.transact(job)
        assert await storage.cursors.get("blocks") is None
        assert await storage.journal.replay("a") == ()
        assert await storage.journal.append([entry("a")], expected_versions={"a": 0}) == 1


async def test_nobody_else_can_write_between_what_a_transaction_reads_and_what_it_writes(
    folder: Path, clock: Clock
) -> None:
    def job(transaction: Transaction) -> str:
        transaction.get_cursor("blocks")
        with contextlib.closing(sqlite3.connect(folder / DATABASE_NAME, timeout=0)) as other:
            try:
                other.execute("DELETE FROM cursor_value")
            except sqlite3.OperationalError as error:
                return str(error)
        return "the other could write"

    async with open_storage(folder, clock=clock) as storage:
        assert await storage.transact(job) == "database is locked"


async def test_a_cursor_keeps_its_last_value(folder: Path, clock: Clock, store: Store) -> None:
    async with store.open(folder, clock=clock) as storage:
        await storage.cursors.set("blocks", b"1")
        await storage.cursors.set("blocks", b"2")
        await storage.cursors.set("gone", b"3")
        await storage.cursors.set("gone", None)
    async with store.open(folder, clock=clock) as storage:
        assert await storage.cursors.get("blocks") == b"2"
        assert await storage.cursors.get("gone") is None


async def test_streams_are_listed_by_prefix(folder: Path, clock: Clock, store: Store) -> None:
    async with store.open(folder, clock=clock) as storage:
        names = ["task:1", "task:10", "task:2", "task", "tasks:1", "channel:1"]
        await storage.journal.append([entry(name) for name in names])
        await storage.journal.append([entry("task:1")])
        assert await storage.journal.streams("task:") == ("task:1", "task:10", "task:2")
        assert await storage.journal.streams() == tuple(sorted(names))


@pytest.mark.parametrize("name", ["", "a b", "a\n", "ä", "a~", "x" * 161])
async def test_a_bad_name_is_refused(name: str, folder: Path, clock: Clock, store: Store) -> None:
    async with store.open(folder, clock=clock) as storage:
        with pytest.raises(ValueError, match="journal names"):
            await storage.journal.append([entry(name)])
        with pytest.raises(ValueError, match="journal names"):
            await storage.journal.append([entry("a", kind=name)])
        assert storage.journal.head == EMPTY


async def test_a_body_may_have_its_limit_and_no_more(folder: Path, clock: Clock, store: Store) -> None:
    async with store.open(folder, clock=clock) as storage:
        await storage.journal.append([entry("a", bytes(MAX_BODY_BYTES))])
        with pytest.raises(ValueError, match="put it in a blob"):
            await storage.journal.append([entry("a", bytes(MAX_BODY_BYTES + 1))])


async def test_a_follower_sees_every_record_once_as_it_becomes_durable(
    folder: Path, clock: Clock, store: Store
) -> None:
    seen: list[int] = []

    async def follow() -> None:
        seq = 0
        while seq < 50:
            await storage.journal.wait_after(seq)
            for record in await storage.journal.read_after(seq, limit=7):
                seen.append(record.seq)
                seq = record.seq

    async with store.open(folder, clock=clock) as storage:
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(follow)
                for _ in range(50):
                    await storage.journal.append([entry("a")])
    assert seen == list(range(1, 51))


async def test_writes_in_flight_are_kept_when_everything_is_cancelled(folder: Path, clock: Clock, store: Store) -> None:
    opened: list[Storage] = []

    async def append_despite_cancellation(storage: Storage) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await storage.journal.append([entry("last-words")])

    with trio.CancelScope() as scope:
        async with store.open(folder, clock=clock) as storage, trio.open_nursery() as nursery:
            opened.append(storage)
            nursery.start_soon(append_despite_cancellation, storage)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    closed = opened[0]
    with pytest.raises(WriterClosed):
        await closed.journal.append([entry("too-late")])
    async with store.open(folder, clock=clock) as storage:
        assert await storage.journal.streams() == ("last-words",)


FIELDS = st.fixed_dictionaries(
    {
        "seq": st.sampled_from([1, 2, 255, 256, 2**32, 2**63]),
        "stream": st.sampled_from(["a", "ab", "a:1"]),
        "version": st.sampled_from([1, 2, 2**32]),
        "kind": st.sampled_from(["b", "ab", "1"]),
        "at": st.sampled_from([0, 1, 2**40]),
        "body": st.binary(max_size=4),
    }
)


@given(one=FIELDS, other=FIELDS)
def test_records_that_differ_in_any_field_have_different_hashes(
    one: dict[str, object], other: dict[str, object]
) -> None:
    previous = bytes(32)
    first, second = (compute_hash(previous=previous, **fields) for fields in (one, other))  # type: ignore[arg-type]
    assert (first == second) == (one == other)
    record = Record(**one, hash=first)  # type: ignore[arg-type]
    assert is_linked(record, previous)
    assert not is_linked(record, b"\x01" + bytes(31))


def test_moving_a_letter_from_one_field_to_the_next_changes_the_hash() -> None:
    text = "abcde"
    cuts = [(i, j) for i in range(6) for j in range(i, 6)]
    hashes = {
        compute_hash(
            previous=bytes(32), seq=1, stream=text[:i], version=1, kind=text[i:j], at=0, body=text[j:].encode()
        )
        for i, j in cuts
    }
    assert len(hashes) == len(cuts)


BATCHES = st.lists(
    st.one_of(
        st.just("reopen"),
        st.lists(st.tuples(st.sampled_from(["a", "b", "c:1"]), st.binary(max_size=3)), min_size=1, max_size=4),
    ),
    max_size=12,
)


@given(steps=BATCHES)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_history_survives_reopening(
    steps: list[str | list[tuple[str, bytes]]], tmp_path_factory: pytest.TempPathFactory, store: Store
) -> None:
    folder = tmp_path_factory.mktemp("history") / "data"
    model: list[tuple[str, bytes]] = []

    async def play() -> None:
        clock = TrioClock.starting_at(UnixTime(1_800_000_000))
        remaining = [*steps, "reopen"]
        while remaining:
            async with store.open(folder, clock=clock) as storage:
                records = await storage.journal.read_after(0)
                assert [(r.stream, r.body) for r in records] == model
                for name in {stream for stream, _ in model}:
                    assert [r.version for r in await storage.journal.replay(name)] == [
                        1 + i for i in range(sum(stream == name for stream, _ in model))
                    ]
                while (step := remaining.pop(0)) != "reopen":
                    assert not isinstance(step, str)
                    await storage.journal.append([entry(stream, body) for stream, body in step])
                    model.extend(step)

    trio.run(play)
