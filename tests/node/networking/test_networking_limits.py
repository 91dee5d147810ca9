# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportUnknownVariableType=false
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from node.networking.limits import BAN_S, STRIKES, Buckets, Conduct, Rate, TokenBucket
from protocol.identity import PeerId

PEER, OTHER = PeerId("a"), PeerId("b")


async def test_a_bucket_gives_its_burst_and_then_its_rate(autojump_clock: MockClock) -> None:
    bucket = TokenBucket(Rate(per_s=2, burst=5))
    assert [bucket.take() for _ in range(6)] == [True] * 5 + [False]
    await trio.sleep(0.49)
    assert not bucket.take()
    await trio.sleep(0.02)
    assert bucket.take()
    await trio.sleep(1000)
    assert [bucket.take() for _ in range(6)] == [True] * 5 + [False]


async def test_waiting_for_a_bucket_takes_as_long_as_its_rate_says(autojump_clock: MockClock) -> None:
    bucket = TokenBucket(Rate(per_s=2, burst=5))
    for _ in range(25):
        await bucket.wait()
    assert trio.current_time() == pytest.approx(10, abs=0.01)


@given(st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0, 100.0]), max_size=30))
def test_a_bucket_never_gives_more_than_burst_plus_rate(pauses: list[float]) -> None:
    async def run() -> None:
        bucket, given_ = TokenBucket(Rate(per_s=3, burst=4)), 0
        start = trio.current_time()
        for pause in pauses:
            await trio.sleep(pause)
            while bucket.take():
                given_ += 1
            assert given_ <= 4 + 3 * (trio.current_time() - start) + 1e-6

    trio.run(run, clock=MockClock(autojump_threshold=0))


async def test_keys_have_buckets_of_their_own_and_the_idlest_is_forgotten() -> None:
    buckets: Buckets[str] = Buckets(Rate(per_s=0.001, burst=1), max_keys=2)
    assert buckets.take("a")
    assert buckets.take("b")
    assert not buckets.take("a")
    assert buckets.take("c")  # drops b
    assert not buckets.take("a")
    assert buckets.take("b")


async def test_strikes_make_a_ban_that_ends(autojump_clock: MockClock) -> None:
    conduct = Conduct()
    assert [conduct.strike(PEER) for _ in range(int(STRIKES) + 1)] == [False] * int(STRIKES) + [True]
    assert conduct.is_banned(PEER)
    assert not conduct.is_banned(OTHER)
    await trio.sleep(BAN_S - 1)
    assert conduct.is_banned(PEER)
    await trio.sleep(1)
    assert not conduct.is_banned(PEER)


async def test_strikes_are_forgiven_one_a_minute(autojump_clock: MockClock) -> None:
    conduct = Conduct()
    for _ in range(1000):
        assert not conduct.strike(PEER)
        await trio.sleep(61)
