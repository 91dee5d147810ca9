"""What a payee's book says of a hold that is or was in court: which vouchers it takes, and when to enforce anew."""

from dataclasses import replace

import pytest

from node.payments import payee_book
from node.payments.enforced_again import look_again
from node.payments.payee_book import BookEvent, HoldSecured, PayeeBook, PayeeContext
from protocol.channel.chain import EnforceConfirmed, ExitConfirmed, PresentConfirmed, WithdrawConfirmed
from protocol.channel.errors import HoldMissing, ImpossibleFact
from protocol.channel.holds import build_voucher
from protocol.channel.objects import Hold
from protocol.channel.receiving import AwardFinished, AwardTaken, ReceiptSigned, SubmitClaim, VoucherReceived
from protocol.signing.signed import sign_struct
from protocol.units import Amount, UnixTime
from tests.protocol.channel.channel_world import CHANNEL, DOMAIN, JUDGE, KEY, PAYER, RULES, award

X, Y = award(1), award(2)
PRICE, FEE, DUE = Amount(500), Amount(50), Amount(300)
NOW, UNTIL = UnixTime(10_000), UnixTime(10_900)
EXITS_AT = UnixTime(10_043)


def hold(of: bytes, amount: int) -> Hold:
    return Hold(award=X if of == X else Y, arbiter=JUDGE, amount=Amount(amount))


def voucher(sequence: int, cumulative: int, *holds: Hold) -> VoucherReceived:
    ordered = tuple(sorted(holds, key=lambda each: each.award))
    signed = sign_struct(PAYER, DOMAIN, build_voucher(CHANNEL, sequence, Amount(cumulative), ordered))
    return VoucherReceived(signed=signed, holds=ordered)


def presented(sequence: int, cumulative: int, held: int) -> PresentConfirmed:
    return PresentConfirmed(sequence=sequence, cumulative=Amount(cumulative), held=Amount(held))


def enforced(to_payee: int) -> EnforceConfirmed:
    return EnforceConfirmed(award=X, to_payee=Amount(to_payee), to_arbiter=FEE, reserved=Amount(0))


def after(book: PayeeBook, *events: BookEvent | int) -> PayeeBook:
    """Apply events; a number is a time that the chain has come to."""
    for event in events:
        book = (
            payee_book.advance(book, UnixTime(event)) if isinstance(event, int) else payee_book.transition(book, event)
        )
    return book


def taken(of: bytes) -> AwardTaken:
    return AwardTaken(
        award=X if of == X else Y, arbiter=JUDGE, price=PRICE, dispute_fee=FEE, reserved_until=UNTIL, now=NOW
    )


def at_work() -> PayeeBook:
    """Return a book with two awards; the work of X is over, delivered and unpaid, and in court."""
    context = PayeeContext(key=KEY, deposit=Amount(2_000), rules=RULES)
    book = after(payee_book.begin(context, domain=DOMAIN, claim_at=Amount(10_000)), NOW)
    book = after(book, voucher(1, 0, hold(X, 550), hold(Y, 550)), taken(X), taken(Y))
    book = after(book, ReceiptSigned(award=X, due=DUE), AwardFinished(award=X))
    return after(book, HoldSecured(award=X, won=False), presented(1, 0, 1_100))


def leaving() -> PayeeBook:
    """Return that book after somebody had X enforced on voucher 1."""
    return after(at_work(), ExitConfirmed(exits_at=EXITS_AT), enforced(DUE))


def look(book: PayeeBook) -> tuple[int, bool]:
    known = book.find_enforced(X)
    assert known is not None
    return look_again(book, known)


# ------------------------------------------------------------------------------------------ vouchers during a case


def test_a_voucher_that_would_put_a_hold_out_of_the_courts_reach_is_not_taken_though_it_pays_the_work() -> None:
    book = at_work()
    with pytest.raises(HoldMissing, match="in court"):
        after(book, voucher(2, DUE, hold(Y, 550)))
    kept = after(book, voucher(2, DUE, hold(X, 250), hold(Y, 550)))
    assert kept.purse is not None
    assert kept.purse.cumulative == DUE, "the same payment with the rest of the hold is welcome"


