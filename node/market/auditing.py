"""Audits: the receipt is judged by a second result for its part, of this node or a third one, or by a test."""

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import structlog
import trio
from blake3 import blake3

from node.market.ports import Blobs, PartRun, Referee, Sandbox
from node.market.testing import run_test, usage_of_run
from node.operations.clock import Clock
from protocol.errors import StoaError, TransientError
from protocol.identity import ContentDigest
from protocol.settlement.deadlines import deadlines_of
from protocol.task.audit import Finding, Rerun, compare, make_rerun
from protocol.task.manifest import Blob
from protocol.task.messages import REASON_MAX
from protocol.task.objects import Receipt
from protocol.task.outcome import Outcome, describe, is_judged
from protocol.task.purchase_events import AuditPassed, AuditRefuted, ReceiptContested
from protocol.task.purchase_states import Auditing
from protocol.task.receipt import Terms
from protocol.task.testing import judge_by_test, may_be_provoked
from protocol.task.verification import ByTest

log = structlog.stdlib.get_logger(__name__)

RETRY_S: Final = 1.0
TRIES: Final = 3
LOCAL_SHARE: Final = 0.5
"""Of that patience: how long this node's own run is waited for, if there is a third node to ask instead."""
PATIENCE_SHARE: Final = 0.75
"""Of `pace`, which is how long a provider waits for its pay: what takes longer would cost us an honest provider."""


class Third(Protocol):
    """Finds a result by hiring somebody else: evidence, but not proof, since a stranger gives it."""

    async def find(self, terms: Terms, part: int, *, within_s: float) -> Rerun | str:
        """See `Referee`; the provider of the award, and whoever else has worked on its task, is never asked."""
        ...


class ReceiptAuditor:
    """Judges receipts by what this node finds, or a third one where it finds nothing."""

    def __init__(self, local: Referee, third: Third | None, blobs: Blobs, clock: Clock) -> None:
        self._local, self._third, self._blobs, self._clock = local, third, blobs, clock

    async def look_again(self, terms: Terms, auditing: Auditing) -> AuditPassed | AuditRefuted | ReceiptContested:
        """See `Auditor`."""
        if isinstance(terms.policy, ByTest):
            return await self._look_at_output(terms, auditing)
        receipt, part = auditing.receipt.value, auditing.receipt.value.part
        until = self._clock.monotonic() + PATIENCE_SHARE * terms.award.pace
        share = LOCAL_SHARE if self._third is not None else 1.0
        found = await self._local.find(terms, part, within_s=share * PATIENCE_SHARE * terms.award.pace)
        by_third = False
        if isinstance(found, str) and self._third is not None:
            by_third, why = True, found
            found = await self._third.find(terms, part, within_s=until - self._clock.monotonic())
            found = found if isinstance(found, Rerun) else f"{why}; {found}"
        if isinstance(found, str):
            finding, reason = Finding.UNDECIDED, found
        else:
            compared = compare(terms, auditing.running.due, receipt, found)
            finding, reason = compared.finding, compared.reason
        level = log.info if finding is Finding.EQUAL else log.warning
        level("part.audited", part=part, finding=finding.name.lower(), reason=reason, by_third=by_third)
        if finding is not Finding.DIFFERENT or isinstance(found, str):
            return AuditPassed(receipt_id=auditing.receipt_id, finding=finding, reason=reason[:REASON_MAX])
        await keep_evidence(self._blobs, terms, receipt, found)
        if by_third:
            told = f"{reason} by another provider"[:REASON_MAX]
            return ReceiptContested(receipt_id=auditing.receipt_id, rerun=found, reason=told)
        return AuditRefuted(receipt_id=auditing.receipt_id, rerun=found, reason=reason[:REASON_MAX])

    async def _look_at_output(self, terms: Terms, auditing: Auditing) -> AuditPassed | AuditRefuted | ReceiptContested:
        """Judge by the offer's test, which this node runs: no third one is asked what can be seen here (TM9)."""
        receipt, receipt_id = auditing.receipt.value, auditing.receipt_id
        output = Blob(digest=receipt.output, size=await self._blobs.size(receipt.output))
        found = await self._local.test(terms, receipt.part, output, within_s=PATIENCE_SHARE * terms.award.pace)
        if isinstance(found, str):
            log.warning("part.not_tested", part=receipt.part, reason=found)
            return AuditPassed(receipt_id=receipt_id, finding=Finding.UNDECIDED, reason=found[:REASON_MAX])
        judged = judge_by_test(receipt, found)
        level = log.info if judged.finding is Finding.EQUAL else log.warning
        level("part.tested", part=receipt.part, finding=judged.finding.name.lower(), reason=judged.reason)
        if judged.finding is Finding.DIFFERENT or may_be_provoked(found):
            await keep_evidence(self._blobs, terms, receipt, found)
        if judged.finding is Finding.DIFFERENT:
            return AuditRefuted(receipt_id=receipt_id, rerun=found, reason=judged.reason[:REASON_MAX])
        if may_be_provoked(found):
            return ReceiptContested(receipt_id=receipt_id, rerun=found, reason=judged.reason[:REASON_MAX])
        return AuditPassed(receipt_id=receipt_id, finding=judged.finding, reason=judged.reason[:REASON_MAX])


