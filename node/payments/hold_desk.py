"""Holds of this wallet's channels that a court may have to enforce: what the arbitration room asks of payments."""

from collections.abc import Sequence
from typing import Final

import structlog

from node.payments import payee_book
from node.payments.channel_payee import ChannelPayee
from node.payments.enforced_again import look_again
from node.payments.payee_book import HoldLeft, HoldSecured, PayeeBook, Secured
from node.payments.room import Room
from protocol.channel.acceptance import is_over_for
from protocol.channel.holds import find_hold
from protocol.channel.objects import ChannelKey, Hold
from protocol.channel.receiving import AwardWrittenOff, Defending, Receiving
from protocol.dispute.acting import HoldSight
from protocol.identity import Digest
from protocol.market.objects import Award
from protocol.settlement.deadlines import deadlines_of, is_over
from protocol.units import Amount, UnixTime

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

CLAIMS_A_CASE: Final = 8
"""As many claims cost about the gas of a whole case (450,000): to present, to open, to close, to enforce."""
NOTHING: Final = HoldSight()


class HoldDesk:
    """Secures holds, makes them ready to be enforced, and lets go of them. Each is safe to repeat."""

    def __init__(self, room: Room, channels: ChannelPayee) -> None:
        self._room, self._channels = room, channels

    async def look(self, award: Award, award_id: Digest) -> HoldSight:
        """Return what stands for an award in its channel, as the confirmed chain and the newest vouchers have it."""
        book = await self._channels.book_of(award.channel)
        if book is None:
            return NOTHING
        enforced, purse = book.find_enforced(award_id), book.purse
        if enforced is not None:
            held, may_change = look_again(book, enforced)
            return HoldSight(held=held, taken=enforced.to_payee, may_change=may_change)
        if purse is None:
            return NOTHING
        secured = book.find_secured(award_id)
        sequence, holds = (purse.sequence, purse.holds) if secured is None else (secured.sequence, secured.holds)
        hold = find_hold(holds, award_id) if book.may_stand(sequence) else None
        engagement = book.engagement(award_id)
        return HoldSight(
            unpaid=Amount(engagement.unpaid if engagement is not None else 0),
            held=Amount(0) if hold is None else hold.amount,
            is_secured=secured is not None and purse.presented >= secured.present_to,
        )

    async def secure(self, award: Award, award_id: Digest) -> None:
        """Have the newest voucher with an award's hold presented; return once that is confirmed.

        Raises:
            ChannelUnknown, HoldMissing: There is nothing to secure.
            NotConfirmedInTime: It takes long; it goes on.
        """
        account = self._channels.find(award.channel)
        if account.state.find_secured(award_id) is None:
            await account.apply(HoldSecured(award=award_id, won=False))
        async with self._room.confirming("the presentation of a hold"):
            await account.wait_until(lambda book: _stands(book, award_id))

    async def ready(self, award: Award, award_id: Digest) -> tuple[ChannelKey, Sequence[Hold]] | None:
        """Prepare to have an award's hold enforced, which begins the payer's exit; None while that harms other work.

        The newest voucher that has the hold is presented, and what the newest voucher pays is claimed. From now on no
        new work is taken in the channel; for what is in flight there one waits, unless the payer leaves, or may soon
        take the hold out of its vouchers.

        Returns:
            The channel, and all holds under the voucher that stands.

        Raises:
            ChannelUnknown, HoldMissing: There is nothing to enforce.
            NotConfirmedInTime: It takes long; it goes on.
        """
        account = self._channels.find(award.channel)
        secured = account.state.find_secured(award_id)
        if secured is None or not secured.won:
            await account.apply(HoldSecured(award=award_id, won=True))
        if _is_busy(account.state, award_id, UnixTime(deadlines_of(award).latest_resolve_by - award.pace)):
            log.info("channel.enforcing_waits_for_work", award=award_id.hex(), channel=award.channel.hex())
            return None
        if _needs_newer(account.state, award_id):  # it came while one waited
            await account.apply(HoldSecured(award=award_id, won=True))
        if isinstance(account.state.channel, Receiving):
            await self._channels.claims.ask_unpaid(award.channel)
        async with self._room.confirming("what has to stand before a hold is enforced"):
            await account.wait_until(lambda book: not payee_book.outstanding(book) and _stands(book, award_id))
        ready = account.state.find_secured(award_id)
        return None if ready is None else (account.context.key, ready.holds)

    async def leave(self, award: Award, award_id: Digest) -> None:
        """Insist no more on what a hold of an award still backs: no verdict gives it to us."""
        book = await self._channels.book_of(award.channel)
        if book is None or book.purse is None:
            return
        account = self._channels.find(award.channel)
        if book.find_secured(award_id) is not None:
            await account.apply(HoldLeft(award=award_id))
        engagement = book.engagement(award_id)
        if engagement is not None and isinstance(book.channel, Receiving | Defending) and _may_go(book, award_id):
            log.info("channel.hold_left", award=award_id.hex(), unpaid=engagement.unpaid)
            await account.apply(AwardWrittenOff(award=award_id))

    async def costs(self) -> Amount:
        """Return what it costs in gas to go through with a case over a hold, in the token.

        Raises:
            TransientError: The chain can't be reached.
        """
        costs = await self._room.chain.claim_costs()
        return Amount((costs.base + costs.each) * CLAIMS_A_CASE)


def _stands(book: PayeeBook, award: Digest) -> bool:
    """Tell whether the voucher that was asked for counts on chain, or nothing is left to wait for."""
    secured, purse = book.find_secured(award), book.purse
    return secured is None or purse is None or purse.presented >= secured.present_to


def _needs_newer(book: PayeeBook, award: Digest) -> bool:
    secured: Secured | None = book.find_secured(award)
    return secured is not None and secured.present_to < secured.sequence


def _is_busy(book: PayeeBook, award: Digest, wait_until: UnixTime) -> bool:
    """Tell whether other work is under way in the channel: an exit, which an enforcement begins, would stop it."""
    if not isinstance(book.channel, Receiving):
        return False  # the payer leaves: time runs
    purse = book.channel.purse
    # After its last deadline an honest payer's vouchers drop the hold. None of them would be taken while it is unpaid,
    # so the other work would be paid no more.
    if is_over(wait_until, purse.seen_at):
        return False
    return any(each.award != award and not is_over_for(purse, each) for each in purse.engagements)


def _may_go(book: PayeeBook, award: Digest) -> bool:
    engagement = book.engagement(award)
    return engagement is not None and (engagement.unpaid > 0 or not engagement.finished)
