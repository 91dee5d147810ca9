"""The payee's side: each rule at its boundary, and a payer that cheats in every field of a voucher."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
    BadClose,
    ChannelError,
    ClosePending,
    ConflictingVoucher,
    CumulativeFell,
    ExitPending,
    HoldMissing,
    HoldsMismatch,
    HoldTooShort,
    Overdrawn,
    PaymentAboveHold,
    StaleView,
    StaleVoucher,
    UnexpectedEvent,
    UnknownAward,
    UnpaidPart,
    WorkOutstanding,
    WrongChannel,
)
from protocol.channel.holds import build_voucher
from protocol.channel.objects import Close, Hold, Voucher
from protocol.channel.payee import PRESENT_SHARE, exposure_of, may_begin, outstanding, start_receiving, transition
from protocol.channel.receiving import (
    AcknowledgeVoucher,
    AwardFinished,
    AwardTaken,
    AwardWrittenOff,
    ClaimRequested,
    CloseProposed,
    Defending,
    Ended,
    PayeeEffect,
    PayeeEvent,
    PayeeState,
    PresentRequested,
    ReceiptSigned,
    Receiving,
    SubmitClaim,
    SubmitClose,
    SubmitPresent,
    VoucherReceived,
)
from protocol.channel.watch import WatchOrder, verify_watch_order
from protocol.identity import ZERO_DIGEST, Address, Digest
from protocol.signing.ecdsa import BadSignature, sign
from protocol.signing.eip712 import digest
from protocol.signing.signed import Signed, sign_struct
from protocol.units import MAX_AMOUNT, Amount, UnixTime
from tests.protocol.channel.channel_world import CHANNEL, DOMAIN, JUDGE, KEY, PAYEE, PAYER, RULES, STRANGER, award

A, B = award(1), award(2)
NOW = 1000
FAR = NOW + RULES.hold_period
LEAVES = ExitConfirmed(exits_at=UnixTime(NOW + RULES.challenge))


def hold(of: Digest, amount: int, arbiter: Address = JUDGE) -> Hold:
    return Hold(award=of, arbiter=arbiter, amount=Amount(amount))


def received(sequence: int, cumulative: int, *holds: Hold, key: bytes = PAYER) -> VoucherReceived:
    voucher = build_voucher(CHANNEL, sequence, Amount(cumulative), holds)
    return VoucherReceived(signed=sign_struct(key, DOMAIN, voucher), holds=holds)


def opened(claim_at: int = MAX_AMOUNT) -> PayeeState:
    event = OpenConfirmed(key=KEY, deposit=Amount(100))
    return start_receiving(event, rules=RULES, domain=DOMAIN, claim_at=Amount(claim_at))


def taken(of: Digest = A, price: int = 30, fee: int = 2, **changes: Any) -> AwardTaken:
    event = AwardTaken(
        award=of,
        arbiter=JUDGE,
        price=Amount(price),
        dispute_fee=Amount(fee),
        reserved_until=UnixTime(FAR),
        now=UnixTime(NOW),
    )
    return replace(event, **changes)


def run(state: PayeeState, *events: PayeeEvent) -> PayeeState:
    for event in events:
        state, _ = transition(state, event)
    return state


def effects(state: PayeeState, event: PayeeEvent) -> tuple[PayeeEffect, ...]:
    return transition(state, event)[1]


def seen(time: int) -> BlockSeen:
    return BlockSeen(time=UnixTime(time))


def working() -> PayeeState:
    """Award A for 30 + 2 is taken, 10 of it delivered and unpaid; voucher 3 holds it and B's 20."""
    return run(
        opened(),
        seen(NOW),
        received(3, 5, hold(A, 32), hold(B, 20)),
        taken(),
        ReceiptSigned(award=A, due=Amount(10)),
    )


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (received(2, 5, hold(A, 32)), StaleVoucher),
        (received(0, 5, hold(A, 32)), StaleVoucher),
        (received(3, 6, hold(A, 32), hold(B, 20)), ConflictingVoucher),
        (received(4, 4, hold(A, 32)), CumulativeFell),
        (received(4, 5, hold(A, 32), hold(B, 64)), Overdrawn),
        (received(4, 69, hold(A, 32)), Overdrawn),
        (received(4, 5), HoldMissing),
        (received(4, 34), HoldMissing),
        (received(4, 15, hold(A, 21)), HoldMissing),
        (received(4, 14, hold(A, 22)), HoldMissing),
        (received(4, 5, hold(A, 33)), HoldMissing),
        (received(4, 50, hold(A, 1)), HoldMissing),
        (received(4, 15, hold(A, 22, KEY.payer)), HoldMissing),
        (received(4, 15, hold(A, 22), key=STRANGER), BadSignature),
        (received(4, 15, hold(A, 22), hold(B, MAX_AMOUNT - 22)), Overdrawn),
    ],
)
def test_a_voucher_that_leaves_the_payee_worse_off_is_refused(event: VoucherReceived, error: type[Exception]) -> None:
    with pytest.raises(error):
        transition(working(), event)


