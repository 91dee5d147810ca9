"""Projection: one row a task that this node bought, for lists and for finding a task by its award."""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BigInteger, Column, Connection, LargeBinary, String, Table, delete, insert, select, update

from node.market.purchase_run import PurchaseContext
from node.storage.chain import Record
from node.storage.engine import new_metadata
from node.storage.machine_log import CLOSED, OPENED
from node.storage.tables import BIG, ForeignText
from protocol.identity import ZERO_DIGEST, Address, Digest
from protocol.task import purchase
from protocol.units import Amount, UnixTime
from protocol.wire.codec import decode_as

STREAMS: Final = "purchase/"
_MAX_RECORD: Final = 1 << 20

_metadata = new_metadata()
tasks = Table(
    "task",
    _metadata,
    Column("offer", LargeBinary(32), primary_key=True),
    Column("name", ForeignText(256), nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", ForeignText(512), nullable=False, default=""),
    Column("submitted_at", BigInteger, nullable=False, index=True),
    Column("changed_at", BigInteger, nullable=False),
    # Amounts as text: SQLite's integers end at 63 bits.
    Column("budget", String(40), nullable=False),
    Column("spent", String(40), nullable=False),
    Column("due", String(40), nullable=False),  # of `spent`, what is owed under the award in force
    Column("parts", BIG, nullable=False),
    Column("paid_parts", BIG, nullable=False),
    Column("attempt", BIG, nullable=False),
    Column("provider", LargeBinary(20)),
    Column("channel", LargeBinary(32)),
)
task_awards = Table(
    "task_award",
    _metadata,
    Column("award", LargeBinary(32), primary_key=True),
    Column("offer", LargeBinary(32), nullable=False, index=True),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    """A task at a glance. `channel` is None before an award and zero for escrow."""

    offer: Digest
    name: str
    state: str
    reason: str
    submitted_at: UnixTime
    changed_at: UnixTime
    budget: Amount
    spent: Amount
    parts: int
    paid_parts: int
    attempt: int
    provider: Address | None
    channel: Digest | None

    @property
    def is_escrow(self) -> bool:
        """Whether the award in force is paid from an escrow."""
        return self.channel == ZERO_DIGEST


class TaskTable:
    """Keeps `tasks` and `task_awards`."""

    name = "task"
    version = 1
    tables = (tasks, task_awards)

    def apply(self, connection: Connection, record: Record) -> None:
        """Write what one record of a purchase changes."""
        if not record.stream.startswith(STREAMS) or record.kind == CLOSED:
            return
        if record.kind == OPENED:
            connection.execute(insert(tasks).values(_opened(record)))
            return
        offer = bytes.fromhex(record.stream.removeprefix(STREAMS))
        row = connection.execute(select(tasks).where(tasks.c.offer == offer)).one()
        event: purchase.Event = decode_as(_events(), record.body, max_bytes=_MAX_RECORD)
        if isinstance(event, purchase.WinnerChosen):
            connection.execute(insert(task_awards).values(award=event.award_id, offer=offer))
        changes = {"changed_at": record.at, **_changes(event, row)}
        connection.execute(update(tasks).where(tasks.c.offer == offer).values(changes))

    def forget(self, connection: Connection, stream: str) -> None:
        """Drop the task and its awards: what they lead to is gone."""
        if stream.startswith(STREAMS):
            offer = bytes.fromhex(stream.removeprefix(STREAMS))
            connection.execute(delete(task_awards).where(task_awards.c.offer == offer))
            connection.execute(delete(tasks).where(tasks.c.offer == offer))


def list_tasks(connection: Connection, *, limit: int, open_only: bool) -> tuple[TaskRow, ...]:
    """Return the newest tasks first."""
    query = select(tasks).order_by(tasks.c.submitted_at.desc()).limit(limit)
    if open_only:
        query = query.where(tasks.c.state.not_in(("done", "failed", "cancelled")))
    return tuple(_row(row) for row in connection.execute(query))


def find_task(connection: Connection, prefix: str) -> tuple[TaskRow, ...]:
    """Return the tasks whose id begins with the hexadecimal digits `prefix`, two at most: enough to see a tie."""
    low = bytes.fromhex(prefix.ljust(64, "0"))
    high = bytes.fromhex(prefix.ljust(64, "f"))
    query = select(tasks).where(tasks.c.offer >= low, tasks.c.offer <= high).limit(2)
    return tuple(_row(row) for row in connection.execute(query))


def find_offer_of_award(connection: Connection, award_id: Digest) -> Digest | None:
    """Return the task under which an award was made."""
    return connection.execute(select(task_awards.c.offer).where(task_awards.c.award == award_id)).scalar_one_or_none()


def _events() -> Any:
    return purchase.Event


def _opened(record: Record) -> dict[str, object]:
    context: PurchaseContext = decode_as(PurchaseContext, record.body, max_bytes=_MAX_RECORD)
    offer = context.offer.value
    return {
        "offer": context.offer_id,
        "name": context.manifest.name,
        "state": "bidding",
        "reason": "",
        "submitted_at": record.at,
        "changed_at": record.at,
        "budget": str(offer.budget),
        "spent": "0",
        "due": "0",
        "parts": offer.parts,
        "paid_parts": 0,
        "attempt": 0,
    }


def _changes(event: purchase.Event, row: Any) -> dict[str, object]:
    match event:
        case purchase.WinnerChosen(award=award):
            value = award.value
            return {
                "state": "funding",
                "provider": value.provider,
                "channel": value.channel,
                "attempt": value.attempt,
                "due": "0",
            }
        case purchase.RailFunded():
            return {"state": "awarded"}
        case purchase.Started():
            return {"state": "running"}
        case purchase.PartReceived(receipt=receipt):
            paid, due = row.paid_parts + 1, receipt.value.due
            return {
                "paid_parts": paid,
                "spent": str(int(row.spent) + due - int(row.due)),
                "due": str(due),
                "state": "done" if paid == row.parts else "running",
            }
        case purchase.NoWinner(reason=reason) | purchase.RailFailed(reason=reason):
            return {"state": "failed", "reason": reason}
        case purchase.ProviderFailed(reason=reason) | purchase.AuditRefuted(reason=reason):
            return {"state": "standby", "reason": reason}
        case purchase.AuditDrawn() | purchase.AuditPassed() | purchase.DisputeTaken():
            return {}
        case purchase.CancelRequested():
            return {"state": "cancelled"}


def _row(row: Any) -> TaskRow:
    return TaskRow(
        offer=Digest(row.offer),
        name=row.name,
        state=row.state,
        reason=row.reason,
        submitted_at=UnixTime(row.submitted_at),
        changed_at=UnixTime(row.changed_at),
        budget=Amount(int(row.budget)),
        spent=Amount(int(row.spent)),
        parts=row.parts,
        paid_parts=row.paid_parts,
        attempt=row.attempt,
        provider=None if row.provider is None else Address(row.provider),
        channel=None if row.channel is None else Digest(row.channel),
    )
