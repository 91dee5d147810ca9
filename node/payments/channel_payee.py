"""The payee's side of all channels that pay this wallet: the shell around payee_book.py."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog
import trio

from node.payments import payee_book
from node.payments.account import Account, keep, write_down
from node.payments.claiming import ClaimDesk
from node.payments.errors import BadTerms, ChannelUnknown, NotFunded, NotPaid, NotSeenYet
from node.payments.payee_book import BookEvent, PayeeBook, PayeeContext, Renounced
from node.payments.ports import Fact
from node.payments.room import Ledger, Room
from node.payments.tracked import Step, Tracked, track
from node.storage.machine_log import Machine
from protocol.channel import chain as channel_facts
from protocol.channel.errors import HoldMissing, Overdrawn, StaleView, StaleVoucher, WorkOutstanding
from protocol.channel.holds import find_hold
from protocol.channel.messages import (
    CLOSE_METHOD,
    NEWEST_METHOD,
    RELEASE_METHOD,
    SMALL_MAX_BYTES,
    VOUCHER_MAX_BYTES,
    VOUCHER_METHOD,
    CloseProposal,
    NewestAnswer,
    NewestRequest,
    ReleaseAnswer,
    ReleaseRequest,
    VoucherHeld,
)
from protocol.channel.objects import ChannelKey, Voucher, channel_id
from protocol.channel.receiving import (
    AwardFinished,
    AwardTaken,
    AwardWrittenOff,
    ClaimRequested,
    CloseProposed,
    Defending,
    PayeeEffect,
    Purse,
    ReceiptSigned,
    Receiving,
    SubmitClaim,
    SubmitClose,
    SubmitPresent,
    VoucherReceived,
)
from protocol.channel.watch import WatchOrder
from protocol.errors import StoaError
from protocol.identity import ZERO_ADDRESS, Address, Digest, PeerId, format_address
from protocol.market.objects import Award
from protocol.settlement.claiming import compute_hazard
from protocol.settlement.deadlines import deadlines_of
from protocol.signing.signed import Signed
from protocol.task.messages import VoucherNotice
from protocol.task.objects import Acceptance, Receipt
from protocol.units import Amount, UnixTime, format_amount
from protocol.wire.codec import decode, encode

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

PREFIX: Final = "channel-payee"
SEE_WITHIN_S: Final = 2.0
"""How long a message about something that is not confirmed here yet waits for it; the sender tries again after that."""

PayeeAccount = Account[PayeeContext, PayeeBook, BookEvent]


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
        self._hurried: set[Digest] = set()
        """Channels whose user wants the claim now. A restart forgets it: then it waits for the rest of its patience."""
        self.desk: Final = ClaimDesk(
            room.chain,
            room.clock,
            patience=room.settings.claim_patience,
            hazard=compute_hazard(room.rules.challenge, room.settings.habits),
            payable=self._payable,
            request=self._request_claim,
        )

    async def start(self) -> None:
        """Take up what was open, and answer payers."""
        await self._ledger.load()
        for channel, account in tuple(self._ledger.accounts.items()):
            self._serve(channel, account)
        peers = self._room.peers
        peers.serve(VOUCHER_METHOD, self._on_voucher, max_request=VOUCHER_MAX_BYTES)
        peers.serve(RELEASE_METHOD, self._on_release, max_request=SMALL_MAX_BYTES)
        peers.serve(NEWEST_METHOD, self._on_newest, max_request=SMALL_MAX_BYTES)
        peers.serve(CLOSE_METHOD, self._on_close, max_request=SMALL_MAX_BYTES)

    # ------------------------------------------------------------------------------------------------ the market

    async def receive_funding(self, award: Award, award_id: Digest, notice: VoucherNotice) -> None:
        """Take the voucher that holds an award's money.

        Raises:
            ChannelError, BadSignature: The voucher is refused, and why.
            NotFunded: It is a good voucher that holds something else.
            NotSeenYet: The channel or its deposit is not confirmed here yet.
        """
        account = await self._seen(award)
        if notice.voucher.value.channel != award.channel:
            raise NotFunded("the voucher is of another channel than the award")
        await self._take_voucher(account, notice)
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
            _check_parties(account, award)
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
            await self._take_voucher(account, notice)
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

    # ------------------------------------------------------------------------------------------------ the user

    async def claim(self, channel: Digest) -> None:
        """Bring on chain what was paid by voucher; returns once that is noted durably."""
        account = self.find(channel)
        self._hurry(channel)
        await account.apply(ClaimRequested())

    async def claim_all(self) -> None:
        """Bring everything on chain that was paid by voucher and not claimed."""
        for channel, account in tuple(self._ledger.accounts.items()):
            purse = account.state.purse
            if purse is not None and isinstance(account.state.channel, Receiving) and purse.cumulative > purse.claimed:
                self._hurry(channel)
                await account.apply(ClaimRequested())

    async def claim_unpaid(self, channel: Digest) -> None:
        """Bring on chain at once what a channel's newest voucher pays and was not claimed, if that is anything."""
        account = self.find(channel)
        purse = account.state.purse
        if purse is not None and min(purse.cumulative, purse.deposit) > max(purse.claimed, purse.claim_to):
            await self.claim(channel)

    async def wait_claimed(self) -> None:
        """Return once nothing that can be claimed is unclaimed."""
        for account in tuple(self._ledger.accounts.values()):
            await account.wait_until(lambda book: not payee_book.outstanding(book))

    def find(self, channel: Digest) -> PayeeAccount:
        """Return an open channel.

        Raises:
            ChannelUnknown: There is none of this id that pays this wallet.
        """
        account = self._ledger.accounts.get(channel)
        if account is None:
            raise ChannelUnknown(f"channel {channel.hex()} does not pay this wallet, or is closed")
        return account

    async def book_of(self, channel: Digest) -> PayeeBook | None:
        """Return where a channel stands or ended; None if it never paid this wallet."""
        account = self._ledger.accounts.get(channel)
        return account.state if account is not None else await self._ledger.last_state(channel)

    def views(self) -> tuple[PayeeChannelView, ...]:
        """Return all channels that are not over."""
        return tuple(_view(channel, account) for channel, account in self._ledger.accounts.items())

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
        await self._take_voucher(account, VoucherNotice(voucher=order.voucher, holds=order.holds))

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

    # ------------------------------------------------------------------------------------------------ the payers

    async def _on_voucher(self, _peer: PeerId, body: bytes) -> bytes:
        """Take a voucher, whoever brings it, and say which one is held."""
        notice = decode(VoucherNotice, body, max_bytes=VOUCHER_MAX_BYTES)
        account = self.find(notice.voucher.value.channel)
        await self._take_voucher(account, notice)
        purse = account.state.purse
        return encode(VoucherHeld(sequence=purse.sequence if purse else 0))

    async def _on_release(self, peer: PeerId, body: bytes) -> bytes:
        """Say whether we let go of a hold; only its payer gets a yes that binds us."""
        request = decode(ReleaseRequest, body, max_bytes=SMALL_MAX_BYTES)
        account = self.find(request.channel)
        if self._room.peers.wallet_of(peer) != account.context.key.payer:
            raise ChannelUnknown("only the payer of a channel asks for its holds")
        try:
            if request.award not in account.state.renounced:
                await account.apply(Renounced(award=request.award))
        except WorkOutstanding:
            return encode(ReleaseAnswer(released=False))
        return encode(ReleaseAnswer(released=True))

    async def _on_newest(self, peer: PeerId, body: bytes) -> bytes:
        """Show a payer that has forgotten what it signed the newest voucher that we hold: it goes on from there."""
        request = decode(NewestRequest, body, max_bytes=SMALL_MAX_BYTES)
        account = self.find(request.channel)
        if self._room.peers.wallet_of(peer) != account.context.key.payer:
            raise ChannelUnknown("only the payer of a channel asks for its vouchers")
        purse = account.state.purse
        if purse is None:
            raise ChannelUnknown("no voucher of this channel counts any more")
        log.info("channel.payer_forgot", channel=request.channel.hex(), sequence=purse.sequence)
        return encode(NewestAnswer(voucher=purse.best, holds=purse.holds))

    async def _on_close(self, _peer: PeerId, body: bytes) -> bytes:
        """Take a proposed close; submitting it is then our duty."""
        proposal = decode(CloseProposal, body, max_bytes=SMALL_MAX_BYTES)
        account = self.find(proposal.close.value.channel)
        state = account.state.channel
        if not (isinstance(state, Receiving) and state.close == proposal.close):
            await account.apply(CloseProposed(signed=proposal.close, now=self._room.clock.now()))
        return b""

    # ------------------------------------------------------------------------------------------------ inside

    async def _seen(self, award: Award) -> PayeeAccount:
        """Return the award's channel, after waiting a moment for its confirmation to reach us too."""
        with trio.move_on_after(SEE_WITHIN_S):
            while award.channel not in self._ledger.accounts:
                await self._room.feed.pulse.next_beat().wait()
        account = self._ledger.accounts.get(award.channel)
        if account is None:
            raise NotSeenYet(f"channel {award.channel.hex()} is not confirmed here, or does not pay this wallet")
        _check_parties(account, award)
        return account

    async def _take_voucher(self, account: PayeeAccount, notice: VoucherNotice) -> None:
        """Take a voucher; one that we hold already, or an older one that a link brought late, changes nothing.

        Raises:
            ChannelError, BadSignature: It is refused, and why.
            NotSeenYet: Its deposit may be confirmed for the payer and not for us yet.
        """
        purse = account.state.purse
        if purse is None:
            raise ChannelUnknown(f"channel {notice.voucher.value.channel.hex()} is closed")
        if purse.best is not None and purse.best.value == notice.voucher.value:
            return
        received = VoucherReceived(signed=notice.voucher, holds=notice.holds)
        try:
            await account.apply(received)
        except StaleVoucher:
            return
        except Overdrawn as error:
            promised = error.promised
        else:
            return
        with trio.move_on_after(SEE_WITHIN_S):
            await account.wait_until(lambda book: book.purse is None or book.purse.deposit >= promised)
        with contextlib.suppress(StaleVoucher):
            await account.apply(received)

    def _hurry(self, channel: Digest) -> None:
        self._hurried.add(channel)
        self.desk.hurry(channel)

    def _payable(self) -> dict[Digest, Amount]:
        """Return what each channel could claim of which no claim was asked for."""
        payable: dict[Digest, Amount] = {}
        for channel, account in self._ledger.accounts.items():
            purse = account.state.purse
            if purse is None or not _needs_only_a_claim(account.state) or payee_book.outstanding(account.state):
                continue
            payable[channel] = Amount(min(purse.cumulative, purse.deposit) - purse.claimed)
        return payable

    async def _request_claim(self, channel: Digest) -> None:
        await self.find(channel).apply(ClaimRequested())

    async def _claim_with_others(self, account: PayeeAccount, key: ChannelKey, signed: Signed[Voucher]) -> None:
        """Claim the newest voucher together with other channels' claims, unless something more urgent comes up."""
        channel = channel_id(key)

        def newest() -> Signed[Voucher]:
            purse = account.state.purse
            return purse.best if purse is not None and purse.best is not None else signed

        failure: StoaError | None = None
        async with trio.open_nursery() as nursery:

            async def claim() -> None:
                nonlocal failure
                try:
                    since, hurried = account.state.wanted_at, channel in self._hurried
                    block = await self.desk.claim(key, newest, since=since, hurried=hurried)
                    await self._room.feed.wait_reached(block)
                except StoaError as error:
                    failure = error
                else:
                    self._hurried.discard(channel)
                nursery.cancel_scope.cancel()

            nursery.start_soon(claim)
            await account.wait_until(lambda book: not _needs_only_a_claim(book))
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    def _serve(self, channel: Digest, account: PayeeAccount) -> None:
        log.info("channel.receiving", channel=channel.hex(), payer=format_address(account.context.key.payer))
        self._room.nursery.start_soon(self._keep, channel, account)

    async def _keep(self, channel: Digest, account: PayeeAccount) -> None:
        await self._room.feed.wait_reached(1)  # what was done before a restart is known then
        clock, name = self._room.clock, f"{PREFIX}/{channel.hex()[:12]}"

        async def perform(effect: PayeeEffect) -> None:
            await self._perform(account, effect)

        await keep(account, outstanding=payee_book.outstanding, perform=perform, clock=clock, name=name)
        self._hurried.discard(channel)
        await write_down(lambda: self._ledger.close(channel), clock, name)

    async def _perform(self, account: PayeeAccount, effect: PayeeEffect) -> None:
        chain, feed = self._room.chain, self._room.feed
        match effect:
            case SubmitClaim(key=key, signed=signed) if isinstance(account.state.channel, Receiving):
                await self._claim_with_others(account, key, signed)
            case SubmitClaim(key=key, signed=signed):
                await feed.wait_reached(await chain.claim(key, signed))
            case SubmitPresent(key=key, signed=signed):
                await feed.wait_reached(await chain.present(key, signed))
            case SubmitClose(key=key, signed=signed):
                await feed.wait_reached(await chain.close(key, signed))
            case _:
                return  # acknowledgements are the answers to requests


