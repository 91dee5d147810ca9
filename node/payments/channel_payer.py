"""The payer's side of all its channels: the shell around payer_book.py."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final, Literal

import structlog
import trio

from node.payments import payer_book
from node.payments.account import keep, write_down
from node.payments.channel_deposits import ChannelDeposits
from node.payments.channel_doubt import PayerAccount, ask_newest, doubt_what_was_restored, end_doubt, wait_known
from node.payments.channel_view import PayerChannelView, payer_view
from node.payments.errors import ChannelUnknown, NotSeenYet
from node.payments.payer_book import AskRelease, BookEffect, BookEvent, Dismissed, DropHold, PayerBook, PayerContext
from node.payments.ports import Fact
from node.payments.room import Ledger, Room
from node.payments.tracked import Step, Tracked, track
from node.storage.machine_log import Machine
from protocol.channel import chain as channel_facts
from protocol.channel.errors import DepositExceeded, ExitPending, StateInDoubt, WorkOutstanding
from protocol.channel.messages import (
    CLOSE_METHOD,
    RELEASE_METHOD,
    VOUCHER_METHOD,
    CloseProposal,
    ReleaseAnswer,
    ReleaseRequest,
    VoucherHeld,
)
from protocol.channel.objects import channel_id
from protocol.channel.paying import (
    AskNewest,
    AskOpened,
    CloseRequested,
    ExitRequested,
    HoldReleased,
    Open,
    Opening,
    SendClose,
    SendVoucher,
    Settled,
    SubmitExit,
    SubmitOpen,
    SubmitTopUp,
    SubmitWithdraw,
    VoucherAcknowledged,
)
from protocol.errors import ProtocolError
from protocol.identity import Address, Digest, format_address
from protocol.market.objects import Award
from protocol.settlement.deadlines import deadlines_of
from protocol.settlement.rail import ChannelOutlook
from protocol.signing.signed import Signed
from protocol.spending import Spend
from protocol.task.messages import VoucherNotice
from protocol.units import Amount, UnixTime
from protocol.wire.codec import decode, encode

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

PREFIX: Final = "channel-payer"
SEND_AFTER_S: Final = 0.3
"""A voucher travels with the market's own messages; only when that should be done is it sent by itself."""
RESEND_CLOSE_S: Final = 5.0
FIT_ATTEMPTS: Final = 4
"""Top-ups for one award: others may promise away what was added for it."""


