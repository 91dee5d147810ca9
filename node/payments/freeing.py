"""Freeing locks of many awards in one transaction.

Whoever wants a lock freed asks here; what is asked for within a moment goes out together. The contract undoes a batch
of which one call fails, so a batch that is refused is sent again one by one: an award that can't be freed stops no
other. What waits here is in no journal: it follows from each stake's state, so after a crash it is asked for again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog
import trio

from node.operations.clock import Clock
from node.payments.stake_ports import StakeChain
from protocol.errors import ChainRejected, ProtocolError, StoaError
from protocol.market.objects import Award
from protocol.signing.signed import Signed
from protocol.task.objects import Acceptance

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

GATHER_S: Final = 0.5
"""Locks whose freeing is worth it at one block ask one after the other."""
MOST: Final = 50
"""Awards a transaction: some 3,000,000 gas, a fraction of any block's."""


@dataclass(eq=False, kw_only=True)
class _Freeing:
    award: Award
    acceptance: Signed[Acceptance] | None
    done: trio.Event = field(default_factory=trio.Event)
    block: int = 0
    failure: Exception | None = None


class FreeDesk:
    """Where stakes have their locks freed."""

    def __init__(self, chain: StakeChain, clock: Clock) -> None:
        self._chain, self._clock = chain, clock
        self._waiting: list[_Freeing] = []
        self._came = trio.Event()

    async def free(self, award: Award, acceptance: Signed[Acceptance] | None) -> int:
        """End an award there, by its last acceptance or because it is over; return the block that confirms it.

        Raises:
            TransientError, ProtocolError, ChainRejected: As `StakeChain.free`.
        """
        freeing = _Freeing(award=award, acceptance=acceptance)
        self._waiting.append(freeing)
        self._came.set()
        try:
            await freeing.done.wait()
        finally:
            if freeing in self._waiting:
                self._waiting.remove(freeing)
        if freeing.failure is not None:
            raise freeing.failure
        return freeing.block

    async def run(self) -> None:
        """Send what is asked for until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._came.wait()
                self._came = trio.Event()
                await self._clock.sleep(GATHER_S)
                waiting, self._waiting = self._waiting, []
                for start in range(0, len(waiting), MOST):
                    nursery.start_soon(self._send, waiting[start : start + MOST])

    async def _send(self, together: Sequence[_Freeing]) -> None:
        if len(together) > 1:
            try:
                block = await self._chain.free_batch([(each.award, each.acceptance) for each in together])
            except (ChainRejected, ProtocolError) as error:
                log.info("stake.batch_refused", awards=len(together), reason=str(error))
            except StoaError as error:  # nobody knows whether it comes: each asks again
                for each in together:
                    each.failure = error
                    each.done.set()
                return
            else:
                for each in together:
                    each.block = block
                    each.done.set()
                return
        async with trio.open_nursery() as nursery:
            for each in together:
                nursery.start_soon(self._send_one, each)

    async def _send_one(self, freeing: _Freeing) -> None:
        try:
            freeing.block = await self._chain.free(freeing.award, freeing.acceptance)
        except StoaError as error:
            freeing.failure = error
        freeing.done.set()
