# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportUnknownVariableType=false
"""A laboratory: nodes on memory streams, and peers that speak the wire protocols without keeping to them."""

import random
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog
import trio

from node.networking.addresses import parse_peer_address
from node.networking.directory import Directory
from node.networking.discovery import Discovery, DiscoverySettings, open_discovery
from node.networking.libp2p.negotiation import propose
from node.networking.libp2p.secure import Identity, secure
from node.networking.libp2p.yamux import MuxedConnection, MuxedStream
from node.networking.memory import MemoryNetwork, MemoryTransport
from node.networking.network import Network, open_network
from node.networking.peers.stored import PeerStore
from node.networking.relay.keeping import open_relaying
from node.networking.settings import NetworkSettings
from protocol.identity import Address, PeerId
from protocol.node_record import NodeAnnouncement, NodeBody, announce_node, host_public_key
from protocol.signing.ecdsa import address_of
from protocol.signing.eip712 import Domain

WALL_CLOCK = 1_800_000_000.0
DOMAIN = Domain(chain_id=31337, verifying_contract=Address(b"\x11" * 20))


@dataclass
class Attacker:
    """A peer below the level of services: an authenticated connection, and whatever one wants to write on it."""

    mux: MuxedConnection
    wire: Any
    inbound: list[MuxedStream] = field(default_factory=list[MuxedStream])
    ended: trio.Event = field(default_factory=trio.Event)

    async def open(self, protocol: str) -> MuxedStream:
        stream = self.mux.open_stream()
        await propose(stream, [protocol])
        return stream


@dataclass
class Member:
    """A node that takes part in discovery."""

    network: Network
    directory: Directory
    discovery: Discovery
    wallet: Address

    @property
    def chosen(self) -> frozenset[PeerId]:
        """Who holds a slot."""
        return frozenset(self.discovery.outbound.chosen)


@dataclass
class Lab:
    memory: MemoryNetwork = field(default_factory=MemoryNetwork)
    now: float = WALL_CLOCK
    started_at: float = 0.0

    @asynccontextmanager
    async def node(self, number: int, *, chance: int = 0, **settings: Any) -> AsyncGenerator[Network, None]:
        """A node whose host key is made of `number`, on a memory transport of its own."""
        host: str | None = settings.pop("host", None)
        listen = "/memory/0" if host is None else f"/ip4/{host}/tcp/4600"
        options: dict[str, Any] = {"listen": (listen,), "hash_in_threads": False, **settings}
        chosen = NetworkSettings(**options)
        transport = MemoryTransport(self.memory, host)
        async with open_network(
            chosen,
            host_key(number),
            clock=self.wall,
            random=random.Random(f"{number} {chance}"),
            transport=transport,
        ) as network:
            yield network

    def wall(self) -> float:
        return self.now + trio.current_time() - self.started_at

    @asynccontextmanager
    async def member(
        self,
        number: int,
        *bootstrap: str,
        target: int = 8,
        chance: int = 0,
        store: PeerStore | None = None,
        **settings: Any,
    ) -> AsyncGenerator[Member, None]:
        """A node that looks for others, with the wallet `number`."""
        key = number.to_bytes(32)
        async with self.node(number, chance=chance, **settings) as network:

            def own() -> NodeAnnouncement:
                return announce_node(
                    key,
                    DOMAIN,
                    wallet=address_of(key),
                    host_key=host_public_key(network.peer_id),
                    body=NodeBody(addresses=network.record_addresses),
                    sequence=int(self.wall() * 1000),
                    expires=int(self.wall()) + 3600,
                )

            directory = Directory(DOMAIN, self.wall)
            async with open_discovery(
                network,
                directory,
                DiscoverySettings(bootstrap=bootstrap, target_peers=target),
                own=own,
                random=random.Random(f"{number} {chance}"),
                store=store,
                clock=self.wall,
            ) as discovery:
                chance_of_relays = random.Random(f"{number} {chance} relays")
                async with open_relaying(network, random=chance_of_relays, changed=discovery.renew):
                    yield Member(network, directory, discovery, address_of(key))

    @asynccontextmanager
    async def attacker(
        self, victim: Network, number: int = 200, *, key: bytes = b"", host: str | None = None
    ) -> AsyncGenerator[Attacker, None]:
        """An authenticated connection to `victim` that runs nothing but the muxer."""
        stream, _ = await MemoryTransport(self.memory, host).dial(parse_peer_address(victim.addresses[0]))
        identity = Identity(key or host_key(number))
        _, wire = await secure(stream, identity, is_dialler=True, expected=victim.peer_id)
        attacker = Attacker(MuxedConnection(wire, is_dialler=True), wire)

        async def run() -> None:
            await attacker.mux.run(attacker.inbound.append)
            attacker.ended.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            yield attacker
            nursery.cancel_scope.cancel()
        await stream.aclose()

    async def dial_raw(self, victim: Network) -> trio.abc.Stream:
        """A connection on which nothing was said."""
        stream, _ = await MemoryTransport(self.memory).dial(parse_peer_address(victim.addresses[0]))
        return stream


def host_key(number: int) -> bytes:
    return bytes([number]) * 32


@pytest.fixture
async def lab() -> Lab:
    return Lab(started_at=trio.current_time())


@pytest.fixture
def logged() -> Iterator[Callable[[str], list[Any]]]:
    """What was logged under an event name since the test began."""
    with structlog.testing.capture_logs() as entries:
        yield lambda event: [entry for entry in entries if entry["event"] == event]


@pytest.fixture
def eventually() -> Callable[..., Any]:
    """Wait until something holds, at most five seconds of trio's clock."""

    async def wait(condition: Callable[[], object]) -> None:
        with trio.fail_after(5):
            while not condition():
                await trio.sleep(0.01)

    return wait
