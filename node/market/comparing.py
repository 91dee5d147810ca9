"""The copies of one task, held against each other: the shell of `protocol.task.comparison`.

Each slot is a purchase of its own, and asks here what becomes of a receipt, as it would ask an auditor. The answer
waits until all slots that may still deliver the part have, or its time is over; so no receipt is answered while another
provider could still copy what it states. Then one of those that wait decides, for all of them.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

import structlog
import trio

from node.market.auditing import LOCAL_SHARE, Third, keep_evidence
from node.market.ports import Blobs, Referee
from node.storage.machine_log import Machine, MachineLog
from protocol.errors import StoaError
from protocol.identity import Digest
from protocol.market.award import Award
from protocol.signing.signed import Signed
from protocol.task import comparison, purchase
from protocol.task.audit import Finding, Rerun, compare, rerun_of
from protocol.task.comparison import Held, PartSettled, ResultPassed, ResultsContested
from protocol.task.messages import REASON_MAX
from protocol.task.purchase_events import AuditPassed, AuditRefuted, ReceiptContested
from protocol.task.receipt import Terms
from protocol.task.verification import Lot

log = structlog.stdlib.get_logger(__name__)

PREFIX: Final = "comparison/"
REFEREE_SHARE: Final = 0.25
"""Of `pace`: with the wait for the others, what an honest provider's patience has room for (BI15)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonContext:
    """What a comparison begins with; the first record of its stream."""

    offer_id: Digest


ComparisonLog = MachineLog[ComparisonContext, comparison.Comparing, comparison.Event, tuple[()]]

COMPARISON: Final = Machine[ComparisonContext, comparison.Comparing, comparison.Event, tuple[()]](
    context=ComparisonContext,
    events=comparison.Event,
    begin=lambda _context: comparison.Comparing(),
    transition=comparison.transition,
)


def stream_of(offer_id: Digest) -> str:
    """Return the journal stream of a comparison."""
    return f"{PREFIX}{offer_id.hex()}"


Answer: TypeAlias = AuditPassed | AuditRefuted | ReceiptContested


class NotNeeded(StoaError):
    """All parts that this slot lacks were shown by others."""

    def __init__(self) -> None:
        super().__init__("no standby is needed: the other copies have the result")


class Slot(Protocol):
    """One purchase, as the others look at it."""

    @property
    def state(self) -> purchase.State:
        """Where it stands."""
        ...


class Awards(Protocol):
    """The auction behind all slots; see `AuctionRun`."""

    async def next_award(self, first_part: int, attempt: int, slot: int = 0) -> Signed[Award]:
        """See `Winners`."""
        ...

    async def send_award(self, award: Signed[Award]) -> None:
        """See `Winners`."""
        ...


