"""Receipts that this node refuted, kept with their evidence for whoever judges them (`Court`).

A case is a journal stream of one record, by its receipt's id: award, start and receipt as they were signed, and what
was found instead. That is what a court asks for, and what shows later why a provider was not paid. On the escrow rail
nothing more is needed today: only a claim could pay for the part, and a claim above what was accepted is contested
(node/app/judging.py, ADR 1004). On a channel the part is not accepted, and its hold stays until both agree, its time
is over, or an arbiter enforces it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import structlog

from node.operations.clock import Clock
from node.storage.errors import ConcurrentAppend
from node.storage.machine_log import Journal, Machine, load_machine, open_machine
from protocol.errors import UnexpectedEvent
from protocol.identity import Digest
from protocol.market.objects import Offer
from protocol.settlement.deadlines import deadlines_of
from protocol.signing.signed import Signed
from protocol.task.manifest import Manifest
from protocol.task.purchase_states import Case
from protocol.wire.codec import tagged

log = structlog.stdlib.get_logger(__name__)

PREFIX: Final = "case/"


@tagged(1)
@dataclass(frozen=True, slots=True, kw_only=True)
class HeldCase:
    """A case with the offer that its award repeats."""

    case: Case
    offer: Signed[Offer]


def _nothing_follows(_held: HeldCase, event: HeldCase) -> tuple[HeldCase, tuple[()]]:
    raise UnexpectedEvent(f"nothing follows on case {event.case.receipt_id.hex()}")


CASE: Final = Machine[HeldCase, HeldCase, HeldCase, tuple[()]](
    context=HeldCase, events=HeldCase, begin=lambda held: held, transition=_nothing_follows
)


def stream_of(receipt_id: Digest) -> str:
    """Return the journal stream of a case."""
    return f"{PREFIX}{receipt_id.hex()}"


class CaseBook:
    """The court of a node without one: it keeps what a court would need."""

    def __init__(
        self, journal: Journal, open_streams: Callable[[str], Awaitable[tuple[str, ...]]], clock: Clock
    ) -> None:
        self._journal, self._open_streams, self._clock = journal, open_streams, clock

    async def dispute(self, case: Case, offer: Signed[Offer], manifest: Manifest) -> None:
        """See `Court`."""
        del manifest  # its blobs are the requester's own, and the award leads to it
        try:
            await open_machine(self._journal, CASE, stream_of(case.receipt_id), HeldCase(case=case, offer=offer))
        except ConcurrentAppend:
            return
        log.warning("case.opened", award=case.receipt.value.award.hex(), part=case.receipt.value.part)

    async def close_old(self) -> None:
        """Let go of cases whose awards nobody can judge any more; they go with the rest of what is over."""
        for stream in await self._open_streams(PREFIX):
            machine = await load_machine(self._journal, CASE, stream)
            if deadlines_of(machine.context.case.award.value).latest_resolve_by < self._clock.now():
                await machine.close()
