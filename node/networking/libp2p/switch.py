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
from typing import Final, TypeAlias

import structlog
import trio

from node.networking.addresses import PeerAddress
from node.networking.errors import PeerUnreachable
from node.networking.held_bytes import Account, HeldBytes
from node.networking.libp2p.connection import Connection, ProtocolStream
from node.networking.libp2p.negotiation import NegotiationFailed, propose, respond
from node.networking.libp2p.places import Places
from node.networking.libp2p.secure import HandshakeFailed, Identity, secure
from node.networking.libp2p.yamux import MuxedConnection, MuxedStream, MuxError, StreamReset
from node.networking.limits import Conduct
from node.networking.peers.doorway import Doorway, Handshake
from node.networking.peers.groups import host_group
from node.networking.settings import NetworkSettings
from node.networking.transport import Transport
from node.networking.turns import NEWCOMERS, Share, Turns, spend_nothing
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


DialReport: TypeAlias = Callable[[PeerAddress, "Connection | None"], None]
"""Gets an address that was dialled, and the connection or None."""
RelayedDial: TypeAlias = Callable[[PeerAddress], Awaitable[tuple[trio.abc.Stream, str]]]
"""Gets the way through a relay to a peer, and returns the stream and the host of the relay. Raises `OSError`."""
StreamHandler: TypeAlias = Callable[[ProtocolStream], Awaitable[None]]
PeerEvent: TypeAlias = Callable[[PeerId], None]


