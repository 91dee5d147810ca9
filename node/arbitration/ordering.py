"""A user's order to open a case, or to appeal: made durable, and followed by what does it by itself (PT18 to PT20)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import structlog
import trio

from node.arbitration.party import Party
from node.arbitration.party_room import PartyRoom
from node.arbitration.quoting import Quote, QuoteParts, Quoting
from node.arbitration.refusals import DearerThanAgreed, NothingToGain
from protocol.dispute.party import AppealOrdered, Brief, CaseOrdered, Held, Open, State
from protocol.identity import Digest
from protocol.units import Amount

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

BY_HAND: Final = "ordered by hand"
MOST_BYTES: Final = 512
"""Of a reason."""
WAIT_S: Final = 300.0
"""How long a user is kept waiting for the chain. The order is durable, and is followed all the same."""


class Ordering:
    """What a user may have this node do in court, beside what it does by itself."""

    def __init__(self, room: PartyRoom, party: Party, parts: QuoteParts) -> None:
        self._room, self._party = room, party
        self.quoting: Final = Quoting(room, parts)

    async def open(self, digits: str, bond: Amount, *, anyway: bool) -> Digest:
        """Have a case opened; return its award once it is open and confirmed, or once something is in the way.

        Safe to repeat: there is one case an award, and one order.

        Args:
            digits: The award's id, or how it begins.
            bond: Most to put down.
            anyway: Whether also if there is nothing to gain; then nothing is run again before.

        Raises:
            ProtocolError: Nothing was ordered: `Quoting.opening`, `DearerThanAgreed`, `NothingToGain`.
            TransientError: Nothing was ordered; the chain can't be reached, or the disk is full.
        """
        quote = await self.quoting.opening(digits, look=not anyway)
        _require_agreed(quote, bond, anyway=anyway)
        award, files = quote.brief.award_id, self._room.files
        await files.hold(_with_reason(quote))
        await files.apply(award, CaseOrdered())
        log.info("dispute.ordered", award=award.hex(), bond=quote.bond, reason=quote.found)
        await self._wait(award, lambda state: isinstance(state, Held))
        return award

    async def appeal(self, digits: str, bond: Amount, *, anyway: bool) -> Digest:
        """Have a round appealed; otherwise as `open`."""
        quote = await self.quoting.appeal(digits)
        _require_agreed(quote, bond, anyway=anyway)
        award = quote.brief.award_id
        await self._room.files.apply(award, AppealOrdered(round=quote.number))
        log.info("dispute.appeal_ordered", award=award.hex(), round=quote.number, bond=quote.bond)
        await self._wait(award, lambda state: isinstance(state, Open) and state.number < quote.number)
        return award

    async def _wait(self, award: Digest, is_waiting: Callable[[State], bool]) -> None:
        files = self._room.files
        with trio.move_on_after(WAIT_S):
            while True:
                change = files.next_change()
                machine = files.open.get(award)
                if machine is None or not is_waiting(machine.state.state) or self._party.problem_of(award):
                    return
                await change.wait()


def _require_agreed(quote: Quote, bond: Amount, *, anyway: bool) -> None:
    if quote.bond > bond:
        raise DearerThanAgreed(quote.bond, bond)
    if quote.warning and not anyway:
        raise NothingToGain(quote.warning)


def _with_reason(quote: Quote) -> Brief:
    """Return the brief with words that say why there is a case: whoever reads them may not have ordered it."""
    words = f"{BY_HAND}: {quote.found}".encode()[:MOST_BYTES]
    return replace(quote.brief, reason=words.decode(errors="ignore"))
