"""Transfers that are interrupted at any point and go on: what has come stays, what is damaged comes again."""

import functools
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from node.operations.clock import Clock, TrioClock
from node.storage.blake3_tree import GROUP_BYTES, BlobTree, group_count, group_cv
from node.storage.blob_partials import KEEP_PARTIAL_S
from node.storage.errors import BlobQuotaExceeded, BlobTooLarge
from node.storage.storage import Storage, open_storage
from protocol.identity import ContentDigest
from protocol.units import UnixTime

LATER = UnixTime(1_900_000_000)
EPOCH = 1_800_000_000
ROOT = Path(__file__).parents[3]
DATA = random.Random(1).randbytes(3 * GROUP_BYTES + 777)


@functools.cache
def tree_of(data: bytes) -> BlobTree:
    groups = range(group_count(len(data)))
    cvs = b"".join(group_cv(group(index, data), index) for index in groups) if len(groups) > 1 else b""
    tree = BlobTree.prove(ContentDigest(blake3(data).digest()), len(data), cvs)
    assert tree is not None
    return tree


def group(index: int, data: bytes = DATA) -> bytes:
    return data[index * GROUP_BYTES : (index + 1) * GROUP_BYTES]


TREE = tree_of(DATA)


def incoming(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "blobs" / "incoming").iterdir())


async def receive(storage: Storage, *indexes: int) -> None:
    """Get some groups and be interrupted."""
    async with storage.blobs.open_partial(TREE.digest, max_bytes=TREE.size) as partial:
        await partial.begin(TREE)
        for index in indexes:
            await partial.put(index, group(index))


async def missing(storage: Storage) -> set[int] | None:
    """What a transfer that begins now would have to get; None if all of it."""
    async with storage.blobs.open_partial(TREE.digest, max_bytes=TREE.size) as partial:
        return set(partial.missing) if partial.tree is not None else None


async def finish(storage: Storage) -> None:
    async with storage.blobs.open_partial(TREE.digest, max_bytes=TREE.size) as partial:
        await partial.begin(TREE)
        for index in partial.missing:
            await partial.put(index, group(index))
        await partial.commit(keep_until=LATER)


@pytest.mark.parametrize("size", [0, 1, GROUP_BYTES, GROUP_BYTES + 1, 3 * GROUP_BYTES])
async def test_groups_in_any_order_make_the_blob(size: int, folder: Path, clock: Clock) -> None:
    data = random.Random(size).randbytes(size)
    tree = tree_of(data)
    async with open_storage(folder, clock=clock) as storage:
        async with storage.blobs.open_partial(tree.digest, max_bytes=size) as partial:
            await partial.begin(tree)
            for index in reversed(range(tree.groups)):
                assert index in partial.missing
                await partial.put(index, group(index, data))
            await partial.commit(keep_until=LATER)
        assert await storage.blobs.read(tree.digest, max_bytes=size) == data
        assert storage.blobs.used_bytes == size
        assert incoming(folder) == []
    async with open_storage(folder, clock=clock) as storage:
        assert storage.blobs.used_bytes == size


async def test_what_has_come_is_there_after_a_restart_and_counts_as_the_whole(folder: Path, clock: Clock) -> None:
    async with open_storage(folder, clock=clock) as storage:
        await receive(storage, 3, 1)
        assert storage.blobs.used_bytes == TREE.size
        assert await missing(storage) == {0, 2}
    async with open_storage(folder, clock=clock) as storage:
        assert storage.blobs.used_bytes == TREE.size
        assert await missing(storage) == {0, 2}
        await receive(storage, 0)
        await finish(storage)
        assert await storage.blobs.read(TREE.digest, max_bytes=TREE.size) == DATA
        assert storage.blobs.used_bytes == TREE.size
        assert incoming(folder) == []


async def test_a_transfer_of_which_nothing_has_come_leaves_nothing(folder: Path, clock: Clock) -> None:
    async with open_storage(folder, clock=clock) as storage:
        await receive(storage)
        assert incoming(folder) == []
        assert storage.blobs.used_bytes == 0


