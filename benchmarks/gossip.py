"""Speed of the network on this machine: two nodes over loopback TCP, in one process on one core.

PYTHONPATH=. python benchmarks/gossip.py          ours: gossip, requests, blobs
PYTHONPATH=. python benchmarks/gossip_stock.py     gossip of the unchanged py-libp2p 0.8.1, for comparison

Latencies are medians in milliseconds, one message at a time. Throughput is messages sent as fast as they are delivered,
so it counts the work of both nodes: signing, encrypting, checking, validating.
"""

import logging
import random
import statistics
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import structlog
import trio
from blake3 import blake3
from gossip_stock import MESSAGE, MESSAGES, TOPIC, measure_gossip

from node.networking.limits import Rate
from node.networking.network import Network, open_network
from node.networking.settings import NetworkSettings
from node.networking.verdict import Verdict
from protocol.identity import ContentDigest, PeerId

REQUESTS = 1000
BLOB_BYTES = 64 * 1024 * 1024
FAST = Rate(per_s=1e6, burst=1e6)


@asynccontextmanager
async def node(number: int) -> AsyncGenerator[Network, None]:
    """Open a node without the limits that this benchmark would meet."""
    settings = NetworkSettings(gossip_rate=FAST, author_rate=FAST, request_rate=FAST)
    async with open_network(settings, bytes([number]) * 32, clock=time.time, random=random.Random()) as network:
        yield network


async def ours() -> None:
    """Measure our network."""
    async with node(1) as one, node(2) as two:
        arrived_send, arrived = trio.open_memory_channel[bytes](MESSAGES)

        def deliver(_author: PeerId, data: bytes) -> None:
            arrived_send.send_nowait(data)

        for network in (one, two):
            network.subscribe(TOPIC, validate=lambda _author, _data: Verdict.ACCEPT, deliver=deliver)
        await two.connect(one.addresses[0])
        await trio.sleep(2)
        await measure_gossip(lambda data: one.publish(TOPIC, data), arrived.receive)
        await measure_requests(one, two)
        await measure_blob(one, two)


async def measure_requests(server: Network, caller: Network) -> None:
    """Print the round trip of a small request."""

    async def echo(_peer: PeerId, body: bytes) -> bytes:
        return body

    server.serve("echo", echo, max_request=1000)
    latencies: list[float] = []
    for _ in range(REQUESTS):
        start = time.perf_counter()
        await caller.call(server.peer_id, "echo", MESSAGE)
        latencies.append((time.perf_counter() - start) * 1000)
    print(f"request   {statistics.median(latencies):7.2f} ms")


class OneBlob:
    """A source and reader of a single blob."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)

    @asynccontextmanager
    async def open(self, digest: ContentDigest, peer: PeerId) -> "AsyncGenerator[OneBlob, None]":
        """Open it, for anybody."""
        del digest, peer
        yield self

    async def read_at(self, offset: int, length: int) -> bytes:
        """Read it."""
        return self.data[offset : offset + length]


async def measure_blob(server: Network, asker: Network) -> None:
    """Print the speed of a blob: hashed at the server first, then with the chaining values at hand."""
    data = random.Random(1).randbytes(BLOB_BYTES)
    server.serve_blobs(OneBlob(data))

    async def sink(_piece: bytes) -> None:
        pass

    for name in ("first", "again"):
        start = time.perf_counter()
        digest = ContentDigest(blake3(data).digest())
        await asker.fetch_blob(server.peer_id, digest, max_bytes=BLOB_BYTES, sink=sink)
        print(f"blob      {BLOB_BYTES / 1e6 / (time.perf_counter() - start):7.1f} MB/s {name}")


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    logging.disable(logging.ERROR)
    trio.run(ours)