@pytest.mark.parametrize(
    "event",
    [
        received(4, 15, hold(A, 22)),
        received(9, 15, hold(A, 22), hold(B, 63)),
        received(4, 35),
        received(4, 35, hold(A, 2)),
        received(4, 5, hold(A, 32)),
        received(4, 20, hold(A, 32)),
        received(4, 100 - 32, hold(A, 32)),
    ],
)
def test_a_voucher_that_pays_for_what_it_takes_from_a_hold_is_taken(event: VoucherReceived) -> None:
    state, orders = transition(working(), event)
    assert orders == (AcknowledgeVoucher(sequence=event.signed.value.sequence),)
    assert isinstance(state, Receiving)
    assert state.purse.best == event.signed


def test_holds_other_than_the_vouchers_and_foreign_channels_are_refused() -> None:
    event = received(4, 15, hold(A, 22))
    with pytest.raises(HoldsMismatch):
        transition(working(), replace(event, holds=(hold(A, 22), hold(B, 20))))
    foreign = replace(event.signed.value, channel=ZERO_DIGEST)
    with pytest.raises(WrongChannel):
        transition(working(), VoucherReceived(signed=sign_struct(PAYER, DOMAIN, foreign), holds=event.holds))
    other_chain = sign_struct(PAYER, replace(DOMAIN, chain_id=1), event.signed.value)
    with pytest.raises(BadSignature):
        transition(working(), VoucherReceived(signed=other_chain, holds=event.holds))


def test_a_repeated_voucher_is_acknowledged_again_and_changes_nothing() -> None:
    state = working()
    after, orders = transition(state, received(3, 5, hold(A, 32), hold(B, 20)))
    assert after == state
    assert orders == (AcknowledgeVoucher(sequence=3),)


def test_a_finished_award_is_released_for_what_is_due_even_if_the_payment_before_was_lost() -> None:
    done = run(working(), AwardFinished(award=A))
    with pytest.raises(HoldMissing):
        transition(done, received(5, 14))
    state = run(done, received(5, 15))
    assert isinstance(state, Receiving)
    assert state.purse.engagements == ()


def test_after_its_last_deadline_a_hold_may_go_but_not_what_was_delivered() -> None:
    with pytest.raises(HoldMissing):
        transition(run(working(), seen(FAR)), received(4, 15))
    lapsed = run(working(), seen(FAR + 1))
    with pytest.raises(HoldMissing):
        transition(lapsed, received(4, 14))
    transition(lapsed, received(4, 15))


def test_an_overdrawn_voucher_is_taken_once_the_top_up_is_confirmed() -> None:
    event = received(4, 5, hold(A, 32), hold(B, 64))
    run(working(), TopUpConfirmed(deposit=Amount(101)), event)


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (taken(price=31), HoldMissing),
        (taken(price=29), HoldMissing),
        (taken(fee=3), HoldMissing),
        (taken(arbiter=KEY.payer), HoldMissing),
        (taken(award(9)), HoldMissing),
        (taken(now=UnixTime(NOW + 11), reserved_until=UnixTime(NOW + 20)), StaleView),
        (taken(reserved_until=UnixTime(FAR + 1)), HoldTooShort),
    ],
)
def test_no_award_is_taken_without_its_own_hold_and_a_fresh_view(event: AwardTaken, error: type[Exception]) -> None:
    ready = run(opened(), seen(NOW), received(1, 0, hold(A, 32)))
    with pytest.raises(error):
        transition(ready, event)
    after = run(ready, taken(now=UnixTime(NOW + 10)))
    assert may_begin(after, A)
    assert run(after, taken()) == after
    with pytest.raises(AwardConflict):
        transition(after, taken(price=31, fee=1))


