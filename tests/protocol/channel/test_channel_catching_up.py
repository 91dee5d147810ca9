"""A payer that forgot: it is driven to some point, sent back to an earlier one, and shown what the payee holds."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.channel.catching_up import SEQUENCE_GAP, verify_shown
from protocol.channel.chain import BlockSeen, ClaimConfirmed, ExitConfirmed, OpenConfirmed, PresentConfirmed
from protocol.channel.errors import ChannelError, EvidenceTooOld, HoldsMismatch, StateInDoubt, WrongChannel
from protocol.channel.messages import NewestAnswer
from protocol.channel.objects import ChannelKey, Hold, Voucher
from protocol.channel.payer import outstanding, start_opening, transition
from protocol.channel.paying import (
    AskNewest,
    AskOpened,
    CloseRequested,
    Doubted,
    Exiting,
    ExitRequested,
    HoldReleased,
    HoldRequested,
    NewestShown,
    Open,
    PayerEvent,
    PayerState,
    PaymentDue,
    SendVoucher,
    SubmitExit,
    SubmitOpen,
    SubmitWithdraw,
    TopUpRequested,
)
from protocol.signing.ecdsa import BadSignature
from protocol.signing.signed import Signed, sign_struct
from protocol.units import Amount, UnixTime
from tests.protocol.channel.channel_world import DOMAIN, JUDGE, KEY, PAYER, RULES, STRANGER, award

DEPOSIT = 100
NOW = UnixTime(1_000)
PRICES = st.sampled_from([0, 1, 10, 30])
AWARDS = st.integers(1, 4).map(award)
STEPS = st.one_of(
    st.builds(
        HoldRequested,
        award=AWARDS,
        arbiter=st.just(JUDGE),
        price=PRICES.map(Amount),
        dispute_fee=st.sampled_from([Amount(0), Amount(2)]),
    ),
    st.builds(PaymentDue, award=AWARDS, due=PRICES.map(Amount)),
    st.builds(HoldReleased, award=AWARDS),
)


def opened() -> Open:
    state, _ = transition(start_opening(KEY, Amount(DEPOSIT), RULES), OpenConfirmed(key=KEY, deposit=Amount(DEPOSIT)))
    assert isinstance(state, Open)
    return state


def step(state: Open, event: PayerEvent) -> Open:
    """Apply an event; one that is refused changes nothing."""
    try:
        after, _ = transition(state, event)
    except ChannelError:
        return state
    assert isinstance(after, Open)
    return after


def shown_of(state: Open) -> NewestShown:
    """What a payee that holds the newest voucher of `state` shows."""
    if not state.ledger.sequence:
        return NewestShown(voucher=None, holds=(), now=NOW)
    return NewestShown(voucher=state.ledger.voucher(state.account.channel), holds=state.ledger.holds, now=NOW)


def doubted(state: Open) -> Open:
    return step(state, Doubted())


@given(steps=st.lists(STEPS, max_size=14), backup=st.integers(0, 14), held=st.integers(0, 14), after=st.lists(STEPS))
def test_a_payer_that_was_sent_back_signs_nothing_that_it_could_have_signed_and_lowers_nothing_that_was_shown(
    steps: list[PayerEvent], backup: int, held: int, after: list[PayerEvent]
) -> None:
    states = [opened()]
    for event in steps:
        states.append(step(states[-1], event))
    signed: dict[int, Voucher] = {}
    for state in states:
        if state.ledger.sequence:
            voucher = state.ledger.voucher(state.account.channel)
            assert signed.setdefault(voucher.sequence, voucher) == voucher

    forgot, at_payee = doubted(states[min(backup, len(steps))]), states[min(held, len(steps))]
    assert all(not isinstance(effect, SendVoucher) for effect in outstanding(forgot))
    for event in steps + after:  # nothing is promised meanwhile
        assert step(forgot, event) == forgot
    known = step(forgot, shown_of(at_payee))
    assert not known.doubt
    newest = max(states[min(backup, len(steps))].ledger, at_payee.ledger, key=lambda ledger: ledger.sequence)
    assert (known.ledger.cumulative, known.ledger.held) == (newest.cumulative, newest.held)
    assert known.ledger.holds == newest.holds
    for event in [None, *after]:
        known = known if event is None else step(known, event)
        voucher = known.ledger.voucher(known.account.channel)
        assert voucher.sequence >= SEQUENCE_GAP
        assert voucher.sequence not in signed
        assert voucher.cumulative >= newest.cumulative
        assert voucher.cumulative + voucher.held <= DEPOSIT


@given(steps=st.lists(STEPS, min_size=1, max_size=14), backup=st.integers(0, 13))
def test_what_a_task_was_paid_before_is_not_paid_again(steps: list[PayerEvent], backup: int) -> None:
    states = [opened()]
    for event in steps:
        states.append(step(states[-1], event))
    known = step(doubted(states[min(backup, len(steps))]), shown_of(states[-1]))
    for promise in states[-1].ledger.promises:
        mine = next((each for each in known.ledger.promises if each.award == promise.award), None)
        if mine is None:
            assert not promise.amount  # paid in full, fee and all
            continue
        assert mine.amount == promise.amount
        again = step(known, PaymentDue(award=promise.award, due=promise.paid))
        if mine.price == promise.price:  # remembered: its running total still counts
            assert again == known
        else:  # forgotten: what is left is all that it can cost
            assert again.ledger.cumulative <= known.ledger.cumulative + promise.amount


def later() -> tuple[Open, Open]:
    """A state, and a later one that has paid 20 of 30 and holds the rest and the fee."""
    before = step(opened(), HoldRequested(award=award(1), arbiter=JUDGE, price=Amount(30), dispute_fee=Amount(2)))
    return before, step(before, PaymentDue(award=award(1), due=Amount(20)))


def test_in_doubt_one_may_leave_and_nothing_else() -> None:
    state = doubted(later()[0])
    for event in (
        HoldRequested(award=award(2), arbiter=JUDGE, price=Amount(1), dispute_fee=Amount(0)),
        PaymentDue(award=award(1), due=Amount(1)),
        HoldReleased(award=award(1)),
        TopUpRequested(amount=Amount(1)),
        CloseRequested(close_by=UnixTime(2_000)),
    ):
        with pytest.raises(StateInDoubt, match="more may have been signed"):
            transition(state, event)
    assert outstanding(state) == (AskNewest(key=KEY),)
    leaving, _ = transition(state, ExitRequested())
    assert outstanding(leaving) == (AskNewest(key=KEY), SubmitExit(key=KEY))
    exiting, _ = transition(leaving, ExitConfirmed(exits_at=UnixTime(500)))
    assert isinstance(exiting, Exiting)
    assert exiting.doubt
    gone, _ = transition(exiting, BlockSeen(time=UnixTime(501)))
    assert outstanding(gone) == (AskNewest(key=KEY), SubmitWithdraw(key=KEY))
    with pytest.raises(StateInDoubt):
        transition(exiting, PaymentDue(award=award(1), due=Amount(1)))


@pytest.mark.parametrize("is_exiting", [False, True])
@pytest.mark.parametrize(
    "seen",
    [
        ClaimConfirmed(claimed=Amount(20)),
        PresentConfirmed(sequence=2, cumulative=Amount(0), held=Amount(1)),
    ],
)
def test_a_chain_that_has_seen_a_later_voucher_puts_a_channel_in_doubt_by_itself(
    seen: PayerEvent, *, is_exiting: bool
) -> None:
    before, after = later()
    known: PayerState = after
    state: PayerState = before
    if is_exiting:
        known, _ = transition(known, ExitConfirmed(exits_at=UnixTime(500)))
        state, _ = transition(state, ExitConfirmed(exits_at=UnixTime(500)))
    known, _ = transition(known, seen)
    assert isinstance(known, Open | Exiting)
    assert not known.doubt
    state, _ = transition(state, seen)
    assert isinstance(state, Open | Exiting)
    assert state.doubt
    with pytest.raises(EvidenceTooOld, match="the payee shows voucher 1"):
        transition(state, shown_of(before))
    state, _ = transition(state, shown_of(after))
    assert isinstance(state, Open | Exiting)
    assert not state.doubt
    assert state.ledger.cumulative == 20


def test_a_claim_of_exactly_what_was_vouchered_is_no_evidence() -> None:
    _, after = later()
    state = step(
        step(after, ClaimConfirmed(claimed=Amount(20))),
        PresentConfirmed(sequence=2, cumulative=Amount(20), held=Amount(12)),
    )
    assert not state.doubt
    assert step(state, ClaimConfirmed(claimed=Amount(21))).doubt


def test_an_opening_in_doubt_is_not_submitted_until_the_chain_says_that_it_never_was() -> None:
    state, _ = transition(start_opening(KEY, Amount(DEPOSIT), RULES), Doubted())
    assert outstanding(state) == (AskOpened(key=KEY),)
    unused, _ = transition(state, NewestShown(voucher=None, holds=(), now=NOW))
    assert outstanding(unused) == (SubmitOpen(key=KEY, amount=Amount(DEPOSIT)),)
    used, _ = transition(state, OpenConfirmed(key=KEY, deposit=Amount(DEPOSIT)))
    assert isinstance(used, Open)
    assert used.doubt


def signed(state: Open, key: bytes = PAYER) -> Signed[Voucher]:
    return sign_struct(key, DOMAIN, state.ledger.voucher(state.account.channel))


def test_only_our_own_signature_is_evidence() -> None:
    _, after = later()
    holds = after.ledger.holds
    verify_shown(DOMAIN, KEY, NewestAnswer(voucher=signed(after), holds=holds))
    verify_shown(DOMAIN, KEY, NewestAnswer(voucher=None, holds=()))
    with pytest.raises(BadSignature):
        verify_shown(DOMAIN, KEY, NewestAnswer(voucher=signed(after, STRANGER), holds=holds))
    with pytest.raises(HoldsMismatch):
        verify_shown(DOMAIN, KEY, NewestAnswer(voucher=signed(after), holds=()))
    with pytest.raises(HoldsMismatch):
        verify_shown(DOMAIN, KEY, NewestAnswer(voucher=None, holds=holds))
    other: ChannelKey = replace(KEY, counter=2)
    with pytest.raises(WrongChannel):
        verify_shown(DOMAIN, other, NewestAnswer(voucher=signed(after), holds=holds))


def test_a_hold_that_nobody_remembers_is_kept_in_full() -> None:
    forgotten = Hold(award=award(7), arbiter=JUDGE, amount=Amount(32))
    state = step(
        doubted(opened()),
        shown_of(step(opened(), HoldRequested(award=award(7), arbiter=JUDGE, price=Amount(30), dispute_fee=Amount(2)))),
    )
    assert state.ledger.holds == (forgotten,)
    assert step(state, HoldReleased(award=award(7))).ledger.holds == ()
