"""Whom this node could dial: peers it has heard of, and those that proved good.

    hear ──▶ heard (by who told it) ── answered a dial of ours ──▶ proven (by network)

Two tables, as in Bitcoin's address manager, so that hearsay, which costs nothing, never displaces experience. Both are
fair (`fair_table.py`): what one source tells, or one network holds, only displaces its own. Addresses are kept apart
by how they are known: one at which the peer answered, or that it told itself, is never displaced by what others tell,
since anybody can sign a record that names somebody else's host key.
"""

import random as random_module
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import trio

from node.networking.addresses import PeerAddress, parse_peer_address
from node.networking.errors import BadPeerAddress
from node.networking.peers.fair_table import FairTable
from node.networking.peers.groups import address_group, is_public
from node.networking.peers.score import ANSWERED, SILENT, UNREACHABLE, Score
from node.networking.peers.stored import StoredPeer
from protocol.identity import PeerId

MAX_HEARD: Final = 1024
MAX_HEARD_FROM_ONE: Final = 128
"""From one network, or one peer of no public network."""
MAX_PROVEN: Final = 256
MAX_PROVEN_IN_ONE: Final = 16
"""In one network: what a rented rack can make us remember."""
MAX_ADDRESSES: Final = 8
BACKOFF_FIRST_S: Final = 2.0
BACKOFF_LAST_S: Final = 300.0
JITTER: Final = 0.2
GIVEN_UP_FAILURES: Final = 10
"""A peer that was only heard of, and none of whose addresses answered so often, is forgotten."""
FORGOTTEN_S: Final = 30 * 24 * 3600
"""A proven peer that has not answered for so long is not saved any more."""


@dataclass(slots=True)
class KnownAddress:
    """One place where a peer may answer.

    Attributes:
        place: Names the peer.
        is_sure: It answered there, or told us itself.
        failures: Dials in a row that failed.
        retry_at: Not dialled by our own choice before this time of trio's clock.
    """

    place: PeerAddress
    is_sure: bool
    failures: int = 0
    retry_at: float = 0.0


@dataclass(slots=True)
class KnownPeer:
    """What is known of one peer.

    Attributes:
        peer: Its id.
        addresses: At most `MAX_ADDRESSES`.
        record: Encoding of the announcement that it gave us itself, or empty.
        seen_at: Unix seconds of its last answer; 0 if it never gave one.
        successes: Answers.
        failures: Dials, and questions, without one.
        score: Sum of both, decaying.
    """

    peer: PeerId
    addresses: list[KnownAddress] = field(default_factory=list[KnownAddress])
    record: bytes = b""
    seen_at: int = 0
    successes: int = 0
    failures: int = 0
    score: Score = field(default_factory=Score)


Allow = Callable[[PeerId, Sequence[PeerAddress]], Sequence[PeerAddress]]
"""Of the addresses of a peer that may be tried now, returns those that the caller wants."""


