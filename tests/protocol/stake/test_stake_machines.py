"""The stake behind an award: no order without a reason, none forgotten, and every bonus with whom it belongs to."""

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from protocol.escrow.record import ClaimConfirmed, CloseConfirmed, Outcome
from protocol.identity import ZERO_ADDRESS, ZERO_DIGEST, Digest
from protocol.signing.ecdsa import Signature
from protocol.signing.signed import Signed
from protocol.stake import provider, requester
from protocol.stake.provider import FreeWanted, ProviderStake, SubmitLock, WorkOver
from protocol.stake.record import (
    BonusConfirmed,
    BonusPaidConfirmed,
    FreeConfirmed,
    LockConfirmed,
    LockPhase,
    SlashConfirmed,
    StakeRecordBroken,
)
from protocol.stake.requester import Dropped, LastAccepted, RequesterStake, SubmitBonus
from protocol.stake.terms import (
    BackingRefused,
    asks_for_stake,
    bonus_of,
    check_backing,
    least_stake,
    promise_of,
    stake_terms,
)
from protocol.task.objects import Acceptance
from protocol.units import Amount, UnixTime
from tests.protocol.escrow import escrow_world
from tests.protocol.market.market_world import make_offer

AWARD = replace(escrow_world.AWARD, liability=Amount(500), price=Amount(1_999))
ID = Digest(b"a" * 32)
TERMS = stake_terms(AWARD, ID)
LAST = AWARD.first_part + AWARD.parts - 1
TIMES = TERMS.deadlines
BONUS = Amount(99)
MOMENTS = [TIMES.start_by, TIMES.deliver_by, TIMES.claim_by, TIMES.latest_resolve_by]


def accepted(part: int = LAST) -> Signed[Acceptance]:
    value = Acceptance(award=ID, part=part, receipt=ZERO_DIGEST, due=AWARD.price)
    return Signed(value, Signature(bytes(65)))


def closed(outcome: Outcome, to_provider: int = 0) -> CloseConfirmed:
    return CloseConfirmed(
        outcome=outcome, to_provider=Amount(to_provider), to_requester=Amount(0), to_arbiter=Amount(0)
    )


def claimed(due: int, part: int = LAST) -> ClaimConfirmed:
    return ClaimConfirmed(part=part, due=Amount(due), receipt=ZERO_DIGEST, dispute_by=UnixTime(9))


def at(state: ProviderStake, now: int) -> ProviderStake:
    return provider.advance(state, UnixTime(now))


def locked(*, escrowed: bool = True, bonus: int = 0) -> ProviderStake:
    state = provider.transition(ProviderStake(terms=TERMS, escrowed=escrowed), LockConfirmed(amount=AWARD.liability))
    return provider.transition(state, BonusConfirmed(amount=Amount(bonus))) if bonus else state


def test_a_bonus_is_rounded_down_and_a_lock_needs_something_to_lock() -> None:
    assert TERMS.bonus == BONUS
    assert [bonus_of(price) for price in (0, 19, 20, 39, 40)] == [0, 0, 1, 1, 2]
    for bad in (0, 1 << 120):
        with pytest.raises(BackingRefused):
            stake_terms(replace(AWARD, liability=Amount(bad)), ID)


def test_a_lock_is_made_until_start_by_while_the_market_wants_it() -> None:
    state = ProviderStake(terms=TERMS, escrowed=True)
    assert provider.outstanding(at(state, TIMES.start_by)) == (SubmitLock(terms=TERMS),)
    late = at(state, TIMES.start_by + 1)
    assert provider.outstanding(late) == ()
    assert provider.is_settled(late)
    given_up = provider.transition(state, WorkOver())
    assert provider.outstanding(given_up) == ()
    assert not provider.is_settled(given_up)  # what was sent may still come
    assert provider.transition(given_up, LockConfirmed(amount=AWARD.liability)).record.is_locked


@pytest.mark.parametrize(
    ("ends", "is_free"),
    [
        ([closed(Outcome.ACCEPTED)], True),
        ([closed(Outcome.REFUNDED)], True),
        ([closed(Outcome.SPLIT)], True),
        ([closed(Outcome.JUDGED, 9)], False),  # nothing was claimed that the verdict could uphold
        ([claimed(10), closed(Outcome.JUDGED, 9)], False),
        ([claimed(9), closed(Outcome.JUDGED, 9)], True),
    ],
)
def test_a_closed_escrow_frees_unless_the_verdict_was_below_the_claim(
    ends: list[ClaimConfirmed | CloseConfirmed], *, is_free: bool
) -> None:
    state = locked()
    for event in ends:
        state = provider.transition(state, event)
    assert provider.freeable(state) == (AWARD.liability if is_free else 0)
    assert provider.outstanding(state) == ()  # not before somebody wants it
    assert len(provider.outstanding(provider.transition(state, FreeWanted()))) == is_free
    later = at(provider.transition(state, FreeWanted()), TIMES.latest_resolve_by + 1)
    assert len(provider.outstanding(later)) == 1


