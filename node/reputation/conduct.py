"""What this node has seen of its providers, and the opinion that follows (docs/spec/reputation.md).

A projection of the purchases in the journal: parts that were accepted and paid count for a provider, awards that it let
down count against it, and so do auctions in which it committed and stayed silent, and receipts that were refuted.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Protocol, TypeVar

from sqlalchemy import Column, Connection, LargeBinary, String, Table, delete, insert, select, update

from node.storage.chain import Entry, Record
from node.storage.engine import new_metadata
from node.storage.machine_log import CLOSED, OPENED
from node.storage.tables import BIG
from protocol.identity import Address
from protocol.market.roll import MAX_BIDDERS
from protocol.reputation import beta
from protocol.task import purchase
from protocol.wire.codec import MaxLen, decode, decode_as, encode

T = TypeVar("T")

PURCHASES: Final = "purchase/"
SILENCE_STREAM: Final = "conduct/silence"
_MAX_RECORD: Final = 1 << 20

_metadata = new_metadata()
_conduct = Table(
    "conduct",
    _metadata,
    Column("provider", LargeBinary(20), primary_key=True),
    Column("settled", BIG, nullable=False),
    Column("failed", BIG, nullable=False),
    Column("silent", BIG, nullable=False),
    Column("refuted", BIG, nullable=False),
)
_serving = Table(
    "conduct_serving",
    _metadata,
    Column("stream", String(160), primary_key=True),
    Column("provider", LargeBinary(20), nullable=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """Bidders that committed in one auction and revealed nothing that counts."""

    bidders: Annotated[tuple[Address, ...], MaxLen(MAX_BIDDERS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What this node has seen of a provider, and the reputation that follows."""

    provider: Address
    record: beta.Record
    reputation: int


class Journal(Protocol):
    """Where silence is noted."""

    async def append(self, entries: Sequence[Entry]) -> int:
        """Append durably."""
        ...


class Reader(Protocol):
    """Queries on the node's database."""

    async def query(self, run: Callable[[Connection], T]) -> T:
        """Return `run(connection)`."""
        ...


class ConductTable:
    """Keeps one row a provider."""

    name = "conduct"
    version = 2
    tables = (_conduct, _serving)

    def apply(self, connection: Connection, record: Record) -> None:
        """Count what one record says of a provider."""
        if record.stream == SILENCE_STREAM:
            for bidder in decode(Silence, record.body).bidders:
                _count(connection, bidder, silent=1)
        elif record.stream.startswith(PURCHASES) and record.kind not in (OPENED, CLOSED):
            hint: Any = purchase.Event
            _apply_purchase(connection, record.stream, decode_as(hint, record.body, max_bytes=_MAX_RECORD))

    def forget(self, connection: Connection, stream: str) -> None:
        """Drop who served a purchase; what it counted for or against them stays."""
        if stream.startswith(PURCHASES):
            connection.execute(delete(_serving).where(_serving.c.stream == stream))


class Reputations:
    """This node's opinion of providers."""

    def __init__(self, journal: Journal, reader: Reader) -> None:
        self._journal, self._reader = journal, reader

    async def of(self, providers: Iterable[Address]) -> Mapping[Address, int]:
        """Return the reputation of each provider, 0..10,000; a newcomer's where nothing was seen."""
        wanted = tuple(providers)
        records = await self._reader.query(lambda connection: _read(connection, wanted))
        return {each: beta.compute_reputation(records.get(each, beta.NEWCOMER)) for each in wanted}

    async def all(self, limit: int) -> tuple[Opinion, ...]:
        """Return whom this node has hired, those that it dealt with most first.

        Who only committed and stayed silent is left out: addresses cost nothing, so anybody could fill the list.
        """
        return await self._reader.query(lambda connection: _list(connection, limit))

    async def note_silence(self, bidders: tuple[Address, ...]) -> None:
        """Count it against bidders that they committed and revealed nothing."""
        await self._journal.append(
            [Entry(stream=SILENCE_STREAM, kind="Silence", body=encode(Silence(bidders=bidders)))]
        )


def _apply_purchase(connection: Connection, stream: str, event: purchase.Event) -> None:
    match event:
        case purchase.WinnerChosen(award=award):
            connection.execute(delete(_serving).where(_serving.c.stream == stream))
            connection.execute(insert(_serving).values(stream=stream, provider=award.value.provider))
        case purchase.PartReceived():
            _count(connection, _serving_provider(connection, stream), settled=1)
        case purchase.ProviderFailed():
            _count(connection, _serving_provider(connection, stream), failed=1)
        case purchase.AuditRefuted():
            _count(connection, _serving_provider(connection, stream), refuted=1)
        case _:
            pass


def _serving_provider(connection: Connection, stream: str) -> Address:
    return connection.execute(select(_serving.c.provider).where(_serving.c.stream == stream)).scalar_one()


def _count(
    connection: Connection, provider: Address, *, settled: int = 0, failed: int = 0, silent: int = 0, refuted: int = 0
) -> None:
    mine = _conduct.c.provider == provider
    changed = connection.execute(
        update(_conduct)
        .where(mine)
        .values(
            settled=_conduct.c.settled + settled,
            failed=_conduct.c.failed + failed,
            silent=_conduct.c.silent + silent,
            refuted=_conduct.c.refuted + refuted,
        )
    )
    if not changed.rowcount:
        first = {"settled": settled, "failed": failed, "silent": silent, "refuted": refuted}
        connection.execute(insert(_conduct).values(provider=provider, **first))


def _read(connection: Connection, providers: tuple[Address, ...]) -> dict[Address, beta.Record]:
    rows = connection.execute(select(_conduct).where(_conduct.c.provider.in_(providers)))
    return {Address(row.provider): _record(row) for row in rows}


def _list(connection: Connection, limit: int) -> tuple[Opinion, ...]:
    dealings = _conduct.c.settled + _conduct.c.failed + _conduct.c.refuted
    query = select(_conduct).where(dealings > 0).order_by(dealings.desc(), _conduct.c.provider).limit(limit)
    records = ((Address(row.provider), _record(row)) for row in connection.execute(query))
    return tuple(
        Opinion(provider=provider, record=record, reputation=beta.compute_reputation(record))
        for provider, record in records
    )


def _record(row: Any) -> beta.Record:
    return beta.Record(settled=row.settled, failed=row.failed, silent=row.silent, refuted=row.refuted)
