"""A network of its own for a simulation: every message may be late, lost, doubled, overtaken, or kept from some.

What the real one promises holds here too and nothing more: a request is answered or fails after a while, whether or not
it was acted on; gossip reaches whoever a chain of relays reaches; a node that is gone neither hears nor answers.
"""

import bisect
import heapq
import itertools
import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Final, TypeAlias

import trio

from node.storage.storage import Storage
from protocol.errors import ProtocolError, StoaError, TransientError
from protocol.identity import Address, ContentDigest, PeerId
from protocol.units import UnixTime

Handler: TypeAlias = Callable[[PeerId, bytes], Awaitable[bytes]]
Judge: TypeAlias = Callable[[bytes], bool]
Deliver: TypeAlias = Callable[[bytes], Awaitable[None]]
CALL_TIMEOUT_S: Final = 30.0
REFUSED_AFTER_S: Final = 0.05
MEMORY: Final = 4096
MAX_BLOB: Final = 1 << 20
FULL_MESH: Final = 12
CHORDS: Final = (-29, -7, -2, -1, 0, 1, 6, 28)
"""Neighbours on the ring, near and far: a message crosses 200 nodes in a few hops."""
BLOB_METHOD: Final = "blob"
TICK_S: Final = 0.001


Bend: TypeAlias = Callable[[Address | None, str, bytes], Sequence[bytes]]
"""What a liar sends instead of a message to somebody (None: gossip, before it fans out): nothing, others, more."""


def _unwitnessed(_sender: Address, _what: str, _data: bytes) -> None:
    """Nobody listens."""


Ear: TypeAlias = Callable[[str, bytes], bool]
"""Tells whether a node hears a message, by topic or method: a bad line, or one that would rather not hear."""


class Lost(TransientError):
    """No answer came, or nobody is there."""


@dataclass(frozen=True, kw_only=True)
class Weather:
    """What the network does to each message. Times in seconds, the rest are probabilities.

    Attributes:
        delay_s: Mean of the delay, which is exponential: so messages overtake each other.
        loss: A request or its answer gets lost, or a hop of gossip.
        double: A message arrives twice.
    """

    delay_s: float = 0.02
    loss: float = 0.0
    double: float = 0.0


