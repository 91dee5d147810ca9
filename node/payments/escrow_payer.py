"""The requester's side of all its escrowed awards: the shell around escrow_books.py."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, TypeVar

import structlog
import trio

from node.payments import escrow_books
from node.payments.account import Account, keep, write_down
from node.payments.errors import BadTerms, EscrowGone, InsufficientTokens
from node.payments.escrow_books import Dismissed, EscrowContext, RequesterBook, RequesterEvent
from node.payments.escrow_view import EscrowView, view_of
from node.payments.ports import ChallengedClaim, Fact, JudgeClaim, OpenCase
from node.payments.room import Ledger, Room
from node.payments.tracked import Step, Tracked, track
from node.storage.machine_log import Machine
from protocol.errors import ChainRejected, ProtocolError, TransientError
from protocol.escrow import record
from protocol.escrow.record import Claimed, Unfunded
from protocol.escrow.requester import (
    AcceptanceSigned,
    ClaimApproved,
    ClaimContested,
    RequesterEffect,
    SubmitDispute,
    SubmitFund,
    SubmitRecall,
    SubmitRefund,
    SubmitRelease,
    SubmitSplit,
)
from protocol.escrow.requester import JudgeClaim as JudgeOrder
from protocol.identity import Digest, format_address
from protocol.market.objects import Award
from protocol.signing.signed import Signed
from protocol.task.objects import Acceptance
from protocol.units import UnixTime

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

T = TypeVar("T")

PREFIX: Final = "escrow-requester"
SEE_WITHIN_S: Final = 3.0
"""How long a refused funding waits for the news that it was done before."""
PLAIN_SHARE: Final = 8
"""The last eighth of a pace is left for disputing without a case: cheaper, and nothing is in its way but the chain."""
LEAST_TRY_S: Final = 2.0
LEAST_PLAIN_S: Final = 2
"""And no less than this; local chains have a pace of seconds."""
ASK_AGAIN_S: Final = 1.0

RequesterAccount = Account[EscrowContext, RequesterBook, RequesterEvent]


class EscrowPayer:
    """Funds, releases, recalls, contests, takes back."""

    def __init__(self, room: Room, judge: JudgeClaim | None, open_case: OpenCase | None = None) -> None:
        self._room, self._judge, self._open_case = room, judge, open_case
        machine = Machine[EscrowContext, Tracked[RequesterBook], Step[RequesterEvent], Any](
            context=EscrowContext,
            events=Step[RequesterEvent],
            begin=lambda context: Tracked(state=escrow_books.begin_requester(context)),
            transition=track(escrow_books.REQUESTER_RULES),
        )
        self._ledger = Ledger(room, PREFIX, machine, escrow_books.REQUESTER_RULES)
        self._lock = trio.Lock()
        self._refused: dict[Digest, ChainRejected] = {}

    async def start(self) -> None:
        """Take up what was open."""
        await self._ledger.load()
        for award_id, account in tuple(self._ledger.accounts.items()):
            self._serve(award_id, account)

    async def fund(self, award: Signed[Award], award_id: Digest) -> None:
        """Lock an award's money; returns once that is confirmed.

        Raises:
            InsufficientTokens, OutOfGas: This wallet's own trouble; nothing was begun.
            EscrowError: No escrow can hold this award.
            EscrowGone: It was over, or could not be funded.
            TransientError: The chain can't be reached, or takes too long.
        """
        async with self._lock:
            account = self._ledger.accounts.get(award_id)
            if account is None:
                account = await self._begin(award, award_id)
        async with self._room.confirming("the funding of the escrow"):
            state = await account.wait_until(
                lambda book: (
                    not isinstance(book.escrow.phase, Unfunded)
                    or award_id in self._refused
                    or escrow_books.is_requester_over(book)
                )
            )
        if not isinstance(state.escrow.phase, Unfunded):
            return
        if award_id in self._refused:
            raise EscrowGone(f"the escrow could not be funded: {self._refused[award_id]}")
        raise EscrowGone(f"award {award_id.hex()} was not funded by its start_by")

    async def pay(self, award_id: Digest, acceptance: Signed[Acceptance]) -> None:
        """Note what was accepted: the provider takes it to the chain, and so do we before taking anything back."""
        account = self._ledger.accounts.get(award_id)
        if account is None or account.is_over:
            log.warning("escrow.acceptance_too_late", award=award_id.hex())
            return
        known = account.state.escrow.acceptance
        if known is None or known.value.part < acceptance.value.part:
            await account.apply(AcceptanceSigned(signed=acceptance))

    async def dismiss(self, award_id: Digest) -> None:
        """Nothing more is accepted for an award: what is locked comes back as soon as the law allows."""
        account = self._ledger.accounts.get(award_id)
        if account is not None and not account.is_over and not account.state.dismissed:
            await account.apply(Dismissed())

    def views(self) -> tuple[EscrowView, ...]:
        """Return all escrows that are not over."""
        return tuple(
            view_of(award_id, account.state.escrow, "requester", account.context.award.value.provider)
            for award_id, account in self._ledger.accounts.items()
        )

    async def on_fact(self, fact: Fact) -> bool:
        """Take a fact about an escrow of ours."""
        if not isinstance(fact.event, record.ChainEvent):
            return False
        return await self._ledger.deliver(fact, fact.event)

    def on_block(self) -> None:
        """Let time pass."""
        self._ledger.beat()

    async def _begin(self, award: Signed[Award], award_id: Digest) -> RequesterAccount:
        value, room = award.value, self._room
        if value.requester != room.wallet.address:
            raise BadTerms(f"award {award_id.hex()} is of {format_address(value.requester)}, not of this wallet")
        if value.token != room.chain.token or value.rail != room.chain.escrow_contract:
            raise BadTerms("the award names another token or escrow than this node's")
        await room.chain.require_gas()
        balance, needed = await room.chain.token_balance(room.wallet.address), value.price + value.dispute_fee
        if balance < needed:
            raise InsufficientTokens(needed=needed, balance=balance)
        if await room.storage.journal.streams(f"{PREFIX}/{award_id.hex()}/"):
            raise EscrowGone(f"the escrow of award {award_id.hex()} is over")
        account = await self._ledger.open(award_id, EscrowContext(award=award, award_id=award_id))
        self._serve(award_id, account)
        return account

    def _serve(self, award_id: Digest, account: RequesterAccount) -> None:
        self._room.nursery.start_soon(self._keep, award_id, account)

    async def _keep(self, award_id: Digest, account: RequesterAccount) -> None:
        await self._room.feed.wait_reached(1)  # what was done before a restart is known then
        clock, name = self._room.clock, f"{PREFIX}/{award_id.hex()[:12]}"
        await keep(
            account,
            outstanding=escrow_books.outstanding_requester,
            perform=partial(self._perform, account),
            clock=clock,
            name=name,
        )
        log.info("escrow.over", award=award_id.hex(), phase=type(account.state.escrow.phase).__name__)
        self._refused.pop(award_id, None)
        await write_down(lambda: self._ledger.close(award_id), clock, name)
        await write_down(lambda: self._room.wallet.close_account(award_id), clock, name)

    async def _perform(self, account: RequesterAccount, effect: RequesterEffect) -> None:
        chain, feed, award = self._room.chain, self._room.feed, account.context.award
        match effect:
            case SubmitFund():
                await self._fund(account)
            case SubmitRecall():
                await feed.wait_reached(await chain.recall(award.value))
            case SubmitRelease(acceptance=acceptance):
                await feed.wait_reached(await chain.release(award.value, acceptance))
            case SubmitRefund():
                await feed.wait_reached(await chain.refund(award.value))
            case SubmitDispute():
                await feed.wait_reached(await self._contest(account) or await chain.dispute(award.value))
            case SubmitSplit():
                await feed.wait_reached(await chain.split(award.value))
            case JudgeOrder():
                await self._judge_claim(account, effect)

    async def _fund(self, account: RequesterAccount) -> None:
        """Fund. What our own wallet refuses was never sent and never will be: nobody need wait for it.

        What the contract refuses may have been done before a crash; so the account stays until that is certain.
        """
        try:
            block = await self._room.chain.fund(account.context.award)
        except ProtocolError as error:
            await account.give_up(EscrowGone(f"the escrow could not be funded: {error}", advice=error.advice))
        except ChainRejected as error:
            with trio.move_on_after(SEE_WITHIN_S):
                await account.wait_until(lambda book: not isinstance(book.escrow.phase, Unfunded))
                return
            self._refused[account.context.award_id] = error
            account.pulse.beat()
            raise
        else:
            await self._room.feed.wait_reached(block)

    async def _contest(self, account: RequesterAccount) -> int | None:
        """Open the case about a contested claim, since that disputes it in the same transaction.

        Returns:
            The block in which it is confirmed. None if it has to be disputed without: this node doesn't go to court, or
            could not until little time is left. What was sent may still come, also after the dispute; both are safe.
        """
        context, phase = account.context, account.state.escrow.phase
        if self._open_case is None or not isinstance(phase, Claimed):
            return None
        award, open_case = context.award.value, self._open_case
        return await self._in_time(award, phase.dispute_by, lambda: self._open(open_case, award, context.award_id))

    async def _open(self, open_case: OpenCase, award: Award, award_id: Digest) -> int | None:
        """Open a case, asking again for as long as it may still be had; None if it may not."""
        while True:
            try:
                return await open_case(award, award_id)
            except TransientError as error:
                log.warning("escrow.case_waits", award=award_id.hex(), reason=str(error))
                await self._room.clock.sleep(ASK_AGAIN_S)
            except (ProtocolError, ChainRejected) as error:
                log.warning("escrow.case_not_opened", award=award_id.hex(), reason=str(error))
                return None

    async def _in_time(self, award: Award, dispute_by: UnixTime, act: Callable[[], Awaitable[T | None]]) -> T | None:
        """Return what comes of an act; None if that isn't known when it is time to dispute a claim without.

        Raises:
            TransientError: As the act, if there is time to do it again.
        """
        until = UnixTime(dispute_by - max(award.pace // PLAIN_SHARE, LEAST_PLAIN_S))
        answer: T | None = None
        failure: TransientError | None = None
        async with trio.open_nursery() as nursery:

            async def give_up() -> None:
                await self._room.clock.sleep(LEAST_TRY_S)  # a node that was away for long looks all the same
                await self._wait_time(until)
                nursery.cancel_scope.cancel()

            nursery.start_soon(give_up)
            try:
                answer = await act()
            except TransientError as error:
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None and self._now() < until:
            raise failure
        return answer

    def _now(self) -> UnixTime:
        """Return the time by the clock or the chain, whichever is ahead: a deadline is the chain's."""
        return max(self._room.clock.now(), self._room.feed.now())

    async def _wait_time(self, until: UnixTime) -> None:
        """Wait until it is this second."""
        while True:
            beat, left = self._room.feed.pulse.next_beat(), until - self._now()
            if left <= 0:
                return
            with trio.move_on_after(left):
                await beat.wait()

    async def _judge_claim(self, account: RequesterAccount, order: JudgeOrder) -> None:
        """Ask the market whether a claim is owed. Nobody to ask: it is not, since nothing was accepted (M2)."""
        context = account.context
        claim = ChallengedClaim(
            award=context.award.value,
            award_id=context.award_id,
            receipt=order.receipt,
            part=order.part,
            due=order.due,
            dispute_by=order.dispute_by,
        )
        judge = self._judge
        # Who can't tell in time contests: silence would pay all of it.
        owed = judge is not None and bool(await self._in_time(claim.award, order.dispute_by, lambda: judge(claim)))
        log.info("escrow.claim_judged", award=context.award_id.hex(), due=order.due, owed=owed)
        event = ClaimApproved(receipt=order.receipt) if owed else ClaimContested(receipt=order.receipt)
        await account.apply(event)
