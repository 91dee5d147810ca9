"""What papers come to depends on which there are, and on nothing else (docs/spec/law.md, CJ11 and CJ12)."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, permutations

import pytest

from protocol.dispute import seat
from protocol.dispute.evidence import WrongDossier, vote_without_run
from protocol.dispute.messages import Dossier, Papers
from protocol.dispute.objects import Finding, Vote
from protocol.dispute.papers import Shown, WrongPapers, gist_of, join, read_papers
from protocol.errors import ProtocolError, UnexpectedEvent
from protocol.identity import ZERO_DIGEST, ContentDigest
from protocol.signing.keccak import keccak256
from protocol.signing.signed import sign_struct
from protocol.units import Amount
from tests.node.arbitration.case_papers import MARKET, PROVIDER, REQUESTER
from tests.node.arbitration.sharing_lab import LATER, NAMED, matter_of, papers_of

CASE, LAST, FORGED = papers_of(NAMED), papers_of(LATER), papers_of(LATER, output=b"forged")
OTHER_NOTES = ContentDigest(keccak256(b"other notes"))


def shown(dossier: Dossier) -> Shown:
    return read_papers(MARKET, matter_of(CASE), Papers(dossier=dossier))


def accepted(dossier: Dossier, due: int) -> Dossier:
    assert dossier.before is not None
    return replace(dossier, before=sign_struct(REQUESTER.key, MARKET, replace(dossier.before.value, due=Amount(due))))


def annotated(dossier: Dossier) -> Dossier:
    """The same receipt, with other notes and logs."""
    assert dossier.receipt is not None
    receipt = replace(dossier.receipt.value, notes=OTHER_NOTES, logs=OTHER_NOTES)
    return replace(dossier, receipt=sign_struct(PROVIDER.key, MARKET, receipt))


PIECES = {
    "named": CASE.dossier(),
    "named, no receipt": CASE.dossier(receipt=False),
    "named, more accepted": accepted(CASE.dossier(), 2_500),
    "last": LAST.dossier(),
    "last, annotated": annotated(LAST.dossier()),
    "last, more accepted": accepted(LAST.dossier(), 2_700),
    "last, forged": FORGED.dossier(),
}


def selections() -> Iterator[tuple[str, ...]]:
    for count in (2, 3, 4):
        yield from combinations(PIECES, count)


@pytest.mark.parametrize("chosen", selections())
def test_papers_come_to_the_same_in_any_order_and_by_any_way(chosen: tuple[str, ...]) -> None:
    pieces = [shown(PIECES[each]) for each in chosen]
    whole = gist_of(join(pieces))
    for order in permutations(pieces):
        step = order[0]
        for piece in order[1:]:
            step = join([step, piece, step])
            again = read_papers(MARKET, matter_of(CASE), step.papers)  # what is handed on proves as much
            assert gist_of(again) == gist_of(step)
            step = again
        assert gist_of(step) == whole


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("last", "last, annotated", True),
        ("named", "named, no receipt", False),
        ("named", "named, more accepted", False),
        ("named", "last", False),
        ("last", "last, forged", False),
    ],
)
def test_a_gist_tells_what_makes_a_difference(one: str, other: str, *, is_same: bool) -> None:
    first, second = shown(PIECES[one]), shown(PIECES[other])
    assert (gist_of(first) == gist_of(second)) is is_same
    assert gist_of(first) not in (ZERO_DIGEST, gist_of(None))


def test_two_receipts_that_exclude_each_other_are_one_finding_whichever_they_are() -> None:
    third = papers_of(LATER, output=b"another forgery")
    pairs = [
        join([shown(one.dossier()), shown(other.dossier())]) for one, other in combinations((LAST, FORGED, third), 2)
    ]
    assert len({gist_of(pair) for pair in pairs}) == 1
    assert gist_of(join(pairs)) == gist_of(pairs[0])
    for pair in pairs:
        assert pair.papers.contrary is not None
        vote = vote_without_run(matter_of(CASE), pair.evidence)
        assert (vote.finding, vote.part, vote.due) == (Finding.WRONG_RESULT, LATER, LAST.before.value.due)
    more = join([pairs[0], shown(PIECES["last, more accepted"])])
    assert vote_without_run(matter_of(CASE), more.evidence).due == 2_700


def test_another_bill_excludes_a_receipt_as_another_output_does() -> None:
    receipt = LAST.receipt.value
    for other in (
        replace(receipt, due=Amount(receipt.due + 1)),
        replace(receipt, fuel=receipt.fuel + 1),
        replace(receipt, outcome=7),
        replace(receipt, bytes_in=receipt.bytes_in + 1),
    ):
        dossier = replace(LAST.dossier(), receipt=sign_struct(PROVIDER.key, MARKET, other))
        assert join([shown(LAST.dossier()), shown(dossier)]).evidence.is_contradicted


def test_what_is_told_to_be_a_contradiction_is_checked() -> None:
    good = LAST.dossier()
    forged_by_another = sign_struct(REQUESTER.key, MARKET, FORGED.receipt.value)
    for dossier, contrary in (
        (good, good.receipt),
        (good, annotated(good).receipt),
        (good, forged_by_another),
        (good, CASE.receipt),  # of another part
        (replace(good, receipt=None), FORGED.receipt),
        (CASE.dossier(), FORGED.receipt),
        (CASE.dossier(), CASE.receipt),
    ):
        with pytest.raises(ProtocolError):
            read_papers(MARKET, matter_of(CASE), Papers(dossier=dossier, contrary=contrary))
    with pytest.raises(WrongPapers):
        read_papers(MARKET, matter_of(CASE), Papers(dossier=good, contrary=good.receipt))


def test_another_receipt_of_the_named_part_is_no_evidence() -> None:
    other = replace(CASE.receipt.value, fuel=1)
    with pytest.raises(WrongDossier):
        shown(replace(CASE.dossier(), receipt=sign_struct(PROVIDER.key, MARKET, other)))


def test_nothing_is_heard_after_the_vote() -> None:
    heard = seat.Heard(papers=Papers(dossier=CASE.dossier()))
    state, _ = seat.transition(seat.State(), seat.Heard(papers=None))
    state, _ = seat.transition(state, heard)
    assert seat.transition(state, heard)[0] is state
    vote = Vote(finding=Finding.UPHELD, part=1, outcome=0, output=OTHER_NOTES, fuel=7, due=Amount(9))
    state, _ = seat.transition(state, seat.Judged(vote=vote))
    assert state.heard == heard
    with pytest.raises(UnexpectedEvent):
        seat.transition(state, seat.Heard(papers=None))
