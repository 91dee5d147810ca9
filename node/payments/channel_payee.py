"""The payee's side of all channels that pay this wallet: the shell around payee_book.py."""

from collections.abc import Mapping
from typing import Any, Final

import structlog

from node.payments import payee_book
from node.payments.account import keep, write_down
from node.payments.channel_claims import ChannelClaims
from node.payments.channel_view import PayeeChannelView, payee_view
from node.payments.errors import NotFunded, NotPaid
from node.payments.payee_book import BookEvent, PayeeBook, PayeeContext, Renounced
from node.payments.payee_desk import PayeeAccount, PayeeDesk, check_parties, find_account
from node.payments.ports import Fact
from node.payments.room import Ledger, Room
from node.payments.tracked import Step, Tracked, track
from node.storage.machine_log import Machine
from protocol.channel import chain as channel_facts
from protocol.channel.errors import HoldMissing, StaleView
from protocol.channel.holds import find_hold
from protocol.channel.receiving import (
    AwardFinished,
    AwardTaken,
    AwardWrittenOff,
    Defending,
    PayeeEffect,
    Purse,
    ReceiptSigned,
    Receiving,
    SubmitClaim,
    SubmitClose,
    SubmitPresent,
)
from protocol.channel.watch import WatchOrder
from protocol.identity import ZERO_ADDRESS, Digest, format_address
from protocol.market.objects import Award
from protocol.settlement.deadlines import deadlines_of
from protocol.signing.signed import Signed
from protocol.task.messages import VoucherNotice
from protocol.task.objects import Acceptance, Receipt
from protocol.units import format_amount

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

PREFIX: Final = "channel-payee"


