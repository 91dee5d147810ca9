import pytest
import trio
from trio.testing import MockClock

from node.operations.clock import SystemClock, TrioClock, sleep_until
from node.operations.health import CHECK_TIMEOUT_S, OK, HealthRegistry, Report, Status, compute_overall
from node.operations.pace import TokenBucket, run_every
from node.operations.randomness import RandomSource, SeededRandomSource, SystemRandomSource
from protocol.errors import StorageError
from protocol.units import UnixTime


async def test_the_worst_report_is_the_nodes(autojump_clock: MockClock) -> None:
    health = HealthRegistry(TrioClock.starting_at(UnixTime(1000)))
    assert compute_overall(health.latest()) == Status.OK
    health.report("chain", Status.DEGRADED, reason="slow")
    health.report("disk", Status.OK)
    assert compute_overall(health.latest()) == Status.DEGRADED
    health.report("disk", Status.FAILED, reason="full", advice="Free space.")
    assert compute_overall(health.latest()) == Status.FAILED
    health.forget("disk")
    assert compute_overall(health.latest()) == Status.DEGRADED


async def test_since_is_when_the_status_changed_and_not_when_it_was_last_said(autojump_clock: MockClock) -> None:
    health = HealthRegistry(TrioClock.starting_at(UnixTime(1000)))
    for reason in ("slow", "slower"):
        health.report("chain", Status.DEGRADED, reason=reason)
        await trio.sleep(10)
    assert health.latest()["chain"] == Report(status=Status.DEGRADED, reason="slower", since=UnixTime(1000))
    health.report("chain", Status.OK)
    assert health.latest()["chain"].since == 1020


async def test_checks_are_asked_at_once_and_one_that_hangs_is_a_failure(autojump_clock: MockClock) -> None:
    health = HealthRegistry(TrioClock.starting_at(UnixTime(1000)))

    async def hangs() -> Report:
        await trio.sleep(3600)
        return OK

    async def is_slow() -> Report:
        await trio.sleep(CHECK_TIMEOUT_S - 1)
        return OK

    async def fails() -> Report:
        raise StorageError("disk gone", advice="Plug it in.")

    for name, check in {"a": hangs, "b": is_slow, "c": fails}.items():
        health.register(name, check)
    reports = await health.examine()
    assert round(trio.current_time(), 6) == CHECK_TIMEOUT_S
    assert [report.status for report in reports.values()] == [Status.FAILED, Status.OK, Status.FAILED]
    assert "no answer" in reports["a"].reason
    assert (reports["c"].reason, reports["c"].advice) == ("disk gone", "Plug it in.")


async def test_a_bucket_lets_through_its_burst_and_then_its_rate(autojump_clock: MockClock) -> None:
    bucket = TokenBucket(per_second=2.0, burst=3.0, clock=TrioClock.starting_at(UnixTime(0)))
    assert [bucket.try_take() for _ in range(4)] == [True, True, True, False]
    await trio.sleep(0.49)
    assert not bucket.try_take()
    await trio.sleep(0.02)
    assert bucket.try_take()
    assert not bucket.is_full()
    await trio.sleep(1000)
    assert bucket.is_full()
    assert not bucket.try_take(3.1)
    assert bucket.try_take(3.0)
    assert not bucket.try_take()


@pytest.mark.parametrize(("per_second", "burst"), [(0, 1), (1, 0), (-1, 1)])
def test_a_bucket_that_lets_nothing_through_is_refused(per_second: float, burst: float) -> None:
    with pytest.raises(ValueError, match="never lets anything through"):
        TokenBucket(per_second=per_second, burst=burst, clock=SystemClock())


async def test_a_schedule_keeps_its_period_whatever_the_runs_take(autojump_clock: MockClock) -> None:
    times: list[float] = []

    async def run() -> None:
        times.append(trio.current_time())
        await trio.sleep(25 if len(times) == 2 else 3)

    with trio.move_on_after(60):
        await run_every(run, period_s=10, clock=TrioClock.starting_at(UnixTime(0)))
    assert [round(time, 6) for time in times] == [0, 10, 35, 45, 55]


async def test_sleep_until_returns_in_the_second_that_was_named(autojump_clock: MockClock) -> None:
    await trio.sleep(0.3)
    clock = TrioClock.starting_at(UnixTime(1_800_000_000))
    await trio.sleep(0.4)
    await sleep_until(clock, UnixTime(1_800_000_007))
    assert clock.now() == 1_800_000_007
    assert round(trio.current_time(), 6) == 7.3
    await sleep_until(clock, UnixTime(5))
    assert round(trio.current_time(), 6) == 7.3


def test_the_system_clock_agrees_with_itself() -> None:
    clock = SystemClock()
    before, middle, after = clock.unix_time(), clock.now(), clock.unix_time()
    assert int(before) <= middle <= after
    assert clock.monotonic() <= clock.monotonic()


@pytest.mark.parametrize("source", [SystemRandomSource(), SeededRandomSource(7)])
def test_random_sources_keep_their_ranges(source: RandomSource) -> None:
    assert [len(source.bytes(count)) for count in (0, 1, 32)] == [0, 1, 32]
    assert {source.below(2) for _ in range(100)} == {0, 1}
    assert all(0 <= source.uniform() < 1 for _ in range(100))
    assert source.bytes(32) != source.bytes(32)


def test_a_seed_replays_and_forks_do_not_disturb_one_another() -> None:
    one, other = SeededRandomSource(7), SeededRandomSource(7)
    fork = one.fork("market")
    assert fork.bytes(8) == other.fork("market").bytes(8)
    assert fork.bytes(8) != one.fork("network").bytes(8)
    assert one.bytes(8) == other.bytes(8)
    assert SeededRandomSource(8).bytes(8) != SeededRandomSource(7).bytes(8)
