"""What this node holds against others, kept across restarts: a proof of a fault, and an omission that it witnessed.

One of each is kept a wallet, since more would change nothing: a provider refuses a requester from the first on.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import structlog

from node.market.gossip import MarketGossip
from node.storage.errors import ConcurrentAppend
from node.storage.machine_log import Journal, Machine, load_machine, open_machine
from protocol.errors import StoaError, UnexpectedEvent
from protocol.identity import Address
from protocol.market.evidence import Conflict
from protocol.market.observer import Strike
from protocol.wire.codec import tagged

log = structlog.stdlib.get_logger(__name__)

PREFIX: Final = "misconduct/"
MAX_KEPT: Final = 1024
"""Of each kind. Less than memory holds: who makes up culprits by the thousand must not fill it beyond a restart."""


@tagged(1)
@dataclass(frozen=True, slots=True, kw_only=True)
class HeldProof:
    """Two messages that no honest node signs both."""

    culprit: Address
    conflict: Conflict


@tagged(2)
@dataclass(frozen=True, slots=True, kw_only=True)
class HeldStrike:
    """A bidder that this requester left out, as this node saw."""

    culprit: Address
    strike: Strike


Held: TypeAlias = HeldProof | HeldStrike


def _nothing_follows(_held: Held, event: Held) -> tuple[Held, tuple[()]]:
    raise UnexpectedEvent(f"nothing follows on what is held against {event.culprit.hex()}")


_MACHINE: Final = Machine[Held, Held, Held, tuple[()]](
    context=Held, events=Held, begin=lambda held: held, transition=_nothing_follows
)


class MisconductBook:
    """Brings what is held into the conversation's memory at the start, and into the journal when it is new."""

    def __init__(
        self, gossip: MarketGossip, journal: Journal, open_streams: Callable[[str], Awaitable[tuple[str, ...]]]
    ) -> None:
        self._gossip, self._journal, self._open_streams = gossip, journal, open_streams
        self._kept: set[str] = set()

    async def recall(self) -> None:
        """Remember what was held before a restart. Call it before the conversation is joined."""
        for stream in await self._open_streams(PREFIX):
            held = (await load_machine(self._journal, _MACHINE, stream)).context
            match held:
                case HeldProof(conflict=conflict):
                    self._gossip.recall_proof(conflict)
                case HeldStrike(culprit=culprit, strike=strike):
                    self._gossip.recall_strike(culprit, strike)
            self._kept.add(stream)

    async def keep(self) -> None:
        """Write down whatever is new, for ever."""
        while True:
            news = self._gossip.next_misconduct()
            try:
                await self._write_new()
            except StoaError as error:  # a full disk: it stays in memory, and the next news tries again
                log.warning("market.misconduct_not_kept", reason=str(error))
            await news.wait()

    async def _write_new(self) -> None:
        observed = self._gossip.observed
        for culprit, conflict in observed.proofs.items():
            await self._write(f"{PREFIX}proof/{culprit.hex()}", HeldProof(culprit=culprit, conflict=conflict))
        for culprit, strikes in observed.strikes.items():
            first = min(strikes, key=lambda strike: (strike.offer_id, strike.bidder))
            await self._write(f"{PREFIX}strike/{culprit.hex()}", HeldStrike(culprit=culprit, strike=first))

    async def _write(self, stream: str, held: Held) -> None:
        kind = stream.rpartition("/")[0]
        if stream in self._kept or sum(each.startswith(kind) for each in self._kept) >= MAX_KEPT:
            return
        try:
            await open_machine(self._journal, _MACHINE, stream, held)
        except ConcurrentAppend:
            log.debug("market.misconduct_known", stream=stream)
        self._kept.add(stream)
