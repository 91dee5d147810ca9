"""The payer's side: each rule at its boundary."""

from dataclasses import replace

import pytest

from protocol.channel.chain import (
    BlockSeen,
    ClaimConfirmed,
    CloseConfirmed,
    EnforceConfirmed,
    ExitConfirmed,
    OpenConfirmed,
    PresentConfirmed,
    TopUpConfirmed,
    WithdrawConfirmed,
)
from protocol.channel.errors import (
    AwardConflict,
    ClosePending,
    DepositExceeded,
    ExitPending,
    ImpossibleFact,
    PaymentAboveHold,
    TooManyHolds,
    UnexpectedEvent,
    UnknownAward,
    WorkOutstanding,
    WrongChannel,
)
from protocol.channel.holds import MAX_HOLDS, build_voucher, verify_holds
from protocol.channel.objects import Close, Hold
from protocol.channel.payer import free_deposit, outstanding, start_opening, transition
from protocol.channel.paying import (
    CloseRequested,
    Exiting,
    ExitRequested,
    HoldReleased,
    HoldRequested,
    Open,
    PayerEffect,
    PayerEvent,
    PayerState,
    PaymentDue,
    SendClose,
    SendVoucher,
    Settled,
    SubmitExit,
    SubmitOpen,
    SubmitTopUp,
    SubmitWithdraw,
    TopUpRequested,
    VoucherAcknowledged,
)
from protocol.identity import Digest
from protocol.units import MAX_AMOUNT, Amount, UnixTime
from tests.protocol.channel.channel_world import CHANNEL, JUDGE, KEY, RULES, award

A, B = award(1), award(2)


def run(state: PayerState, *events: PayerEvent) -> PayerState:
    for event in events:
        state, _ = transition(state, event)
    return state


def effects(state: PayerState, event: PayerEvent) -> tuple[PayerEffect, ...]:
    return transition(state, event)[1]


def opened(deposit: int = 100) -> PayerState:
    return run(start_opening(KEY, Amount(deposit), RULES), OpenConfirmed(key=KEY, deposit=Amount(deposit)))


def request(of: Digest = A, price: int = 30, fee: int = 2) -> HoldRequested:
    return HoldRequested(award=of, arbiter=JUDGE, price=Amount(price), dispute_fee=Amount(fee))


def due(amount: int, of: Digest = A) -> PaymentDue:
    return PaymentDue(award=of, due=Amount(amount))


def sent(state: PayerState, event: PayerEvent) -> tuple[int, int, dict[Digest, int]]:
    """Return sequence, cumulative and holds of the one voucher that `event` sends."""
    (effect,) = effects(state, event)
    assert isinstance(effect, SendVoucher)
    verify_holds(effect.voucher, effect.holds)
    assert effect.voucher.channel == CHANNEL
    return effect.voucher.sequence, effect.voucher.cumulative, {hold.award: hold.amount for hold in effect.holds}


def test_a_channel_opens_when_the_chain_says_so_and_not_before() -> None:
    state = start_opening(KEY, Amount(100), RULES)
    assert outstanding(state) == (SubmitOpen(key=KEY, amount=Amount(100)),)
    with pytest.raises(UnexpectedEvent):
        transition(state, request())
    with pytest.raises(WrongChannel):
        transition(state, OpenConfirmed(key=replace(KEY, counter=2), deposit=Amount(100)))
    assert outstanding(opened()) == ()


def test_a_payment_moves_money_from_the_hold_to_the_total_in_one_voucher() -> None:
    state = opened()
    assert sent(state, request()) == (1, 0, {A: 32})
    state = run(state, request(), request(B, 40, 0))
    assert sent(state, due(10)) == (3, 10, {A: 22, B: 40})
    assert sent(run(state, due(10)), due(30)) == (4, 30, {A: 2, B: 40})
    assert sent(run(state, due(10)), due(40, B)) == (4, 50, {A: 22})


def test_a_repeat_sends_the_same_voucher_again_and_an_acknowledged_one_not_at_all() -> None:
    state = run(opened(), request(), due(10))
    assert sent(state, due(10)) == sent(state, due(9)) == sent(state, request()) == (2, 10, {A: 22})
    assert len(outstanding(state)) == 1
    known = run(state, VoucherAcknowledged(sequence=2))
    assert outstanding(known) == ()
    assert effects(known, due(10)) == ()
    for lie in (1, 3, 2**64 - 1):
        assert len(outstanding(run(state, VoucherAcknowledged(sequence=lie)))) == 1


