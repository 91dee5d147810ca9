"""Our network, told what to do by lines of JSON: the same commands as `js.mjs`, so that the two compare.

The limits that a benchmark alone would meet are lifted: the rates at which one peer may gossip, ask and open streams.
"""

import json
import logging
import random
import struct
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog
import trio
from blake3 import blake3

import node.networking.libp2p.connection as connection_module
from node.networking.libp2p.connection import ProtocolStream
from node.networking.libp2p.switch import Switch
from node.networking.limits import Rate
from node.networking.network import Network, open_network
from node.networking.settings import NetworkSettings
from node.networking.streams import StreamClosed
from node.networking.verdict import Verdict
from protocol.identity import ContentDigest, PeerId
from protocol.units import UnixTime

ECHO: Final = "/benchmark/echo/1"
BYTES: Final = "/benchmark/bytes/1"
TOPIC: Final = "benchmark/messages"
ACKS: Final = "benchmark/acks"
PIECE: Final = bytes([7]) * 65536
FAST: Final = Rate(per_s=1e6, burst=1e6)
LATER: Final = UnixTime(2**40)
"""When a blob may be forgotten."""


class OneBlob:
    """The pieces of all blobs that are asked for: the bytes that a seed gives."""

    def __init__(self) -> None:
        self._blobs: dict[ContentDigest, bytes] = {}
        self._data, self.size = b"", 0

    def add(self, seed: int, size: int) -> ContentDigest:
        """Make a blob and return its digest."""
        data = random.Random(seed).randbytes(size)
        digest = ContentDigest(blake3(data).digest())
        self._blobs[digest] = data
        return digest

    @asynccontextmanager
    async def open(self, digest: ContentDigest, peer: PeerId) -> "AsyncGenerator[OneBlob]":
        """Open one, for anybody."""
        del peer
        opened = OneBlob()
        opened._data = self._blobs[digest]
        opened.size = len(opened._data)
        yield opened

    async def read_at(self, offset: int, length: int) -> bytes:
        """Read from it."""
        return self._data[offset : offset + length]