class PeerBook:
    """The two tables. `clock` gives unix seconds; back-offs run on trio's clock; chance is `random`'s."""

    def __init__(self, clock: Callable[[], float], random: random_module.Random) -> None:
        self.anchors: tuple[PeerId, ...] = ()
        self.worth_saving = trio.Event()
        """Set, until somebody replaces it, when something has changed that a crash should not cost us."""
        self._clock = clock
        self._random = random
        self._heard: FairTable[PeerId, KnownPeer] = FairTable(MAX_HEARD, max_per_group=MAX_HEARD_FROM_ONE)
        self._proven: FairTable[PeerId, KnownPeer] = FairTable(MAX_PROVEN, max_per_group=MAX_PROVEN_IN_ONE)

    # What is learnt

    def hear(self, peer: PeerId, addresses: Sequence[str], *, origin: Hashable, is_own: bool, is_near: bool) -> None:
        """Take note of where `peer` is said to answer. What can't be read is left out.

        Args:
            peer: Whose addresses.
            addresses: As told.
            origin: Whose word it is: a network group, or a peer.
            is_own: The peer told us itself.
            is_near: Who told it is no stranger from the open network, so that private addresses mean something.
        """
        places = [place.at(peer) for place in _readable(addresses) if is_near or is_public(place)]
        known = self.find(peer)
        if known is None:
            if not places:
                return
            known = KnownPeer(peer)
        elif peer in self._heard and not is_own and not self._heard.is_smaller(origin, self._heard.group_of(peer)):
            origin = self._heard.group_of(peer)
        (_take_own if is_own else _take_hearsay)(known, places)
        if peer not in self._proven:
            self._heard.put(peer, known, group=origin)

    def note_record(self, peer: PeerId, record: bytes) -> None:
        """Keep the encoding of the announcement that `peer` gave us itself."""
        known = self.find(peer)
        if known is not None:
            known.record = record

    def note_dialled(self, place: PeerAddress) -> None:
        """`place.peer` proved itself there. It may be new: a dial that the operator, or a request, asked for."""
        assert place.peer is not None
        known = self.find(place.peer)
        if known is None:
            known = KnownPeer(place.peer)
            self._heard.put(place.peer, known, group=address_group(place) or place.peer)
        address = next((each for each in known.addresses if each.place == place), None)
        if address is None:
            address = KnownAddress(place, is_sure=True)
            _make_room(known)
            known.addresses.insert(0, address)
        address.is_sure, address.failures, address.retry_at = True, 0, 0.0

    def note_failed(self, place: PeerAddress) -> None:
        """Nobody, or somebody else, answered at `place`."""
        known = None if place.peer is None else self.find(place.peer)
        for address in () if known is None else known.addresses:
            if address.place == place:
                address.failures += 1
                address.retry_at = trio.current_time() + self.backoff_s(address.failures)

    def note_unreachable(self, peer: PeerId) -> None:
        """None of the addresses of `peer` that were dialled answered."""
        self.note_news(peer, UNREACHABLE)
        known = self._heard.get(peer)
        if known is not None and all(each.failures >= GIVEN_UP_FAILURES for each in known.addresses):
            self._heard.pop(peer)

    def note_answer(self, peer: PeerId, *, group: Hashable | None) -> None:
        """`peer` answered a request. `group` is its network if we had dialled it, and None if it came to us."""
        self.note_news(peer, ANSWERED)
        known = self.find(peer)
        if known is None:
            return
        known.seen_at = int(self._clock())
        if group is not None and known.addresses:
            if peer not in self._proven:
                self.worth_saving.set()
            self._heard.pop(peer)
            self._proven.put(peer, known, group=group)

    def note_silent(self, peer: PeerId) -> None:
        """`peer` is connected and does not answer."""
        self.note_news(peer, SILENT)
        self.rest(peer)

    def rest(self, peer: PeerId) -> None:
        """Leave `peer` alone for as long as a dead address, although it could be reached."""
        known = self.find(peer)
        for address in () if known is None else known.addresses:
            address.retry_at = trio.current_time() + BACKOFF_LAST_S

    def set_anchors(self, anchors: tuple[PeerId, ...]) -> None:
        """Choose whom to dial first after a restart."""
        if anchors != self.anchors:
            self.anchors = anchors
            self.worth_saving.set()

    def note_news(self, peer: PeerId, news: float) -> None:
        """Move the score of `peer`, by a constant of `score.py`."""
        known = self.find(peer)
        if known is None:
            return
        known.score = known.score.plus(news, self._clock())
        known.successes += news > 0
        known.failures += news < 0

    def backoff_s(self, failures: int) -> float:
        """Return how long to wait after so many failures in a row."""
        wait_s = min(BACKOFF_LAST_S, BACKOFF_FIRST_S * 2 ** min(failures - 1, 16))
        return wait_s * self._random.uniform(1 - JITTER, 1 + JITTER)

    # What is asked

    def find(self, peer: PeerId) -> KnownPeer | None:
        """Return what is known of `peer`."""
        return self._proven.get(peer) or self._heard.get(peer)

    def is_proven(self, peer: PeerId) -> bool:
        """Whether `peer` once answered a dial of ours."""
        return peer in self._proven

    def score_of(self, peer: PeerId) -> float:
        """Return the score of `peer` now; 0 for a stranger."""
        known = self.find(peer)
        return 0.0 if known is None else known.score.now(self._clock())

    def places_of(self, peer: PeerId) -> tuple[PeerAddress, ...]:
        """Return every address of `peer`, the most promising first."""
        known = self.find(peer)
        return () if known is None else tuple(each.place for each in sorted(known.addresses, key=_promise))

    def due(self, peer: PeerId) -> tuple[PeerAddress, ...]:
        """Return the addresses of `peer` whose back-off is over, the most promising first."""
        known = self.find(peer)
        return () if known is None else _due(known)

    def choose(self, allow: Allow) -> tuple[PeerAddress, ...]:
        """Return addresses of one peer to dial next, or none.

        Experience and hearsay take turns by chance. Of hearsay, first whose word, then which network, then which peer
        is drawn, each evenly: ten thousand records count no more than one, if one source told them. Of experience, a
        peer is drawn by its score, which the peers of one network share, so that who served us well is tried sooner,
        and who did not is not lost for ever.
        """
        tables = [self._proven, self._heard]
        if self._random.random() < 0.5:
            tables.reverse()
        for table in tables:
            groups: dict[Hashable, dict[Hashable, list[tuple[PeerAddress, ...]]]] = {}
            for peer in table:
                known = table.get(peer)
                assert known is not None
                places = tuple(allow(peer, _due(known)))
                if places:
                    near = address_group(places[0]) or peer
                    groups.setdefault(table.group_of(peer), {}).setdefault(near, []).append(places)
            if groups and table is self._proven:
                return self._draw_by_score(
                    [[each for near in far.values() for each in near] for far in groups.values()]
                )
            if groups:
                networks = self._random.choice(list(groups.values()))
                return self._random.choice(self._random.choice(list(networks.values())))
        return ()

    def _draw_by_score(self, groups: list[list[tuple[PeerAddress, ...]]]) -> tuple[PeerAddress, ...]:
        weights = {
            places: max(1.0, 10.0 + self.score_of(places[0].peer or PeerId(""))) / len(group)
            for group in groups
            for places in group
        }
        return self._random.choices(list(weights), list(weights.values()))[0]

    # What outlives the process

    def snapshot(self) -> tuple[StoredPeer, ...]:
        """Return the proven peers, the one that answered longest ago first."""
        now = int(self._clock())
        return tuple(
            StoredPeer(
                peer=known.peer,
                addresses=tuple(str(each.place) for each in sorted(known.addresses, key=_promise) if each.is_sure),
                record=known.record,
                seen_at=known.seen_at,
                successes=known.successes,
                failures=known.failures,
                score_milli=round(1000 * known.score.now(now)),
                score_at=now,
                anchor=self.anchors.index(known.peer) + 1 if known.peer in self.anchors else 0,
            )
            for known in self._proven.values()
            if now - known.seen_at < FORGOTTEN_S
        )

    def restore(self, stored: Iterable[StoredPeer]) -> None:
        """Know again what `snapshot` returned. Whatever of it can't be read is left out."""
        now = self._clock()
        anchors: list[tuple[int, PeerId]] = []
        for each in stored:
            places = [place for place in _readable(each.addresses) if place.peer == each.peer]
            if not places:
                continue
            known = KnownPeer(
                each.peer,
                [KnownAddress(place, is_sure=True) for place in places[:MAX_ADDRESSES]],
                record=each.record,
                # A clock that was wrong before the restart must not make the past look like the future.
                seen_at=min(each.seen_at, int(now)),
                successes=each.successes,
                failures=each.failures,
                score=Score(each.score_milli / 1000, min(each.score_at, now)),
            )
            self._proven.put(each.peer, known, group=address_group(places[0]) or each.peer)
            if each.anchor > 0:
                anchors.append((each.anchor, each.peer))
        self.anchors = tuple(peer for _, peer in sorted(anchors))


