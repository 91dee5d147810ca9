"""Finding peers: a bootstrap list, and what peers tell about others in records that wallets signed.

Whoever connects is asked for its own record and some of those it knows, and gets ours. While fewer peers than wanted
are connected, known ones are dialled, each with a back-off of its own that doubles from two seconds to five minutes.
No record is believed but on its signature, and none outlives its day (docs/spec/networking.md, section 5).
"""

import random as random_module
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Final, TypeAlias

import structlog
import trio

from node.networking.addresses import parse_peer_address
from node.networking.directory import Directory
from node.networking.errors import MessageTooLarge, RemoteRefused
from node.networking.network import Network
from protocol.errors import ProtocolError, TransientError
from protocol.identity import PeerId
from protocol.node_record import BadNodeRecord, NodeAnnouncement
from protocol.units import Uint16
from protocol.wire.codec import MaxLen, decode, encode

log = structlog.get_logger(__name__)

METHOD: Final = "peers"
ROUND_S: Final = 5.0
EXCHANGE_ROUNDS: Final = 6
"""Every so many rounds one random peer is asked again."""
MAX_RECORDS_TOLD: Final = 32
MAX_EXCHANGE_BYTES: Final = 160 * 1024
"""33 records of at most 4 KiB, with room."""
DIALS_PER_ROUND: Final = 4
BACKOFF_FIRST_S: Final = 2.0
BACKOFF_LAST_S: Final = 300.0
JITTER: Final = 0.2
MAX_BACKOFFS: Final = 4096
ASK_QUEUE: Final = 64