class ChannelPayee:
    """Takes vouchers and work, defends them, claims."""

    def __init__(self, room: Room) -> None:
        self._room = room
        machine = Machine[PayeeContext, Tracked[PayeeBook], Step[BookEvent], Any](
            context=PayeeContext,
            events=Step[BookEvent],
            begin=lambda context: Tracked(
                state=payee_book.begin(context, domain=room.channel_domain, claim_at=room.settings.claim_at)
            ),
            transition=track(payee_book.RULES),
        )
        self._ledger = Ledger(room, PREFIX, machine, payee_book.RULES)
        self._desk = PayeeDesk(room, self._ledger.accounts)
        self.claims: Final = ChannelClaims(room, self._ledger.accounts)

    async def start(self) -> None:
        """Take up what was open, and answer payers."""
        await self._ledger.load()
        for channel, account in tuple(self._ledger.accounts.items()):
            self._serve(channel, account)
        self._desk.start()

    # ------------------------------------------------------------------------------------------------ the market

    async def receive_funding(self, award: Award, award_id: Digest, notice: VoucherNotice) -> None:
        """Take the voucher that holds an award's money.

        Raises:
            ChannelError, BadSignature: The voucher is refused, and why.
            NotFunded: It is a good voucher that holds something else.
            NotSeenYet: The channel or its deposit is not confirmed here yet.
        """
        account = await self._desk.wait_seen(award)
        if notice.voucher.value.channel != award.channel:
            raise NotFunded("the voucher is of another channel than the award")
        await self._desk.take(account, notice)
        hold = find_hold(account.state.purse.holds if account.state.purse else (), award_id)
        if hold is None and account.state.engagement(award_id) is None:
            raise NotFunded(
                f"the newest voucher holds nothing for award {award_id.hex()}",
                advice="send the voucher with its hold",
            )

    async def wait_funded(self, award: Award, award_id: Digest) -> None:
        """Return once the award is taken: its hold stands in a voucher that the confirmed deposit covers (M3, M6).

        Raises:
            ExitPending, ClosePending, HoldTooShort, AwardConflict, AwardRenounced: It never will be.
        """
        until = deadlines_of(award).latest_resolve_by
        while True:
            account = self._ledger.accounts.get(award.channel)
            if account is None:
                await self._room.feed.pulse.next_beat().wait()
                continue
            check_parties(account, award)
            beat = account.pulse.next_beat()
            if account.state.engagement(award_id) is not None:
                return
            try:
                await account.apply(
                    AwardTaken(
                        award=award_id,
                        arbiter=award.arbiter,
                        price=award.price,
                        dispute_fee=award.dispute_fee,
                        reserved_until=until,
                        now=self._room.clock.now(),
                    )
                )
            except (HoldMissing, StaleView) as error:
                log.debug("channel.not_funded_yet", award=award_id.hex(), reason=str(error))
            else:
                return
            await beat.wait()

    async def note_receipt(self, award: Award, award_id: Digest, receipt: Signed[Receipt]) -> None:
        """Keep what is asked for a part before it is sent: until it is paid, its hold is insisted on."""
        await self.find(award.channel).apply(ReceiptSigned(award=award_id, due=receipt.value.due))

    async def receive_payment(
        self, award: Award, award_id: Digest, acceptance: Signed[Acceptance], notice: VoucherNotice | None
    ) -> None:
        """Take the voucher that pays what was accepted.

        Raises:
            ChannelError, BadSignature: The voucher is refused, and why.
            NotPaid: There is no voucher, or all of them together pay less.
        """
        account = self.find(award.channel)
        due, before = acceptance.value.due, account.state.engagement(award_id)
        if before is None or before.due < due:  # else it was delivered before, and this is a repeat
            await account.apply(ReceiptSigned(award=award_id, due=due))
        if notice is not None:
            await self._desk.take(account, notice)
        engagement = account.state.engagement(award_id)
        paid = engagement.paid if engagement else 0
        if paid < due:
            raise NotPaid(
                f"{format_amount(due)} is due for award {award_id.hex()}, the vouchers pay {format_amount(paid)}"
            )

    async def settle(self, award: Award, award_id: Digest, unpaid: Signed[Receipt] | None) -> bool:
        """Work under the award is over: let go of its hold, except for what an arbiter could still get for us.

        What ran and was never sent is not asked for, as on an escrow (docs/adr/1572).

        Returns:
            Whether there is such a thing: a part that was delivered and is not paid.
        """
        account = self._ledger.accounts.get(award.channel)
        if account is None or not isinstance(account.state.channel, Receiving | Defending):
            return False  # closed since, and claimed before that
        engagement = account.state.engagement(award_id)
        if engagement is None:
            if award_id not in account.state.renounced:
                await account.apply(Renounced(award=award_id))
            return False
        if unpaid is not None and engagement.due < unpaid.value.due:
            log.warning("channel.part_written_off", award=award_id.hex(), due=unpaid.value.due)
            unpaid = None
        is_backed = engagement.unpaid or find_hold(account.state.channel.purse.holds, award_id) is not None
        if unpaid is not None and (award.arbiter == ZERO_ADDRESS or not is_backed):
            log.warning("channel.part_written_off", award=award_id.hex(), due=unpaid.value.due)
            await account.apply(AwardWrittenOff(award=award_id))
            return False
        await account.apply(AwardFinished(award=award_id))
        after = account.state.engagement(award_id)
        return after is not None and after.unpaid > 0

    # ------------------------------------------------------------------------------------------------ to look at

    def find(self, channel: Digest) -> PayeeAccount:
        """Return an open channel.

        Raises:
            ChannelUnknown: There is none of this id that pays this wallet.
        """
        return find_account(self._ledger.accounts, channel)

    async def book_of(self, channel: Digest) -> PayeeBook | None:
        """Return where a channel stands or ended; None if it never paid this wallet."""
        account = self._ledger.accounts.get(channel)
        return account.state if account is not None else await self._ledger.last_state(channel)

    def views(self) -> tuple[PayeeChannelView, ...]:
        """Return all channels that are not over."""
        return tuple(
            payee_view(channel, account.context.key.payer, account.state)
            for channel, account in self._ledger.accounts.items()
        )

    # ------------------------------------------------------------------------------------------------ watchtowers

    def purses(self) -> Mapping[Digest, Purse]:
        """Return what is in each channel in which vouchers still count."""
        found: dict[Digest, Purse] = {}
        for channel, account in self._ledger.accounts.items():
            state = account.state.channel
            if isinstance(state, Receiving | Defending):
                found[channel] = state.purse
        return found

    async def take_back(self, order: WatchOrder) -> None:
        """Take a voucher that a watchtower kept and this node has lost.

        Raises:
            ChannelError, BadSignature: It is refused, and why.
        """
        account = self.find(order.voucher.value.channel)
        await self._desk.take(account, VoucherNotice(voucher=order.voucher, holds=order.holds))

    # ------------------------------------------------------------------------------------------------ the chain

    async def on_fact(self, fact: Fact) -> bool:
        """Take a fact about a channel; a new one that pays this wallet is taken up."""
        event = fact.event
        if not isinstance(event, channel_facts.ChainEvent):
            return False
        if isinstance(event, channel_facts.OpenConfirmed) and fact.subject not in self._ledger.accounts:
            if event.key.payee != self._room.wallet.address or event.key.token != self._room.chain.token:
                return False
            if await self._room.storage.journal.streams(f"{PREFIX}/{fact.subject.hex()}/"):
                return True  # over, and read again
            context = PayeeContext(key=event.key, deposit=event.deposit, rules=self._room.rules)
            self._serve(fact.subject, await self._ledger.open(fact.subject, context))
            return True
        if isinstance(event, channel_facts.OpenConfirmed):
            return True
        return await self._ledger.deliver(fact, event)

    def on_block(self) -> None:
        """Let time pass."""
        self._ledger.beat()

    # ------------------------------------------------------------------------------------------------ inside

    def _serve(self, channel: Digest, account: PayeeAccount) -> None:
        log.info("channel.receiving", channel=channel.hex(), payer=format_address(account.context.key.payer))
        self._room.nursery.start_soon(self._keep, channel, account)

    async def _keep(self, channel: Digest, account: PayeeAccount) -> None:
        await self._room.feed.wait_reached(1)  # what was done before a restart is known then
        clock, name = self._room.clock, f"{PREFIX}/{channel.hex()[:12]}"

        async def perform(effect: PayeeEffect) -> None:
            await self._perform(account, effect)

        await keep(account, outstanding=payee_book.outstanding, perform=perform, clock=clock, name=name)
        self.claims.forget(channel)
        await write_down(lambda: self._ledger.close(channel), clock, name)

    async def _perform(self, account: PayeeAccount, effect: PayeeEffect) -> None:
        chain, feed = self._room.chain, self._room.feed
        match effect:
            case SubmitClaim(key=key, signed=signed) if isinstance(account.state.channel, Receiving):
                await self.claims.submit(account, key, signed)
            case SubmitClaim(key=key, signed=signed):
                await feed.wait_reached(await chain.claim(key, signed))
            case SubmitPresent(key=key, signed=signed):
                await feed.wait_reached(await chain.present(key, signed))
            case SubmitClose(key=key, signed=signed):
                await feed.wait_reached(await chain.close(key, signed))
            case _:
                return  # acknowledgements are the answers to requests
