# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportUnknownVariableType=false
import random
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
from blake3 import blake3
from trio.testing import MockClock

from node.networking.blob_receive import STALL_TIMEOUT_S
from node.networking.blob_source import NotServed
from node.networking.blobs_v1 import PROTOCOL
from node.networking.errors import (
    BlobCorrupt,
    BlobUnavailable,
    MessageTooLarge,
    PeerBusy,
    PeerTimeout,
    PeerUnreachable,
)
from node.networking.network import Network
from node.storage.blake3_tree import GROUP_BYTES, group_cv
from protocol.identity import ContentDigest, PeerId


@dataclass
class Shelf:
    """A source of blobs in memory, each for certain peers; counts what is open."""

    blobs: dict[ContentDigest, bytes] = field(default_factory=dict[ContentDigest, bytes])
    allowed: set[PeerId] = field(default_factory=set[PeerId])
    open_now: int = 0
    served: int = 0

    def put(self, data: bytes) -> ContentDigest:
        digest = ContentDigest(blake3(data).digest())
        self.blobs[digest] = data
        return digest

    @asynccontextmanager
    async def open(self, digest: ContentDigest, peer: PeerId) -> AsyncGenerator["Reader", None]:
        if digest not in self.blobs or peer not in self.allowed:
            raise NotServed(digest.hex())
        self.open_now += 1
        try:
            yield Reader(self, self.blobs[digest])
        finally:
            self.open_now -= 1


@dataclass
class Reader:
    shelf: Shelf
    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    async def read_at(self, offset: int, length: int) -> bytes:
        await trio.lowlevel.checkpoint()
        self.shelf.served += min(length, len(self.data) - offset)
        return self.data[offset : offset + length]


class Truncated(Reader):
    @property
    def size(self) -> int:
        return 2 * GROUP_BYTES


@dataclass
class Sink:
    data: bytearray = field(default_factory=bytearray)
    largest: int = 0
    stop_after: int | None = None

    async def take(self, piece: bytes) -> None:
        self.data += piece
        self.largest = max(self.largest, len(piece))
        if self.stop_after is not None and len(self.data) >= self.stop_after:
            raise InterruptedError


@dataclass
class Pair:
    asker: Network
    server: Network
    shelf: Shelf

    async def fetch(self, digest: ContentDigest, sink: Sink, **options: Any) -> int:
        chosen = {"max_bytes": 100 * GROUP_BYTES, **options}
        return await self.asker.fetch_blob(self.server.peer_id, digest, sink=sink.take, **chosen)


@asynccontextmanager
async def connected(lab: Any, **settings: Any) -> AsyncGenerator[Pair, None]:
    async with lab.node(1, **settings) as server, lab.node(2, **settings) as asker:
        shelf = Shelf(allowed={asker.peer_id})
        server.serve_blobs(shelf)
        await asker.connect(server.addresses[0])
        yield Pair(asker, server, shelf)


SIZES = [0, 1, 1024, GROUP_BYTES - 1, GROUP_BYTES, GROUP_BYTES + 1, 3 * GROUP_BYTES, 3 * GROUP_BYTES + 5]


@pytest.mark.parametrize("size", SIZES)
async def test_a_blob_arrives_whole_and_in_pieces_of_a_mib(lab: Any, size: int) -> None:
    data = random.Random(size).randbytes(size)
    async with connected(lab) as pair:
        sink = Sink()
        assert await pair.fetch(pair.shelf.put(data), sink) == size
        assert sink.data == data
        assert sink.largest <= GROUP_BYTES


async def test_large_blobs_are_hashed_beside_the_main_loop(lab: Any) -> None:
    data = random.Random(7).randbytes(2 * GROUP_BYTES + 1)
    async with connected(lab, hash_in_threads=True) as pair:
        sink = Sink()
        await pair.fetch(pair.shelf.put(data), sink)
        assert sink.data == data


@pytest.mark.parametrize("size", SIZES[-4:])
async def test_a_transfer_that_broke_goes_on_where_it_was(lab: Any, size: int) -> None:
    data = random.Random(size).randbytes(size)
    async with connected(lab) as pair:
        digest, sink = pair.shelf.put(data), Sink(stop_after=GROUP_BYTES)
        with pytest.raises(InterruptedError):
            await pair.fetch(digest, sink)
        sink.stop_after = None
        assert await pair.fetch(digest, sink, offset=GROUP_BYTES) == size
        assert sink.data == data


@pytest.mark.parametrize("size", [GROUP_BYTES, 2 * GROUP_BYTES])
async def test_a_transfer_that_was_complete_gives_nothing_more(lab: Any, size: int) -> None:
    data = random.Random(size).randbytes(size)
    async with connected(lab) as pair:
        sink = Sink()
        assert await pair.fetch(pair.shelf.put(data), sink, offset=size) == size
        assert sink.data == b""


