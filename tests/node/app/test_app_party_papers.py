"""What both sides of a refuted receipt show the court, out of their journals; and what becomes a case."""

from dataclasses import replace
from pathlib import Path

import trio
from trio.testing import MockClock

from node.app.disputing import LateRehearsal, Litigant, PaymentEscrows
from node.app.party_papers import JournalPapers
from node.arbitration.case_files import load_case_files
from node.arbitration.party_ports import EscrowClaim, Subject
from node.arbitration.rehearsal import Rehearsal, Rehearsed
from node.market.case_book import CASE, HeldCase
from node.market.case_book import stream_of as case_stream
from node.operations.later_clock import LaterClock
from node.payments.escrow_view import Claim, EscrowView
from node.payments.ports import ChallengedClaim
from node.storage.machine_log import load_machine
from protocol.dispute.evidence import Matter
from protocol.dispute.messages import Dossier
from protocol.dispute.objects import Finding
from protocol.dispute.party import Brief
from protocol.identity import ZERO_ADDRESS, Address, Digest
from protocol.market.objects import Award, Offer
from protocol.market.offer import manifest_digest
from protocol.signing.eip712 import digest
from protocol.signing.signed import Signed
from protocol.task import purchase
from protocol.task.manifest import Manifest
from protocol.task.purchase_states import Case
from protocol.task.verification import Audit
from protocol.units import WHOLE, Amount, BasisPoints, UnixTime
from tests.node.market.fake_bank import DOMAIN
from tests.node.market.fake_sandbox import output_of
from tests.node.market.mallory_lab import Stage, finish, open_stage
from tests.node.market.market_lab import LabNode, make_wish

COURT = Address(b"\xcc" * 20)
LIE_AT = 1


def lies_late(part: int) -> bytes:
    return output_of(part) if part < LIE_AT else b"made up"


async def buy_from_a_liar(stage: Stage) -> tuple[LabNode, LabNode, HeldCase]:
    """Have the first part done well and the second one badly; a standby does the rest."""
    mallory = await stage.join("mallory", gfuel=100_000)
    mallory.sandbox.writes = lies_late
    requester = stage.honest[0]
    wish = await make_wish(requester, parts=3, budget=390_000)
    policy = Audit(rate=BasisPoints(WHOLE))
    offer_id = await requester.requester.submit(replace(wish, verification=policy))
    await finish(requester, offer_id)
    (refuted,) = [each for each in stage.hub.purchases[offer_id] if isinstance(each, purchase.AuditRefuted)]
    machine = await load_machine(requester.storage.journal, CASE, case_stream(refuted.receipt_id))
    return requester, mallory, machine.context


