"""Asking peers for the node of a wallet (docs/spec/networking.md, N8); whom to ask is decided in `search.py`.

Every answer is records, which count on their signatures alone; every question carries the asker's own record, so that
looking for oneself is how a node becomes known to its neighbours on the circle.
"""

import random as random_module
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import structlog
import trio

from node.networking.addresses import parse_peer_address
from node.networking.discovery import MAX_EXCHANGE_BYTES, Discovery, PeersExchange
from node.networking.errors import BadPeerAddress, PeerBusy
from node.networking.limits import Buckets, Rate, TokenBucket
from node.networking.lookup.search import Candidate, Search, nearest, place_of
from node.networking.network import Network
from node.networking.peers.book import JITTER
from node.networking.peers.groups import address_group
from node.networking.turns import PER_EXCHANGE, PER_RECORD_COMPARED
from protocol.errors import ProtocolError, TransientError
from protocol.identity import Address, PeerId
from protocol.node_record import NodeAnnouncement
from protocol.wire.codec import decode, encode

log = structlog.get_logger(__name__)

METHOD: Final = "find"
MAX_QUESTION_BYTES: Final = 4352
"""One record of at most 4 KiB, with room."""
MAX_TOLD: Final = 16
QUESTION_RATE: Final = Rate(per_s=2, burst=40)
"""Of one peer: an answer costs a look at every record."""
SEARCH_TIMEOUT_S: Final = 20.0
SEARCHES: Final = 4
"""At once: each dials peers."""
SEARCH_RATE: Final = Rate(per_s=0.2, burst=20)
"""Of all searches: an offer of a made-up wallet must not make every node of the network ask a dozen others."""
MISS_S: Final = 60.0
"""A wallet that was not found is not looked for again for so long."""
MAX_MISSES: Final = 1024
FIRST_S: Final = 10.0
AGAIN_S: Final = 600.0
"""When a node looks for itself, after its start and then."""
LOOKED_AT_ONCE: Final = 64
"""Records, about half a millisecond, before the loop goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FindQuestion:
    """Whom do you know that is near to this wallet, or is it?

    Attributes:
        own: The asker's announcement; None if it does not want to be known.
        wallet: What is looked for.
    """

    own: NodeAnnouncement | None
    wallet: Address


class Finder:
    """Answers others, and searches for this node."""

    def __init__(self, network: Network, discovery: Discovery, random: random_module.Random) -> None:
        self._network = network
        self._discovery = discovery
        self._random = random
        self._rate: Buckets[PeerId] = Buckets(QUESTION_RATE)
        self._own_rate = TokenBucket(SEARCH_RATE)
        self._misses: OrderedDict[Address, float] = OrderedDict()
        self._searches = trio.CapacityLimiter(SEARCHES)
        network.serve(METHOD, self._answer, max_request=MAX_QUESTION_BYTES, work=self._work)

    async def run(self) -> None:
        """Keep this node known to its neighbours until cancelled."""
        await trio.sleep(FIRST_S * self._random.uniform(1 - JITTER, 1 + JITTER))
        while True:
            own = self._discovery.own_record
            if own is not None:
                with trio.move_on_after(SEARCH_TIMEOUT_S):
                    await self._search(own.wallet)
            await trio.sleep(AGAIN_S * self._random.uniform(1 - JITTER, 1 + JITTER))

    async def find(self, wallet: Address) -> PeerId | None:
        """Return the peer id of the node of `wallet`, or None if nobody names it within `SEARCH_TIMEOUT_S`."""
        directory = self._discovery.directory
        if self._misses.get(wallet, 0.0) <= trio.current_time() and self._own_rate.take():
            with trio.move_on_after(SEARCH_TIMEOUT_S):
                async with self._searches:
                    if directory.peer_of(wallet) is None:
                        await self._search(wallet)
        found = directory.peer_of(wallet)
        if found is not None:
            self._misses.pop(wallet, None)
        else:
            if self._misses.get(wallet, 0.0) <= trio.current_time():
                self._misses[wallet] = trio.current_time() + MISS_S
                self._misses.move_to_end(wallet)
            if len(self._misses) > MAX_MISSES:
                self._misses.popitem(last=False)
        return found

    async def _search(self, wallet: Address) -> None:
        directory = self._discovery.directory
        own = self._discovery.own_record
        is_for_itself = own is not None and own.wallet == wallet
        search = Search(wallet, await self._known(), without=[self._network.peer_id])
        async with trio.open_nursery() as nursery:

            async def go(path: int) -> None:
                while (candidate := search.next(path)) is not None:
                    told = await self._ask(candidate, wallet)
                    if told is not None:
                        search.hear(path, candidate, _candidates(told))
                    if directory.peer_of(wallet) is not None and not is_for_itself:
                        nursery.cancel_scope.cancel()

            for path in search.paths:
                nursery.start_soon(go, path)
        log.debug("lookup.searched", asked=search.asked, found=directory.peer_of(wallet) is not None)

    async def _known(self) -> list[Candidate]:
        """Return all whom this node knows. Thousands take the loop tens of milliseconds, so it goes on in between."""
        known: list[Candidate] = []
        for number, announcement in enumerate(self._discovery.directory.all(), 1):
            known += _candidates([announcement])
            place_of(announcement.wallet)  # remembered, for `Search` to sort by
            if number % LOOKED_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
        return known

    async def _ask(self, candidate: Candidate, wallet: Address) -> tuple[NodeAnnouncement, ...] | None:
        network, peer = self._network, candidate.peer
        was_connected = network.is_connected(peer)
        question = encode(FindQuestion(own=self._discovery.own_record, wallet=wallet))
        try:
            raw = await network.call(peer, METHOD, question, max_response=MAX_EXCHANGE_BYTES)
            answer = decode(PeersExchange, raw, max_bytes=MAX_EXCHANGE_BYTES)
        except TransientError as error:
            log.debug("lookup.unanswered", peer=peer, why=str(error))
            return None
        except ProtocolError as error:  # an older release does not know the question
            log.debug("lookup.refused", peer=peer, why=str(error))
            return None
        self._discovery.take(answer, peer)
        if not was_connected and answer.own is not None and answer.own.wallet != wallet:
            await network.disconnect(peer)  # a search must not fill this node's places with passers-by
        return answer.others if answer.own is None else (answer.own, *answer.others)

    def _work(self) -> float:
        return PER_EXCHANGE + len(self._discovery.directory) * PER_RECORD_COMPARED

    async def _answer(self, peer: PeerId, body: bytes) -> bytes:
        question = decode(FindQuestion, body, max_bytes=MAX_QUESTION_BYTES)
        if not self._rate.take(peer):
            raise PeerBusy("enough was looked for just now")
        await trio.lowlevel.checkpoint()
        self._discovery.take(PeersExchange(own=question.own), peer)
        known = {
            announcement.peer: (announcement, str(group))
            for announcement, group in self._discovery.directory.shown()
            if announcement.peer != peer
        }
        told = nearest(
            question.wallet,
            [Candidate(wallet=each.wallet, peer=each.peer, group=group) for each, group in known.values()],
            MAX_TOLD,
        )
        others = tuple(known[each.peer][0] for each in told)
        return encode(PeersExchange(own=self._discovery.own_record, others=others))


def _candidates(announcements: Iterable[NodeAnnouncement]) -> list[Candidate]:
    return [
        Candidate(wallet=each.wallet, peer=each.peer, group=_group_of(each))
        for each in announcements
        if each.body.addresses
    ]


def _group_of(announcement: NodeAnnouncement) -> str:
    """Return the network of the address that it names first; what is no public address counts for itself."""
    try:
        group = address_group(parse_peer_address(announcement.body.addresses[0]))
    except BadPeerAddress:
        group = None
    return group or announcement.peer


@asynccontextmanager
async def open_lookup(
    network: Network, discovery: Discovery, *, random: random_module.Random
) -> AsyncGenerator[Finder, None]:
    """Search, and answer others who do, until the context ends."""
    finder = Finder(network, discovery, random)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(finder.run)
        yield finder
        nursery.cancel_scope.cancel()
