"""The confirmed facts of the chain, each handed to whom it concerns, in order."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, Protocol

import structlog
import trio

from node.payments.account import Pulse
from node.payments.errors import ChainRewound
from node.payments.ports import Chain, Fact, Mark, Rewound
from protocol.errors import TransientError
from protocol.units import UnixTime

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

CURSOR: Final = "payments.facts"
NOTE_EVERY: Final = 256
"""Blocks without a fact for us after which the place is noted all the same."""
RETRY_S: Final = 1.0
"""Before a fact that could not be written is delivered again."""


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
            ChainRewound: Confirmed blocks left the chain. The next start reads on from there; facts that were applied
                before change nothing.
        """
        facts = self._chain.subscribe(await self._cursors.get(CURSOR))
        task_status.started()
        while True:
            delivery = await facts.receive()
            mattered = False
            async with self._lock:  # from the first fact of a range to its end: nobody sees half of it
                while not isinstance(delivery, Mark):
                    if isinstance(delivery, Rewound):
                        # Told once: a node that never started again would answer no exit and claim nothing.
                        await self._note(delivery)
                        raise ChainRewound(delivery.to)
                    mattered |= await self._hand_on(delivery, deliver)
                    delivery = await facts.receive()
                self.number, self.time = delivery.number, max(self.time, delivery.time)
            on_block()
            self.pulse.beat()
            if mattered or self.number - self._noted >= NOTE_EVERY:
                await self._note(delivery)

    async def _hand_on(self, fact: Fact, deliver: Callable[[Fact], Awaitable[bool]]) -> bool:
        """Deliver a fact for as long as it takes: on a full disk none may be skipped, and none ends the node."""
        while True:
            try:
                return await deliver(fact)
            except TransientError as error:
                log.warning("payments.fact_waits", block=fact.block, reason=str(error))
                await trio.sleep(RETRY_S)

    async def _note(self, reached: Mark | Rewound) -> None:
        """Remember the place; if that can't be written, the next start reads some facts again."""
        block = reached.number if isinstance(reached, Mark) else reached.to
        try:
            await self._cursors.set(CURSOR, reached.place)
        except TransientError as error:
            log.warning("payments.place_not_noted", block=block, reason=str(error))
        else:
            self._noted = block

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
