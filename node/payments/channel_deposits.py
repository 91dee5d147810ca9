"""What a payer puts into its channels: it opens them, and tops them up when an award needs more than is free."""

from collections.abc import Callable

import structlog
import trio

from node.payments import payer_book
from node.payments.channel_doubt import PayerAccount
from node.payments.errors import InsufficientTokens, OpenFailed
from node.payments.payer_book import BookEvent, PayerBook, PayerContext
from node.payments.room import Ledger, Room
from protocol.channel.objects import ChannelKey, channel_id
from protocol.channel.paying import Open, Opening, TopUpRequested
from protocol.errors import ChainRejected, ProtocolError
from protocol.identity import Address, Digest, format_address
from protocol.units import Amount, format_amount

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)


class ChannelDeposits:
    """Confirmed deposits, by provider."""

    def __init__(
        self,
        room: Room,
        ledger: "Ledger[PayerContext, PayerBook, BookEvent]",
        serve: Callable[[Digest, PayerAccount], None],
    ) -> None:
        """Prepare.

        Args:
            room: What all payments work with.
            ledger: The channels that are open; new ones are added.
            serve: Starts to work for a new one.
        """
        self._room, self._ledger, self._serve = room, ledger, serve
        self._locks: dict[Address, trio.Lock] = {}
        self._opening = trio.Lock()  # the contract counts a payer's channels, so openings go one after the other

    def usable(self, provider: Address) -> PayerAccount | None:
        """Return the channel with `provider` that has most free, if any can promise something."""
        of_provider = (each for each in self.usable_ones() if each.context.key.payee == provider)
        return max(of_provider, key=lambda account: account.state.free, default=None)

    def usable_ones(self) -> list[PayerAccount]:
        """Return the channels that can promise something, or soon can."""
        return [
            each
            for each in self._ledger.accounts.values()
            if not (each.is_over or each.state.is_leaving or each.state.is_in_doubt)
        ]

    async def ensure(self, provider: Address, needed: Amount) -> Digest:
        """Return a channel that has `needed` free, opened or topped up and confirmed.

        Raises:
            InsufficientTokens, OutOfGas, OpenFailed: This wallet's own trouble.
            TransientError: The chain can't be reached, or takes too long.
        """
        async with self._locks.setdefault(provider, trio.Lock()):
            account = self.usable(provider) or await self._open(provider, needed)
            async with self._room.confirming("the opening of the channel"):
                await account.wait_until(lambda book: not isinstance(book.channel, Opening))
            missing = needed - account.state.free
            if missing > 0:
                await self._top_up(account, missing)
        return payer_book.channel_of(account.context)

    async def open(self, provider: Address, amount: Amount) -> Digest:
        """Open another channel with exactly this deposit, whatever there is already."""
        async with self._locks.setdefault(provider, trio.Lock()):
            account = await self._begin(provider, amount)
            async with self._room.confirming("the opening of the channel"):
                await account.wait_until(lambda book: not isinstance(book.channel, Opening))
        return payer_book.channel_of(account.context)

    async def top_up(self, account: PayerAccount, amount: Amount) -> None:
        """Add exactly `amount` to a channel and wait until that is confirmed."""
        await self._require(amount)
        async with self._locks.setdefault(account.context.key.payee, trio.Lock()):
            await self._add(account, amount)

    async def add_missing(self, account: PayerAccount, missing: int) -> None:
        """Top a channel up by what an award lacks, or wait for the top-up under way: the caller looks again.

        Raises:
            InsufficientTokens, OutOfGas: This wallet's own trouble.
            TransientError: The chain can't be reached, or takes too long.
        """
        async with self._locks.setdefault(account.context.key.payee, trio.Lock()):
            await self._top_up(account, missing)

    async def submit_open(self, account: PayerAccount, key: ChannelKey, amount: Amount) -> None:
        """Send the opening, and give the channel up if it can't be.

        Raises:
            TransientError: The chain can't be reached, or takes too long.
        """
        channel = channel_id(key)
        try:
            actual = await self._room.chain.open_channel(key, amount, order=self._ledger.name_of(channel))
        except (ChainRejected, ProtocolError) as error:
            failure = OpenFailed(f"the channel could not be opened: {error}", advice=error.advice)
        else:
            if actual == key:
                await account.wait_until(lambda book: not isinstance(book.channel, Opening))
                return
            # Something else opens channels with this wallet's key. It is ours all the same: see `ChannelPayer.on_fact`.
            if not isinstance(account.state.channel, Opening):
                return  # so is the one that got our number
            failure = OpenFailed("another program uses this wallet: the channel got another number than expected")
        log.warning("channel.not_opened", channel=channel.hex(), reason=str(failure))
        await account.give_up(failure)

    async def _require(self, amount: Amount) -> Amount:
        """Check that the wallet has the tokens, and the gas to send them; return its balance."""
        await self._room.chain.require_gas()
        balance = await self._room.chain.token_balance(self._room.wallet.address)
        if balance < amount:
            raise InsufficientTokens(needed=amount, balance=balance)
        return balance

    async def _open(self, provider: Address, needed: Amount) -> PayerAccount:
        balance = await self._require(needed)
        return await self._begin(provider, Amount(max(needed, min(self._room.settings.channel_deposit, balance))))

    async def _begin(self, provider: Address, amount: Amount) -> PayerAccount:
        await self._require(amount)
        async with self._opening:
            for account in tuple(self._ledger.accounts.values()):
                if isinstance(account.state.channel, Opening):  # its counter is not on chain yet
                    async with self._room.confirming("the opening of another channel"):
                        await account.wait_until(lambda book: not isinstance(book.channel, Opening))
            wallet = self._room.wallet.address
            key = ChannelKey(
                payer=wallet,
                signer=wallet,
                payee=provider,
                token=self._room.chain.token,
                counter=await self._room.chain.next_counter(wallet),
            )
            channel = channel_id(key)
            account = await self._ledger.open(channel, PayerContext(key=key, amount=amount, rules=self._room.rules))
            log.info("channel.opening", payee=format_address(provider), deposit=format_amount(amount))
            self._serve(channel, account)
            return account

    async def _top_up(self, account: PayerAccount, missing: int) -> None:
        """Add what is missing, rounded up to the usual deposit if the wallet has it. Under the payee's lock."""
        if isinstance(account.state.channel, Open) and account.state.channel.top_up_to is not None:
            await self._await_top_up(account)
            return  # the caller looks again
        balance = await self._require(Amount(missing))
        await self._add(account, Amount(max(missing, min(self._room.settings.channel_deposit, balance))))

    async def _add(self, account: PayerAccount, amount: Amount) -> None:
        async with account.guard:
            await account.apply(TopUpRequested(amount=amount))
        await self._await_top_up(account)

    async def _await_top_up(self, account: PayerAccount) -> None:
        async with self._room.confirming("the top-up"):
            await account.wait_until(lambda book: not isinstance(book.channel, Open) or book.channel.top_up_to is None)
