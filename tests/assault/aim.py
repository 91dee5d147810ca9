"""What every attacker starts from: whom it aims at, addresses and keys without number, and lines into the node.

Nothing here keeps to any rule that it is not made to keep: `Line` hands out the secured wire itself, so that an attack
writes whatever bytes it likes at whatever layer it likes.
"""

import random
import struct
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import trio

from node.networking.errors import PeerMisbehaved
from node.networking.libp2p.negotiation import NegotiationFailed, propose
from node.networking.libp2p.secure import HandshakeFailed, Identity, secure
from node.networking.libp2p.yamux import MuxedConnection, MuxedStream, MuxError, StreamReset
from protocol.identity import Address, PeerId
from protocol.signing.eip712 import Domain
from protocol.wire.topics import MarketTopic, topic_name

DIAL_TIMEOUT_S: Final = 5.0
REFUSED_PAUSE_S: Final = 0.02
"""An attacker that is refused is back at once; but a loop that only spins takes its core from those that get in."""
SOURCES: Final = 200
"""Addresses of 127.0.0.0/8 that one attacker comes from."""
EXPECTED: Final = (
    OSError,
    HandshakeFailed,
    NegotiationFailed,
    MuxError,
    StreamReset,
    PeerMisbehaved,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    trio.TooSlowError,
)
"""How a node defends itself, as seen from here."""
HEADER: Final = struct.Struct("!BBHII")
"""Of a Yamux frame: version, type, flags, stream, length."""
DATA, WINDOW, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8


@dataclass(slots=True)
class Line:
    """An authenticated connection: its wire, the muxer over it if it runs, and what the node opened on it."""

    identity: Identity
    wire: Any
    mux: MuxedConnection
    inbound: list[MuxedStream] = field(default_factory=list[MuxedStream])

    async def open(self, protocol: str) -> MuxedStream:
        """Open a stream for a protocol."""
        stream = self.mux.open_stream()
        with trio.fail_after(DIAL_TIMEOUT_S):
            await propose(stream, [protocol])
        return stream


@dataclass(slots=True)
class Aim:
    """The node under attack, and what one attacker brings.

    Attributes:
        host: Its IP address.
        port: Its libp2p port.
        peer: Its peer id.
        domain: The market's.
        door: Port of its metrics.
        seed: Makes the attacker's keys, addresses and garbage.
    """

    host: str
    port: int
    peer: PeerId
    domain: Domain
    door: int
    seed: str
    done: Counter[str] = field(default_factory=Counter[str])
    chance: random.Random = field(default_factory=random.Random)
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        pick = self.chance.randint
        self.sources = tuple(f"127.{pick(1, 254)}.{pick(0, 255)}.{pick(1, 254)}" for _ in range(SOURCES))

    def identity(self) -> Identity:
        """A new key: they cost nothing."""
        return Identity(self.chance.randbytes(32))

    def topic(self, topic: MarketTopic) -> str:
        """Name a topic of the market."""
        return topic_name(self.domain, topic)

    @asynccontextmanager
    async def dial(self, *, port: int | None = None) -> AsyncGenerator[trio.SocketStream]:
        """Connect, from one of many addresses."""
        with trio.fail_after(DIAL_TIMEOUT_S):
            stream = await trio.open_tcp_stream(
                self.host, self.port if port is None else port, local_address=self.chance.choice(self.sources)
            )
        self.done["connections"] += 1
        try:
            yield stream
        finally:
            await trio.aclose_forcefully(stream)

    @asynccontextmanager
    async def secured(self, identity: Identity | None = None) -> AsyncGenerator[Line]:
        """Pass the handshake; nothing runs on the line, not even a reader."""
        async with self.dial() as stream:
            who = identity or self.identity()
            with trio.fail_after(2 * DIAL_TIMEOUT_S):
                _, wire = await secure(stream, who, is_dialler=True, expected=self.peer)
            self.done["handshakes"] += 1
            yield Line(who, wire, MuxedConnection(wire, is_dialler=True))

    @asynccontextmanager
    async def muxed(self, identity: Identity | None = None) -> AsyncGenerator[Line]:
        """Pass the handshake, and run the muxer as an honest peer does."""
        async with self.secured(identity) as line, trio.open_nursery() as nursery:

            async def run() -> None:
                with suppress(*EXPECTED):
                    await line.mux.run(line.inbound.append)
                nursery.cancel_scope.cancel()

            nursery.start_soon(run)
            yield line
            nursery.cancel_scope.cancel()

    async def again_and_again(self, attempt: Callable[[], Awaitable[None]], *, workers: int = 4) -> None:
        """Run `attempt` in so many workers without end, whatever the node does about it."""

        async def work() -> None:
            while True:
                try:
                    await attempt()
                except* EXPECTED:
                    self.done["refused"] += 1
                    await trio.sleep(REFUSED_PAUSE_S)
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            for _ in range(workers):
                nursery.start_soon(work)


async def drain(wire: Any) -> None:
    """Read and forget what the node sends, so that it never waits for us; return at the end."""
    with suppress(*EXPECTED):
        while await wire.read():
            pass


@asynccontextmanager
async def drained(line: Line) -> AsyncGenerator[Line]:
    """Read and forget all that comes on a line, while its wire is written by hand."""
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            await drain(line.wire)
            nursery.cancel_scope.cancel()

        nursery.start_soon(run)
        yield line
        nursery.cancel_scope.cancel()


def frame(kind: int, flags: int, stream: int, length: int, body: bytes = b"") -> bytes:
    """Return the bytes of a Yamux frame, sound or not."""
    return HEADER.pack(0, kind, flags, stream, length) + body


def make_aim(host: str, port: int, peer: str, chain_id: int, contract: str, door: int, seed: str) -> Aim:
    """Return an aim from what a command line carries."""
    domain = Domain(chain_id=chain_id, verifying_contract=Address(bytes.fromhex(contract)))
    return Aim(host, port, PeerId(peer), domain, door, seed)
