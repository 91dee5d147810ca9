"""Which wallet is which peer: the node records that this node has verified.

Two questions, two strengths of answer:
- `peer_of(wallet)`: the newest record that the wallet signed says so. Enough to dial: the handshake then proves that
  who answers holds that host key.
- `wallet_of(peer)`: the peer itself handed us the record over its own connection. A record is signed by the wallet
  alone, so anybody can sign one that names somebody else's host key; only the peer can say that it is meant.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from random import Random
from typing import Final, TypeVar

from node.networking.peers.fair_table import FairTable
from protocol.identity import Address, PeerId
from protocol.node_record import NodeAnnouncement, verify_announcement
from protocol.signing.eip712 import Domain

T = TypeVar("T")
MAX_RECORDS: Final = 4096
"""Wallets known. A wallet costs nothing to make: above it, whose word brought the most records loses its oldest."""


class Directory:
    """Verified announcements, the newest of each wallet."""

    def __init__(self, domain: Domain, clock: Callable[[], float]) -> None:
        """Verify for the market's `domain`, at the unix seconds of `clock`."""
        self._domain = domain
        self._clock = clock
        self._records: FairTable[Address, NodeAnnouncement] = FairTable(MAX_RECORDS)
        self._confirmed: dict[PeerId, Address] = {}
        self._networks: dict[Hashable, dict[PeerId, None]] = {}
        """The confirmed by what their records count with."""
        self._network_of: dict[PeerId, Hashable] = {}

    def __len__(self) -> int:
        return len(self._records)

    def learn(self, announcement: NodeAnnouncement, *, source: PeerId | None, origin: Hashable = None) -> bool:
        """Verify an announcement that `source` handed us; return whether it is news.

        Args:
            announcement: As decoded.
            source: Who told it; None if this node kept it itself.
            origin: What `source` is counted with, for who tells much displaces only what came the same way; by default
                `source` alone.

        Raises:
            BadSignature: Its wallet did not sign it.
            BadNodeRecord: Expired, too far in the future, or over another body.
            BadPeerId: It names no host key.
        """
        wallet, peer = announcement.wallet, announcement.peer
        group = source if origin is None else origin
        known = self._records.get(wallet)
        is_news = known != announcement
        if is_news:
            verify_announcement(self._domain, announcement, now=int(self._clock()))
            if known is not None and known.record.value.sequence >= announcement.record.value.sequence:
                return False
            if known is not None and known.peer != peer:
                self._unconfirm(known)  # else both have said that they belong together, and the newer record agrees
        # Of all whose word it is, a record counts with the one that tells least: else a flood would carry along, and
        # then push out, the honest records that it repeats.
        is_better_told = known is None or source == peer or self._is_told_less(group, wallet)
        if is_news or is_better_told:
            counted = group if is_better_told else self._records.group_of(wallet)
            for dropped in self._records.put(wallet, announcement, group=counted):
                self._unconfirm(dropped)
        if source == peer and wallet in self._records:
            self._confirmed[peer] = wallet
        if self._confirmed.get(peer) == wallet:
            self._place(peer, self._records.group_of(wallet))
        return is_news

    def find(self, wallet: Address) -> NodeAnnouncement | None:
        """Return the newest announcement of `wallet`, if it has not expired."""
        announcement = self._records.get(wallet)
        return announcement if announcement is not None and self._is_fresh(announcement) else None

    def peer_of(self, wallet: Address) -> PeerId | None:
        """Return the peer id that `wallet` says is its node's."""
        announcement = self.find(wallet)
        return None if announcement is None else announcement.peer

    def wallet_of(self, peer: PeerId) -> Address | None:
        """Return the wallet of which `peer` itself has shown a record that still counts."""
        wallet = self._confirmed.get(peer)
        return wallet if wallet is not None and self.peer_of(wallet) == peer else None

    def all(self) -> tuple[NodeAnnouncement, ...]:
        """Return every announcement that has not expired, the least recently learnt first."""
        return tuple(each for each in self._records.values() if self._is_fresh(each))

    def sample(self, count: int, random: Random, *, without: Collection[PeerId]) -> list[NodeAnnouncement]:
        """Return at most `count` announcements to tell others: only such as their peers have shown themselves.

        What is merely hearsay is not passed on, so a record that costs nothing does not spread by itself. And each
        network has its turn, so that many of one network don't fill the answer. Only what is drawn is looked at: the
        table is large, and anybody may ask.
        """

        def told_of(members: Collection[PeerId]) -> Iterator[NodeAnnouncement]:
            for peer in _drawn(members, random):
                announcement = self._shown_by(peer)
                if announcement is not None and peer not in without:
                    yield announcement

        found: list[NodeAnnouncement] = []
        queues: Iterable[Iterator[NodeAnnouncement]] = map(told_of, _drawn(self._networks.values(), random))
        while True:
            not_empty: list[Iterator[NodeAnnouncement]] = []
            for queue in queues:
                if len(found) == count:
                    return found
                if (announcement := next(queue, None)) is not None:
                    found.append(announcement)
                    not_empty.append(queue)
            if not not_empty:
                return found
            queues = not_empty

    def shown(self) -> Iterator[tuple[NodeAnnouncement, Hashable]]:
        """Return what may be told others, as `sample` does, each with what it is counted with."""
        for peer in self._confirmed:
            announcement = self._shown_by(peer)
            if announcement is not None:
                yield announcement, self._records.group_of(announcement.wallet)

    def expire(self) -> None:
        """Forget announcements that have expired."""
        for announcement in [each for each in self._records.values() if not self._is_fresh(each)]:
            self._records.pop(announcement.wallet)
            self._unconfirm(announcement)

    def _is_told_less(self, group: Hashable, wallet: Address) -> bool:
        return self._records.is_smaller(group, self._records.group_of(wallet))

    def _is_fresh(self, announcement: NodeAnnouncement) -> bool:
        return int(self._clock()) <= announcement.record.value.expires

    def _unconfirm(self, announcement: NodeAnnouncement) -> None:
        if self._confirmed.get(announcement.peer) == announcement.wallet:
            del self._confirmed[announcement.peer]
            self._take_out(announcement.peer)

    def _shown_by(self, peer: PeerId) -> NodeAnnouncement | None:
        """Return the record that `peer` has shown and that still counts."""
        announcement = self.find(self._confirmed[peer])
        return announcement if announcement is not None and announcement.peer == peer else None

    def _place(self, peer: PeerId, network: Hashable) -> None:
        self._take_out(peer)
        self._networks.setdefault(network, {})[peer] = None
        self._network_of[peer] = network

    def _take_out(self, peer: PeerId) -> None:
        if peer in self._network_of:
            network = self._network_of.pop(peer)
            del self._networks[network][peer]
            if not self._networks[network]:
                del self._networks[network]


def _drawn(items: Iterable[T], random: Random) -> Iterator[T]:
    """Yield all in a random order, at the cost of those that are asked for."""
    left = list(items)
    while left:
        index = random.randrange(len(left))
        left[index], left[-1] = left[-1], left[index]
        yield left.pop()
