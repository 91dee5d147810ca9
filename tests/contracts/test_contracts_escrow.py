"""Escrow: every way from funding to the end. docs/spec/contracts.md, section 4."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
from contracts_desk import DOLLAR, PACE, RESOLVE_WITHIN, Desk, reverts, words

from protocol.dispute.objects import Verdict
from protocol.identity import ZERO_ADDRESS, Address, ContentDigest, Digest
from protocol.market.objects import Award
from protocol.signing.signed import sign_struct
from protocol.units import Amount, BasisPoints, UnixTime

PRICE = 25 * DOLLAR
LOCKED = 26 * DOLLAR
LAST_PART = 3
REQUESTER_LOST = 1
PROVIDER_LOST = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What both sign to end an award; the contract's own struct, in SPEC's notation."""

    award: Digest
    due: Amount
    settle_by: UnixTime


def verdict(desk: Desk, award: Award, due: int, finding: int = PROVIDER_LOST) -> Verdict:
    return Verdict(
        award=desk.award_id(award),
        part=0,
        round=0,
        finding=finding,
        output=ContentDigest(bytes(32)),
        fuel=1,
        due=Amount(due),
        severity=BasisPoints(0),
    )


def judge(desk: Desk, award: Award, ruling: Verdict) -> Any:
    signature = desk.sign(desk.arbiter, ruling)
    return desk.escrow.applyVerdict(words(award), words(ruling), signature, sender=desk.stranger.account)


def dispute(desk: Desk, award: Award) -> int:
    """Dispute as the requester and return the last second for a verdict."""
    desk.escrow.dispute(words(award), sender=desk.requester.account)
    return desk.escrow.recordOf(desk.award_id(award)).time


def outcome(desk: Desk) -> tuple[int, int, int, int]:
    """What requester, provider and arbiter have now, and what is still in the escrow."""
    held = desk.balances()
    return held["requester"] - 1_000 * DOLLAR, held["provider"], held["arbiter"], held["escrow"]


# ------------------------------------------------------------------------------------------------------- funding


def test_funding_locks_price_and_fee_under_the_digest_that_python_computes(desk: Desk) -> None:
    award = desk.award()

    receipt = desk.fund(award)

    assert desk.escrow.digestOf(words(award)) == desk.award_id(award)
    record = desk.escrow.recordOf(desk.award_id(award))
    assert (record.amount, record.paid, record.time, desk.state(award)) == (LOCKED, 0, 0, "Funded")
    assert [log.amount for log in receipt.events.filter(desk.escrow.Funded)] == [LOCKED]
    assert outcome(desk) == (-LOCKED, 0, 0, LOCKED)


def test_anyone_may_fund_with_the_requesters_signature_and_nobody_without(desk: Desk) -> None:
    award = desk.award()
    with reverts(desk.escrow.BadSignature):
        desk.escrow.fund(words(award), desk.sign(desk.stranger, award), sender=desk.stranger.account)
    elsewhere = bytes(sign_struct(desk.requester.key, replace(desk.market, chain_id=1), award).signature)
    with reverts(desk.escrow.BadSignature):
        desk.escrow.fund(words(award), elsewhere, sender=desk.stranger.account)

    desk.escrow.fund(words(award), desk.sign(desk.requester, award), sender=desk.stranger.account)

    assert desk.balance(desk.stranger) == 1_000 * DOLLAR - LOCKED


def test_an_award_is_funded_once_ever(desk: Desk) -> None:
    award = desk.funded()
    with reverts(desk.escrow.WrongState):
        desk.fund(award)
    desk.release(award, LAST_PART, PRICE)
    with reverts(desk.escrow.WrongState):
        desk.fund(award)


@pytest.mark.parametrize(
    "changes",
    [
        {"provider": ZERO_ADDRESS},
        {"price": 0},
        {"parts": 0},
        {"split_bps": 10_001},
        {"deliver_by": 1},
        {"pace": 0},
        {"price": 2**96 - DOLLAR},
        {"price": 2**128 - 1, "dispute_fee": 2**128 - 1},
        {"first_part": 2**32 - 1, "parts": 2},
    ],
)
def test_terms_that_can_not_be_kept_are_refused(desk: Desk, changes: dict[str, Any]) -> None:
    with reverts(desk.escrow.BadTerms):
        desk.fund(desk.award(**changes))