def _readable(texts: Iterable[str]) -> Iterable[PeerAddress]:
    for text in texts:
        try:
            yield parse_peer_address(text)
        except BadPeerAddress:
            continue


def _promise(address: KnownAddress) -> tuple[int, bool]:
    return address.failures, not address.is_sure


def _due(known: KnownPeer) -> tuple[PeerAddress, ...]:
    now = trio.current_time()
    return tuple(each.place for each in sorted(known.addresses, key=_promise) if each.retry_at <= now)


def _take_own(known: KnownPeer, places: Sequence[PeerAddress]) -> None:
    """What the peer says of itself counts, and so does where it answered: others' words go."""
    before = {each.place: each for each in known.addresses if each.is_sure}
    told = [before.pop(place, None) or KnownAddress(place, is_sure=True) for place in dict.fromkeys(places)]
    worked = [each for each in before.values() if not each.failures]
    known.addresses = [*told[:MAX_ADDRESSES], *worked][:MAX_ADDRESSES]


def _take_hearsay(known: KnownPeer, places: Sequence[PeerAddress]) -> None:
    for place in places:
        if any(each.place == place for each in known.addresses):
            continue
        if len(known.addresses) >= MAX_ADDRESSES:
            doubtful = [each for each in known.addresses if not each.is_sure and each.failures]
            if not doubtful:
                return
            known.addresses.remove(doubtful[0])
        known.addresses.append(KnownAddress(place, is_sure=False))


def _make_room(known: KnownPeer) -> None:
    if len(known.addresses) >= MAX_ADDRESSES:
        known.addresses.remove(max(known.addresses, key=_promise))
