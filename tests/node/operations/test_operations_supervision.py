import itertools
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.operations.clock import TrioClock
from node.operations.health import HealthRegistry, Status
from node.operations.randomness import SeededRandomSource
from node.operations.supervision import (
    FIRST_DELAY_S,
    HEALTHY_S,
    LONGEST_DELAY_S,
    backoff_delays,
    open_supervisor,
    run_restarting,
)
from protocol.errors import ProtocolError, TransientError
from protocol.units import UnixTime


class ChainAway(TransientError):
    advice = "Start the chain."


class Flaky:
    """A service that fails at the given times after each start, then runs for ever."""

    def __init__(self, *fails_after_s: float, before_ready: bool = False) -> None:
        self.fails_after_s = list(fails_after_s)
        self.before_ready = before_ready
        self.starts: list[float] = []

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        self.starts.append(trio.current_time())
        if self.fails_after_s:
            after_s = self.fails_after_s.pop(0)
            if not self.before_ready:
                task_status.started(len(self.starts))
            await trio.sleep(after_s)
            raise ChainAway("no answer")
        task_status.started(len(self.starts))
        await trio.sleep_forever()


def health_and_clock() -> tuple[HealthRegistry, TrioClock]:
    clock = TrioClock.starting_at(UnixTime(1000))
    return HealthRegistry(clock), clock


async def test_a_transient_failure_restarts_one_service_and_not_the_others(autojump_clock: MockClock) -> None:
    health, clock = health_and_clock()
    flaky, steady = Flaky(1.0, 1.0), Flaky()
    async with open_supervisor(health=health, clock=clock, random=SeededRandomSource(1)) as supervisor:
        assert await supervisor.start("flaky", flaky.run) == 1
        await supervisor.start("steady", steady.run)
        await trio.sleep(1.01)
        assert health.latest()["service.flaky"].status == Status.DEGRADED
        assert health.latest()["service.flaky"].reason == "ChainAway: no answer"
        assert health.latest()["service.flaky"].advice == "Start the chain."
        assert health.latest()["service.steady"].status == Status.OK
        await trio.sleep(60)
        assert health.latest()["service.flaky"].status == Status.OK
    assert len(flaky.starts) == 3
    assert len(steady.starts) == 1
    first, second = (later - 1.0 - earlier for earlier, later in itertools.pairwise(flaky.starts))
    assert FIRST_DELAY_S / 2 <= first <= FIRST_DELAY_S <= second <= 2 * FIRST_DELAY_S


async def test_a_service_that_is_not_ready_at_first_is_awaited(autojump_clock: MockClock) -> None:
    health, clock = health_and_clock()
    flaky = Flaky(1.0, 1.0, before_ready=True)
    async with open_supervisor(health=health, clock=clock, random=SeededRandomSource(1)) as supervisor:
        assert await supervisor.start("flaky", flaky.run) == 3


async def test_a_long_healthy_run_starts_the_delays_anew(autojump_clock: MockClock) -> None:
    health, clock = health_and_clock()
    flaky = Flaky(*[1.0] * 6, HEALTHY_S)
    async with open_supervisor(health=health, clock=clock, random=SeededRandomSource(1)) as supervisor:
        await supervisor.start("flaky", flaky.run)
        await trio.sleep(1000)
    delays = [later - earlier for earlier, later in itertools.pairwise(flaky.starts)]
    assert delays[5] - 1.0 > 8 * FIRST_DELAY_S
    assert delays[6] - HEALTHY_S <= FIRST_DELAY_S


@pytest.mark.parametrize("bug", [KeyError("bug"), ProtocolError("nobody caught it")])
async def test_a_bug_stops_everything(bug: Exception, autojump_clock: MockClock) -> None:
    health, clock = health_and_clock()

    async def buggy(*, task_status: trio.TaskStatus[Any]) -> None:
        task_status.started()
        await trio.sleep(5)
        raise bug

    async def run() -> None:
        async with open_supervisor(health=health, clock=clock, random=SeededRandomSource(1)) as supervisor:
            await supervisor.start("steady", Flaky().run)
            await supervisor.start("buggy", buggy)
            await trio.sleep_forever()

    with pytest.RaisesGroup(type(bug), flatten_subgroups=True):
        await run()
    assert round(trio.current_time(), 6) == 5


async def test_a_bug_beside_a_transient_failure_is_still_a_bug(autojump_clock: MockClock) -> None:
    health, clock = health_and_clock()

    async def both(*, task_status: trio.TaskStatus[Any]) -> None:
        task_status.started()
        await trio.sleep(1)
        raise ExceptionGroup("", [ChainAway("x"), KeyError("bug")])

    async def run() -> None:
        async with open_supervisor(health=health, clock=clock, random=SeededRandomSource(1)) as supervisor:
            await supervisor.start("both", both)
            await trio.sleep_forever()

    with pytest.RaisesGroup(KeyError, flatten_subgroups=True):
        await run()


async def test_a_service_that_is_done_is_not_restarted(autojump_clock: MockClock) -> None:
    health, clock = health_and_clock()
    runs: list[int] = []

    async def once(*, task_status: trio.TaskStatus[Any]) -> None:
        runs.append(1)
        task_status.started()

    async with open_supervisor(health=health, clock=clock, random=SeededRandomSource(1)) as supervisor:
        await supervisor.start("once", once)
        await trio.sleep(100)
        assert "service.once" not in health.latest()
    assert runs == [1]


async def test_run_restarting_gives_up_after_the_last_delay(autojump_clock: MockClock) -> None:
    flaky = Flaky(*[0.0] * 5)
    with pytest.raises(ChainAway):
        await run_restarting(flaky.run, delays_s=[1.0, 2.0], clock=TrioClock.starting_at(UnixTime(0)))
    assert flaky.starts == [0.0, 1.0, 3.0]


def test_delays_double_up_to_the_longest_and_differ_between_nodes() -> None:
    delays = list(itertools.islice(backoff_delays(SeededRandomSource(1)), 12))
    for number, delay in enumerate(delays):
        longest = min(FIRST_DELAY_S * 2**number, LONGEST_DELAY_S)
        assert longest / 2 <= delay <= longest
    assert delays != list(itertools.islice(backoff_delays(SeededRandomSource(2)), 12))
