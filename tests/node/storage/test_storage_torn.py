"""A node that was really killed, on a disk that then lies: it opens with all that was acknowledged, or says why not."""

import random
import shutil
from pathlib import Path

import pytest

from node.operations.clock import Clock
from node.storage.anchor import ANCHOR_NAME
from node.storage.chain import Record
from node.storage.engine import DATABASE_NAME
from node.storage.errors import DatabaseTooNew, JournalBroken, JournalRolledBack
from node.storage.machine_log import OpenStreams
from node.storage.storage import open_storage
from protocol.errors import StorageError
from tests.node.storage.test_storage_crash import append_until_killed, fill

ACKNOWLEDGED = 150
ROUNDS = 30
SEED = 20261121
WAL_NAME = f"{DATABASE_NAME}-wal"


async def read_everything(folder: Path, clock: Clock) -> dict[int, Record]:
    """Read all records as services do, stream by stream."""
    async with open_storage(folder, clock=clock, projections=[OpenStreams()]) as storage:
        streams = [await storage.journal.replay(name) for name in await storage.journal.streams()]
        await storage.journal.verify()
        return {record.seq: record for stream in streams for record in stream}


def damage(path: Path, chance: random.Random, *, cut: bool) -> str:
    data = bytearray(path.read_bytes())
    offset = chance.randrange(len(data))
    if cut:
        path.write_bytes(data[:offset])
        return f"{path.name} cut at {offset} of {len(data)}"
    bit = chance.randrange(8)
    data[offset] ^= 1 << bit
    path.write_bytes(data)
    return f"{path.name}: bit {bit} of byte {offset} of {len(data)}"


@pytest.mark.parametrize("cut", [False, True], ids=["flipped", "cut"])
@pytest.mark.parametrize("name", [DATABASE_NAME, WAL_NAME, ANCHOR_NAME])
async def test_after_any_damage_a_killed_node_has_all_that_was_acknowledged_or_refuses_in_words(
    name: str, folder: Path, clock: Clock, tmp_path: Path, *, cut: bool
) -> None:
    await fill(folder, clock, 300)  # in the database file itself; what the child writes is in the -wal
    acknowledged = append_until_killed(folder, ACKNOWLEDGED)
    chance = random.Random(f"{SEED} {name} {cut}")
    opened, refused = 0, dict[str, str]()
    for _ in range(ROUNDS):
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy)
        what = damage(copy / name, chance, cut=cut)
        try:
            records = await read_everything(copy, clock)
        except (StorageError, DatabaseTooNew) as error:
            refused[what] = error.advice
        else:
            opened += 1
            assert sorted(records) == list(range(1, len(records) + 1)), what
            for seq, body in acknowledged:
                assert records[seq].body.decode() == body, what
        shutil.rmtree(copy)
    assert all(refused.values()), refused
    assert opened == ROUNDS or name != ANCHOR_NAME  # the anchor alone is never in the way
    assert opened < ROUNDS or name == ANCHOR_NAME


async def test_a_tail_that_was_torn_off_before_it_was_acknowledged_is_cut_and_the_node_goes_on(
    folder: Path, clock: Clock
) -> None:
    acknowledged = append_until_killed(folder, ACKNOWLEDGED)
    with (folder / WAL_NAME).open("ab") as wal:
        wal.write(b"\xff" * 3000)  # half a frame: the power went while it was written
    records = await read_everything(folder, clock)
    assert max(seq for seq, _ in acknowledged) <= len(records)
    await fill(folder, clock, 1)
    assert len(await read_everything(folder, clock)) == len(records) + 1


async def test_a_break_in_the_middle_that_no_open_would_look_at_stops_a_killed_node_and_tells_what_to_do(
    folder: Path, clock: Clock
) -> None:
    await fill(folder, clock, 1300)
    append_until_killed(folder, 20)
    data = (folder / DATABASE_NAME).read_bytes()
    assert data.count(b"<body 000007>") == 1
    (folder / DATABASE_NAME).write_bytes(data.replace(b"<body 000007>", b"<Body 000007>"))
    with pytest.raises(JournalBroken, match="record 8: its content") as caught:
        await read_everything(folder, clock)
    assert "stoa restore BACKUP --to NEW_FOLDER" in caught.value.advice


async def test_a_row_that_an_index_has_lost_stops_a_killed_node(folder: Path, clock: Clock) -> None:
    """The chain is whole then, and yet a service that replays its stream would see less than was acknowledged."""
    await fill(folder, clock, 20)
    append_until_killed(folder, 5)
    path = folder / DATABASE_NAME
    shutil.copy(folder / ANCHOR_NAME, folder / "anchor")
    async with open_storage(folder, clock=clock) as storage:
        head = storage.journal.head.seq
    data = path.read_bytes()
    name = b"writer:3"
    first, last = data.index(name), data.rindex(name)
    assert first != last  # in the table, and in the index
    for offset in (first, last):
        path.write_bytes(data[:offset] + b"writer;3" + data[offset + len(name) :])
        (folder / WAL_NAME).touch()  # as a kill leaves it
        with pytest.raises((StorageError, JournalRolledBack)):
            await read_everything(folder, clock)
    assert head > 20
