"""A channel at its payer, with the awards that it pays for. Pure: around protocol/channel/payer.py.

The protocol's machine knows promises by award. The book adds for each award whose task it belongs to (the spending caps
ask), when its last deadline is, and whether the market is done with it. A hold comes free when the payee lets go of it
or when its last deadline is over, and not sooner: a payee refuses every voucher that drops a hold it still relies on,
and with it everything signed later in this channel.

    note         event       needs
    ----         -----       -----
    (none)       NewestShown AskRelease, DropHold: a hold of the payee's newest voucher that nobody here remembers
    (none)       Promised    the voucher, sent until it is acknowledged
    active       Dismissed   AskRelease until the payee has let go; DropHold when `reserved_until` is over
    dismissed    HoldReleased   the voucher without the hold, sent likewise
"""

from dataclasses import dataclass, replace
from typing import TypeAlias

from node.payments.tracked import Rules
from protocol.channel import payer
from protocol.channel.chain import BlockSeen, OpenConfirmed
from protocol.channel.errors import UnknownAward
from protocol.channel.ledger import Ledger
from protocol.channel.objects import ChannelKey, ChannelRules, Voucher, channel_id
from protocol.channel.paying import (
    Account,
    Doubted,
    Exiting,
    HoldReleased,
    HoldRequested,
    NewestShown,
    Open,
    Opening,
    PayerEffect,
    PayerEvent,
    PayerState,
    PaymentDue,
    Settled,
)
from protocol.identity import ZERO_DIGEST, Address, Digest
from protocol.settlement.deadlines import is_over
from protocol.units import Amount, UnixTime
from protocol.wire.codec import tagged


@tagged(48)
@dataclass(frozen=True, slots=True, kw_only=True)
class Promised:
    """Promise price and fee to an award of the task `offer`; after `reserved_until` no arbiter enforces the hold."""

    award: Digest
    offer: Digest
    arbiter: Address
    price: Amount
    dispute_fee: Amount
    reserved_until: UnixTime


@tagged(49)
@dataclass(frozen=True, slots=True, kw_only=True)
class Dismissed:
    """The market pays nothing more under this award."""

    award: Digest


BookEvent: TypeAlias = PayerEvent | Promised | Dismissed


@dataclass(frozen=True, slots=True, kw_only=True)
class AskRelease:
    """Ask the payee whether it lets go of the award's hold."""

    award: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class DropHold:
    """Take back the hold: its last deadline is over."""

    award: Digest


BookEffect: TypeAlias = PayerEffect | AskRelease | DropHold


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One award. `spent`: what was paid for it when its hold came free; None before that."""

    award: Digest
    offer: Digest
    reserved_until: UnixTime
    dismissed: bool = False
    spent: Amount | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PayerContext:
    """What a payer's stream opens with. `opened`: the chain has it already, so nothing is to be submitted."""

    key: ChannelKey
    amount: Amount
    rules: ChannelRules
    opened: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PayerBook:
    """The channel, and its awards in the order in which they were promised."""

    channel: PayerState
    notes: tuple[Note, ...] = ()

    @property
    def ledger(self) -> Ledger | None:
        """What was promised and paid; None before the channel is open and after it was settled on chain."""
        return self.channel.ledger if isinstance(self.channel, Open | Exiting) else None

    @property
    def account(self) -> Account | None:
        """What is on chain; None before the opening is confirmed and after the end."""
        return None if isinstance(self.channel, Opening | Settled) else self.channel.account

    @property
    def free(self) -> int:
        """Confirmed deposit that can still be promised."""
        if not isinstance(self.channel, Open) or self.is_leaving or self.is_in_doubt:
            return 0
        return payer.free_deposit(self.channel)

    @property
    def is_in_doubt(self) -> bool:
        """Whether more may have been signed than is remembered, so that nothing is signed until the payee was asked."""
        return isinstance(self.channel, Opening | Open | Exiting) and self.channel.doubt

    @property
    def is_leaving(self) -> bool:
        """Whether nothing new can be promised any more, or not until a close is void."""
        return not isinstance(self.channel, Opening | Open) or (
            isinstance(self.channel, Open) and (self.channel.leaving or self.channel.close is not None)
        )

    def find(self, award: Digest) -> Note | None:
        """Return the note of an award, or None."""
        return next((note for note in self.notes if note.award == award), None)

    def voucher(self, channel: Digest) -> Voucher | None:
        """Return the newest voucher, or None if there is none or none counts any more. Never sign it in doubt."""
        return self.ledger.voucher(channel) if self.ledger and self.ledger.sequence else None

    def promised_to(self, offer: Digest) -> Amount:
        """Return what this channel has promised for one task: price and fee while a hold stands, what was paid then."""
        total = 0
        for note in self.notes:
            if note.offer != offer:
                continue
            if note.spent is not None:
                total += note.spent
            elif self.ledger is not None:
                promise = self.ledger.find(note.award)
                total += promise.price + promise.dispute_fee
        return Amount(total)