class ChannelPayer:
    """Promises, pays, releases, closes."""

    def __init__(self, room: Room) -> None:
        self._room = room
        machine = Machine[PayerContext, Tracked[PayerBook], Step[BookEvent], Any](
            context=PayerContext,
            events=Step[BookEvent],
            begin=lambda context: Tracked(state=payer_book.begin(context)),
            transition=track(payer_book.RULES),
        )
        self._ledger = Ledger(room, PREFIX, machine, payer_book.RULES)
        self.deposits: Final = ChannelDeposits(room, self._ledger, self._serve)

    async def start(self) -> None:
        """Take up what was open."""
        await self._ledger.load()
        await doubt_what_was_restored(self._room, self._ledger.accounts)
        for channel, account in tuple(self._ledger.accounts.items()):
            self._serve(channel, account)

    # ------------------------------------------------------------------------------------------------ the market

    def outlook(self, provider: Address | None, balance: Amount) -> ChannelOutlook:
        """Return what a channel with `provider` could offer, given the wallet's `balance`.

        Before an auction nobody knows who wins: without a provider it is the fullest channel, or a new one.
        """
        if provider is None:
            free = max((account.state.free for account in self.deposits.usable_ones()), default=0)
            reachable = max(free, balance)
        else:
            account = self.deposits.usable(provider)
            free = account.state.free if account else 0
            reachable = free + balance
        return ChannelOutlook(
            free=Amount(free),
            reachable=Amount(reachable),
            leaving=False,  # beside a channel that is being closed, a new one is opened
            challenge=self._room.rules.challenge,
            hold_period=self._room.rules.hold_period,
            seen_at=self._room.feed.time,
        )

    async def fund(self, award: Signed[Award], award_id: Digest) -> VoucherNotice:
        """Promise price and fee to an award; repeating it gives the newest voucher.

        Raises:
            SpendingCapExceeded: Nothing was signed, and the promise is taken back.
            ChannelError: The channel does not promise this award.
        """
        value = award.value
        account = self._of(value)
        promised = payer_book.Promised(
            award=award_id,
            offer=value.offer,
            arbiter=value.arbiter,
            price=value.price,
            dispute_fee=value.dispute_fee,
            reserved_until=deadlines_of(value).latest_resolve_by,
        )
        for _ in range(FIT_ATTEMPTS):
            await wait_known(self._room, account)
            async with account.guard:
                note = account.state.find(award_id)
                try:
                    if note is None or note.spent is not None:
                        await account.apply(promised)
                    return await self._notice(account, task=value.offer)
                except DepositExceeded as error:
                    missing = error.asked - error.free
                except ProtocolError:
                    if note is None and account.state.find(award_id) is not None:
                        # A cap forbids it: the voucher was never signed, so nobody can rely on the hold.
                        await account.apply(HoldReleased(award=award_id))
                    raise
            await self.deposits.add_missing(account, missing)
        raise ExitPending("the channel's deposit is promised away faster than it can be topped up")

    async def pay(self, award: Award, award_id: Digest, due: Amount) -> VoucherNotice | None:
        """Move what is due in all from hold to payment; None if no voucher counts in this channel any more."""
        account = self._ledger.accounts.get(award.channel)
        if account is None:
            log.warning("channel.payment_too_late", channel=award.channel.hex(), due=due)
            return None
        await wait_known(self._room, account)
        async with account.guard:
            payment = payer_book.rest_to_pay(account.state, award_id, due)
            if payment is not None:
                await account.apply(payment)
            if account.state.ledger is None:
                log.warning("channel.payment_too_late", channel=award.channel.hex(), due=due)
                return None
            return await self._notice(account, task=None)

    async def dismiss(self, award: Award, award_id: Digest) -> VoucherNotice | None:
        """Nothing more is paid for an award: take its hold back as soon as the payee or the law lets us."""
        account = self._ledger.accounts.get(award.channel)
        if account is None:
            return None
        async with account.guard:
            note = account.state.find(award_id)
            if note is not None and not note.dismissed:
                await account.apply(Dismissed(award=award_id))
            ledger = account.state.ledger
            if ledger is None or not ledger.sequence or account.state.is_in_doubt:
                return None
            return await self._notice(account, task=None)

    # ------------------------------------------------------------------------------------------------ the user

    async def close(self, channel: Digest, *, force: bool = False) -> Literal["closed", "leaving"]:
        """End a channel: with the payee's consent if it answers in time, else alone.

        Args:
            channel: Its id.
            force: Leave alone at once, although tasks are in flight; what they hold stays reserved.

        Raises:
            WorkOutstanding: Tasks are in flight and `force` is not set.
        """
        account = self.find(channel)
        if not force and not account.state.is_leaving and not account.state.is_in_doubt:
            close_by = UnixTime(self._room.clock.now() + self._room.settings.close_within)
            async with account.guard:
                await account.apply(CloseRequested(close_by=close_by))
            with trio.move_on_after(self._room.settings.close_within):
                await account.wait_until(lambda book: isinstance(book.channel, Settled))
                return "closed"
        async with account.guard:
            if isinstance(account.state.channel, Settled):
                return "closed"
            if isinstance(account.state.channel, Opening):
                raise WorkOutstanding("the channel is still being opened")
            if isinstance(account.state.channel, Open):
                await account.apply(ExitRequested())
        return "leaving"

    def find(self, channel: Digest) -> PayerAccount:
        """Return an open channel.

        Raises:
            ChannelUnknown: There is none of this id that this wallet pays from.
        """
        account = self._ledger.accounts.get(channel)
        if account is None:
            raise ChannelUnknown(f"this wallet pays from no channel {channel.hex()}")
        return account

    def views(self) -> tuple[PayerChannelView, ...]:
        """Return all channels that are not over."""
        return tuple(
            payer_view(channel, account.context.key.payee, account.state)
            for channel, account in self._ledger.accounts.items()
        )

    # ------------------------------------------------------------------------------------------------ the chain

    async def on_fact(self, fact: Fact) -> bool:
        """Take a fact about a channel; one of ours that we do not know is taken up."""
        event = fact.event
        if not isinstance(event, channel_facts.ChainEvent):
            return False
        if isinstance(event, channel_facts.OpenConfirmed):
            if event.key.payer != self._room.wallet.address or event.key.signer != self._room.wallet.address:
                return False
            if event.key.token != self._room.chain.token:
                return False
            account = self._ledger.accounts.get(fact.subject)
            if account is None:
                if not await self._is_known(fact.subject):
                    context = PayerContext(key=event.key, amount=event.deposit, rules=self._room.rules, opened=True)
                    self._serve(fact.subject, await self._ledger.open(fact.subject, context))
                return True
            if not isinstance(account.state.channel, Opening):
                return True  # read again
        return await self._ledger.deliver(fact, event)

    def on_block(self) -> None:
        """Let time pass."""
        self._ledger.beat()

    async def _is_known(self, channel: Digest) -> bool:
        """Whether the channel's opening was seen before. One that was given up was not: the deposit is there now."""
        book = await self._ledger.last_state(channel)
        return book is not None and not isinstance(book.channel, Opening)

    # ------------------------------------------------------------------------------------------------ inside

    def _of(self, award: Award) -> PayerAccount:
        account = self.find(award.channel)
        if account.context.key.payee != award.provider:
            raise ChannelUnknown(f"channel {award.channel.hex()} does not pay {format_address(award.provider)}")
        return account

    async def _notice(self, account: PayerAccount, *, task: Digest | None) -> VoucherNotice:
        """Sign the newest voucher; under the account's guard, so that what is signed is what the caller meant."""
        book, channel = account.state, payer_book.channel_of(account.context)
        voucher = book.voucher(channel)
        if book.is_in_doubt:
            raise StateInDoubt
        if voucher is None or book.ledger is None:
            raise ChannelUnknown(f"channel {channel.hex()} has no voucher that counts")
        signed = await self._room.wallet.sign_voucher(
            voucher,
            payee=account.context.key.payee,
            task=task,
            task_total=book.promised_to(task) if task is not None else Amount(0),
        )
        return VoucherNotice(voucher=signed, holds=book.ledger.holds)

    def _serve(self, channel: Digest, account: PayerAccount) -> None:
        on_chain = SubmitOpen | SubmitTopUp | SubmitExit | SubmitWithdraw
        by_word = SendVoucher | SendClose | DropHold | AskNewest | AskOpened
        for wanted in (on_chain, by_word, AskRelease):
            needs_chain = wanted is on_chain
            self._room.nursery.start_soon(self._keep, channel, account, partial(_only, wanted), needs_chain)

    async def _keep(
        self,
        channel: Digest,
        account: PayerAccount,
        select: Callable[[PayerBook], list[BookEffect]],
        needs_chain: bool,  # noqa: FBT001 - start_soon takes no keywords
    ) -> None:
        """Do one kind of effects; a slow chain must not keep a voucher waiting, nor a stubborn payee."""
        if needs_chain:
            await self._room.feed.wait_reached(1)  # what was done before a restart is known then
        clock, name = self._room.clock, f"{PREFIX}/{channel.hex()[:12]}"
        await keep(account, outstanding=select, perform=partial(self._perform, account), clock=clock, name=name)
        if self._ledger.accounts.get(channel) is account:
            await write_down(lambda: self._ledger.close(channel), clock, name)
            await write_down(lambda: self._room.wallet.close_account(channel), clock, name)

    async def _perform(self, account: PayerAccount, effect: BookEffect) -> None:
        chain, feed = self._room.chain, self._room.feed
        match effect:
            case SubmitOpen(key=key, amount=amount):
                await self.deposits.submit_open(account, key, amount)
            case SubmitTopUp(key=key, amount=amount, target=target):
                order = f"{channel_id(key).hex()} {target}"
                await feed.wait_reached(await chain.top_up(key, amount, order=order))
            case SubmitExit(key=key):
                await feed.wait_reached(await chain.start_exit(key))
            case SubmitWithdraw(key=key):
                await feed.wait_reached(await chain.withdraw(key))
            case SendVoucher():
                await self._send_voucher(account)
            case SendClose(close=close):
                spend = Spend(account=close.channel, total=close.cumulative, peer=account.context.key.payee)
                signed = await self._room.wallet.sign_agreed(close, spend, channel=True)
                body = encode(CloseProposal(close=signed))
                await self._room.peers.call(account.context.key.payee, CLOSE_METHOD, body)
                with trio.move_on_after(RESEND_CLOSE_S):
                    await account.wait_until(lambda book: isinstance(book.channel, Settled))
            case AskNewest() | AskOpened():
                await end_doubt(self._room, account)
            case AskRelease(award=award):
                await self._ask_release(account, award)
            case DropHold(award=award):
                await self._release(account, award)

    async def _send_voucher(self, account: PayerAccount) -> None:
        await self._room.clock.sleep(SEND_AFTER_S)
        async with account.guard:
            book = account.state
            if book.ledger is None:
                return
            notice = await self._notice(account, task=None)
        payee = account.context.key.payee
        answer = decode(VoucherHeld, await self._room.peers.call(payee, VOUCHER_METHOD, encode(notice)))
        ledger = account.state.ledger
        if ledger is not None and ledger.acknowledged < answer.sequence <= ledger.sequence:
            await account.apply(VoucherAcknowledged(sequence=answer.sequence))
        elif answer.sequence > notice.voucher.value.sequence:
            log.warning("channel.payee_knows_more", channel=notice.voucher.value.channel.hex(), held=answer.sequence)
            await ask_newest(self._room, account)
        elif answer.sequence < notice.voucher.value.sequence:
            raise NotSeenYet(f"the payee holds voucher {answer.sequence} only")

    async def _ask_release(self, account: PayerAccount, award: Digest) -> None:
        request = ReleaseRequest(channel=payer_book.channel_of(account.context), award=award)
        body = await self._room.peers.call(account.context.key.payee, RELEASE_METHOD, encode(request))
        if not decode(ReleaseAnswer, body).released:
            raise NotSeenYet("the payee still relies on the hold")
        await self._release(account, award)

    async def _release(self, account: PayerAccount, award: Digest) -> None:
        async with account.guard:
            note = account.state.find(award)
            if note is not None and note.spent is None and account.state.ledger is not None:
                await account.apply(HoldReleased(award=award))


def _only(kinds: Any, book: PayerBook) -> list[BookEffect]:
    return [effect for effect in payer_book.outstanding(book) if isinstance(effect, kinds)]
