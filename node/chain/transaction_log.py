"""An account's transactions in the node's journal."""

from collections.abc import Sequence
from typing import Any, Final, cast

from node.chain.transaction_book import HistoryForgotten, TransactionRecord
from node.storage.chain import Entry
from node.storage.machine_log import Journal
from node.storage.restoration import latest_restoration
from protocol.identity import Address
from protocol.wire.codec import decode_as, encode

MAX_RECORD_BYTES: Final = 262_144


class JournaledTransactionLog:
    """A `TransactionLog` on the stream `transactions/<chain>/<address>`. One transactor at a time."""

    def __init__(self, journal: Journal, chain_id: int, address: Address) -> None:
        self._journal: Final = journal
        self._stream: Final = f"transactions/{chain_id}/{address.hex()}"
        self._version = 0

    async def load(self) -> Sequence[TransactionRecord]:
        """Return all records, oldest first, and where the journal was restored, that it was.

        Raises:
            JournalBroken: A record is not what was written.
        """
        records = await self._journal.replay(self._stream)
        self._version = len(records)
        hint: Any = TransactionRecord
        history = [
            cast("TransactionRecord", decode_as(hint, record.body, max_bytes=MAX_RECORD_BYTES)) for record in records
        ]
        restoration = await latest_restoration(self._journal)
        if restoration is not None:
            known = sum(record.seq < restoration.seq for record in records)
            history.insert(known, HistoryForgotten())
        return history

    async def append(self, record: TransactionRecord) -> None:
        """Return once `record` survives a crash.

        Raises:
            ConcurrentAppend: Another transactor uses the same stream.
            DiskFull: Nothing was written.
        """
        entry = Entry(stream=self._stream, kind=type(record).__name__, body=encode(record, TransactionRecord))
        await self._journal.append([entry], expected_versions={self._stream: self._version})
        self._version += 1
