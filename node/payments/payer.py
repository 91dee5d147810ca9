"""The requester's money over both rails: what the market calls `PayerRails`."""

import contextlib
from collections.abc import Mapping
from typing import Final, Literal

import trio

from node.payments.channel_payer import ChannelPayer
from node.payments.channel_view import PayerChannelView
from node.payments.escrow_payer import EscrowPayer
from node.payments.escrow_view import EscrowView
from node.payments.room import Room
from node.payments.stakes import Stakes
from protocol.errors import TransientError
from protocol.identity import ZERO_DIGEST, Address, Digest
from protocol.market.objects import Award, Offer
from protocol.settlement.rail import Charge, Rail, RailChoice, choose_rail
from protocol.signing.signed import Signed
from protocol.stake.terms import BackingRefused, liability_of
from protocol.task.messages import VoucherNotice
from protocol.task.objects import Acceptance
from protocol.task.pricing import part_price
from protocol.units import Amount, UnixTime

BALANCE_PATIENCE_S: Final = 3.0


class Payer:
    """Chooses the rail, and hands on to it."""

    def __init__(self, room: Room, channels: ChannelPayer, escrows: EscrowPayer, stakes: Stakes | None) -> None:
        self._room, self._channels, self._escrows, self._stakes = room, channels, escrows, stakes

    async def plan(self, provider: Address | None, price: Amount, offer: Offer) -> RailChoice:
        """Say which rail a payment would take, and why; changes nothing.

        Raises:
            NoRail: Neither can pay.
        """
        balance, can_escrow = Amount(0), False
        # A chain that is silent stops no auction over open channels (D8), nor delays it until their view is too old.
        with contextlib.suppress(TransientError), trio.move_on_after(BALANCE_PATIENCE_S):
            balance, can_escrow = await self._room.chain.token_balance(self._room.wallet.address), True
        charge = self._charge(price, offer)
        return choose_rail(
            charge,
            self._channels.outlook(provider, balance),
            now=self._room.clock.now(),
            threshold=self._room.settings.threshold,
            can_escrow=can_escrow and balance >= charge.price + charge.dispute_fee,
        )

    async def prepare(self, provider: Address, price: Amount, offer: Offer) -> Digest:
        """Return the channel for an award, opened or topped up and confirmed if need be; zero means escrow.

        The offer has named its rail, and every bidder counted on it: it is not chosen again for the final price.

        Raises:
            InsufficientTokens, OutOfGas, OpenFailed: Nothing can pay, and why.
            TransientError: The chain can't be reached, or takes too long.
        """
        async with self._room.confirming("the first block of the chain"):
            await self._room.feed.wait_reached(1)
        if offer.rail == self._room.chain.escrow_contract:
            return ZERO_DIGEST
        return await self._channels.deposits.ensure(provider, Amount(price + offer.dispute_fee))

    def contract_of(self, rail: Rail) -> Address:
        """Return the contract that an offer names for `rail`."""
        return self._room.chain.escrow_contract if rail is Rail.ESCROW else self._room.chain.channel_contract

    async def fund(self, award: Signed[Award], award_id: Digest) -> VoucherNotice | None:
        """Promise the award's money: a durable, signed hold, or an escrow that is confirmed. Harmless to repeat.

        With a liability, the stake behind it is looked after from then on, and its bonus deposited in the background.

        Raises:
            StoaError: This side can't; nothing is promised then.
        """
        notice: VoucherNotice | None = None
        if award.value.channel != ZERO_DIGEST:
            notice = await self._channels.fund(award, award_id)
        else:
            await self._escrows.fund(award, award_id)
        if self._stakes is not None and liability_of(award.value):
            await self._stakes.requester.begin(award, award_id)
        return notice

    async def wait_backed(self, award: Signed[Award], award_id: Digest) -> None:
        """Return once the provider's liability for a funded award is confirmed to be locked; at once if it has none.

        Raises:
            BackingRefused: It was not locked in time.
            TransientError: The chain can't be reached for too long to know.
        """
        if liability_of(award.value):
            if self._stakes is None:
                raise BackingRefused("the award wants a liability locked, and this network has no stakes")
            await self._stakes.requester.wait_backed(award.value, award_id)

    async def pay(
        self, award: Signed[Award], award_id: Digest, acceptance: Signed[Acceptance], *, last: bool
    ) -> VoucherNotice | None:
        """Pay up to `acceptance.due`. Harmless to repeat. The hold's rest stays until `close`, even after the last."""
        del last
        if self._stakes is not None:
            await self._stakes.requester.accept(award.value, award_id, acceptance.value)
        if award.value.channel != ZERO_DIGEST:
            return await self._channels.pay(award.value, award_id, acceptance.value.due)
        await self._escrows.pay(award_id, acceptance)
        return None

    async def close(self, award: Signed[Award], award_id: Digest) -> VoucherNotice | None:
        """Take back what the award no longer needs, in the background, as soon as payee or law allow it."""
        if self._stakes is not None:
            await self._stakes.requester.drop(award_id)
        if award.value.channel != ZERO_DIGEST:
            return await self._channels.dismiss(award.value, award_id)
        await self._escrows.dismiss(award_id)
        return None

    def channels(self) -> tuple[PayerChannelView, ...]:
        """Return the channels that this wallet pays from."""
        return self._channels.views()

    def escrows(self) -> tuple[EscrowView, ...]:
        """Return the escrows that this wallet has funded or is funding."""
        return self._escrows.views()

    async def open_channel(self, provider: Address, amount: Amount) -> Digest:
        """Open a channel with this deposit and wait for its confirmation."""
        return await self._channels.deposits.open(provider, amount)

    async def top_up(self, channel: Digest, amount: Amount) -> None:
        """Add to a channel's deposit and wait for the confirmation."""
        await self._channels.deposits.top_up(self._channels.find(channel), amount)

    async def close_channel(self, channel: Digest, *, force: bool = False) -> Literal["closed", "leaving"]:
        """End a channel, with the payee's consent if it gives it in time; see `ChannelPayer.close`."""
        return await self._channels.close(channel, force=force)

    async def credits_waiting(self) -> Mapping[Address, Amount]:
        """Return, by contract, what the wallet may withdraw because the token refused a payout."""
        return await credits_of(self._room)

    async def withdraw_credit(self, contract: Address, to: Address) -> None:
        """Send the wallet's credit in `contract` to an address that the token pays."""
        await self._room.chain.withdraw_credit(contract, to)

    def _charge(self, price: Amount, offer: Offer) -> Charge:
        """Say what an award made now would need; its last deadline is the latest that the offer's terms allow."""
        now = self._room.clock.now()
        latest = now + offer.start_within + offer.max_eta + 2 * offer.pace + offer.resolve_within
        return Charge(
            price=price,
            dispute_fee=offer.dispute_fee,
            highest_part=part_price(price, offer.parts, offer.parts - 1),
            arbiter=offer.arbiter,
            credit_limit=self._room.settings.credit_limit,
            latest_resolve_by=UnixTime(latest),
        )


async def credits_of(room: Room) -> Mapping[Address, Amount]:
    """Return what the wallet may withdraw, by contract; nothing of zero."""
    credits_ = await room.chain.credits_of(room.wallet.address)
    return {contract: amount for contract, amount in credits_.items() if amount}
