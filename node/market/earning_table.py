"""Projection: what this node earned, one row an award, from the parts that were paid."""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    LargeBinary,
    String,
    Table,
    delete,
    insert,
    select,
    update,
)

from node.market.delivery_run import DeliveryContext
from node.storage.chain import Record
from node.storage.engine import new_metadata
from node.storage.machine_log import CLOSED, OPENED
from node.storage.tables import BIG, ForeignText
from protocol.identity import ZERO_DIGEST, Address, Digest
from protocol.task import delivery
from protocol.units import Amount, UnixTime
from protocol.wire.codec import decode_as

STREAMS: Final = "delivery/"
_MAX_RECORD: Final = 1 << 20

earnings = Table(
    "earning",
    new_metadata(),
    Column("award", LargeBinary(32), primary_key=True),
    Column("requester", LargeBinary(20), nullable=False),
    Column("task", ForeignText(256), nullable=False),
    Column("taken_at", BigInteger, nullable=False, index=True),
    Column("state", String(16), nullable=False),
    Column("reason", ForeignText(512), nullable=False),
    Column("price", String(40), nullable=False),
    Column("earned", String(40), nullable=False),
    Column("parts", BIG, nullable=False),
    Column("paid_parts", BIG, nullable=False),
    Column("escrow", Integer, nullable=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EarningRow:
    """What one award brought. `price` is at full limits, `earned` what the accepted parts cost."""

    award: Digest
    requester: Address
    task: str
    taken_at: UnixTime
    state: str
    reason: str
    price: Amount
    earned: Amount
    parts: int
    paid_parts: int
    is_escrow: bool


class EarningTable:
    """Keeps `earnings`."""

    name = "earning"
    version = 1
    tables = (earnings,)

    def apply(self, connection: Connection, record: Record) -> None:
        """Write what one record of a delivery changes."""
        if not record.stream.startswith(STREAMS) or record.kind == CLOSED:
            return
        if record.kind == OPENED:
            connection.execute(insert(earnings).values(_opened(record)))
            return
        hint: Any = delivery.Event
        event: delivery.Event = decode_as(hint, record.body, max_bytes=_MAX_RECORD)
        award = bytes.fromhex(record.stream.removeprefix(STREAMS))
        row = connection.execute(select(earnings).where(earnings.c.award == award)).one()
        changes = _changes(event, row)
        if changes:
            connection.execute(update(earnings).where(earnings.c.award == award).values(changes))

    def forget(self, connection: Connection, stream: str) -> None:
        """Drop the award's row, so that a rebuild would give the same table."""
        if stream.startswith(STREAMS):
            award = bytes.fromhex(stream.removeprefix(STREAMS))
            connection.execute(delete(earnings).where(earnings.c.award == award))


def list_earnings(connection: Connection, *, since: UnixTime, limit: int) -> tuple[EarningRow, ...]:
    """Return the awards taken since then, newest first."""
    query = select(earnings).where(earnings.c.taken_at >= since).order_by(earnings.c.taken_at.desc()).limit(limit)
    return tuple(_row(row) for row in connection.execute(query))


def _opened(record: Record) -> dict[str, object]:
    context: DeliveryContext = decode_as(DeliveryContext, record.body, max_bytes=_MAX_RECORD)
    award = context.job.award.value
    return {
        "award": context.job.award_id,
        "requester": award.requester,
        "task": context.manifest.name,
        "taken_at": record.at,
        "state": "awaiting money",
        "reason": "",
        "price": str(award.price),
        "earned": "0",
        "parts": award.parts,
        "paid_parts": 0,
        "escrow": int(award.channel == ZERO_DIGEST),
    }


def _changes(event: delivery.Event, row: Any) -> dict[str, object]:
    match event:
        case delivery.RailConfirmed():
            return {"state": "fetching"}
        case delivery.InputsHeld():
            return {"state": "running"}
        case delivery.PartRan():
            return {"state": "unpaid"}
        case delivery.PartPaid(acceptance=acceptance):
            paid = row.paid_parts + 1
            state = "delivered" if paid == row.parts else "running"
            return {"earned": str(acceptance.value.due), "paid_parts": paid, "state": state}
        case delivery.PartFailed(reason=reason) | delivery.Withdrawn(reason=reason):
            return {"state": "dropped", "reason": reason}
        case delivery.PaymentOverdue():
            return {"state": "dropped", "reason": "the requester did not pay"}
        case delivery.SecretHeard():
            return {}


def _row(row: Any) -> EarningRow:
    return EarningRow(
        award=Digest(row.award),
        requester=Address(row.requester),
        task=row.task,
        taken_at=UnixTime(row.taken_at),
        state=row.state,
        reason=row.reason,
        price=Amount(int(row.price)),
        earned=Amount(int(row.earned)),
        parts=row.parts,
        paid_parts=row.paid_parts,
        is_escrow=bool(row.escrow),
    )