@pytest.mark.parametrize("place", [0, GROUP_BYTES, TREE.size - 1])
async def test_a_group_that_the_disk_changed_comes_again(place: int, folder: Path, clock: Clock) -> None:
    async with open_storage(folder, clock=clock) as storage:
        await receive(storage, 0, 1, 2, 3)
    part = folder / "blobs" / "incoming" / f"{TREE.digest.hex()}.part"
    raw = bytearray(part.read_bytes())
    raw[place] ^= 1
    part.write_bytes(raw)
    async with open_storage(folder, clock=clock) as storage:
        assert await missing(storage) == {place // GROUP_BYTES}
        await finish(storage)
        assert await storage.blobs.read(TREE.digest, max_bytes=TREE.size) == DATA


HEAD = 16 + 32 * TREE.groups


@pytest.mark.parametrize(
    ("cut", "left"),
    [(0, None), (15, None), (HEAD - 1, None), (HEAD, {0, 1, 2, 3}), (HEAD + 3, {0, 1, 2, 3}), (HEAD + 9, {0, 1})],
)
async def test_a_torn_list_costs_what_it_no_longer_says(
    cut: int, left: set[int] | None, folder: Path, clock: Clock
) -> None:
    async with open_storage(folder, clock=clock) as storage:
        await receive(storage, 3, 2, 1)
    names = folder / "blobs" / "incoming" / f"{TREE.digest.hex()}.tree"
    os.truncate(names, cut)
    async with open_storage(folder, clock=clock) as storage:
        assert await missing(storage) == left
        await receive(storage, 1)  # appended behind the tear: must not shift
        assert await missing(storage) == (left or {0, 1, 2, 3}) - {1}
        await finish(storage)
        assert storage.blobs.used_bytes == TREE.size


@pytest.mark.parametrize("place", [0, 8, 15, 16, HEAD - 1])
async def test_a_damaged_head_costs_the_transfer_and_not_the_store(place: int, folder: Path, clock: Clock) -> None:
    async with open_storage(folder, clock=clock) as storage:
        await receive(storage, 3, 2, 1)
    names = folder / "blobs" / "incoming" / f"{TREE.digest.hex()}.tree"
    raw = bytearray(names.read_bytes())
    raw[place] ^= 0x40
    names.write_bytes(raw)
    async with open_storage(folder, clock=clock) as storage:
        assert await missing(storage) is None
        assert incoming(folder) == []
        assert storage.blobs.used_bytes == 0
        await finish(storage)
        assert await storage.blobs.read(TREE.digest, max_bytes=TREE.size) == DATA


async def test_numbers_of_groups_that_do_not_exist_are_ignored(folder: Path, clock: Clock) -> None:
    async with open_storage(folder, clock=clock) as storage:
        await receive(storage, 0)
    with (folder / "blobs" / "incoming" / f"{TREE.digest.hex()}.tree").open("ab") as names:
        names.write((4).to_bytes(4) + (2**32 - 1).to_bytes(4) + (2).to_bytes(4))  # 2 was never written
    async with open_storage(folder, clock=clock) as storage:
        assert await missing(storage) == {1, 2, 3}


async def test_a_crash_between_name_and_clean_up_leaves_the_blob_alone(folder: Path, clock: Clock) -> None:
    async with open_storage(folder, clock=clock) as storage:
        await receive(storage, 0, 1, 2, 3)
    part = folder / "blobs" / "incoming" / f"{TREE.digest.hex()}.part"
    async with open_storage(folder, clock=clock) as storage:
        final = storage.blobs.path(TREE.digest)
        final.parent.mkdir()
        os.link(part, final)
    async with open_storage(folder, clock=clock) as storage:
        assert incoming(folder) == []
        assert storage.blobs.used_bytes == TREE.size
        assert await storage.blobs.read(TREE.digest, max_bytes=TREE.size) == DATA


async def test_what_does_not_belong_there_is_swept(folder: Path, clock: Clock) -> None:
    async with open_storage(folder, clock=clock) as storage:
        await receive(storage, 0)
    yard = folder / "blobs" / "incoming"
    kept = incoming(folder)
    name = TREE.digest.hex()
    (yard / "99-1").write_bytes(b"half of someth")
    (yard / f"{name}.other").write_bytes(b"?")
    (yard / f"{name}-77-1.part").write_bytes(b"a transfer on its own")
    (yard / f"{'0' * 64}.part").write_bytes(b"without a list")
    (yard / f"{'1' * 64}.tree").write_bytes((yard / f"{name}.tree").read_bytes())
    (yard / f"{'x' * 64}.tree").write_bytes((yard / f"{name}.tree").read_bytes())
    (yard / f"{'x' * 64}.part").write_bytes((yard / f"{name}.part").read_bytes())
    async with open_storage(folder, clock=clock) as storage:
        assert incoming(folder) == kept
        assert await missing(storage) == {1, 2, 3}


async def test_a_blob_that_does_not_fit_is_refused_before_its_first_byte(folder: Path, clock: Clock) -> None:
    async with open_storage(folder, clock=clock, blob_quota_bytes=TREE.size - 1) as storage:
        with pytest.raises(BlobQuotaExceeded):
            await finish(storage)
        async with storage.blobs.open_partial(TREE.digest, max_bytes=TREE.size - 1) as partial:
            with pytest.raises(BlobTooLarge):
                await partial.begin(TREE)
        assert storage.blobs.used_bytes == 0
        assert incoming(folder) == []


async def test_a_second_transfer_of_the_same_blob_is_on_its_own(folder: Path, clock: Clock) -> None:
    async with open_storage(folder, clock=clock) as storage:
        async with storage.blobs.open_partial(TREE.digest, max_bytes=TREE.size) as first:
            await first.begin(TREE)
            await first.put(0, group(0))
            await receive(storage, 1)
            assert storage.blobs.used_bytes == TREE.size
            await finish(storage)
            assert await storage.blobs.has(TREE.digest)
            for index in (1, 2, 3):
                await first.put(index, group(index))
            await first.commit(keep_until=LATER)
        assert storage.blobs.used_bytes == TREE.size
        assert incoming(folder) == []
        assert await storage.blobs.read(TREE.digest, max_bytes=TREE.size) == DATA


async def test_a_transfer_that_nobody_goes_on_with_is_given_up(folder: Path) -> None:
    async with open_storage(folder, clock=TrioClock.starting_at(UnixTime(EPOCH))) as storage:
        await receive(storage, 0)
    for offset, left in ((KEEP_PARTIAL_S - 60, TREE.size), (KEEP_PARTIAL_S + 60, 0)):
        async with open_storage(folder, clock=TrioClock.starting_at(UnixTime(EPOCH + offset))) as storage:
            assert await storage.blobs.collect_garbage() == TREE.size - left
            assert storage.blobs.used_bytes == left
    assert incoming(folder) == []


async def test_a_transfer_under_way_is_not_given_up(folder: Path) -> None:
    async with open_storage(folder, clock=TrioClock.starting_at(UnixTime(EPOCH))) as storage:
        await receive(storage, 0)
    late = TrioClock.starting_at(UnixTime(EPOCH + 10 * KEEP_PARTIAL_S))
    async with (
        open_storage(folder, clock=late) as storage,
        storage.blobs.open_partial(TREE.digest, max_bytes=TREE.size) as partial,
    ):
        assert await storage.blobs.collect_garbage() == 0
        assert partial.missing == {1, 2, 3}


RECEIVING = """
import sys
from pathlib import Path
import trio
from node.operations.clock import SystemClock
from node.storage.blake3_tree import GROUP_BYTES, BlobTree
from node.storage.storage import open_storage
from protocol.identity import ContentDigest

async def main():
    folder, source, cvs = Path(sys.argv[1]), Path(sys.argv[2]).read_bytes(), Path(sys.argv[3]).read_bytes()
    tree = BlobTree.prove(ContentDigest(bytes.fromhex(sys.argv[4])), len(source), cvs)
    async with open_storage(folder, clock=SystemClock()) as storage:
        async with storage.blobs.open_partial(tree.digest, max_bytes=tree.size) as partial:
            await partial.begin(tree)
            for index in range(tree.groups - 1):
                await partial.put(index, source[index * GROUP_BYTES : (index + 1) * GROUP_BYTES])
                print(index, flush=True)
            sys.stdin.read()

trio.run(main)
"""


async def test_a_process_that_is_killed_has_lost_no_group_that_it_wrote(
    folder: Path, clock: Clock, tmp_path: Path
) -> None:
    (tmp_path / "source").write_bytes(DATA)
    (tmp_path / "cvs").write_bytes(TREE.cvs)
    arguments = [str(folder), str(tmp_path / "source"), str(tmp_path / "cvs"), TREE.digest.hex()]
    with subprocess.Popen(  # noqa: ASYNC220 - nothing else runs in this loop
        [sys.executable, "-c", RECEIVING, *arguments],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert [child.stdout.readline().strip() for _ in range(TREE.groups - 1)] == ["0", "1", "2"]
        child.send_signal(signal.SIGKILL)
        child.wait()
    async with open_storage(folder, clock=clock) as storage:
        assert storage.blobs.used_bytes == TREE.size
        assert await missing(storage) == {3}
        await finish(storage)


@given(rounds=st.lists(st.lists(st.integers(0, TREE.groups - 1), max_size=3), max_size=4))
@settings(max_examples=10, deadline=None)
def test_any_interruptions_keep_what_came(rounds: list[list[int]], tmp_path_factory: pytest.TempPathFactory) -> None:
    async def play() -> None:
        folder = tmp_path_factory.mktemp("partials") / "data"
        here: set[int] = set()
        for indexes in rounds:
            async with open_storage(folder, clock=TrioClock.starting_at(UnixTime(EPOCH))) as storage:
                await receive(storage, *indexes)
                here |= set(indexes)
                assert storage.blobs.used_bytes == (TREE.size if here else 0)
                assert await missing(storage) == (set(range(TREE.groups)) - here if here else None)
        async with open_storage(folder, clock=TrioClock.starting_at(UnixTime(EPOCH))) as storage:
            await finish(storage)
            assert await storage.blobs.read(TREE.digest, max_bytes=TREE.size) == DATA

    trio.run(play)
