"""What an arbiter believes of what it is shown, and of what its fellows tell it."""

from dataclasses import replace

import pytest

from protocol.dispute import seat
from protocol.dispute.ballot import seal_of, vote_hash
from protocol.dispute.evidence import Matter, WrongDossier, put_together, read_dossier, vote_on_run
from protocol.dispute.exchange import MOST_VECTORS, Exchange, WrongNotice
from protocol.dispute.messages import Dossier, OpeningsNotice, SealsNotice, SeatOpening, SeatSeal
from protocol.dispute.objects import Finding, Vote
from protocol.errors import ProtocolError, UnexpectedEvent
from protocol.identity import ZERO_DIGEST, Digest
from protocol.signing.ecdsa import BadSignature
from protocol.signing.eip712 import digest
from protocol.signing.keccak import keccak256
from protocol.signing.signed import sign_struct
from protocol.task.audit import Rerun
from protocol.task.outcome import Outcome
from protocol.units import Amount
from tests.node.arbitration.case_papers import (
    COURT,
    MARKET,
    PART,
    PROVIDER,
    REQUESTER,
    Papers,
    Person,
    make_papers,
    person,
    rerun,
)

SEATED = [person(name) for name in "abcde"]
COMMITTEE = tuple(one.address for one in SEATED)
AWARD = keccak256(b"award")
VOTE = Vote(finding=Finding.UPHELD, part=1, outcome=0, output=rerun().output, fuel=7, due=Amount(9))


def matter_of(papers: Papers) -> Matter:
    return Matter(
        award=papers.terms.award_id,
        opener=REQUESTER.address,
        part=PART,
        receipt=digest(MARKET, papers.receipt.value),
    )


def changed(papers: Papers) -> dict[str, Dossier]:
    """Dossiers of which one piece was exchanged."""
    good, receipt, before = papers.dossier(), papers.receipt.value, papers.before.value
    other = keccak256(b"another")
    return {
        "award": replace(good, award=replace(good.award, price=Amount(1))),
        "offer": replace(good, offer=replace(good.offer, budget=Amount(1))),
        "manifest": replace(good, manifest=good.manifest + b"\0"),
        "rates": replace(good, rates=replace(good.rates, gfuel=Amount(1))),
        "another receipt": replace(good, receipt=sign_struct(PROVIDER.key, MARKET, replace(receipt, fuel=1))),
        "a receipt by another": replace(good, receipt=sign_struct(REQUESTER.key, MARKET, receipt)),
        "an acceptance by another": replace(good, before=sign_struct(PROVIDER.key, MARKET, before)),
        "of another award": replace(good, before=sign_struct(REQUESTER.key, MARKET, replace(before, award=other))),
        "of another part": replace(good, before=sign_struct(REQUESTER.key, MARKET, replace(before, part=PART))),
    }


@pytest.mark.parametrize("what", changed(make_papers()))
def test_a_dossier_with_one_wrong_piece_is_refused(what: str) -> None:
    papers = make_papers()
    assert read_dossier(MARKET, matter_of(papers), papers.dossier()).before == papers.before.value.due
    with pytest.raises((WrongDossier, BadSignature)):
        read_dossier(MARKET, matter_of(papers), changed(papers)[what])


def test_two_acceptances_of_one_part_hold_the_requester_to_the_greater() -> None:
    papers = make_papers()
    more = sign_struct(REQUESTER.key, MARKET, replace(papers.before.value, due=Amount(2_500)))
    shown = [
        read_dossier(MARKET, matter_of(papers), one)
        for one in (papers.dossier(receipt=False), replace(papers.dossier(), before=more))
    ]
    assert put_together(shown).before == 2_500
    assert put_together(shown).receipt == papers.receipt.value


@pytest.mark.parametrize(
    ("found", "has_output", "finding"),
    [
        (rerun(), True, Finding.UPHELD),
        (rerun(), False, Finding.OUTPUT_MISSING),
        (rerun(b"other"), True, Finding.WRONG_RESULT),
        (rerun(b"other"), False, Finding.WRONG_RESULT),
        (rerun(outcome=Outcome.OUT_OF_FUEL), True, Finding.WRONG_RESULT),
        (rerun(fuel=1), True, Finding.OVERBILLED),
        (rerun(fuel=999_000_000), True, Finding.OVERBILLED),
        (rerun(outcome=Outcome.HOST_FAILURE), True, Finding.NOT_JUDGED),
    ],
)
def test_the_vote_follows_from_the_run(found: Rerun, *, has_output: bool, finding: Finding) -> None:
    papers = make_papers()
    evidence = read_dossier(MARKET, matter_of(papers), papers.dossier())
    vote = vote_on_run(evidence, found, has_output=has_output)
    assert vote.finding == finding
    assert vote.due <= papers.receipt.value.due  # nobody gains by a wrong receipt
    if finding not in (Finding.UPHELD, Finding.OVERBILLED):
        assert vote.due == papers.before.value.due


