"""A channel as people see it, from either side."""

from dataclasses import dataclass

from node.payments import payee_book
from node.payments.payee_book import PayeeBook
from node.payments.payer_book import PayerBook
from protocol.channel.paying import Exiting, Open
from protocol.channel.receiving import Defending, Receiving
from protocol.identity import Address, Digest
from protocol.units import Amount, UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class PayerChannelView:
    """A channel that this wallet pays from, for people.

    Attributes:
        phase: opening, open, closing, leaving or settled; "in doubt" while more may have been signed than
            this node remembers: it signs nothing and waits for the payee to show its newest voucher.
        deposit: Confirmed.
        paid: By voucher, in all.
        held: Promised to tasks in flight.
        claimed: Paid out on chain so far.
        free: What can still be promised.
        tasks: Awards with a hold.
        acknowledged: Whether the payee is known to hold the newest voucher.
        leaves_at: Last second in which the payee may answer the exit; None without one.
    """

    channel: Digest
    payee: Address
    phase: str
    deposit: Amount
    paid: Amount
    held: Amount
    claimed: Amount
    free: Amount
    tasks: int
    acknowledged: bool
    leaves_at: UnixTime | None


def payer_view(channel: Digest, payee: Address, book: PayerBook) -> PayerChannelView:
    """Return what a payer sees of its channel."""
    chain, ledger = book.account, book.ledger
    phase = type(book.channel).__name__.lower()
    if isinstance(book.channel, Open) and (book.channel.leaving or book.channel.close):
        phase = "leaving" if book.channel.leaving else "closing"
    if book.is_in_doubt and not isinstance(book.channel, Exiting) and phase != "leaving":
        phase = "in doubt"
    return PayerChannelView(
        channel=channel,
        payee=payee,
        phase="leaving" if phase == "exiting" else phase,
        deposit=chain.deposit if chain else Amount(0),
        paid=ledger.cumulative if ledger else Amount(0),
        held=Amount(ledger.held if ledger else 0),
        claimed=chain.claimed if chain else Amount(0),
        free=Amount(max(0, book.free)),
        tasks=len(ledger.holds) if ledger else 0,
        acknowledged=ledger is None or ledger.acknowledged >= ledger.sequence,
        leaves_at=book.channel.exits_at if isinstance(book.channel, Exiting) else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PayeeChannelView:
    """A channel that pays this wallet, for people.

    Attributes:
        phase: receiving, closing, defending or ended.
        deposit: Confirmed.
        earned: Paid by voucher, in all.
        held: Promised to tasks in flight.
        claimed: Paid out on chain so far.
        unpaid: Delivered and not paid.
        answer_by: Until when the payer's exit must be answered on chain; 0 if there is none, or it was answered.
        leaves_at: Last second in which the payer's exit may be answered; None without one.
    """

    channel: Digest
    payer: Address
    phase: str
    deposit: Amount
    earned: Amount
    held: Amount
    claimed: Amount
    unpaid: Amount
    answer_by: UnixTime
    leaves_at: UnixTime | None


def payee_view(channel: Digest, payer: Address, book: PayeeBook) -> PayeeChannelView:
    """Return what a payee sees of a channel that pays it."""
    purse, phase = book.purse, type(book.channel).__name__.lower()
    if isinstance(book.channel, Receiving) and book.channel.close is not None:
        phase = "closing"
    engagements = purse.engagements if purse else ()
    unpaid = sum(each.unpaid for each in engagements if book.find_enforced(each.award) is None)
    return PayeeChannelView(
        channel=channel,
        payer=payer,
        phase=phase,
        deposit=purse.deposit if purse else Amount(0),
        earned=Amount(purse.cumulative if purse else 0),
        held=Amount(purse.held if purse else 0),
        claimed=purse.claimed if purse else Amount(0),
        unpaid=Amount(unpaid),
        answer_by=_answer_by(book),
        leaves_at=book.channel.exits_at if isinstance(book.channel, Defending) else None,
    )


def _answer_by(book: PayeeBook) -> UnixTime:
    """Return the last second in which what this side has to show counts against the payer's exit."""
    if isinstance(book.channel, Defending) and payee_book.outstanding(book):
        return book.channel.exits_at
    return UnixTime(0)