def test_an_award_for_another_rail_or_a_channel_is_refused(desk: Desk) -> None:
    for changes in ({"rail": desk.provider.raw}, {"channel": Digest(b"\x01" * 32)}):
        with reverts(desk.escrow.NotForEscrow):
            desk.fund(desk.award(**changes))


def test_funding_counts_until_the_last_second_of_start_by(desk: Desk) -> None:
    late, on_time = desk.award(), desk.award()
    desk.wait_until(on_time.start_by)
    desk.fund(on_time)
    desk.wait_until(late.start_by + 1)
    with reverts(desk.escrow.TooLate):
        desk.fund(late)


def test_an_award_without_money_behind_it_is_not_funded(desk: Desk) -> None:
    desk.token.transfer(desk.stranger.account, 1_000 * DOLLAR, sender=desk.requester.account)
    with reverts(desk.token.ERC20InsufficientBalance):
        desk.fund(desk.award())


# ------------------------------------------------------------------------------------------------------- agreement


def test_each_accepted_part_pays_the_difference_and_the_last_returns_the_rest(desk: Desk) -> None:
    award = desk.funded()
    for part, due in enumerate((5, 11, 12, 20)):
        desk.release(award, part, due * DOLLAR)
        assert desk.balance(desk.provider) == due * DOLLAR

    assert desk.state(award) == "Accepted"
    assert outcome(desk) == (-20 * DOLLAR, 20 * DOLLAR, 0, 0)


def test_a_repeated_or_older_acceptance_pays_nothing(desk: Desk) -> None:
    award = desk.funded()
    desk.release(award, 1, 11 * DOLLAR)
    for part, due in ((1, 11), (0, 5)):
        with reverts(desk.escrow.NothingDue):
            desk.release(award, part, due * DOLLAR)
    assert outcome(desk) == (-LOCKED, 11 * DOLLAR, 0, 15 * DOLLAR)


def test_a_requester_can_not_close_with_its_own_cheap_acceptance(desk: Desk) -> None:
    award = desk.funded()
    with reverts(desk.escrow.NothingDue):
        desk.release(award, LAST_PART, 0, by=desk.requester)
    desk.release(award, LAST_PART, DOLLAR, by=desk.requester)
    assert desk.state(award) == "Started"
    assert outcome(desk) == (-LOCKED, DOLLAR, 0, 25 * DOLLAR)


def test_anyone_closes_with_an_acceptance_of_the_whole_price(desk: Desk) -> None:
    award = desk.funded()
    desk.release(award, LAST_PART, PRICE, by=desk.stranger)
    assert desk.state(award) == "Accepted"
    assert outcome(desk) == (-PRICE, PRICE, 0, 0)


def test_a_standby_award_ends_at_its_own_last_part(desk: Desk) -> None:
    award = desk.funded(first_part=2, parts=2)
    for part in (1, 4):
        with reverts(desk.escrow.PartOutOfRange):
            desk.release(award, part, DOLLAR)
    desk.release(award, 2, DOLLAR)
    desk.release(award, 3, 2 * DOLLAR)
    assert desk.state(award) == "Accepted"


def test_an_acceptance_needs_the_requester_the_award_and_the_price(desk: Desk) -> None:
    award, other = desk.funded(), desk.funded()
    acceptance = desk.acceptance(award, 0, DOLLAR)
    provider = desk.provider.account
    with reverts(desk.escrow.BadSignature):
        desk.escrow.release(words(award), words(acceptance), desk.sign(desk.provider, acceptance), sender=provider)
    with reverts(desk.escrow.WrongAward):
        desk.escrow.release(words(other), words(acceptance), desk.sign(desk.requester, acceptance), sender=provider)
    with reverts(desk.escrow.DueOutOfRange):
        desk.release(award, LAST_PART, PRICE + 1)
    with reverts(desk.escrow.WrongState):
        desk.release(desk.award(), 0, DOLLAR)