def test_no_award_is_taken_before_the_first_voucher() -> None:
    with pytest.raises(HoldMissing):
        transition(run(opened(), seen(NOW)), taken())


def test_no_part_begins_while_an_earlier_one_is_unpaid() -> None:
    state = working()
    assert exposure_of(state, A) == 10
    assert not may_begin(state, A)
    with pytest.raises(UnpaidPart):
        transition(state, ReceiptSigned(award=A, due=Amount(11)))
    assert run(state, ReceiptSigned(award=A, due=Amount(10))) == state
    almost = run(state, received(4, 14, hold(A, 23)))
    assert exposure_of(almost, A) == 1
    assert not may_begin(almost, A)
    paid = run(state, received(4, 15, hold(A, 22)))
    assert may_begin(paid, A)
    assert exposure_of(run(paid, ReceiptSigned(award=A, due=Amount(30))), A) == 20
    for wrong in (9, 31):
        with pytest.raises(PaymentAboveHold):
            transition(paid, ReceiptSigned(award=A, due=Amount(wrong)))
    with pytest.raises(UnknownAward):
        transition(paid, ReceiptSigned(award=B, due=Amount(1)))
    assert not may_begin(run(paid, AwardFinished(award=A)), A)


def test_nothing_is_delivered_on_a_hold_that_was_let_go_after_the_last_deadline() -> None:
    over = run(opened(), received(1, 0, hold(A, 32)), seen(NOW), taken(), seen(FAR + 1))
    assert may_begin(over, A)
    released = run(over, received(2, 0))
    assert not may_begin(released, A)
    with pytest.raises(HoldMissing, match="last deadline"):
        transition(released, ReceiptSigned(award=A, due=Amount(1)))


def test_an_award_that_is_written_off_is_insisted_on_no_more_and_what_was_paid_stays_paid() -> None:
    part_paid = run(working(), received(4, 12, hold(A, 25), hold(B, 20)))
    with pytest.raises(HoldMissing):
        transition(run(part_paid, AwardFinished(award=A)), received(5, 14, hold(B, 20)))
    off = run(part_paid, AwardWrittenOff(award=A))
    assert exposure_of(off, A) == 0
    assert not may_begin(off, A)
    with pytest.raises(CumulativeFell):
        transition(off, received(5, 11, hold(B, 20)))
    released = run(off, received(5, 12, hold(B, 20)))
    assert isinstance(released, Receiving)
    assert released.purse.engagements == ()
    assert run(released, AwardWrittenOff(award=A)) == released


def test_a_claim_waits_for_its_threshold_or_a_request() -> None:
    state = opened(claim_at=10)
    below, at = received(1, 9), received(1, 10)
    assert effects(state, below) == (AcknowledgeVoucher(sequence=1),)
    assert effects(state, at) == (AcknowledgeVoucher(sequence=1), SubmitClaim(key=KEY, signed=at.signed))
    asked = run(state, below, ClaimRequested())
    assert outstanding(asked) == (SubmitClaim(key=KEY, signed=below.signed),)
    assert outstanding(run(asked, ClaimConfirmed(claimed=Amount(9)))) == ()
    assert effects(state, ClaimRequested()) == ()


def test_a_hold_is_presented_before_it_is_disputed() -> None:
    state = working()
    assert isinstance(state, Receiving)
    assert state.purse.best is not None
    assert effects(state, PresentRequested()) == (SubmitPresent(key=KEY, signed=state.purse.best),)
    asked = run(state, PresentRequested())
    assert outstanding(run(asked, PresentConfirmed(sequence=3, cumulative=Amount(5), held=Amount(52)))) == ()


