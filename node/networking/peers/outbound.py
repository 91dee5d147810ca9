"""The connections that this node chooses itself, so that nobody else can choose all of its peers.

There are as many slots as peers are wanted. Only a peer that we dialled holds one: however many peers connect to us,
and whomever a request makes us dial, the slots stay ours. What fills a free one, in this order: an anchor (a peer that
held a slot for long, remembered across restarts), an address of the bootstrap list, a peer drawn from the book. Of one
public network at most two peers hold slots, but for those that the operator named.

Who holds a slot is asked something every minute. One that does not answer twice in a row loses it, also if its machine
acknowledges every byte.
"""

import random as random_module
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
import trio

from node.networking.addresses import PeerAddress, parse_peer_address
from node.networking.network import Network
from node.networking.peers.book import BACKOFF_LAST_S, JITTER
from node.networking.peers.groups import address_group
from protocol.errors import TransientError
from protocol.identity import PeerId

log = structlog.get_logger(__name__)

ROUND_S: Final = 5.0
DIALS_PER_ROUND: Final = 4
MAX_IN_ONE_NETWORK: Final = 2
"""Of the slots. Two, since in a young network many honest nodes rent from the same few companies."""
PROBE_S: Final = 60.0
PROBE_AGAIN_S: Final = 10.0
"""After a question without an answer, which itself took 30 s."""
MAX_MISSES: Final = 2
ANCHORS: Final = 3
ANCHOR_AGE_S: Final = 600.0

Ask = Callable[[PeerId], Awaitable[bool]]
"""Asks a connected peer for its record; returns whether it answered."""


@dataclass(slots=True)
class _Slot:
    """A peer that we chose.

    Attributes:
        group: Its network, or itself.
        named: The entry of the bootstrap list that led to it.
        since: When it got the slot.
        probe_at: When it is asked next.
        misses: Questions in a row without an answer.
        is_asked: A question is under way.
    """

    group: str
    named: "_Named | None"
    since: float
    probe_at: float
    misses: int = 0
    is_asked: bool = False


@dataclass(slots=True)
class _Named:
    """An address of the bootstrap list, when it may be dialled again, and how often it was since it last answered."""

    place: PeerAddress
    until: float = 0.0
    failures: int = 0