def settlement_of(desk: Desk, award: Award, due: int, settle_by: int | None = None) -> Settlement:
    by = desk.now() + 60 if settle_by is None else settle_by
    return Settlement(award=desk.award_id(award), due=Amount(due), settle_by=UnixTime(by))


def test_both_signatures_end_an_award_at_any_amount(desk: Desk) -> None:
    award = desk.funded()
    agreed = settlement_of(desk, award, 3 * DOLLAR)
    both = desk.sign(desk.requester, agreed), desk.sign(desk.provider, agreed)

    desk.escrow.settle(words(award), words(agreed), *both, sender=desk.stranger.account)

    assert desk.state(award) == "Settled"
    assert outcome(desk) == (-3 * DOLLAR, 3 * DOLLAR, 0, 0)
    with reverts(desk.escrow.WrongState):
        desk.escrow.settle(words(award), words(agreed), *both, sender=desk.stranger.account)


def test_a_settlement_needs_both_sides_in_time_and_within_bounds(desk: Desk) -> None:
    award = desk.funded()
    desk.release(award, 0, 2 * DOLLAR)
    deadline = desk.now() + 20
    agreed = settlement_of(desk, award, 3 * DOLLAR, deadline)
    mine = desk.sign(desk.requester, agreed)
    with reverts(desk.escrow.BadSignature):
        desk.escrow.settle(words(award), words(agreed), mine, mine, sender=desk.requester.account)
    for due in (2 * DOLLAR - 1, PRICE + 1):
        bad = settlement_of(desk, award, due)
        with reverts(desk.escrow.DueOutOfRange):
            desk.escrow.settle(
                words(award), words(bad), desk.sign(desk.requester, bad), b"", sender=desk.provider.account
            )
    desk.wait_until(deadline + 1)
    with reverts(desk.escrow.TooLate):
        desk.escrow.settle(words(award), words(agreed), mine, b"", sender=desk.provider.account)


# ------------------------------------------------------------------------------------------------------- no start


def test_a_requester_that_saw_no_start_gets_its_money_after_one_pace(desk: Desk) -> None:
    award = desk.funded()
    with reverts(desk.escrow.TooEarly):
        desk.escrow.recall(words(award), sender=desk.requester.account)
    desk.wait_until(award.start_by + 1)
    with reverts(desk.escrow.NotParty):
        desk.escrow.recall(words(award), sender=desk.stranger.account)
    desk.wait_until(award.start_by + 5)
    desk.escrow.recall(words(award), sender=desk.requester.account)

    deadline = award.start_by + 5 + PACE
    desk.wait_until(deadline)
    with reverts(desk.escrow.TooEarly):
        desk.escrow.refund(words(award), sender=desk.requester.account)
    desk.wait_until(deadline + 1)
    desk.escrow.refund(words(award), sender=desk.stranger.account)

    assert desk.state(award) == "Refunded"
    assert outcome(desk) == (0, 0, 0, 0)


def test_a_start_in_time_keeps_the_money_in_place_and_stops_another_recall(desk: Desk) -> None:
    award = desk.funded()
    desk.wait_until(award.start_by + 1)
    desk.escrow.recall(words(award), sender=desk.requester.account)
    start = desk.start(award)
    desk.wait_until(award.start_by + 1 + PACE)  # its last second

    desk.escrow.proveStart(words(award), words(start), desk.sign(desk.provider, start), sender=desk.stranger.account)

    assert desk.state(award) == "Started"
    with reverts(desk.escrow.WrongState):
        desk.escrow.recall(words(award), sender=desk.requester.account)
    with reverts(desk.escrow.TooEarly):
        desk.escrow.refund(words(award), sender=desk.requester.account)


