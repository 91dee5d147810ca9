"""Connections: accepting, dialling, securing, counting and ending them; and the streams on them.

This replaces the swarm and the basic host of py-libp2p 0.8.1 (docs/adr/0302), in which
- an exception of any stream handler, or of a negotiation, cancels every connection of the host;
- each inbound connection holds its place until the host ends, so the 251st in a node's life is refused;
- handlers go on after their connection has ended, and a connection can stay listed that has ended;
- only the first address of a peer is dialled, and a peer that accepts and then says nothing holds the dialler 120 s;
- leaving the host leaks its sockets.

Here a connection is one task that owns everything of it: the stream below, the muxer, the handlers. When the task ends,
for whatever reason, all of it ends. tests/node/networking/test_networking_switch.py provokes each of the above.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Network, ip_address
from typing import Final, TypeAlias

import structlog
import trio

from node.networking.addresses import PeerAddress
from node.networking.errors import PeerUnreachable
from node.networking.libp2p.negotiation import NegotiationFailed, propose, respond
from node.networking.libp2p.secure import HandshakeFailed, Identity, secure
from node.networking.libp2p.yamux import MuxedConnection, MuxedStream, MuxError, StreamReset
from node.networking.limits import Conduct, Rate, TokenBucket
from node.networking.settings import NetworkSettings
from node.networking.transport import Transport
from protocol.errors import ProtocolError
from protocol.identity import PeerId

log = structlog.get_logger(__name__)

DIAL_TIMEOUT_S: Final = 10.0
"""For all of it: name resolution, TCP, Noise, Yamux."""
DIAL_STAGGER_S: Final = 0.3
"""After this the next address of a peer is tried beside the first (happy eyeballs)."""
HANDSHAKE_TIMEOUT_S: Final = 10.0
NEGOTIATION_TIMEOUT_S: Final = 10.0
LINGER_S: Final = 15.0
"""How long a stream that we have finished waits for the peer to finish it too."""
MAX_ADDRESSES_DIALLED: Final = 8
STREAM_RATE: Final = Rate(per_s=50, burst=300)
"""Streams that a peer may open: the services of this node use long-lived ones."""
DIAL_RESERVE: Final = 8
"""One part in so many of `max_connections` is kept for dialling, so that a full node can still choose whom it knows."""


def host_group(host: str) -> str:
    """Return what counts as one machine: an IPv4 address, or the /64 that any IPv6 customer has for himself."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv4Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Network((int(address) >> 64 << 64, 64)))


class ProtocolStream:
    """A stream on which both sides have agreed what to speak."""

    def __init__(self, stream: MuxedStream, connection: "Connection", protocol: str) -> None:
        self._stream = stream
        self.connection = connection
        self._protocol = protocol

    @property
    def peer(self) -> PeerId:
        """Who is at the other end; proved by the handshake."""
        return self.connection.peer

    @property
    def protocol(self) -> str:
        """What both sides have agreed to speak."""
        return self._protocol

    async def read(self, limit: int = 64 * 1024) -> bytes:
        """Return 1 to `limit` bytes, or none when the peer has finished. Raises `StreamReset`."""
        return await self._stream.read(limit)

    async def read_exactly(self, size: int) -> bytes:
        """Return exactly `size` bytes. Raises `StreamReset`, also if the peer finishes before."""
        data = bytearray()
        while len(data) < size:
            chunk = await self._stream.read(size - len(data))
            if not chunk:
                raise StreamReset(f"the peer finished after {len(data)} of {size} bytes")
            data += chunk
        return bytes(data)

    async def write(self, data: bytes | memoryview) -> None:
        """Queue `data`, at the pace of the reader. Raises `StreamReset`. If cancelled, reset the stream."""
        await self._stream.write(data)

    def finish(self) -> None:
        """Say that we write no more."""
        self._stream.finish()

    def reset(self) -> None:
        """Drop the stream, now."""
        self._stream.reset()


class Connection:
    """An authenticated connection to a peer, while it lasts."""

    def __init__(self, peer: PeerId, mux: MuxedConnection, *, host: str, is_dialler: bool) -> None:
        self.peer = peer
        self.mux = mux
        self.host = host
        self.is_dialler = is_dialler
        self.opened_at = trio.current_time()
        self.scope = trio.CancelScope()
        self.ended = trio.Event()
        self.streams = TokenBucket(STREAM_RATE)

    def end(self) -> None:
        """End the connection and everything on it."""
        self.scope.cancel()


StreamHandler: TypeAlias = Callable[[ProtocolStream], Awaitable[None]]
PeerEvent: TypeAlias = Callable[[PeerId], None]


