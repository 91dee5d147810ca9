import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import trio
from trio.testing import MockClock

from node.networking.addresses import PeerAddress, parse_peer_address
from node.networking.peers.book import (
    BACKOFF_LAST_S,
    FORGOTTEN_S,
    GIVEN_UP_FAILURES,
    MAX_ADDRESSES,
    MAX_HEARD,
    MAX_HEARD_FROM_ONE,
    MAX_PROVEN,
    MAX_PROVEN_IN_ONE,
    PeerBook,
)
from protocol.identity import PeerId
from protocol.node_record import peer_id_of

NOW = 1_800_000_000.0


def peer(number: int) -> PeerId:
    return peer_id_of(number.to_bytes(32))


def make_book(now: float = NOW, seed: int = 1) -> PeerBook:
    return PeerBook(lambda: now, random.Random(seed))


def hear(book: PeerBook, number: int, *addresses: str, origin: str = "source", is_own: bool = False) -> None:
    book.hear(peer(number), addresses, origin=origin, is_own=is_own, is_near=False)


def prove(book: PeerBook, number: int, address: str, *, group: str | None = None) -> PeerAddress:
    place = parse_peer_address(address).at(peer(number))
    book.note_dialled(place)
    book.note_answer(peer(number), group=group or peer(number))
    return place


def anything(_peer: PeerId, places: Sequence[PeerAddress]) -> Sequence[PeerAddress]:
    return places


def texts(book: PeerBook, number: int) -> list[str]:
    return [str(place).partition("/p2p/")[0] for place in book.places_of(peer(number))]


async def test_others_cannot_displace_what_a_peer_says_of_itself_or_where_it_answered() -> None:
    book = make_book()
    hear(book, 1, "/ip4/20.0.0.1/tcp/1", is_own=True)
    worked = prove(book, 1, "/ip4/20.0.0.1/tcp/2")
    for thief in range(100):
        hear(book, 1, *(f"/ip4/66.6.{thief}.{host}/tcp/1" for host in range(8)), origin=f"thief {thief}")
    assert len(texts(book, 1)) == MAX_ADDRESSES
    assert set(texts(book, 1)[:2]) == {"/ip4/20.0.0.1/tcp/1", "/ip4/20.0.0.1/tcp/2"}
    hear(book, 1, "/ip4/20.0.0.1/tcp/3", is_own=True)
    assert texts(book, 1) == [f"/ip4/20.0.0.1/tcp/{port}" for port in (3, 2, 1)]
    book.note_failed(worked)
    hear(book, 1, "/ip4/20.0.0.1/tcp/3", is_own=True)
    assert texts(book, 1) == ["/ip4/20.0.0.1/tcp/3", "/ip4/20.0.0.1/tcp/1"]


async def test_hearsay_that_failed_makes_room_for_other_hearsay() -> None:
    book = make_book()
    hear(book, 1, *(f"/ip4/66.6.6.{host}/tcp/1" for host in range(MAX_ADDRESSES)))
    hear(book, 1, "/ip4/20.0.0.1/tcp/1")
    assert "/ip4/20.0.0.1/tcp/1" not in texts(book, 1)
    for place in book.due(peer(1)):
        book.note_failed(place)
    hear(book, 1, "/ip4/20.0.0.1/tcp/1")
    assert texts(book, 1)[0] == "/ip4/20.0.0.1/tcp/1"
    assert len(texts(book, 1)) == MAX_ADDRESSES


async def test_private_addresses_count_only_from_somebody_near() -> None:
    book = make_book()
    private = ("/ip4/127.0.0.1/tcp/1", "/ip4/192.168.0.1/tcp/1", "/memory/7", "not an address")
    hear(book, 1, *private)
    assert book.find(peer(1)) is None
    hear(book, 1, *private, "/dns/node.example.org/tcp/1")
    assert texts(book, 1) == ["/dns/node.example.org/tcp/1"]
    book.hear(peer(2), private, origin="x", is_own=False, is_near=True)
    assert len(texts(book, 2)) == 3


