"""Where payers come: their vouchers are taken, and what they ask is answered."""

import contextlib
from collections.abc import Mapping
from typing import Final

import structlog
import trio

from node.payments.account import Account
from node.payments.errors import BadTerms, ChannelUnknown, NotSeenYet
from node.payments.payee_book import BookEvent, PayeeBook, PayeeContext, Renounced
from node.payments.room import Room
from protocol.channel.errors import Overdrawn, StaleVoucher, WorkOutstanding
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
from protocol.channel.receiving import CloseProposed, Receiving, VoucherReceived
from protocol.identity import Digest, PeerId, format_address
from protocol.market.objects import Award
from protocol.task.messages import VoucherNotice
from protocol.wire.codec import decode, encode

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

SEE_WITHIN_S: Final = 2.0
"""How long a message about something that is not confirmed here yet waits for it; the sender tries again after that."""

PayeeAccount = Account[PayeeContext, PayeeBook, BookEvent]


class PayeeDesk:
    """Answers the payers of all channels that pay this wallet."""

    def __init__(self, room: Room, accounts: Mapping[Digest, PayeeAccount]) -> None:
        self._room, self._accounts = room, accounts

    def start(self) -> None:
        """Begin to answer."""
        peers = self._room.peers
        peers.serve(VOUCHER_METHOD, self._on_voucher, max_request=VOUCHER_MAX_BYTES)
        peers.serve(RELEASE_METHOD, self._on_release, max_request=SMALL_MAX_BYTES)
        peers.serve(NEWEST_METHOD, self._on_newest, max_request=SMALL_MAX_BYTES)
        peers.serve(CLOSE_METHOD, self._on_close, max_request=SMALL_MAX_BYTES)

    async def wait_seen(self, award: Award) -> PayeeAccount:
        """Return the award's channel, after waiting a moment for its confirmation to reach us too.

        Raises:
            NotSeenYet: It did not, or the channel pays somebody else.
            BadTerms: The channel is not between the award's parties.
        """
        with trio.move_on_after(SEE_WITHIN_S):
            while award.channel not in self._accounts:
                await self._room.feed.pulse.next_beat().wait()
        account = self._accounts.get(award.channel)
        if account is None:
            raise NotSeenYet(f"channel {award.channel.hex()} is not confirmed here, or does not pay this wallet")
        check_parties(account, award)
        return account

    async def take(self, account: PayeeAccount, notice: VoucherNotice) -> None:
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

    async def _on_voucher(self, _peer: PeerId, body: bytes) -> bytes:
        """Take a voucher, whoever brings it, and say which one is held."""
        notice = decode(VoucherNotice, body, max_bytes=VOUCHER_MAX_BYTES)
        account = find_account(self._accounts, notice.voucher.value.channel)
        await self.take(account, notice)
        purse = account.state.purse
        return encode(VoucherHeld(sequence=purse.sequence if purse else 0))

    async def _on_release(self, peer: PeerId, body: bytes) -> bytes:
        """Say whether we let go of a hold; only its payer gets a yes that binds us."""
        request = decode(ReleaseRequest, body, max_bytes=SMALL_MAX_BYTES)
        account = find_account(self._accounts, request.channel)
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
        account = find_account(self._accounts, request.channel)
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
        account = find_account(self._accounts, proposal.close.value.channel)
        state = account.state.channel
        if not (isinstance(state, Receiving) and state.close == proposal.close):
            await account.apply(CloseProposed(signed=proposal.close, now=self._room.clock.now()))
        return b""


def find_account(accounts: Mapping[Digest, PayeeAccount], channel: Digest) -> PayeeAccount:
    """Return an open channel.

    Raises:
        ChannelUnknown: There is none of this id that pays this wallet.
    """
    account = accounts.get(channel)
    if account is None:
        raise ChannelUnknown(f"channel {channel.hex()} does not pay this wallet, or is closed")
    return account


def check_parties(account: PayeeAccount, award: Award) -> None:
    """Check that an award is between the parties of its channel, in its token.

    Raises:
        BadTerms: It isn't.
    """
    key = account.context.key
    if key.payer != award.requester or key.payee != award.provider or key.token != award.token:
        raise BadTerms(
            f"channel {award.channel.hex()} is not between {format_address(award.requester)} and this provider"
        )
