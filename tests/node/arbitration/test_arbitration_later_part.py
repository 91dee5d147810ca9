"""A case over a channel that names a part which is long paid: what arbiters make of it (docs/spec/law.md, CJ11)."""

from dataclasses import replace
from pathlib import Path

import pytest
from trio.testing import MockClock

from protocol.dispute.evidence import WrongDossier, is_whole, put_together, read_dossier
from protocol.dispute.objects import Finding
from protocol.identity import ZERO_DIGEST
from protocol.signing.ecdsa import BadSignature
from protocol.signing.signed import sign_struct
from tests.node.arbitration.case_papers import MARKET, PROVIDER, REQUESTER, digest_of
from tests.node.arbitration.court_lab import Lab, open_case
from tests.node.arbitration.sharing_lab import LATER, NAMED, matter_of, papers_of


def test_a_later_part_takes_the_place_of_the_one_that_was_named() -> None:
    named, later = papers_of(NAMED), papers_of(LATER)
    shown = [read_dossier(MARKET, matter_of(named), each.dossier()) for each in (named, later)]
    assert not is_whole(shown[0], matter_of(named)), "the other side may show a later part"
    assert not is_whole(shown[1], matter_of(named)), "or another receipt of this one"
    last = read_dossier(MARKET, matter_of(later), later.dossier())
    assert is_whole(last, matter_of(later))
    for order in (shown, shown[::-1]):
        found = put_together(order)
        assert found.matter == matter_of(later)
        assert found.receipt == later.receipt.value


def test_only_what_came_after_an_acceptance_takes_its_place() -> None:
    named, later = papers_of(NAMED), papers_of(LATER)
    good = later.dossier()
    early = sign_struct(REQUESTER.key, MARKET, replace(later.before.value, part=NAMED - 1))
    forged = sign_struct(PROVIDER.key, MARKET, later.before.value)
    receipt = sign_struct(REQUESTER.key, MARKET, later.receipt.value)
    for bad in (
        later.dossier(before=False),
        replace(good, before=early),
        replace(good, before=forged),
        replace(good, receipt=receipt),
    ):
        with pytest.raises((WrongDossier, BadSignature)):
            read_dossier(MARKET, matter_of(named), bad)
    with pytest.raises(WrongDossier):  # and nothing takes the place of a later one
        read_dossier(MARKET, matter_of(later), named.dossier())


def test_a_claim_on_an_escrow_is_what_its_case_is_about() -> None:
    named, later = (papers_of(part, channel=ZERO_DIGEST) for part in (NAMED, LATER))
    assert is_whole(read_dossier(MARKET, matter_of(named), named.dossier()), matter_of(named))
    with pytest.raises(WrongDossier):
        read_dossier(MARKET, matter_of(named), later.dossier())


async def test_a_part_that_was_accepted_does_not_spend_the_one_case_of_its_award(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """The provider forged the last part, and goes to court about the one before. The requester shows the last."""
    named, forged, mended = papers_of(NAMED), papers_of(LATER, output=b"forged"), papers_of(LATER)
    lab: Lab = open_case(tmp_path, named, opener=PROVIDER)
    lab.network.show(mended, PROVIDER, mended.dossier())  # a receipt that the requester was never sent
    lab.network.show(forged, REQUESTER, forged.dossier())
    for output in (b"forged", None):
        papers = papers_of(LATER, output=output)
        lab.network.holders[papers.receipt.value.output] = {PROVIDER.address}
    for runner in lab.runners.values():
        runner.part = LATER
    async with lab.sitting():
        await lab.wait_over(60)
    vote = lab.hall.vote
    assert vote is not None
    assert (vote.finding, vote.part) == (Finding.WRONG_RESULT, LATER)
    assert vote.output != digest_of(b"forged")
    assert vote.due == forged.before.value.due