async def test_a_blob_that_is_not_for_us_looks_like_one_that_does_not_exist(lab: Any) -> None:
    async with connected(lab) as pair, lab.node(3) as stranger:
        secret = pair.shelf.put(b"secret")
        missing = ContentDigest(bytes(32))
        await stranger.connect(pair.server.addresses[0])
        texts: list[str] = []
        for digest in (secret, missing):
            with pytest.raises(BlobUnavailable) as caught:
                await stranger.fetch_blob(pair.server.peer_id, digest, max_bytes=100, sink=Sink().take)
            texts.append(str(caught.value).replace(digest.hex(), ""))
        assert texts[0] == texts[1]
        sink = Sink()
        await pair.fetch(secret, sink)
        assert sink.data == b"secret"


async def test_a_blob_that_is_shorter_on_disk_than_it_should_be_is_our_fault_and_ends_the_transfer(
    lab: Any, logged: Callable[[str], list[Any]]
) -> None:
    async with connected(lab) as pair:
        digest = pair.shelf.put(bytes(2 * GROUP_BYTES))
        await pair.fetch(digest, Sink())

        @asynccontextmanager
        async def truncated(_digest: ContentDigest, _peer: PeerId) -> AsyncGenerator[Reader, None]:
            yield Truncated(pair.shelf, bytes(GROUP_BYTES))

        pair.shelf.open = truncated  # type: ignore[method-assign]
        with pytest.raises(PeerUnreachable):
            await pair.fetch(digest, Sink())
        (entry,) = logged("network.handler_crashed")
        assert entry["exc_info"]


async def test_a_node_without_a_source_serves_nothing(lab: Any) -> None:
    async with lab.node(1) as one, lab.node(2) as two:
        await two.connect(one.addresses[0])
        with pytest.raises(BlobUnavailable):
            await two.fetch_blob(one.peer_id, ContentDigest(bytes(32)), max_bytes=1, sink=Sink().take)


async def test_a_blob_over_the_limit_is_refused_before_its_first_byte(lab: Any) -> None:
    async with connected(lab) as pair:
        sink = Sink()
        with pytest.raises(MessageTooLarge):
            await pair.fetch(pair.shelf.put(bytes(1001)), sink, max_bytes=1000)
        assert sink.data == b""