class Peer:
    """One process of the comparison."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._switch: Switch = network._switch  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - below our own protocols
        self._other = PeerId("")
        self._every = 1
        self._heard: list[float] = []
        self._acknowledged = 0
        self._wake = trio.Event()
        self._blobs = OneBlob()
        self._switch.handle(ECHO, self._echo)
        self._switch.handle(BYTES, self._send_bytes)
        network.serve("echo", self._answer, max_request=1 << 20)
        network.serve_blobs(self._blobs)

    # What a peer asks

    async def _answer(self, _peer: PeerId, body: bytes) -> bytes:
        return body

    async def _echo(self, stream: ProtocolStream) -> None:
        try:
            while True:
                head = await stream.read_exactly(4)
                await stream.write(head + await stream.read_exactly(int.from_bytes(head)))
        except StreamClosed:
            pass

    async def _send_bytes(self, stream: ProtocolStream) -> None:
        left = int.from_bytes(await stream.read_exactly(8))
        while left:
            size = min(left, len(PIECE))
            await stream.write(PIECE[:size])
            left -= size

    async def _hear(self, _author: PeerId, data: bytes) -> None:
        self._heard.append((time.monotonic_ns() - int.from_bytes(data[:8])) / 1e6)
        if len(self._heard) % self._every == 0:
            await self._network.publish(ACKS, struct.pack("!II", len(self._heard), 0))

    def _take_ack(self, _author: PeerId, data: bytes) -> None:
        self._acknowledged = int.from_bytes(data[:4])
        self._wake.set()

    # What we are told to do

    async def connect(self, address: str) -> None:
        """Dial the other process."""
        self._other = await self._network.connect(address)

    async def subscribe(self) -> None:
        """Take part in both topics."""
        accept = lambda _author, _data: Verdict.ACCEPT  # noqa: E731 # pyright: ignore[reportUnknownLambdaType, reportUnknownVariableType]
        self._network.subscribe(TOPIC, validate=accept, deliver=self._hear)  # pyright: ignore[reportUnknownArgumentType]
        self._network.subscribe(ACKS, validate=accept, deliver=self._take_ack)  # pyright: ignore[reportUnknownArgumentType]

    async def mesh(self) -> bool:
        """Return whether messages go directly between the two."""
        return any(set(peer.topics) >= {TOPIC, ACKS} for peer in self._network.peers())

    async def expect(self, every: int) -> None:
        """Forget what was heard, and acknowledge every so many-th message from now on."""
        self._every, self._heard = every, []

    async def heard(self) -> list[float]:
        """Return how long each message took, milliseconds."""
        return self._heard

    async def gossip(self, count: int, size: int, window: int) -> float:
        """Publish messages, `window` at most without acknowledgement; return the seconds until the last was."""
        self._acknowledged = 0
        started = time.monotonic()
        for sent in range(count):
            await self._until(sent - window + 1)
            await self._network.publish(TOPIC, struct.pack("!Q", time.monotonic_ns()) + bytes(size - 8))
        await self._until(count)
        return time.monotonic() - started

    async def _until(self, acknowledged: int) -> None:
        while self._acknowledged < acknowledged:
            self._wake = trio.Event()
            await self._wake.wait()

    async def calls(self, count: int, size: int) -> list[float]:
        """Return how long requests of our own protocol took, milliseconds."""
        body, taken = bytes(size), list[float]()
        for _ in range(count):
            started = time.monotonic()
            await self._network.call(self._other, "echo", body)
            taken.append((time.monotonic() - started) * 1e3)
        return taken

    async def requests(self, count: int, size: int, *, fresh: bool) -> list[float]:
        """Return how long echoes took, milliseconds, each on a stream of its own or all on one."""
        message, taken = size.to_bytes(4) + bytes(size), list[float]()
        stream = None
        for _ in range(count):
            started = time.monotonic()
            if stream is None or fresh:
                stream = await self._switch.open_stream(self._other, [ECHO])
            await stream.write(message)
            await stream.read_exactly(len(message))
            taken.append((time.monotonic() - started) * 1e3)
            if fresh:
                stream.finish()
        return taken

    async def bytes(self, size: int, streams: int) -> float:
        """Fetch so many bytes on each stream, unchecked; return the seconds."""

        async def fetch() -> None:
            stream = await self._switch.open_stream(self._other, [BYTES])
            await stream.write(size.to_bytes(8))
            got = 0
            while got < size:
                got += len(await stream.read(1 << 20))
            stream.finish()

        started = time.monotonic()
        async with trio.open_nursery() as nursery:
            for _ in range(streams):
                nursery.start_soon(fetch)
        return time.monotonic() - started

    async def hold(self, seeds: list[int], size: int) -> list[str]:
        """Make blobs and return their digests."""
        return [self._blobs.add(seed, size).hex() for seed in seeds]

    async def blobs(self, digests: list[str], size: int) -> float:
        """Fetch blobs at once, each checked against its digest; return the seconds."""

        async def sink(_piece: bytes) -> None:
            pass

        async def fetch(digest: str) -> None:
            wanted = ContentDigest(bytes.fromhex(digest))
            assert await self._network.fetch_blob(self._other, wanted, max_bytes=size, sink=sink) == size

        started = time.monotonic()
        async with trio.open_nursery() as nursery:
            for digest in digests:
                nursery.start_soon(fetch, digest)
        return time.monotonic() - started

    async def cpu(self) -> float:
        """Return the CPU time of this process, seconds."""
        return time.process_time()


async def main() -> None:
    """Obey until the input ends."""
    connection_module.STREAM_RATE = FAST  # pyright: ignore[reportPrivateImportUsage, reportConstantRedefinition]
    settings = NetworkSettings(gossip_rate=FAST, author_rate=FAST, request_rate=FAST)
    async with open_network(
        settings, random.SystemRandom().randbytes(32), clock=time.time, random=random.Random()
    ) as network:
        peer = Peer(network)
        print(json.dumps({"ok": {"address": network.addresses[0]}}), flush=True)
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            order: dict[str, Any] = json.loads(line)
            command: Callable[..., Awaitable[Any]] = getattr(peer, order.pop("command"))
            print(json.dumps({"ok": await command(**order)}), flush=True)


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    logging.disable(logging.ERROR)
    trio.run(main)