def test_what_is_paid_and_held_never_exceeds_the_confirmed_deposit() -> None:
    state = run(opened(), request(A, 50, 1))
    with pytest.raises(DepositExceeded):
        transition(state, request(B, 50, 0))
    exact = run(state, request(B, 49, 0))
    assert isinstance(exact, Open)
    assert free_deposit(exact) == 0
    paid = run(exact, due(50))
    with pytest.raises(DepositExceeded):
        transition(paid, request(award(3), 1, 0))
    released = run(paid, HoldReleased(award=A))
    assert sent(released, request(award(3), 1, 0)) == (5, 50, {B: 49, award(3): 1})


def test_a_top_up_counts_when_it_is_confirmed() -> None:
    state, orders = transition(opened(), TopUpRequested(amount=Amount(50)))
    assert orders == (SubmitTopUp(key=KEY, amount=Amount(50), target=Amount(150)),) == outstanding(state)
    with pytest.raises(DepositExceeded):
        transition(state, request(A, 101, 0))
    partly = run(state, TopUpConfirmed(deposit=Amount(110)))
    assert outstanding(partly) == (SubmitTopUp(key=KEY, amount=Amount(40), target=Amount(150)),)
    full = run(partly, TopUpConfirmed(deposit=Amount(150)))
    assert outstanding(full) == ()
    assert sent(full, request(A, 150, 0)) == (1, 0, {A: 150})
    for amount in (0, MAX_AMOUNT - 99):
        with pytest.raises(DepositExceeded):
            transition(opened(), TopUpRequested(amount=Amount(amount)))


def test_a_payment_stays_within_the_price_and_leaves_the_fee_alone() -> None:
    state = run(opened(), request())
    with pytest.raises(PaymentAboveHold):
        transition(state, due(31))
    with pytest.raises(UnknownAward):
        transition(state, due(1, B))
    with pytest.raises(UnknownAward):
        transition(run(state, HoldReleased(award=A)), due(1))


def test_one_award_has_one_promise() -> None:
    state = run(opened(), request(), due(10))
    for other in (request(price=31), request(fee=1), replace(request(), arbiter=KEY.payee)):
        with pytest.raises(AwardConflict):
            transition(state, other)


def test_a_voucher_carries_so_many_holds_and_no_more() -> None:
    state = opened(1000)
    for number in range(MAX_HOLDS):
        state = run(state, request(award(number), 1, 0))
    with pytest.raises(TooManyHolds):
        transition(state, request(award(MAX_HOLDS), 1, 0))


def test_whoever_leaves_promises_nothing_new_but_pays_what_is_in_flight() -> None:
    state, orders = transition(run(opened(), request()), ExitRequested())
    assert orders == (SubmitExit(key=KEY),)
    for forbidden in (request(B), TopUpRequested(amount=Amount(1))):
        with pytest.raises(ExitPending):
            transition(state, forbidden)
    assert sent(run(state, ExitConfirmed(exits_at=UnixTime(500))), due(10)) == (2, 10, {A: 22})


def test_the_free_part_is_withdrawn_after_the_challenge_and_the_reserve_after_the_hold_period() -> None:
    state = run(
        opened(),
        request(),
        VoucherAcknowledged(sequence=1),
        ExitConfirmed(exits_at=UnixTime(500)),
        PresentConfirmed(sequence=1, cumulative=Amount(0), held=Amount(32)),
    )
    withdraw = (SubmitWithdraw(key=KEY),)
    assert effects(state, BlockSeen(time=UnixTime(500))) == ()
    assert effects(state, BlockSeen(time=UnixTime(501))) == withdraw
    state = run(state, BlockSeen(time=UnixTime(501)), WithdrawConfirmed(amount=Amount(68)))
    assert outstanding(state) == ()
    with pytest.raises(ImpossibleFact):  # a deep reorganisation brings it again
        transition(state, WithdrawConfirmed(amount=Amount(68)))
    last = 500 + RULES.hold_period
    assert effects(state, BlockSeen(time=UnixTime(last))) == ()
    assert effects(state, BlockSeen(time=UnixTime(last + 1))) == withdraw
    assert run(state, CloseConfirmed(to_payee=Amount(0))) == Settled(channel=CHANNEL, paid=Amount(0))


