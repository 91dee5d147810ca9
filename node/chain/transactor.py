"""One account's transactions: queued, signed, sent, replaced when stuck, followed until confirmed.

One task owns the account's nonces. What it is about to do is in the log before it does it, so after a crash it goes on
where it was: signed transactions are sent again (harmless: same nonce, same bytes), queued ones are signed. An
unreachable chain, a gas price above the cap or an empty gas purse stop nothing but progress: the queue waits and says
why.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import structlog
import trio

from node.chain.abi import Abi
from node.chain.chain import Block, Chain, Receipt
from node.chain.errors import GasPriceAboveCap, Reverted, RpcRefused
from node.chain.fees import Fees, compute_fees, compute_replacement
from node.chain.rpc import Json, hexed, members, quantity
from node.chain.transaction_book import (
    Job,
    NonceLost,
    TransactionAbandoned,
    TransactionBook,
    TransactionConfirmed,
    TransactionIntended,
    TransactionRecord,
    TransactionSigned,
    replay,
)
from node.chain.transaction_request import (
    FateUnknown,
    GasPurseEmpty,
    InHand,
    InvalidRequest,
    Request,
    TransactionLog,
    TransactionSigner,
)
from protocol.errors import ProtocolError, TransientError
from protocol.identity import Address, Digest, format_address

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

INBOX: Final = 64
"""Requests that wait to be journaled; a full inbox makes `send` wait."""
MAX_IN_FLIGHT: Final = 16
"""Public nodes keep few transactions of one account that wait for each other."""
RESEND_S: Final = 10.0
IDLE_LOOK_S: Final = 60.0
"""While nothing is in hand: how often to look whether the chain has lost what it had confirmed."""
BACKOFF_MOST_S: Final = 15.0
GAS_MARGIN_PERCENT: Final = 125
"""The state may change between estimate and inclusion; unused gas costs nothing."""
REASON_MAX: Final = 500

_ALREADY_THERE: Final = ("already known", "already imported", "already exists", "known transaction")
_SUPERSEDED: Final = ("nonce too low", "underpriced", "replacement")
_NO_GAS_MONEY: Final = ("insufficient funds",)


@dataclass(slots=True)
class _Waiter:
    request: Request
    done: trio.Event = field(default_factory=trio.Event)
    outcome: Receipt | Exception | None = None

    def finish(self, outcome: Receipt | Exception) -> None:
        self.outcome = outcome
        self.done.set()


class Transactor:
    """Sends one account's transactions. Made by `open_transactor`; any task may call `send`."""

    def __init__(
        self, chain: Chain, signer: TransactionSigner, journal: TransactionLog, abis: Mapping[Address, Abi]
    ) -> None:
        self._chain: Final = chain
        self._signer: Final = signer
        self._journal: Final = journal
        self._abis: Final = abis
        self._book = TransactionBook()
        self._waiters: Final[dict[Digest, list[_Waiter]]] = {}
        self._sent_at: Final[dict[Digest, float]] = {}  # by transaction hash, monotonic
        self._first_sent_at: Final[dict[Digest, float]] = {}
        self._lost_since: Final[dict[Digest, float]] = {}  # by intent, monotonic
        self._blocked: Final[dict[Digest, str]] = {}
        self._trouble = ""
        self._post, self._inbox = trio.open_memory_channel[_Waiter](INBOX)

    @property
    def address(self) -> Address:
        """The account."""
        return self._signer.address

    async def send(self, request: Request) -> Receipt:
        """Make a call and wait until it is confirmed. Cancelling the wait does not stop the transaction.

        Raises:
            Reverted: The contract said no, beforehand (nothing was sent) or in the block.
            SpendingCapExceeded: A spending cap is in the way; nothing was signed.
            UndeclaredSpend: The wallet's rules forbid it; nothing was signed.
            InvalidRequest: An unknown contract, or the key of another call.
            FateUnknown: It was asked for before the node was restored, and may have been done since.
            TransientError: The request could not be journaled.
        """
        if request.to not in self._abis:
            raise InvalidRequest(f"{request.title}: {format_address(request.to)} is no contract of this deployment")
        waiter = _Waiter(request)
        await self._post.send(waiter)
        await waiter.done.wait()
        if isinstance(waiter.outcome, Exception):
            raise waiter.outcome
        assert waiter.outcome is not None
        return waiter.outcome

    def in_hand(self) -> tuple[InHand, ...]:
        """Return what is queued or on its way."""
        return tuple(
            InHand(
                title=job.intended.title,
                nonce=job.attempts[-1].nonce if job.attempts else None,
                attempts=len(job.attempts),
                max_fee=job.attempts[-1].max_fee if job.attempts else 0,
                waits_for=self._blocked.get(job.intended.intent, self._trouble),
            )
            for job in (*self._book.in_flight, *self._book.queued)
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the account until cancelled."""
        self._book = replay(await self._journal.load())
        task_status.started()
        failures = 0
        while True:
            await self._accept(wait_s=self._idle_s() if self._is_idle() else self._pause_s(failures))
            try:
                await self._advance()
            except TransientError as error:
                failures += 1
                self._trouble = str(error)
                log.warning("chain.transactions_wait", reason=str(error), failures=failures)
            else:
                failures = 0
                self._trouble = ""

    def _is_idle(self) -> bool:
        return not self._book.queued and not self._book.in_flight and not self._waiters

    def _idle_s(self) -> float | None:
        return IDLE_LOOK_S if self._book.sent else None

    def _pause_s(self, failures: int) -> float:
        return min(self._chain.profile.poll_s * 2 ** min(failures, 8), BACKOFF_MOST_S)

    async def _accept(self, *, wait_s: float | None) -> None:
        """Journal what was asked for, after waiting for the first request at most `wait_s`."""
        with trio.move_on_after(float("inf") if wait_s is None else wait_s):
            await self._enlist(await self._inbox.receive())
        while True:
            try:
                waiter = self._inbox.receive_nowait()
            except trio.WouldBlock:
                return
            await self._enlist(waiter)

    async def _enlist(self, waiter: _Waiter) -> None:
        request = waiter.request
        # Before the first await: a request that was taken out of the inbox is never lost to the timeout around us.
        self._waiters.setdefault(request.intent, []).append(waiter)
        job = self._book.jobs.get(request.intent)
        if job is not None:  # in hand, or done for good: `_advance` answers
            if job.confirmed is None and (job.intended.to, job.intended.data) != (request.to, request.data):
                self._waiters[request.intent].remove(waiter)
                waiter.finish(InvalidRequest(f"{request.title} has the key of another call: {job.intended.title}"))
            return
        intended = TransactionIntended(
            intent=request.intent,
            once=int(request.key is not None),
            to=request.to,
            data=request.data,
            title=request.title,
            spend=request.spend,
        )
        try:
            await self._record(intended)
        except TransientError as error:  # the disk is full, say: nothing was promised to be done
            self._finish(request.intent, error)

    async def _advance(self) -> None:
        await self._answer_finished()
        if not self._book.queued and not self._book.in_flight and not self._book.sent:
            return
        head = await self._chain.head()
        confirmed = max(0, head.number - (self._chain.profile.confirmations - 1))
        final_count = await self._count(hexed(confirmed))
        included_count = await self._count("latest")
        await self._fill_gap(included_count)
        for job in self._book.in_flight:
            await self._follow(job, head, final_count)
        for job in self._book.queued:
            if len(self._book.in_flight) >= MAX_IN_FLIGHT:
                break
            await self._start(job, head, included_count)

    async def _count(self, block: Json) -> int:
        return quantity(await self._chain.rpc.call("eth_getTransactionCount", hexed(self.address), block))

    async def _answer_finished(self) -> None:
        for intent in list(self._waiters):
            job = self._book.jobs.get(intent)
            if job is None or job.confirmed is None:
                continue
            receipt = await self._chain.receipt(job.confirmed.transaction)
            if receipt is not None:  # None: the chain lost it, and `_fill_gap` is bringing it back
                self._finish(intent, receipt)

    async def _fill_gap(self, included_count: int) -> None:
        """Send confirmed transactions again that the chain has forgotten, or later ones could never be included."""
        for nonce in sorted(self._book.sent):
            if nonce >= included_count:
                log.warning("chain.confirmed_transaction_lost", nonce=nonce)
                await self._broadcast_raw(self._book.sent[nonce])

    async def _follow(self, job: Job, head: Block, final_count: int) -> None:
        """See what became of a job's transactions; send or replace them as needed."""
        for attempt in reversed(job.attempts):
            receipt = await self._chain.receipt(attempt.hash)
            if receipt is None:
                continue
            if head.number - receipt.block + 1 >= self._chain.profile.confirmations:
                await self._confirm(job, receipt)
            return  # included: only depth is missing
        newest = job.attempts[-1]
        if newest.nonce < final_count:
            await self._doubt_nonce(job)
            return
        self._lost_since.pop(newest.intent, None)
        now = trio.current_time()
        first = self._first_sent_at.setdefault(newest.hash, now)
        if now - first >= self._chain.profile.stuck_after_s:
            await self._replace(job, head)
        elif now - self._sent_at.get(newest.hash, float("-inf")) >= RESEND_S:
            await self._broadcast(job, newest)

    async def _doubt_nonce(self, job: Job) -> None:
        """Give up a nonce that a confirmed transaction has taken, once it is sure that it was none of ours.

        The count and the receipts may come from two nodes behind one address, or from one that knows the block and not
        yet its receipts: to sign anew at once could make the call twice.
        """
        newest, now = job.attempts[-1], trio.current_time()
        since = self._lost_since.setdefault(newest.intent, now)
        for attempt in job.attempts:
            known = await self._chain.rpc.call("eth_getTransactionByHash", hexed(attempt.hash))
            if known is not None and members(known).get("blockNumber") is not None:
                self._lost_since[newest.intent] = now  # included: its receipt will come
                return
        if now - since < self._chain.profile.stuck_after_s:
            return
        del self._lost_since[newest.intent]
        log.warning("chain.nonce_lost", title=job.intended.title, nonce=newest.nonce)
        await self._record(NonceLost(intent=newest.intent, nonce=newest.nonce))

    async def _confirm(self, job: Job, receipt: Receipt) -> None:
        intent = job.intended.intent
        failure = None if receipt.succeeded else await self._explain(job, receipt)
        await self._record(
            TransactionConfirmed(
                intent=intent,
                transaction=receipt.transaction,
                block=receipt.block,
                block_hash=receipt.block_hash,
                succeeded=int(receipt.succeeded),
                gas_used=receipt.gas_used,
                gas_price=receipt.gas_price,
            )
        )
        log.info(
            "chain.transaction_confirmed",
            title=job.intended.title,
            transaction=receipt.transaction.hex(),
            block=receipt.block,
            succeeded=receipt.succeeded,
            gas_used=receipt.gas_used,
        )
        for attempt in job.attempts:
            self._sent_at.pop(attempt.hash, None)
            self._first_sent_at.pop(attempt.hash, None)
        self._lost_since.pop(intent, None)
        self._finish(intent, failure or receipt)

    async def _explain(self, job: Job, receipt: Receipt) -> Reverted:
        """Find out why an included transaction reverted, by making the call again in the state before its block."""
        intended = job.intended
        abi = self._abis[intended.to]
        try:
            await self._chain.call(
                abi, intended.to, intended.data, sender=self.address, block=hexed(max(0, receipt.block - 1))
            )
        except Reverted as error:
            return error
        except RpcRefused:
            pass  # the node no longer has that state
        return Reverted("", {}, b"", contract=abi.name)

    async def _start(self, job: Job, head: Block, included_count: int) -> None:
        """Estimate, sign and send a queued job."""
        intended = job.intended
        if intended.intent in self._book.doubtful:
            await self._abandon(job, FateUnknown(intended.title))
            return
        try:
            gas = await self._estimate(intended)
            fees = compute_fees(base_fee=head.base_fee, tip=await self._tip(), cap=self._chain.profile.max_fee)
            await self._sign_and_send(job, self._book.next_nonce(included_count), gas, fees)
        except Reverted as error:
            if self._book.in_flight:
                # It may depend on one that is on its way (an approval, say), so ask again when they are confirmed.
                self._blocked[intended.intent] = f"would revert now: {error}"
                return
            await self._abandon(job, error)
        except ProtocolError as error:
            await self._abandon(job, error)
        except GasPriceAboveCap as error:
            self._blocked[intended.intent] = str(error)

    async def _estimate(self, intended: TransactionIntended) -> int:
        call: dict[str, Json] = {
            "from": hexed(self.address),
            "to": hexed(intended.to),
            "data": hexed(intended.data),
        }
        try:
            estimate = quantity(await self._chain.rpc.call("eth_estimateGas", call, "pending"))
        except Reverted as error:
            raise self._abis[intended.to].decode_error(error.data) from error
        return estimate * GAS_MARGIN_PERCENT // 100

    async def _tip(self) -> int:
        least = self._chain.profile.min_priority_fee
        try:
            return max(least, quantity(await self._chain.rpc.call("eth_maxPriorityFeePerGas")))
        except RpcRefused:  # not every node has the method
            return least

    async def _replace(self, job: Job, head: Block) -> None:
        newest = job.attempts[-1]
        previous = Fees(priority=newest.priority_fee, most=newest.max_fee)
        self._first_sent_at[newest.hash] = trio.current_time()
        try:
            fees = compute_replacement(
                previous, base_fee=head.base_fee, tip=await self._tip(), cap=self._chain.profile.max_fee
            )
        except GasPriceAboveCap as error:
            self._blocked[newest.intent] = str(error)
            await self._broadcast(job, newest)
            return
        log.info("chain.transaction_replaced", title=job.intended.title, nonce=newest.nonce, max_fee=fees.most)
        await self._sign_and_send(job, newest.nonce, newest.gas, fees)

    async def _sign_and_send(self, job: Job, nonce: int, gas: int, fees: Fees) -> None:
        intended = job.intended
        raw = await self._signer.sign_transaction(
            chain_id=self._chain.profile.chain_id,
            nonce=nonce,
            max_priority_fee=fees.priority,
            max_fee=fees.most,
            gas=gas,
            to=intended.to,
            value=0,
            data=intended.data,
            spend=intended.spend,
        )
        signed = TransactionSigned(
            intent=intended.intent, nonce=nonce, priority_fee=fees.priority, max_fee=fees.most, gas=gas, raw=raw
        )
        await self._record(signed)
        self._blocked.pop(intended.intent, None)
        await self._broadcast(self._book.jobs[intended.intent], signed)

    async def _broadcast(self, job: Job, signed: TransactionSigned) -> None:
        now = trio.current_time()
        self._sent_at[signed.hash] = now
        self._first_sent_at.setdefault(signed.hash, now)
        try:
            await self._broadcast_raw(signed.raw)
        except GasPurseEmpty as error:
            self._blocked[job.intended.intent] = str(error)
            log.warning("chain.gas_purse_empty", title=job.intended.title, address=format_address(self.address))

    async def _broadcast_raw(self, raw: bytes) -> None:
        try:
            await self._chain.rpc.call("eth_sendRawTransaction", hexed(raw))
        except RpcRefused as error:
            text = error.text.lower()
            if any(known in text for known in _NO_GAS_MONEY):
                raise GasPurseEmpty(self.address) from error
            if not any(known in text for known in (*_ALREADY_THERE, *_SUPERSEDED)):
                raise

    async def _abandon(self, job: Job, error: Exception) -> None:
        intent = job.intended.intent
        await self._record(TransactionAbandoned(intent=intent, reason=str(error)[:REASON_MAX]))
        log.info("chain.transaction_abandoned", title=job.intended.title, reason=str(error))
        self._finish(intent, error)

    def _finish(self, intent: Digest, outcome: Receipt | Exception) -> None:
        self._blocked.pop(intent, None)
        for waiter in self._waiters.pop(intent, ()):
            waiter.finish(outcome)

    async def _record(self, record: TransactionRecord) -> None:
        # The log and the book must not part if we are cancelled in between.
        with trio.CancelScope(shield=True):
            await self._journal.append(record)
            self._book.apply(record)


@asynccontextmanager
async def open_transactor(
    chain: Chain, signer: TransactionSigner, journal: TransactionLog, abis: Mapping[Address, Abi]
) -> AsyncGenerator[Transactor, None]:
    """Send transactions of the signer's account until the block ends; what is in hand then goes on at the next start.

    Args:
        chain: Where to.
        signer: The wallet; nobody else may send from its account meanwhile (if somebody does, nonces are chosen anew).
        journal: The account's records.
        abis: The contracts that may be called, to decode their errors.
    """
    transactor = Transactor(chain, signer, journal, abis)
    async with trio.open_nursery() as nursery:
        await nursery.start(transactor.run)
        yield transactor
        nursery.cancel_scope.cancel()
