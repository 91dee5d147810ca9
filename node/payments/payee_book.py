"""A channel at its payee, with what it has let go of and what is in court. Pure: around protocol/channel/payee.py.

Once the payee has told the payer that it lets go of a hold, it must not take work against it: a voucher with the hold
may still be on its way while the one without it is being signed.

A hold that a court may have to enforce is *secured* (CH29): the newest voucher that has it is kept, though a newer one
may come without it, and stands on chain. Once a verdict gives this side something out of it, no new work is taken in
the channel: enforcing begins the payer's exit. What that paid is remembered with the voucher that it was enforced on,
since a newer one may have to be enforced anew (CH32).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, TypeAlias, TypeVar

from node.payments.claim_wish import wanted_since
from node.payments.errors import AwardRenounced
from node.payments.tracked import Rules
from protocol.channel import payee
from protocol.channel.chain import BlockSeen, EnforceConfirmed, OpenConfirmed
from protocol.channel.errors import ClosePending, HoldMissing, WorkOutstanding
from protocol.channel.holds import Holds, find_hold
from protocol.channel.objects import ChannelKey, ChannelRules, Voucher, channel_id
from protocol.channel.receiving import (
    AwardTaken,
    Defending,
    Ended,
    Engagement,
    PayeeEffect,
    PayeeEvent,
    PayeeState,
    Purse,
    Receiving,
    SubmitPresent,
    VoucherReceived,
)
from protocol.identity import Digest
from protocol.settlement.deadlines import is_over
from protocol.signing.eip712 import Domain
from protocol.signing.signed import Signed
from protocol.units import Amount, Uint64, UnixTime
from protocol.wire.codec import tagged

T = TypeVar("T")

KEPT: Final = 1024
"""How many awards we remember to have let go of. Each costs the payer a signed award or a request to us."""


@tagged(50)
@dataclass(frozen=True, slots=True, kw_only=True)
class Renounced:
    """This side lets go of the award's hold."""

    award: Digest


@tagged(51)
@dataclass(frozen=True, slots=True, kw_only=True)
class HoldSecured:
    """A court may have to enforce the award's hold; `won`: it does, and the newest voucher that has it must stand."""

    award: Digest
    won: bool


@tagged(52)
@dataclass(frozen=True, slots=True, kw_only=True)
class HoldLeft:
    """No court will enforce the award's hold any more."""

    award: Digest


BookEvent: TypeAlias = PayeeEvent | Renounced | HoldSecured | HoldLeft


@dataclass(frozen=True, slots=True, kw_only=True)
class Secured:
    """A hold that a court may have to enforce.

    Attributes:
        award: Whose.
        voucher, holds: The newest voucher that has it, and all its holds.
        present_to: Which voucher must stand on chain: the one that was the newest when that was asked for.
        won: Whether a verdict gives this side something out of it.
        until: The award's last deadline; from then on its payer may take the hold back.
    """

    award: Digest
    voucher: Signed[Voucher]
    holds: Holds
    present_to: Uint64
    won: bool
    until: UnixTime

    @property
    def sequence(self) -> int:
        """Of its voucher."""
        return self.voucher.value.sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Enforced:
    """A hold that was enforced.

    Attributes:
        award: Whose.
        to_payee: What that paid, each time it was enforced.
        sequence: Of the voucher on which it was enforced last.
    """

    award: Digest
    to_payee: Amount
    sequence: Uint64


@dataclass(frozen=True, slots=True, kw_only=True)
class PayeeContext:
    """What a payee's stream opens with: the opening, as confirmed."""

    key: ChannelKey
    deposit: Amount
    rules: ChannelRules