def test_a_start_that_is_late_forged_or_foreign_proves_nothing(desk: Desk) -> None:
    award, other = desk.funded(), desk.funded()
    late, foreign, good = desk.start(award, award.start_by + 1), desk.start(other), desk.start(award)
    sender = desk.stranger.account
    with reverts(desk.escrow.StartedTooLate):
        desk.escrow.proveStart(words(award), words(late), desk.sign(desk.provider, late), sender=sender)
    with reverts(desk.escrow.WrongAward):
        desk.escrow.proveStart(words(award), words(foreign), desk.sign(desk.provider, foreign), sender=sender)
    with reverts(desk.escrow.BadSignature):
        desk.escrow.proveStart(words(award), words(good), desk.sign(desk.requester, good), sender=sender)
    desk.wait_until(award.start_by + 1)
    desk.escrow.recall(words(award), sender=desk.requester.account)
    desk.wait_until(award.start_by + PACE + 2)
    with reverts(desk.escrow.TooLate):
        desk.escrow.proveStart(words(award), words(good), desk.sign(desk.provider, good), sender=sender)
    with reverts(desk.escrow.TooLate):
        desk.claim_escrow(award, 0, DOLLAR)


def test_who_accepted_a_part_can_not_say_that_nothing_started(desk: Desk) -> None:
    award = desk.funded()
    desk.release(award, 0, DOLLAR)
    desk.wait_until(award.start_by + 1)
    with reverts(desk.escrow.WrongState):
        desk.escrow.recall(words(award), sender=desk.requester.account)


# ------------------------------------------------------------------------------------------------------- silence


def test_without_a_claim_the_rest_goes_back_after_claim_by(desk: Desk) -> None:
    award = desk.funded()
    desk.release(award, 0, 5 * DOLLAR)
    claim_by = award.deliver_by + PACE
    desk.wait_until(claim_by)
    with reverts(desk.escrow.TooEarly):
        desk.escrow.refund(words(award), sender=desk.requester.account)
    desk.wait_until(claim_by + 1)
    desk.escrow.refund(words(award), sender=desk.stranger.account)
    assert outcome(desk) == (-5 * DOLLAR, 5 * DOLLAR, 0, 0)


def test_a_claim_that_nobody_disputes_is_paid(desk: Desk) -> None:
    award = desk.funded()
    desk.release(award, 0, 5 * DOLLAR)
    claim_by = award.deliver_by + PACE
    desk.wait_until(claim_by)
    receipt = desk.claim_escrow(award, 1, 11 * DOLLAR)
    [log] = receipt.events.filter(desk.escrow.Claimed)
    assert (log.part, log.due, log.disputeBy) == (1, 11 * DOLLAR, claim_by + PACE)

    with reverts(desk.escrow.WrongState):  # a claim stops the refund
        desk.escrow.refund(words(award), sender=desk.requester.account)
    desk.wait_until(claim_by + PACE)
    with reverts(desk.escrow.TooEarly):
        desk.escrow.payClaim(words(award), sender=desk.provider.account)
    desk.wait_until(claim_by + PACE + 1)
    desk.escrow.payClaim(words(award), sender=desk.stranger.account)

    assert desk.state(award) == "Paid"
    assert outcome(desk) == (-11 * DOLLAR, 11 * DOLLAR, 0, 0)


def test_a_claim_comes_from_the_provider_in_time_with_its_own_evidence(desk: Desk) -> None:
    award = desk.funded()
    with reverts(desk.escrow.NotParty):
        desk.claim_escrow(award, 0, DOLLAR, by=desk.requester)
    with reverts(desk.escrow.StartedTooLate):
        desk.claim_escrow(award, 0, DOLLAR, at=award.start_by + 1)
    with reverts(desk.escrow.PartOutOfRange):
        desk.claim_escrow(award, 4, DOLLAR)
    with reverts(desk.escrow.DueOutOfRange):
        desk.claim_escrow(award, 0, PRICE + 1)
    with reverts(desk.escrow.NothingDue):
        desk.claim_escrow(award, 0, 0)
    start, receipt = desk.start(award), desk.receipt(award, 0, DOLLAR)
    forged = desk.sign(desk.requester, receipt)
    with reverts(desk.escrow.BadSignature):
        desk.escrow.claim(
            words(award),
            words(start),
            desk.sign(desk.provider, start),
            words(receipt),
            forged,
            sender=desk.provider.account,
        )
    desk.wait_until(award.deliver_by + PACE + 1)
    with reverts(desk.escrow.TooLate):
        desk.claim_escrow(award, 0, DOLLAR)


