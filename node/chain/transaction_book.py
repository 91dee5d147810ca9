"""Which transactions an account has in hand. A pure fold over records that are durable before they have effects.

    TransactionIntended   somebody wants a call made                        queued
    TransactionSigned     a raw transaction exists and may be on its way     in flight (more than one: replaced)
    NonceLost             the nonce went to another transaction              queued again
    TransactionConfirmed  one of the signed ones is in a confirmed block     finished
    TransactionAbandoned  it was never signed and never will be              finished
    HistoryForgotten      what is in hand may have gone on meanwhile          in hand, never signed under a new nonce

A signed transaction is never abandoned: whoever has seen it could still send it. All signed ones of an intent share one
nonce at a time, so at most one of them is ever included: sending any of them again is harmless.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Annotated, Final, TypeAlias

from protocol.identity import Address, Digest
from protocol.signing.keccak import keccak256
from protocol.spending import Spend
from protocol.units import Uint8, Uint64, Uint128
from protocol.wire.codec import MaxLen, tagged

MAX_DATA_BYTES: Final = 122_880
"""Nodes take transactions of 128 KiB at most."""


@tagged(1)
@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionIntended:
    """A call to be made once.

    Attributes:
        intent: Its name.
        once: 1: after it has succeeded the same intent is never sent again. 0: only while it is in hand.
        to: The contract.
        data: Call data.
        title: What it is, for people.
        spend: What it promises, if anything.
    """

    intent: Digest
    once: Uint8
    to: Address
    data: Annotated[bytes, MaxLen(MAX_DATA_BYTES)]
    title: Annotated[str, MaxLen(200)]
    spend: Spend | None


@tagged(2)
@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionSigned:
    """A raw transaction for an intent."""

    intent: Digest
    nonce: Uint64
    priority_fee: Uint128
    max_fee: Uint128
    gas: Uint64
    raw: Annotated[bytes, MaxLen(131_072)]

    @property
    def hash(self) -> Digest:
        """The transaction's hash."""
        return keccak256(self.raw)


@tagged(3)
@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionConfirmed:
    """One of an intent's transactions is in a confirmed block."""

    intent: Digest
    transaction: Digest
    block: Uint64
    block_hash: Digest
    succeeded: Uint8
    gas_used: Uint64
    gas_price: Uint128


@tagged(4)
@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionAbandoned:
    """An intent that was never signed, and why."""

    intent: Digest
    reason: Annotated[str, MaxLen(1_000)]


@tagged(5)
@dataclass(frozen=True, slots=True, kw_only=True)
class NonceLost:
    """A confirmed transaction of somebody else has the nonce: none of the intent's signed ones can be included."""

    intent: Digest
    nonce: Uint64


@tagged(6)
@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryForgotten:
    """The records up to here come from a backup: their intents may have been carried out since, under any nonce."""


TransactionRecord: TypeAlias = (
    TransactionIntended | TransactionSigned | TransactionConfirmed | TransactionAbandoned | NonceLost | HistoryForgotten
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One intent. `attempts` share a nonce, the newest last; `confirmed` ends it."""

    intended: TransactionIntended
    attempts: tuple[TransactionSigned, ...] = ()
    confirmed: TransactionConfirmed | None = None


@dataclass(slots=True)
class TransactionBook:
    """All jobs in hand, and the finished ones that must never be sent again. Owned by one task."""

    jobs: dict[Digest, Job] = field(default_factory=dict[Digest, Job])
    sent: dict[int, bytes] = field(default_factory=dict[int, bytes])
    """Confirmed raw transactions by nonce, the newest `KEEP_SENT`, for a chain that lost its last blocks."""
    doubtful: set[Digest] = field(default_factory=set[Digest])
    """Intents that may have been carried out without our knowledge. What was signed for them may be sent again, which
    is harmless; nothing new is signed for them unless they are asked for again."""

    def apply(self, record: TransactionRecord) -> None:
        """Apply a durable record."""
        match record:
            case TransactionIntended():
                self.jobs[record.intent] = Job(intended=record)
                self.doubtful.discard(record.intent)
            case TransactionSigned():
                job = self.jobs[record.intent]
                self.jobs[record.intent] = replace(job, attempts=(*job.attempts, record))
            case NonceLost():
                self.jobs[record.intent] = replace(self.jobs[record.intent], attempts=())
            case TransactionAbandoned():
                del self.jobs[record.intent]
            case HistoryForgotten():
                self.doubtful = {intent for intent in self.jobs if self.is_in_hand(intent)}
            case TransactionConfirmed():
                self._confirm(record)

    @property
    def queued(self) -> tuple[Job, ...]:
        """Jobs without a transaction, oldest first."""
        return tuple(job for job in self.jobs.values() if not job.attempts and job.confirmed is None)

    @property
    def in_flight(self) -> tuple[Job, ...]:
        """Jobs whose transaction is on its way, by nonce."""
        flying = [job for job in self.jobs.values() if job.attempts and job.confirmed is None]
        return tuple(sorted(flying, key=lambda job: job.attempts[-1].nonce))

    def is_in_hand(self, intent: Digest) -> bool:
        """Whether `intent` is queued or on its way."""
        job = self.jobs.get(intent)
        return job is not None and job.confirmed is None

    def next_nonce(self, on_chain: int) -> int:
        """Return the nonce for a new transaction, given the account's count of included ones."""
        return max(on_chain, *(job.attempts[-1].nonce + 1 for job in self.in_flight), 0)

    def _confirm(self, record: TransactionConfirmed) -> None:
        job = self.jobs[record.intent]
        for attempt in job.attempts:
            if attempt.hash == record.transaction:
                self.sent[attempt.nonce] = attempt.raw
        while len(self.sent) > KEEP_SENT:
            del self.sent[min(self.sent)]
        if job.intended.once and record.succeeded:
            # The bytes are no longer needed, and there may be many such jobs.
            self.jobs[record.intent] = Job(intended=replace(job.intended, data=b""), confirmed=record)
        else:
            del self.jobs[record.intent]


KEEP_SENT: Final = 64


def replay(records: Iterable[TransactionRecord]) -> TransactionBook:
    """Make a book of all records of an account, oldest first."""
    book = TransactionBook()
    for record in records:
        book.apply(record)
    return book
