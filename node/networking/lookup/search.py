"""Finding the node of a wallet among thousands: which peer to ask next. Pure; `finder.py` asks.

As in Kademlia (Maymounkov and Mazieres 2002) each wallet has a place on a circle of numbers, distance is their XOR, and
whoever is asked for a place names those nearest to it that he knows. Every node keeps itself known to its neighbours by
looking for itself, so who gets near to a wallet gets to somebody who knows its node. There is nothing to store: what is
looked for is a node, and its record is signed, so that a liar can hide it and not forge it.

Hiding is made dear in two ways. The search goes along several paths that share no peer (Baumgart and Mies 2007,
"S/Kademlia"): one honest path is enough. And of one network only so many are asked, since wallets near to any place
cost some seconds of computing, and addresses in many networks do not.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from protocol.identity import Address, PeerId
from protocol.signing.keccak import keccak256

PATHS: Final = 3
NEAREST: Final = 8
"""A path ends when it has asked so many and knows nobody nearer."""
MAX_ASKED: Final = 12
"""By one path."""
MAX_IN_ONE_NETWORK: Final = 2
"""Asked by one path."""
MAX_KNOWN: Final = 64
"""Of one path: the nearest."""


@lru_cache(maxsize=8192)
def place_of(wallet: Address) -> int:
    """Return where a wallet is on the circle."""
    return int.from_bytes(keccak256(wallet))


def distance(one: Address, other: Address) -> int:
    """Return how far two wallets are from each other."""
    return place_of(one) ^ place_of(other)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Somebody who may know.

    Attributes:
        wallet: Where it is.
        peer: Whom to ask.
        group: Its network, as its addresses tell, or itself.
    """

    wallet: Address
    peer: PeerId
    group: str


@dataclass(slots=True)
class _Path:
    known: list[Candidate] = field(default_factory=list[Candidate])
    asked: list[Candidate] = field(default_factory=list[Candidate])
    answered: set[PeerId] = field(default_factory=set[PeerId])
    groups: Counter[str] = field(default_factory=Counter[str])


class Search:
    """One search along `PATHS` paths. Nobody is asked by two of them."""

    def __init__(self, target: Address, start: Iterable[Candidate], *, without: Iterable[PeerId] = ()) -> None:
        """Look for `target`, from those in `start` that are known; never ask those in `without`."""
        self._target = target
        self._taken: set[PeerId] = set(without)
        self._paths = [_Path() for _ in range(PATHS)]
        for index, candidate in enumerate(self._sorted(start)):
            self._paths[index % PATHS].known.append(candidate)

    @property
    def paths(self) -> range:
        """The numbers of the paths."""
        return range(len(self._paths))

    @property
    def asked(self) -> int:
        """How many have been asked in all."""
        return sum(len(path.asked) for path in self._paths)

    def next(self, path_number: int) -> Candidate | None:
        """Return whom this path asks now, or None when it is over."""
        path = self._paths[path_number]
        if len(path.asked) >= MAX_ASKED:
            return None
        answered = sorted(self._distance(each) for each in path.asked if each.peer in path.answered)
        enough = answered[NEAREST - 1] if len(answered) >= NEAREST else None
        for candidate in path.known:
            if candidate.peer in self._taken or path.groups[candidate.group] >= MAX_IN_ONE_NETWORK:
                continue
            if enough is not None and self._distance(candidate) > enough:
                return None
            self._taken.add(candidate.peer)
            path.asked.append(candidate)
            path.groups[candidate.group] += 1
            return candidate
        return None

    def hear(self, path_number: int, source: Candidate, told: Iterable[Candidate]) -> None:
        """Take in what `source` answered to this path; nothing, if it did not answer."""
        path = self._paths[path_number]
        path.answered.add(source.peer)
        known = {each.peer for each in path.known}
        path.known = self._sorted([*path.known, *(each for each in told if each.peer not in known)])[:MAX_KNOWN]

    def _distance(self, candidate: Candidate) -> int:
        return distance(self._target, candidate.wallet)

    def _sorted(self, candidates: Iterable[Candidate]) -> list[Candidate]:
        return sorted(candidates, key=self._distance)


def nearest(
    target: Address, known: Sequence[Candidate], count: int, *, max_in_one_network: int = MAX_IN_ONE_NETWORK
) -> list[Candidate]:
    """Return the `count` of `known` that are nearest to `target`, with at most so many of one network.

    `target` itself comes first, whatever its network: that is what was asked for.
    """
    found: list[Candidate] = []
    groups: Counter[str] = Counter()
    by_distance: Callable[[Candidate], int] = lambda each: distance(target, each.wallet)  # noqa: E731
    for each in sorted(known, key=by_distance):
        if each.wallet != target and groups[each.group] >= max_in_one_network:
            continue
        found.append(each)
        groups[each.group] += 1
        if len(found) == count:
            break
    return found