async def test_a_flood_of_records_from_one_source_displaces_only_itself() -> None:
    book = make_book()
    for number in range(1, 41):
        hear(book, number, f"/ip4/20.{number}.0.1/tcp/1", origin=f"honest {number % 4}")
        prove(book, number + 100, f"/ip4/30.{number}.0.1/tcp/1")
    for number in range(1000, 3000):
        hear(book, number, f"/ip4/{number % 200 + 1}.{number % 251}.6.6/tcp/1", origin="sybil")
    assert all(book.find(peer(number)) for number in range(1, 41))
    assert all(book.is_proven(peer(number + 100)) for number in range(1, 41))
    assert sum(book.find(peer(number)) is not None for number in range(1000, 3000)) == MAX_HEARD_FROM_ONE


async def test_a_flood_does_not_carry_along_the_honest_peers_that_it_repeats() -> None:
    book = make_book()
    for number in range(1, 21):
        hear(book, number, f"/ip4/20.{number}.0.1/tcp/1", origin="sybil")
    for number in range(1, 6):
        hear(book, number, f"/ip4/20.{number}.0.1/tcp/1", origin="honest")
    for number in range(1, 6):
        hear(book, number, f"/ip4/20.{number}.0.1/tcp/1", origin="sybil")
    for number in range(1000, 1500):
        hear(book, number, "/ip4/66.6.6.6/tcp/1", origin="sybil")
    assert [number for number in range(1, 21) if book.find(peer(number))] == [1, 2, 3, 4, 5]


async def test_many_sources_together_leave_each_honest_one_its_share() -> None:
    book = make_book()
    for number in range(1, 41):
        hear(book, number, f"/ip4/20.{number}.0.1/tcp/1", origin="honest")
    for number in range(1000, 5000):
        hear(book, number, f"/ip4/66.{number % 251}.6.6/tcp/1", origin=f"sybil {number % 20}")
    assert MAX_HEARD // 21 >= 40
    assert all(book.find(peer(number)) for number in range(1, 41))


async def test_a_peer_is_drawn_by_source_then_network_so_numbers_do_not_count() -> None:
    book = make_book()
    hear(book, 1, "/ip4/20.0.0.1/tcp/1", origin="honest")
    for number in range(1000, 1120):
        hear(book, number, "/ip4/66.6.6.6/tcp/1", origin="sybil")
    drawn = Counter(book.choose(anything)[0].peer == peer(1) for _ in range(1000))
    assert 400 <= drawn[True] <= 600


async def test_proven_peers_of_one_network_are_limited_and_the_idlest_goes() -> None:
    book = make_book()
    prove(book, 1, "/ip4/20.0.0.1/tcp/1", group="20.0.0.0/16")
    for number in range(100, 130):
        prove(book, number, f"/ip4/66.6.0.{number}/tcp/1", group="66.6.0.0/16")
    assert book.is_proven(peer(1))
    assert [number for number in range(100, 130) if book.is_proven(peer(number))] == list(
        range(130 - MAX_PROVEN_IN_ONE, 130)
    )
    for number in range(200, 200 + 2 * MAX_PROVEN):
        prove(book, number, f"/ip4/{number % 200}.{number % 256}.0.1/tcp/1")
    assert len(book.snapshot()) == MAX_PROVEN


