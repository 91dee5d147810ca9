"""A node that nobody can dial keeps places at some relays among the peers that it has dialled.

Three, of different networks while there are any: then neither one relay's end nor one owner's will cuts it off. A relay
that goes is replaced at once, a place is renewed when three quarters of its time have passed.
"""

import random as random_module
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

import structlog
import trio

from node.networking.addresses import PeerAddress
from node.networking.errors import PeerUnreachable
from node.networking.network import Network
from node.networking.peers.groups import network_group
from node.networking.relay.client import ReservationRefused
from node.networking.relay.reach import Reachability
from protocol.errors import ProtocolError, TransientError
from protocol.identity import PeerId

log = structlog.get_logger(__name__)

WANTED: Final = 3
ROUND_S: Final = 5.0
REFUSED_FIRST_S: Final = 10.0
REFUSED_LAST_S: Final = 300.0
"""After a refusal, doubling: a relay that has just started does not know yet whether it can be one."""
NO_RELAY_S: Final = 1800.0
"""A peer that speaks no hop protocol, or nonsense, is not asked again for so long."""
UPGRADE_AFTER_S: Final = 2.0
"""Until then a peer that came through a relay has told us its record, and with it where it can be dialled."""


class RelayKeeper:
    """Keeps places, and leaves relays again where it can."""

    def __init__(self, network: Network, *, random: random_module.Random, changed: Callable[[], None]) -> None:
        """Keep places for `network`; `changed` is called when its addresses have changed."""
        self._network = network
        self._random = random
        self._changed = changed
        self._rests: dict[PeerId, float] = {}
        self._refusals: Counter[PeerId] = Counter()
        self._wake = trio.Event()
        self._came, self._coming = trio.open_memory_channel[PeerId](64)
        network.on_disconnected(self._note_gone)
        network.on_connected(self._note_came)

    def look(self) -> None:
        """Work now, and not at the end of the round."""
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._meet)
            while True:
                before = self._network.record_addresses
                if self._network.is_reachable is False:
                    await self._renew()
                    await self._fill()
                else:
                    self._network.relays.held.clear()
                if self._network.record_addresses != before:
                    self._changed()
                self._wake = trio.Event()
                with trio.move_on_after(ROUND_S):
                    await self._wake.wait()

    # Places

    async def _renew(self) -> None:
        relays, now = self._network.relays, trio.current_time()
        candidates = relays.candidates()
        for relay, held in list(relays.held.items()):
            if relay not in candidates:
                relays.drop(relay)
            elif now >= held.renew_at:
                await self._reserve(relay)
            if relay in relays.held and now >= relays.held[relay].until:
                relays.drop(relay)

    async def _fill(self) -> None:
        relays = self._network.relays
        while len(relays.held) < WANTED:
            relay = self._choose()
            if relay is None:
                return
            await self._reserve(relay)

    def _choose(self) -> PeerId | None:
        """Return whom to ask next: one of a network where we have no place yet, if there is any."""
        relays, now = self._network.relays, trio.current_time()
        candidates = relays.candidates()
        used = {network_group(candidates[relay][1]) for relay in relays.held if relay in candidates} - {None}
        free = [peer for peer in candidates if peer not in relays.held and self._rests.get(peer, 0.0) <= now]
        self._random.shuffle(free)
        return min(free, key=lambda peer: network_group(candidates[peer][1]) in used, default=None)

    async def _reserve(self, relay: PeerId) -> None:
        rest_s = 0.0
        try:
            held = await self._network.relays.reserve(relay)
            log.info("relay.place_held", relay=relay, place=str(held.place))
        except ReservationRefused as error:
            rest_s = min(REFUSED_LAST_S, REFUSED_FIRST_S * 2 ** min(self._refusals[relay], 16))
            self._refusals[relay] += 1
            log.info("relay.refused_us", relay=relay, why=str(error))
        except PeerUnreachable as error:
            rest_s = NO_RELAY_S
            log.debug("relay.is_none", relay=relay, why=str(error))
        except ProtocolError as error:
            rest_s = NO_RELAY_S
            self._network.strike(relay, str(error))
        if rest_s:
            self._rests[relay] = trio.current_time() + rest_s  # as many as there are peers: forgotten as they go

    def _note_gone(self, peer: PeerId) -> None:
        self._rests.pop(peer, None)
        self._refusals.pop(peer, None)
        if peer in self._network.relays.held:
            self._network.relays.drop(peer)
            self._changed()
            self._wake.set()

    # Leaving relays

    def _note_came(self, peer: PeerId) -> None:
        self._wake.set()
        if self._network.is_relayed(peer):
            try:
                self._came.send_nowait(peer)
            except trio.WouldBlock:
                log.debug("relay.not_upgraded", peer=peer)

    async def _meet(self) -> None:
        async for peer in self._coming:
            await trio.sleep(UPGRADE_AFTER_S)
            await self._upgrade(peer)

    async def _upgrade(self, peer: PeerId) -> None:
        """Dial a peer directly that came through a relay since it could not dial us, if it can be dialled itself."""
        network = self._network
        places: list[PeerAddress] = [place for place in network.book.places_of(peer) if place.relay is None]
        if not places or not network.is_relayed(peer):
            return
        try:
            await network.connect_directly(places)
        except TransientError as error:
            log.debug("relay.stays_relayed", peer=peer, why=str(error))
            return
        log.info("relay.left", peer=peer)


@asynccontextmanager
async def open_relaying(
    network: Network, *, random: random_module.Random, changed: Callable[[], None]
) -> AsyncGenerator[RelayKeeper, None]:
    """Find out whether others can dial `network`, and keep it within reach by relays if not, until the context ends.

    Args:
        network: Connected, or about to be: it is by its peers that it is reached.
        random: Chance for whom to ask.
        changed: Called when the addresses of `network` have changed.
    """
    async with trio.open_nursery() as nursery:
        keeper = RelayKeeper(network, random=random, changed=changed)
        reachability = Reachability(network, random=random)
        nursery.start_soon(reachability.run, keeper.look)
        nursery.start_soon(keeper.run)
        yield keeper
        nursery.cancel_scope.cancel()
