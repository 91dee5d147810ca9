# pyright: reportPrivateUsage=false
"""Who is told of which blobs that we have: only those that gave them."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from trio.testing import MockClock

from node.app.given_blobs import MAX_WALLETS, GivenBlobs
from node.networking.blob_bases import MAX_BASES
from node.storage.blobs import BlobFile, BlobStore
from protocol.identity import Address, ContentDigest, PeerId
from tests.node.app.test_app_peers import ASKER, BLOB, HOLDERS, KEEP_UNTIL, Node, Town

CHANGED = BLOB[:1000] + b"another" + BLOB[1000:]


async def put(blobs: BlobStore, *blobs_of: bytes) -> list[ContentDigest]:
    return [await blobs.put(data, keep_until=KEEP_UNTIL) for data in blobs_of]


async def bytes_fetched(asker: Node, wallet: Address, digest: ContentDigest) -> int:
    came = 0
    bandwidth = asker.network._blobs._bandwidth
    down = bandwidth.down

    async def count(peer: PeerId, size: int) -> None:
        nonlocal came
        came += size
        await down(peer, size)

    bandwidth.down = count  # type: ignore[method-assign]
    await asker.peers.fetch(wallet, digest, max_bytes=2 * len(BLOB), keep_until=KEEP_UNTIL)
    bandwidth.down = down  # type: ignore[method-assign]
    return came


async def test_of_a_wallets_next_blob_only_what_is_new_comes(tmp_path: Path, autojump_clock: MockClock) -> None:
    town = Town(tmp_path)
    async with town.node(ASKER) as asker, town.holder(HOLDERS[0]) as one, town.holder(HOLDERS[1]) as two:
        for holder in (one, two):
            await asker.network.connect(holder.network.addresses[0])
            for digest in await put(holder.storage.blobs, BLOB, CHANGED, CHANGED + b"more"):
                await holder.peers.grant(digest, ASKER, KEEP_UNTIL)
        first, changed, more = await put(one.storage.blobs, BLOB, CHANGED, CHANGED + b"more")
        assert await bytes_fetched(asker, HOLDERS[0], first) > len(BLOB)
        assert await bytes_fetched(asker, HOLDERS[0], changed) < len(BLOB) / 10
        assert await asker.storage.blobs.read(changed, max_bytes=2 * len(BLOB)) == CHANGED
        assert await bytes_fetched(asker, HOLDERS[1], more) > len(BLOB), "the second wallet has given nothing so far"


async def test_the_newest_come_first_and_what_is_gone_is_passed_over(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with Town(tmp_path).node(ASKER) as asker:
        blobs = asker.storage.blobs
        given = GivenBlobs(blobs)
        digests = await put(blobs, *(bytes([number]) for number in range(MAX_BASES + 2)))
        for digest in (*digests, digests[-2]):
            given.remember(HOLDERS[0], digest)
        await blobs.delete(digests[-1])
        async with given.opened(HOLDERS) as opened:
            assert [base.digest for base in opened[HOLDERS[0]]] == [digests[-2], *reversed(digests[2:-2])]
            assert opened[HOLDERS[1]] == []


async def test_only_so_many_wallets_are_remembered(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with Town(tmp_path).node(ASKER) as asker:
        given = GivenBlobs(asker.storage.blobs)
        (digest,) = await put(asker.storage.blobs, b"given")
        wallets = [Address(number.to_bytes(20)) for number in range(MAX_WALLETS + 1)]
        for wallet in wallets:
            given.remember(wallet, digest)
        async with given.opened([wallets[0], wallets[1], wallets[-1]]) as opened:
            assert [len(bases) for bases in opened.values()] == [0, 1, 1]


async def test_a_blob_that_comes_while_others_are_opened_is_no_harm(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with Town(tmp_path).node(ASKER) as asker:
        blobs = asker.storage.blobs
        given = GivenBlobs(blobs)
        first, second, coming = await put(blobs, b"first", b"second", b"coming")
        open_reader = blobs.open_reader

        @asynccontextmanager
        async def open_while_one_comes(digest: ContentDigest) -> AsyncGenerator[BlobFile, None]:
            async with open_reader(digest) as reader:
                given.remember(HOLDERS[0], coming)
                yield reader

        blobs.open_reader = open_while_one_comes  # type: ignore[method-assign]
        for digest in (first, second):
            given.remember(HOLDERS[0], digest)
        async with given.opened(HOLDERS[:1]) as opened:
            assert [base.digest for base in opened[HOLDERS[0]]] == [second, first]