def test_a_claim_that_is_accepted_lets_the_work_go_on(desk: Desk) -> None:
    award = desk.funded()
    desk.claim_escrow(award, 0, 6 * DOLLAR)
    desk.release(award, 0, 6 * DOLLAR)
    assert desk.state(award) == "Started"
    with reverts(desk.escrow.WrongState):
        desk.escrow.payClaim(words(award), sender=desk.provider.account)
    desk.claim_escrow(award, 1, 12 * DOLLAR)
    assert desk.state(award) == "Claimed"


def test_an_acceptance_below_the_claim_leaves_the_claim_open(desk: Desk) -> None:
    award = desk.funded()
    desk.claim_escrow(award, 1, 12 * DOLLAR)
    desk.release(award, 0, 6 * DOLLAR)
    assert desk.state(award) == "Claimed"
    desk.wait_until(desk.escrow.recordOf(desk.award_id(award)).time + 1)
    desk.escrow.payClaim(words(award), sender=desk.stranger.account)
    assert outcome(desk) == (-12 * DOLLAR, 12 * DOLLAR, 0, 0)


# ------------------------------------------------------------------------------------------------------- dispute


def test_a_verdict_pays_what_it_says_and_the_loser_pays_the_arbiter(desk: Desk) -> None:
    for finding, fee in ((REQUESTER_LOST, DOLLAR), (PROVIDER_LOST, 0)):
        before = outcome(desk)
        award = desk.funded()
        desk.claim_escrow(award, 0, 6 * DOLLAR)
        dispute(desk, award)
        judge(desk, award, verdict(desk, award, 4 * DOLLAR, finding))
        assert desk.state(award) == "Judged"
        change = tuple(after - then for after, then in zip(outcome(desk), before, strict=True))
        assert change == (-4 * DOLLAR - fee, 4 * DOLLAR, fee, 0)


def test_a_verdict_takes_back_nothing_and_gives_no_more_than_was_claimed(desk: Desk) -> None:
    for due, paid in ((0, 2 * DOLLAR), (PRICE, 6 * DOLLAR)):
        before = outcome(desk)
        award = desk.funded()
        desk.release(award, 0, 2 * DOLLAR)
        desk.claim_escrow(award, 1, 6 * DOLLAR)
        dispute(desk, award)
        judge(desk, award, verdict(desk, award, due))
        assert outcome(desk)[1] - before[1] == paid


def test_only_the_awards_arbiter_judges_only_this_award_and_only_in_time(desk: Desk) -> None:
    award, other = desk.funded(), desk.funded()
    ruling = verdict(desk, award, DOLLAR)
    with reverts(desk.escrow.WrongState):
        judge(desk, award, ruling)
    for each in (award, other):
        desk.claim_escrow(each, 0, 6 * DOLLAR)
        resolve_by = dispute(desk, each)
    with reverts(desk.escrow.WrongAward):
        judge(desk, other, ruling)
    with reverts(desk.escrow.BadSignature):
        desk.escrow.applyVerdict(
            words(award), words(ruling), desk.sign(desk.provider, ruling), sender=desk.provider.account
        )
    desk.wait_until(resolve_by + 1)
    with reverts(desk.escrow.TooLate):
        judge(desk, award, ruling)


def test_an_arbiter_contract_judges_by_calling(desk: Desk, project: Any) -> None:
    court = desk.guardian.account.deploy(project.StandInArbiter)
    award = desk.funded(arbiter=Address(bytes.fromhex(court.address[2:])))
    desk.claim_escrow(award, 0, 6 * DOLLAR)
    dispute(desk, award)
    ruling = verdict(desk, award, 6 * DOLLAR, REQUESTER_LOST)
    court.judge(desk.escrow, words(award), words(ruling), sender=desk.guardian.account)
    assert desk.balance(desk.provider) == 6 * DOLLAR
    assert desk.token.balanceOf(court) == DOLLAR


