"""Whose turn it is on the main loop: work that peers cause is counted, and who causes much waits for the others.

Everything of a node runs in one loop, so a peer that keeps it busy keeps everybody waiting; and nothing that peers do
is free of work, sound or not. Each connection therefore counts what it causes, in units of about 50 us, and lets the
loop go on after each quantum, in one of two lanes: one for what is within an address' share, one for what is above it.
A lane lets through one quantum of one connection at each tick, and who has used least of its share goes first. So an
honest peer waits for the excess of one attacker at each tick, however many there are and from however many addresses;
and a node that nobody attacks loses nothing, for its lanes are free. Peers that this node has chosen pass beside them.

Units are counted and never measured: on a virtual clock, time does not pass while one computes (docs/adr/1511).
"""

from collections.abc import Awaitable, Callable
from heapq import heappop, heappush
from itertools import count
from typing import Final, TypeAlias

import trio

from node.networking.limits import Buckets, Rate

QUANTUM: Final = 8.0
"""Work that a connection may cause before the loop goes on: about 0.4 ms."""
STRANGERS_SHARE: Final = Rate(per_s=100, burst=50)
"""Of one address: half a percent of a core, more than trading takes. 56 addresses at that rate leave most of it."""
NEWCOMERS: Final = "newcomers"
"""All who have not said who they are have one share together."""
CHOSEN_SHARE: Final = Rate(per_s=2000, burst=4000)
"""Of one peer that this node has chosen to hold on to."""

PER_HANDSHAKE: Final = 8.0
"""To answer one message of a handshake: keys to agree on, a signature to make or to check."""
PER_MESSAGE: Final = 1.0
"""To decrypt a message of the wire, and find its frames."""
PER_BYTE: Final = 1 / 8192
PER_FRAME: Final = 0.1
PER_READ: Final = 0.2
"""To look at what came on a stream: an order, a ping, the head of a request."""
PER_STREAM: Final = 10.0
"""To start a task, and agree on a protocol."""
PER_DROP: Final = 0.4
"""To end what waits on a stream whose connection ended."""
PER_REQUEST: Final = 4.0
"""To find its handler, and to answer where that looks at nothing but the request."""
PER_EXCHANGE: Final = 8.0
"""To learn a node record, and to encode those that are told for it."""
PER_RECORD_COMPARED: Final = 1 / 30
"""To look through what a node knows of others for who is nearest to a wallet."""
PER_GOSSIP: Final = 0.5
"""To find out whether a message has been seen."""
PER_CONTROL: Final = 2.0
"""To act on a subscription, a graft, a prune, or a list of ids."""
PER_ID: Final = 0.02
PER_JUDGEMENT: Final = 12.0
"""To check the signatures of one that has not."""

Spend: TypeAlias = Callable[[float], Awaitable[None]]
"""Counts so many units of work, and waits when it is others' turn."""


async def spend_nothing(_units: float) -> None:
    """Count nothing: for work that we cause ourselves."""


class Turns:
    """The order in which peers are served."""

    def __init__(self) -> None:
        self._strangers: Buckets[str] = Buckets(STRANGERS_SHARE)
        self._chosen: Buckets[str] = Buckets(CHOSEN_SHARE)
        self._within, self._beyond = _Lane(), _Lane()

    async def take(self, who: str, units: float, *, chosen: bool) -> None:
        """Let the loop go on; return when it is the turn of `who`, who has caused `units` of work since."""
        bucket = (self._chosen if chosen else self._strangers).bucket(who)
        is_within = bucket.take(units)
        if is_within and chosen:
            await trio.lowlevel.checkpoint()
            return
        lane = self._within if is_within else self._beyond
        await lane.pass_through(due=trio.current_time() + bucket.full_in_s)


class _Lane:
    """Lets one through at each tick: of those who wait, whoever is due first.

    One is due when its share has made good what it used: at once if that was nothing, half a second later if it was
    all. So who comes rarely does not stand behind the many who come often, and yet nobody waits for ever: those who
    come later are due later (Zhang, "Virtual Clock", SIGCOMM 1990).
    """

    def __init__(self) -> None:
        self.is_taken = False
        self._queue: list[tuple[float, int, trio.Event]] = []
        self._left: set[int] = set()
        """Who stands in the queue and waits no more: hundreds may leave at once, when their connection ends."""
        self._numbers = count()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._queue) - len(self._left)

    async def pass_through(self, due: float) -> None:
        """Let the loop go on once, after those who are due before."""
        if self.is_taken:
            await self._stand_in_line(due)
        self.is_taken = True
        try:
            await trio.lowlevel.checkpoint()
        finally:
            self._call_next()

    async def _stand_in_line(self, due: float) -> None:
        place = (due, next(self._numbers), trio.Event())
        heappush(self._queue, place)
        try:
            await place[2].wait()
        except trio.Cancelled:
            if place[2].is_set():  # called after it was cancelled, and before it knew
                self._call_next()
            else:
                self._left.add(place[1])
            raise

    def _call_next(self) -> None:
        while self._queue:
            _, number, called = heappop(self._queue)
            if number not in self._left:
                called.set()  # the lane stays taken, so that nobody comes in between
                return
            self._left.remove(number)
        self.is_taken = False


class Share:
    """One connection's account of the work that it causes."""

    def __init__(self, turns: Turns, whose: Callable[[], tuple[str, bool]]) -> None:
        """Count for whom `whose` names: an address, or a peer, and whether this node has chosen it."""
        self._turns, self._whose = turns, whose
        self._caused = 0.0

    async def spend(self, units: float) -> None:
        """Count `units`; a full quantum ends the turn."""
        self._caused += units
        if self._caused >= QUANTUM:
            caused, self._caused = self._caused, 0.0
            who, chosen = self._whose()
            await self._turns.take(who, caused, chosen=chosen)
