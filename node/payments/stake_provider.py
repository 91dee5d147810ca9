"""The provider's stake behind its awards: the shell around protocol/stake/provider.py."""

from functools import partial
from typing import Any, Final

import structlog
import trio

from node.payments.account import FACT_INDEX_MOST, Account, keep, write_down
from node.payments.errors import NotSeenYet
from node.payments.freeing import FreeDesk
from node.payments.ports import Fact
from node.payments.room import Ledger, Room
from node.payments.stake_book import StakeContext, stake_context
from node.payments.stake_ports import StakeChain
from node.payments.stake_view import StakeView, provider_view
from node.payments.tracked import Rules, Step, Tracked, track
from node.storage.machine_log import Machine
from protocol.errors import ChainRejected, ProtocolError, TransientError
from protocol.identity import ZERO_DIGEST, Digest
from protocol.market.objects import Award
from protocol.signing.signed import Signed
from protocol.stake import provider as machine_of
from protocol.stake.provider import (
    FreeWanted,
    ProviderStake,
    ProviderStakeEffect,
    ProviderStakeEvent,
    SubmitFree,
    SubmitLock,
    WorkOver,
)
from protocol.stake.record import ChainEvent, LockPhase
from protocol.stake.terms import BackingRefused, stake_terms
from protocol.task.objects import Acceptance
from protocol.units import Amount

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

PREFIX: Final = "stake-provider"
SEE_WITHIN_S: Final = 3.0
"""How long a refused lock waits for the news that it was made before."""

RULES: Final[Rules[ProviderStake, ProviderStakeEvent]] = Rules(
    advance=machine_of.advance, transition=machine_of.transition, is_over=machine_of.is_settled
)
ProviderStakeAccount = Account[StakeContext, ProviderStake, ProviderStakeEvent]


