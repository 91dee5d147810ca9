"""When and how the channels that pay this wallet are claimed: on the user's word or when it is due, many at once."""

from collections.abc import Mapping
from typing import Final

import trio

from node.payments import payee_book
from node.payments.claiming import ClaimDesk
from node.payments.payee_book import PayeeBook
from node.payments.payee_desk import PayeeAccount, find_account
from node.payments.room import Room
from protocol.channel.objects import ChannelKey, Voucher, channel_id
from protocol.channel.receiving import ClaimRequested, Receiving, SubmitClaim
from protocol.errors import StoaError
from protocol.identity import Digest
from protocol.settlement.claiming import compute_hazard
from protocol.signing.signed import Signed
from protocol.units import Amount


class ChannelClaims:
    """The channels' side of the claim desk."""

    def __init__(self, room: Room, accounts: Mapping[Digest, PayeeAccount]) -> None:
        self._room, self._accounts = room, accounts
        self._hurried: set[Digest] = set()
        """Channels whose user wants the claim now. A restart forgets it: then it waits for the rest of its patience."""
        self.desk: Final = ClaimDesk(
            room.chain,
            room.clock,
            patience=room.settings.claim_patience,
            hazard=compute_hazard(room.rules.challenge, room.settings.habits),
            payable=self._payable,
            request=self._request,
        )

    async def ask(self, channel: Digest) -> None:
        """Have claimed what was paid by voucher, now; returns once that is noted durably.

        Raises:
            ChannelUnknown: No open channel of this id pays this wallet.
        """
        account = find_account(self._accounts, channel)
        self._hurry(channel)
        await account.apply(ClaimRequested())

    async def ask_all(self) -> None:
        """Bring everything on chain that was paid by voucher and not claimed."""
        for channel, account in tuple(self._accounts.items()):
            purse = account.state.purse
            if purse is not None and isinstance(account.state.channel, Receiving) and purse.cumulative > purse.claimed:
                self._hurry(channel)
                await account.apply(ClaimRequested())

    async def ask_unpaid(self, channel: Digest) -> None:
        """Bring on chain at once what a channel's newest voucher pays and was not claimed, if that is anything."""
        account = find_account(self._accounts, channel)
        purse = account.state.purse
        if purse is not None and min(purse.cumulative, purse.deposit) > max(purse.claimed, purse.claim_to):
            await self.ask(channel)

    async def wait_done(self) -> None:
        """Return once nothing that can be claimed is unclaimed."""
        for account in tuple(self._accounts.values()):
            await account.wait_until(lambda book: not payee_book.outstanding(book))

    async def submit(self, account: PayeeAccount, key: ChannelKey, signed: Signed[Voucher]) -> None:
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

    def forget(self, channel: Digest) -> None:
        """A channel is over."""
        self._hurried.discard(channel)

    def _hurry(self, channel: Digest) -> None:
        self._hurried.add(channel)
        self.desk.hurry(channel)

    def _payable(self) -> dict[Digest, Amount]:
        """Return what each channel could claim of which no claim was asked for."""
        payable: dict[Digest, Amount] = {}
        for channel, account in self._accounts.items():
            purse = account.state.purse
            if purse is None or not _needs_only_a_claim(account.state) or payee_book.outstanding(account.state):
                continue
            payable[channel] = Amount(min(purse.cumulative, purse.deposit) - purse.claimed)
        return payable

    async def _request(self, channel: Digest) -> None:
        await find_account(self._accounts, channel).apply(ClaimRequested())


def _needs_only_a_claim(book: PayeeBook) -> bool:
    """Tell whether nothing is outstanding that must not wait behind a claim, as an exit that is to be answered."""
    return isinstance(book.channel, Receiving) and not any(
        not isinstance(effect, SubmitClaim) for effect in payee_book.outstanding(book)
    )
