import os
from pathlib import Path

import pytest
import trio
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from node.operations.clock import Clock, TrioClock
from node.storage.blob_writer import BUFFER_BYTES
from node.storage.blobs import GRACE_S, BlobStore
from node.storage.errors import BlobDamaged, BlobMismatch, BlobMissing, BlobQuotaExceeded, BlobTooLarge
from node.storage.storage import open_storage
from protocol.identity import Address, ContentDigest, PeerId
from protocol.units import UnixTime
from tests.stores import Store

LATER = UnixTime(1_900_000_000)
EPOCH = 1_800_000_000


def name(data: bytes) -> ContentDigest:
    return ContentDigest(blake3(data).digest())


def incoming(folder: Path) -> list[Path]:
    return list((folder / "blobs" / "incoming").iterdir())


async def test_a_blob_is_read_back_under_its_digest_also_after_reopening(
    folder: Path, clock: Clock, store: Store
) -> None:
    async with store.open(folder, clock=clock) as storage:
        digest = await storage.blobs.put(b"hello", keep_until=LATER)
        assert digest == name(b"hello")
    async with store.open(folder, clock=clock) as storage:
        assert await storage.blobs.has(digest)
        assert await storage.blobs.size(digest) == 5
        assert await storage.blobs.read(digest, max_bytes=5) == b"hello"
        assert storage.blobs.path(digest).read_bytes() == b"hello"
        await storage.blobs.verify(digest)
        assert storage.blobs.used_bytes == 5
        with pytest.raises(BlobTooLarge):
            await storage.blobs.read(digest, max_bytes=4)


async def test_what_is_not_there_is_missing(folder: Path, clock: Clock) -> None:
    async with open_storage(folder, clock=clock) as storage:
        digest = name(b"elsewhere")
        assert not await storage.blobs.has(digest)
        for attempt in (storage.blobs.size, storage.blobs.verify):
            with pytest.raises(BlobMissing):
                await attempt(digest)
        with pytest.raises(BlobMissing):
            await storage.blobs.read(digest, max_bytes=9)
        await storage.blobs.delete(digest)


async def test_a_writer_that_is_not_committed_leaves_nothing(folder: Path, clock: Clock) -> None:
    async with open_storage(folder, clock=clock) as storage:
        async with storage.blobs.open_writer(max_bytes=BUFFER_BYTES * 2) as writer:
            await writer.write(bytes(BUFFER_BYTES + 1))
            assert incoming(folder)
            assert storage.blobs.used_bytes == BUFFER_BYTES + 1
        assert incoming(folder) == []
        assert storage.blobs.used_bytes == 0


async def test_bytes_other_than_expected_never_become_visible(folder: Path, clock: Clock) -> None:
    async with open_storage(folder, clock=clock) as storage:
        async with storage.blobs.open_writer(max_bytes=9, expected=name(b"right")) as writer:
            await writer.write(b"wrong")
            with pytest.raises(BlobMismatch) as caught:
                await writer.commit(keep_until=LATER)
        assert caught.value.found == name(b"wrong")
        assert not await storage.blobs.has(name(b"wrong"))
        assert not await storage.blobs.has(name(b"right"))
        assert storage.blobs.used_bytes == 0


async def test_a_writer_takes_its_limit_and_not_a_byte_more(folder: Path, clock: Clock) -> None:
    async with open_storage(folder, clock=clock) as storage, storage.blobs.open_writer(max_bytes=4) as writer:
        await writer.write(b"1234")
        with pytest.raises(BlobTooLarge):
            await writer.write(b"5")
        assert await writer.commit(keep_until=LATER) == name(b"1234")


async def test_the_quota_holds_over_all_writers_and_is_given_back(folder: Path, clock: Clock) -> None:
    async with open_storage(folder, clock=clock, blob_quota_bytes=10) as storage:
        kept = await storage.blobs.put(b"123456", keep_until=LATER)
        async with storage.blobs.open_writer(max_bytes=10) as writer:
            await writer.write(b"7890")
            with pytest.raises(BlobQuotaExceeded) as caught:
                await storage.blobs.put(b"x", keep_until=LATER)
            assert (caught.value.used, caught.value.wanted, caught.value.quota) == (10, 1, 10)
        await storage.blobs.put(b"7890", keep_until=LATER)
        await storage.blobs.delete(kept)
        assert storage.blobs.used_bytes == 4
    async with open_storage(folder, clock=clock, blob_quota_bytes=10) as storage:
        assert storage.blobs.used_bytes == 4


async def test_a_blob_stored_twice_at_once_is_counted_once(folder: Path, clock: Clock) -> None:
    async with open_storage(folder, clock=clock) as storage:
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(lambda: storage.blobs.put(b"same", keep_until=LATER))
        assert storage.blobs.used_bytes == 4
        assert incoming(folder) == []
        assert await storage.blobs.read(name(b"same"), max_bytes=4) == b"same"