class Outbound:
    """Keeps the slots filled with peers that serve."""

    def __init__(
        self, network: Network, bootstrap: Sequence[str], slots: int, ask: Ask, random: random_module.Random
    ) -> None:
        self._network = network
        self._book = network.book
        self._named = [_Named(parse_peer_address(text)) for text in bootstrap]
        self._wanted = slots
        self._ask = ask
        self._random = random
        self._slots: dict[PeerId, _Slot] = {}
        network.on_disconnected(self._release)

    @property
    def chosen(self) -> tuple[PeerId, ...]:
        """Who holds a slot now, the longest first."""
        return tuple(self._slots)

    async def run(self) -> None:
        """Work until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._fill()
                for peer, slot in self._slots.items():
                    if slot.probe_at <= trio.current_time() and not slot.is_asked:
                        nursery.start_soon(self._probe, peer, slot)
                self._elect_anchors()
                await trio.sleep(ROUND_S * self._random.uniform(1 - JITTER, 1 + JITTER))

    # Filling

    async def _fill(self) -> None:
        room = min(DIALS_PER_ROUND, self._wanted - len(self._slots))
        async with trio.open_nursery() as nursery:
            for places in self._anchors_due()[: max(0, room)]:
                room -= 1
                nursery.start_soon(self._dial, places)
            for named in self._named_due()[: max(0, room)]:
                room -= 1
                nursery.start_soon(self._dial_named, named)
            taken: set[PeerId | None] = set()
            for _ in range(room):
                places = self._book.choose(lambda peer, due: () if peer in taken else self._wanted_of(peer, due))
                if not places:
                    break
                taken.add(places[0].peer)
                nursery.start_soon(self._dial, places)

    def _anchors_due(self) -> list[Sequence[PeerAddress]]:
        due = [self._wanted_of(peer, self._book.due(peer)) for peer in self._book.anchors]
        return [places for places in due if places]

    def _named_due(self) -> list[_Named]:
        now = trio.current_time()
        return [
            named
            for named in self._named
            if named.until <= now
            and named.place.peer != self._network.peer_id
            and (named.place.peer is None or not self._network.is_connected(named.place.peer))
        ]

    def _wanted_of(self, peer: PeerId, places: Sequence[PeerAddress]) -> Sequence[PeerAddress]:
        """Return the addresses among `places` at which we would have `peer`."""
        network = self._network
        if peer == network.peer_id or network.is_connected(peer) or network.is_banned(peer):
            return ()
        used = self._networks()
        # Whom we reach through a relay, its owner may have made up; and a slot would cost the relay for ever.
        places = [place for place in places if place.relay is None]
        groups = [address_group(place) for place in places]
        return [
            place
            for place, group in zip(places, groups, strict=True)
            if group is None or used[group] < MAX_IN_ONE_NETWORK
        ]

    def _networks(self) -> Counter[str]:
        return Counter(slot.group for slot in self._slots.values() if slot.named is None)

    async def _dial_named(self, named: _Named) -> None:
        await self._dial([named.place], named=named)
        # Also after success: an address that names no peer can't be seen to be connected, and one that drops us at
        # once, or takes connections and serves nobody, is not to be dialled in a circle.
        named.failures += 1
        named.until = trio.current_time() + self._book.backoff_s(named.failures)

    async def _dial(self, places: Sequence[PeerAddress], *, named: _Named | None = None) -> None:
        try:
            peer = await self._network.connect_at(places)
        except TransientError as error:
            log.info("discovery.dial_failed", target=str(places[0]), why=str(error))
            return
        group = self._network.dialled_group(peer)
        if group is None or peer in self._slots:
            return  # it had connected to us meanwhile: then we did not choose
        if named is None and group != peer and self._networks()[group] >= MAX_IN_ONE_NETWORK:
            log.info("discovery.network_full", peer=peer, group=group)  # its name led to where we have enough
            self._book.rest(peer)
            await self._network.disconnect(peer)
            return
        now = trio.current_time()
        self._slots[peer] = _Slot(group=group, named=named, since=now, probe_at=now)
        self._network.protect(self._slots)

    # Keeping

    async def _probe(self, peer: PeerId, slot: _Slot) -> None:
        slot.is_asked = True
        answered = await self._ask(peer)
        slot.is_asked = False
        slot.misses = 0 if answered else slot.misses + 1
        slot.probe_at = trio.current_time() + (PROBE_S if answered else PROBE_AGAIN_S)
        if answered and slot.named is not None:
            slot.named.failures = 0
        if slot.misses >= MAX_MISSES and self._slots.get(peer) is slot:
            log.info("discovery.silent_peer", peer=peer)
            self._book.note_silent(peer)
            if slot.named is not None:
                slot.named.until = trio.current_time() + BACKOFF_LAST_S
            await self._network.disconnect(peer)

    def _release(self, peer: PeerId) -> None:
        if self._slots.pop(peer, None) is not None:
            self._network.protect(self._slots)

    def _elect_anchors(self) -> None:
        """Remember who has held a slot for long, one a network; and whoever was an anchor, while there is room."""
        settled = trio.current_time() - ANCHOR_AGE_S
        elected: dict[str, PeerId] = {}
        for peer, slot in self._slots.items():  # in the order in which they got their slots
            if slot.since <= settled and slot.named is None and not slot.misses and self._book.is_proven(peer):
                elected.setdefault(slot.group, peer)
        candidates = dict.fromkeys([*elected.values(), *self._book.anchors])
        self._book.set_anchors(tuple(candidates)[:ANCHORS])
