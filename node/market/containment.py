"""One task's trouble is not the node's (docs/adr/0107): how a run is kept from ending others, and taken up again."""

from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from node.operations.clock import Clock
from protocol.errors import StoaError, TransientError

log = structlog.stdlib.get_logger(__name__)

FIRST_RETRY_S: Final = 1.0
LONGEST_RETRY_S: Final = 60.0


async def run_contained(run: Callable[[], Awaitable[None]], clock: Clock, what: str) -> bool:
    """Run `run` to its end, and again while what stops it may pass, such as a full disk.

    Args:
        run: Goes on from what is durable, however often it is called.
        clock: Measures the waits, each twice the one before.
        what: Names it in the log.

    Returns:
        Whether it came to its end. If not, a restart takes it up again.
    """
    delay_s = FIRST_RETRY_S
    while True:
        try:
            await run()
        except* TransientError as trouble:
            stopped: BaseExceptionGroup[StoaError] = trouble
            is_final = False
        except* StoaError as trouble:
            stopped, is_final = trouble, True
        else:
            return True
        if is_final:
            log.error("market.run_stopped", run=what, exc_info=stopped)
            return False
        log.warning("market.run_waits", run=what, reason=str(stopped.exceptions[0]), for_s=delay_s)
        await clock.sleep(delay_s)
        delay_s = min(2 * delay_s, LONGEST_RETRY_S)