class LocalReferee:
    """Runs parts again, and tests, in this node's sandbox."""

    def __init__(self, sandbox: Sandbox, clock: Clock) -> None:
        self._sandbox, self._clock = sandbox, clock

    async def find(self, terms: Terms, part: int, *, within_s: float) -> Rerun | str:
        """See `Referee`."""
        found: Rerun | str = "there was no time to run the part again"
        with trio.move_on_after(within_s):
            found = await self._run_again(terms, part)
        if isinstance(found, Rerun) and not is_judged(found.outcome):
            return f"run again, it ended with: {describe(found.outcome)}"
        return found

    async def test(self, terms: Terms, part: int, output: Blob, *, within_s: float) -> Rerun | str:
        """See `Referee`."""
        began = False

        def note(_fuel: int, _bytes_out: int) -> None:
            nonlocal began
            began = True

        found: Rerun | str | None = None
        with trio.move_on_after(within_s):
            found = await self._try(terms, lambda: run_test(self._sandbox, terms, part, output, note))
        if found is None and began:  # the output is what it walked through, so this may be its provider's doing
            return _out_of_time()
        return "there was no time to test the output" if found is None else found

    async def _run_again(self, terms: Terms, part: int) -> Rerun | str:
        """Return the second result, or why there is none: then nothing is held against the first."""

        async def run() -> Rerun:
            return rerun_of_run(terms, await self._sandbox.run(terms.manifest, part, _watched_by_nobody))

        return await self._try(terms, run)

    async def _try(self, terms: Terms, run: Callable[[], Awaitable[Rerun]]) -> Rerun | str:
        why = "this node does not run the engine of the task"
        if self._sandbox.engine != terms.manifest.engine:
            return why
        for _ in range(TRIES):
            try:
                return await run()
            except TransientError as error:
                why = f"this node could not run it again: {error}"
                await self._clock.sleep(RETRY_S)
            except StoaError as error:
                return f"this node could not run it again: {error}"
        return why


def _out_of_time() -> Rerun:
    nothing = ContentDigest(blake3(b"").digest())
    return Rerun(outcome=Outcome.WALL_LIMIT, output=nothing, fuel=0, peak_mib=0, bytes_in=0, bytes_out=0)


async def keep_evidence(blobs: Blobs, terms: Terms, receipt: Receipt, against: Rerun) -> None:
    """Keep what a receipt states, and what contradicts it, for as long as anybody could judge."""
    until = deadlines_of(terms.award).latest_resolve_by
    for blob in (receipt.output, receipt.logs, against.output):
        await blobs.keep(blob, until)


def rerun_of_run(terms: Terms, run: PartRun) -> Rerun:
    """Return a run of this node's sandbox as a receipt would state it."""
    fuel = terms.manifest.limits.fuel
    return make_rerun(fuel, outcome=run.outcome, output=run.output, usage=usage_of_run(run))


def _watched_by_nobody(_fuel: int, _bytes_out: int) -> None:
    """Nobody is billed for it."""
