"""Whether others can dial this node: somebody did, or it asks some to try (docs/spec/networking.md, N7).

A connection that comes from an address of the open network proves that the node can be dialled, whatever anybody says.
Who is asked dials the host from which it sees the asker, and no other, so nobody can be made to knock at a stranger's
door. The answer is the peer's word. A liar can make a node take relays that it does not need, or none for some minutes.
"""

import random as random_module
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from math import inf
from typing import Annotated, Final

import structlog
import trio

from node.networking.addresses import PeerAddress, parse_peer_address
from node.networking.errors import PeerBusy
from node.networking.limits import Buckets, Rate
from node.networking.network import Network
from node.networking.peers.groups import network_group
from protocol.errors import ProtocolError, TransientError
from protocol.identity import PeerId
from protocol.units import Uint16
from protocol.wire.codec import MaxLen, decode, encode

log = structlog.get_logger(__name__)

METHOD: Final = "reach"
MAX_QUESTION_BYTES: Final = 16
MAX_ANSWER_BYTES: Final = 128
DIAL_BACK_TIMEOUT_S: Final = 5.0
DIAL_BACK_RATE: Final = Rate(per_s=0.1, burst=4)
"""For one network, or one peer of none."""
DIALS_BACK: Final = 4
"""At once, for everybody."""
ASKED: Final = 3
"""Peers, of different networks if there are any."""
AGAIN_S: Final = 600.0
PROOF_S: Final = 3600.0
"""For so long after a stranger has dialled us nobody's word counts against it."""
SOON_S: Final = 10.0
"""While nobody has answered yet."""


class NotAskable(ProtocolError):
    """The asker is behind a relay, or not at an IP address, so there is nowhere to dial."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReachQuestion:
    """Can you dial me?

    Attributes:
        port: TCP port at which the asker listens, or which is forwarded to it.
    """

    port: Uint16


@dataclass(frozen=True, slots=True, kw_only=True)
class ReachAnswer:
    """What came of dialling.

    Attributes:
        host: IP address from which the asker is seen.
        reached: Whether it proved itself there.
    """

    host: Annotated[str, MaxLen(64)]
    reached: bool


class Reachability:
    """Answers the question of others, and asks it for this node, unless the operator has said how it is."""

    def __init__(self, network: Network, *, random: random_module.Random) -> None:
        """Ask about the ports of the addresses that `network` has now, of which one must be reached."""
        self._network = network
        self._ports = tuple(dict.fromkeys(_ports_of(network.addresses)))
        self._random = random
        self._rate: Buckets[str] = Buckets(DIAL_BACK_RATE)
        self._dialling = 0
        self._proved_until = -inf
        self._changed: Callable[[], None] | None = None
        network.on_connected(self._note_connected)
        network.serve(METHOD, self._answer, max_request=MAX_QUESTION_BYTES)

    async def run(self, changed: Callable[[], None]) -> None:
        """Keep `network.is_reachable` true to the answers, and call `changed` when it changes, until cancelled."""
        network = self._network
        if network.is_reachable is None and not network.addresses:
            network.is_reachable = False
            changed()
        if network.is_reachable is not None or not self._ports:
            return
        self._changed = changed
        while True:
            found = await self._ask_some()
            if found is not None and (found or trio.current_time() > self._proved_until):
                self._find(is_reachable=found)
            await trio.sleep(SOON_S if network.is_reachable is None else AGAIN_S)

    def _find(self, *, is_reachable: bool) -> None:
        if self._changed is not None and is_reachable != self._network.is_reachable:
            log.info("network.reachable" if is_reachable else "network.not_reachable")
            self._network.is_reachable = is_reachable
            self._changed()

    def _note_connected(self, peer: PeerId) -> None:
        if self._network.is_dialled_by_stranger(peer):
            self._proved_until = trio.current_time() + PROOF_S
            self._find(is_reachable=True)

    async def _ask_some(self) -> bool | None:
        answers: list[bool] = []
        async with trio.open_nursery() as nursery:
            for peer in self._choose():
                nursery.start_soon(self._ask, peer, answers)
        return any(answers) if answers else None

    def _choose(self) -> list[PeerId]:
        """Return whom to ask: neighbours only if there are no others, for what they can reach, others may not."""
        groups: dict[str, list[PeerId]] = {}
        near: list[PeerId] = []
        for peer, (_, host) in self._network.relays.candidates().items():
            group = network_group(host)
            near.append(peer) if group is None else groups.setdefault(group, []).append(peer)
        chosen = [self._random.choice(peers) for peers in groups.values()] or near
        self._random.shuffle(chosen)
        return chosen[:ASKED]

    async def _ask(self, peer: PeerId, answers: list[bool]) -> None:
        for port in self._ports[:2]:
            question = encode(ReachQuestion(port=port))
            try:
                raw = await self._network.call(peer, METHOD, question, max_response=MAX_ANSWER_BYTES)
                answer = decode(ReachAnswer, raw, max_bytes=MAX_ANSWER_BYTES)
            except (TransientError, ProtocolError) as error:
                log.debug("network.reach_unanswered", peer=peer, why=str(error))
                return
            answers.append(answer.reached)

    async def _answer(self, peer: PeerId, body: bytes) -> bytes:
        question = decode(ReachQuestion, body, max_bytes=MAX_QUESTION_BYTES)
        host = self._network.direct_host_of(peer)
        place = None if host is None or not question.port else _place(host, question.port, peer)
        if host is None or place is None:
            raise NotAskable("there is nowhere to dial you")
        if self._dialling >= DIALS_BACK or not self._rate.take(network_group(host) or peer):
            raise PeerBusy("enough was dialled back just now")
        self._dialling += 1
        reached = False
        try:
            with trio.move_on_after(DIAL_BACK_TIMEOUT_S):
                reached = await self._network.prove(place)
        finally:
            self._dialling -= 1
        return encode(ReachAnswer(host=host, reached=reached))


def _ports_of(addresses: Sequence[str]) -> list[int]:
    places = map(parse_peer_address, addresses)
    return [place.port for place in places if place.relay is None and place.kind != "memory"]


def _place(host: str, port: int, peer: PeerId) -> PeerAddress | None:
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return PeerAddress(kind="ip4" if address.version == 4 else "ip6", host=str(address), port=port, peer=peer)