def test_an_arbiter_votes_once_and_opens_once_for_a_committee() -> None:
    opened = seat.Opened(committee=COMMITTEE, seals=(keccak256(b"1"),) * 5)
    with pytest.raises(UnexpectedEvent):
        seat.transition(seat.State(), opened)
    state, _ = seat.transition(seat.State(), seat.Judged(vote=VOTE))
    with pytest.raises(UnexpectedEvent):
        seat.transition(state, seat.Judged(vote=replace(VOTE, due=Amount(0))))
    state, _ = seat.transition(state, opened)
    assert seat.transition(state, opened)[0] is state
    with pytest.raises(seat.OpenedAlready):
        seat.transition(state, replace(opened, seals=(keccak256(b"2"),) * 5))
    again = replace(opened, committee=COMMITTEE[::-1])
    assert seat.transition(state, again)[0].opened == again


class Table:
    """One arbiter's side of an exchange, and what the others would send it."""

    def __init__(self) -> None:
        self.exchange = Exchange(COURT, AWARD, 0, COMMITTEE)
        self.secrets = [Digest(keccak256(b"%d" % number)) for number in range(5)]
        self.seals = tuple(
            seal_of(vote_hash(VOTE), arbiter, secret) for arbiter, secret in zip(COMMITTEE, self.secrets, strict=True)
        )

    def sealed(self, number: int) -> SealsNotice:
        return SealsNotice(award=AWARD, round=0, seals=(SeatSeal(seat=number, seal=self.seals[number]),))

    def opened(
        self, number: int, *, seals: tuple[Digest, ...] | None = None, by: Person | None = None
    ) -> OpeningsNotice:
        under = self.seals if seals is None else seals
        signed = (by or SEATED[number]).sign_opening(self.exchange.opening_of(VOTE, under))
        opening = SeatOpening(seat=number, secret=self.secrets[number], signature=signed.signature)
        return OpeningsNotice(award=AWARD, round=0, seals=under, vote=VOTE, openings=(opening,))


def test_three_equal_openings_of_five_are_a_quorum_and_two_are_none() -> None:
    table = Table()
    for number in (0, 3, 4):
        assert table.exchange.settlement() is None
        table.exchange.hear_openings(COMMITTEE[number], table.opened(number))
    settlement = table.exchange.settlement()
    assert settlement is not None
    assert settlement.quorum.seats == 0b11001
    assert len(settlement.signatures) == 3
    assert not settlement.is_complete


def test_openings_under_different_seals_do_not_add_up() -> None:
    table = Table()
    others = (*table.seals[:3], keccak256(b"x"), table.seals[4])
    for number, seals in ((0, table.seals), (3, table.seals), (1, others), (2, others)):
        table.exchange.hear_openings(COMMITTEE[number], table.opened(number, seals=seals))
    assert table.exchange.settlement() is None


def test_what_is_not_the_senders_own_is_refused() -> None:
    table = Table()
    foreign = [
        table.opened(2),  # another's seat
        table.opened(1, by=SEATED[2]),  # signed by another
        table.opened(1, seals=(ZERO_DIGEST,) * 5),  # sealed nothing
        table.opened(1, seals=table.seals[:4]),  # seals of another committee
    ]
    for notice in foreign:
        with pytest.raises(ProtocolError):
            table.exchange.hear_openings(COMMITTEE[1], notice)
    assert not table.exchange.vectors()
    for notice in (table.sealed(2), SealsNotice(award=AWARD, round=0, seals=(SeatSeal(seat=1, seal=ZERO_DIGEST),))):
        with pytest.raises(WrongNotice):
            table.exchange.hear_seals(COMMITTEE[1], notice)


def test_the_first_seal_of_a_seat_counts() -> None:
    table = Table()
    table.exchange.hear_seals(COMMITTEE[1], table.sealed(1))
    again = SealsNotice(award=AWARD, round=0, seals=(SeatSeal(seat=1, seal=keccak256(b"other")),))
    table.exchange.hear_seals(COMMITTEE[1], again)
    assert table.exchange.vector()[1] == table.seals[1]


def test_one_arbiter_cannot_fill_the_memory_with_seals() -> None:
    table = Table()
    for number in range(MOST_VECTORS):
        seals = (keccak256(b"%d" % number), *table.seals[1:])
        table.exchange.hear_openings(COMMITTEE[1], table.opened(1, seals=seals))
    with pytest.raises(WrongNotice):
        table.exchange.hear_openings(COMMITTEE[1], table.opened(1))
    assert len(table.exchange.vectors()) == MOST_VECTORS
