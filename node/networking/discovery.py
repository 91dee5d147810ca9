"""Finding peers: a bootstrap list, what peers tell about others in records that wallets signed, and one's own memory.

Whoever connects is asked for its own record and some of those it knows, and gets ours. Whom to dial, and whom to keep,
is decided in `peers/outbound.py`. No record is believed but on its signature, and none outlives its day
(docs/spec/networking.md, section 5).
"""

import random as random_module
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Final, TypeAlias

import structlog
import trio

from node.networking.directory import Directory
from node.networking.errors import MessageTooLarge, PeerBusy, RemoteRefused
from node.networking.limits import Buckets, Rate
from node.networking.network import Network
from node.networking.peers.book import JITTER
from node.networking.peers.keeping import PeerKeeper
from node.networking.peers.outbound import Outbound
from node.networking.peers.stored import PeerStore
from node.networking.turns import PER_EXCHANGE
from protocol.errors import ProtocolError, TransientError
from protocol.identity import PeerId
from protocol.node_record import BadNodeRecord, NodeAnnouncement
from protocol.units import Uint16
from protocol.wire.codec import MaxLen, decode, encode

log = structlog.get_logger(__name__)

METHOD: Final = "peers"
EXCHANGE_S: Final = 30.0
"""How often one random peer, whoever dialled, is asked again."""
MAX_RECORDS_TOLD: Final = 32
MAX_EXCHANGE_BYTES: Final = 160 * 1024
"""33 records of at most 4 KiB, with room."""
EXCHANGE_RATE: Final = Rate(per_s=4, burst=6)
"""Of one peer: an answer costs a look at a record and the telling of 32. A node asks once a connection, then seldom."""
ASK_QUEUE: Final = 64
ASKERS: Final = 4
"""Newcomers asked at once: one that connects and does not answer must not keep the others waiting."""

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
        target_peers: Connections that the node dials and keeps by its own choice. It accepts more, and those who
            connect to it don't count: else whoever connects often enough would be all that it knows.
    """

    bootstrap: tuple[str, ...] = ()
    target_peers: int = 8


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
        self._own = own
        self._random = random
        self._rate: Buckets[PeerId] = Buckets(EXCHANGE_RATE)
        self._ask, self._asked = trio.open_memory_channel[PeerId](ASK_QUEUE)
        network.serve(METHOD, self._answer, max_request=MAX_EXCHANGE_BYTES, work=lambda: PER_EXCHANGE)
        self._introduced: set[PeerId] = set()
        self._exchanging: set[PeerId] = set()
        network.on_connected(self._note_connected)
        network.on_disconnected(self._introduced.discard)
        self.outbound = Outbound(network, settings.bootstrap, settings.target_peers, self.exchange, random)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Work until cancelled."""
        async with trio.open_nursery() as nursery:
            for _ in range(ASKERS):
                nursery.start_soon(self._ask_newcomers)
            task_status.started()  # before the first dial: a dead bootstrap address keeps nobody waiting
            nursery.start_soon(self.outbound.run)
            while True:
                await trio.sleep(EXCHANGE_S * self._random.uniform(1 - JITTER, 1 + JITTER))
                self.directory.expire()
                peers = self._network.peers()
                if peers:
                    await self.exchange(self._random.choice(peers).peer)

    async def introduce(self, peer: PeerId) -> None:
        """See to it that `peer` has our record, once per connection, so that it knows whose requests follow."""
        if peer not in self._introduced:
            await self.exchange(peer)

    def take(self, told: PeersExchange, source: PeerId) -> None:
        """Learn what `source` told in answer to another question, as if it were an exchange."""
        self._learn(told, source)

    @property
    def own_record(self) -> NodeAnnouncement | None:
        """This node's record as it is now."""
        return self._own()

    def renew(self) -> None:
        """Tell our record to all who are connected, for it has changed."""
        self._introduced.clear()
        for info in self._network.peers():
            self._note_connected(info.peer)

    async def _ask_newcomers(self) -> None:
        async for peer in self._asked:
            if peer not in self._exchanging:  # else somebody asks it now
                await self.introduce(peer)

    def _note_connected(self, peer: PeerId) -> None:
        try:
            self._ask.send_nowait(peer)
        except trio.WouldBlock:
            log.debug("discovery.ask_full", peer=peer)  # whom we chose is asked by `outbound`, others later or never

    async def exchange(self, peer: PeerId) -> bool:
        """Give `peer` our record, and learn those that it tells; return whether it answered, if only to refuse."""
        self._exchanging.add(peer)
        try:
            answered = await self._exchange(peer)
        finally:
            self._exchanging.discard(peer)
        if answered:
            self._network.book.note_answer(peer, group=self._network.dialled_group(peer))
        return answered

    async def _exchange(self, peer: PeerId) -> bool:
        request = PeersExchange(own=self._own(), wanted=MAX_RECORDS_TOLD)
        try:
            raw = await self._network.call(peer, METHOD, encode(request), max_response=MAX_EXCHANGE_BYTES)
            answer = decode(PeersExchange, raw, max_bytes=MAX_EXCHANGE_BYTES)
        except (RemoteRefused, PeerBusy) as error:
            log.debug("discovery.exchange_refused", peer=peer, why=str(error))
            return True
        except TransientError as error:
            log.debug("discovery.exchange_failed", peer=peer, why=str(error))
            return False
        except (MessageTooLarge, ProtocolError) as error:
            self._network.strike(peer, str(error))
            return False
        if request.own is not None and self._network.is_connected(peer):
            self._introduced.add(peer)
        self._learn(answer, peer)
        return True

    async def _answer(self, peer: PeerId, body: bytes) -> bytes:
        if not self._rate.take(peer):
            raise PeerBusy("enough was exchanged just now")
        request = decode(PeersExchange, body, max_bytes=MAX_EXCHANGE_BYTES)
        self._learn(PeersExchange(own=request.own), peer)
        count = min(request.wanted, MAX_RECORDS_TOLD)
        told = self.directory.sample(count, self._random, without=(peer, self._network.peer_id))
        return encode(PeersExchange(own=self._own(), others=tuple(told)))

    def _learn(self, told: PeersExchange, source: PeerId) -> None:
        if told.own is not None and told.own.peer != source:
            self._network.strike(source, "calls another peer's record its own")
            return
        for announcement in (*((told.own,) if told.own else ()), *told.others):
            if announcement.peer == self._network.peer_id:
                continue
            try:
                self._learn_one(announcement, source)
            except BadNodeRecord as error:
                log.debug("discovery.record_skipped", source=source, why=str(error))  # clocks differ
            except ProtocolError as error:
                self._network.strike(source, f"told a record that is forged: {error}")
                return

    def _learn_one(self, announcement: NodeAnnouncement, source: PeerId) -> None:
        directory, network = self.directory, self._network
        directory.learn(announcement, source=source, origin=network.origin_of(source))
        if directory.find(announcement.wallet) == announcement:  # not an older one of this wallet
            network.learn_addresses(announcement.peer, announcement.body.addresses, source=source)
            if announcement.peer == source:
                network.book.note_record(source, encode(announcement))


@asynccontextmanager
async def open_discovery(
    network: Network,
    directory: Directory,
    settings: DiscoverySettings,
    *,
    own: OwnRecord,
    random: random_module.Random,
    store: PeerStore | None = None,
    clock: Callable[[], float] | None = None,
) -> AsyncGenerator[Discovery, None]:
    """Keep `network` connected and `directory` filled until the context ends.

    Args:
        network: Not yet connected to anybody.
        directory: Where verified records go.
        settings: Whom to know.
        own: This node's record.
        random: Chance for whom to dial and when.
        store: Where peers and bans are kept over a restart; nowhere if None.
        clock: Unix seconds; needed for `store`.

    Raises:
        BadPeerAddress: A bootstrap address can't be read.
    """
    discovery = Discovery(network, directory, settings, own, random)
    keeper: PeerKeeper | None = None
    if store is not None:
        assert clock is not None
        keeper = PeerKeeper(network, directory, store, clock)
        await keeper.load()
    async with trio.open_nursery() as nursery:
        await nursery.start(discovery.run)
        if keeper is not None:
            nursery.start_soon(keeper.run)
        try:
            yield discovery
        finally:
            if keeper is not None:
                await keeper.close()
        nursery.cancel_scope.cancel()
