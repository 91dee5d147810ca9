"""What this node holds against others, kept across restarts: proofs of a fault, and omissions until they have faded.

One proof is kept a wallet, since more would change nothing; of a requester's strikes, those that count (A6b).
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
from protocol.market.observer_states import Strike
from protocol.wire.codec import UnknownKind, tagged

log = structlog.stdlib.get_logger(__name__)

PREFIX: Final = "misconduct/"
_PROOFS: Final = f"{PREFIX}proof/"
_STRIKES: Final = f"{PREFIX}strike/"
MAX_KEPT: Final = 1024
"""Of each kind. Less than memory holds: who makes up culprits by the thousand must not fill it beyond a restart."""


@tagged(1)
@dataclass(frozen=True, slots=True, kw_only=True)
class HeldProof:
    """Two messages that no honest node signs both."""

    culprit: Address
    conflict: Conflict


@tagged(3)
@dataclass(frozen=True, slots=True, kw_only=True)
class HeldStrike:
    """An auction in which this requester left somebody out, as this node saw. 2 was one without its time."""

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
        """Remember what was held before a restart. Call it before the conversation is joined.

        A strike that has faded meanwhile is let go with the next that is written down.
        """
        strikes: list[HeldStrike] = []
        for stream in await self._open_streams(PREFIX):
            try:
                held = (await load_machine(self._journal, _MACHINE, stream)).context
            except UnknownKind as error:  # of another release
                log.warning("market.misconduct_not_recalled", stream=stream, reason=str(error))
                continue
            match held:
                case HeldProof(conflict=conflict):
                    self._gossip.recall_proof(conflict)
                case HeldStrike():
                    strikes.append(held)
            self._kept.add(stream)
        for held in sorted(strikes, key=lambda held: held.strike.at):  # in the order in which they were found
            self._gossip.recall_strike(held.culprit, held.strike)

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
            await self._write(f"{_PROOFS}{culprit.hex()}", HeldProof(culprit=culprit, conflict=conflict))
        held = {
            f"{_STRIKES}{culprit.hex()}/{strike.offer_id.hex()}": HeldStrike(culprit=culprit, strike=strike)
            for culprit, strikes in observed.strikes.items()
            for strike in strikes
        }
        for stream in sorted(each for each in self._kept if each.startswith(_STRIKES) and each not in held):
            await (await load_machine(self._journal, _MACHINE, stream)).close()
            self._kept.discard(stream)
        for stream, strike in held.items():
            await self._write(stream, strike)

    async def _write(self, stream: str, held: Held) -> None:
        kind = _PROOFS if isinstance(held, HeldProof) else _STRIKES
        if stream in self._kept or sum(each.startswith(kind) for each in self._kept) >= MAX_KEPT:
            return
        try:
            await open_machine(self._journal, _MACHINE, stream, held)
        except ConcurrentAppend:
            log.debug("market.misconduct_known", stream=stream)
        self._kept.add(stream)