class Comparer:
    """Finds out which copies are right. One a task; its slots are added before any of them runs."""

    def __init__(self, machine: ComparisonLog, referee: Referee, third: Third | None, blobs: Blobs) -> None:
        """Ask `referee` where copies differ, and `third`, if there is one, where that finds nothing."""
        self._machine, self._referee, self._third, self._blobs = machine, referee, third, blobs
        self._slots: dict[int, Slot] = {}
        self._stopped: set[int] = set()
        self._deciding: defaultdict[int, trio.Lock] = defaultdict(trio.Lock)
        self._changed = trio.Event()

    def add(self, slot: int, run: Slot) -> None:
        """Let a slot take part, also one that is over."""
        self._slots[slot] = run

    def note(self) -> None:
        """Say that some slot went one step on: whoever waits looks again."""
        self._changed.set()
        self._changed = trio.Event()

    def stop(self, slot: int) -> None:
        """Wait for a slot no more: its run ended by an error, and goes on after a restart at the soonest."""
        self._stopped.add(slot)
        self.note()

    async def close(self) -> None:
        """Note that nothing more will come of it."""
        await self._machine.close()

    async def look_again(self, terms: Terms, auditing: purchase.Auditing) -> Answer:
        """See `Auditor`."""
        part = auditing.receipt.value.part
        own = _held_of(auditing)
        with trio.move_on_after(comparison.wait_for_others_s(terms.award, part)):
            while self._is_missing(part) and self._finding(terms, part, own) is None:
                await self._changed.wait()
        async with self._deciding[part]:
            if self._finding(terms, part, own) is None:
                await self._decide(terms, part)
        finding = self._finding(terms, part, own)
        assert finding is not None
        return await self._answer(terms, auditing, finding)

    async def first_missing(self, first_part: int) -> int | None:
        """Return the first part from `first_part` on that no slot has shown; None if all are.

        What is decided and about to be accepted is waited for: else a standby would be hired for it.
        """
        while any(self._is_about_to_show(each) for each in self._running()):
            await self._changed.wait()
        shown = {
            part
            for slot in self._slots.values()
            for each in slot.state.progress.accepted
            for part in range(each.award.value.first_part, each.acceptance.part + 1)
        }
        parts = next(iter(self._slots.values())).state.progress.parts
        return next((part for part in range(first_part, parts) if part not in shown), None)

    def _finding(self, terms: Terms, part: int, own: Held) -> comparison.Event | None:
        return comparison.finding_on(self._machine.state, terms.rates, part, own)

    def _is_missing(self, part: int) -> bool:
        """Tell whether some slot may still deliver the part."""
        return any(_may_deliver(each.state, part) for each in self._running())

    def _running(self) -> Iterable[Slot]:
        return (each for number, each in self._slots.items() if number not in self._stopped)

    def _is_about_to_show(self, slot: Slot) -> bool:
        state = slot.state
        if not isinstance(state, purchase.Auditing):
            return False
        part, settled = state.receipt.value.part, self._machine.state.settled
        own = comparison.own_finding(self._machine.state, state.receipt_id)
        return state.passed is not None or part in settled or own is not None

    def _held(self, terms: Terms, part: int) -> Sequence[Held]:
        waiting: list[Held] = []
        for _, slot in sorted(self._slots.items()):
            state = slot.state
            if isinstance(state, purchase.Auditing) and state.passed is None and state.receipt.value.part == part:
                each = _held_of(state)
                if self._finding(terms, part, each) is None:
                    waiting.append(each)
        return waiting

    async def _decide(self, terms: Terms, part: int) -> None:
        event = self._weigh(terms, part, None)
        if event is None:
            event = self._weigh(terms, part, *await self._run_again(terms, part))
        assert event is not None
        await self._machine.apply(event)
        self._tell(event)
        self.note()

    async def _run_again(self, terms: Terms, part: int) -> tuple[Rerun | str, Rerun | None]:
        """Return what this node finds, and what a third one does where this one finds nothing."""
        until = trio.current_time() + REFEREE_SHARE * terms.award.pace
        share = REFEREE_SHARE if self._third is None else LOCAL_SHARE * REFEREE_SHARE
        found = await self._referee.find(terms, part, within_s=share * terms.award.pace)
        if self._third is None or isinstance(found, Rerun):
            return found, None
        third = await self._third.find(terms, part, within_s=until - trio.current_time())
        return (found, third) if isinstance(third, Rerun) else (f"{found}; {third}", None)

    def _weigh(
        self, terms: Terms, part: int, found: Rerun | str | None, third: Rerun | None = None
    ) -> comparison.Event | None:
        held = self._held(terms, part)
        return comparison.decide(self._machine.state, terms.rates, len(self._slots), part, held, found, third)

    def _tell(self, event: comparison.Event) -> None:
        basis = event.basis.name.lower() if isinstance(event, PartSettled) else type(event).__name__
        is_good = isinstance(event, PartSettled) and event.basis is comparison.Basis.AGREEMENT
        level = log.info if is_good else log.warning
        level("copies.compared", part=event.part, by=basis, reason=event.reason)

    async def _answer(self, terms: Terms, auditing: purchase.Auditing, finding: comparison.Event) -> Answer:
        receipt_id, receipt = auditing.receipt_id, auditing.receipt.value
        match finding:
            case ResultPassed(reason=reason):
                return AuditPassed(receipt_id=receipt_id, finding=Finding.UNDECIDED, reason=reason)
            case ResultsContested(reason=reason):
                other = comparison.contradiction_of(finding, terms.rates, receipt_id)
                await keep_evidence(self._blobs, terms, receipt, other)
                return ReceiptContested(receipt_id=receipt_id, rerun=other, reason=reason)
            case PartSettled(result=result, reason=reason, basis=basis):
                compared = compare(terms, auditing.running.due, receipt, result)
                if compared.finding is not Finding.DIFFERENT:
                    return AuditPassed(receipt_id=receipt_id, finding=compared.finding, reason=reason)
                await keep_evidence(self._blobs, terms, receipt, result)
                told = f"{compared.reason} ({reason})"[:REASON_MAX]
                if basis is comparison.Basis.THIRD:
                    return ReceiptContested(receipt_id=receipt_id, rerun=result, reason=told)
                return AuditRefuted(receipt_id=receipt_id, rerun=result, reason=told)


class SlotWinners:
    """One slot's share of the auction; see `Winners`."""

    def __init__(self, auction: Awards, slot: int, comparer: Comparer) -> None:
        self._auction, self._slot, self._comparer = auction, slot, comparer

    async def next_award(self, first_part: int, attempt: int) -> Signed[Award]:
        """See `Winners`. Nobody is hired for parts that others have shown meanwhile."""
        missing = await self._comparer.first_missing(first_part) if attempt else first_part
        if missing is None:
            raise NotNeeded
        return await self._auction.next_award(missing, attempt, self._slot)

    async def send_award(self, award: Signed[Award]) -> None:
        """See `Winners`."""
        await self._auction.send_award(award)

    def lot_of(self, award: Award) -> Lot | None:
        """See `Winners`: every receipt is looked at."""
        del award


def _held_of(auditing: purchase.Auditing) -> Held:
    return Held(receipt_id=auditing.receipt_id, result=rerun_of(auditing.receipt.value))


def _may_deliver(state: purchase.State, part: int) -> bool:
    """Tell whether a slot has not delivered the part yet, and may."""
    match state:
        case purchase.Done() | purchase.Failed() | purchase.Cancelled():
            return False
        case purchase.Auditing(receipt=receipt):
            return receipt.value.part < part
        case _:
            return state.progress.paid_parts <= part