@dataclass(kw_only=True)
class Network:
    """Who is up, who can reach whom, and what the weather is."""

    chance: Random
    weather: Weather = field(default_factory=Weather)
    nodes: dict[Address, "Endpoint"] = field(default_factory=dict[Address, "Endpoint"])
    cut: set[tuple[Address, Address]] = field(default_factory=set[tuple[Address, Address]])
    """One-way: nothing gets from the first to the second."""
    slow: dict[Address, float] = field(default_factory=dict[Address, float])
    """Extra seconds on all that a node sends."""
    bends: dict[Address, Bend] = field(default_factory=dict[Address, Bend])
    """Of nodes that lie."""
    ears: dict[Address, Ear] = field(default_factory=dict[Address, Ear])
    """Of nodes that don't hear everything."""
    witness: Callable[[Address, str, bytes], None] = _unwitnessed
    """Told of all that a node means to send, before a liar's tongue bends it."""
    sent: int = 0
    failed: int = 0
    """Messages that did not arrive, or late by fault of the line: what excuses a requester that hears too little."""

    _ring: list[Address] = field(default_factory=list[Address])
    _near: dict[Address, tuple[Address, ...]] = field(default_factory=dict[Address, tuple[Address, ...]])
    _under_way: list[tuple[float, int, Callable[[], None]]] = field(
        default_factory=list[tuple[float, int, Callable[[], None]]]
    )
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    _sooner: trio.Event = field(default_factory=trio.Event)

    async def run(self) -> None:
        """Bring gossip to where it goes, for ever: one task for all, as a crowd has a million messages under way."""
        heap = self._under_way
        while True:
            sooner = self._sooner = trio.Event()
            with trio.move_on_at(_tick(heap[0][0])) if heap else nullcontext():
                await sooner.wait()
            while heap and _tick(heap[0][0]) <= trio.current_time():
                _, _, arrive = heapq.heappop(heap)
                arrive()

    def send(self, source: Address, arrive: Callable[[], None]) -> None:
        """Have a message of `source` arrive when its time has come."""
        due = trio.current_time() + self.delay(source)
        if not self._under_way or due < self._under_way[0][0]:
            self._sooner.set()
        heapq.heappush(self._under_way, (due, next(self._numbers), arrive))

    def enter(self, endpoint: "Endpoint") -> None:
        """Be there from now on."""
        self.nodes[endpoint.wallet] = endpoint
        self._membership_changed()

    def leave(self, endpoint: "Endpoint") -> None:
        """Be gone as of now."""
        if self.nodes.get(endpoint.wallet) is endpoint:
            del self.nodes[endpoint.wallet]
            self._membership_changed()

    def _membership_changed(self) -> None:
        self._ring = sorted(self.nodes)
        self._near.clear()

    def reaches(self, source: Address, target: Address) -> bool:
        """Tell whether a message would arrive but for loss."""
        is_cut = (source, target) in self.cut
        self.failed += is_cut
        return target in self.nodes and not is_cut

    def neighbours(self, wallet: Address) -> tuple[Address, ...]:
        """Return to whom a node passes gossip: to all in a small network, along a ring with chords in a crowd."""
        known = self._near.get(wallet)
        if known is None:
            others = [each for each in self.nodes if each != wallet]
            if len(others) > FULL_MESH:
                ring = [each for each in self._ring if each != wallet]
                place = bisect.bisect(ring, wallet)
                others = list({ring[(place + step) % len(ring)]: None for step in CHORDS})
            known = self._near[wallet] = tuple(others)
        return known

    def heal(self) -> None:
        """Good weather, no partitions."""
        self.cut.clear()
        self.slow.clear()
        self.weather = Weather()

    def bent(self, source: Address, target: Address | None, what: str, data: bytes) -> Sequence[bytes]:
        """Return what `source` really sends."""
        bend = self.bends.get(source)
        return (data,) if bend is None else bend(target, what, data)

    def hears(self, target: Address, what: str, data: bytes) -> bool:
        """Tell whether what arrives is heard."""
        ear = self.ears.get(target)
        heard = ear is None or ear(what, data)
        self.failed += not heard
        return heard

    def delay(self, source: Address) -> float:
        """Draw how long a message of `source` is under way."""
        self.sent += 1
        self.failed += source in self.slow
        return self.chance.expovariate(1 / self.weather.delay_s) + self.slow.get(source, 0.0)

    def is_lost(self) -> bool:
        """Draw whether a message gets lost."""
        lost = self.chance.random() < self.weather.loss
        self.failed += lost
        return lost

    def copies(self) -> int:
        """Draw how often a message arrives."""
        return 2 if self.chance.random() < self.weather.double else 1


def _tick(time: float) -> float:
    """Return the next moment at which messages arrive: all of a millisecond together, in their order."""
    return math.ceil(time / TICK_S) * TICK_S


def peer_name(wallet: Address) -> PeerId:
    """Return the host of a wallet, in this network."""
    return PeerId(wallet.hex())