async def test_both_sides_of_a_refuted_receipt_show_the_same_papers(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_stage(tmp_path, prices=(110_000,)) as stage:
        requester, mallory, held = await buy_from_a_liar(stage)
        case, award_id = held.case, held.case.receipt.value.award
        dossiers: list[Dossier] = []
        for node in (requester, mallory):
            papers = JournalPapers(node.storage, node.signing, DOMAIN)
            dossier = await papers.dossier_of(award_id)
            assert dossier is not None
            dossiers.append(dossier)
            brief = await papers.brief_of(award_id)
            assert brief is not None
            assert (brief.award_id, brief.own, brief.receipt) == (award_id, node.wallet, case.receipt)
            assert brief.rerun == (case.rerun if node is requester else None)
            assert brief.is_convinced
            assert await papers.brief_of(Digest(b"\x01" * 32)) is None
            assert await papers.dossier_of(Digest(b"\x01" * 32)) is None
        shown = dossiers[0]
        assert shown == dossiers[1], "signatures included: they are deterministic"
        assert digest(DOMAIN, shown.award) == award_id
        assert digest(DOMAIN, shown.offer) == shown.award.offer
        assert manifest_digest(shown.manifest) == shown.offer.manifest
        assert shown.receipt == case.receipt
        assert shown.before is not None
        assert (shown.before.value.part, shown.before.value.due) == (0, case.before)


async def test_both_sides_find_an_award_by_its_first_digits_and_know_what_of_it_was_accepted(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_stage(tmp_path, prices=(110_000,)) as stage:
        requester, mallory, held = await buy_from_a_liar(stage)
        award_id = held.case.receipt.value.award
        for node in (requester, mallory):
            papers = JournalPapers(node.storage, node.signing, DOMAIN)
            for digits in (award_id.hex(), award_id.hex()[:9], award_id.hex()[:10]):
                assert await papers.awards_of(digits) == (award_id,)
            assert award_id in await papers.awards_of("")
            for digits in ("zz", award_id.hex()[:8] + "x", f"{(award_id[0] + 1) % 256:02x}{award_id.hex()[2:]}", "é"):
                assert await papers.awards_of(digits) == ()
            assert await papers.accepted_of(award_id) == held.case.before
            assert await papers.accepted_of(Digest(b"\x01" * 32)) == 0


async def test_a_case_about_an_earlier_part_is_shown_that_part_and_what_was_due_before_it(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_stage(tmp_path, prices=(110_000,)) as stage:
        requester, mallory, held = await buy_from_a_liar(stage)
        award_id = held.case.receipt.value.award
        for node in (requester, mallory):
            papers = JournalPapers(node.storage, node.signing, DOMAIN)
            last = await papers.dossier_of(award_id)
            assert last is not None
            assert last.before is not None
            first = await papers.dossier_of(award_id, Subject(part=0, receipt=last.before.value.receipt))
            assert first is not None
            assert first.receipt is not None
            assert (first.receipt.value.part, first.before) == (0, None)
            verified = digest(DOMAIN, first.receipt.value)
            assert verified == last.before.value.receipt
            other = await papers.dossier_of(award_id, Subject(part=1, receipt=Digest(b"\x01" * 32)))
            assert other is not None
            assert (other.receipt, other.before) == (None, last.before), "another receipt than the one we know"


class NoCourt:
    """A case book that counts."""

    def __init__(self) -> None:
        self.cases: list[Case] = []

    async def dispute(self, case: Case, offer: Signed[Offer], manifest: Manifest) -> None:
        self.cases.append(case)


def before_court(award: Award, fee: int = 5) -> Award:
    return replace(award, arbiter=COURT, dispute_fee=Amount(fee))


async def test_a_refuted_receipt_becomes_a_case_where_there_is_a_court_and_is_kept_elsewhere(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_stage(tmp_path, prices=(110_000,)) as stage:
        requester, _, held = await buy_from_a_liar(stage)
        case, manifest = held.case, (await make_wish(requester, parts=3)).manifest
        files, book = await load_case_files(requester.storage), NoCourt()
        papers = JournalPapers(requester.storage, requester.signing, DOMAIN)
        litigant = Litigant(COURT, files, papers, book)
        for award in (case.award.value, before_court(case.award.value, fee=0)):
            kept = replace(case, award=replace(case.award, value=award))
            await litigant.dispute(kept, held.offer, manifest)
        assert (len(book.cases), len(files.open)) == (2, 0)

        named = replace(case, award=replace(case.award, value=before_court(case.award.value)))
        for _ in range(2):
            await litigant.dispute(named, held.offer, manifest)
        (machine,) = (await load_case_files(requester.storage)).open.values()
        brief = machine.state.brief
        assert (brief.receipt, brief.rerun, brief.reason) == (case.receipt, case.rerun, case.reason)
        assert (brief.award_id, brief.is_requester) == (case.receipt.value.award, True)
        assert len(book.cases) == 2


async def test_a_contested_claim_becomes_a_case_with_all_that_is_known_of_its_award(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_stage(tmp_path, prices=(110_000,)) as stage:
        requester, _, held = await buy_from_a_liar(stage)
        case, award_id = held.case, held.case.receipt.value.award
        files, book = await load_case_files(requester.storage), NoCourt()
        litigant = Litigant(COURT, files, JournalPapers(requester.storage, requester.signing, DOMAIN), book)

        def claim(award: Award, name: Digest) -> ChallengedClaim:
            return ChallengedClaim(
                award=award, award_id=name, receipt=Digest(bytes(32)), part=1, due=Amount(7), dispute_by=UnixTime(9)
            )

        await litigant.contest(claim(case.award.value, award_id))
        await litigant.contest(claim(before_court(case.award.value), Digest(b"\x07" * 32)))
        assert not files.open, "no court is named; not our award"
        assert case.award.value.arbiter == ZERO_ADDRESS
        await litigant.contest(claim(before_court(case.award.value), award_id))
        (machine,) = files.open.values()
        assert machine.state.brief.rerun == case.rerun


async def test_a_claim_that_nobody_looked_at_is_looked_at_before_money_is_staked_on_it(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_stage(tmp_path, prices=(110_000,)) as stage:
        requester, _, held = await buy_from_a_liar(stage)
        case, award_id = held.case, held.case.receipt.value.award
        files, clock = await load_case_files(requester.storage), stage.hub.clock
        papers = Unseen(JournalPapers(requester.storage, requester.signing, DOMAIN))
        late = LateRehearsal(clock)
        litigant = Litigant(COURT, files, papers, NoCourt(), late)
        claim = ChallengedClaim(
            award=before_court(case.award.value),
            award_id=award_id,
            receipt=Digest(bytes(32)),
            part=1,
            due=Amount(7),
            dispute_by=UnixTime(clock.now() + case.award.value.pace),
        )
        known: list[bool] = []

        async def contest() -> None:
            known.append(await litigant.contest(claim))

        rehearsal = FakeRehearsal(Rehearsed(finding=Finding.UPHELD))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(contest)
            await trio.sleep(5)
            assert not known, "there is no sandbox yet"
            late.provide(rehearsal)
        assert known == [True]
        assert not files.open, "it is owed: nothing is staked on it"
        assert abs(rehearsal.within_s - (case.award.value.pace * 3 / 4 - 5)) <= 2

        # The chain runs ahead of this machine's clock: its time is what the claim is paid by.
        ahead = LaterClock(clock=clock, chain_time=lambda: UnixTime(claim.dispute_by + 7))
        assert ahead.unix_time() == ahead.now() == claim.dispute_by + 7
        early = LateRehearsal(ahead)
        early.provide(rehearsal)
        assert await Litigant(COURT, files, papers, NoCourt(), early).contest(claim)
        assert rehearsal.within_s < 0, "there is no time left to look"
        behind = LaterClock(clock=clock, chain_time=lambda: UnixTime(0))
        assert behind.now() == clock.now()

        wrong = Rehearsed(finding=Finding.WRONG_RESULT, receipt=case.receipt, rerun=case.rerun, reason="run again")
        late.provide(FakeRehearsal(wrong))
        assert not await litigant.contest(claim)
        (machine,) = files.open.values()
        brief = machine.state.brief
        assert (brief.receipt, brief.rerun, brief.reason) == (case.receipt, case.rerun, "run again")
        assert brief.is_convinced


class Unseen:
    """What a requester knows that never had the output, nor the receipt."""

    def __init__(self, papers: JournalPapers) -> None:
        self._papers = papers

    async def brief_of(self, award: Digest) -> Brief | None:
        brief = await self._papers.brief_of(award)
        return None if brief is None else replace(brief, receipt=None, rerun=None, reason="")


class FakeRehearsal(Rehearsal):
    """Finds what it is told to."""

    def __init__(self, finds: Rehearsed) -> None:
        self._finds = finds
        self.within_s = 0.0

    async def rehearse(self, matter: Matter, provider: Address, *, within_s: float) -> Rehearsed:
        await trio.lowlevel.checkpoint()
        self.within_s = within_s
        return self._finds


CLAIM = Claim(part=3, receipt=Digest(b"\x03" * 32), due=Amount(7))


def test_an_escrow_is_seen_by_its_phase_and_is_over_when_it_is_gone() -> None:
    award, view = Digest(b"\x01" * 32), EscrowView(
        award=Digest(b"\x01" * 32), side="requester", other=COURT, phase="claimed", amount=Amount(1),
        accepted=Amount(0), paid=Amount(0), waits_until=UnixTime(5),
    )  # fmt: skip
    seen = {
        phase: PaymentEscrows(lambda phase=phase: (replace(view, phase=phase),)).look(award)
        for phase in ("claimed", "disputed", "closed")
    }
    assert [seen["claimed"].resolve_by, seen["disputed"].resolve_by, seen["closed"].resolve_by] == [None, 5, None]
    assert [seen["claimed"].is_over, seen["disputed"].is_over, seen["closed"].is_over] == [False, False, True]
    assert [seen["claimed"].dispute_by, seen["disputed"].dispute_by, seen["closed"].dispute_by] == [5, None, None]
    assert (seen["claimed"].claim, PaymentEscrows(lambda: (replace(view, claim=CLAIM),)).look(award).claim) == (
        None,
        EscrowClaim(subject=Subject(part=3, receipt=CLAIM.receipt), due=Amount(7)),
    )
    assert PaymentEscrows(lambda: (view,)).look(Digest(b"\x02" * 32)).is_over
