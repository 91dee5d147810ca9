"""The loop that every long-lived market machine runs in: perform what is needed, journal what came of it, go on.

Each state of such a machine needs at most one thing that takes time, and the end of that thing is the next event. A
crash at any point starts the loop again from what is outstanding in the replayed state.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Generic, TypeVar

import trio

from node.storage.machine_log import MachineLog

S = TypeVar("S")
E = TypeVar("E")
F = TypeVar("F")


class Interrupt(Generic[E]):
    """An event from outside that overtakes whatever is being done: a cancellation."""

    def __init__(self) -> None:
        self._raised = trio.Event()
        self._event: E | None = None

    def raise_event(self, event: E) -> None:
        """Overtake with `event`; the first one counts."""
        if self._event is None:
            self._event = event
            self._raised.set()

    async def wait(self) -> E:
        """Return the event once it is raised."""
        await self._raised.wait()
        assert self._event is not None
        return self._event


async def drive(
    machine: MachineLog[Any, S, E, F],
    *,
    outstanding: Callable[[S], Iterable[F]],
    perform: Callable[[F], Awaitable[E | None]],
    is_interruptible: Callable[[F], bool],
    interrupt: Interrupt[E],
    on_event: Callable[[E], None],
) -> None:
    """Run `machine` until its state needs nothing more, and close its stream.

    Args:
        machine: Where events become durable.
        outstanding: What a replayed state needs.
        perform: Does one effect; returns the event that came of it, if any.
        is_interruptible: Whether an effect may be dropped half-way for `interrupt`.
        interrupt: What overtakes.
        on_event: Told of every event once it is durable.
    """
    pending = deque(outstanding(machine.state))
    while pending:
        effect = pending.popleft()
        event = await (_first(perform(effect), interrupt.wait()) if is_interruptible(effect) else perform(effect))
        if event is not None:
            # The new state names all that it needs, so what was pending for the old one is moot.
            pending = deque(await machine.apply(event))
            on_event(event)
    await machine.close()


async def _first(work: Awaitable[E | None], overtaking: Awaitable[E]) -> E | None:
    """Return the result of whichever ends first, and cancel the other."""
    results: list[E | None] = []

    async def run(awaitable: Awaitable[E | None]) -> None:
        results.append(await awaitable)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, work)
        nursery.start_soon(run, overtaking)
    return results[0]