class Endpoint:
    """One node's place in the network, for one life: market and payments speak through it."""

    def __init__(self, network: Network, wallet: Address, nursery: trio.Nursery) -> None:
        self._network, self.wallet, self._nursery = network, wallet, nursery
        self._handlers: dict[str, Handler] = {}
        self._topics: dict[str, tuple[Judge, Deliver]] = {}
        self._heard: dict[bytes, None] = {}
        self._storage: Storage | None = None
        self.is_alive = True

    def leave(self) -> None:
        """Gone, as of now: nothing is heard, answered or sent any more."""
        self.is_alive = False
        self._network.leave(self)

    # ------------------------------------------------------------------------------------------------ what a node asks

    async def call(self, wallet: Address, method: str, body: bytes) -> bytes:
        """See `Peers`."""
        network = self._network
        network.witness(self.wallet, method, body)
        await trio.sleep(network.delay(self.wallet))
        if not network.reaches(self.wallet, wallet) or not self.is_alive:
            await trio.sleep(REFUSED_AFTER_S)
            raise Lost(f"{method}: nobody answers")
        target = network.nodes[wallet]
        if network.is_lost() or not network.hears(wallet, method, body):
            await trio.sleep(CALL_TIMEOUT_S)
            raise Lost(f"{method} got lost")
        answers: list[bytes | StoaError] = []
        answered = trio.Event()
        for bent in network.bent(self.wallet, wallet, method, body):
            for _ in range(network.copies()):
                target.accept(self.wallet, method, bent, answers, answered)
        with trio.move_on_after(CALL_TIMEOUT_S):
            await answered.wait()
            await trio.sleep(network.delay(wallet))
        back = network.reaches(wallet, self.wallet) and self.is_alive
        if not answers or not back or network.is_lost():
            raise Lost(f"no answer to {method}")
        answer = answers[0]
        if isinstance(answer, TransientError):
            raise Lost(f"{method}: busy, {answer}")
        if isinstance(answer, StoaError):
            raise ProtocolError(f"refused {method}: {answer}")
        return answer

    def accept(
        self, source: Address, method: str, body: bytes, answers: list[bytes | StoaError], answered: trio.Event
    ) -> None:
        """Run a handler in this node's life: if it crashes, no answer comes."""

        async def run() -> None:
            handler = self._handlers.get(method)
            try:
                if handler is None:
                    raise Lost("not served yet")
                answers.append(await handler(peer_name(source), body))
            except StoaError as error:
                answers.append(error)
            answered.set()

        if self.is_alive:
            self._nursery.start_soon(run)

    def serve(self, method: str, handler: Handler, *, max_request: int) -> None:
        """See `Peers`."""
        assert max_request > 0
        self._handlers[method] = handler

    def wallet_of(self, peer: PeerId) -> Address | None:
        """See `Peers`: who introduced itself once stays known."""
        return Address(bytes.fromhex(peer))

    def is_reachable(self, wallet: Address) -> bool:
        """See `Peers`."""
        return self._network.reaches(self.wallet, wallet) and self._network.reaches(wallet, self.wallet)

    # ------------------------------------------------------------------------------------------------ blobs

    def keep_blobs_in(self, storage: Storage) -> None:
        """Fetch into this storage, and serve from it what it grants."""
        self._storage = storage

        async def give(peer: PeerId, digest: bytes) -> bytes:
            asked, wallet = ContentDigest(digest), self.wallet_of(peer)
            if wallet is None or not await storage.access.is_granted(asked, wallet):
                raise Lost("not served")
            return await storage.blobs.read(asked, max_bytes=MAX_BLOB)

        self.serve(BLOB_METHOD, give, max_request=32)

    async def fetch(self, wallet: Address, digest: ContentDigest, *, max_bytes: int, keep_until: UnixTime) -> None:
        """See `Peers`: one request, whose answer is the blob."""
        assert self._storage is not None
        blobs = self._storage.blobs
        if await blobs.has(digest):
            await blobs.keep(digest, keep_until)
            return
        data = await self.call(wallet, BLOB_METHOD, digest)
        async with blobs.open_writer(max_bytes=max_bytes, expected=digest) as writer:
            await writer.write(data)
            await writer.commit(keep_until=keep_until)

    async def grant(self, digest: ContentDigest, wallet: Address, until: UnixTime) -> None:
        """See `Peers`."""
        assert self._storage is not None
        await self._storage.access.grant(digest, wallet, until)

    # ------------------------------------------------------------------------------------------------ gossip

    async def publish(self, topic: str, data: bytes) -> None:
        """See `Peers`."""
        await trio.lowlevel.checkpoint()
        if self.is_alive:
            self._heard[data] = None
            self._network.witness(self.wallet, topic, data)
            for wallet in self._network.neighbours(self.wallet):
                for bent in self._network.bent(self.wallet, wallet, topic, data):
                    self._pass_on(wallet, topic, bent)

    def subscribe(self, topic: str, *, judge: Judge, deliver: Deliver) -> None:
        """See `GossipPeers`."""
        self._topics[topic] = (judge, deliver)

    def _pass_on(self, wallet: Address, topic: str, data: bytes) -> None:
        network = self._network
        if network.reaches(self.wallet, wallet) and not network.is_lost() and network.hears(wallet, topic, data):
            for _ in range(network.copies()):
                network.nodes[wallet].hear(self.wallet, topic, data)

    def hear(self, source: Address, topic: str, data: bytes) -> None:
        """Hear a message from a neighbour, a moment later."""
        if self.is_alive and data not in self._heard:
            self._network.send(source, partial(self._arrive, topic, data))

    def _arrive(self, topic: str, data: bytes) -> None:
        handlers = self._topics.get(topic)
        if data in self._heard or handlers is None or not self.is_alive:
            return
        self._heard[data] = None
        if len(self._heard) > MEMORY:
            del self._heard[next(iter(self._heard))]
        judge, deliver = handlers
        try:
            relayed = judge(data)
        except ProtocolError:
            return
        if relayed:
            for wallet in self._network.neighbours(self.wallet):
                self._pass_on(wallet, topic, data)
            self._nursery.start_soon(self._deliver, deliver, data)

    async def _deliver(self, deliver: Deliver, data: bytes) -> None:
        with suppress(StoaError):  # as the real network does: what a listener raises is its own affair
            await deliver(data)
