"""Services that stay up: a transient failure restarts one service, a bug stops the node (DESIGN, D13)."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol, cast

import structlog
import trio

from node.operations.clock import Clock
from node.operations.health import HealthRegistry, Status
from node.operations.randomness import RandomSource
from protocol.errors import StoaError, TransientError

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

FIRST_DELAY_S: Final = 0.5
LONGEST_DELAY_S: Final = 60.0
HEALTHY_S: Final = 60.0
"""A service that ran this long before it failed starts again with the first delay."""


class Service(Protocol):
    """What a supervisor runs: until cancelled, or until its work is done.

    It calls `task_status.started()` when it is ready. It may be called again after a `TransientError`, so it reads
    its state anew instead of keeping it.
    """

    def __call__(self, *, task_status: trio.TaskStatus[Any]) -> Awaitable[object]:
        """Run the service."""
        ...


def backoff_delays(random: RandomSource) -> Iterator[float]:
    """Yield waiting times in seconds for ever: doubling up to `LONGEST_DELAY_S`, each shortened by up to a half.

    The random part keeps nodes that lost the same peer or chain from coming back all at once.
    """
    longest = FIRST_DELAY_S
    while True:
        yield longest * (0.5 + 0.5 * random.uniform())
        longest = min(2 * longest, LONGEST_DELAY_S)


async def run_restarting(run: Callable[[], Awaitable[None]], *, delays_s: Iterable[float], clock: Clock) -> None:
    """Run `run`; after a `TransientError`, wait and run it again, once per delay, and a last time after them."""
    for delay_s in delays_s:
        try:
            return await run()
        except* TransientError as group:  # run() may hold a nursery, so expect a group
            log.warning("service.restart", delay_s=round(delay_s, 3), causes=list_causes(group))
        await clock.sleep(delay_s)
    return await run()


class Supervisor:
    """Runs named services side by side and tells the health registry about each as `service.<name>`."""

    def __init__(self, nursery: trio.Nursery, health: HealthRegistry, clock: Clock, random: RandomSource) -> None:
        self._nursery, self._health, self._clock, self._random = nursery, health, clock, random

    async def start(self, name: str, service: Service) -> Any:
        """Start `service` and return what it passes to `started()`, once it is ready.

        A service that fails with `TransientError` before it is ready is tried again, for as long as the caller waits.
        """
        return await self._nursery.start(self._supervise, name, service, name=name)

    async def _supervise(self, name: str, service: Service, *, task_status: trio.TaskStatus[Any]) -> None:
        delays_s = backoff_delays(self._random)
        is_ready = False
        while True:
            began = self._clock.monotonic()
            causes: list[str] = []
            try:
                async with trio.open_nursery() as nursery:
                    value: object = await nursery.start(service)
                    self._health.report(f"service.{name}", Status.OK)
                    if not is_ready:
                        is_ready = True
                        task_status.started(value)
            except* TransientError as group:
                causes = list_causes(group)
                self._health.report(
                    f"service.{name}", Status.DEGRADED, reason="; ".join(causes), advice=_first_advice(group)
                )
            if not causes:
                self._health.forget(f"service.{name}")
                log.info("service.finished", service=name)
                return
            if self._clock.monotonic() - began >= HEALTHY_S:
                delays_s = backoff_delays(self._random)
            delay_s = next(delays_s)
            log.warning("service.restart", service=name, delay_s=round(delay_s, 3), causes=causes)
            await self._clock.sleep(delay_s)


@asynccontextmanager
async def open_supervisor(*, health: HealthRegistry, clock: Clock, random: RandomSource) -> AsyncGenerator[Supervisor]:
    """Give a supervisor whose services are cancelled when the block ends; a bug in one cancels the block."""
    async with trio.open_nursery() as nursery:
        yield Supervisor(nursery, health, clock, random)
        nursery.cancel_scope.cancel()


def list_causes(group: BaseExceptionGroup[BaseException]) -> list[str]:
    """Return type and text of each exception in a group of groups."""
    return [f"{type(error).__name__}: {error}" for error in _leaves(group)]


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(cast("BaseExceptionGroup[BaseException]", error))
        else:
            yield error


def _first_advice(group: BaseExceptionGroup[BaseException]) -> str:
    return next((error.advice for error in _leaves(group) if isinstance(error, StoaError) and error.advice), "")
