"""How fast blobs may go, in all and with each peer, and whose turn it is.

Peers take turns by start-time fair queueing (Goyal, Vin, Cheng 1996): each piece is stamped with the bytes that its
peer has had in this busy spell, and the lowest stamp goes next. So a peer with ten streams gets what a peer with one
gets, and one that was away is not owed what it did not take. Everything counts on trio's clock.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Final, Generic, TypeVar

import trio

from node.networking.limits import Buckets, Rate, TokenBucket
from node.networking.settings import NetworkSettings
from protocol.identity import PeerId

K = TypeVar("K", bound=Hashable)

MAX_PIECE_BYTES: Final = 64 * 1024
"""Most that may be asked for at once."""
BURST_S: Final = 0.1
"""What may go at once after a pause, in seconds of the rate."""


@dataclass(slots=True, order=True)
class _Turn:
    start: float
    number: int
    moved: trio.Event = field(compare=False, default_factory=trio.Event)


class FairGate(Generic[K]):
    """A rate that several share; who has had least goes next."""

    def __init__(self, rate: Rate) -> None:
        self._bucket = TokenBucket(rate)
        self._turns: list[_Turn] = []
        self._numbers = count()
        self._ends: dict[K, float] = {}
        self._now = 0.0

    async def take(self, key: K, amount: float) -> None:
        """Wait until `key` may have `amount`."""
        start = max(self._now, self._ends.get(key, 0.0))
        turn = _Turn(start, next(self._numbers))
        self._ends[key] = start + amount
        heappush(self._turns, turn)
        try:
            while self._turns[0] is not turn:
                turn.moved = trio.Event()
                await turn.moved.wait()
            await self._bucket.wait(amount)
            self._now = start
        finally:
            self._leave(turn)

    def _leave(self, turn: _Turn) -> None:
        if self._turns[0] is turn:
            heappop(self._turns)
        else:
            self._turns.remove(turn)
            heapify(self._turns)
        if self._turns:
            self._turns[0].moved.set()
        else:  # the busy spell is over: nobody is owed anything
            self._ends.clear()
            self._now = 0.0


class _Direction:
    """Up or down."""

    def __init__(self, in_all: float, per_peer: float) -> None:
        self._gate: FairGate[PeerId] | None = FairGate(_rate(in_all)) if in_all else None
        self._peers: Buckets[PeerId] | None = Buckets(_rate(per_peer)) if per_peer else None

    async def take(self, peer: PeerId, size: int) -> None:
        assert size <= MAX_PIECE_BYTES
        if self._peers is not None:
            await self._peers.bucket(peer).wait(size)
        if self._gate is not None:
            await self._gate.take(peer, size)


class Bandwidth:
    """The rates of one node's blobs."""

    def __init__(self, settings: NetworkSettings) -> None:
        self._up = _Direction(settings.upload_bytes_per_s, settings.upload_bytes_per_s_per_peer)
        self._down = _Direction(settings.download_bytes_per_s, settings.download_bytes_per_s_per_peer)

    async def up(self, peer: PeerId, size: int) -> None:
        """Wait until `size` bytes may be sent to `peer`; at most `MAX_PIECE_BYTES`."""
        await self._up.take(peer, size)

    async def down(self, peer: PeerId, size: int) -> None:
        """Wait as long as `size` bytes from `peer`, already here, should have taken: who reads late is sent less."""
        await self._down.take(peer, size)


def _rate(bytes_per_s: float) -> Rate:
    return Rate(per_s=bytes_per_s, burst=max(MAX_PIECE_BYTES, bytes_per_s * BURST_S))
