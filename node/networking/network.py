"""The network, as the rest of the node sees it: topics, requests, blobs, and who is connected.

Nothing of libp2p is visible here; `node/networking/libp2p` is the only place that imports it.
"""

import random as random_module
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from inspect import isawaitable
from typing import Final, TypeAlias

import structlog
import trio

from node.networking.addresses import PeerAddress, parse_peer_address
from node.networking.blob_bases import BasesOf, no_bases
from node.networking.blob_gather import GroupStore
from node.networking.blob_source import BlobSource
from node.networking.blobs import PROTOCOLS as BLOB_PROTOCOLS
from node.networking.blobs import Blobs, BlobSink, Reach
from node.networking.errors import PeerUnreachable
from node.networking.libp2p.connection import Connection
from node.networking.libp2p.gossip import Gossip
from node.networking.libp2p.identify import answer_identify_and_ping
from node.networking.libp2p.router import MESHSUB
from node.networking.libp2p.secure import HandshakeFailed, Identity
from node.networking.libp2p.switch import Switch
from node.networking.limits import Conduct
from node.networking.peers.book import PeerBook
from node.networking.peers.groups import network_group
from node.networking.peers.score import MISCONDUCT
from node.networking.relay.client import RelayClient
from node.networking.relay.messages import HOP, STOP
from node.networking.relay.server import RelayServer
from node.networking.requests import PROTOCOL as REQUEST_PROTOCOL
from node.networking.requests import Handler, Requests, Work, no_more_work
from node.networking.settings import NetworkSettings
from node.networking.sockets import SocketTransport
from node.networking.transport import Transport
from node.networking.verdict import Verdict
from protocol.errors import ConfigError
from protocol.identity import ContentDigest, PeerId
from protocol.node_record import HOST_KEY_BYTES

log = structlog.get_logger(__name__)

DELIVERY_QUEUE: Final = 1024
"""Accepted messages of one topic that wait for `deliver`. A full queue drops the newest, and counts."""

MAX_RECORD_ADDRESSES: Final = 8
EVERY_HOST: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - to recognise them

