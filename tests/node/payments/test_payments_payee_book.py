"""A payee's book: since when a claim is wanted follows from its stream, however often it is replayed."""

from typing import Any

from node.payments import payee_book
from node.payments.payee_book import BookEvent, PayeeBook, PayeeContext
from node.payments.tracked import Step, Tracked, track
from protocol.channel.chain import ClaimConfirmed, OpenConfirmed
from protocol.channel.holds import build_voucher
from protocol.channel.receiving import ClaimRequested, VoucherReceived
from protocol.signing.signed import sign_struct
from protocol.units import Amount, UnixTime
from protocol.wire.codec import decode_as, encode
from tests.protocol.channel.channel_world import CHANNEL, DOMAIN, KEY, PAYER, RULES

STEP: Any = Step[BookEvent]


def voucher(sequence: int, cumulative: int) -> VoucherReceived:
    signed = sign_struct(PAYER, DOMAIN, build_voucher(CHANNEL, sequence, Amount(cumulative), ()))
    return VoucherReceived(signed=signed, holds=())


def at(seen: int, event: BookEvent) -> Step[BookEvent]:
    return Step(seen=UnixTime(seen), event=event)


def replayed(*steps: Step[BookEvent], claim_at: int = 1_000) -> PayeeBook:
    """Return the book that a stream of these steps gives, read from its bytes."""
    opened = OpenConfirmed(key=KEY, deposit=Amount(100))
    context = PayeeContext(key=KEY, deposit=opened.deposit, rules=RULES)
    tracked = Tracked(state=payee_book.begin(context, domain=DOMAIN, claim_at=Amount(claim_at)))
    transition = track(payee_book.RULES)
    for step in steps:
        tracked, _ = transition(tracked, decode_as(STEP, encode(step, STEP), max_bytes=1 << 20))
    return tracked.state


PAID, ASKED = at(1_000, voucher(1, 10)), at(2_000, ClaimRequested())


def test_a_claim_is_wanted_since_it_was_first_asked_for() -> None:
    assert replayed(PAID).wanted_at is None
    assert replayed(PAID, ASKED).wanted_at == 2_000
    again = replayed(PAID, ASKED, at(3_000, voucher(2, 20)), at(4_000, ClaimRequested()))
    assert again.wanted_at == 2_000


def test_or_since_the_voucher_came_that_reached_the_amount_to_claim_at() -> None:
    assert replayed(PAID, at(2_500, voucher(2, 50)), claim_at=50).wanted_at == 2_500


def test_a_claim_that_is_confirmed_is_wanted_no_more_and_the_next_one_waits_anew() -> None:
    confirmed = at(5_000, ClaimConfirmed(claimed=Amount(10)))
    assert replayed(PAID, ASKED, confirmed).wanted_at is None
    later = replayed(PAID, ASKED, confirmed, at(6_000, voucher(2, 20)), at(7_000, ClaimRequested()))
    assert later.wanted_at == 7_000


def test_time_alone_changes_nothing_about_it() -> None:
    book = replayed(PAID, ASKED)
    assert payee_book.RULES.advance(book, UnixTime(9_000)).wanted_at == 2_000
