"""What a case is judged by, and the vote that follows from it (docs/spec/law.md, section 6). Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from protocol.dispute.messages import Dossier
from protocol.dispute.objects import Finding, Vote
from protocol.errors import ProtocolError
from protocol.identity import ZERO_DIGEST, Address, ContentDigest, Digest
from protocol.market.offer import manifest_digest
from protocol.signing.eip712 import Domain, digest
from protocol.signing.signed import Signed, verify_signer
from protocol.task.audit import Finding as Judgement
from protocol.task.audit import Rerun
from protocol.task.manifest import MANIFEST_MAX_BYTES, Blob, Manifest
from protocol.task.objects import Acceptance, Receipt
from protocol.task.outcome import is_judged, is_success
from protocol.task.pricing import check_rates, rates_digest
from protocol.task.receipt import Progress, Terms, amount_due, usage_of
from protocol.task.testing import check_testable, judge_by_test
from protocol.task.verification import ByTest, blobs_of, decode_verification
from protocol.units import Amount, Uint32
from protocol.wire.codec import decode

NO_OUTPUT: Final = ContentDigest(ZERO_DIGEST)


class WrongDossier(ProtocolError):
    """A dossier that is not of the case, or contradicts itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matter:
    """What a case is about: the part that the court named when it was opened, or a later one (CJ11)."""

    award: Digest
    opener: Address
    part: Uint32
    receipt: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the sides showed, checked and put together.

    Attributes:
        matter: What it is about: as the court named it, or a later part.
        terms: The award and what its bill is computed from.
        receipt: What is in dispute; None if nobody showed it.
        before: Running total that the requester has accepted for the parts before, base units.
        is_contradicted: Whether the provider signed another receipt of the same later part that states something else.
    """

    matter: Matter
    terms: Terms
    receipt: Receipt | None
    before: Amount
    is_contradicted: bool = False


def read_dossier(domain: Domain, matter: Matter, dossier: Dossier) -> Evidence:
    """Check what one side shows: every piece is led to by the award's digest, or signed by the other side.

    Args:
        domain: The market's.
        matter: What the court says the case is about.
        dossier: Of one side.

    Raises:
        WrongDossier: It is of something else.
        BadSignature: Receipt or acceptance isn't signed by whom it should be.
        DecodeError, InvalidManifest, InvalidRates, InvalidVerification: What the offer names can't be run or billed.
    """
    award, offer = dossier.award, dossier.offer
    if digest(domain, award) != matter.award:
        raise WrongDossier("its award is not the one of the case")
    if digest(domain, offer) != award.offer:
        raise WrongDossier("its offer is not the award's")
    if manifest_digest(dossier.manifest) != offer.manifest:
        raise WrongDossier("its manifest is not the offer's")
    if rates_digest(dossier.rates) != offer.rates:
        raise WrongDossier("its rates are not the offer's")
    manifest = decode(Manifest, dossier.manifest, max_bytes=MANIFEST_MAX_BYTES)
    check_rates(dossier.rates, manifest)
    policy = decode_verification(dossier.verification, offer.verification)
    check_testable(manifest, policy)
    matter = _subject_of(domain, matter, dossier)
    if not award.first_part <= matter.part < min(award.first_part + award.parts, len(manifest.parts)):
        raise WrongDossier(f"the task has no part {matter.part} under this award")
    terms = Terms(award=award, award_id=matter.award, manifest=manifest, rates=dossier.rates, policy=policy)
    if dossier.receipt is not None:
        _check_receipt(domain, matter, award.provider, dossier.receipt)
    if dossier.before is not None:
        _check_before(domain, matter, award.requester, dossier.before)
    return Evidence(
        matter=matter,
        terms=terms,
        receipt=dossier.receipt.value if dossier.receipt is not None else None,
        before=dossier.before.value.due if dossier.before is not None else Amount(0),
    )


def put_together(shown: Sequence[Evidence]) -> Evidence:
    """Join what was shown of one case, at least one: of the latest part that anybody shows.

    What a vote depends on follows from the papers alone, neither from their order nor from who showed them: else two
    arbiters that know the same would find differently. A requester that signed two acceptances of one part is held to
    the greater, a provider that signed two receipts of one later part, which state different things, to neither.
    """
    part = max(one.matter.part for one in shown)
    latest = [one for one in shown if one.matter.part == part]
    first = next((one for one in latest if one.receipt is not None), latest[0])
    receipts = [one.receipt for one in latest if one.receipt is not None]
    return Evidence(
        matter=first.matter,
        terms=first.terms,
        receipt=first.receipt,
        before=max(one.before for one in latest),
        is_contradicted=any(one.is_contradicted for one in latest)
        or any(not is_same_statement(receipts[0], each) for each in receipts),
    )


def is_same_statement(one: Receipt, other: Receipt) -> bool:
    """Tell whether two receipts say the same of what is judged: notes and logs are not."""
    return replace(one, logs=other.logs, notes=other.notes) == other


def is_whole(evidence: Evidence, named: Matter) -> bool:
    """Tell whether nothing is missing that the other side could still add to what the court named."""
    award, part = evidence.terms.award, evidence.matter.part
    if award.channel != ZERO_DIGEST and (part != named.part or part + 1 < award.first_part + award.parts):
        return False  # it may have a later part, or have been sent another receipt of this one
    return evidence.receipt is not None and (part == award.first_part or evidence.before > 0)


def vote_on_run(evidence: Evidence, rerun: Rerun, *, has_output: bool) -> Vote:
    """Judge the receipt by a run of the part.

    Args:
        evidence: What was shown.
        rerun: What this arbiter found by running the part.
        has_output: Whether one of the sides could show the output that the receipt names.
    """
    receipt, before, terms = evidence.receipt, evidence.before, evidence.terms
    if receipt is None:
        raise ValueError("without its receipt a part is not run")
    if not is_judged(rerun.outcome):
        return _without_run(Finding.NOT_JUDGED, receipt.part, before)
    progress = Progress(next_part=receipt.part, due=before)
    due = amount_due(terms, progress, outcome=rerun.outcome, usage=rerun.usage)
    if (receipt.outcome, receipt.output) != (rerun.outcome, rerun.output):
        finding, due = Finding.WRONG_RESULT, before
    elif not has_output:
        finding, due = Finding.OUTPUT_MISSING, before
    elif (receipt.fuel, receipt.due) != (rerun.fuel, due):
        # Who billed too little by a wrong figure doesn't get more for it.
        finding, due = Finding.OVERBILLED, Amount(min(due, receipt.due))
    else:
        finding = Finding.UPHELD
    return Vote(
        finding=finding,
        part=receipt.part,
        outcome=rerun.outcome,
        output=rerun.output,
        fuel=rerun.fuel,
        due=due,
    )


def is_tested(evidence: Evidence) -> bool:
    """Tell whether a test judges the part, so that the output is needed, and the part not run again (L2)."""
    return isinstance(evidence.terms.policy, ByTest)


def needed_blobs(evidence: Evidence) -> frozenset[Blob]:
    """Return what an arbiter must hold to judge the part: the module that it runs, and what that module reads.

    A test reads the output too, which only the receipt names.
    """
    terms = evidence.terms
    modules = blobs_of(terms.policy) if is_tested(evidence) else (terms.manifest.module,)
    return frozenset((*modules, *terms.manifest.inputs_of(evidence.matter.part)))


def vote_on_test(evidence: Evidence, test: Rerun) -> Vote:
    """Judge the receipt by a run of the test on the output that it names (TM7).

    Where the test speaks against it, the vote says how the test ended: that is what every arbiter has found.

    Args:
        evidence: What was shown.
        test: How the test ended, with INVALID_MODULE if it is no module.
    """
    receipt, before = evidence.receipt, evidence.before
    if receipt is None:
        raise ValueError("without its receipt nothing is tested")
    judged = judge_by_test(receipt, test).finding
    if judged is Judgement.UNDECIDED:
        return _without_run(Finding.NOT_JUDGED, receipt.part, before)
    if judged is Judgement.DIFFERENT:
        return Vote(
            finding=Finding.WRONG_RESULT,
            part=receipt.part,
            outcome=test.outcome,
            output=test.output,
            fuel=test.fuel,
            due=before,
        )
    return _vote_on_bill(evidence, receipt)


def vote_untested(evidence: Evidence, *, has_output: bool) -> Vote | None:
    """Judge a receipt under a test as far as nothing needs to be run; None if the test has to decide.

    A run that failed left no output to test, and nothing is due for it (TM6). An output that nobody shows is what its
    provider answers for, whatever the inputs are (SPEC L1).
    """
    receipt = evidence.receipt
    if receipt is None:
        raise ValueError("without its receipt nothing is tested")
    if not is_success(receipt.outcome):
        return _vote_on_bill(evidence, receipt)
    return None if has_output else _without_run(Finding.OUTPUT_MISSING, receipt.part, evidence.before)


def vote_without_run(matter: Matter, evidence: Evidence | None) -> Vote:
    """Judge a part that can't be run for want of what the sides had to show (SPEC L1), or needn't be.

    Nobody showed the award, or what it leads to: the opener loses. A receipt that its provider doesn't show has no
    output either. Two that exclude each other need no run: one of them is untrue, and the provider signed both.

    Args:
        matter: What the court named when it was opened.
        evidence: What was shown; its inputs were not to be had. None if nothing was.
    """
    if evidence is None:
        return _without_run(Finding.INPUTS_MISSING, matter.part, Amount(0))
    matter = evidence.matter
    if evidence.receipt is None:
        return _without_run(Finding.OUTPUT_MISSING, matter.part, evidence.before)
    if evidence.is_contradicted:
        return _without_run(Finding.WRONG_RESULT, matter.part, evidence.before)
    by_provider = matter.opener == evidence.terms.award.provider
    due = evidence.before if by_provider else evidence.receipt.due
    return _without_run(Finding.INPUTS_MISSING, matter.part, due)


def vote_not_judged(evidence: Evidence) -> Vote:
    """Judge a part that no arbiter can run: its module is none under the engine (SPEC B3)."""
    return _without_run(Finding.NOT_JUDGED, evidence.matter.part, evidence.before)


def _vote_on_bill(evidence: Evidence, receipt: Receipt) -> Vote:
    """Judge what is left once nothing speaks against the result. Fuel and memory cost nothing here (TM6)."""
    progress = Progress(next_part=receipt.part, due=evidence.before)
    due = amount_due(evidence.terms, progress, outcome=receipt.outcome, usage=usage_of(receipt))
    return Vote(
        finding=Finding.UPHELD if receipt.due == due else Finding.OVERBILLED,
        part=receipt.part,
        outcome=receipt.outcome,
        output=receipt.output,
        fuel=receipt.fuel,
        due=Amount(min(due, receipt.due)),
    )


def _without_run(finding: Finding, part: int, due: Amount) -> Vote:
    return Vote(finding=finding, part=part, outcome=0, output=NO_OUTPUT, fuel=0, due=due)


def _subject_of(domain: Domain, named: Matter, dossier: Dossier) -> Matter:
    """Return what a dossier is about: the part that the court named, or a later one whose turn had come (CJ11).

    An award has one case, and over a channel either side chooses the receipt that it is about. Whoever can show that
    the requester accepted what went before a later part brings the case to that one. Signatures are the caller's to
    check.
    """
    award, receipt, before = dossier.award, dossier.receipt, dossier.before
    if award.channel == ZERO_DIGEST or receipt is None or before is None or receipt.value.part <= named.part:
        return named
    return replace(named, part=receipt.value.part, receipt=digest(domain, receipt.value))


def _check_receipt(domain: Domain, matter: Matter, provider: Address, signed: Signed[Receipt]) -> None:
    if verify_signer(domain, signed, provider) != matter.receipt:
        raise WrongDossier("its receipt is not the one in dispute")
    if (signed.value.award, signed.value.part) != (matter.award, matter.part):
        raise WrongDossier("its receipt is for another award or part")


def _check_before(domain: Domain, matter: Matter, requester: Address, signed: Signed[Acceptance]) -> None:
    verify_signer(domain, signed, requester)
    if signed.value.award != matter.award or signed.value.part + 1 != matter.part:
        raise WrongDossier("its acceptance is not of the part before, under the award of the case")
