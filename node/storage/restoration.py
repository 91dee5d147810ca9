"""The mark of a restored journal: what was signed after the backup is forgotten (docs/adr/1302).

It is an ordinary record, so it can't be lost without the chain showing it, and each restoration has its own.
"""

from dataclasses import dataclass
from typing import Final, Protocol

from node.storage.chain import Entry, Record
from protocol.units import Uint64, UnixTime
from protocol.wire.codec import decode, encode

STREAM: Final = "restoration"
KIND: Final = "Restored"


class Replays(Protocol):
    """The journal, as far as this module reads it."""

    async def replay(self, stream: str) -> tuple[Record, ...]:
        """Return all records of a stream, checked."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """The journal up to here comes from a backup.

    Attributes:
        at: When it was restored.
        made_at: When the backup was made: nothing that was signed later is known.
        last: The last record of the backup.
    """

    at: UnixTime
    made_at: UnixTime
    last: Uint64


@dataclass(frozen=True, slots=True)
class Restoration:
    """A restoration and its own place in the journal: records before `seq` are of before."""

    seq: int
    restored: Restored


def entry_of(restored: Restored) -> Entry:
    """Return the record to append."""
    return Entry(stream=STREAM, kind=KIND, body=encode(restored))


async def latest_restoration(journal: Replays) -> Restoration | None:
    """Return the newest restoration of this journal; None if it was never restored.

    Raises:
        JournalBroken: A record is not what was written.
    """
    records = await journal.replay(STREAM)
    return Restoration(records[-1].seq, decode(Restored, records[-1].body)) if records else None
