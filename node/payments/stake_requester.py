"""The requester's side of the stake behind its awards: the shell around protocol/stake/requester.py."""

from functools import partial
from typing import Any, Final

import structlog
import trio

from node.payments.account import FACT_INDEX_MOST, Account, keep, write_down
from node.payments.freeing import FreeDesk
from node.payments.ports import Fact
from node.payments.room import Ledger, Room
from node.payments.stake_book import StakeContext, stake_context
from node.payments.stake_ports import StakeChain
from node.payments.stake_view import StakeView, requester_view
from node.payments.tracked import Rules, Step, Tracked, track
from node.storage.machine_log import Machine
from protocol.identity import ZERO_DIGEST, Digest
from protocol.market.objects import Award
from protocol.signing.signed import Signed
from protocol.stake import requester as machine_of
from protocol.stake.record import ChainEvent
from protocol.stake.requester import (
    Dropped,
    LastAccepted,
    RequesterStake,
    RequesterStakeEffect,
    RequesterStakeEvent,
    SubmitBonus,
    SubmitFree,
)
from protocol.stake.terms import BackingRefused, bonus_account, stake_terms
from protocol.task.objects import Acceptance
from protocol.units import format_amount

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

PREFIX: Final = "stake-requester"

RULES: Final[Rules[RequesterStake, RequesterStakeEvent]] = Rules(
    advance=machine_of.advance, transition=machine_of.transition, is_over=machine_of.is_settled
)
RequesterStakeAccount = Account[StakeContext, RequesterStake, RequesterStakeEvent]


class RequesterStakes:
    """Sees that providers lock, deposits bonuses, takes back those that nobody earned."""

    def __init__(self, room: Room, chain: StakeChain, desk: FreeDesk) -> None:
        self._room, self._chain, self._desk = room, chain, desk
        machine = Machine[StakeContext, Tracked[RequesterStake], Step[RequesterStakeEvent], Any](
            context=StakeContext,
            events=Step[RequesterStakeEvent],
            begin=lambda context: Tracked(state=_begin(context), block=context.block, index=FACT_INDEX_MOST),
            transition=track(RULES),
        )
        self._ledger = Ledger(room, PREFIX, machine, RULES)
        self._lock = trio.Lock()

    async def start(self) -> None:
        """Take up what was open."""
        await self._ledger.load()
        for award_id, account in tuple(self._ledger.accounts.items()):
            self._room.nursery.start_soon(self._keep, award_id, account)

    async def begin(self, award: Signed[Award], award_id: Digest) -> None:
        """Begin to look after the stake behind an award whose money is promised. Harmless to repeat.

        Raises:
            BackingRefused: No stake can answer for this award.
            TransientError: The chain can't be reached.
        """
        async with self._lock:
            if award_id in self._ledger.accounts:
                return
            stake_terms(award.value, award_id)
            if await self._room.storage.journal.streams(f"{PREFIX}/{award_id.hex()}/"):
                return  # it is over
            async with self._room.feed.paused() as block:
                wanted = self._room.settings.success_bonus
                context = await stake_context(self._chain, award, award_id, block, with_bonus=wanted)
                account = await self._ledger.open(award_id, context)
        self._room.nursery.start_soon(self._keep, award_id, account)

    async def wait_backed(self, award: Award, award_id: Digest) -> None:
        """Return once the provider's liability is confirmed to be locked (ST12).

        Raises:
            BackingRefused: It was not locked by `start_by`.
            TransientError: The chain can't be reached for too long to know.
        """
        account = self._ledger.accounts.get(award_id)
        if account is None:
            raise BackingRefused(f"the stake behind award {award_id.hex()} is over")
        async with self._room.confirming("the lock of the provider's liability"):
            state = await account.wait_until(lambda each: machine_of.is_backed(each) or each.is_too_late)
        if not machine_of.is_backed(state):
            raise BackingRefused(f"the provider did not lock its liability of {format_amount(award.liability)}")

    async def accept(self, award: Award, award_id: Digest, acceptance: Acceptance) -> None:
        """Note that a part was accepted: with the last one, the bonus is the provider's."""
        account = self._ledger.accounts.get(award_id)
        is_last = acceptance.part + 1 == award.first_part + award.parts
        if is_last and account is not None and not account.is_over:
            await account.apply(LastAccepted())

    async def drop(self, award_id: Digest) -> None:
        """Nothing more is expected of the award."""
        account = self._ledger.accounts.get(award_id)
        if account is not None and not account.is_over:
            await account.apply(Dropped())

    def views(self) -> tuple[StakeView, ...]:
        """Return the awards of this wallet that somebody's stake answers for."""
        return tuple(requester_view(award_id, account.state) for award_id, account in self._ledger.accounts.items())

    async def on_fact(self, fact: Fact) -> bool:
        """Take a fact about an award of ours."""
        return isinstance(fact.event, ChainEvent) and await self._ledger.deliver(fact, fact.event)

    def on_block(self) -> None:
        """Let time pass."""
        self._ledger.beat()

    async def _keep(self, award_id: Digest, account: RequesterStakeAccount) -> None:
        await self._room.feed.wait_reached(1)  # what was done before a restart is known then
        clock, name = self._room.clock, f"{PREFIX}/{award_id.hex()[:12]}"
        await keep(
            account,
            outstanding=machine_of.outstanding,
            perform=partial(self._perform, account),
            clock=clock,
            name=name,
        )
        log.info("stake.over", award=award_id.hex(), lock=account.state.record.lock.name.lower())
        await write_down(lambda: self._ledger.close(award_id), clock, name)
        await write_down(lambda: self._room.wallet.close_account(bonus_account(award_id)), clock, name)

    async def _perform(self, account: RequesterStakeAccount, effect: RequesterStakeEffect) -> None:
        award = account.context.award.value
        match effect:
            case SubmitBonus():
                await self._room.feed.wait_reached(await self._chain.deposit_bonus(award))
            case SubmitFree():
                await self._room.feed.wait_reached(await self._desk.free(award, None))


def _begin(context: StakeContext) -> RequesterStake:
    award = context.award.value
    return RequesterStake(
        terms=stake_terms(award, context.award_id),
        with_bonus=context.with_bonus,
        escrowed=award.channel == ZERO_DIGEST,
        record=context.seen.record(),
    )