def _needs_only_a_claim(book: PayeeBook) -> bool:
    """Tell whether nothing is outstanding that must not wait behind a claim, as an exit that is to be answered."""
    return isinstance(book.channel, Receiving) and not any(
        not isinstance(effect, SubmitClaim) for effect in payee_book.outstanding(book)
    )


def _check_parties(account: PayeeAccount, award: Award) -> None:
    key = account.context.key
    if key.payer != award.requester or key.payee != award.provider or key.token != award.token:
        raise BadTerms(
            f"channel {award.channel.hex()} is not between {format_address(award.requester)} and this provider"
        )


def _answer_by(book: PayeeBook) -> UnixTime:
    """Return the last second in which what this side has to show counts against the payer's exit."""
    if isinstance(book.channel, Defending) and payee_book.outstanding(book):
        return book.channel.exits_at
    return UnixTime(0)


def _view(channel: Digest, account: PayeeAccount) -> PayeeChannelView:
    book = account.state
    purse, phase = book.purse, type(book.channel).__name__.lower()
    if isinstance(book.channel, Receiving) and book.channel.close is not None:
        phase = "closing"
    engagements = purse.engagements if purse else ()
    unpaid = sum(each.unpaid for each in engagements if book.find_enforced(each.award) is None)
    return PayeeChannelView(
        channel=channel,
        payer=account.context.key.payer,
        phase=phase,
        deposit=purse.deposit if purse else Amount(0),
        earned=Amount(purse.cumulative if purse else 0),
        held=Amount(purse.held if purse else 0),
        claimed=purse.claimed if purse else Amount(0),
        unpaid=Amount(unpaid),
        answer_by=_answer_by(book),
        leaves_at=book.channel.exits_at if isinstance(book.channel, Defending) else None,
    )
