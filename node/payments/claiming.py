"""Claims of all channels together: when they are due, when gas is cheap enough, and many in one transaction.

Two tasks. One looks at what every channel could claim and asks for what is due (protocol/settlement/claiming.py). The
other gathers claims that somebody asked for and sends them: a moment later if that can't wait, else when gas is cheap
or patience is over. A claim that waits here is in no journal: it follows from the channel's state, and so does since
when it is wanted; after a crash it is asked for again, with what is left of its patience. What is due to an exit does
not come here at all.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog
import trio

from node.operations.clock import Clock
from node.payments.errors import ClaimLeftOut
from node.payments.ports import Chain
from protocol.channel.objects import ChannelKey, Voucher, channel_id
from protocol.errors import StoaError, TransientError
from protocol.identity import Digest
from protocol.settlement.claiming import ClaimBook, ClaimCosts, Hazard, due, observe, ripe, split
from protocol.signing.signed import Signed
from protocol.units import Amount, Seconds, UnixTime

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

GATHER_S: Final = 0.5
"""Channels whose claims are due at one look ask for them one after the other."""
LOOK_S: Final = 60.0
GAS_LOOK_S: Final = 15.0
MAX_CLAIMS: Final = 100
GAS_LIMIT: Final = 5_000_000
"""Of one transaction: a fraction of any block's."""
BASE_GAS: Final = 45_000
CLAIM_GAS: Final = 16_000
"""More than tests/contracts measures, so that what is cut by them fits."""


@dataclass(eq=False, kw_only=True)
class _Claim:
    """A claim that waits. `newest` gives the voucher at the time of sending."""

    key: ChannelKey
    newest: Callable[[], Signed[Voucher]]
    until: UnixTime
    done: trio.Event = field(default_factory=trio.Event)
    block: int = 0
    failure: Exception | None = None


class ClaimDesk:
    """Where channels have their claims sent. `payable` and `request` are the channels' side of it."""

    def __init__(
        self,
        chain: Chain,
        clock: Clock,
        *,
        patience: Seconds,
        hazard: Hazard,
        payable: Callable[[], Mapping[Digest, Amount]],
        request: Callable[[Digest], Awaitable[None]],
    ) -> None:
        self._chain, self._clock, self._patience, self._hazard = chain, clock, patience, hazard
        self._payable, self._request = payable, request
        self._book = ClaimBook()
        self._costs: ClaimCosts | None = None
        self._waiting: list[_Claim] = []
        self._came = trio.Event()

    @property
    def waiting(self) -> int:
        """How many claims wait to be sent."""
        return len(self._waiting)

    async def claim(
        self, key: ChannelKey, newest: Callable[[], Signed[Voucher]], *, since: UnixTime | None, hurried: bool
    ) -> int:
        """Have a channel's newest voucher claimed; return the block in which that is confirmed.

        Args:
            key: The channel.
            newest: Gives its newest voucher, which may be a newer one when the claim is sent.
            since: When it was first wanted, which may be before a restart; None is now.
            hurried: Don't wait for cheaper gas.

        Raises:
            ClaimLeftOut: The contract skipped it.
            TransientError, ProtocolError, ChainRejected: As `Chain.claim`.
        """
        now = self._clock.now()
        begun = now if since is None else min(now, since)
        claim = _Claim(key=key, newest=newest, until=now if hurried else UnixTime(begun + self._patience))
        self._waiting.append(claim)
        self._came.set()
        try:
            await claim.done.wait()
        finally:
            if claim in self._waiting:
                self._waiting.remove(claim)
        if claim.failure is not None:
            raise claim.failure
        return claim.block

    def hurry(self, channel: Digest) -> None:
        """Let a claim that waits for cheaper gas wait no longer, if there is one."""
        for claim in self._waiting:
            if channel_id(claim.key) == channel:
                claim.until = self._clock.now()
        self._came.set()

    async def run(self) -> None:
        """Send what is asked for until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._look_for_due)
            while True:
                await self._came.wait()
                self._came = trio.Event()
                await self._ask_for_ripe()
                await self._clock.sleep(GATHER_S)
                await self._wait_until_they_may_go()
                claims, self._waiting = sorted(self._waiting, key=lambda claim: channel_id(claim.key)), []
                for piece in split(claims, gas_limit=GAS_LIMIT, base_gas=BASE_GAS, gas_each=CLAIM_GAS, most=MAX_CLAIMS):
                    nursery.start_soon(self._send, piece)

    async def _wait_until_they_may_go(self) -> None:
        is_told = False
        while self._waiting and not await self._may_go():
            if not is_told:
                log.info("claims.wait_for_cheaper_gas", claims=len(self._waiting))
                is_told = True
            with trio.move_on_after(GAS_LOOK_S):  # woken by a hurried one, say
                came = self._came
                await came.wait()
                self._came = trio.Event()

    async def _may_go(self) -> bool:
        if any(claim.until <= self._clock.now() for claim in self._waiting):
            return True
        try:
            return await self._chain.is_gas_cheap()
        except TransientError:
            return False  # a chain that is away is no reason to hurry

    async def _send(self, claims: Sequence[_Claim]) -> None:
        """Send claims as one transaction, and tell each what became of it."""
        try:
            pairs = [(claim.key, claim.newest()) for claim in claims]
            if len(pairs) == 1:
                block, skipped = await self._chain.claim(*pairs[0]), frozenset[Digest]()
            else:
                block, skipped = await self._chain.claim_batch(pairs)
        except StoaError as error:
            for claim in claims:
                claim.failure = error
                claim.done.set()
            return
        for claim in claims:
            claim.block = block
            if channel_id(claim.key) in skipped:
                claim.failure = ClaimLeftOut(channel_id(claim.key))
            claim.done.set()

    async def _look_for_due(self) -> None:
        while True:
            await self._clock.sleep(LOOK_S)
            self._book = observe(self._book, self._payable(), self._clock.now())
            if not self._book.waiting:
                continue
            try:
                self._costs = await self._chain.claim_costs()
            except TransientError as error:
                log.debug("claims.costs_unknown", reason=str(error))
                continue
            await self._ask_for(due(self._book, self._costs, self._hazard))

    async def _ask_for_ripe(self) -> None:
        """A transaction goes anyway: those that pay for their place in it ride along."""
        if self._costs is not None:
            await self._ask_for(ripe(self._book, self._costs, self._hazard))

    async def _ask_for(self, channels: Sequence[Digest]) -> None:
        for channel in channels:
            try:
                await self._request(channel)
            except StoaError as error:  # over since, or the disk is full: the next look sees
                log.info("claims.not_asked_for", channel=channel.hex(), reason=str(error))
        if channels:
            log.info("claims.due", channels=len(channels))
            left = {name: each for name, each in self._book.waiting.items() if name not in channels}
            self._book = ClaimBook(waiting=left)
