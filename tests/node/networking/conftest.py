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
from node.networking.libp2p.negotiation import propose
from node.networking.libp2p.secure import Identity, secure
from node.networking.libp2p.yamux import MuxedConnection, MuxedStream
from node.networking.memory import MemoryNetwork, MemoryTransport
from node.networking.network import Network, open_network
from node.networking.settings import NetworkSettings

WALL_CLOCK = 1_800_000_000.0


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
class Lab:
    memory: MemoryNetwork = field(default_factory=MemoryNetwork)
    now: float = WALL_CLOCK

    @asynccontextmanager
    async def node(self, number: int, *, chance: int = 0, **settings: Any) -> AsyncGenerator[Network, None]:
        """A node whose host key is made of `number`, on a memory transport of its own."""
        options: dict[str, Any] = {"listen": ("/memory/0",), "hash_in_threads": False, **settings}
        chosen = NetworkSettings(**options)
        transport = MemoryTransport(self.memory)
        async with open_network(
            chosen,
            host_key(number),
            clock=lambda: self.now,
            random=random.Random(f"{number} {chance}"),
            transport=transport,
        ) as network:
            yield network

    @asynccontextmanager
    async def attacker(self, victim: Network, number: int = 200) -> AsyncGenerator[Attacker, None]:
        """An authenticated connection to `victim` that runs nothing but the muxer."""
        stream = await self.dial_raw(victim)
        _, wire = await secure(stream, Identity(host_key(number)), is_dialler=True, expected=victim.peer_id)
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
def lab() -> Lab:
    return Lab()


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
