"""Nodes of the same LAN find each other without a bootstrap list (docs/spec/networking.md, section 6).

What is heard only goes into the peer book, as hearsay of the machine that sent it: whom to dial is decided where it
always is, and a handshake proves who answers. An address counts only if it is that of the packet's sender, so nobody
can make a LAN dial somebody else.
"""

import random as random_module
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

import structlog
import trio

from node.networking.addresses import PeerAddress, parse_peer_address
from node.networking.errors import BadPeerAddress
from node.networking.limits import Buckets, Rate, TokenBucket
from node.networking.mdns.lan import Lan
from node.networking.mdns.packets import BadPacket, decode_packet, encode_answer, encode_query
from node.networking.network import Network

log = structlog.get_logger(__name__)

FIRST_QUERIES_S: Final = (0.0, 1.0, 3.0)
"""RFC 6762, section 5.2: some at the start, for packets get lost, then rarely."""
QUERY_S: Final = 60.0
ANSWER_RATE: Final = Rate(per_s=1.0, burst=3)
"""Section 6: a record is not multicast more often than once a second."""
ANSWER_DELAY_S: Final = (0.02, 0.12)
"""Section 6: all who are asked at once don't answer at once."""
HEARD_RATE: Final = Rate(per_s=10, burst=30)
"""Packets of one machine that are looked at."""
RETRY_S: Final = 30.0
INSTANCE_CHARS: Final = 32
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz0123456789"
_EVERY_HOST: Final = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound


class Finder:
    """Asks, answers and listens on one LAN."""

    def __init__(self, network: Network, lan: Lan, random: random_module.Random) -> None:
        self._network, self._lan, self._random = network, lan, random
        self._instance = "".join(random.choices(_LETTERS, k=INSTANCE_CHARS))
        self._answers = TokenBucket(ANSWER_RATE)
        self._heard: Buckets[str] = Buckets(HEARD_RATE)
        self._wanted = trio.Event()

    async def run(self) -> None:
        """Work until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._ask)
            nursery.start_soon(self._answer)
            nursery.start_soon(self._listen)

    async def _ask(self) -> None:
        self._wanted.set()  # who is here already learns of us without asking
        for wait_s in FIRST_QUERIES_S:
            await trio.sleep(wait_s)
            await self._send(encode_query())
        while True:
            await trio.sleep(QUERY_S * self._random.uniform(0.8, 1.2))
            await self._send(encode_query())

    async def _answer(self) -> None:
        while True:
            await self._wanted.wait()
            await trio.sleep(self._random.uniform(*ANSWER_DELAY_S))
            await self._answers.wait()
            self._wanted = trio.Event()  # one answer for all who asked until now
            await self._send(encode_answer(self._instance, [str(place) for place in self._places()]))

    async def _listen(self) -> None:
        while True:
            try:
                packet, host = await self._lan.receive()
            except OSError as error:
                log.info("mdns.deaf", why=str(error))
                await trio.sleep(RETRY_S)
                continue
            if not self._heard.take(host):
                continue
            try:
                heard = decode_packet(packet)
            except BadPacket as error:
                log.debug("mdns.bad_packet", host=host, why=str(error))
                continue
            if heard.asks:
                self._wanted.set()
            self._learn(heard.addresses, host)

    def _learn(self, addresses: tuple[str, ...], host: str) -> None:
        for text in addresses:
            try:
                place = parse_peer_address(text)
            except BadPeerAddress:
                continue
            if place.kind in ("ip4", "ip6") and place.host == host and place.peer not in (None, self._network.peer_id):
                assert place.peer is not None
                log.debug("mdns.heard", peer=place.peer, host=host)
                self._network.book.hear(place.peer, [text], origin=f"lan {host}", is_own=False, is_near=True)

    def _places(self) -> list[PeerAddress]:
        """Return where others on this LAN reach us: only the addresses of this interface."""
        places = [parse_peer_address(text) for text in self._network.listening]
        here = [replace(place, host=self._lan.host) if place.host in _EVERY_HOST else place for place in places]
        return [place.at(self._network.peer_id) for place in here if place.host == self._lan.host]

    async def _send(self, packet: bytes) -> None:
        try:
            await self._lan.send(packet)
        except OSError as error:  # a laptop without a network: it may come back
            log.info("mdns.not_sent", why=str(error))


@asynccontextmanager
async def open_finder(network: Network, lan: Lan, *, random: random_module.Random) -> AsyncGenerator[None, None]:
    """Look for nodes of this LAN, and answer theirs, until the context ends."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Finder(network, lan, random).run)
        yield
        nursery.cancel_scope.cancel()