@pytest.mark.parametrize(("claimed", "withdrawn"), [(10, 58), (20, 58), (42, 58), (50, 50)])
def test_claims_after_a_presentation_eat_into_the_reserve(claimed: int, withdrawn: int) -> None:
    state = run(
        opened(),
        ExitConfirmed(exits_at=UnixTime(500)),
        PresentConfirmed(sequence=1, cumulative=Amount(10), held=Amount(32)),
        ClaimConfirmed(claimed=Amount(claimed)),
        BlockSeen(time=UnixTime(501)),
    )
    assert SubmitWithdraw(key=KEY) in outstanding(state)
    less = run(state, WithdrawConfirmed(amount=Amount(withdrawn - 1)))
    assert SubmitWithdraw(key=KEY) in outstanding(less)
    gone = run(state, WithdrawConfirmed(amount=Amount(withdrawn)))
    # With nothing reserved beyond what is claimed, one more withdrawal closes the channel.
    assert (SubmitWithdraw(key=KEY) in outstanding(gone)) == (claimed >= 42)


def test_a_channel_that_was_paid_out_in_full_is_closed_after_the_challenge() -> None:
    state = run(opened(), ExitConfirmed(exits_at=UnixTime(500)), ClaimConfirmed(claimed=Amount(100)))
    assert effects(state, BlockSeen(time=UnixTime(501))) == (SubmitWithdraw(key=KEY),)


def test_an_enforced_hold_begins_the_exit_and_what_is_in_flight_is_still_paid() -> None:
    verdict = EnforceConfirmed(award=A, to_payee=Amount(30), to_arbiter=Amount(2), reserved=Amount(70))
    exits = ExitConfirmed(exits_at=UnixTime(500))
    state = run(opened(), request(), request(B, 40, 0), VoucherAcknowledged(sequence=2), exits, verdict)
    assert isinstance(state, Exiting)
    assert (state.account.deposit, state.account.claimed) == (98, 30)
    assert not state.doubt  # it was paid by a verdict, not by a voucher that this side can't remember
    assert sent(state, due(1, B)) == (3, 1, {A: 32, B: 39})
    assert outstanding(run(state, BlockSeen(time=UnixTime(500)))) == ()
    assert outstanding(run(state, BlockSeen(time=UnixTime(501)))) == (SubmitWithdraw(key=KEY),)
    withdrawn = run(state, BlockSeen(time=UnixTime(501)), WithdrawConfirmed(amount=Amount(28)))
    assert outstanding(withdrawn) == ()
    last = UnixTime(500 + RULES.hold_period)
    assert effects(withdrawn, BlockSeen(time=last)) == ()
    assert effects(withdrawn, BlockSeen(time=UnixTime(last + 1))) == (SubmitWithdraw(key=KEY),)


def test_a_claim_beyond_the_ledger_after_a_verdict_is_still_a_voucher_that_was_forgotten() -> None:
    verdict = EnforceConfirmed(award=A, to_payee=Amount(30), to_arbiter=Amount(0), reserved=Amount(0))
    state = run(opened(), request(), ExitConfirmed(exits_at=UnixTime(500)), verdict, ClaimConfirmed(claimed=Amount(31)))
    assert isinstance(state, Exiting)
    assert state.doubt


def test_a_close_is_proposed_without_work_in_flight_and_stops_new_promises_until_it_is_void() -> None:
    busy = run(opened(), request(), due(30))
    with pytest.raises(WorkOutstanding):
        transition(busy, CloseRequested(close_by=UnixTime(9)))
    idle = run(busy, HoldReleased(award=A), VoucherAcknowledged(sequence=3))
    close = Close(channel=CHANNEL, cumulative=Amount(30), close_by=UnixTime(9))
    state, orders = transition(idle, CloseRequested(close_by=UnixTime(9)))
    assert orders == (SendClose(close=close),) == outstanding(state)
    for forbidden in (request(B), CloseRequested(close_by=UnixTime(10))):
        with pytest.raises(ClosePending):
            transition(state, forbidden)
    with pytest.raises(ClosePending):
        transition(run(state, BlockSeen(time=UnixTime(9))), request(B))
    assert sent(run(state, BlockSeen(time=UnixTime(10))), request(B)) == (4, 30, {B: 32})


def test_a_settled_channel_does_nothing() -> None:
    state = run(opened(), CloseConfirmed(to_payee=Amount(3)))
    assert outstanding(state) == ()
    assert run(state, BlockSeen(time=UnixTime(1))) == state
    with pytest.raises(UnexpectedEvent):
        transition(state, request())


def test_the_voucher_is_what_anyone_computes_from_its_holds() -> None:
    (effect,) = effects(opened(), request())
    assert isinstance(effect, SendVoucher)
    expected = (Hold(award=A, arbiter=JUDGE, amount=Amount(32)),)
    assert effect.holds == expected
    assert effect.voucher == build_voucher(CHANNEL, 1, Amount(0), expected)
