"""How a reason to go to court becomes a case file, and what a party sees of its escrows (docs/spec/parties.md, PT1)."""

from collections.abc import Callable
from typing import Protocol

import structlog

from node.arbitration.case_files import CaseFiles
from node.arbitration.party_ports import EscrowSight
from node.market.ports import Court
from node.payments.escrow_view import EscrowView
from node.payments.ports import ChallengedClaim
from protocol.dispute.party import Brief
from protocol.identity import Address, Digest
from protocol.market.objects import Award, Offer
from protocol.signing.signed import Signed
from protocol.task.manifest import Manifest
from protocol.task.purchase import Case

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)


def has_court(award: Award, court: Address) -> bool:
    """Tell whether an award can have a case before `court`: it names it, and reserves a fee (SPEC L3, L4)."""
    return award.arbiter == court and award.dispute_fee > 0


class Briefs(Protocol):
    """What this node knows of its awards."""

    async def brief_of(self, award: Digest) -> Brief | None:
        """Return what this node would go to court with; None if the award is another's."""
        ...


class Litigant:
    """The market's `Court` on a network with one. What has no case there is kept as on a network without."""

    def __init__(self, court: Address, files: CaseFiles, papers: Briefs, otherwise: Court) -> None:
        self._court, self._files, self._papers, self._otherwise = court, files, papers, otherwise

    async def dispute(self, case: Case, offer: Signed[Offer], manifest: Manifest) -> None:
        """See `Court`."""
        award = case.award.value
        if not has_court(award, self._court):
            await self._otherwise.dispute(case, offer, manifest)
            return
        await self._files.hold(
            Brief(
                award=award,
                award_id=case.receipt.value.award,
                offer=offer.value,
                own=award.requester,
                receipt=case.receipt,
                rerun=case.rerun,
                reason=case.reason,
            )
        )

    async def contest(self, claim: ChallengedClaim) -> None:
        """Take a claim on an escrow to court that is about to be contested; returns once that is durable."""
        if not has_court(claim.award, self._court):
            return
        brief = await self._papers.brief_of(claim.award_id)
        if brief is not None:
            await self._files.hold(brief)


class PaymentEscrows:
    """The arbitration room's `Escrows`, out of what payments know."""

    def __init__(self, escrows: Callable[[], tuple[EscrowView, ...]]) -> None:
        self._escrows = escrows

    def look(self, award: Digest) -> EscrowSight:
        """See `Escrows`. One that payments have no account of any more is closed."""
        view = next((each for each in self._escrows() if each.award == award), None)
        if view is None or view.phase == "closed":
            return EscrowSight(resolve_by=None, is_over=True)
        return EscrowSight(resolve_by=view.waits_until if view.phase == "disputed" else None, is_over=False)