@dataclass(frozen=True, slots=True, kw_only=True)
class PayeeBook:
    """The channel, the awards let go of, oldest first, and the holds that are or were in court."""

    channel: PayeeState
    renounced: tuple[Digest, ...] = ()
    secured: tuple[Secured, ...] = ()
    enforced: tuple[Enforced, ...] = ()
    wanted_at: UnixTime | None = None
    """See `wanted_since`: a restart does not make a claim wait anew for cheap gas."""

    @property
    def purse(self) -> Purse | None:
        """What is in the channel; None once it is over."""
        return None if isinstance(self.channel, Ended) else self.channel.purse

    def engagement(self, award: Digest) -> Engagement | None:
        """Return the work taken under an award, or None."""
        return self.purse.find(award) if self.purse else None

    def find_secured(self, award: Digest) -> Secured | None:
        """Return what is secured for an award, or None."""
        return next((each for each in self.secured if each.award == award), None)

    def find_enforced(self, award: Digest) -> Enforced | None:
        """Return what an arbiter had an award's hold pay, or None."""
        return next((each for each in self.enforced if each.award == award), None)

    def may_stand(self, sequence: int) -> bool:
        """Tell whether the voucher of this number is the one that counts on chain, or can become it."""
        return self.purse is not None and 0 < sequence >= self.purse.presented

    def needs(self, award: Digest) -> bool:
        """Tell whether this side still relies on the hold of `award`."""
        engagement = self.engagement(award)
        is_at_work = engagement is not None and (not engagement.finished or engagement.unpaid > 0)
        return is_at_work or self.find_secured(award) is not None  # in court, its fee may still be ours


def begin(context: PayeeContext, *, domain: Domain, claim_at: Amount) -> PayeeBook:
    """Return the first state. Claiming is today's setting, so it is not kept in the stream."""
    opened = OpenConfirmed(key=context.key, deposit=context.deposit)
    return PayeeBook(channel=payee.start_receiving(opened, rules=context.rules, domain=domain, claim_at=claim_at))


def advance(book: PayeeBook, seen: UnixTime) -> PayeeBook:
    """Let time pass."""
    channel, _ = payee.transition(book.channel, BlockSeen(time=seen))
    return book if channel == book.channel else replace(book, channel=channel)


def transition(book: PayeeBook, event: BookEvent) -> PayeeBook:
    """Apply one event.

    Raises:
        ChannelError, BadSignature, AwardRenounced: Nothing changed.
    """
    match event:
        case Renounced(award=award):
            if book.needs(award):
                raise WorkOutstanding(f"award {award.hex()} is being worked on, is in court, or a part of it is unpaid")
            if award in book.renounced:
                return book
            return replace(book, renounced=(*book.renounced, award)[-KEPT:])
        case AwardTaken(award=award) if award in book.renounced:
            raise AwardRenounced(f"the hold of award {award.hex()} was let go of")
        case AwardTaken() if any(each.won for each in book.secured):
            raise ClosePending("a hold of this channel is about to be enforced; no new work is taken on it")
        case HoldSecured():
            return _secure(book, event)
        case EnforceConfirmed() if _is_repeat(book, event):
            return book
        case HoldLeft(award=award):
            return replace(book, secured=_without(book.secured, award))
        case _:
            channel, _ = payee.transition(book.channel, event)
            after = _follow(replace(book, channel=channel), event)
            if isinstance(event, VoucherReceived):
                _require_secured(book.secured, after.purse)
            return after


def outstanding(book: PayeeBook) -> tuple[PayeeEffect, ...]:
    """Return what the channel needs now."""
    effects, channel = payee.outstanding(book.channel), book.channel
    if not isinstance(channel, Receiving | Defending) or any(isinstance(each, SubmitPresent) for each in effects):
        return effects
    purse = channel.purse
    waiting = [each for each in book.secured if purse.presented < each.present_to]
    if not waiting:
        return effects
    # The oldest first: what a newer voucher dropped can't be presented after it.
    first = min(waiting, key=lambda each: each.sequence)
    return (SubmitPresent(key=purse.key, signed=first.voucher), *effects)