OwnRecord: TypeAlias = Callable[[], NodeAnnouncement | None]
"""This node's current announcement; None before it has one, or if it wants to stay unlisted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeersExchange:
    """Request and answer alike.

    Attributes:
        own: The sender's announcement.
        others: Some that it knows; empty in a request.
        wanted: How many the sender would like to have.
    """

    own: NodeAnnouncement | None
    others: Annotated[tuple[NodeAnnouncement, ...], MaxLen(MAX_RECORDS_TOLD)] = ()
    wanted: Uint16 = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoverySettings:
    """Whom to know.

    Attributes:
        bootstrap: Addresses dialled first, and again whenever peers are too few.
        target_peers: Connections that the node tries to have. It accepts more.
    """

    bootstrap: tuple[str, ...] = ()
    target_peers: int = 8


@dataclass(slots=True)
class _Backoff:
    until: float
    delay_s: float


class Discovery:
    """Keeps the node connected, and its directory fresh."""

    def __init__(
        self,
        network: Network,
        directory: Directory,
        settings: DiscoverySettings,
        own: OwnRecord,
        random: random_module.Random,
    ) -> None:
        self.directory = directory
        self._network = network
        self._settings = settings
        self._own = own
        self._random = random
        self._backoffs: dict[str, _Backoff] = {}
        self._ask, self._asked = trio.open_memory_channel[PeerId](ASK_QUEUE)
        network.serve(METHOD, self._answer, max_request=MAX_EXCHANGE_BYTES)
        self._introduced: set[PeerId] = set()
        network.on_connected(self._note_connected)
        network.on_disconnected(self._introduced.discard)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Work until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._exchange_with_newcomers)
            task_status.started()  # before the first dial: a dead bootstrap address keeps nobody waiting
            await self._dial_some()
            rounds = 0
            while True:
                await trio.sleep(ROUND_S * self._random.uniform(1 - JITTER, 1 + JITTER))
                self.directory.expire()
                await self._dial_some()
                rounds += 1
                peers = self._network.peers()
                if peers and rounds % EXCHANGE_ROUNDS == 0:
                    await self._exchange(self._random.choice(peers).peer)

    async def introduce(self, peer: PeerId) -> None:
        """See to it that `peer` has our record, once per connection, so that it knows whose requests follow."""
        if peer not in self._introduced:
            await self._exchange(peer)

    async def _exchange_with_newcomers(self) -> None:
        async for peer in self._asked:
            await self.introduce(peer)

    def _note_connected(self, peer: PeerId) -> None:
        try:
            self._ask.send_nowait(peer)
        except trio.WouldBlock:
            log.debug("discovery.ask_full", peer=peer)  # a later round asks it

    async def _exchange(self, peer: PeerId) -> None:
        """Give `peer` our record, and learn those that it tells."""
        request = PeersExchange(own=self._own(), wanted=MAX_RECORDS_TOLD)
        try:
            raw = await self._network.call(peer, METHOD, encode(request), max_response=MAX_EXCHANGE_BYTES)
            answer = decode(PeersExchange, raw, max_bytes=MAX_EXCHANGE_BYTES)
        except (TransientError, RemoteRefused) as error:
            log.debug("discovery.exchange_failed", peer=peer, why=str(error))
            return
        except (MessageTooLarge, ProtocolError) as error:
            self._network.strike(peer, str(error))
            return
        if request.own is not None and self._network.is_connected(peer):
            self._introduced.add(peer)
        self._learn(answer, peer)

    async def _answer(self, peer: PeerId, body: bytes) -> bytes:
        request = decode(PeersExchange, body, max_bytes=MAX_EXCHANGE_BYTES)
        self._learn(PeersExchange(own=request.own), peer)
        known = [each for each in self.directory.all() if each.peer not in (peer, self._network.peer_id)]
        told = self._random.sample(known, min(len(known), request.wanted, MAX_RECORDS_TOLD))
        return encode(PeersExchange(own=self._own(), others=tuple(told)))

    def _learn(self, told: PeersExchange, source: PeerId) -> None:
        for announcement in (*((told.own,) if told.own else ()), *told.others):
            if announcement.peer == self._network.peer_id:
                continue
            try:
                if self.directory.learn(announcement, source=source):
                    self._network.learn_addresses(announcement.peer, announcement.body.addresses)
            except BadNodeRecord as error:
                log.debug("discovery.record_skipped", source=source, why=str(error))  # clocks differ
            except ProtocolError as error:
                self._network.strike(source, f"told a record that is forged: {error}")
                return

    async def _dial_some(self) -> None:
        missing = self._settings.target_peers - len(self._network.peers())
        if missing <= 0:
            return
        targets = self._targets()[: min(missing, DIALS_PER_ROUND)]
        async with trio.open_nursery() as nursery:
            for address, peer in targets:
                nursery.start_soon(self._dial, address, peer)

    def _targets(self) -> list[tuple[str, PeerId | None]]:
        """Return what may be dialled now: bootstrap addresses, then known peers in random order."""
        bootstrap = [(text, parse_peer_address(text).peer) for text in self._settings.bootstrap]
        known: list[tuple[str, PeerId | None]] = [
            (str(each.peer), each.peer) for each in self.directory.all() if each.body.addresses
        ]
        self._random.shuffle(known)
        now = trio.current_time()
        return [
            (name, peer)
            for name, peer in (*bootstrap, *known)
            if (name not in self._backoffs or self._backoffs[name].until <= now)
            and (peer is None or not self._network.is_connected(peer))
            and peer != self._network.peer_id
        ]

    async def _dial(self, name: str, peer: PeerId | None) -> None:
        """Dial a bootstrap address (`name` is one), or a known peer."""
        try:
            if name.startswith("/"):
                await self._network.connect(name)
            elif peer is not None:
                await self._network.connect_peer(peer)
        except TransientError as error:
            log.info("discovery.dial_failed", target=name, why=str(error))
        # Also after success: an address that names no peer can't be seen to be connected, and one that drops us at once
        # is not to be dialled in a circle.
        previous = self._backoffs.pop(name, None)
        delay_s = BACKOFF_FIRST_S if previous is None else min(BACKOFF_LAST_S, 2 * previous.delay_s)
        if peer is not None and self._network.is_connected(peer):
            delay_s = BACKOFF_FIRST_S
        jittered = delay_s * self._random.uniform(1 - JITTER, 1 + JITTER)
        self._backoffs[name] = _Backoff(until=trio.current_time() + jittered, delay_s=delay_s)
        if len(self._backoffs) > MAX_BACKOFFS:
            del self._backoffs[next(iter(self._backoffs))]


@asynccontextmanager
async def open_discovery(
    network: Network,
    directory: Directory,
    settings: DiscoverySettings,
    *,
    own: OwnRecord,
    random: random_module.Random,
) -> AsyncGenerator[Discovery, None]:
    """Keep `network` connected and `directory` filled until the context ends.

    Raises:
        BadPeerAddress: A bootstrap address can't be read.
    """
    for text in settings.bootstrap:
        parse_peer_address(text)
    discovery = Discovery(network, directory, settings, own, random)
    async with trio.open_nursery() as nursery:
        await nursery.start(discovery.run)
        yield discovery
        nursery.cancel_scope.cancel()
