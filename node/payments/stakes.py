"""Stakes in one hand: what the wallet has in the contract, and what stands behind its awards on either side."""

from collections import OrderedDict
from typing import Final

import trio

from node.payments.freeing import FreeDesk
from node.payments.room import Room
from node.payments.stake_ports import Punished, StakeChain, StakeFigures
from node.payments.stake_provider import ProviderStakes
from node.payments.stake_requester import RequesterStakes
from node.payments.stake_view import StakeView
from protocol.identity import Address
from protocol.market.evidence import Conflict
from protocol.market.objects import Offer
from protocol.units import Amount, Seconds

OWNERS_KEPT: Final = 1_024
"""Free stakes that are remembered within one block: whoever floods us with offers must not make us ask the chain."""


class Stakes:
    """The open stakes: `provider` and `requester` are the two sides, `desk` frees for both and must run."""

    def __init__(self, room: Room, chain: StakeChain) -> None:
        self._room, self._chain = room, chain
        self.desk: Final = FreeDesk(chain, room.clock)
        self.provider: Final = ProviderStakes(room, chain, self.desk)
        self.requester: Final = RequesterStakes(room, chain, self.desk)
        self._known: OrderedDict[Address, tuple[int, Amount]] = OrderedDict()
        self._asking = trio.CapacityLimiter(8)

    async def free_of(self, owner: Address) -> Amount:
        """Return the owner's confirmed stake that is neither locked nor leaving, as of the newest block seen.

        Raises:
            TransientError: The chain can't be reached.
        """
        block = self._room.feed.number
        known = self._known.get(owner)
        if known is not None and known[0] == block:
            return known[1]
        async with self._asking:
            free = await self._chain.free_of(owner)
        self._known[owner] = block, free
        self._known.move_to_end(owner)
        if len(self._known) > OWNERS_KEPT:
            self._known.popitem(last=False)
        return free

    def promised(self) -> Amount:
        """Return what awards that were taken will still lock out of the free stake."""
        return self.provider.unlocked()

    async def figures(self) -> StakeFigures:
        """Return what this wallet has at stake, confirmed."""
        return await self._chain.figures(self._room.wallet.address)

    async def cooldown(self) -> Seconds:
        """Return the time from asking for stake to taking it."""
        return await self._chain.cooldown()

    def views(self) -> tuple[StakeView, ...]:
        """Return the awards that stake stands behind, on either side."""
        return (*self.provider.views(), *self.requester.views())

    async def add(self, amount: Amount) -> None:
        """Add to this wallet's stake; returns once that is confirmed.

        Raises:
            ChainRejected, ProtocolError, TransientError: It was refused, or takes too long.
        """
        order = f"{self._room.clock.now()}/{amount}"
        async with self._room.confirming("the stake"):
            await self._room.feed.wait_reached(await self._chain.add(amount, order=order))

    async def ask_for(self, amount: Amount) -> None:
        """Ask for a part of the free stake back; it is ready after the cooldown."""
        async with self._room.confirming("the request"):
            await self._room.feed.wait_reached(await self._chain.unstake(amount))

    async def collect(self) -> None:
        """Take out what is ready."""
        async with self._room.confirming("the withdrawal"):
            await self._room.feed.wait_reached(await self._chain.withdraw())

    async def accuse(self, offer: Offer, conflict: Conflict) -> Punished:
        """Show the contract two signatures that exclude each other: their signer loses the offer's bond.

        Raises:
            ChainRejected: It was punished before, or has no stake left that isn't locked.
            TransientError: The chain can't be reached.
        """
        return await self._chain.punish(offer, conflict)

    async def free(self) -> Amount:
        """Free what can be freed, and return how much that was once it is confirmed."""
        total = await self.provider.free_all()
        if total:
            async with self._room.confirming("the freeing of the stake"):
                await self.provider.wait_freed()
        return total
