# pyright: reportUnknownMemberType=false
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.networking.addresses import parse_peer_address
from node.networking.peers.admission import Held, choose_victim
from node.networking.peers.fair_table import FairTable
from node.networking.peers.groups import address_group, is_public, network_group
from node.networking.peers.score import HALF_LIFE_S, LIMIT, Score


@pytest.mark.parametrize(
    ("host", "group"),
    [
        ("198.51.100.7", "198.51.0.0/16"),
        ("198.51.255.1", "198.51.0.0/16"),
        ("198.52.0.0", "198.52.0.0/16"),
        ("::ffff:198.51.100.7", "198.51.0.0/16"),
        ("2001:db8:1:2::9", "2001:db8::/32"),
        ("2001:db9::9", "2001:db9::/32"),
        ("100.64.0.1", "100.64.0.0/16"),
        *((host, None) for host in ("127.0.0.1", "10.1.2.3", "172.31.0.1", "192.168.1.1", "169.254.1.1")),
        *((host, None) for host in ("::1", "fd00::1", "fe80::1", "::ffff:127.0.0.1", "memory-7", "")),
        ("172.32.0.1", "172.32.0.0/16"),
        ("192.169.0.1", "192.169.0.0/16"),
    ],
)
def test_a_network_is_a_16_or_a_32_and_private_ones_are_not_counted(host: str, group: str | None) -> None:
    assert network_group(host) == group


@pytest.mark.parametrize(
    ("address", "group", "dialled_by"),
    [
        ("/ip4/198.51.100.7/tcp/1", "198.51.0.0/16", "all"),
        ("/ip4/127.0.0.1/tcp/1", None, "some"),
        ("/dns/a.b.example.org/tcp/1", "example.org", "all"),
        ("/dns4/x.example.org./tcp/1", "example.org", "all"),
        ("/dns/localhost/tcp/1", "localhost", "all"),
        ("/memory/3", None, "some"),
    ],
)
def test_an_address_not_yet_dialled_counts_by_its_text(address: str, group: str | None, dialled_by: str) -> None:
    assert address_group(parse_peer_address(address)) == group
    assert is_public(parse_peer_address(address)) == (dialled_by == "all")


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 4)), max_size=200), st.integers(1, 8))
def test_a_full_table_takes_from_its_largest_group_only(puts: list[tuple[int, int]], size: int) -> None:
    table: FairTable[int, int] = FairTable(size)
    for key, group in puts:
        offered = Counter(table.group_of(each) for each in table if each != key)
        offered[group] += 1
        dropped = table.put(key, key, group=group)
        kept = Counter(table.group_of(each) for each in table)
        assert kept.total() == len(table) == min(size, offered.total())
        assert len(dropped) == offered.total() - kept.total()
        for name in offered - kept:
            assert offered[name] == max(offered.values())


def test_a_flood_displaces_nothing_of_others() -> None:
    table: FairTable[int, str] = FairTable(10, max_per_group=8)
    for key in range(4):
        table.put(key, "honest", group=key)
    for key in range(100, 1100):
        table.put(key, "flood", group="attacker")
    assert [table.get(key) for key in range(4)] == ["honest"] * 4
    assert len(table) == 10
    assert sorted(table)[-6:] == list(range(1094, 1100))


def test_a_group_has_a_limit_of_its_own_and_an_entry_may_change_groups() -> None:
    table: FairTable[int, int] = FairTable(10, max_per_group=2)
    for key in range(3):
        table.put(key, key, group="one")
    assert sorted(table) == [1, 2]
    assert table.is_smaller("two", "one")
    table.put(1, 11, group="two")
    assert table.group_of(1) == "two"
    table.put(3, 3, group="one")
    assert sorted(table) == [1, 2, 3]
    assert table.pop(1) == 11
    assert table.pop(1) is None


def held(group: str, *, score: float = 0.0, opened_at: float = 0.0) -> Held:
    return Held(group=group, score=score, opened_at=opened_at)


def test_the_largest_network_pays_for_a_newcomer_with_its_worst_and_youngest() -> None:
    connections = [held("a", opened_at=5), held("b", score=-50), held("a", score=1), held("a", opened_at=3)]
    assert choose_victim(connections, held("c", opened_at=9)) == 0
    assert choose_victim(connections, held("b", opened_at=9)) == 0


def test_a_newcomer_from_the_largest_network_must_be_better_than_one_there() -> None:
    connections = [held("a", opened_at=1), held("a", score=1), held("b", score=-50)]
    assert choose_victim(connections, held("a", opened_at=9)) is None
    assert choose_victim(connections, held("a", score=0.5, opened_at=9)) == 0


def test_where_all_are_apart_only_who_behaved_badly_goes() -> None:
    assert choose_victim([held("a"), held("b", score=5)], held("c", opened_at=9)) is None
    assert choose_victim([held("a"), held("b", score=-5)], held("c", opened_at=9)) == 1
    assert choose_victim([], held("c")) is None


def test_a_score_decays_by_half_a_day_and_is_bounded() -> None:
    score = Score().plus(80, 1000.0)
    assert score.now(1000.0 + HALF_LIFE_S) == pytest.approx(40)
    assert score.now(0.0) == 80  # a clock that went back
    assert score.plus(80, 1000.0).value == LIMIT
    assert score.plus(-500, 1000.0).value == -LIMIT
    assert abs(score.now(1000.0 + 60 * HALF_LIFE_S)) < 1e-9
