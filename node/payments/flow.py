"""What one step of an account moved: for whoever counts money that comes and goes. Pure.

An account's books hold running totals, so what a step moved is a difference of two books; a replay takes no steps here,
so nothing is counted twice.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from node.payments.escrow_books import ProviderBook, RequesterBook
from node.payments.payee_book import PayeeBook
from node.payments.payer_book import PayerBook
from protocol.channel.receiving import Ended
from protocol.escrow.provider import ProviderState
from protocol.escrow.record import Closed, Phase, Unfunded
from protocol.escrow.requester import RequesterState
from protocol.units import Amount

RailName: TypeAlias = Literal["channel", "escrow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Token base units, unless it says otherwise.

    Attributes:
        rail: What kind of account it was.
        paid: Of our money, what a voucher, an acceptance or a claim gave to the other side.
        earned: What these gave to us.
        claimed: What the chain has paid out to us.
        vouchers_signed: How many newer vouchers are ours to send.
        vouchers_received: How many newer ones we hold.
    """

    rail: RailName
    paid: Amount = Amount(0)
    earned: Amount = Amount(0)
    claimed: Amount = Amount(0)
    vouchers_signed: int = 0
    vouchers_received: int = 0


def flow_between(before: object, after: object) -> Flow | None:
    """Return what moved between two states of one account; None if nothing did."""
    flow: Flow | None = None
    match before, after:
        case PayerBook(), PayerBook():
            flow = _paid_by_voucher(before, after)
        case PayeeBook(), PayeeBook():
            flow = _earned_by_voucher(before, after)
        case RequesterBook(), RequesterBook():
            flow = Flow(rail="escrow", paid=_grown(_owed(before.escrow), _owed(after.escrow)))
        case ProviderBook(), ProviderBook():
            flow = Flow(
                rail="escrow",
                earned=_grown(_owed(before.escrow), _owed(after.escrow)),
                claimed=_grown(_paid_out(before.escrow.phase), _paid_out(after.escrow.phase)),
            )
        case _:
            pass
    return None if flow is None or flow == Flow(rail=flow.rail) else flow


def _paid_by_voucher(before: PayerBook, after: PayerBook) -> Flow:
    if after.ledger is None:  # settled: what was paid by then was counted when it was paid
        return Flow(rail="channel")
    cumulative, sequence = (before.ledger.cumulative, before.ledger.sequence) if before.ledger else (0, 0)
    return Flow(
        rail="channel",
        paid=_grown(cumulative, after.ledger.cumulative),
        vouchers_signed=max(0, after.ledger.sequence - sequence),
    )


def _earned_by_voucher(before: PayeeBook, after: PayeeBook) -> Flow:
    claimed = _grown(_claimed(before), _claimed(after))
    if before.purse is None or after.purse is None:
        return Flow(rail="channel", claimed=claimed)
    return Flow(
        rail="channel",
        earned=_grown(before.purse.cumulative, after.purse.cumulative),
        claimed=claimed,
        # The payer may have signed several since the last that reached us.
        vouchers_received=int(after.purse.sequence > before.purse.sequence),
    )


def _claimed(book: PayeeBook) -> int:
    return book.channel.received if isinstance(book.channel, Ended) else book.channel.purse.claimed


def _owed(escrow: RequesterState | ProviderState) -> int:
    """Return what was accepted, or what the contract gave on other grounds, if that is more."""
    return max(escrow.accepted, _paid_out(escrow.phase))


def _paid_out(phase: Phase) -> int:
    match phase:
        case Unfunded():
            return 0
        case Closed(to_provider=to_provider):
            return to_provider
        case _:
            return phase.paid


def _grown(before: int, after: int) -> Amount:
    return Amount(max(0, after - before))