Clock: TypeAlias = Callable[[], float]
"""Unix seconds; whole ones will do."""
Validate: TypeAlias = Callable[[PeerId, bytes], Verdict]
Deliver: TypeAlias = Callable[[PeerId, bytes], Awaitable[None] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerInfo:
    """A connected peer.

    Attributes:
        peer: Proved by the handshake.
        host: Its IP address, as seen from here.
        dialled: Whether we dialled it.
        relay: Through whom it is connected, if not directly; then `host` is the relay's.
        connected_s: Seconds since then.
        topics: Topics on which messages go directly between us.
    """

    peer: PeerId
    host: str
    dialled: bool
    relay: PeerId | None
    connected_s: float
    topics: tuple[str, ...]


class Network:
    """One node's place in the network. Made by `open_network`, and good until that context ends."""

    def __init__(
        self,
        switch: Switch,
        gossip: Gossip,
        settings: NetworkSettings,
        book: PeerBook,
        nursery: trio.Nursery,
        *,
        clock: Clock,
    ) -> None:
        self.peer_id: PeerId = switch.identity.peer
        self.book = book
        self.dropped: dict[str, int] = {}
        self.is_reachable: bool | None = {"yes": True, "no": False, "auto": None}[settings.reachable]
        """Whether others can dial this node; None while it is not known."""
        self.relays = RelayClient(switch, clock=clock)
        self.relay: RelayServer | None = None
        if settings.relay is not None:
            self.relay = RelayServer(
                switch,
                settings.relay,
                clock=clock,
                is_reachable=lambda: self.is_reachable is True,
                places=self._direct_places,
            )
        self._switch = switch
        self._gossip = gossip
        self._settings = settings
        self._nursery = nursery
        self._requests = Requests(switch, settings, nursery)
        self._blobs = Blobs(switch, settings)
        self._topics: dict[str, trio.CancelScope] = {}
        switch.on_disconnected.append(self._requests.forget)
        switch.on_dialled.append(self._note_dialled)
        switch.on_strike.append(lambda peer, weight: book.note_news(peer, MISCONDUCT * weight))
        switch.score_of = book.score_of

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where others reach this node, each with `/p2p/` and the peer id, the best first."""
        return tuple(str(place.at(self.peer_id)) for place in self._places())

    @property
    def record_addresses(self) -> tuple[str, ...]:
        """The same for the node's record, at most 8, without the peer id that the record has already."""
        return tuple(str(place) for place in self._places())[:MAX_RECORD_ADDRESSES]

    @property
    def listening(self) -> tuple[str, ...]:
        """The addresses really bound, without the peer id."""
        return tuple(map(str, self._switch.listening))

    def _direct_places(self) -> list[PeerAddress]:
        """What is announced, or what was bound."""
        return [parse_peer_address(text) for text in self._settings.announce] or self._switch.listening

    def _places(self) -> list[PeerAddress]:
        ways = [held.place.through(held.relay) for held in self.relays.held.values()]
        direct = [place for place in self._direct_places() if not (ways and place.host in EVERY_HOST)]
        # A node that nobody can dial may still be dialled by its neighbours.
        return [*direct[: MAX_RECORD_ADDRESSES - len(ways)], *ways]

    # Topics

    async def publish(self, topic: str, data: bytes) -> None:
        """Publish a message of ours. Waits if we publish faster than peers let one author.

        It is not validated and not delivered here: it is ours.

        Raises:
            MessageTooLarge: `data` is over `max_gossip_bytes`.
        """
        await self._gossip.say(topic, data)

    def subscribe(self, topic: str, *, validate: Validate, deliver: Deliver) -> None:
        """Take part in `topic`.

        Args:
            topic: At most 256 characters; both sides spell it alike.
            validate: Judges a message (author, bytes) before it is relayed; cheap, and never waits. A `ProtocolError`
                counts as REJECT, and so does any other exception, which is logged with its traceback.
            deliver: Gets accepted messages of others, one at a time, in the order of their arrival. What it raises is
                logged and costs this message alone.
        """
        assert topic not in self._topics, f"{topic} is subscribed already"
        send, receive = trio.open_memory_channel[tuple[PeerId, bytes]](DELIVERY_QUEUE)
        self._topics[topic] = scope = trio.CancelScope()

        def sink(author: PeerId, data: bytes) -> None:
            try:
                send.send_nowait((author, data))
            except trio.WouldBlock:
                self.dropped[topic] = self.dropped.get(topic, 0) + 1
                log.warning("network.delivery_full", topic=topic, dropped=self.dropped[topic])

        async def run() -> None:
            with scope:
                await self._gossip.join(topic, validate, sink)
                async for author, data in receive:
                    await _deliver(deliver, topic, author, data)

        self._nursery.start_soon(run)

    async def unsubscribe(self, topic: str) -> None:
        """Take no more part in `topic`; nothing of it is delivered any more."""
        scope = self._topics.pop(topic, None)
        if scope is not None:
            scope.cancel()
            await self._gossip.quit(topic)

    # Requests

    def serve(self, method: str, handler: Handler, *, max_request: int, work: Work = no_more_work) -> None:
        """Answer requests for `method` (ASCII, at most 64 characters).

        Args:
            method: Once per name.
            handler: Gets the peer and the request; returns the answer. `ProtocolError` goes to the caller with its name
                and text. Cancelled after 25 s, when the caller gives up, and when the connection ends.
            max_request: Bytes; longer requests never reach the handler.
            work: What a request causes, beyond what any does; whose peer waits for its turn first.
        """
        self._requests.serve(method, handler, max_request=max_request, work=work)

    async def call(self, peer: PeerId, method: str, body: bytes, *, max_response: int | None = None) -> bytes:
        """Send a request and return the answer, dialling the peer first if need be.

        Raises:
            PeerUnreachable: Not connected, and no known address answers; or the connection ended first.
            PeerTimeout: No answer within 30 s.
            PeerBusy: The peer has no room for it now.
            RemoteRefused: The peer's handler refused; carries a code and a text.
            MessageTooLarge: The request is over 1 MiB, or the answer over `max_response` (default 256 KiB).
        """
        await self._reach(peer)
        return await self._requests.call(peer, method, body, max_response=max_response)

    # Blobs

    def serve_blobs(self, source: BlobSource) -> None:
        """Serve the blobs of `source` to the peers that it lets have them."""
        self._blobs.serve(source)

    async def gather_blob(
        self,
        peers: Sequence[PeerId],
        digest: ContentDigest,
        *,
        max_bytes: int,
        into: GroupStore,
        reach: Reach | None = None,
        bases_of: BasesOf = no_bases,
    ) -> None:
        """Fetch what is missing of a blob from several peers at once, dialling them if need be.

        A peer that is slow loses its groups to the others; one that lies is struck and dropped.

        Args:
            peers: Who is asked, the most likely first: it alone is asked until it has proven what the blob is, or
                for 2 s.
            digest: BLAKE3 of the blob.
            max_bytes: Most that it may have.
            into: Gets each MiB once it is checked, in any order; what it has is not asked for.
            reach: Awaited before a peer is asked; dials it if None.
            bases_of: Gives, for a peer, earlier blobs that we have of it, at most `MAX_BASES`: of a blob that
                resembles one of them only the difference is sent.

        Raises:
            BlobUnavailable: The only peer that was asked doesn't have it, or not for us.
            BlobCorrupt: It sent other bytes.
            MessageTooLarge: The blob is over `max_bytes`.
            PeerUnreachable: Not connected, and no known address answers; or the connection ended.
            PeerTimeout: Nothing came for 30 s, or too little.
            PeerBusy: It serves as many blobs as it can.
            NoHolderLeft: More than one peer was asked, and each failed in one of these ways.
        """
        await self._blobs.gather(
            peers, digest, max_bytes=max_bytes, into=into, reach=reach or self._reach, bases_of=bases_of
        )

    async def fetch_blob(
        self, peer: PeerId, digest: ContentDigest, *, max_bytes: int, sink: BlobSink, offset: int = 0
    ) -> int:
        """Fetch a blob in order from one peer, dialling it first if need be; return its size.

        Args:
            peer: Who is asked.
            digest: BLAKE3 of the blob.
            max_bytes: Most that it may have.
            sink: Awaited with each MiB once it is checked, in order.
            offset: Bytes that the sink has already got, from this peer or another; a whole number of MiB.

        Raises:
            BlobUnavailable: The peer doesn't have it, or not for us.
            BlobCorrupt: The peer sent other bytes; the sink got none of them.
            MessageTooLarge: The blob is over `max_bytes`.
            PeerUnreachable: Not connected, and no known address answers; or the connection ended. Go on by `offset`.
            PeerTimeout: Nothing came for 30 s. Go on by `offset`.
            PeerBusy: The peer serves as many blobs as it can.
        """
        await self._reach(peer)
        return await self._blobs.fetch(peer, digest, max_bytes=max_bytes, sink=sink, offset=offset)

    # Peers

    async def connect(self, address: str) -> PeerId:
        """Connect to whoever is at `address`, or to the peer that it names.

        Raises:
            BadPeerAddress: `address` can't be read.
            PeerUnreachable: Nobody answers there, or somebody else.
        """
        connection = await self._switch.connect([parse_peer_address(address)])
        return connection.peer

    async def connect_peer(self, peer: PeerId) -> None:
        """Connect to `peer` at the addresses that are known of it, back-off or not.

        Raises:
            PeerUnreachable: None is known, or none answers.
        """
        if not self._switch.is_connected(peer):
            places = self.book.places_of(peer)
            if not places:
                raise PeerUnreachable(peer, "not connected, and no address of it is known")
            await self._dial(peer, places)

    async def connect_at(self, places: Sequence[PeerAddress]) -> PeerId:
        """Connect to one peer at some of its addresses, the best first.

        Raises:
            PeerUnreachable: None answers as that peer.
        """
        peer = places[0].peer
        connection = await (self._switch.connect(places) if peer is None else self._dial(peer, places))
        return connection.peer

    async def connect_directly(self, places: Sequence[PeerAddress]) -> None:
        """Connect to one peer at some of its addresses, also if it is connected through a relay.

        What was relayed so far ends: its streams are opened again, directly.

        Raises:
            PeerUnreachable: None answers as that peer.
        """
        connection = await self._switch.connect(places, is_direct=True)
        for other in self._switch.connections.get(connection.peer, ()):
            if other.relay is not None:
                other.end()

    def is_relayed(self, peer: PeerId) -> bool:
        """Whether `peer` is connected, and only through relays."""
        connections = self._switch.connections.get(peer, ())
        return bool(connections) and all(each.relay is not None for each in connections)

    def learn_addresses(self, peer: PeerId, addresses: Sequence[str], *, source: PeerId) -> None:
        """Take note that `source` says where `peer` can be dialled. What can't be read is left out.

        What a peer says of itself replaces what others said; what others say only adds.
        """
        if peer == self.peer_id:
            return
        origin = self.origin_of(source)
        # A stranger from the open network can't know private addresses: they would be our neighbours'.
        self.book.hear(peer, addresses, origin=origin, is_own=source == peer, is_near=origin == source)

    def origin_of(self, peer: PeerId) -> str:
        """Return what `peer` is counted with: its public network, else itself."""
        connections = self._switch.connections.get(peer)
        return (network_group(connections[0].host) if connections else None) or peer

    def dialled_group(self, peer: PeerId) -> str | None:
        """Return what `peer` is counted with, if there is a connection that we dialled; else None."""
        for connection in self._switch.connections.get(peer, ()):
            if connection.is_dialler:
                return network_group(connection.host) or peer
        return None

    def direct_host_of(self, peer: PeerId) -> str | None:
        """Return the IP address of `peer` as seen from here, if it is connected without a relay."""
        hosts = (each.host for each in self._switch.connections.get(peer, ()) if each.relay is None)
        return next(hosts, None)

    def is_dialled_by_stranger(self, peer: PeerId) -> bool:
        """Whether `peer` has dialled us itself, from an address of the open network."""
        return any(
            not each.is_dialler and each.relay is None and network_group(each.host) is not None
            for each in self._switch.connections.get(peer, ())
        )

    async def prove(self, place: PeerAddress) -> bool:
        """Dial `place` and leave again; return whether `place.peer` is there. The caller sets the deadline."""
        try:
            await self._switch.prove(place)
        except (OSError, HandshakeFailed) as error:
            log.debug("network.not_proven", place=str(place), why=str(error))
            return False
        return True

    def is_banned(self, peer: PeerId) -> bool:
        """Whether `peer` is refused now."""
        return self._switch.conduct.is_banned(peer)

    def bans(self) -> dict[PeerId, float]:
        """Return who is refused now, and for how many seconds more."""
        return self._switch.conduct.bans()

    def on_banned(self, call: Callable[[PeerId], None]) -> None:
        """Have `call` called, without waiting, whenever a peer is banned."""
        self._switch.on_banned.append(call)

    def protect(self, peers: Collection[PeerId]) -> None:
        """Have the connections to `peers`, and to nobody else, make room for no other."""
        self._switch.protected = set(peers)

    def peers(self) -> tuple[PeerInfo, ...]:
        """Return who is connected now."""
        now = trio.current_time()
        meshes = {topic: self._gossip.mesh_peers(topic) for topic in self._topics}
        return tuple(
            PeerInfo(
                peer=peer,
                host=connections[0].host,
                dialled=connections[0].is_dialler,
                relay=connections[0].relay,
                connected_s=now - connections[0].opened_at,
                topics=tuple(topic for topic, members in meshes.items() if peer in members),
            )
            for peer, connections in self._switch.connections.items()
        )

    def is_connected(self, peer: PeerId) -> bool:
        """Whether there is a connection to `peer` now."""
        return self._switch.is_connected(peer)

    def on_connected(self, call: Callable[[PeerId], None]) -> None:
        """Have `call` called, without waiting, whenever a peer connects that was not connected."""
        self._switch.on_connected.append(call)

    def on_disconnected(self, call: Callable[[PeerId], None]) -> None:
        """Have `call` called, without waiting, whenever the last connection to a peer has ended."""
        self._switch.on_disconnected.append(call)

    async def disconnect(self, peer: PeerId) -> None:
        """End every connection to `peer`, and return when they have ended."""
        connections = tuple(self._switch.connections.get(peer, ()))
        self._switch.disconnect(peer)
        for connection in connections:
            await connection.ended.wait()

    async def ban(self, peer: PeerId, *, for_s: float) -> None:
        """Disconnect `peer` and refuse it for `for_s` seconds. A ban outlives the process where peers are stored."""
        self._switch.ban(peer, for_s=for_s)
        await self.disconnect(peer)

    def strike(self, peer: PeerId, why: str, *, weight: float = 1.0) -> None:
        """Count misconduct that a service saw: ten strikes in short order are a ban for ten minutes."""
        self._switch.strike(peer, why, weight=weight)

    async def _dial(self, peer: PeerId, places: Sequence[PeerAddress]) -> Connection:
        try:
            return await self._switch.connect(places)
        except PeerUnreachable:
            self.book.note_unreachable(peer)
            raise

    def _note_dialled(self, place: PeerAddress, connection: Connection | None) -> None:
        if connection is not None:
            self.book.note_dialled(place.at(connection.peer))
        else:
            self.book.note_failed(place)

    async def _reach(self, peer: PeerId) -> None:
        if not self._switch.is_connected(peer):
            await self.connect_peer(peer)


async def _deliver(deliver: Deliver, topic: str, author: PeerId, data: bytes) -> None:
    try:
        outcome = deliver(author, data)
        if isawaitable(outcome):
            await outcome
    except Exception:
        # As for request handlers: a message that finds a bug costs this message, not the topic and not the node.
        log.exception("network.deliver_crashed", topic=topic, author=author)


@asynccontextmanager
async def open_network(
    settings: NetworkSettings,
    host_key: bytes,
    *,
    clock: Clock,
    random: random_module.Random,
    transport: Transport | None = None,
    book: PeerBook | None = None,
) -> AsyncGenerator[Network, None]:
    """Listen, and take part until the context ends; then every connection and socket is closed.

    Args:
        settings: Addresses and limits.
        host_key: Seed of the Ed25519 host key, 32 bytes.
        clock: Unix seconds. Only the sequence numbers of gossip come from it; all else runs on trio's clock.
        random: Chance for the mesh, and for the sequence numbers.
        transport: TCP if None.
        book: Whom this node knows; an empty one if None.

    Raises:
        PortInUse: Another program holds a port of `settings.listen`.
        ConfigError: An address of `settings.listen` can't be bound.
        BadPeerAddress: An address can't be read.
    """
    assert len(host_key) == HOST_KEY_BYTES
    listen = [parse_peer_address(text) for text in settings.listen]
    failure: ConfigError | None = None
    async with trio.open_nursery() as nursery:
        switch = Switch(Identity(host_key), transport or SocketTransport(), settings, Conduct(), nursery)
        # Two starts within a second, or a clock that went back a little, still begin far apart.
        start = (int(clock()) << 32) + random.getrandbits(31)
        gossip = Gossip(switch, settings, nursery, sequence_start=start, rng=random)
        network = Network(switch, gossip, settings, book or PeerBook(clock, random), nursery, clock=clock)
        circuits = (STOP,) if network.relay is None else (HOP, STOP)
        answer_identify_and_ping(switch, (MESHSUB, REQUEST_PROTOCOL, *BLOB_PROTOCOLS, *circuits))
        try:
            for place in listen:
                await switch.listen(place)
        except ConfigError as error:
            failure = error  # raised below: from in here it would come out inside a group
        else:
            log.info("network.open", peer=network.peer_id, addresses=network.addresses)
            if any(place.host in EVERY_HOST for place in switch.listening) and not settings.announce:
                log.warning("network.nothing_to_announce", advice="set announce to an address that others can dial")
            yield network
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
