# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportUnknownVariableType=false
"""Our muxer, negotiation and switch against the unchanged host, swarm and muxer of py-libp2p."""

import logging
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.host.ping import PingService
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pubsub import Pubsub
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

from node.networking.network import Network, open_network
from node.networking.settings import NetworkSettings
from node.networking.verdict import Verdict

TOPIC = "stoa/test"


@asynccontextmanager
async def ours() -> AsyncGenerator[Network, None]:
    async with open_network(NetworkSettings(), b"\x01" * 32, clock=lambda: 1.8e9, random=random.Random(1)) as network:
        yield network


@asynccontextmanager
async def stock_host() -> AsyncGenerator[Any, None]:
    logging.getLogger("libp2p").setLevel(logging.CRITICAL)
    host = new_host(key_pair=create_new_key_pair(b"\x02" * 32))
    async with host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        yield host
        await host.close()


async def test_a_stock_host_pings_us_and_we_end_what_it_opens() -> None:
    async with ours() as network, stock_host() as host:
        await host.connect(info_from_p2p_addr(Multiaddr(network.addresses[0])))
        with trio.fail_after(60):
            times = await PingService(host).ping(info_from_p2p_addr(Multiaddr(network.addresses[0])).peer_id, 3)
        assert len(times) == 3
        assert [info.peer for info in network.peers()] == [str(host.get_id())]


async def test_large_streams_pass_both_ways_between_our_muxer_and_the_stock_one() -> None:
    data = random.Random(5).randbytes(3_000_000)
    async with ours() as network, stock_host() as host:

        async def echo(stream: Any) -> None:
            received = b""
            while len(received) < len(data):
                received += await stream.read(65536)
            await stream.write(received)
            await stream.close()

        host.set_stream_handler(TProtocol("/echo/1"), echo)
        peer = await network.connect(str(host.get_addrs()[0]))
        stream = await network._switch.open_stream(peer, ["/echo/1"])
        with trio.fail_after(30):
            await stream.write(data)
            assert await stream.read_exactly(len(data)) == data


async def test_gossip_passes_both_ways_between_our_router_and_the_stock_one() -> None:
    async with ours() as network, stock_host() as host:
        router = GossipSub([TProtocol("/meshsub/1.1.0")], 6, 4, 12, heartbeat_interval=1, heartbeat_initial_delay=0.1)
        pubsub = Pubsub(host, router)
        got: list[bytes] = []
        network.subscribe(
            TOPIC, validate=lambda _author, _data: Verdict.ACCEPT, deliver=lambda _author, data: got.append(data)
        )
        async with background_trio_service(pubsub), background_trio_service(router):
            await pubsub.wait_until_ready()
            subscription = await pubsub.subscribe(TOPIC)
            await network.connect(str(host.get_addrs()[0]))
            with trio.fail_after(60):
                while not any(info.topics for info in network.peers()):
                    await trio.sleep(0.05)
                await network.publish(TOPIC, b"from us")
                assert (await subscription.get()).data == b"from us"
                await pubsub.publish(TOPIC, b"from them")
                while b"from them" not in got:
                    await trio.sleep(0.05)
