"""Carrying the peer book, and bans, over a restart."""

from collections.abc import Callable
from typing import Final

import structlog
import trio

from node.networking.directory import Directory
from node.networking.network import Network
from node.networking.peers.stored import PeerStore, StoredBan, StoredPeers
from protocol.errors import ProtocolError, TransientError
from protocol.node_record import MAX_ANNOUNCEMENT_BYTES, NodeAnnouncement
from protocol.wire.codec import decode

log = structlog.get_logger(__name__)

SAVE_S: Final = 300.0
"""How often scores are saved. What a crash must not cost (a new good peer, an anchor, a ban) is saved sooner:"""
SAVE_SOON_S: Final = 5.0
CLOSE_S: Final = 5.0
MAX_BANS_KEPT: Final = 1024
MAX_BAN_S: Final = 24 * 3600.0
"""The longest rest of a ban that is believed after a restart."""


class PeerKeeper:
    """Loads the book once, and saves it from then on."""

    def __init__(self, network: Network, directory: Directory, store: PeerStore, clock: Callable[[], float]) -> None:
        """Take `clock`, which gives unix seconds."""
        self._network, self._directory, self._store, self._clock = network, directory, store, clock
        network.on_banned(lambda _peer: network.book.worth_saving.set())

    async def load(self) -> None:
        """Know again who was known, and refuse again who was refused, for the rest of the time."""
        stored = await self._store.load()
        now = self._clock()
        for ban in stored.bans:
            # A clock that was set back in between must not turn ten minutes into years.
            left_s = min(ban.until + 1 - now, MAX_BAN_S)
            if left_s > 0:
                await self._network.ban(ban.peer, for_s=left_s)
        self._network.book.restore(stored.peers)
        for each in stored.peers:
            self._learn(each.record)
        log.info("discovery.peers_restored", peers=len(stored.peers), bans=len(stored.bans))

    async def run(self) -> None:
        """Save now and then, until cancelled."""
        book = self._network.book
        while True:
            with trio.move_on_after(SAVE_S):
                await book.worth_saving.wait()
            await trio.sleep(SAVE_SOON_S)  # what comes together is saved together
            book.worth_saving = trio.Event()
            await self.save()

    async def close(self) -> None:
        """Save a last time, also while everything is being cancelled."""
        with trio.move_on_after(CLOSE_S, shield=True):
            await self.save()

    async def save(self) -> None:
        """Save what is known now. A store that has no room costs the memory of peers, not the node."""
        now = self._clock()
        bans = sorted(self._network.bans().items(), key=lambda item: item[1])[-MAX_BANS_KEPT:]
        stored = StoredPeers(
            peers=self._network.book.snapshot(),
            bans=tuple(StoredBan(peer=peer, until=int(now + left_s)) for peer, left_s in bans),
        )
        try:
            await self._store.save(stored)
        except TransientError as error:
            log.warning("discovery.peers_not_saved", why=str(error))

    def _learn(self, record: bytes) -> None:
        if not record:
            return
        try:
            announcement = decode(NodeAnnouncement, record, max_bytes=MAX_ANNOUNCEMENT_BYTES)
            self._directory.learn(announcement, source=None, origin=announcement.peer)
        except ProtocolError as error:
            log.debug("discovery.record_skipped", source="store", why=str(error))  # it has expired, mostly