def test_only_the_last_parts_acceptance_frees_and_a_bonus_does_not_wait_for_long() -> None:
    state = locked(escrowed=False, bonus=BONUS)
    if AWARD.parts > 1:
        assert provider.freeable(provider.transition(state, WorkOver(acceptance=accepted(LAST - 1)))) == 0
    done = provider.transition(state, WorkOver(acceptance=accepted()))
    assert provider.freeable(done) == AWARD.liability + BONUS
    assert provider.outstanding(at(done, TIMES.claim_by)) == ()
    (order,) = provider.outstanding(at(done, TIMES.claim_by + 1))
    assert isinstance(order, provider.SubmitFree)
    assert order.acceptance == accepted()
    # Without a bonus nothing presses.
    plain = provider.transition(locked(escrowed=False), WorkOver(acceptance=accepted()))
    assert provider.outstanding(at(plain, TIMES.claim_by + 1)) == ()


def test_a_bonus_that_an_open_escrow_kept_is_fetched_once_it_closes_well() -> None:
    state = at(locked(bonus=BONUS), TIMES.latest_resolve_by + 1)
    freed = provider.transition(state, FreeConfirmed())
    assert not provider.is_settled(freed)
    assert provider.outstanding(freed) == ()
    paid = provider.transition(provider.transition(freed, claimed(9)), closed(Outcome.PAID))
    assert len(provider.outstanding(paid)) == 1
    assert provider.is_settled(provider.transition(paid, BonusPaidConfirmed(amount=BONUS, earned=True)))
    assert provider.is_settled(provider.transition(freed, closed(Outcome.REFUNDED)))


@pytest.mark.parametrize("outcome", [Outcome.PAID, Outcome.JUDGED])
@pytest.mark.parametrize("part", [LAST - 1, LAST])
def test_a_claim_earns_the_bonus_with_the_last_part_alone(outcome: Outcome, part: int) -> None:
    ends = (claimed(9, part), closed(outcome, 9))
    mine, theirs = locked(bonus=BONUS), RequesterStake(terms=TERMS, with_bonus=True, escrowed=True)
    theirs = requester.transition(theirs, BonusConfirmed(amount=BONUS))
    for event in ends:
        mine, theirs = provider.transition(mine, event), requester.transition(theirs, event)
    is_ours = part == LAST
    assert provider.freeable(mine) == AWARD.liability + (BONUS if is_ours else 0)  # the lock is free all the same
    assert len(requester.outstanding(theirs)) == (0 if is_ours else 1)


def test_a_slash_ends_it() -> None:
    state = provider.transition(locked(), SlashConfirmed(lost=Amount(7)))
    assert state.record.lock is LockPhase.SLASHED
    assert state.record.lost == 7
    assert provider.is_settled(state)
    with pytest.raises(StakeRecordBroken):
        provider.transition(state, FreeConfirmed())


def test_a_requester_deposits_once_in_time_and_takes_back_what_nobody_earned() -> None:
    state = RequesterStake(terms=TERMS, with_bonus=True, escrowed=True)
    assert requester.outstanding(state) == (SubmitBonus(terms=TERMS),)
    assert requester.outstanding(requester.transition(state, Dropped())) == ()
    assert requester.outstanding(requester.advance(state, UnixTime(TIMES.start_by + 1))) == ()
    assert requester.outstanding(replace(state, with_bonus=False)) == ()
    waiting = requester.transition(state, BonusConfirmed(amount=BONUS))
    assert requester.outstanding(waiting) == ()
    late = requester.advance(waiting, UnixTime(TIMES.latest_resolve_by + 1))
    assert requester.outstanding(late) == ()  # its escrow decides
    assert not requester.is_settled(late)
    back = requester.transition(waiting, closed(Outcome.REFUNDED))
    assert len(requester.outstanding(back)) == 1
    paid = requester.transition(requester.transition(waiting, claimed(9)), closed(Outcome.PAID))
    for owed in (paid, requester.transition(back, LastAccepted())):
        assert requester.outstanding(owed) == ()
    channel = replace(late, escrowed=False)
    assert len(requester.outstanding(channel)) == 1
    assert requester.is_settled(requester.transition(channel, BonusPaidConfirmed(amount=BONUS, earned=False)))


def test_a_lock_counts_only_whole() -> None:
    state = RequesterStake(terms=TERMS, with_bonus=False, escrowed=True)
    assert not requester.is_backed(state)
    assert not requester.is_backed(requester.transition(state, LockConfirmed(amount=Amount(AWARD.liability - 1))))
    whole = requester.transition(state, LockConfirmed(amount=AWARD.liability))
    assert requester.is_backed(whole)
    assert not requester.is_backed(requester.transition(whole, FreeConfirmed()))
    assert not requester.is_backed(requester.transition(whole, SlashConfirmed(lost=Amount(0))))


