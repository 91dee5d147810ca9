"""Speed of gossip between two unchanged hosts of py-libp2p 0.8.1. See gossip.py.

It must not import anything of node.networking, which replaces parts of the library when it is imported.
"""

import logging
import statistics
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio
from libp2p import new_host
from libp2p.abc import IHost
from libp2p.custom_types import TProtocol
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pubsub import Pubsub
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

TOPIC = "stoa/benchmark"
MESSAGE = bytes(300)
MESSAGES = 1500
IN_FLIGHT = 16

Publish = Callable[[bytes], Awaitable[None]]
Receive = Callable[[], Awaitable[object]]


async def measure_gossip(publish: Publish, receive: Receive) -> None:
    """Print latency and throughput of one topic between two nodes."""
    latencies: list[float] = []
    for _ in range(200):
        start = time.perf_counter()
        await publish(MESSAGE)
        await receive()
        latencies.append((time.perf_counter() - start) * 1000)
    window = trio.Semaphore(IN_FLIGHT)
    start = time.perf_counter()

    async def send() -> None:
        for _ in range(MESSAGES):
            await window.acquire()
            await publish(MESSAGE)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        for _ in range(MESSAGES):
            await receive()
            window.release()
    rate = MESSAGES / (time.perf_counter() - start)
    print(f"gossip    {statistics.median(latencies):7.2f} ms   {rate:7.0f} messages/s")


async def stock() -> None:
    """Measure gossip between two hosts of py-libp2p as it comes, with the one setting without which it is idle."""

    @asynccontextmanager
    async def host() -> AsyncGenerator[tuple[IHost, Pubsub], None]:
        made = new_host()
        async with made.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]):
            meshsub = [TProtocol("/meshsub/1.1.0")]
            router = GossipSub(meshsub, 6, 4, 12, heartbeat_interval=1, spam_protection_enabled=False)
            pubsub = Pubsub(made, router)
            async with background_trio_service(pubsub), background_trio_service(router):
                await pubsub.wait_until_ready()
                yield made, pubsub
                await made.close()

    async with host() as (first, one), host() as (second, two):
        await one.subscribe(TOPIC)
        subscription = await two.subscribe(TOPIC)
        await second.connect(info_from_p2p_addr(first.get_addrs()[0]))
        await trio.sleep(3)
        await measure_gossip(lambda data: one.publish(TOPIC, data), subscription.get)


if __name__ == "__main__":
    logging.disable(logging.ERROR)
    trio.run(stock)
