"""How a reason to go to court becomes a case file, and what a party sees of its escrows (docs/spec/parties.md, PT1)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

import structlog
import trio

from node.app.court_chain import ContractCourt
from node.app.party_papers import JournalPapers
from node.app.peers import WalletPeers
from node.arbitration.case_files import CaseFiles, load_case_files
from node.arbitration.opening import open_contested
from node.arbitration.party_ports import EscrowClaim, EscrowSight, Subject
from node.arbitration.party_room import PartyRoom
from node.arbitration.ports import CourtTerms, Runner
from node.arbitration.rehearsal import Rehearsal, Rehearsed
from node.market.case_book import CaseBook
from node.market.ports import Court
from node.operations.clock import Clock
from node.payments.escrow_view import Claim, EscrowView
from node.payments.payments import Payments
from node.payments.ports import ChallengedClaim
from node.storage.machine_log import select_open_streams
from node.storage.storage import Storage
from node.wallet.signer import Signer
from protocol.dispute.acting import Attitude
from protocol.dispute.evidence import Matter
from protocol.dispute.objects import Finding
from protocol.dispute.party import Brief, Event, File
from protocol.identity import Address, Digest
from protocol.market.objects import Award, Offer
from protocol.signing.signed import Signed
from protocol.task.manifest import Manifest
from protocol.task.purchase_states import Case

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

CONTEST_SHARE: Final = 4
"""The last quarter of a pace is left for contesting."""


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

    def __init__(
        self,
        court: Address,
        files: CaseFiles,
        papers: Briefs,
        otherwise: Court,
        rehearsing: "LateRehearsal | None" = None,
    ) -> None:
        self._court, self._files, self._papers, self._otherwise = court, files, papers, otherwise
        self._rehearsing = rehearsing

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

    async def demand(self, award: Award, award_id: Digest) -> None:
        """Note that what was delivered is not paid, or disputed on its escrow; returns once that is durable (PT11)."""
        if not has_court(award, self._court):
            return
        brief = await self._papers.brief_of(award_id)
        if brief is not None:
            on_channel = "a part was delivered, and its receipt is not paid"
            reason = on_channel if brief.on_channel else "the requester disputes the claim"
            await self._files.hold(replace(brief, reason=reason))

    async def contest(self, claim: ChallengedClaim) -> bool:
        """Take a claim on an escrow to court that is about to be contested, unless it turns out to be right (PT16).

        Returns:
            Whether it is right, so that it is owed. If not, the reason to go to court is durable.
        """
        if not has_court(claim.award, self._court):
            return False
        brief = await self._papers.brief_of(claim.award_id)
        if brief is None:
            return False
        if brief.rerun is None and self._rehearsing is not None:
            found = await self._rehearsing.rehearse(claim)
            if found.finding in (Finding.UPHELD, Finding.NOT_JUDGED):
                return True
            receipt = found.receipt or brief.receipt
            brief = replace(brief, receipt=receipt, rerun=found.rerun, reason=brief.reason or found.reason)
        await self._files.hold(brief)
        return False


class LateRehearsal:
    """Rehearses claims, once there is a sandbox: money is taken up before it is."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rehearsal: Rehearsal | None = None
        self._is_there = trio.Event()

    def provide(self, rehearsal: Rehearsal) -> None:
        """Let those go on who wait for it."""
        self._rehearsal = rehearsal
        self._is_there.set()

    async def rehearse(self, claim: ChallengedClaim) -> Rehearsed:
        """Find out whether a claim is right, as long as there is time to contest it."""
        await self._is_there.wait()
        assert self._rehearsal is not None
        award = claim.award
        matter = Matter(award=claim.award_id, opener=award.requester, part=claim.part, receipt=claim.receipt)
        within_s = float(claim.dispute_by - award.pace // CONTEST_SHARE - self._clock.now())
        return await self._rehearsal.rehearse(matter, award.provider, within_s=within_s)


class LateOpening:
    """Opens cases about claims that payments contest, once there is a room for it: money is taken up before it is."""

    def __init__(self, court: Address) -> None:
        self._court = court
        self._room: PartyRoom | None = None
        self._is_there = trio.Event()

    def provide(self, room: PartyRoom) -> None:
        """Let those go on who wait for it."""
        self._room = room
        self._is_there.set()

    async def open(self, award: Award, award_id: Digest) -> int | None:
        """Open the case about a contested claim; None if this node takes it to no court."""
        if not has_court(award, self._court):
            return None
        await self._is_there.wait()
        assert self._room is not None
        return await open_contested(self._room, award_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Advocacy:
    """What goes to court, before anybody does.

    Attributes:
        terms: What the court asks for.
        litigant: Writes down reasons: the market's `Court`, and what contests claims.
        opening: Opens the cases about contested claims.
    """

    storage: Storage
    clock: Clock
    signer: Signer
    court: ContractCourt
    terms: CourtTerms
    files: CaseFiles
    papers: JournalPapers
    litigant: Litigant
    rehearsing: LateRehearsal
    opening: LateOpening

    def equip(self, peers: WalletPeers, runner: Runner) -> Rehearsal:
        """Give what claims are rehearsed with, and return it."""
        rehearsal = Rehearsal(peers, self.papers, runner, self.clock, self.court.market_domain)
        self.rehearsing.provide(rehearsal)
        return rehearsal

    def room(self, peers: WalletPeers, payments: Payments, attitude: Attitude) -> PartyRoom:
        """Return what `open_party` needs; from now on contested claims are taken to court."""
        room = PartyRoom(
            court=self.court,
            files=self.files,
            papers=self.papers,
            escrows=PaymentEscrows(lambda: (*payments.payer.escrows(), *payments.payee.escrows())),
            holds=payments.payee.holds,
            bonds=self.signer,
            peers=peers,
            blobs=self.storage.blobs,
            cursors=self.storage.cursors,
            clock=self.clock,
            own=self.signer.address,
            attitude=attitude,
        )
        self.opening.provide(room)
        return room


async def open_advocacy(
    storage: Storage,
    clock: Clock,
    signer: Signer,
    court: ContractCourt | None,
    on_event: Callable[[File, Event | None], None],
) -> Advocacy | None:
    """Load this node's case files; None on a network without a court.

    Raises:
        TransientError: The chain can't be reached, and never could: what the court asks for is not known.
    """
    if court is None:
        return None

    async def open_streams(prefix: str) -> tuple[str, ...]:
        return await storage.read.query(lambda connection: select_open_streams(connection, prefix))

    files = await load_case_files(storage, on_event)
    papers = JournalPapers(storage, signer, court.market_domain)
    otherwise = CaseBook(storage.journal, open_streams, clock)
    rehearsing = LateRehearsal(clock)
    return Advocacy(
        storage=storage,
        clock=clock,
        signer=signer,
        court=court,
        terms=await court.terms(),
        files=files,
        papers=papers,
        litigant=Litigant(court.address, files, papers, otherwise, rehearsing),
        rehearsing=rehearsing,
        opening=LateOpening(court.address),
    )


class PaymentEscrows:
    """The arbitration room's `Escrows`, out of what payments know."""

    def __init__(self, escrows: Callable[[], tuple[EscrowView, ...]]) -> None:
        self._escrows = escrows

    def look(self, award: Digest) -> EscrowSight:
        """See `Escrows`. One that payments have no account of any more is closed."""
        view = next((each for each in self._escrows() if each.award == award), None)
        if view is None or view.phase == "closed":
            return EscrowSight(resolve_by=None, is_over=True)
        resolve_by = view.waits_until if view.phase == "disputed" else None
        dispute_by = view.waits_until if view.phase == "claimed" else None
        claim = None if view.claim is None else _claim_of(view.claim)
        return EscrowSight(resolve_by=resolve_by, is_over=False, paid=view.paid, dispute_by=dispute_by, claim=claim)


def _claim_of(claim: Claim) -> EscrowClaim:
    return EscrowClaim(subject=Subject(part=claim.part, receipt=claim.receipt), due=claim.due)