def test_an_arbiter_contract_has_no_fee_from_a_settlement_and_may_dispute_for_the_requester(
    desk: Desk, project: Any
) -> None:
    court = desk.guardian.account.deploy(project.StandInArbiter)
    award = desk.funded(arbiter=Address(bytes.fromhex(court.address[2:])))
    desk.claim_escrow(award, 0, 6 * DOLLAR)
    court.dispute(desk.escrow, words(award), sender=desk.guardian.account)
    assert desk.state(award) == "Disputed"
    agreed = settlement_of(desk, award, 4 * DOLLAR)
    desk.escrow.settle(
        words(award), words(agreed), desk.sign(desk.requester, agreed), b"", sender=desk.provider.account
    )
    assert outcome(desk) == (-4 * DOLLAR, 4 * DOLLAR, 0, 0)
    assert desk.token.balanceOf(court) == 0


def test_a_dispute_counts_until_its_last_second_and_only_from_requester_or_arbiter(desk: Desk) -> None:
    award, late = desk.funded(), desk.funded()
    with reverts(desk.escrow.WrongState):
        desk.escrow.dispute(words(award), sender=desk.requester.account)
    desk.claim_escrow(award, 0, DOLLAR)
    desk.claim_escrow(late, 0, DOLLAR)
    with reverts(desk.escrow.NotParty):
        desk.escrow.dispute(words(award), sender=desk.stranger.account)
    with reverts(desk.escrow.NotParty):
        desk.escrow.dispute(words(award), sender=desk.provider.account)
    dispute_by = desk.escrow.recordOf(desk.award_id(award)).time
    desk.wait_until(dispute_by)
    assert dispute(desk, award) == dispute_by + RESOLVE_WITHIN
    desk.wait_until(desk.escrow.recordOf(desk.award_id(late)).time + 1)
    with reverts(desk.escrow.TooLate):
        desk.escrow.dispute(words(late), sender=desk.requester.account)


def test_a_silent_arbiter_leaves_the_agreed_split_of_the_claimed_rest(desk: Desk) -> None:
    award = desk.funded(split_bps=3333)
    desk.release(award, 0, 2 * DOLLAR)
    desk.claim_escrow(award, 1, 6 * DOLLAR + 1)
    resolve_by = dispute(desk, award)
    desk.wait_until(resolve_by)
    with reverts(desk.escrow.TooEarly):
        desk.escrow.split(words(award), sender=desk.stranger.account)
    desk.wait_until(resolve_by + 1)
    desk.escrow.split(words(award), sender=desk.stranger.account)

    to_provider = 2 * DOLLAR + (4 * DOLLAR + 1) * 3333 // 10_000
    assert desk.state(award) == "Split"
    assert outcome(desk) == (-to_provider, to_provider, 0, 0)


def test_without_an_arbiter_a_dispute_splits_at_once(desk: Desk) -> None:
    award = desk.funded(arbiter=ZERO_ADDRESS)
    desk.claim_escrow(award, 0, 6 * DOLLAR)
    disputed_at = dispute(desk, award)
    desk.wait_until(disputed_at + 1)
    desk.escrow.split(words(award), sender=desk.stranger.account)
    assert outcome(desk) == (-3 * DOLLAR, 3 * DOLLAR, 0, 0)


def test_conceding_during_a_dispute_does_not_spare_the_arbiters_fee(desk: Desk) -> None:
    award = desk.funded()
    desk.claim_escrow(award, LAST_PART, PRICE)
    dispute(desk, award)
    desk.release(award, LAST_PART, PRICE)  # pays, and the dispute goes on
    assert desk.state(award) == "Disputed"
    agreed = settlement_of(desk, award, PRICE)
    desk.escrow.settle(
        words(award), words(agreed), desk.sign(desk.requester, agreed), b"", sender=desk.provider.account
    )
    assert outcome(desk) == (-LOCKED, PRICE, DOLLAR, 0)