def _secure(book: PayeeBook, event: HoldSecured) -> PayeeBook:
    """Keep the newest voucher that holds an award's money.

    Raises:
        HoldMissing: None does that could stand on chain.
    """
    purse, known = book.purse, book.find_secured(event.award)
    if known is None:
        is_held = purse is not None and find_hold(purse.holds, event.award) is not None
        if purse is None or purse.best is None or not is_held or not book.may_stand(purse.sequence):
            raise HoldMissing(f"no voucher that could be presented holds anything for award {event.award.hex()}")
        sequence, engagement = purse.best.value.sequence, purse.find(event.award)
        known = Secured(
            award=event.award,
            voucher=purse.best,
            holds=purse.holds,
            present_to=sequence,
            won=event.won,
            until=engagement.reserved_until if engagement is not None else UnixTime(0),
        )
    elif event.won:
        known = replace(known, won=True, present_to=known.voucher.value.sequence)
    return replace(book, secured=(*_without(book.secured, event.award), known))


def _require_secured(secured: tuple[Secured, ...], purse: Purse | None) -> None:
    """Refuse a voucher that would take a hold out of the court's reach once it is presented, though it pays the work.

    The fee in the hold is this side's bond (P12). What holds nothing is only claimed, and leaves what stands as it is.

    Raises:
        HoldMissing: It is such a voucher.
    """
    if purse is None or not purse.held:
        return
    for each in secured:
        if find_hold(purse.holds, each.award) is None and not is_over(each.until, purse.seen_at):
            raise HoldMissing(f"the hold of award {each.award.hex()} is in court, and this voucher has it no more")


def _follow(book: PayeeBook, event: BookEvent) -> PayeeBook:
    """Keep what is secured up to date."""
    match event:
        case VoucherReceived() if book.secured and book.purse is not None:
            return replace(book, secured=tuple(_renewed(each, book.purse) for each in book.secured))
        case EnforceConfirmed() if book.purse is not None:
            return _enforce(book, book.purse, event)
        case _:
            return book


def _is_repeat(book: PayeeBook, event: EnforceConfirmed) -> bool:
    """Tell whether a deep reorganisation brought an enforcement again: the contract has one for each voucher."""
    known, purse = book.find_enforced(event.award), book.purse
    return known is not None and purse is not None and known.sequence == purse.presented


def _enforce(book: PayeeBook, purse: Purse, event: EnforceConfirmed) -> PayeeBook:
    award, before = event.award, book.find_enforced(event.award)
    to_payee = Amount(event.to_payee + (before.to_payee if before is not None else 0))
    enforced = Enforced(award=award, to_payee=to_payee, sequence=purse.presented)
    others = tuple(each for each in book.enforced if each.award != award)
    return replace(book, secured=_without(book.secured, award), enforced=(*others, enforced))


def _renewed(secured: Secured, purse: Purse) -> Secured:
    if purse.best is None or find_hold(purse.holds, secured.award) is None:
        return secured
    return replace(secured, voucher=purse.best, holds=purse.holds)


def _without(secured: tuple[Secured, ...], award: Digest) -> tuple[Secured, ...]:
    return tuple(each for each in secured if each.award != award)


def channel_of(context: PayeeContext) -> Digest:
    """Return the id of the context's channel."""
    return channel_id(context.key)


def _noting(change: Callable[[PayeeBook, T], PayeeBook]) -> Callable[[PayeeBook, T], PayeeBook]:
    """Let a change also note since when a claim is wanted."""

    def noted(book: PayeeBook, what: T) -> PayeeBook:
        after = change(book, what)
        wanted_at = wanted_since(book.wanted_at, after.channel)
        return after if wanted_at == after.wanted_at else replace(after, wanted_at=wanted_at)

    return noted


RULES: Rules[PayeeBook, BookEvent] = Rules(
    advance=_noting(advance), transition=_noting(transition), is_over=lambda book: isinstance(book.channel, Ended)
)
