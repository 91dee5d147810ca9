"""One money machine, live: its stream, its view of the time, and the loop that does what its state needs."""

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, Generic, TypeVar

import structlog
import trio

from node.operations.clock import Clock
from node.payments.errors import NotSeenYet
from node.payments.tracked import Rules, Step, Tracked
from node.storage.machine_log import MachineLog
from protocol.errors import ChainRejected, ProtocolError, StoaError, TransientError
from protocol.units import UnixTime

C = TypeVar("C")
S = TypeVar("S")
E = TypeVar("E")
F = TypeVar("F")

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

FIRST_RETRY_S: Final = 0.25
LONGEST_RETRY_S: Final = 30.0
FACT_INDEX_MOST: Final = 2**32 - 1


class Pulse:
    """Something changed. Ask for the event first, look second, wait third: then no change is missed."""

    def __init__(self) -> None:
        self._next = trio.Event()

    def next_beat(self) -> trio.Event:
        """Return the event of the next change."""
        return self._next

    def beat(self) -> None:
        """Wake everybody who waits."""
        beaten, self._next = self._next, trio.Event()
        beaten.set()


class Account(Generic[C, S, E]):
    """The state of one channel or escrow on one side.

    `now` gives the time of the newest confirmed block; `on_change` is told of the states before and after each step,
    once that is durable.
    """

    def __init__(
        self,
        machine: MachineLog[C, Tracked[S], Step[E], Any],
        rules: Rules[S, E],
        now: Callable[[], UnixTime],
        on_change: Callable[[S, S], None] = lambda _before, _after: None,
    ) -> None:
        self._machine, self._rules, self._now, self._on_change = machine, rules, now, on_change
        self._told = machine.state.state
        self.pulse: Final = Pulse()
        self.guard: Final = trio.Lock()
        """Held by whoever changes the state and signs what follows from it, as one act."""
        self.failure: StoaError | None = None
        """Why this account was given up before it began, if it was."""

    @property
    def context(self) -> C:
        """What the stream opened with."""
        return self._machine.context

    @property
    def state(self) -> S:
        """Where it stands at the newest confirmed block."""
        return self._rules.advance(self._machine.state.state, self._now())

    @property
    def is_over(self) -> bool:
        """Whether nothing can happen any more."""
        return self.failure is not None or self._rules.is_over(self.state)

    async def apply(self, event: E, *, block: int = 0, index: int = 0) -> None:
        """Check an event, make it durable, then visible. One of ours that changes nothing is a repeat: not kept.

        Raises:
            OldFact: A fact that was applied before.
            ProtocolError: The machine refused; nothing changed.
        """
        step = Step(seen=self._now(), block=block, index=index, event=event)
        if block:
            await self._machine.apply(step)
        elif not await self._machine.apply_unless(
            lambda before, after: after.state == self._rules.advance(before.state, step.seen), step
        ):
            return
        # Two steps may be on their way at once: what was told last, not what was seen before waiting, comes before.
        before, self._told = self._told, self._machine.state.state
        self._on_change(before, self._told)
        self.pulse.beat()

    async def wait_until(self, is_true: Callable[[S], bool]) -> S:
        """Return the state as soon as `is_true` of it.

        Raises:
            StoaError: The account was given up (`failure`).
        """
        while True:
            beat, state = self.pulse.next_beat(), self.state
            if self.failure is not None:
                raise self.failure
            if is_true(state):
                return state
            await beat.wait()

    async def give_up(self, failure: StoaError) -> None:
        """End an account that never began."""
        await self.end()
        self.failure = failure
        self.pulse.beat()

    async def end(self) -> None:
        """Note in the journal that a restart need not take it up again."""
        await self._machine.close()


async def write_down(act: Callable[[], Awaitable[None]], clock: Clock, name: str) -> None:
    """Do what only our own disk can be in the way of, for as long as that takes."""
    while True:
        try:
            return await act()
        except TransientError as error:
            log.warning("payments.not_written", account=name, reason=str(error))
            await clock.sleep(LONGEST_RETRY_S / 10)


async def keep(
    account: Account[C, S, E],
    *,
    outstanding: Callable[[S], Iterable[F]],
    perform: Callable[[F], Awaitable[None]],
    clock: Clock,
    name: str,
) -> None:
    """Do what the account's state needs, again and again, until the account is over.

    What can't be done now is tried again, more and more rarely. Something new to do is tried at once, and with it all
    that waits: a peer is often wanted again because it is there again. A change that asks for nothing new, as most new
    blocks, is looked at when the wait ends.
    """
    delay_s = FIRST_RETRY_S
    while not account.is_over:
        beat = account.pulse.next_beat()
        failed: list[F] = []
        for effect in outstanding(account.state):
            try:
                await perform(effect)
            except (TransientError, ProtocolError, ChainRejected) as error:
                level = logging.DEBUG if isinstance(error, NotSeenYet) else logging.WARNING
                log.log(level, "payments.waits", account=name, effect=type(effect).__name__, reason=str(error))
                failed.append(effect)
        if failed:
            left = [*outstanding(account.state), *failed]  # an attempt may have changed what is left
            is_new = await _wait_for_more(account, outstanding, left, clock, delay_s)
            delay_s = FIRST_RETRY_S if is_new else min(2 * delay_s, LONGEST_RETRY_S)
            continue
        delay_s = FIRST_RETRY_S
        await beat.wait()


async def _wait_for_more(
    account: Account[C, S, E], outstanding: Callable[[S], Iterable[F]], left: Sequence[F], clock: Clock, delay_s: float
) -> bool:
    """Wait for so long, or until there is something to do that is not left over; tell whether there is."""
    is_more = False
    async with trio.open_nursery() as nursery:

        async def end() -> None:
            await clock.sleep(delay_s)
            nursery.cancel_scope.cancel()

        nursery.start_soon(end)
        while not account.is_over:
            beat = account.pulse.next_beat()
            is_more = any(each not in left for each in outstanding(account.state))
            if is_more:
                break
            await beat.wait()
        nursery.cancel_scope.cancel()
    return is_more