async def _no_relays(_place: PeerAddress) -> tuple[trio.abc.Stream, str]:
    raise OSError("this node uses no relays")


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
        self.on_dialled: list[DialReport] = []
        self.on_banned: list[PeerEvent] = []
        self.on_strike: list[Callable[[PeerId, float], None]] = []
        self.protected: set[PeerId] = set()
        """Peers whose connections make room for nobody."""
        self.score_of: Callable[[PeerId], float] = lambda _peer: 0.0
        self.dial_relayed: RelayedDial = _no_relays
        self._transport = transport
        self._settings = settings
        self._nursery = nursery
        self._handlers: dict[str, StreamHandler] = {}
        self._dialling: dict[PeerId, trio.Lock] = {}
        self._hosts: Counter[str] = Counter()
        self._doorway = Doorway(settings.max_handshakes)
        self._places = Places(
            self.connections,
            settings.max_connections,
            is_protected=lambda peer: peer in self.protected,
            score_of=lambda peer: self.score_of(peer),  # noqa: PLW0108 - it is set later
        )
        self._turns = Turns()
        self._memory = HeldBytes()

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

    async def connect(self, addresses: Sequence[PeerAddress], *, is_direct: bool = False) -> Connection:
        """Dial addresses of one peer, the next one beside those that take long, and return the first connection.

        Ways through relays come last. A connection that exists is returned instead, unless `is_direct` is asked for
        and it is relayed.

        Raises:
            PeerUnreachable: None answers within `DIAL_TIMEOUT_S`, as the peer that is expected there.
        """
        assert addresses
        expected = addresses[0].peer
        if expected is None:
            return await self._connect(addresses, None, is_direct=is_direct)
        async with self._dialling.setdefault(expected, trio.Lock()):  # who dials it too gets the same connection
            try:
                return await self._connect(addresses, expected, is_direct=is_direct)
            finally:
                if not self._dialling[expected].statistics().tasks_waiting:
                    del self._dialling[expected]

    async def _connect(
        self, addresses: Sequence[PeerAddress], expected: PeerId | None, *, is_direct: bool
    ) -> Connection:
        who = expected or str(addresses[0])
        if expected == self.identity.peer:
            raise PeerUnreachable(who, "that is this node itself")
        if expected is not None:
            if self.conduct.is_banned(expected):
                raise PeerUnreachable(who, "it is banned here for misconduct")
            usable = self._usable(expected)
            if usable is not None and not (is_direct and usable.relay):
                return usable
        return await self._race(who, sorted(addresses, key=lambda address: address.relay is not None))

    async def _race(self, who: str, addresses: Sequence[PeerAddress]) -> Connection:
        found: list[Connection] = []
        reasons: list[str] = []
        unanswered: list[PeerAddress] = []
        with trio.move_on_after(DIAL_TIMEOUT_S) as deadline:
            async with trio.open_nursery() as nursery:

                async def attempt(address: PeerAddress, failed: trio.Event) -> None:
                    try:
                        connection = await self._dial(address)
                        found.append(connection)
                        self._report(address, connection)
                        nursery.cancel_scope.cancel()
                    except (OSError, HandshakeFailed) as error:
                        reasons.append(f"{address}: {error}")
                        self._report(address, None)
                    unanswered.remove(address)
                    failed.set()

                for address in addresses[:MAX_ADDRESSES_DIALLED]:
                    failed = trio.Event()
                    unanswered.append(address)
                    nursery.start_soon(attempt, address, failed)
                    with trio.move_on_after(DIAL_STAGGER_S):
                        await failed.wait()
        if found:
            return found[0]
        if deadline.cancelled_caught:
            reasons.append(f"no answer within {DIAL_TIMEOUT_S:g} s")
            for address in unanswered:
                self._report(address, None)
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
        if self.conduct.is_banned(peer):  # what it had under way before
            return
        banned = self.conduct.strike(peer, weight)
        log.info("network.misconduct", peer=peer, why=why, banned=banned)
        for note in self.on_strike:
            note(peer, weight)
        if banned:
            for call in self.on_banned:
                call(peer)
            self._hold_against_address(peer)
            self.disconnect(peer)

    def _hold_against_address(self, peer: PeerId) -> None:
        """A key costs nothing, so an address answers for the peers that it brings. We never refuse our own choice."""
        for connection in self.connections.get(peer, ()):
            host = connection.host
            if connection.is_dialler or self._is_home_of_chosen(host) or not self._doorway.note_ban(host):
                continue
            log.info("network.address_refused", host=host)
            for each in self._places.alive():
                if host_group(each.host) == host_group(host) and not each.is_dialler:
                    each.end()

    def _is_home_of_chosen(self, host: str) -> bool:
        """Whether a peer that holds a slot is connected from there: it may not be shut out for its neighbours."""
        group = host_group(host)
        held = (each for peer in self.protected for each in self.connections.get(peer, ()))
        return any(host_group(each.host) == group for each in held)

    def ban(self, peer: PeerId, *, for_s: float) -> None:
        """Refuse `peer` for `for_s` seconds, and end its connections."""
        self.conduct.ban(peer, for_s=for_s)
        for call in self.on_banned:
            call(peer)
        self.disconnect(peer)

    def _report(self, address: PeerAddress, connection: Connection | None) -> None:
        for call in self.on_dialled:
            call(address, connection)

    async def _dial(self, address: PeerAddress) -> Connection:
        stream, host = await (self._transport.dial if address.relay is None else self.dial_relayed)(address)
        try:
            return await self._nursery.start(self._run_outbound, stream, host, address)
        except BaseException:
            await trio.aclose_forcefully(stream)  # harmless twice; needed if the task never began
            raise

    async def serve_relayed(self, stream: trio.abc.Stream, host: str, relay: PeerId) -> None:
        """Run a connection that somebody opened through `relay`, which is at `host`, until it ends."""
        await self._serve_inbound(stream, host, relay)

    async def prove(self, place: PeerAddress) -> None:
        """Dial `place` and leave again, as soon as `place.peer` has proved itself there. The caller sets the deadline.

        Raises:
            OSError: Nobody answers.
            HandshakeFailed: Somebody else does.
        """
        stream, _ = await self._transport.dial(place)
        async with stream:
            try:
                await secure(stream, self.identity, is_dialler=True, expected=place.peer)
            except (NegotiationFailed, MuxError, ProtocolError, trio.ClosedResourceError) as error:
                raise HandshakeFailed(str(error)) from error

    async def _serve_inbound(self, stream: trio.abc.Stream, host: str, relay: PeerId | None = None) -> None:
        if (
            self._hosts[host_group(host)] >= self._settings.max_connections_per_host
            or (self._doorway.is_refused(host) and not self._is_home_of_chosen(host))
            or self._places.is_full_for(host)
        ):
            log.debug("network.inbound_refused", host=host)
            return
        handshake = self._doorway.enter(host)
        if handshake is None:
            log.debug("network.inbound_refused", host=host, why="too many handshakes")
            return
        try:
            with suppress(HandshakeFailed):
                await self._run_connection(
                    stream, host, is_dialler=False, expected=None, relay=relay, handshake=handshake
                )
        finally:
            self._doorway.leave(handshake)

    async def _run_outbound(
        self,
        stream: trio.abc.Stream,
        host: str,
        place: PeerAddress,
        *,
        task_status: trio.TaskStatus[Connection] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        def started(connection: Connection) -> None:
            connection.place = place
            task_status.started(connection)

        await self._run_connection(
            stream, host, is_dialler=True, expected=place.peer, relay=place.relay, started=started
        )

    async def _run_connection(
        self,
        stream: trio.abc.Stream,
        host: str,
        *,
        is_dialler: bool,
        expected: PeerId | None,
        relay: PeerId | None,
        started: Callable[[Connection], None] = lambda _connection: None,
        handshake: Handshake | None = None,
    ) -> None:
        """Own one connection from its first byte to its last."""
        group = host_group(host)
        self._hosts[group] += 1
        try:
            connection: Connection | None = None
            with trio.CancelScope() if handshake is None else handshake.scope:
                connection = await self._upgrade(stream, host, is_dialler=is_dialler, expected=expected, relay=relay)
            if connection is None:
                raise HandshakeFailed("it took long, and others waited")
            if handshake is not None:
                self._doorway.leave(handshake)
            account = self._register(connection)
            try:
                started(connection)
                await self._run_streams(connection)
            finally:
                account.close()
                self._unregister(connection)
        finally:
            self._hosts[group] -= 1
            if not self._hosts[group]:
                del self._hosts[group]
            await trio.aclose_forcefully(stream)

    async def _upgrade(
        self, stream: trio.abc.Stream, host: str, *, is_dialler: bool, expected: PeerId | None, relay: PeerId | None
    ) -> Connection:
        caused = spend_nothing if is_dialler else Share(self._turns, lambda: (NEWCOMERS, False)).spend
        try:
            with trio.fail_after(HANDSHAKE_TIMEOUT_S):
                peer, wire = await secure(stream, self.identity, is_dialler=is_dialler, expected=expected, spend=caused)
        except (HandshakeFailed, NegotiationFailed, MuxError, ProtocolError, trio.TooSlowError) as error:
            raise HandshakeFailed(str(error) or "no handshake in time") from error
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise HandshakeFailed("the connection broke") from error
        except Exception as error:
            # The edge of the library's handshake: whatever a stranger makes it raise ends this connection alone.
            log.exception("network.handshake_crashed", host=host)
            raise HandshakeFailed(f"handshake crashed: {type(error).__name__}") from error
        if peer == self.identity.peer:
            raise HandshakeFailed("that is this node itself")
        if self.conduct.is_banned(peer):
            raise HandshakeFailed(f"{peer} is banned here for misconduct")
        if len(self.connections.get(peer, ())) >= self._settings.max_connections_per_peer:
            raise HandshakeFailed(f"{peer} has {self._settings.max_connections_per_peer} connections already")
        address = host_group(host)
        share = Share(self._turns, lambda: (peer, True) if peer in self.protected else (address, False))
        wire.count_for(share.spend)
        mux = MuxedConnection(wire, is_dialler=is_dialler, spend=share.spend)
        connection = Connection(peer, mux, host=host, is_dialler=is_dialler, relay=relay)
        self._places.make_room(connection)
        return connection

    async def _run_streams(self, connection: Connection) -> None:
        async with trio.open_nursery() as nursery:

            def accept(stream: MuxedStream) -> None:
                nursery.start_soon(self._serve_stream, connection, stream)

            with connection.scope:
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
        usable = [each for each in self.connections.get(peer, ()) if not each.mux.is_over]
        return min(usable, key=lambda each: each.relay is not None, default=None)  # a direct one is quicker and free

    def _register(self, connection: Connection) -> Account:
        account = self._memory.open(
            shed=lambda: self._end_for_memory(connection), is_chosen=lambda: connection.peer in self.protected
        )
        connection.mux.hold = account.hold
        known = self.connections.setdefault(connection.peer, [])
        known.append(connection)
        log.info("network.connected", peer=connection.peer, host=connection.host, dialled=connection.is_dialler)
        if len(known) == 1:
            for call in self.on_connected:
                call(connection.peer)
        return account

    def _end_for_memory(self, connection: Connection) -> None:
        log.info("network.holds_too_much", peer=connection.peer, host=connection.host)
        connection.end()

    def _unregister(self, connection: Connection) -> None:
        known = self.connections[connection.peer]
        known.remove(connection)
        connection.ended.set()
        log.info("network.disconnected", peer=connection.peer, host=connection.host)
        if not known:
            del self.connections[connection.peer]
            for call in self.on_disconnected:
                call(connection.peer)