def begin(context: PayerContext) -> PayerBook:
    """Return the first state. A channel that the chain knows and this side never began is in doubt."""
    channel: PayerState = payer.start_opening(context.key, context.amount, context.rules)
    if context.opened:
        channel, _ = payer.transition(channel, Doubted())
        channel, _ = payer.transition(channel, OpenConfirmed(key=context.key, deposit=context.amount))
    return PayerBook(channel=channel)


def advance(book: PayerBook, seen: UnixTime) -> PayerBook:
    """Let time pass; notes of awards that can no longer matter are dropped."""
    channel, _ = payer.transition(book.channel, BlockSeen(time=seen))
    kept = tuple(note for note in book.notes if note.spent is None or not is_over(note.reserved_until, seen))
    if channel == book.channel and len(kept) == len(book.notes):
        return book
    return replace(book, channel=channel, notes=kept)


def transition(book: PayerBook, event: BookEvent) -> PayerBook:
    """Apply one event.

    Raises:
        ChannelError: The channel's rules forbid it.
    """
    match event:
        case Promised():
            return _promised(book, event)
        case Dismissed(award=award):
            if book.find(award) is None:
                raise UnknownAward(f"this channel pays for no award {award.hex()}")
            return _noted(book, award, dismissed=True)
        case HoldReleased(award=award):
            paid = book.ledger.find(award).paid if book.ledger else Amount(0)
            return _noted(_stepped(book, event), award, dismissed=True, spent=paid)
        case NewestShown():
            return _caught_up(book, event)
        case _:
            return _stepped(book, event)


def outstanding(book: PayerBook) -> tuple[BookEffect, ...]:
    """Return what the channel needs now."""
    effects: list[BookEffect] = list(payer.outstanding(book.channel))
    if book.ledger is not None and book.account is not None and not book.is_in_doubt:
        for note in book.notes:
            if note.spent is None and is_over(note.reserved_until, book.account.now):
                effects.append(DropHold(award=note.award))
            elif note.spent is None and note.dismissed:
                effects.append(AskRelease(award=note.award))
    return tuple(effects)


def rest_to_pay(book: PayerBook, award: Digest, due: Amount) -> PaymentDue | None:
    """Return the payment that lifts an award to `due`, or None if it is paid or its hold is gone."""
    note = book.find(award)
    if note is None or note.spent is not None or book.ledger is None or book.ledger.find(award).paid >= due:
        return None
    return PaymentDue(award=award, due=due)


def channel_of(context: PayerContext) -> Digest:
    """Return the id of the context's channel."""
    return channel_id(context.key)


RULES: Rules[PayerBook, BookEvent] = Rules(
    advance=advance, transition=transition, is_over=lambda book: isinstance(book.channel, Settled)
)


def _stepped(book: PayerBook, event: PayerEvent) -> PayerBook:
    channel, _ = payer.transition(book.channel, event)
    return replace(book, channel=channel)


def _caught_up(book: PayerBook, event: NewestShown) -> PayerBook:
    """Go on from what the payee showed, and let go of what nobody here remembers as soon as that is allowed."""
    after = _stepped(book, event)
    if book.ledger is None or after.ledger is None or after.account is None:
        return after
    promised = {promise.award for promise in after.ledger.promises}
    paid = {promise.award: promise.paid for promise in book.ledger.promises}
    notes = [
        note
        if note.spent is not None or note.award in promised
        else replace(note, dismissed=True, spent=paid.get(note.award, Amount(0)))
        for note in book.notes
    ]
    remembered = {note.award for note in notes if note.spent is None}
    # No award outlasts this from now on, whenever it was taken (CH12).
    latest = UnixTime(max(event.now, after.account.now) + after.account.rules.hold_period)
    forgotten = [
        Note(award=award, offer=ZERO_DIGEST, reserved_until=latest, dismissed=True)
        for award in sorted(promised - remembered)
    ]
    notes = [note for note in notes if note.award not in promised or note.spent is None]
    return replace(after, notes=(*notes, *forgotten))


def _promised(book: PayerBook, event: Promised) -> PayerBook:
    request = HoldRequested(award=event.award, arbiter=event.arbiter, price=event.price, dispute_fee=event.dispute_fee)
    known = book.find(event.award)
    if known is not None and known.spent is not None:
        raise UnknownAward(f"the hold of award {event.award.hex()} was released; it is not promised again")
    after = _stepped(book, request)
    if known is not None:
        return after
    note = Note(award=event.award, offer=event.offer, reserved_until=event.reserved_until)
    return replace(after, notes=(*after.notes, note))


def _noted(book: PayerBook, award: Digest, *, dismissed: bool, spent: Amount | None = None) -> PayerBook:
    notes = tuple(
        replace(note, dismissed=dismissed, spent=spent if note.spent is None else note.spent)
        if note.award == award
        else note
        for note in book.notes
    )
    return replace(book, notes=notes)
