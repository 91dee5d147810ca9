"""What a court would find about a claim, found out before anything is staked on it (docs/spec/parties.md, PT16)."""

from dataclasses import dataclass, replace
from typing import Final, TypedDict

import structlog
import trio

from node.arbitration.gathering import DOSSIER_MAX_BYTES, RETRY_S
from node.arbitration.judging import act_of, vote_on
from node.arbitration.party_ports import PartyPapers, Subject
from node.arbitration.ports import Peers, Runner
from node.operations.clock import Clock
from protocol.dispute.evidence import Evidence, Matter, is_tested, put_together, read_dossier, vote_untested
from protocol.dispute.messages import DOSSIER_METHOD, Dossier, DossierRequest
from protocol.dispute.objects import Finding
from protocol.errors import StoaError, TransientError
from protocol.identity import Address
from protocol.settlement.deadlines import deadlines_of
from protocol.signing.eip712 import Domain
from protocol.signing.signed import Signed
from protocol.task.audit import Rerun
from protocol.task.objects import Receipt
from protocol.wire.codec import decode, encode

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

NO_TIME: Final = "the provider did not show the output, or there was no time to run the part again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsed:
    """What a requester knows of a claim against it.

    Attributes:
        finding: What a court would find; None if that could not be found out in time.
        receipt: What is claimed by, if the provider showed it.
        rerun: What this node found when it ran the part itself; None if it did not, or that says nothing.
        reason: Why, in words.
    """

    finding: Finding | None = None
    receipt: Signed[Receipt] | None = None
    rerun: Rerun | None = None
    reason: str = NO_TIME


class Judged(TypedDict):
    """What an own run told."""

    finding: Finding
    rerun: Rerun | None
    reason: str


class Rehearsal:
    """Asks the provider for receipt and output, and runs the part. Nothing of it is kept but the blobs."""

    def __init__(self, peers: Peers, papers: PartyPapers, runner: Runner, clock: Clock, domain: Domain) -> None:
        """Take the parts; `domain` is the market's."""
        self._peers, self._papers, self._runner, self._clock, self._domain = peers, papers, runner, clock, domain

    async def rehearse(self, matter: Matter, provider: Address, *, within_s: float) -> Rehearsed:
        """Find out what a court would find about a claim on an award that this node made.

        Args:
            matter: What the case would be about.
            provider: Of the award.
            within_s: How long that may take.
        """
        own = await self._papers.dossier_of(matter.award, Subject(part=matter.part, receipt=matter.receipt))
        if own is None:
            return Rehearsed(reason="this node has no records of the award any more")
        known = Rehearsed(receipt=own.receipt)
        with trio.move_on_after(max(0.0, within_s)):
            shown = await self._shown(matter, provider)
            known = Rehearsed(receipt=shown.receipt)
            evidence = put_together([read_dossier(self._domain, matter, each) for each in (own, shown)])
            await self._fetch_output(evidence)
            known = replace(known, **await self._judge(evidence))
        log.info("dispute.rehearsed", award=matter.award.hex(), part=matter.part, reason=known.reason)
        return known

    async def _shown(self, matter: Matter, provider: Address) -> Dossier:
        """Return what the provider shows, once it has the receipt in it, and all of it is checked."""
        request = encode(DossierRequest(award=matter.award))
        while True:
            try:
                answer = await self._peers.call(provider, DOSSIER_METHOD, request)
                dossier = decode(Dossier, answer, max_bytes=DOSSIER_MAX_BYTES)
                read_dossier(self._domain, matter, dossier)
            except StoaError as error:
                log.info("dispute.claim_not_shown", award=matter.award.hex(), reason=str(error))
            else:
                if dossier.receipt is not None:
                    return dossier
            await self._clock.sleep(RETRY_S)

    async def _fetch_output(self, evidence: Evidence) -> None:
        receipt, terms = evidence.receipt, evidence.terms
        assert receipt is not None, "the provider has shown it"
        until = deadlines_of(terms.award).latest_resolve_by
        most = terms.manifest.limits.output_bytes
        while True:
            try:
                await self._peers.fetch_from([terms.award.provider], receipt.output, max_bytes=most, keep_until=until)
            except StoaError as error:
                log.info("dispute.output_not_served", award=terms.award_id.hex(), reason=str(error))
                await self._clock.sleep(RETRY_S)
            else:
                return

    async def _judge(self, evidence: Evidence) -> Judged:
        """Return what a court would find, out of an own run of the part or its test."""
        untested = vote_untested(evidence, has_output=True) if is_tested(evidence) else None
        if untested is not None:  # a run that failed, by the receipt's own words
            return Judged(finding=Finding(untested.finding), rerun=None, reason="its program failed")
        found = await self._run(evidence)
        if isinstance(found, str):  # what can't be judged is not held against anybody (B3)
            return Judged(finding=Finding.NOT_JUDGED, rerun=None, reason=found)
        finding = Finding(vote_on(evidence, found, has_output=True).finding)
        words = finding.name.lower().replace("_", " ")
        rerun = None if finding is Finding.NOT_JUDGED else found
        return Judged(finding=finding, rerun=rerun, reason=f"this node ran it itself: {words}")

    async def _run(self, evidence: Evidence) -> Rerun | str:
        """Return what came out, or why nothing ever can on this node."""
        terms, receipt = evidence.terms, evidence.receipt
        assert receipt is not None, "the provider has shown it"
        if self._runner.engine != terms.manifest.engine:
            return "this node does not run the engine of the task"
        while True:
            try:
                return await act_of(self._runner, evidence, receipt)()
            except TransientError as error:
                log.info("dispute.not_run_yet", award=terms.award_id.hex(), reason=str(error))
                await self._clock.sleep(RETRY_S)
            except StoaError as error:
                return f"this node could not run it again: {error}"