@pytest.mark.parametrize(
    ("free", "promised", "is_backed"),
    [(100, 0, True), (99, 0, False), (100, 40, True), (100, 41, False), (1_000, 940, True), (1_000, 941, False)],
)
def test_a_bid_needs_its_bond_and_liability_beside_what_is_promised(
    free: int, promised: int, *, is_backed: bool
) -> None:
    offer = replace(make_offer(), min_stake=Amount(100), bond=Amount(20), liability=Amount(40))
    assert (promise_of(offer), least_stake(offer)) == (60, 100)
    if is_backed:
        check_backing(offer, free=free, promised=promised)
    else:
        with pytest.raises(BackingRefused, match="stake"):
            check_backing(offer, free=free, promised=promised)


def test_liability_without_an_arbiter_asks_for_nothing() -> None:
    offer = replace(make_offer(), arbiter=ZERO_ADDRESS, dispute_fee=Amount(0), liability=Amount(40))
    assert not asks_for_stake(offer)
    assert asks_for_stake(replace(offer, bond=Amount(1)))
    assert asks_for_stake(replace(offer, min_stake=Amount(1)))
    check_backing(offer, free=0, promised=0)


class Contract(RuleBasedStateMachine):
    """Both sides beside a model of the contract: whatever happens in whichever order, the orders are ones it takes.

    Time passes, escrows end in any way; each side's orders are performed or lost.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sells = ProviderStake(terms=TERMS, escrowed=True)
        self.buys = RequesterStake(terms=TERMS, with_bonus=True, escrowed=True)
        self.now, self.outcome, self.bonus_went = 0, Outcome.REFUNDED, ""
        self.is_closed = False

    def tell(self, event: object) -> None:
        self.sells = provider.transition(self.sells, event)  # pyright: ignore[reportArgumentType] - a fact for both
        self.buys = requester.transition(self.buys, event)  # pyright: ignore[reportArgumentType] - likewise

    @rule(
        time=st.sampled_from([TIMES.start_by, TIMES.deliver_by, TIMES.claim_by, TIMES.latest_resolve_by]),
        late=st.booleans(),
    )
    def time_passes(self, time: int, *, late: bool) -> None:
        self.now = max(self.now, time + late)
        self.sells, self.buys = at(self.sells, self.now), requester.advance(self.buys, UnixTime(self.now))

    @rule(outcome=st.sampled_from([Outcome.ACCEPTED, Outcome.REFUNDED, Outcome.PAID, Outcome.SETTLED, Outcome.SPLIT]))
    @precondition(lambda self: not self.is_closed)
    def escrow_closes(self, outcome: Outcome) -> None:
        self.is_closed, self.outcome = True, outcome
        if outcome is Outcome.ACCEPTED:
            self.buys = requester.transition(self.buys, LastAccepted())
            self.sells = provider.transition(self.sells, WorkOver(acceptance=accepted()))
        self.tell(closed(outcome))

    @rule()
    def freeing_is_wanted(self) -> None:
        self.sells = provider.transition(self.sells, FreeWanted())

    @rule()
    def orders_are_performed(self) -> None:
        for order in (*provider.outstanding(self.sells), *requester.outstanding(self.buys)):
            self._take(order)

    def _take(self, order: object) -> None:
        record = self.sells.record
        match order:
            case SubmitLock():
                assert record.lock is LockPhase.NONE
                assert self.now <= TIMES.start_by
                self.tell(LockConfirmed(amount=AWARD.liability))
            case SubmitBonus():
                assert not record.had_bonus
                assert self.now <= TIMES.start_by
                self.tell(BonusConfirmed(amount=BONUS))
            case _:
                if not (record.is_locked or record.bonus):
                    return  # both sides asked; the second call reverts
                assert self.is_closed or self.now > TIMES.latest_resolve_by
                if record.is_locked:
                    self.tell(FreeConfirmed())
                if record.bonus and self.is_closed:
                    earned = self.outcome in (Outcome.ACCEPTED, Outcome.PAID)
                    self.tell(BonusPaidConfirmed(amount=record.bonus, earned=earned))
                    self.bonus_went = "provider" if earned else "requester"

    @invariant()
    def who_is_settled_has_nothing_left_there(self) -> None:
        record = self.sells.record
        earned = self.outcome in (Outcome.ACCEPTED, Outcome.PAID)
        if provider.is_settled(self.sells):
            assert not record.is_locked
            assert not record.bonus or (self.is_closed and not earned)
        if requester.is_settled(self.buys):
            assert not record.bonus or (self.is_closed and earned)

    def teardown(self) -> None:
        """At the end of time, with everything asked for, nothing is left with anyone."""
        self.time_passes(TIMES.latest_resolve_by, late=True)
        if not self.is_closed:
            self.escrow_closes(Outcome.REFUNDED)
        self.freeing_is_wanted()
        for _ in range(3):
            self.orders_are_performed()
        assert provider.is_settled(self.sells)
        assert requester.is_settled(self.buys)
        assert not self.sells.record.is_locked
        assert not self.sells.record.bonus


TestContract = Contract.TestCase
TestContract.settings = settings(max_examples=60, stateful_step_count=12, deadline=None)
