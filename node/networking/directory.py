"""Which wallet is which peer: the node records that this node has verified.

Two questions, two strengths of answer:
- `peer_of(wallet)`: the newest record that the wallet signed says so. Enough to dial: the handshake then proves that
  who answers holds that host key.
- `wallet_of(peer)`: the peer itself handed us the record over its own connection. A record is signed by the wallet
  alone, so anybody can sign one that names somebody else's host key; only the peer can say that it is meant.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from protocol.identity import Address, PeerId
from protocol.node_record import NodeAnnouncement, verify_announcement
from protocol.signing.eip712 import Domain

MAX_RECORDS: Final = 4096
"""Wallets known. Above it the record that was refreshed longest ago goes: a wallet costs nothing to make."""


class Directory:
    """Verified announcements, the newest of each wallet."""

    def __init__(self, domain: Domain, clock: Callable[[], float]) -> None:
        """Verify for the market's `domain`, at the unix seconds of `clock`."""
        self._domain = domain
        self._clock = clock
        self._records: OrderedDict[Address, NodeAnnouncement] = OrderedDict()
        self._confirmed: dict[PeerId, Address] = {}

    def learn(self, announcement: NodeAnnouncement, *, source: PeerId) -> bool:
        """Verify an announcement that `source` handed us; return whether it is news.

        Raises:
            BadSignature: Its wallet did not sign it.
            BadNodeRecord: Expired, too far in the future, or over another body.
            BadPeerId: It names no host key.
        """
        wallet, peer = announcement.wallet, announcement.peer
        known = self._records.get(wallet)
        if known != announcement:
            verify_announcement(self._domain, announcement, now=int(self._clock()))
            if known is not None and known.record.value.sequence >= announcement.record.value.sequence:
                return False
            if known is not None:
                self._unconfirm(known)
            self._records[wallet] = announcement
            self._records.move_to_end(wallet)
            if len(self._records) > MAX_RECORDS:
                self._unconfirm(self._records.popitem(last=False)[1])
        if source == peer:
            self._confirmed[peer] = wallet
        return known != announcement

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

    def expire(self) -> None:
        """Forget announcements that have expired."""
        for announcement in [each for each in self._records.values() if not self._is_fresh(each)]:
            del self._records[announcement.wallet]
            self._unconfirm(announcement)

    def _is_fresh(self, announcement: NodeAnnouncement) -> bool:
        return int(self._clock()) <= announcement.record.value.expires

    def _unconfirm(self, announcement: NodeAnnouncement) -> None:
        if self._confirmed.get(announcement.peer) == announcement.wallet:
            del self._confirmed[announcement.peer]
