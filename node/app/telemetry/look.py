"""What has to be waited for is looked at every few seconds, so that a scrape never waits, however often it comes."""

from dataclasses import dataclass, replace
from typing import Final

import structlog
import trio

from node.app.node import Node
from node.operations.pace import run_every
from protocol.errors import ChainRejected, ProtocolError, TransientError
from protocol.units import Amount

LOOK_EVERY_S: Final = 15.0
CHAIN_TIMEOUT_S: Final = 10.0

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainLook:
    """The chain as its node showed it when it last answered.

    Attributes:
        reachable: Whether it answered this time.
        head: Number of the newest block.
        lag_blocks: From the newest confirmed block whose events were acted on to the head; -1 while there is none.
        lag_s: Block time between the two, seconds.
        gas_money: The wallet's native money, wei.
        tokens: The wallet's tokens at a confirmed block.
    """

    reachable: bool = False
    head: int = 0
    lag_blocks: int = -1
    lag_s: int = 0
    gas_money: int = 0
    tokens: Amount = Amount(0)


class Lookout:
    """Keeps the newest look."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.chain: ChainLook | None = None
        """None before the first."""

    async def run(self) -> None:
        """Look, for ever."""
        await run_every(self.look, period_s=LOOK_EVERY_S, clock=self._node.clock)

    async def look(self) -> None:
        """Look once."""
        chain, wallet = self._node.chain, self._node.signer.address
        found: ChainLook | None = None
        with trio.move_on_after(CHAIN_TIMEOUT_S):
            try:
                head = await chain.head()
                feed = self._node.payments.feed
                found = ChainLook(
                    reachable=True,
                    head=head.number,
                    lag_blocks=max(0, head.number - feed.number) if feed.number else -1,
                    lag_s=max(0, head.time - feed.time) if feed.number else 0,
                    gas_money=await chain.gas_money(wallet),
                    tokens=await chain.token_balance(wallet),
                )
            except (TransientError, ProtocolError, ChainRejected) as error:
                log.debug("telemetry.chain_not_seen", reason=str(error))
        if found is None:
            found = replace(self.chain or ChainLook(), reachable=False)
        self.chain = found
        await self._node.health.examine()
