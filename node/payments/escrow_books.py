"""An escrowed award at either side, with what the shell has decided. Pure: around protocol/escrow.

Requester. A recall is only asked for once the market is done with the award: before that, a start may well have come to
the market, and the provider would answer with it at a cost to both.

Provider. The market's own machine keeps the order of parts (protocol/task/delivery.py) and hands over the newest
start, receipt and acceptance as they come to be. They only ever grow, so they are merged and the escrow's machine is
asked what follows from them.
"""

from dataclasses import dataclass, replace
from typing import TypeAlias

from node.payments.tracked import Rules
from protocol.escrow import provider, requester
from protocol.escrow.errors import WrongPart, WrongTotal
from protocol.escrow.record import BlockSeen, ChainEvent, Closed, FundConfirmed, Unfunded, escrow_terms
from protocol.identity import Digest
from protocol.market.objects import Award
from protocol.settlement.deadlines import is_over
from protocol.signing.signed import Signed
from protocol.task.objects import Acceptance, Receipt, Start
from protocol.units import Uint64, UnixTime
from protocol.wire.codec import tagged


@dataclass(frozen=True, slots=True, kw_only=True)
class EscrowContext:
    """What an escrow's stream opens with, on both sides.

    Attributes:
        award: As signed.
        award_id: Its digest.
        funded_at: Block in whose state its provider found it funded; 0 if it was not yet.
    """

    award: Signed[Award]
    award_id: Digest
    funded_at: Uint64 = 0


# --------------------------------------------------------------------------------------------------- requester


@tagged(51)
@dataclass(frozen=True, slots=True, kw_only=True)
class Dismissed:
    """The market pays nothing more under this award."""


RequesterEvent: TypeAlias = requester.RequesterEvent | Dismissed


@dataclass(frozen=True, slots=True, kw_only=True)
class RequesterBook:
    """The escrow, and whether the market is done with it."""

    escrow: requester.RequesterState
    dismissed: bool = False


def begin_requester(context: EscrowContext) -> RequesterBook:
    """Return the first state."""
    terms = escrow_terms(context.award.value, context.award_id)
    return RequesterBook(escrow=requester.start_funding(terms))


def advance_requester(book: RequesterBook, seen: UnixTime) -> RequesterBook:
    """Let time pass."""
    escrow, _ = requester.transition(book.escrow, BlockSeen(time=seen))
    return book if escrow == book.escrow else replace(book, escrow=escrow)


def transition_requester(book: RequesterBook, event: RequesterEvent) -> RequesterBook:
    """Apply one event.

    Raises:
        EscrowError: Nothing changed.
    """
    if isinstance(event, Dismissed):
        return replace(book, dismissed=True)
    escrow, _ = requester.transition(book.escrow, event)
    return replace(book, escrow=escrow)


def outstanding_requester(book: RequesterBook) -> tuple[requester.RequesterEffect, ...]:
    """Return what the escrow needs from its requester now."""
    return tuple(
        effect
        for effect in requester.outstanding(book.escrow)
        if book.dismissed or not isinstance(effect, requester.SubmitRecall)  # see above
    )


def is_requester_over(book: RequesterBook) -> bool:
    """Tell whether the award is closed, or was never funded and can't be any more."""
    return isinstance(book.escrow.phase, Closed) or requester.is_lapsed(book.escrow)


REQUESTER_RULES: Rules[RequesterBook, RequesterEvent] = Rules(
    advance=advance_requester, transition=transition_requester, is_over=is_requester_over
)


# --------------------------------------------------------------------------------------------------- provider


@tagged(100)
@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What was signed under the award; each of them verified, and None where there is nothing new."""

    start: Signed[Start] | None = None
    receipt: Signed[Receipt] | None = None
    acceptance: Signed[Acceptance] | None = None


ProviderEvent: TypeAlias = ChainEvent | provider.ClaimRequested | Evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderBook:
    """The escrow at its provider."""

    escrow: provider.ProviderState


def begin_provider(context: EscrowContext) -> ProviderBook:
    """Return the first state."""
    terms = escrow_terms(context.award.value, context.award_id)
    book = ProviderBook(escrow=provider.await_funds(terms))
    return transition_provider(book, FundConfirmed(amount=terms.amount)) if context.funded_at else book


def advance_provider(book: ProviderBook, seen: UnixTime) -> ProviderBook:
    """Let time pass."""
    escrow, _ = provider.transition(book.escrow, BlockSeen(time=seen))
    return book if escrow == book.escrow else replace(book, escrow=escrow)


def transition_provider(book: ProviderBook, event: ProviderEvent) -> ProviderBook:
    """Apply one event.

    Raises:
        EscrowError: Nothing changed.
    """
    if isinstance(event, Evidence):
        return ProviderBook(escrow=_merged(book.escrow, event))
    escrow, _ = provider.transition(book.escrow, event)
    return ProviderBook(escrow=escrow)


def outstanding_provider(book: ProviderBook) -> tuple[provider.ProviderEffect, ...]:
    """Return what the escrow needs from its provider now."""
    return provider.outstanding(book.escrow)


def is_provider_over(book: ProviderBook) -> bool:
    """Tell whether the award is closed, or was never funded and can't be any more."""
    escrow = book.escrow
    lapsed = isinstance(escrow.phase, Unfunded) and is_over(escrow.terms.deadlines.start_by, escrow.now)
    return isinstance(escrow.phase, Closed) or lapsed


PROVIDER_RULES: Rules[ProviderBook, ProviderEvent] = Rules(
    advance=advance_provider, transition=transition_provider, is_over=is_provider_over
)


def _merged(escrow: provider.ProviderState, evidence: Evidence) -> provider.ProviderState:
    after, terms = escrow, escrow.terms
    if evidence.start is not None and after.start is None:
        after = replace(after, start=evidence.start)
    receipt = evidence.receipt
    if receipt is not None and (after.receipt is None or receipt.value.part > after.receipt.value.part):
        if not terms.covers(receipt.value.part):
            raise WrongPart(f"part {receipt.value.part} is not one of this award's")
        if not after.asked <= receipt.value.due <= terms.award.price:
            raise WrongTotal(f"{receipt.value.due} is asked in all, after {after.asked}")
        after = replace(after, receipt=receipt)
    acceptance = evidence.acceptance
    if acceptance is not None and (after.acceptance is None or acceptance.value.part > after.acceptance.value.part):
        if not terms.covers(acceptance.value.part):
            raise WrongPart(f"part {acceptance.value.part} is not one of this award's")
        if not after.accepted <= acceptance.value.due <= terms.award.price:
            raise WrongTotal(f"{acceptance.value.due} was accepted in all, after {after.accepted}")
        after = replace(after, acceptance=acceptance)
    return after
