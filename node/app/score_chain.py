"""The reputation room's `ScoreChain` over `node/chain`."""

from collections.abc import Awaitable, Callable

from node.chain.chain import Chain
from node.chain.reputation import Reputation
from protocol.identity import Address, Digest
from protocol.reputation.anchoring import OnChain
from protocol.units import Uint64, UnixTime


class ContractScores:
    """The roots in the reputation contract, for one wallet."""

    def __init__(self, chain: Chain, reputation: Reputation, is_gas_cheap: Callable[[], Awaitable[bool]]) -> None:
        self._chain, self._reputation, self._is_gas_cheap = chain, reputation, is_gas_cheap

    async def now(self) -> UnixTime:
        """See `ScoreChain`."""
        return (await self._chain.confirmed()).time

    async def newest(self, publisher: Address) -> OnChain:
        """See `ScoreChain`."""
        at = await self._chain.confirmed()
        epoch = await self._reputation.epoch_of(publisher, at=at)
        return (
            OnChain(epoch=epoch, root=await self._reputation.root_of(publisher, epoch, at=at)) if epoch else OnChain()
        )

    async def root_of(self, publisher: Address, epoch: Uint64) -> Digest:
        """See `ScoreChain`."""
        return await self._reputation.root_of(publisher, epoch)

    async def confirmed_block(self) -> int:
        """See `ScoreChain`."""
        return (await self._chain.confirmed()).number

    async def is_gas_cheap(self) -> bool:
        """See `ScoreChain`."""
        return await self._is_gas_cheap()

    async def anchor(self, epoch: Uint64, root: Digest) -> int:
        """See `ScoreChain`."""
        return (await self._reputation.anchor(epoch, root)).receipt.block
