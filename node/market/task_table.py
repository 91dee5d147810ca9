"""Projection: one row a task that this node bought, for lists and for finding a purchase by its award.

A task in several copies has a row for each slot besides, and its own says how they stand together: the parts that any
of them has shown, what all of them cost, and how far the foremost is that is not over.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BigInteger, Column, Connection, LargeBinary, String, Table, delete, insert, select, update

from node.market.purchase_run import STREAMS, PurchaseContext, parse_stream, stream_of
from node.storage.chain import Record
from node.storage.engine import new_metadata
from node.storage.machine_log import CLOSED, OPENED
from node.storage.tables import BIG, ForeignText
from protocol.identity import ZERO_DIGEST, Address, Digest
from protocol.task import purchase
from protocol.units import Amount, UnixTime
from protocol.wire.codec import decode_as

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
    Column("copies", BIG, nullable=False),
)
task_copies = Table(
    "task_copy",
    _metadata,
    Column("offer", LargeBinary(32), primary_key=True),
    Column("slot", BIG, primary_key=True, autoincrement=False),
    Column("state", String(16), nullable=False),
    Column("reason", ForeignText(512), nullable=False, default=""),
    Column("spent", String(40), nullable=False),
    Column("due", String(40), nullable=False),
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
    Column("slot", BIG, nullable=False),
)

_OVER: Final = ("done", "failed", "cancelled")
_ORDER: Final = ("bidding", "standby", "funding", "awarded", "running")
"""How far a slot is that is not over."""


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
    copies: int = 1

    @property
    def is_escrow(self) -> bool:
        """Whether the award in force is paid from an escrow."""
        return self.channel == ZERO_DIGEST


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyRow:
    """One slot of a task in several copies. `provider` is the one at work, or the last that was."""

    slot: int
    state: str
    reason: str
    spent: Amount
    paid_parts: int
    provider: Address | None


class TaskTable:
    """Keeps `tasks`, `task_copies` and `task_awards`."""

    name = "task"
    version = 2
    tables = (tasks, task_copies, task_awards)

    def apply(self, connection: Connection, record: Record) -> None:
        """Write what one record of a purchase changes."""
        if not record.stream.startswith(STREAMS) or record.kind == CLOSED:
            return
        offer, slot = parse_stream(record.stream)
        if record.kind == OPENED:
            opened = _opened(record)
            if slot == 0:
                connection.execute(insert(tasks).values(opened))
            if opened["copies"] != 1:
                shared = {each.name: opened[each.name] for each in task_copies.columns if each.name in opened}
                connection.execute(insert(task_copies).values(slot=slot, **shared))
            return
        event: purchase.Event = decode_as(_events(), record.body, max_bytes=_MAX_RECORD)
        if isinstance(event, purchase.WinnerChosen):
            connection.execute(insert(task_awards).values(award=event.award_id, offer=offer, slot=slot))
        row = connection.execute(select(tasks).where(tasks.c.offer == offer)).one_or_none()
        if row is None:  # made again from what is left while the slots of a task that is over are pruned
            return
        if row.copies == 1:
            changes = _changes(event, row)
        else:
            mine = (task_copies.c.offer == offer) & (task_copies.c.slot == slot)
            copy = connection.execute(select(task_copies).where(mine)).one()
            connection.execute(update(task_copies).where(mine).values({"offer": offer, **_changes(event, copy)}))
            changes = _together(_copies_of(connection, offer))
        connection.execute(update(tasks).where(tasks.c.offer == offer).values({"changed_at": record.at, **changes}))

    def forget(self, connection: Connection, stream: str) -> None:
        """Drop the task, its copies and its awards: what they lead to is gone."""
        if stream.startswith(STREAMS):
            offer, _ = parse_stream(stream)
            for table in (task_awards, task_copies, tasks):
                connection.execute(delete(table).where(table.c.offer == offer))


def list_tasks(connection: Connection, *, limit: int, open_only: bool) -> tuple[TaskRow, ...]:
    """Return the newest tasks first."""
    query = select(tasks).order_by(tasks.c.submitted_at.desc()).limit(limit)
    if open_only:
        query = query.where(tasks.c.state.not_in(_OVER))
    return tuple(_row(row) for row in connection.execute(query))


def find_task(connection: Connection, prefix: str) -> tuple[TaskRow, ...]:
    """Return the tasks whose id begins with the hexadecimal digits `prefix`, two at most: enough to see a tie."""
    low = bytes.fromhex(prefix.ljust(64, "0"))
    high = bytes.fromhex(prefix.ljust(64, "f"))
    query = select(tasks).where(tasks.c.offer >= low, tasks.c.offer <= high).limit(2)
    return tuple(_row(row) for row in connection.execute(query))


def list_copies(connection: Connection, offer: Digest) -> tuple[CopyRow, ...]:
    """Return the slots of a task in several copies; none if it has one only."""
    return tuple(
        CopyRow(
            slot=row.slot,
            state=row.state,
            reason=row.reason,
            spent=Amount(int(row.spent)),
            paid_parts=row.paid_parts,
            provider=None if row.provider is None else Address(row.provider),
        )
        for row in _copies_of(connection, offer)
    )


def find_purchase_of_award(connection: Connection, award_id: Digest) -> str | None:
    """Return the stream of the purchase for which an award was made."""
    row = connection.execute(select(task_awards).where(task_awards.c.award == award_id)).one_or_none()
    return None if row is None else stream_of(Digest(row.offer), row.slot)


def find_awards(connection: Connection, digits: str) -> tuple[Digest, ...]:
    """Return the awards of purchases whose ids begin with these hexadecimal digits; none if they are no digits."""
    try:
        first, last = (bytes.fromhex(digits.ljust(64, filler)) for filler in "0f")
    except ValueError:
        return ()
    query = select(task_awards.c.award).where(task_awards.c.award.between(first, last)).order_by(task_awards.c.award)
    return tuple(Digest(bytes(award)) for award in connection.execute(query).scalars())


def _copies_of(connection: Connection, offer: bytes) -> Sequence[Any]:
    query = select(task_copies).where(task_copies.c.offer == offer).order_by(task_copies.c.slot)
    return connection.execute(query).all()


def _together(copies: Sequence[Any]) -> dict[str, object]:
    """Say of a task what its slots say together."""
    working = [each for each in copies if each.state not in _OVER]
    foremost = max(working or copies, key=lambda each: (each.paid_parts, each.provider is not None))
    shown = max(each.paid_parts for each in copies)
    states = {each.state for each in copies}
    if working:
        state = max((each.state for each in working), key=_ORDER.index)
    elif shown == foremost.parts:
        state = "done"
    else:
        state = "cancelled" if "cancelled" in states else "failed"
    return {
        "state": state,
        "reason": "" if state == "done" else next((each.reason for each in copies if each.reason), ""),
        "spent": str(sum(int(each.spent) for each in copies)),
        "paid_parts": shown,
        "attempt": max(each.attempt for each in copies),
        "provider": foremost.provider,
        "channel": foremost.channel,
    }


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
        "copies": offer.copies,
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
                "paid_parts": value.first_part,
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
        case (
            purchase.ProviderFailed(reason=reason)
            | purchase.AuditRefuted(reason=reason)
            | purchase.ReceiptContested(reason=reason)
        ):
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
        copies=row.copies,
    )
