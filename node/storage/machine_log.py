"""One state machine whose events are in the journal before anybody sees their effects (DESIGN D1)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar, cast

import trio
from sqlalchemy import Column, Connection, Table, delete, insert, select

from node.storage.chain import Entry, Record
from node.storage.engine import new_metadata
from node.storage.tables import NAME
from protocol.errors import ProtocolError
from protocol.wire.codec import decode_as, encode

S = TypeVar("S")
E = TypeVar("E")
F = TypeVar("F")
C = TypeVar("C")

OPENED: Final = "Opened"
CLOSED: Final = "Closed"
MAX_RECORD_BYTES: Final = 1 << 20


class HistoryPruned(ProtocolError):
    """A stream that was over and is deleted."""


class Journal(Protocol):
    """What a machine needs of the journal."""

    async def append(self, entries: Sequence[Entry], *, expected_versions: Mapping[str, int]) -> int:
        """Append durably, or raise and append nothing."""
        ...

    async def replay(self, stream: str) -> tuple[Record, ...]:
        """Return all records of a stream, checked."""
        ...


@dataclass(frozen=True, kw_only=True)  # with slots, Python 3.11 can't make a Machine[...](...)
class Machine(Generic[C, S, E, F]):
    """The pure part: what a stream begins with, and what each event does.

    Attributes:
        context: Type of what the stream opens with, as the codec understands it.
        events: Type of its events, usually a union, likewise.
        begin: Gives the first state.
        transition: Applies one event, or raises ProtocolError and changes nothing.
    """

    context: Any
    events: Any
    begin: Callable[[C], S]
    transition: Callable[[S, E], tuple[S, tuple[F, ...]]]


class MachineLog(Generic[C, S, E, F]):
    """The state of one stream. One process owns it: nobody else appends to the stream."""

    def __init__(self, journal: Journal, machine: Machine[C, S, E, F], stream: str, context: C) -> None:
        self._journal, self._machine, self._stream = journal, machine, stream
        self.context = context
        self.state = machine.begin(context)
        self._version = 1
        self._lock = trio.Lock()

    async def apply(self, event: E) -> tuple[F, ...]:
        """Check `event`, make it durable, then make it visible; return what is to be done.

        An event that leaves the very same state and nothing to do is not written: else who repeats a true message could
        fill our disk with it.

        Raises:
            ProtocolError: The machine refused; nothing was written and the state is the old one.
            DiskFull: Nothing was written; the state is the old one.
        """
        async with self._lock:
            after, effects = self._machine.transition(self.state, event)
            if after is not self.state or effects:
                await self._keep(event, after)
        return effects

    async def apply_unless(self, is_repeat: Callable[[S, S], bool], event: E) -> bool:
        """Like `apply`, unless `is_repeat` says of the states before and after that nothing came of `event`.

        Returns:
            Whether something did; otherwise nothing was written.
        """
        async with self._lock:
            after, _ = self._machine.transition(self.state, event)
            if is_repeat(self.state, after):
                return False
            await self._keep(event, after)
        return True

    async def _keep(self, event: E, after: S) -> None:
        # Without the shield a cancelled append could be durable and yet missing from `state`.
        with trio.CancelScope(shield=True):
            await self._append(type(event).__name__, encode(event, self._machine.events))
            self.state = after

    async def close(self) -> None:
        """Note that nothing is outstanding, so that a restart need not look at this stream again."""
        async with self._lock:
            with trio.CancelScope(shield=True):
                await self._append(CLOSED, b"")

    async def _append(self, kind: str, body: bytes) -> None:
        entry = Entry(stream=self._stream, kind=kind, body=body)
        await self._journal.append([entry], expected_versions={self._stream: self._version})
        self._version += 1

    def replay(self, record: Record) -> None:
        """Apply an event that is already durable: for `load_machine`."""
        if record.kind != CLOSED:
            event = decode_as(self._machine.events, record.body, max_bytes=MAX_RECORD_BYTES)
            self.state, _ = self._machine.transition(self.state, event)
        self._version = record.version


async def open_machine(
    journal: Journal, machine: Machine[C, S, E, F], stream: str, context: C
) -> MachineLog[C, S, E, F]:
    """Begin a new stream with `context`, durably.

    Raises:
        ConcurrentAppend: The stream exists.
    """
    entry = Entry(stream=stream, kind=OPENED, body=encode(context, machine.context))
    await journal.append([entry], expected_versions={stream: 0})
    return MachineLog(journal, machine, stream, context)


async def open_machines(
    journal: Journal, machines: Mapping[str, Machine[C, S, E, F]], context: C
) -> tuple[MachineLog[C, S, E, F], ...]:
    """Begin several new streams with `context`, durably all of them or none.

    Raises:
        ConcurrentAppend: One of the streams exists.
    """
    entries = [
        Entry(stream=stream, kind=OPENED, body=encode(context, each.context)) for stream, each in machines.items()
    ]
    await journal.append(entries, expected_versions=dict.fromkeys(machines, 0))
    return tuple(MachineLog(journal, each, stream, context) for stream, each in machines.items())


async def load_machine(journal: Journal, machine: Machine[C, S, E, F], stream: str) -> MachineLog[C, S, E, F]:
    """Replay a stream that exists. The caller then asks the machine what is outstanding in `state`.

    Raises:
        HistoryPruned: It does not: its end is so long ago that it was deleted meanwhile.
    """
    records = await journal.replay(stream)
    if not records:
        raise HistoryPruned(f"the records of {stream} are not kept any more")
    first, *rest = records
    context = cast("C", decode_as(machine.context, first.body, max_bytes=MAX_RECORD_BYTES))
    log = MachineLog(journal, machine, stream, context)
    for record in rest:
        log.replay(record)
    return log


_open_streams = Table("open_stream", new_metadata(), Column("stream", NAME, primary_key=True))


class OpenStreams:
    """Projection: the streams that were begun and not closed, so what a restart has to take up again."""

    name = "open_stream"
    version = 1
    tables = (_open_streams,)

    def apply(self, connection: Connection, record: Record) -> None:
        """Keep a stream from its opening to its closing."""
        if record.kind == OPENED and record.version == 1:
            connection.execute(insert(_open_streams).values(stream=record.stream))
        elif record.kind == CLOSED:
            connection.execute(delete(_open_streams).where(_open_streams.c.stream == record.stream))

    def forget(self, connection: Connection, stream: str) -> None:
        """Nothing is kept of a closed stream."""


def select_open_streams(connection: Connection, prefix: str) -> tuple[str, ...]:
    """Return the open streams whose names start with `prefix`, sorted."""
    query = select(_open_streams.c.stream).where(_open_streams.c.stream.startswith(prefix, autoescape=True))
    return tuple(connection.execute(query.order_by(_open_streams.c.stream)).scalars())
