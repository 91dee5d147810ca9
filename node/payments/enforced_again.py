"""What an enforced hold may still bring on vouchers that are newer than the one it was enforced on. Pure; CH32.

Anybody may have a verdict enforced, on whatever voucher is presented then. The payee's total is afterwards the greatest
that one voucher gives with the verdicts on *its* holds (P8): so what was signed since, for other work, comes on top of
the verdict only if the verdict is enforced on the newer voucher as well. Until the channel can bring no such voucher
any more, the case is not over for its payee.
"""

from node.payments.payee_book import Enforced, PayeeBook
from protocol.channel.acceptance import is_over_for
from protocol.channel.holds import find_hold
from protocol.channel.receiving import Defending, Purse
from protocol.identity import Digest
from protocol.settlement.deadlines import is_over
from protocol.units import Amount, UnixTime

NOTHING_MORE = (Amount(0), False)


def look_again(book: PayeeBook, enforced: Enforced) -> tuple[Amount, bool]:
    """Return what of a hold could be enforced anew now, and whether something may still change.

    While other work may bring further vouchers, one waits for these and enforces once, on the last; for half of the
    hold period at most, since after the whole of it nothing is reserved any more.
    """
    channel, purse = book.channel, book.purse
    if purse is None:
        return NOTHING_MORE
    waits = _is_at_work(book, purse, enforced.award)
    if isinstance(channel, Defending):
        hold_period = purse.rules.hold_period
        if is_over(UnixTime(channel.exits_at + hold_period), purse.seen_at):
            return _held_anew(book, purse, enforced), False
        waits = waits and not is_over(UnixTime(channel.exits_at + hold_period // 2), purse.seen_at)
    if waits:
        return Amount(0), True
    held = _held_anew(book, purse, enforced)
    return held, _is_at_work(book, purse, enforced.award)


def _held_anew(book: PayeeBook, purse: Purse, enforced: Enforced) -> Amount:
    """Return the amount of the hold in the newest voucher, if it is worth a transaction to have it enforced there."""
    hold = find_hold(purse.holds, enforced.award)
    if hold is None or purse.sequence <= enforced.sequence or not book.may_stand(purse.sequence):
        return Amount(0)
    # No verdict gives more than what was delivered and not paid.
    unpaid = sum(each.unpaid for each in purse.engagements if find_hold(purse.holds, each.award) is not None)
    gains = min(purse.cumulative + unpaid, purse.deposit) > purse.claimed
    return hold.amount if gains else Amount(0)


def _is_at_work(book: PayeeBook, purse: Purse, award: Digest) -> bool:
    """Tell whether other work of the channel may still be paid, by a voucher or by a verdict of its own."""
    return any(
        each.award != award
        and not (is_over_for(purse, each) and (not each.unpaid or book.find_enforced(each.award) is not None))
        for each in purse.engagements
    )
