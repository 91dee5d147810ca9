"""A payer that may have forgotten what it signed finds out and goes on from there (docs/spec/channel.md, section 7)."""

from collections.abc import Mapping
from typing import Final, TypeAlias

import structlog

from node.payments.account import Account
from node.payments.errors import NotSeenYet, OpenFailed
from node.payments.payer_book import BookEvent, PayerBook, PayerContext
from node.payments.room import Room
from node.storage.restoration import latest_restoration
from protocol.channel.catching_up import verify_shown
from protocol.channel.messages import NEWEST_METHOD, VOUCHER_MAX_BYTES, NewestAnswer, NewestRequest
from protocol.channel.objects import ChannelKey, channel_id
from protocol.channel.paying import Doubted, NewestShown, Opening
from protocol.identity import Digest
from protocol.units import format_amount
from protocol.wire.codec import decode, encode

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

CURSOR: Final = "payments.restoration"

PayerAccount: TypeAlias = Account[PayerContext, PayerBook, BookEvent]


async def doubt_what_was_restored(room: Room, accounts: Mapping[Digest, PayerAccount]) -> None:
    """After a restore, doubt every channel that the backup knew: more may have been signed in it.

    The cursor is set last, so a crash in between only repeats this before anything is signed.
    """
    restoration = await latest_restoration(room.storage.journal)
    if restoration is None:
        return
    mark = str(restoration.seq).encode()
    if await room.storage.cursors.get(CURSOR) == mark:
        return
    for channel, account in accounts.items():
        log.warning("channel.in_doubt", channel=channel.hex(), backup_of=restoration.restored.made_at)
        await account.apply(Doubted())
    await room.storage.cursors.set(CURSOR, mark)


async def wait_known(room: Room, account: PayerAccount) -> None:
    """Wait until the channel is not in doubt, for as long as a confirmation may take.

    Raises:
        NotConfirmedInTime: The payee has not shown its newest voucher.
    """
    if account.state.is_in_doubt:
        async with room.confirming("what was signed in the channel before"):
            await account.wait_until(lambda book: not book.is_in_doubt)


async def end_doubt(room: Room, account: PayerAccount) -> None:
    """Try to find out what was signed, once the chain is known up to now.

    Raises:
        TransientError: The chain or the payee can't be reached.
        ProtocolError: What the payee shows is no evidence.
    """
    if isinstance(account.state.channel, Opening):
        await _ask_opened(room, account, account.context.key)
        return
    await room.feed.wait_reached(await room.chain.confirmed_block())
    await ask_newest(room, account)


async def ask_newest(room: Room, account: PayerAccount) -> None:
    """Ask the payee for the newest voucher that it holds, and go on from there if it is later than ours.

    Raises:
        NotSeenYet: The payee shows nothing that we have forgotten, although it says that it holds more.
        EvidenceTooOld, BadSignature, HoldsMismatch, WrongChannel: What it shows is no evidence.
    """
    key = account.context.key
    channel = channel_id(key)
    body = await room.peers.call(key.payee, NEWEST_METHOD, encode(NewestRequest(channel=channel)))
    answer = decode(NewestAnswer, body, max_bytes=VOUCHER_MAX_BYTES)
    verify_shown(room.channel_domain, key, answer)
    voucher = answer.voucher.value if answer.voucher is not None else None
    async with account.guard:
        before = account.state
        if before.ledger is None:
            return
        if not before.is_in_doubt:  # only our own signature puts us in doubt: a payee's word could do it for ever
            if voucher is None or voucher.sequence <= before.ledger.sequence:
                raise NotSeenYet("the payee shows no voucher that is newer than ours")
            await account.apply(Doubted())
        await account.apply(NewestShown(voucher=voucher, holds=answer.holds, now=room.clock.now()))
    log.warning(
        "channel.caught_up",
        channel=channel.hex(),
        ours=before.ledger.sequence,
        shown=voucher.sequence if voucher is not None else 0,
        paid=format_amount(voucher.cumulative if voucher is not None else before.ledger.cumulative),
    )


async def _ask_opened(room: Room, account: PayerAccount, key: ChannelKey) -> None:
    """Find out whether an opening that we may have forgotten about took place; its confirmation ends this too."""
    used = await room.chain.next_counter(key.payer) > key.counter
    await room.feed.wait_reached(await room.chain.confirmed_block())
    if not isinstance(account.state.channel, Opening) or not account.state.is_in_doubt:
        return
    if not used:
        await account.apply(NewestShown(voucher=None, holds=(), now=room.clock.now()))
        return
    log.warning("channel.not_opened", channel=channel_id(key).hex(), reason="its number went to another channel")
    await account.give_up(OpenFailed("the node was restored, and the number of the channel went to another one"))