def test_one_that_holds_nothing_at_all_is_taken_since_it_is_only_claimed() -> None:
    book = after(at_work(), AwardFinished(award=Y), voucher(2, DUE))
    orders = payee_book.outstanding(after(book, ExitConfirmed(exits_at=EXITS_AT)))
    assert [type(each) for each in orders] == [SubmitClaim], "what stands is left as it is"
    again = after(book, voucher(2, DUE))
    assert again == book
    with pytest.raises(HoldMissing, match="in court"):
        after(book, voucher(3, DUE, hold(Y, 10)))


def test_after_the_awards_last_deadline_its_payer_may_take_the_hold_back_for_what_is_due() -> None:
    late = after(at_work(), UNTIL)
    with pytest.raises(HoldMissing):
        after(late, voucher(2, DUE, hold(Y, 550)))
    book = after(at_work(), UNTIL + 1, voucher(2, DUE, hold(Y, 550)))
    assert book.purse is not None
    assert book.purse.cumulative == DUE


# ------------------------------------------------------------------------------------------ after an enforcement


def test_while_other_work_may_be_paid_one_waits_and_enforces_once_on_the_last_voucher() -> None:
    book = leaving()
    assert look(book) == (0, True)
    book = after(book, voucher(2, 200, hold(X, 550), hold(Y, 350)))
    assert look(book) == (0, True), "Y goes on"
    book = after(book, ReceiptSigned(award=Y, due=Amount(200)), AwardFinished(award=Y))
    assert look(book) == (550, False)
    book = after(book, HoldSecured(award=X, won=True), presented(2, 200, 900), enforced(200))
    assert look(book) == (0, False)
    known = book.find_enforced(X)
    assert known is not None
    assert (known.to_payee, known.sequence, len(book.enforced)) == (DUE + 200, 2, 1)


def test_an_enforcement_that_a_reorganisation_brings_again_counts_once() -> None:
    book = leaving()
    assert after(book, enforced(DUE)) == book


def test_a_withdrawal_that_comes_again_and_can_not_be_is_refused_and_stops_nobody() -> None:
    withdrawn = WithdrawConfirmed(amount=Amount(1_500))
    book = after(leaving(), withdrawn)
    with pytest.raises(ImpossibleFact):
        after(book, withdrawn)


def test_a_newer_voucher_that_pays_nothing_more_is_not_worth_another_enforcement() -> None:
    book = after(leaving(), AwardFinished(award=Y), voucher(2, 0, hold(X, 550), hold(Y, 550)))
    assert look(book) == (0, False)
    paid_for_it = after(leaving(), AwardFinished(award=Y), voucher(2, 100, hold(X, 450), hold(Y, 550)))
    assert look(paid_for_it) == (0, False), "the verdict gave it before"


def test_the_wait_ends_at_half_of_the_hold_period_and_all_of_it_at_its_end() -> None:
    book = after(leaving(), voucher(2, 200, hold(X, 550), hold(Y, 350)), ReceiptSigned(award=Y, due=Amount(400)))
    half, whole = EXITS_AT + RULES.hold_period // 2, EXITS_AT + RULES.hold_period
    assert look(after(book, half)) == (0, True)
    assert look(after(book, half + 1)) == (550, True)
    assert look(after(book, whole)) == (550, True)
    assert look(after(book, whole + 1)) == (550, False)
    # Y is unpaid, and a case of its own may go on; X's verdict was enforced on the newest voucher.
    done = after(book, half + 1, HoldSecured(award=X, won=True), presented(2, 200, 900), enforced(200))
    assert look(done) == (0, True)


def test_two_enforced_holds_do_not_wait_for_each_other() -> None:
    book = after(leaving(), ReceiptSigned(award=Y, due=Amount(100)), AwardFinished(award=Y))
    assert look(book) == (0, True)
    book = after(book, replace(enforced(100), award=Y))
    assert look(book) == (0, False)


def test_nothing_of_a_voucher_that_can_stand_no_more_is_asked_for() -> None:
    book = after(leaving(), AwardFinished(award=Y), voucher(2, 200, hold(X, 550), hold(Y, 350)))
    assert look(book) == (550, False)
    assert look(after(book, presented(7, 500, 0))) == (0, False)  # one that this side has lost