async def test_each_address_has_a_back_off_of_its_own_that_doubles_to_five_minutes(autojump_clock: MockClock) -> None:
    book = make_book()
    hear(book, 1, "/ip4/20.0.0.1/tcp/1", "/ip4/20.0.0.1/tcp/2", is_own=True)
    bad, good = book.places_of(peer(1))
    waits: list[float] = []
    for _ in range(12):
        book.note_failed(bad)
        assert book.due(peer(1)) == (good,)
        start = trio.current_time()
        while bad not in book.due(peer(1)):
            await trio.sleep(0.1)
        waits.append(trio.current_time() - start)
    assert 1.5 <= waits[0] <= 2.6
    assert all(after >= before for before, after in pairwise(waits[:7]))
    assert all(0.79 * BACKOFF_LAST_S <= wait <= 1.21 * BACKOFF_LAST_S for wait in waits[8:])
    assert len({round(wait) for wait in waits[8:]}) > 1  # jitter, else all who lost a peer come back together
    assert book.places_of(peer(1)) == (good, bad)
    book.note_dialled(bad)
    assert set(book.due(peer(1))) == {good, bad}


async def test_a_peer_only_heard_of_that_never_answers_is_forgotten_and_a_proven_one_is_not() -> None:
    book = make_book()
    hear(book, 1, "/ip4/20.0.0.1/tcp/1")
    prove(book, 2, "/ip4/20.0.0.2/tcp/1")
    for number in (1, 2):
        for _ in range(GIVEN_UP_FAILURES):
            for place in book.places_of(peer(number)):
                book.note_failed(place)
            book.note_unreachable(peer(number))
    assert book.find(peer(1)) is None
    assert book.is_proven(peer(2))
    assert book.score_of(peer(2)) < 0


async def test_who_came_to_us_is_not_proven_by_answering() -> None:
    book = make_book()
    hear(book, 1, "/ip4/20.0.0.1/tcp/1", is_own=True)
    book.note_answer(peer(1), group=None)
    assert not book.is_proven(peer(1))
    assert book.score_of(peer(1)) > 0


async def test_proven_peers_with_a_good_score_are_drawn_more_often() -> None:
    book = make_book()
    good, bad = prove(book, 1, "/ip4/20.0.0.1/tcp/1"), prove(book, 2, "/ip4/20.0.0.2/tcp/1")
    for _ in range(50):
        book.note_news(peer(1), 1.0)
        book.note_news(peer(2), -1.0)
    drawn = Counter(book.choose(anything)[0] for _ in range(1000))
    assert drawn[good] > 5 * drawn[bad]
    assert drawn[bad] > 0


async def test_a_book_comes_back_as_it_was_and_what_it_cannot_read_is_left_out() -> None:
    book = make_book()
    prove(book, 1, "/ip4/20.0.0.1/tcp/1")
    prove(book, 2, "/ip4/20.0.0.2/tcp/1")
    hear(book, 3, "/ip4/20.0.0.3/tcp/1")
    hear(book, 1, "/ip4/66.6.6.6/tcp/1", origin="thief")
    book.note_record(peer(2), b"a record")
    book.set_anchors((peer(2),))
    stored = book.snapshot()
    again = make_book()
    again.restore(stored)
    assert again.snapshot() == stored
    assert again.anchors == (peer(2),)
    assert again.find(peer(3)) is None
    assert texts(again, 1) == ["/ip4/20.0.0.1/tcp/1"]
    damaged = make_book()
    damaged.restore([replace(stored[0], addresses=("nonsense", f"/ip4/1.2.3.4/tcp/1/p2p/{peer(9)}"))])
    assert damaged.snapshot() == ()


async def test_times_from_a_future_that_was_wrong_do_not_last() -> None:
    book = make_book(NOW + 1e9)
    prove(book, 1, "/ip4/20.0.0.1/tcp/1")
    again = make_book(NOW)
    again.restore(book.snapshot())
    known = again.find(peer(1))
    assert known is not None
    assert known.seen_at == NOW
    assert known.score.at == NOW


async def test_a_proven_peer_that_is_gone_for_a_month_is_not_saved() -> None:
    book = make_book()
    prove(book, 1, "/ip4/20.0.0.1/tcp/1")
    later = make_book(NOW + FORGOTTEN_S + 1)
    later.restore(book.snapshot())
    assert later.snapshot() == ()