async def test_a_file_is_copied_and_its_source_stays(folder: Path, clock: Clock, tmp_path: Path) -> None:
    source = tmp_path / "module.wasm"
    source.write_bytes(os.urandom(3_000_001))
    async with open_storage(folder, clock=clock) as storage:
        digest = await storage.blobs.put_file(source, keep_until=LATER, max_bytes=3_000_001)
        assert digest == name(source.read_bytes())
        with pytest.raises(BlobTooLarge):
            await storage.blobs.put_file(source, keep_until=LATER, max_bytes=3_000_000)
        with pytest.raises(FileNotFoundError):
            await storage.blobs.put_file(tmp_path / "nothing", keep_until=LATER, max_bytes=1)
        assert incoming(folder) == []


async def test_leftovers_of_a_crash_are_swept_at_open(folder: Path, clock: Clock) -> None:
    async with open_storage(folder, clock=clock):
        pass
    (folder / "blobs" / "incoming" / "99-1").write_bytes(b"half of someth")
    async with open_storage(folder, clock=clock) as storage:
        assert incoming(folder) == []
        assert storage.blobs.used_bytes == 0


@pytest.mark.parametrize("how", ["read", "verify"])
async def test_a_blob_that_the_disk_changed_is_removed(how: str, folder: Path, clock: Clock) -> None:
    async with open_storage(folder, clock=clock) as storage:
        digest = await storage.blobs.put(b"hello", keep_until=LATER)
        storage.blobs.path(digest).write_bytes(b"hellp")
        with pytest.raises(BlobDamaged):
            await (storage.blobs.verify(digest) if how == "verify" else storage.blobs.read(digest, max_bytes=9))
        assert not await storage.blobs.has(digest)
        assert storage.blobs.used_bytes == 0


async def collectable(store: BlobStore, *blobs: bytes) -> set[bytes]:
    await store.collect_garbage()
    return {blob for blob in blobs if not await store.has(name(blob))}


async def test_garbage_is_what_nobody_keeps_or_pins_and_is_not_new(folder: Path, store: Store) -> None:
    start = TrioClock.starting_at(UnixTime(EPOCH))
    async with store.open(folder, clock=start) as storage:
        await storage.blobs.put(b"expired", keep_until=UnixTime(EPOCH - 1))
        await storage.blobs.put(b"extended", keep_until=UnixTime(EPOCH + 10))
        await storage.blobs.keep(name(b"extended"), LATER)
        await storage.blobs.keep(name(b"extended"), UnixTime(EPOCH))
        await storage.blobs.put(b"pinned", keep_until=UnixTime(EPOCH - 1))
        await storage.blobs.put(b"kept", keep_until=UnixTime(EPOCH + GRACE_S + 500))
        assert await collectable(storage.blobs, b"expired", b"pinned") == set()  # all are new
    later = TrioClock.starting_at(UnixTime(EPOCH + GRACE_S + 20))
    blobs = (b"expired", b"extended", b"pinned", b"kept")
    async with store.open(folder, clock=later) as storage:
        with storage.blobs.pinned(name(b"pinned")) as path:
            assert await collectable(storage.blobs, *blobs) == {b"expired"}
            assert path.exists()
        assert await collectable(storage.blobs, *blobs) == {b"expired", b"pinned"}
        assert storage.blobs.used_bytes == len(b"extended") + len(b"kept")


async def test_a_blob_is_granted_to_whom_and_until_when_it_was_said(folder: Path, store: Store) -> None:
    clock = TrioClock.starting_at(UnixTime(EPOCH))
    alice, bob, host = Address(b"a" * 20), Address(b"b" * 20), PeerId("12D3KooWalice")
    digest, other = name(b"1"), name(b"2")
    until = UnixTime(EPOCH + 100)
    async with store.open(folder, clock=clock) as storage:
        await storage.access.grant(digest, alice, until)
        await storage.access.grant(digest, alice, UnixTime(EPOCH))  # never shortens
        await storage.access.grant(digest, host, until)
        assert await storage.access.is_granted(digest, alice)
        assert await storage.access.is_granted(digest, host)
        assert not await storage.access.is_granted(digest, bob)
        assert not await storage.access.is_granted(other, alice)
        await storage.access.revoke(digest, host)
        assert not await storage.access.is_granted(digest, host)
        assert await storage.access.is_granted(digest, alice)
    for offset, granted in ((99, True), (102, False)):
        async with store.open(folder, clock=TrioClock.starting_at(UnixTime(EPOCH + offset))) as storage:
            assert await storage.access.is_granted(digest, alice) == granted
            assert await storage.access.drop_expired() == (0 if granted else 1)


SIZES = st.sampled_from([0, 1, BUFFER_BYTES - 1, BUFFER_BYTES, BUFFER_BYTES + 1]) | st.integers(0, 2 * BUFFER_BYTES)


@given(sizes=st.lists(SIZES, max_size=5))
@settings(max_examples=8, deadline=None)
def test_any_cut_into_pieces_gives_the_same_blob(sizes: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    async def play() -> None:
        whole = os.urandom(sum(sizes))
        folder = tmp_path_factory.mktemp("pieces") / "data"
        async with open_storage(folder, clock=TrioClock.starting_at(UnixTime(EPOCH))) as storage:
            async with storage.blobs.open_writer(max_bytes=len(whole), expected=name(whole)) as writer:
                start = 0
                for size in sizes:
                    await writer.write(whole[start : start + size])
                    start += size
                digest = await writer.commit(keep_until=LATER)
            assert await storage.blobs.read(digest, max_bytes=len(whole)) == whole

    trio.run(play)