def test_an_exit_brings_everything_on_chain_and_every_better_voucher_after_it() -> None:
    state, orders = transition(working(), ExitConfirmed(exits_at=UnixTime(NOW + 40)))
    assert isinstance(state, Defending)
    assert state.purse.best is not None
    assert orders == (SubmitPresent(key=KEY, signed=state.purse.best),)
    with pytest.raises(ExitPending):
        transition(state, taken(B, 20, 0))
    safe = run(
        state, ClaimConfirmed(claimed=Amount(5)), PresentConfirmed(sequence=3, cumulative=Amount(5), held=Amount(52))
    )
    assert outstanding(safe) == ()
    better = received(4, 15, hold(A, 22), hold(B, 20))
    without_holds = received(4, 35)
    assert effects(safe, better)[1:] == effects(safe, without_holds)[1:] == ()  # all of it is reserved: it may wait
    soon = BlockSeen(time=UnixTime(NOW + RULES.challenge // PRESENT_SHARE - 1))
    assert outstanding(run(safe, better, soon)) == ()
    later = BlockSeen(time=UnixTime(NOW + RULES.challenge // PRESENT_SHARE))
    assert outstanding(run(safe, better, later)) == (SubmitPresent(key=KEY, signed=better.signed),)
    assert outstanding(run(safe, without_holds, later)) == (SubmitClaim(key=KEY, signed=without_holds.signed),)


def test_what_an_older_voucher_does_not_reserve_does_not_wait() -> None:
    state = run(working(), ExitConfirmed(exits_at=UnixTime(NOW + 40)))
    assert isinstance(state, Defending)
    assert state.purse.best is not None
    newest = (SubmitPresent(key=KEY, signed=state.purse.best),)
    # A tower, say, presented one from before the award was taken; or one that holds nothing.
    assert outstanding(run(state, PresentConfirmed(sequence=1, cumulative=Amount(0), held=Amount(9)))) == newest
    empty = run(state, PresentConfirmed(sequence=3, cumulative=Amount(5), held=Amount(0)))
    better = received(4, 15, hold(A, 22), hold(B, 20))
    assert effects(empty, better)[1:] == (SubmitPresent(key=KEY, signed=better.signed),)


def test_what_the_payer_has_withdrawn_is_not_claimed_for() -> None:
    state = run(
        opened(),
        received(1, 30),
        ExitConfirmed(exits_at=UnixTime(NOW + 40)),
        ClaimConfirmed(claimed=Amount(10)),
        WithdrawConfirmed(amount=Amount(90)),
    )
    assert outstanding(state) == ()
    assert outstanding(run(state, ClaimConfirmed(claimed=Amount(9)))) != ()


def test_during_an_exit_work_goes_on_only_on_a_presented_hold() -> None:
    paid = run(working(), received(4, 15, hold(A, 22)), ExitConfirmed(exits_at=UnixTime(NOW + 40)))
    assert not may_begin(paid, A)
    assert not may_begin(run(paid, PresentConfirmed(sequence=2, cumulative=Amount(5), held=Amount(1))), A)
    assert may_begin(run(paid, PresentConfirmed(sequence=4, cumulative=Amount(5), held=Amount(22))), A)


def proposal(cumulative: int, close_by: int = NOW, key: bytes = PAYER) -> CloseProposed:
    close = Close(channel=CHANNEL, cumulative=Amount(cumulative), close_by=UnixTime(close_by))
    return CloseProposed(signed=sign_struct(key, DOMAIN, close), now=UnixTime(NOW))


def test_a_close_is_signed_only_when_nothing_is_owed() -> None:
    with pytest.raises(WorkOutstanding):
        transition(working(), proposal(5))
    with pytest.raises(WorkOutstanding):
        transition(run(working(), AwardFinished(award=A)), proposal(100))
    clear = run(working(), AwardFinished(award=A), received(4, 15))
    for event, error in (
        (proposal(14), BadClose),
        (proposal(101), BadClose),
        (proposal(15, NOW - 1), BadClose),
        (proposal(15, key=STRANGER), BadSignature),
    ):
        with pytest.raises(error):
            transition(clear, event)
    for cumulative in (15, 100):
        good = proposal(cumulative)
        assert effects(clear, good) == (SubmitClose(key=KEY, signed=good.signed),)
    pending = run(clear, proposal(15), received(5, 15, hold(B, 20)))
    with pytest.raises(ClosePending):
        transition(pending, taken(B, 20, 0))
    assert may_begin(run(pending, seen(NOW + 1), taken(B, 20, 0)), B)


def test_a_verdict_on_an_older_voucher_is_noted_and_the_newest_still_goes_on_chain() -> None:
    verdict = EnforceConfirmed(award=B, to_payee=Amount(20), to_arbiter=Amount(3), reserved=Amount(0))
    judged = run(working(), PresentConfirmed(sequence=2, cumulative=Amount(0), held=Amount(32)), LEAVES, verdict)
    assert isinstance(judged, Defending)
    assert (judged.purse.claimed, judged.purse.deposit) == (20, 97)
    assert exposure_of(judged, A) == 10
    assert outstanding(judged) == (SubmitPresent(key=KEY, signed=received(3, 5, hold(A, 32), hold(B, 20)).signed),)
    newer = received(4, 15, hold(A, 22))
    state, orders = transition(judged, newer)
    assert orders == (AcknowledgeVoucher(sequence=4), SubmitPresent(key=KEY, signed=newer.signed))
    shown = run(state, PresentConfirmed(sequence=4, cumulative=Amount(15), held=Amount(22)))
    assert outstanding(shown) == ()  # 15 is less than what the verdict has paid


def test_a_fee_that_an_arbiter_took_leaves_room_for_vouchers_that_still_hold_it_and_for_no_others() -> None:
    fee = EnforceConfirmed(award=A, to_payee=Amount(0), to_arbiter=Amount(2), reserved=Amount(0))
    state = run(working(), LEAVES, fee)
    best = received(4, 15, hold(A, 22), hold(B, 63))
    assert best.signed.value.cumulative + best.signed.value.held == 100
    assert transition(state, best)[1][0] == AcknowledgeVoucher(sequence=4)
    with pytest.raises(Overdrawn):
        transition(state, received(4, 15, hold(A, 22), hold(B, 64)))
    with pytest.raises(Overdrawn):
        transition(state, received(4, 37, hold(B, 63)))


def test_an_ended_channel_takes_nothing() -> None:
    state = run(working(), CloseConfirmed(to_payee=Amount(7)))
    assert state == Ended(channel=CHANNEL, received=Amount(7))
    for event in (received(4, 15, hold(A, 22)), taken(), ExitConfirmed(exits_at=UnixTime(1))):
        with pytest.raises(UnexpectedEvent):
            transition(state, event)


def test_a_watchtower_order_is_checked_as_the_chain_would() -> None:
    event = received(4, 15, hold(A, 22))
    signature = sign(PAYEE, digest(DOMAIN, event.signed.value))
    order = WatchOrder(key=KEY, voucher=event.signed, holds=event.holds, payee_signature=signature)
    verify_watch_order(DOMAIN, order)
    for bad, error in (
        (replace(order, payee_signature=event.signed.signature), BadSignature),
        (replace(order, voucher=Signed(event.signed.value, signature)), BadSignature),
        (replace(order, holds=()), HoldsMismatch),
        (replace(order, key=replace(KEY, counter=2)), WrongChannel),
    ):
        with pytest.raises(error):
            verify_watch_order(DOMAIN, bad)


AMOUNTS = st.sampled_from([0, 1, 2, 19, 20, 21, 22, 30, 31, 32, 33, 67, 68, 100]) | st.integers(0, 100)


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 8),
            AMOUNTS,
            st.dictionaries(st.sampled_from([A, B]), AMOUNTS.filter(bool)),
            st.booleans(),
        ),
        max_size=8,
    )
)
def test_whatever_a_cheating_payer_signs_the_payee_never_gets_poorer(
    sent: list[tuple[int, int, dict[Digest, int], bool]],
) -> None:
    state: PayeeState = run(working(), taken(B, 20, 0))
    for sequence, cumulative, amounts, finishes in sent:
        if finishes:
            state = run(state, AwardFinished(award=A))
        assert isinstance(state, Receiving)
        before = state.purse
        holds = tuple(hold(of, amount) for of, amount in sorted(amounts.items()))
        voucher: Voucher = build_voucher(CHANNEL, sequence, Amount(cumulative), holds)
        try:
            state = run(state, VoucherReceived(signed=sign_struct(PAYER, DOMAIN, voucher), holds=holds))
        except ChannelError:
            continue
        assert isinstance(state, Receiving)
        after = state.purse
        assert after.sequence > before.sequence or after == before
        assert before.cumulative <= after.cumulative <= after.deposit - after.held
        assert insisted(before) <= after.cumulative - before.cumulative + insisted(after)


def insisted(purse: Any) -> int:
    """Return what is still owed or may still be earned under the engagements, by their own terms."""
    return sum(each.unpaid if each.finished else each.price - each.paid for each in purse.engagements)
