"""A channel at its payee, with what it has let go of. Pure: around protocol/channel/payee.py.

Once the payee has told the payer that it lets go of a hold, it must not take work against it: a voucher with the hold
may still be on its way while the one without it is being signed.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, TypeAlias, TypeVar

from node.payments.claim_wish import wanted_since
from node.payments.errors import AwardRenounced
from node.payments.tracked import Rules
from protocol.channel import payee
from protocol.channel.chain import BlockSeen, OpenConfirmed
from protocol.channel.errors import WorkOutstanding
from protocol.channel.objects import ChannelKey, ChannelRules, channel_id
from protocol.channel.receiving import AwardTaken, Ended, Engagement, PayeeEffect, PayeeEvent, PayeeState, Purse
from protocol.identity import Digest
from protocol.signing.eip712 import Domain
from protocol.units import Amount, UnixTime
from protocol.wire.codec import tagged

T = TypeVar("T")

KEPT: Final = 1024
"""How many awards we remember to have let go of. Each costs the payer a signed award or a request to us."""


@tagged(50)
@dataclass(frozen=True, slots=True, kw_only=True)
class Renounced:
    """This side lets go of the award's hold."""

    award: Digest


BookEvent: TypeAlias = PayeeEvent | Renounced


@dataclass(frozen=True, slots=True, kw_only=True)
class PayeeContext:
    """What a payee's stream opens with: the opening, as confirmed."""

    key: ChannelKey
    deposit: Amount
    rules: ChannelRules


@dataclass(frozen=True, slots=True, kw_only=True)
class PayeeBook:
    """The channel, and the awards let go of, oldest first."""

    channel: PayeeState
    renounced: tuple[Digest, ...] = ()
    wanted_at: UnixTime | None = None
    """See `wanted_since`: a restart does not make a claim wait anew for cheap gas."""

    @property
    def purse(self) -> Purse | None:
        """What is in the channel; None once it is over."""
        return None if isinstance(self.channel, Ended) else self.channel.purse

    def engagement(self, award: Digest) -> Engagement | None:
        """Return the work taken under an award, or None."""
        return self.purse.find(award) if self.purse else None

    def needs(self, award: Digest) -> bool:
        """Tell whether this side still relies on the hold of `award`."""
        engagement = self.engagement(award)
        return engagement is not None and (not engagement.finished or engagement.unpaid > 0)


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
                raise WorkOutstanding(f"award {award.hex()} is being worked on, or a part of it is unpaid")
            if award in book.renounced:
                return book
            return replace(book, renounced=(*book.renounced, award)[-KEPT:])
        case AwardTaken(award=award) if award in book.renounced:
            raise AwardRenounced(f"the hold of award {award.hex()} was let go of")
        case _:
            channel, _ = payee.transition(book.channel, event)
            return replace(book, channel=channel)


def outstanding(book: PayeeBook) -> tuple[PayeeEffect, ...]:
    """Return what the channel needs now."""
    return payee.outstanding(book.channel)


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
