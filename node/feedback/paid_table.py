"""Projection: the awards that this node paid something for, and what became of the feedback about each."""

from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeAlias

from sqlalchemy import Column, Connection, LargeBinary, String, Table, delete, insert, or_, select, update

from node.storage.chain import Record
from node.storage.engine import new_metadata
from node.storage.machine_log import CLOSED, OPENED
from node.storage.tables import BIG, ForeignText
from protocol.identity import Address, Digest
from protocol.reputation.feedback import PaidAward
from protocol.task import purchase
from protocol.units import Amount, Uint64, UnixTime
from protocol.wire.codec import MaxLen, decode_as, tagged

PURCHASES: Final = "purchase/"
FEEDBACK: Final = "feedback/"
MAX_REASON: Final = 512
_MAX_RECORD: Final = 1 << 20


@tagged(1)
@dataclass(frozen=True, slots=True, kw_only=True)
class Intended:
    """The provider's agent is known and checked; from here on feedback may be on its way."""

    agent: Digest


@tagged(2)
@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """The registry has it, under this number."""

    index: Uint64
    transaction: Digest


@tagged(3)
@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """None will be written."""

    reason: Annotated[str, MaxLen(MAX_REASON)]


FeedbackEvent: TypeAlias = Intended | Written | Skipped

_paid = Table(
    "paid_award",
    new_metadata(),
    Column("award", LargeBinary(32), primary_key=True),
    Column("stream", String(160), nullable=False, index=True),
    Column("provider", LargeBinary(20), nullable=False),
    Column("parts", BIG, nullable=False),
    Column("paid_parts", BIG, nullable=False),
    Column("last_part", BIG, nullable=False),
    Column("receipt", LargeBinary(32), nullable=False),
    Column("due", String(40), nullable=False),
    Column("began_at", BIG, nullable=False),
    Column("ended_at", BIG, nullable=False),
    Column("fate", String(16), nullable=False),
    Column("reason", ForeignText(MAX_REASON), nullable=False),
    Column("agent", LargeBinary(32), nullable=False),
    Column("place", BIG, nullable=False),
    Column("tx_hash", LargeBinary(32), nullable=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackRow:
    """An award and its feedback.

    Attributes:
        paid: What was paid for.
        began_at: When the provider was chosen.
        fate: waiting, intended, written or skipped.
        reason: Why it was skipped.
        agent: The provider's number in the registry; None while it isn't known.
        index: The registry's number of the feedback, 0 before it is written.
        transaction: In which it was written; None before.
    """

    paid: PaidAward
    began_at: UnixTime
    fate: str
    reason: str
    agent: int | None
    index: int
    transaction: Digest | None


class PaidAwards:
    """Keeps one row an award."""

    name = "paid_award"
    version = 1
    tables = (_paid,)

    def apply(self, connection: Connection, record: Record) -> None:
        """Write what one record changes."""
        if record.stream.startswith(PURCHASES):
            if record.kind == CLOSED:
                _end(connection, record)
            elif record.kind != OPENED:
                hint: Any = purchase.Event
                _apply(connection, record, decode_as(hint, record.body, max_bytes=_MAX_RECORD))
        elif record.stream.startswith(FEEDBACK):
            award = bytes.fromhex(record.stream.removeprefix(FEEDBACK))
            hint = FeedbackEvent
            changes = _fate(decode_as(hint, record.body))
            connection.execute(update(_paid).where(_paid.c.award == award).values(changes))

    def forget(self, connection: Connection, stream: str) -> None:
        """Drop the rows of a purchase that is pruned."""
        connection.execute(delete(_paid).where(_paid.c.stream == stream))


def list_waiting(connection: Connection, *, since: UnixTime, least: Amount) -> tuple[FeedbackRow, ...]:
    """Return the awards that ended since then and paid so much, or whose feedback is on its way; oldest first."""
    query = (
        select(_paid)
        .where(_paid.c.paid_parts > 0, _paid.c.ended_at > 0)
        .where(or_(_paid.c.fate == "intended", (_paid.c.fate == "waiting") & (_paid.c.ended_at >= since)))
        .order_by(_paid.c.ended_at, _paid.c.award)
    )
    rows = map(_row, connection.execute(query))
    return tuple(row for row in rows if row.fate == "intended" or row.paid.due >= least)


def list_feedback(connection: Connection, limit: int) -> tuple[FeedbackRow, ...]:
    """Return the paid awards about which something was or may be said, newest first."""
    query = select(_paid).where(_paid.c.paid_parts > 0, _paid.c.ended_at > 0)
    query = query.order_by(_paid.c.ended_at.desc(), _paid.c.award).limit(limit)
    return tuple(map(_row, connection.execute(query)))


def _apply(connection: Connection, record: Record, event: purchase.Event) -> None:
    match event:
        case purchase.WinnerChosen(award=award, award_id=award_id):
            connection.execute(delete(_paid).where(_paid.c.award == award_id))
            connection.execute(
                insert(_paid).values(
                    award=award_id,
                    stream=record.stream,
                    provider=award.value.provider,
                    parts=award.value.parts,
                    paid_parts=0,
                    last_part=0,
                    receipt=bytes(32),
                    due="0",
                    began_at=record.at,
                    ended_at=0,
                    fate="waiting",
                    reason="",
                    agent=b"",
                    place=0,
                    tx_hash=b"",
                )
            )
        case purchase.PartReceived(receipt=receipt, receipt_id=receipt_id):
            mine = (_paid.c.award == receipt.value.award) & (_paid.c.ended_at == 0)
            connection.execute(
                update(_paid)
                .where(mine)
                .values(
                    paid_parts=_paid.c.paid_parts + 1,
                    last_part=receipt.value.part,
                    receipt=receipt_id,
                    due=str(receipt.value.due),
                )
            )
            connection.execute(
                update(_paid).where(mine, _paid.c.paid_parts == _paid.c.parts).values(ended_at=record.at)
            )
        case purchase.ProviderFailed(award_id=award_id) | purchase.RailFailed(award_id=award_id):
            mine = (_paid.c.award == award_id) & (_paid.c.ended_at == 0)
            connection.execute(update(_paid).where(mine).values(ended_at=record.at))
        case purchase.AuditRefuted() | purchase.CancelRequested():
            _end(connection, record)
        case _:
            pass


def _end(connection: Connection, record: Record) -> None:
    """Nothing more comes of what was in force in this purchase."""
    in_force = (_paid.c.stream == record.stream) & (_paid.c.ended_at == 0)
    connection.execute(update(_paid).where(in_force).values(ended_at=record.at))


def _fate(event: FeedbackEvent) -> dict[str, object]:
    match event:
        case Intended(agent=agent):
            return {"fate": "intended", "agent": agent}
        case Written(index=index, transaction=transaction):
            return {"fate": "written", "place": index, "tx_hash": transaction}
        case Skipped(reason=reason):
            return {"fate": "skipped", "reason": reason}


def _row(row: Any) -> FeedbackRow:
    return FeedbackRow(
        paid=PaidAward(
            award=Digest(row.award),
            provider=Address(row.provider),
            parts=row.parts,
            paid_parts=row.paid_parts,
            last_part=row.last_part,
            receipt=Digest(row.receipt),
            due=Amount(int(row.due)),
            ended_at=UnixTime(row.ended_at),
        ),
        began_at=UnixTime(row.began_at),
        fate=row.fate,
        reason=row.reason,
        agent=int.from_bytes(row.agent) if row.agent else None,
        index=row.place,
        transaction=Digest(row.tx_hash) if row.tx_hash else None,
    )