@pytest.mark.parametrize("place", [0, GROUP_BYTES - 1, GROUP_BYTES, 2 * GROUP_BYTES + 7, 3 * GROUP_BYTES - 1])
async def test_a_wrong_byte_is_found_in_its_mib_and_never_reaches_the_sink(lab: Any, place: int) -> None:
    data = bytearray(random.Random(1).randbytes(3 * GROUP_BYTES))
    async with connected(lab) as pair:
        digest = pair.shelf.put(bytes(data))
        await pair.fetch(digest, Sink())  # the server now knows the genuine chaining values
        data[place] ^= 0x80
        pair.shelf.blobs[digest] = bytes(data)
        sink = Sink()
        with pytest.raises(BlobCorrupt, match=f"MiB {place // GROUP_BYTES} "):
            await pair.fetch(digest, sink)
        assert sink.data == data[: place // GROUP_BYTES * GROUP_BYTES]


@pytest.mark.parametrize("size", [10, GROUP_BYTES, 2 * GROUP_BYTES])
async def test_another_blob_under_the_same_name_is_refused_at_once(lab: Any, size: int) -> None:
    async with connected(lab) as pair:
        digest = pair.shelf.put(bytes(size))
        pair.shelf.blobs[digest] = b"\1" * size
        sink = Sink()
        with pytest.raises(BlobCorrupt):
            await pair.fetch(digest, sink)
        assert sink.data == b""


@asynccontextmanager
async def lying_server(
    lab: Any, answer: Callable[[bytes, int], bytes]
) -> AsyncGenerator[tuple[Network, PeerId, list[bytes]], None]:
    """A node that is connected to a peer which answers blob requests with whatever `answer` makes."""
    async with lab.node(1) as liar, lab.node(2) as asker:
        requests: list[bytes] = []

        async def serve(stream: Any) -> None:
            request = await stream.read_exactly(40)
            requests.append(request)
            await stream.write(answer(request[:32], int.from_bytes(request[32:])))
            stream.finish()
            await trio.sleep_forever()

        liar._switch.handle(PROTOCOL, serve)
        await asker.connect(liar.addresses[0])
        yield asker, liar.peer_id, requests


def ok(size: int) -> bytes:
    return struct.pack("!BQ", 0, size)


async def test_a_peer_that_understates_the_size_of_a_resumed_blob_is_caught(lab: Any) -> None:
    data = random.Random(3).randbytes(3 * GROUP_BYTES)
    digest = ContentDigest(blake3(data).digest())
    async with lying_server(lab, lambda _digest, _offset: ok(1) + data[:1]) as (asker, liar, _):
        with pytest.raises(BlobCorrupt):
            await asker.fetch_blob(liar, digest, max_bytes=2**30, sink=Sink().take, offset=2 * GROUP_BYTES)


@pytest.mark.parametrize("size", [3 * GROUP_BYTES - 1, 3 * GROUP_BYTES + 1, 4 * GROUP_BYTES])
async def test_a_peer_that_lies_about_the_size_is_caught(lab: Any, size: int) -> None:
    data = random.Random(3).randbytes(3 * GROUP_BYTES)
    padded = data + bytes(GROUP_BYTES)
    digest = ContentDigest(blake3(data).digest())
    cvs = [group_cv(data[at : at + GROUP_BYTES], at // GROUP_BYTES) for at in range(0, len(data), GROUP_BYTES)]
    claimed = b"".join(cvs) + (bytes(32) if size > len(data) else b"")
    async with lying_server(lab, lambda _digest, _offset: ok(size) + claimed + padded[:size]) as (asker, liar, _):
        sink = Sink()
        with pytest.raises(BlobCorrupt):
            await asker.fetch_blob(liar, digest, max_bytes=2**30, sink=sink.take)
        assert data.startswith(bytes(sink.data))
        assert len(sink.data) <= 2 * GROUP_BYTES


async def test_a_transfer_that_ends_early_is_a_broken_connection(lab: Any) -> None:
    data = random.Random(3).randbytes(1000)
    digest = ContentDigest(blake3(data).digest())
    async with lying_server(lab, lambda _digest, _offset: ok(1000) + data[:999]) as (asker, liar, _):
        with pytest.raises(PeerUnreachable):
            await asker.fetch_blob(liar, digest, max_bytes=2**30, sink=Sink().take)


async def test_a_server_that_stalls_is_given_up(lab: Any, autojump_clock: MockClock) -> None:
    async with lab.node(1) as liar, lab.node(2) as asker:

        async def stall(stream: Any) -> None:
            await stream.read_exactly(40)
            await stream.write(ok(1000) + b"x")
            await trio.sleep_forever()

        liar._switch.handle(PROTOCOL, stall)
        await asker.connect(liar.addresses[0])
        start = trio.current_time()
        with pytest.raises(PeerTimeout):
            await asker.fetch_blob(liar.peer_id, ContentDigest(bytes(32)), max_bytes=2**30, sink=Sink().take)
        assert trio.current_time() - start == pytest.approx(STALL_TIMEOUT_S, abs=1)


async def test_an_asker_that_does_not_read_is_given_up_and_its_blob_closed(lab: Any, autojump_clock: MockClock) -> None:
    async with connected(lab) as pair, lab.attacker(pair.server) as attacker:
        (peer,) = {info.peer for info in pair.server.peers()} - {pair.asker.peer_id}
        pair.shelf.allowed.add(peer)
        digest = pair.shelf.put(bytes(4 * GROUP_BYTES))
        stream = await attacker.open(PROTOCOL)
        await stream.write(struct.pack("!32sQ", digest, 0))
        await trio.sleep(1)
        assert pair.shelf.open_now == 1
        await trio.sleep(STALL_TIMEOUT_S)
        assert pair.shelf.open_now == 0


async def test_blobs_served_at_once_are_bounded(lab: Any, autojump_clock: MockClock) -> None:
    async with connected(lab, max_blob_streams_per_peer=2) as pair, lab.attacker(pair.server) as attacker:
        (peer,) = {info.peer for info in pair.server.peers()} - {pair.asker.peer_id}
        pair.shelf.allowed.add(peer)
        digest = pair.shelf.put(bytes(GROUP_BYTES))
        for _ in range(2):
            await (await attacker.open(PROTOCOL)).write(struct.pack("!32sQ", digest, 0))
        await trio.sleep(1)
        third = await attacker.open(PROTOCOL)
        await third.write(struct.pack("!32sQ", digest, 0))
        assert await third.read() == struct.pack("!BQ", 2, 0)
        await pair.fetch(digest, Sink())  # another peer has places of its own
        assert pair.shelf.open_now == 2


async def test_a_peer_that_is_busy_is_a_typed_error(lab: Any) -> None:
    async with lying_server(lab, lambda _digest, _offset: struct.pack("!BQ", 2, 0)) as (asker, liar, _):
        with pytest.raises(PeerBusy):
            await asker.fetch_blob(liar, ContentDigest(bytes(32)), max_bytes=1, sink=Sink().take)


@pytest.mark.parametrize("offset", [0, GROUP_BYTES, 2**64 - 1])
async def test_any_offset_from_a_peer_is_answered_within_the_blob(lab: Any, offset: int) -> None:
    async with connected(lab) as pair, lab.attacker(pair.server) as attacker:
        (peer,) = {info.peer for info in pair.server.peers()} - {pair.asker.peer_id}
        pair.shelf.allowed.add(peer)
        digest = pair.shelf.put(b"small")
        stream = await attacker.open(PROTOCOL)
        await stream.write(struct.pack("!32sQ", digest, offset))
        answer = b""
        while chunk := await stream.read():
            answer += chunk
        assert answer == ok(5) + b"small"
