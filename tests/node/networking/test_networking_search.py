"""Searching for a wallet's node among hundreds, with liars among them: the pure core, driven one question at a time."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from node.networking.lookup.search import MAX_ASKED, MAX_IN_ONE_NETWORK, PATHS, Candidate, Search, distance, nearest
from protocol.identity import Address, PeerId

NODES = 600
ANSWERS = 16
KNOWN_BY_CHANCE = 24
ROUNDS = 200


@dataclass
class Someone:
    """A node of the simulated network, with the neighbours that it has met."""

    me: Candidate
    known: dict[Address, Candidate] = field(default_factory=dict[Address, Candidate])

    def answer(self, target: Address, asker: Candidate) -> list[Candidate]:
        self.known[asker.wallet] = asker
        return nearest(target, list(self.known.values()), ANSWERS)


Answer = Callable[[PeerId, Address, Candidate], Sequence[Candidate] | None]


def candidate(name: str, group: str) -> Candidate:
    return Candidate(wallet=Address(random.Random(name).randbytes(20)), peer=PeerId(name), group=group)


def search(who: Someone, target: Address, answer: Answer) -> tuple[bool, int]:
    """Look for `target`; return whether it was found, and how many were asked."""
    ongoing = Search(target, who.known.values(), without=[who.me.peer])
    going = set(ongoing.paths)
    while going:
        for path in sorted(going):
            asked = ongoing.next(path)
            if asked is None:
                going.discard(path)
                continue
            told = answer(asked.peer, target, who.me)
            if told is None:
                continue
            for each in told:
                who.known.setdefault(each.wallet, each)
            if target != who.me.wallet and any(each.wallet == target for each in told):
                return True, ongoing.asked
            ongoing.hear(path, asked, told)
    return False, ongoing.asked


@pytest.fixture(scope="module")
def network() -> dict[PeerId, Someone]:
    """A network in which everybody has joined in turn: by a few nodes met by chance, then by looking for itself."""
    chance = random.Random(20261120)
    nodes: dict[PeerId, Someone] = {}

    def answer(peer: PeerId, target: Address, asker: Candidate) -> Sequence[Candidate]:
        return nodes[peer].answer(target, asker)

    for index in range(NODES):
        one = Someone(candidate(f"node {index}", f"network {chance.randrange(200)}"))
        for other in chance.sample(list(nodes.values()), min(len(nodes), KNOWN_BY_CHANCE)):
            one.known[other.me.wallet] = other.me
        nodes[one.me.peer] = one
        search(one, one.me.wallet, answer)
    return nodes


def test_a_node_is_found_among_hundreds_by_asking_a_few(network: dict[PeerId, Someone]) -> None:
    chance = random.Random(1)
    found = 0
    asked: list[int] = []
    for _ in range(ROUNDS):
        who, target = chance.sample(list(network.values()), 2)
        fresh = Someone(who.me, {each.me.wallet: each.me for each in chance.sample(list(network.values()), 8)})
        fresh.known.pop(target.me.wallet, None)
        good, count = search(fresh, target.me.wallet, lambda peer, key, me: network[peer].answer(key, me))
        found += good
        asked.append(count)
    assert found == ROUNDS
    assert sum(asked) / ROUNDS <= 5
    assert max(asked) <= PATHS * MAX_ASKED


@pytest.mark.parametrize(("liars", "least"), [(0.2, 0.99), (0.33, 0.98), (0.5, 0.95)])
def test_liars_who_name_only_each_other_hide_few(network: dict[PeerId, Someone], liars: float, least: float) -> None:
    """So many of all nodes answer every question with the liars nearest to it, and never with what was looked for."""
    chance = random.Random(2)
    lying = {peer for peer in network if chance.random() < liars}
    ring = [network[peer].me for peer in lying]
    found = 0
    for _ in range(ROUNDS):
        who, target = (network[peer] for peer in chance.sample(sorted(set(network) - lying), 2))
        fresh = Someone(who.me, {each.me.wallet: each.me for each in chance.sample(list(network.values()), 12)})
        fresh.known.pop(target.me.wallet, None)

        def answer(peer: PeerId, key: Address, me: Candidate) -> Sequence[Candidate]:
            return nearest(key, ring, ANSWERS) if peer in lying else network[peer].answer(key, me)

        found += search(fresh, target.me.wallet, answer)[0]
    assert found >= least * ROUNDS, f"{found} of {ROUNDS}"


def test_wallets_made_to_measure_around_a_target_do_not_hide_it_if_they_are_of_few_networks(
    network: dict[PeerId, Someone],
) -> None:
    """The attack of the trade: 300 sybils nearer to the target than anybody, known to everybody, of four networks."""
    chance = random.Random(3)
    target = network[PeerId("node 77")]
    near = sorted(
        (candidate(f"sybil {index}", f"rented {index % 4}") for index in range(20_000)),
        key=lambda each: distance(target.me.wallet, each.wallet),
    )[:300]
    sybils = {each.peer for each in near}
    honest = [each for each in network.values() if each is not target]

    def answer(peer: PeerId, key: Address, me: Candidate) -> Sequence[Candidate]:
        if peer in sybils:
            return nearest(key, near, ANSWERS, max_in_one_network=99)
        return nearest(key, [*network[peer].known.values(), *near], ANSWERS)

    found = 0
    for _ in range(50):
        known = {each.me.wallet: each.me for each in chance.sample(honest, 8)} | {
            each.wallet: each for each in near[:8]
        }
        found += search(Someone(honest[0].me, known), target.me.wallet, answer)[0]
    assert found == 50


def test_a_path_asks_few_of_one_network_and_nobody_twice() -> None:
    chance = random.Random(4)
    target = candidate("target", "t").wallet
    known = [candidate(f"a {index}", f"n {index % 3}") for index in range(90)]
    ongoing = Search(target, known)
    asked = [each for path in ongoing.paths for each in iter(lambda path=path: ongoing.next(path), None)]
    assert len({each.peer for each in asked}) == len(asked) == PATHS * 3 * MAX_IN_ONE_NETWORK
    chance.shuffle(known)


def test_a_search_ends_when_nobody_nearer_is_known() -> None:
    """Everybody answers with the same few: the search does not go round in circles."""
    everybody = [candidate(f"b {index}", f"n {index}") for index in range(500)]
    target = candidate("target", "t").wallet
    calls: list[PeerId] = []

    def answer(peer: PeerId, _key: Address, _me: Candidate) -> Sequence[Candidate]:
        calls.append(peer)
        return nearest(target, everybody, ANSWERS)

    good, asked = search(Someone(candidate("me", "m"), {each.wallet: each for each in everybody[:20]}), target, answer)
    assert not good
    assert asked == len(calls) == len(set(calls)) <= PATHS * MAX_ASKED
