"""What the arbiters of one committee know together: papers that prove themselves, and how they add up. Pure.

Joining papers is a union: it doesn't matter in which order they come, how often, or who hands them on. So arbiters that
tell each other all they were shown come to the same evidence (docs/spec/law.md, CJ12).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from protocol.dispute.evidence import (
    NO_OUTPUT,
    Evidence,
    Matter,
    WrongDossier,
    is_same_statement,
    put_together,
    read_dossier,
)
from protocol.dispute.messages import Papers
from protocol.identity import ZERO_DIGEST, Digest
from protocol.signing.eip712 import Domain
from protocol.signing.keccak import keccak256
from protocol.task.objects import Receipt
from protocol.units import Amount, Uint32
from protocol.wire.codec import encode


class WrongPapers(WrongDossier):
    """Papers that an arbiter hands on, and that come to something else than it says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """Papers that were checked, and what they come to."""

    papers: Papers
    evidence: Evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gist:
    """What of the evidence makes a difference to a vote."""

    part: Uint32
    receipt: Receipt | None
    is_contradicted: bool
    before: Amount


def read_papers(domain: Domain, named: Matter, papers: Papers) -> Shown:
    """Check papers, whoever hands them on: each piece is led to by the award's digest, or signed by one of the sides.

    Args:
        domain: The market's.
        named: What the court says the case is about.
        papers: What somebody says that it was shown.

    Raises:
        WrongDossier: They are of another case, or two receipts do not contradict each other.
        ProtocolError: As `read_dossier`.
    """
    evidence = read_dossier(domain, named, papers.dossier)
    if papers.contrary is not None:
        other = read_dossier(domain, named, replace(papers.dossier, receipt=papers.contrary))
        evidence = put_together([evidence, other])
        if not evidence.is_contradicted:
            raise WrongPapers("its two receipts do not contradict each other")
    return Shown(papers=papers, evidence=evidence)


def join(shown: Sequence[Shown]) -> Shown:
    """Return all of these in one, at least one: what follows from them (`gist_of`) doesn't depend on their order."""
    evidence = put_together([one.evidence for one in shown])
    latest = [one.papers for one in shown if one.evidence.matter.part == evidence.matter.part]
    receipts = [each for one in latest for each in (one.dossier.receipt, one.contrary) if each is not None]
    contrary = (each for each in receipts if not is_same_statement(receipts[0].value, each.value))
    accepted = [one.dossier.before for one in latest if one.dossier.before is not None]
    dossier = replace(
        latest[0].dossier,
        receipt=receipts[0] if receipts else None,
        before=max(accepted, key=lambda each: each.value.due, default=None),
    )
    return Shown(papers=Papers(dossier=dossier, contrary=next(contrary, None)), evidence=evidence)


def gist_of(shown: Shown | None) -> Digest:
    """Return what two arbiters have in common that come to the same vote, if they find the same; zero for nothing.

    Of two receipts that exclude each other it doesn't matter which they are, and of one not what is never judged.
    """
    if shown is None:
        return ZERO_DIGEST
    evidence = shown.evidence
    receipt = evidence.receipt
    if receipt is not None:
        receipt = None if evidence.is_contradicted else replace(receipt, logs=NO_OUTPUT, notes=NO_OUTPUT)
    gist = _Gist(
        part=evidence.matter.part,
        receipt=receipt,
        is_contradicted=evidence.is_contradicted,
        before=evidence.before,
    )
    return keccak256(encode(gist))