class ProviderStakes:
    """Locks before a start, frees when that is worth it."""

    def __init__(self, room: Room, chain: StakeChain, desk: FreeDesk) -> None:
        self._room, self._chain, self._desk = room, chain, desk
        machine = Machine[StakeContext, Tracked[ProviderStake], Step[ProviderStakeEvent], Any](
            context=StakeContext,
            events=Step[ProviderStakeEvent],
            begin=lambda context: Tracked(state=_begin(context), block=context.block, index=FACT_INDEX_MOST),
            transition=track(RULES),
        )
        self._ledger = Ledger(room, PREFIX, machine, RULES)
        self._lock = trio.Lock()
        self._refused: dict[Digest, BackingRefused] = {}
        self._is_freeing = False

    async def start(self) -> None:
        """Take up what was open."""
        await self._ledger.load()
        for award_id, account in tuple(self._ledger.accounts.items()):
            self._room.nursery.start_soon(self._keep, award_id, account)

    async def lock(self, award: Signed[Award], award_id: Digest) -> None:
        """Lock an award's liability; returns once that is confirmed. Harmless to repeat.

        Raises:
            BackingRefused: It can't be locked, and why; or what was locked is free again.
            TransientError: The chain can't be reached.
        """
        async with self._lock:
            account = self._ledger.accounts.get(award_id)
            if account is None:
                account = await self._open(award, award_id)
        state = await account.wait_until(
            lambda each: each.record.lock is not LockPhase.NONE or award_id in self._refused or not each.can_still_lock
        )
        if state.record.is_locked:
            return
        if award_id in self._refused:
            raise self._refused[award_id]
        raise BackingRefused(
            f"the liability of award {award_id.hex()} was not locked by its start_by, or is free again"
        )

    async def settle(self, award_id: Digest, accepted: Signed[Acceptance] | None) -> None:
        """Work under the award is over."""
        account = self._ledger.accounts.get(award_id)
        if account is not None and not account.is_over:
            await account.apply(WorkOver(acceptance=accepted))

    async def free_all(self) -> Amount:
        """Free what can be freed now, in the background, and return how much that is; noted durably."""
        total = 0
        for account in tuple(self._ledger.accounts.values()):
            amount = 0 if account.is_over else machine_of.freeable(account.state)
            if amount:
                total += amount
                await account.apply(FreeWanted())
        return Amount(total)

    def freeable(self) -> Amount:
        """Return what freeing now would bring, base units."""
        accounts = self._ledger.accounts.values()
        return Amount(sum(machine_of.freeable(account.state) for account in accounts if not account.is_over))

    def unlocked(self) -> Amount:
        """Return the liabilities of awards taken whose locks are not confirmed yet: promised out of the free stake."""
        waiting = (account.state for account in self._ledger.accounts.values() if not account.is_over)
        return Amount(sum(each.terms.award.liability for each in waiting if each.working and each.can_still_lock))

    async def wait_freed(self) -> None:
        """Return once nothing more can be brought on chain now."""
        for account in tuple(self._ledger.accounts.values()):
            await account.wait_until(lambda state: not machine_of.outstanding(state))

    def views(self) -> tuple[StakeView, ...]:
        """Return the awards that stake of this wallet answers for, or is to be freed of."""
        accounts = self._ledger.accounts.items()
        return tuple(provider_view(each, one.state) for each, one in accounts if not machine_of.is_settled(one.state))

    async def on_fact(self, fact: Fact) -> bool:
        """Take a fact about an award that this wallet's stake answers for."""
        return isinstance(fact.event, ChainEvent) and await self._ledger.deliver(fact, fact.event)

    def on_block(self) -> None:
        """Let time pass; free locks once there is enough to free that it is worth the fees."""
        self._ledger.beat()
        if not self._is_freeing and self.freeable() >= self._room.settings.free_at:
            self._is_freeing = True
            self._room.nursery.start_soon(self._free_all)

    async def _free_all(self) -> None:
        try:
            await self.free_all()
        except TransientError as error:  # a full disk: the next block tries again
            log.warning("stake.not_freed", reason=str(error))
        finally:
            self._is_freeing = False

    async def _open(self, award: Signed[Award], award_id: Digest) -> ProviderStakeAccount:
        stake_terms(award.value, award_id)
        if await self._room.storage.journal.streams(f"{PREFIX}/{award_id.hex()}/"):
            raise BackingRefused(f"the stake behind award {award_id.hex()} is free again")
        async with self._room.feed.paused() as block:
            context = await stake_context(self._chain, award, award_id, block)
            account = await self._ledger.open(award_id, context)
        self._room.nursery.start_soon(self._keep, award_id, account)
        return account

    async def _keep(self, award_id: Digest, account: ProviderStakeAccount) -> None:
        await self._room.feed.wait_reached(1)  # what was done before a restart is known then
        clock, name = self._room.clock, f"{PREFIX}/{award_id.hex()[:12]}"
        await keep(
            account,
            outstanding=machine_of.outstanding,
            perform=partial(self._perform, award_id, account),
            clock=clock,
            name=name,
        )
        log.info("stake.over", award=award_id.hex(), lock=account.state.record.lock.name.lower())
        self._refused.pop(award_id, None)
        await write_down(lambda: self._ledger.close(award_id), clock, name)

    async def _perform(self, award_id: Digest, account: ProviderStakeAccount, effect: ProviderStakeEffect) -> None:
        award = account.context.award.value
        match effect:
            case SubmitLock():
                await self._submit_lock(award_id, account)
            case SubmitFree(acceptance=acceptance):
                await self._room.feed.wait_reached(await self._desk.free(award, acceptance))

    async def _submit_lock(self, award_id: Digest, account: ProviderStakeAccount) -> None:
        """Lock. What is refused was never sent, or was done before a crash: who waits is told once that is certain."""
        award = account.context.award.value
        free = await self._chain.free_of(award.provider)
        if free < award.liability and await self.free_all():
            raise NotSeenYet("the stake for it is being freed")
        try:
            block = await self._chain.lock(award)
        except (ProtocolError, ChainRejected) as error:
            with trio.move_on_after(SEE_WITHIN_S):
                await account.wait_until(lambda state: state.record.lock is not LockPhase.NONE)
                return
            self._refused[award_id] = BackingRefused(f"the liability could not be locked: {error}", advice=error.advice)
            log.warning("stake.lock_refused", award=award_id.hex(), reason=str(error))
            await account.apply(WorkOver())
            account.pulse.beat()
        else:
            await self._room.feed.wait_reached(block)


def _begin(context: StakeContext) -> ProviderStake:
    award = context.award.value
    return ProviderStake(
        terms=stake_terms(award, context.award_id),
        escrowed=award.channel == ZERO_DIGEST,
        record=context.seen.record(),
    )
