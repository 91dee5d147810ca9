"""The confirmed facts of the chain, each handed to whom it concerns, in order."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, Protocol

import trio

from node.payments.account import Pulse
from node.payments.errors import ChainRewound
from node.payments.ports import Chain, Fact, Mark, Rewound
from protocol.units import UnixTime

CURSOR: Final = "payments.facts"
NOTE_EVERY: Final = 256
"""Blocks without a fact for us after which the place is noted all the same."""


class Cursors(Protocol):
    """Small named values, kept durably."""

    async def get(self, name: str) -> bytes | None:
        """Return a value, None if it was never set."""
        ...

    async def set(self, name: str, value: bytes | None) -> None:
        """Set a value durably."""
        ...


class Feed:
    """Follows the confirmed chain. After a crash it begins at an older block: who applies facts must know old ones."""

    def __init__(self, chain: Chain, cursors: Cursors) -> None:
        self._chain, self._cursors = chain, cursors
        self._lock = trio.Lock()
        self._noted = 0
        self.number = 0
        """The newest block of which every fact was handed on; 0 before the first."""
        self.time = UnixTime(0)
        """Its time."""
        self.pulse: Final = Pulse()

    def now(self) -> UnixTime:
        """Return the time of the newest confirmed block that was handed on."""
        return self.time

    async def run(
        self,
        deliver: Callable[[Fact], Awaitable[bool]],
        on_block: Callable[[], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Follow the chain until cancelled.

        Args:
            deliver: Gets each fact; says whether it mattered.
            on_block: Told after each confirmed block that time has passed.
            task_status: Ready at once, be the chain reachable or not.

        Raises:
            ChainRewound: Confirmed blocks left the chain.
        """
        facts = self._chain.subscribe(await self._cursors.get(CURSOR))
        task_status.started()
        while True:
            delivery = await facts.receive()
            mattered = False
            async with self._lock:  # from the first fact of a range to its end: nobody sees half of it
                while not isinstance(delivery, Mark):
                    if isinstance(delivery, Rewound):
                        raise ChainRewound(delivery.to)
                    mattered |= await deliver(delivery)
                    delivery = await facts.receive()
                self.number, self.time = delivery.number, max(self.time, delivery.time)
            on_block()
            self.pulse.beat()
            if mattered or self.number - self._noted >= NOTE_EVERY:
                self._noted = self.number
                await self._cursors.set(CURSOR, delivery.place)

    @asynccontextmanager
    async def paused(self) -> AsyncGenerator[int, None]:
        """Hold the chain still, as far as this node sees it, and give the number of the newest block."""
        async with self._lock:
            yield self.number

    async def wait_reached(self, block: int) -> None:
        """Wait until every fact up to `block` was handed on."""
        while True:
            beat = self.pulse.next_beat()
            if self.number >= block:
                return
            await beat.wait()
