"""Who is asked for which group."""

from hypothesis import given
from hypothesis import strategies as st

from node.networking.blob_pool import MAX_ASKED, GroupPool
from protocol.identity import PeerId

A, B, C = PeerId("a"), PeerId("b"), PeerId("c")


def test_groups_go_out_in_order_and_each_once() -> None:
    pool = GroupPool([3, 1, 2])
    assert [pool.take(A, is_idle=True), pool.take(B, is_idle=True), pool.take(A, is_idle=False)] == [1, 2, 3]


def test_only_an_idle_holder_helps_and_first_with_what_was_asked_for_last() -> None:
    pool = GroupPool(range(3))
    for _ in range(3):
        pool.take(A, is_idle=False)
    assert pool.take(B, is_idle=False) is None
    assert pool.take(B, is_idle=True) == 2
    assert pool.take(C, is_idle=True) == 1
    assert pool.put(2) == (A, B)
    assert pool.put(2) is None
    assert pool.put(1) == (A, C)


def test_no_group_is_asked_of_more_than_two_nor_twice_of_one() -> None:
    pool = GroupPool([7])
    assert pool.take(A, is_idle=True) == 7
    assert not pool.has_work_for(A)
    assert pool.take(A, is_idle=True) is None
    assert pool.take(B, is_idle=True) == 7
    assert not pool.has_work_for(C)
    assert pool.take(C, is_idle=True) is None
    pool.lose(A)
    assert pool.take(C, is_idle=True) == 7


def test_what_only_the_lost_holder_was_asked_for_is_free_again() -> None:
    pool = GroupPool(range(4))
    for _ in range(3):
        pool.take(A, is_idle=False)
    assert pool.take(B, is_idle=True) == 3
    pool.lose(A)
    assert sorted(pool.take(B, is_idle=False) or 0 for _ in range(3)) == [0, 1, 2]


def test_a_group_that_comes_from_elsewhere_is_not_asked_for() -> None:
    pool = GroupPool([1, 2])
    assert pool.put(1) == ()
    assert pool.take(A, is_idle=True) == 2
    assert pool.put(2) == (A,)
    assert not pool.has_work_for(B)


PEERS = st.sampled_from([A, B, C])
STEPS = st.lists(
    st.tuples(st.just("take"), PEERS, st.booleans())
    | st.tuples(st.just("put"), st.integers(0, 6), st.booleans())
    | st.tuples(st.just("lose"), PEERS, st.booleans()),
    max_size=60,
)


@given(steps=STEPS)
def test_whatever_happens_every_missing_group_can_still_be_got(steps: list[tuple[str, object, bool]]) -> None:
    pool, missing = GroupPool(range(6)), set(range(6))
    asked: dict[int, set[PeerId]] = {}
    for what, who, flag in steps:
        if what == "take":
            assert isinstance(who, str)
            index = pool.take(PeerId(who), is_idle=flag)
            assert index is not None or not (flag and pool.has_work_for(PeerId(who)))
            if index is not None:
                assert index in missing
                assert who not in asked.setdefault(index, set())
                asked[index].add(PeerId(who))
                assert len(asked[index]) <= MAX_ASKED
        elif what == "put":
            assert isinstance(who, int)
            others = pool.put(who)
            assert (others is not None) == (who in missing)
            assert set(others or ()) == asked.pop(who, set())
            missing.discard(who)
        else:
            assert isinstance(who, str)
            pool.lose(PeerId(who))
            for peers in asked.values():
                peers.discard(PeerId(who))
    for peer in (A, B, C):
        pool.lose(peer)
    got = {pool.take(A, is_idle=False) for _ in range(len(missing))}
    assert got == missing
