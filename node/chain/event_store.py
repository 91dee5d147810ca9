"""Where the event index keeps what it has read: SQLite tables of this room's own, in the node's database."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Column, Connection, LargeBinary, Row, Table, delete, func, insert, select, tuple_

from node.chain.chain import RawLog
from node.storage.engine import new_metadata
from node.storage.schema import SchemaPart
from node.storage.storage import Storage
from node.storage.tables import BIG
from protocol.identity import Address, Digest
from protocol.units import UnixTime

KEEP_CHECKPOINTS: Final = 512
"""Reorganisations deeper than the blocks that these span begin the index anew."""

LAST_INDEX: Final = 2**32
_DIGEST: Final = 32
_ADDRESS: Final = 20

metadata = new_metadata()

chain_log = Table(
    "chain_log",
    metadata,
    Column("block", BIG, primary_key=True, autoincrement=False),
    Column("log_index", BIG, primary_key=True, autoincrement=False),
    Column("block_hash", LargeBinary(32), nullable=False),
    Column("transaction", LargeBinary(32), nullable=False),
    Column("address", LargeBinary(20), nullable=False),
    Column("topics", LargeBinary, nullable=False),
    Column("data", LargeBinary, nullable=False),
)
chain_checkpoint = Table(
    "chain_checkpoint",
    metadata,
    Column("number", BIG, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary(32), nullable=False),
    Column("time", BIG, nullable=False),
)
chain_revert = Table(
    "chain_revert",
    metadata,
    Column("epoch", BIG, primary_key=True, autoincrement=False),
    Column("to_block", BIG, nullable=False),
)

chain_source = Table(
    "chain_source",
    metadata,
    Column("chain_id", BIG, primary_key=True, autoincrement=False),
    Column("contracts", LargeBinary, nullable=False),
)

CHAIN_SCHEMA: Final = SchemaPart(name="chain", metadata=metadata, migrations=Path(__file__).parent / "migrations")
"""Hand this to `open_storage(schema_parts=...)`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A confirmed block up to which all logs were read."""

    number: int
    hash: Digest
    time: UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What an index has read: the logs of these contracts on this network, by address."""

    chain_id: int
    contracts: tuple[Address, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far a reader has come: it has seen everything up to log `index` of `block`.

    Attributes:
        block: Number of a block; -1 before the first.
        index: Of the last log seen in it; `LAST_INDEX` if the whole block was.
        epoch: How many reorganisations the index had undone by then.
    """

    block: int
    index: int
    epoch: int


BEGINNING: Final = Position(block=-1, index=LAST_INDEX, epoch=0)


class SqlEventStore:
    """The event index's tables. One index at a time writes; any number of readers."""

    def __init__(self, storage: Storage, *, keep_checkpoints: int = KEEP_CHECKPOINTS) -> None:
        self._storage: Final = storage
        self._keep: Final = keep_checkpoints

    async def checkpoints(self) -> tuple[Checkpoint, ...]:
        """Return the checkpoints that are kept, oldest first."""
        query = select(chain_checkpoint).order_by(chain_checkpoint.c.number)
        rows = await self._storage.read.query(lambda connection: connection.execute(query).all())
        return tuple(Checkpoint(number=row.number, hash=Digest(row.hash), time=UnixTime(row.time)) for row in rows)

    async def source(self) -> Source | None:
        """Return what the stored logs are of; None if nobody has said so yet."""
        rows = await self._storage.read.query(lambda connection: connection.execute(select(chain_source)).all())
        if not rows:
            return None
        each: bytes = rows[0].contracts
        contracts = tuple(Address(each[start : start + _ADDRESS]) for start in range(0, len(each), _ADDRESS))
        return Source(chain_id=rows[0].chain_id, contracts=contracts)

    async def set_source(self, source: Source) -> None:
        """Say durably what the logs are of that are stored from now on."""

        def write(connection: Connection) -> None:
            connection.execute(delete(chain_source))
            connection.execute(
                insert(chain_source).values(chain_id=source.chain_id, contracts=b"".join(source.contracts))
            )

        await self._storage.transact(lambda transaction: write(transaction.connection))

    async def append(self, checkpoint: Checkpoint, logs: Sequence[RawLog]) -> None:
        """Keep a range of logs and the block that it ends with, together and durably."""

        def write(connection: Connection) -> None:
            if logs:
                connection.execute(insert(chain_log), [_row(log) for log in logs])
            connection.execute(
                insert(chain_checkpoint).values(number=checkpoint.number, hash=checkpoint.hash, time=checkpoint.time)
            )
            newest = select(chain_checkpoint.c.number).order_by(chain_checkpoint.c.number.desc())
            oldest_kept = newest.offset(self._keep - 1).limit(1).scalar_subquery()
            connection.execute(delete(chain_checkpoint).where(chain_checkpoint.c.number < oldest_kept))

        await self._storage.transact(lambda transaction: write(transaction.connection))

    async def revert(self, to: int) -> None:
        """Forget everything above block `to`, durably, and remember that this happened."""

        def write(connection: Connection) -> None:
            connection.execute(delete(chain_log).where(chain_log.c.block > to))
            connection.execute(delete(chain_checkpoint).where(chain_checkpoint.c.number > to))
            epoch = connection.execute(select(func.coalesce(func.max(chain_revert.c.epoch), 0))).scalar_one() + 1
            connection.execute(insert(chain_revert).values(epoch=epoch, to_block=to))

        await self._storage.transact(lambda transaction: write(transaction.connection))

    async def reverts_after(self, epoch: int) -> tuple[int, ...]:
        """Return to which blocks the index went back after `epoch`, oldest first."""
        query = select(chain_revert.c.to_block).where(chain_revert.c.epoch > epoch).order_by(chain_revert.c.epoch)
        rows = await self._storage.read.query(lambda connection: connection.execute(query).all())
        return tuple(row.to_block for row in rows)

    async def logs_of(self, address: Address, first: int, last: int) -> tuple[RawLog, ...]:
        """Return all logs of one contract in blocks `first` to `last`, in their order on the chain."""
        query = (
            select(chain_log)
            .where(chain_log.c.block.between(first, last), chain_log.c.address == address)
            .order_by(chain_log.c.block, chain_log.c.log_index)
        )
        rows = await self._storage.read.query(lambda connection: connection.execute(query).all())
        return tuple(_log(row) for row in rows)

    async def logs_after(self, position: Position, *, up_to: int, limit: int) -> tuple[RawLog, ...]:
        """Return at most `limit` logs after `position` in blocks up to `up_to`, in their order on the chain."""
        place = tuple_(chain_log.c.block, chain_log.c.log_index)
        query = (
            select(chain_log)
            .where(place > tuple_(position.block, position.index), chain_log.c.block <= up_to)
            .order_by(chain_log.c.block, chain_log.c.log_index)
            .limit(limit)
        )
        rows = await self._storage.read.query(lambda connection: connection.execute(query).all())
        return tuple(_log(row) for row in rows)


def _row(log: RawLog) -> dict[str, object]:
    return {
        "block": log.block,
        "log_index": log.index,
        "block_hash": log.block_hash,
        "transaction": log.transaction,
        "address": log.address,
        "topics": b"".join(log.topics),
        "data": log.data,
    }


def _log(row: Row[tuple[object, ...]]) -> RawLog:
    topics: bytes = row.topics
    return RawLog(
        block=row.block,
        block_hash=Digest(row.block_hash),
        transaction=Digest(row.transaction),
        index=row.log_index,
        address=Address(row.address),
        topics=tuple(Digest(topics[start : start + _DIGEST]) for start in range(0, len(topics), _DIGEST)),
        data=row.data,
    )
