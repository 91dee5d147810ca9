"""The signer's promises in the node's journal."""

from collections.abc import Sequence
from typing import Any, Final, cast

from node.storage.chain import Entry
from node.storage.machine_log import Journal
from protocol.identity import Address
from protocol.spending import SpendingEvent
from protocol.wire.codec import decode_as, encode


class JournaledSpendLedger:
    """A `SpendLedger` on the stream `spending/<address>`. One signer at a time: a second one's append is refused."""

    def __init__(self, journal: Journal, address: Address) -> None:
        self._journal: Final = journal
        self._stream: Final = f"spending/{address.hex()}"
        self._version = 0

    async def load(self) -> Sequence[SpendingEvent]:
        """Return all events, oldest first.

        Raises:
            JournalBroken: A record is not what was written.
        """
        records = await self._journal.replay(self._stream)
        self._version = len(records)
        hint: Any = SpendingEvent
        return tuple(cast("SpendingEvent", decode_as(hint, record.body)) for record in records)

    async def append(self, event: SpendingEvent) -> None:
        """Return once `event` survives a crash.

        Raises:
            ConcurrentAppend: Another signer uses the same stream.
            DiskFull: Nothing was written.
        """
        entry = Entry(stream=self._stream, kind=type(event).__name__, body=encode(event, SpendingEvent))
        await self._journal.append([entry], expected_versions={self._stream: self._version})
        self._version += 1
