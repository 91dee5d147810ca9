"""One stream of events that one service owns: what rooms ask for as `load` and `append`."""

from collections.abc import Iterable
from typing import Any, Final, Generic, TypeVar, cast

import trio

from node.storage.chain import Entry
from node.storage.journal import MAX_BODY_BYTES, Journal
from protocol.wire.codec import decode_as, encode

E = TypeVar("E")


class EventLog(Generic[E]):
    """The events of a stream, as values. Nobody else appends to it; a second owner gets `ConcurrentAppend`."""

    def __init__(self, journal: Journal, stream: str, events: Any) -> None:
        """Name the log.

        Args:
            journal: Of the open storage.
            stream: Its stream.
            events: Type of its events, usually a union of tagged dataclasses, as the codec understands it.
        """
        self._journal: Final = journal
        self._stream: Final = stream
        self._events: Final = events
        self._version: int | None = None
        self._lock: Final = trio.Lock()

    async def load(self) -> tuple[E, ...]:
        """Return all events, oldest first.

        Raises:
            JournalBroken: A record is not what was written.
            ProtocolError: A record is not one of the events: another release wrote it.
        """
        records = await self._journal.replay(self._stream)
        self._version = len(records)
        return tuple(cast("E", decode_as(self._events, record.body, max_bytes=MAX_BODY_BYTES)) for record in records)

    async def append(self, *events: E) -> None:
        """Append `events`, all or none, and return once they survive a crash. Not before `load`.

        Raises:
            ConcurrentAppend: Someone else appended to this stream.
            DiskFull: Nothing was appended.
        """
        async with self._lock:
            assert self._version is not None, "load() first"
            expected = {self._stream: self._version}
            # Without the shield a cancelled append could be durable and yet not counted.
            with trio.CancelScope(shield=True):
                await self._journal.append(list(self._entries(events)), expected_versions=expected)
            self._version += len(events)

    def _entries(self, events: Iterable[E]) -> Iterable[Entry]:
        for event in events:
            yield Entry(stream=self._stream, kind=type(event).__name__, body=encode(event, self._events))
