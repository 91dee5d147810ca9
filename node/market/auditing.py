"""Audits by this node: a part is run again in its own sandbox, and its receipt judged by what comes out."""

from typing import Final

import structlog
import trio

from node.market.ports import Blobs, PartRun, Sandbox
from node.operations.clock import Clock
from protocol.errors import StoaError, TransientError
from protocol.settlement.deadlines import deadlines_of
from protocol.task.audit import Finding, Rerun, compare, make_rerun
from protocol.task.messages import REASON_MAX
from protocol.task.objects import Receipt
from protocol.task.pricing import Usage
from protocol.task.purchase import Auditing
from protocol.task.purchase_events import AuditPassed, AuditRefuted
from protocol.task.receipt import Terms

log = structlog.stdlib.get_logger(__name__)

RETRY_S: Final = 1.0
TRIES: Final = 3
PATIENCE_SHARE: Final = 0.75
"""Of `pace`, which is how long a provider waits for its pay: what takes longer would cost us an honest provider."""


class LocalAuditor:
    """Runs parts again in this node's sandbox."""

    def __init__(self, sandbox: Sandbox, blobs: Blobs, clock: Clock) -> None:
        self._sandbox, self._blobs, self._clock = sandbox, blobs, clock

    async def look_again(self, terms: Terms, auditing: Auditing) -> AuditPassed | AuditRefuted:
        """See `Auditor`."""
        receipt = auditing.receipt.value
        found = await self.find(terms, receipt.part, within_s=PATIENCE_SHARE * terms.award.pace)
        if isinstance(found, str):
            finding, reason = Finding.UNDECIDED, found
        else:
            compared = compare(terms, auditing.running.due, receipt, found)
            finding, reason = compared.finding, compared.reason
        level = log.info if finding is Finding.EQUAL else log.warning
        level("part.audited", part=receipt.part, finding=finding.name.lower(), reason=reason)
        if finding is not Finding.DIFFERENT or isinstance(found, str):
            return AuditPassed(receipt_id=auditing.receipt_id, finding=finding, reason=reason[:REASON_MAX])
        await keep_evidence(self._blobs, terms, receipt, found)
        return AuditRefuted(receipt_id=auditing.receipt_id, rerun=found, reason=reason[:REASON_MAX])

    async def find(self, terms: Terms, part: int, *, within_s: float) -> Rerun | str:
        """See `Referee`."""
        with trio.move_on_after(within_s):
            return await self._run_again(terms, part)
        return "there was no time to run the part again"

    async def _run_again(self, terms: Terms, part: int) -> Rerun | str:
        """Return the second result, or why there is none: then nothing is held against the first."""
        manifest, why = terms.manifest, "this node does not run the engine of the task"
        if self._sandbox.engine != manifest.engine:
            return why
        for _ in range(TRIES):
            try:
                return _rerun_of(terms, await self._sandbox.run(manifest, part, _watched_by_nobody))
            except TransientError as error:
                why = f"this node could not run it again: {error}"
                await self._clock.sleep(RETRY_S)
            except StoaError as error:
                return f"this node could not run it again: {error}"
        return why


async def keep_evidence(blobs: Blobs, terms: Terms, receipt: Receipt, against: Rerun) -> None:
    """Keep what a receipt states, and what contradicts it, for as long as anybody could judge."""
    until = deadlines_of(terms.award).latest_resolve_by
    for blob in (receipt.output, receipt.logs, against.output):
        await blobs.keep(blob, until)


def _rerun_of(terms: Terms, run: PartRun) -> Rerun:
    usage = Usage(fuel=run.fuel, peak_mib=run.peak_mib, bytes_in=run.bytes_in, bytes_out=run.bytes_out)
    return make_rerun(terms, outcome=run.outcome, output=run.output, usage=usage)


def _watched_by_nobody(_fuel: int, _bytes_out: int) -> None:
    """Nobody is billed for it."""
