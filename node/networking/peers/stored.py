"""What of the peer book outlives the process, in the form that a store keeps."""

from dataclasses import dataclass
from typing import Protocol

from protocol.identity import PeerId


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPeer:
    """A peer that has proved good.

    Attributes:
        peer: Its id; a handshake proves it whatever the store says.
        addresses: Where it answered, or said that it does; best first.
        record: Encoding of its newest announcement; empty if none is known.
        seen_at: Unix seconds of the last time it answered.
        successes: Times it answered.
        failures: Times it did not.
        score_milli: Thousandths of its score.
        score_at: Unix seconds at which it was that.
        anchor: 1 for the first peer to dial after a restart, 2 for the next, 0 for no anchor.
    """

    peer: PeerId
    addresses: tuple[str, ...]
    record: bytes
    seen_at: int
    successes: int
    failures: int
    score_milli: int
    score_at: int
    anchor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBan:
    """A peer that is refused to the end of the unix second `until`."""

    peer: PeerId
    until: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPeers:
    """All of it."""

    peers: tuple[StoredPeer, ...] = ()
    bans: tuple[StoredBan, ...] = ()


class PeerStore(Protocol):
    """Where it is kept."""

    async def load(self) -> StoredPeers:
        """Return what was saved last."""
        ...

    async def save(self, peers: StoredPeers) -> None:
        """Keep `peers` durably, in place of what was saved before."""
        ...