class Switch:
    """All connections of this node."""

    def __init__(
        self,
        identity: Identity,
        transport: Transport,
        settings: NetworkSettings,
        conduct: Conduct,
        nursery: trio.Nursery,
    ) -> None:
        self.identity = identity
        self.conduct = conduct
        self.listening: list[PeerAddress] = []
        self.connections: dict[PeerId, list[Connection]] = {}
        self.on_connected: list[PeerEvent] = []
        self.on_disconnected: list[PeerEvent] = []
        self._transport = transport
        self._settings = settings
        self._nursery = nursery
        self._handlers: dict[str, StreamHandler] = {}
        self._dialling: dict[PeerId, trio.Lock] = {}
        self._hosts: Counter[str] = Counter()
        self._inbound = 0
        self._handshakes = 0

    def handle(self, protocol: str, handler: StreamHandler) -> None:
        """Run `handler` for each stream that a peer opens for `protocol`."""
        self._handlers[protocol] = handler

    async def listen(self, address: PeerAddress) -> None:
        """Accept connections on `address`. Raises as `Transport.listen` does."""
        bound: PeerAddress = await self._nursery.start(self._transport.listen, address, self._serve_inbound)
        self.listening.append(bound)

    def is_connected(self, peer: PeerId) -> bool:
        """Whether there is a connection to `peer` on which streams can be opened."""
        return self._usable(peer) is not None

    async def connect(self, addresses: Sequence[PeerAddress]) -> Connection:
        """Dial addresses of one peer, the next one beside those that take long, and return the first connection.

        Raises:
            PeerUnreachable: None answers within `DIAL_TIMEOUT_S`, as the peer that is expected there.
        """
        assert addresses
        expected = addresses[0].peer
        if expected is None:
            return await self._connect(addresses, None)
        async with self._dialling.setdefault(expected, trio.Lock()):  # who dials it too gets the same connection
            try:
                return await self._connect(addresses, expected)
            finally:
                if not self._dialling[expected].statistics().tasks_waiting:
                    del self._dialling[expected]

    async def _connect(self, addresses: Sequence[PeerAddress], expected: PeerId | None) -> Connection:
        who = expected or str(addresses[0])
        if expected == self.identity.peer:
            raise PeerUnreachable(who, "that is this node itself")
        if expected is not None:
            if self.conduct.is_banned(expected):
                raise PeerUnreachable(who, "it is banned here for misconduct")
            usable = self._usable(expected)
            if usable is not None:
                return usable
        found: list[Connection] = []
        reasons: list[str] = []
        with trio.move_on_after(DIAL_TIMEOUT_S) as deadline:
            async with trio.open_nursery() as nursery:

                async def attempt(address: PeerAddress, failed: trio.Event) -> None:
                    try:
                        found.append(await self._dial(address))
                        nursery.cancel_scope.cancel()
                    except (OSError, HandshakeFailed) as error:
                        reasons.append(f"{address}: {error}")
                    failed.set()

                for address in addresses[:MAX_ADDRESSES_DIALLED]:
                    failed = trio.Event()
                    nursery.start_soon(attempt, address, failed)
                    with trio.move_on_after(DIAL_STAGGER_S):
                        await failed.wait()
        if found:
            return found[0]
        if deadline.cancelled_caught:
            reasons.append(f"no answer within {DIAL_TIMEOUT_S:g} s")
        raise PeerUnreachable(who, "; ".join(reasons))

    async def open_stream(self, peer: PeerId, protocols: Sequence[str]) -> ProtocolStream:
        """Open a stream on a connection that exists, for the first of `protocols` that the peer speaks.

        Raises:
            PeerUnreachable: No connection, or it ends; the peer speaks none; or no agreement in time.
        """
        connection = self._usable(peer)
        if connection is None:
            raise PeerUnreachable(peer, "not connected")
        stream: MuxedStream | None = None
        agreed: str | None = None
        try:
            stream = connection.mux.open_stream()
            with trio.fail_after(NEGOTIATION_TIMEOUT_S):
                agreed = await propose(stream, protocols)
            return ProtocolStream(stream, connection, agreed)
        except (StreamReset, NegotiationFailed) as error:
            raise PeerUnreachable(peer, str(error)) from error
        except trio.TooSlowError as error:
            raise PeerUnreachable(peer, f"no agreement on {', '.join(protocols)} in time") from error
        finally:
            if stream is not None and agreed is None:
                stream.reset()

    def disconnect(self, peer: PeerId) -> None:
        """End every connection to `peer`."""
        for connection in list(self.connections.get(peer, ())):
            connection.end()

    def strike(self, peer: PeerId, why: str, *, weight: float = 1.0) -> None:
        """Count misconduct of `peer`, and end its connections when it becomes too much."""
        banned = self.conduct.strike(peer, weight)
        log.info("network.misconduct", peer=peer, why=why, banned=banned)
        if banned:
            self.disconnect(peer)

    async def _dial(self, address: PeerAddress) -> Connection:
        stream, host = await self._transport.dial(address)
        try:
            return await self._nursery.start(self._run_outbound, stream, host, address.peer)
        except BaseException:
            await trio.aclose_forcefully(stream)  # harmless twice; needed if the task never began
            raise

    async def _serve_inbound(self, stream: trio.abc.Stream, host: str) -> None:
        settings = self._settings
        inbound_limit = settings.max_connections - settings.max_connections // DIAL_RESERVE
        if (
            self._handshakes >= settings.max_handshakes
            or self._inbound >= inbound_limit
            or self._hosts[host_group(host)] >= settings.max_connections_per_host
        ):
            log.debug("network.inbound_refused", host=host, inbound=self._inbound, handshakes=self._handshakes)
            return
        with suppress(HandshakeFailed):
            await self._run_connection(stream, host, is_dialler=False, expected=None)

    async def _run_outbound(
        self,
        stream: trio.abc.Stream,
        host: str,
        expected: PeerId | None,
        *,
        task_status: trio.TaskStatus[Connection] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        await self._run_connection(stream, host, is_dialler=True, expected=expected, started=task_status.started)

    async def _run_connection(
        self,
        stream: trio.abc.Stream,
        host: str,
        *,
        is_dialler: bool,
        expected: PeerId | None,
        started: Callable[[Connection], None] = lambda _connection: None,
    ) -> None:
        """Own one connection from its first byte to its last."""
        group = host_group(host)
        self._hosts[group] += 1
        self._inbound += not is_dialler
        try:
            connection = await self._upgrade(stream, host, is_dialler=is_dialler, expected=expected)
            self._register(connection)
            try:
                started(connection)
                await self._run_streams(connection)
            finally:
                self._unregister(connection)
        finally:
            self._inbound -= not is_dialler
            self._hosts[group] -= 1
            if not self._hosts[group]:
                del self._hosts[group]
            await trio.aclose_forcefully(stream)

    async def _upgrade(
        self, stream: trio.abc.Stream, host: str, *, is_dialler: bool, expected: PeerId | None
    ) -> Connection:
        self._handshakes += not is_dialler
        try:
            with trio.fail_after(HANDSHAKE_TIMEOUT_S):
                peer, wire = await secure(stream, self.identity, is_dialler=is_dialler, expected=expected)
        except (HandshakeFailed, NegotiationFailed, MuxError, ProtocolError, trio.TooSlowError) as error:
            raise HandshakeFailed(str(error) or "no handshake in time") from error
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise HandshakeFailed("the connection broke") from error
        except Exception as error:
            # The edge of the library's handshake: whatever a stranger makes it raise ends this connection alone.
            log.exception("network.handshake_crashed", host=host)
            raise HandshakeFailed(f"handshake crashed: {type(error).__name__}") from error
        finally:
            self._handshakes -= not is_dialler
        if peer == self.identity.peer:
            raise HandshakeFailed("that is this node itself")
        if self.conduct.is_banned(peer):
            raise HandshakeFailed(f"{peer} is banned here for misconduct")
        if len(self.connections.get(peer, ())) >= self._settings.max_connections_per_peer:
            raise HandshakeFailed(f"{peer} has {self._settings.max_connections_per_peer} connections already")
        if sum(map(len, self.connections.values())) >= self._settings.max_connections:
            raise HandshakeFailed(f"all {self._settings.max_connections} connections of this node are in use")
        return Connection(peer, MuxedConnection(wire, is_dialler=is_dialler), host=host, is_dialler=is_dialler)

    async def _run_streams(self, connection: Connection) -> None:
        with connection.scope:
            async with trio.open_nursery() as nursery:

                def accept(stream: MuxedStream) -> None:
                    nursery.start_soon(self._serve_stream, connection, stream)

                try:
                    await connection.mux.run(accept)
                except MuxError as error:
                    log.info("network.connection_broken", peer=connection.peer, why=str(error))
                nursery.cancel_scope.cancel()  # no handler outlives its connection

    async def _serve_stream(self, connection: Connection, stream: MuxedStream) -> None:
        try:
            if not connection.streams.take():
                self.strike(connection.peer, "opens streams too fast", weight=0.1)
                return
            with trio.fail_after(NEGOTIATION_TIMEOUT_S):
                protocol = await respond(stream, self._handlers)
            await self._handlers[protocol](ProtocolStream(stream, connection, protocol))
            stream.finish()
            with trio.move_on_after(LINGER_S):  # a reset now would cost the peer what it has not read yet
                while await stream.read():
                    pass
        except (NegotiationFailed, StreamReset, trio.TooSlowError) as error:
            log.debug("network.stream_ended", peer=connection.peer, why=str(error) or "timeout")
        except ProtocolError as error:
            self.strike(connection.peer, str(error))
        except Exception:
            # The connection handler of STYLE section 5: a bug that a peer's bytes reach costs that peer its stream.
            log.exception("network.handler_crashed", peer=connection.peer)
        finally:
            if not stream.is_done:
                stream.reset()

    def _usable(self, peer: PeerId) -> Connection | None:
        for connection in self.connections.get(peer, ()):
            if not connection.mux.is_over:
                return connection
        return None

    def _register(self, connection: Connection) -> None:
        known = self.connections.setdefault(connection.peer, [])
        known.append(connection)
        log.info("network.connected", peer=connection.peer, host=connection.host, dialled=connection.is_dialler)
        if len(known) == 1:
            for call in self.on_connected:
                call(connection.peer)

    def _unregister(self, connection: Connection) -> None:
        known = self.connections[connection.peer]
        known.remove(connection)
        connection.ended.set()
        log.info("network.disconnected", peer=connection.peer, host=connection.host)
        if not known:
            del self.connections[connection.peer]
            for call in self.on_disconnected:
                call(connection.peer)
