"""A watchtower's loop: look where the watched channels stand, and act for payees that are away (ADR 1645).

What is to be done follows from an order and the contract (protocol/channel/tower.py), so nothing about it is kept: a
restart looks at every channel once more. Every channel is looked at when something about it was confirmed, when its
moment to act has come, and from time to time in any case, since a tower must not rely on having heard of everything.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

import structlog
import trio

from node.payments.account import Pulse
from node.payments.room import Room
from node.payments.watch.ports import WatchChain
from node.payments.watch.settings import WatchSettings
from node.payments.watch.store import StoredWatch, WatchStore
from protocol.channel.tower import Act, Over, Standing, decide, turn_of
from protocol.errors import ChainRejected, ProtocolError, TransientError
from protocol.identity import Address, Digest, format_address
from protocol.signing.eip712 import digest
from protocol.units import UnixTime, format_amount

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

SWEEPS_A_CHALLENGE: Final = 16
LONGEST_WAIT_S: Final = 60.0
"""A wall clock may be set forward while we wait; a new block ends the wait in any case."""
SHORTEST_WAIT_S: Final = 0.1
AWAY_S: Final = 1.0
"""Between two questions to a chain that does not answer. Each is about another channel, so that none holds up all."""
RETRY_S: Final = 15
"""Most seconds until what failed is tried again: a few blocks."""
RETRIES_A_CHALLENGE: Final = 32
TROUBLE: Final = (TransientError, ProtocolError, ChainRejected)
"""Of the chain, the wallet or the disk; a node of the chain may answer what makes no sense, too."""


@dataclass(eq=False, kw_only=True)
class Watch:
    """A channel that is watched.

    Attributes:
        stored: As it is on disk, without the order's holds.
        plan: What is to be done and when, as of the last look; None for nothing.
        not_before: Second before which an act that failed is not tried again.
        trouble: Why the last act failed, or waits; empty if it did not.
        acting: Whether a transaction is on its way.
        gone_since: Since when the chain says that it is over; None if it does not.
    """

    stored: StoredWatch
    plan: Act | None = None
    not_before: UnixTime = UnixTime(0)
    trouble: str = ""
    acting: bool = False
    gone_since: UnixTime | None = None

    @property
    def due_at(self) -> UnixTime | None:
        """When it is to be looked at again to act; None if there is nothing to do, or it is being done."""
        return None if self.plan is None or self.acting else max(self.plan.at, self.not_before)


class Keeper:
    """Looks after `watches`, which the room's doors fill; `seen` says when each client was heard of last."""

    def __init__(self, room: Room, chain: WatchChain, store: WatchStore, settings: WatchSettings) -> None:
        self._room, self._chain, self._store, self._settings = room, chain, store, settings
        self.watches: Final[dict[Digest, Watch]] = {}
        self.seen: Final[dict[Address, UnixTime]] = {}
        self._urgent: dict[Digest, None] = {}
        self._failed: dict[Digest, UnixTime] = {}
        self._sweep: deque[Digest] = deque()
        self._swept_at = UnixTime(0)
        self._pulse = Pulse()

    def now(self) -> UnixTime:
        """Return the later of our clock and the chain's: to be late is the worse mistake."""
        return max(self._room.clock.now(), self._room.feed.time)

    def keep(self, stored: StoredWatch) -> None:
        """Watch a channel by a new order, from now on."""
        watch = self.watches.get(stored.channel)
        if watch is None:
            self.watches[stored.channel] = Watch(stored=stored)
        else:
            watch.stored = stored
        self.look_at(stored.channel)

    def look_at(self, channel: Digest) -> None:
        """Have a channel looked at before all others."""
        if channel in self.watches:
            self._urgent[channel] = None
            self._pulse.beat()

    def wake(self) -> None:
        """Let time pass."""
        self._pulse.beat()

    async def run(self) -> None:
        """Look and act until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                beat = self._pulse.next_beat()
                self._plan_looks()
                try:
                    while (channel := self._take_next()) is not None:
                        await self._look(channel, nursery)
                except TROUBLE as error:  # the channel is asked after later, the others before it
                    log.debug("tower.chain_away", reason=str(error))
                with trio.move_on_after(self._idle_s()):
                    await beat.wait()

    async def forget(self, channel: Digest) -> None:
        """Watch a channel no more."""
        await self._store.drop(channel)
        self.watches.pop(channel, None)

    def _plan_looks(self) -> None:
        now = self.now()
        for channel, watch in self.watches.items():
            if watch.due_at is not None and watch.due_at <= now:
                self._urgent[channel] = None
        for channel in [channel for channel, at in self._failed.items() if at <= now]:
            del self._failed[channel]
            self._urgent[channel] = None
        if now - self._swept_at >= self._sweep_every() and not self._sweep:
            self._swept_at = now
            self._sweep.extend(self.watches)

    def _sweep_every(self) -> int:
        return max(1, self._room.rules.challenge // SWEEPS_A_CHALLENGE)

    def _idle_s(self) -> float:
        """Return for how long there is nothing to look at, if nothing happens."""
        if self._urgent or self._sweep:
            return AWAY_S
        due = [self._swept_at + self._sweep_every(), *self._failed.values()]
        due += [watch.due_at for watch in self.watches.values() if watch.due_at is not None]
        return min(max(min(due) - self._room.clock.unix_time(), SHORTEST_WAIT_S), LONGEST_WAIT_S)

    def _take_next(self) -> Digest | None:
        if self._urgent:
            channel = next(iter(self._urgent))
            del self._urgent[channel]
            return channel
        return self._sweep.popleft() if self._sweep else None

    async def _look(self, channel: Digest, nursery: trio.Nursery) -> None:
        """Ask where a channel stands, and do what follows."""
        watch = self.watches.get(channel)
        if watch is None or watch.acting:
            return
        try:
            standing = await self._chain.standing(channel)
            await self._decide(channel, watch, standing, nursery)
        except TROUBLE:
            self._failed[channel] = self._retry_at()
            raise

    async def _decide(self, channel: Digest, watch: Watch, standing: Standing, nursery: trio.Nursery) -> None:
        stored = watch.stored
        decision = decide(
            stored.order,
            standing,
            self._room.rules,
            turn=turn_of(self._room.wallet.address, channel),
            least=self._settings.least,
            seen_at=self.seen.setdefault(stored.client, self.now()),
        )
        if isinstance(decision, Over):
            await self._note_gone(channel, watch)
            return
        watch.gone_since = None
        watch.plan = decision if isinstance(decision, Act) else None
        if watch.plan is None:
            watch.trouble = ""
        elif watch.due_at is not None and watch.due_at <= self.now():
            watch.acting = True
            nursery.start_soon(self._act, watch, watch.plan)

    async def _note_gone(self, channel: Digest, watch: Watch) -> None:
        """Forget a channel that is over, once that has been so for a while.

        Behind the address of a chain's node there may be several, of which one lags behind the opening of a channel.
        """
        watch.plan, now = None, self.now()
        if watch.gone_since is None:
            watch.gone_since = now
        elif now - watch.gone_since >= self._sweep_every():
            log.info("tower.channel_over", channel=channel.hex(), client=format_address(watch.stored.client))
            await self.forget(channel)

    async def _act(self, watch: Watch, act: Act) -> None:
        """Bring a channel's order on chain; whatever comes of it, the contract is asked again afterwards."""
        stored = watch.stored
        order, channel = stored.order, stored.channel
        voucher = digest(self._room.channel_domain, order.voucher.value)
        try:
            if not await self._store.begin_act(stored, voucher, self._room.clock.now(), self._settings.acts_per_day):
                self._give_up_for_now(watch, "watchtower.acts_per_day is used up for this client")
                return
            log.info(
                "tower.acts",
                channel=channel.hex(),
                client=format_address(stored.client),
                sequence=order.voucher.value.sequence,
                presents=act.presents,
                gain=format_amount(act.gain),
            )
            if act.presents:
                block = await self._chain.present(order)
            else:
                block = await self._room.chain.claim(order.key, order.voucher)
            await self._store.end_act(channel, voucher, block)
            watch.trouble = ""
            log.info("tower.acted", channel=channel.hex(), block=block)
        except TROUBLE as error:
            self._give_up_for_now(watch, str(error))
        finally:
            watch.acting = False
        self.look_at(channel)

    def _retry_at(self) -> UnixTime:
        return UnixTime(self.now() + max(1, min(RETRY_S, self._room.rules.challenge // RETRIES_A_CHALLENGE)))

    def _give_up_for_now(self, watch: Watch, reason: str) -> None:
        watch.not_before = self._retry_at()
        watch.trouble = reason
        log.warning("tower.waits", channel=watch.stored.channel.hex(), reason=reason)
