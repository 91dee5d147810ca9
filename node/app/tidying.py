"""Throwing away what nobody needs any more: blobs, grants, and histories that are over."""

from collections.abc import Mapping
from typing import Final

import structlog

from node.operations.clock import Clock
from node.operations.pace import run_every
from node.storage.errors import JournalBroken
from node.storage.pruning import prune
from node.storage.storage import Storage
from protocol.errors import StoaError

log = structlog.stdlib.get_logger(__name__)

TIDY_EVERY_S: Final = 600.0
DAY_S: Final = 86_400
KEEP_BIDS_D: Final = 8
"""A bid that is over matters while its offer can come again: an offer lives 7 days at most (`LONGEST_OFFER_S`)."""


def keep_s(keep_history_d: int) -> Mapping[str, int]:
    """Return for how long each kind of history is kept after its end, seconds.

    What is not named is kept for ever: channels, escrows, transactions, spending, faults of others. All of these are
    money, or proof; and they are few, or end. An auction goes after its purchase, so that no task is without one.
    """
    history_s = keep_history_d * DAY_S
    return {
        "bidding/": KEEP_BIDS_D * DAY_S,
        "delivery/": history_s,
        "purchase/": history_s,
        "comparison/": history_s,
        "hired/": history_s,
        "auction/": history_s + DAY_S,
        "scores/": history_s,
    }


async def tidy(storage: Storage, clock: Clock, keep_history_d: int) -> None:
    """Tidy up now and then, until cancelled."""
    rules = keep_s(keep_history_d)

    async def collect() -> None:
        try:
            await storage.blobs.collect_garbage()
            await storage.access.drop_expired()
            await prune(storage, rules)
        except JournalBroken:  # found on the way: it stops the node, wherever it is found
            raise
        except StoaError as error:  # a full disk, most of all, is when there is still something to collect
            log.warning("storage.not_tidied", reason=str(error))

    await run_every(collect, period_s=TIDY_EVERY_S, clock=clock)
