"""Messages of the last seconds, for peers that missed them: bounded in time and in bytes.

The stock cache keeps a number of heartbeats and no bound of bytes: at the rates that this node accepts, and 64 KiB a
message, one peer could fill 125 MB of it on each topic.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

import trio
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2

HISTORY_S: Final = 30.0
"""Longer than a link stalls before it is given up (a queue waits 30 s for a byte to go)."""
MAX_HISTORY_BYTES: Final = 16 * 1024 * 1024
WINDOW_S: Final = 3.0
"""Of these, others are told the ids at each heartbeat."""
MAX_RETOLD: Final = 3
"""One message goes to one peer that asks for it at most so often: asking costs it nothing."""
ENTRY_BYTES: Final = 512
"""What a message costs besides its data, roughly."""


@dataclass(slots=True)
class _Entry:
    message: rpc_pb2.Message
    at: float
    size: int
    retold: dict[ID, int] = field(default_factory=dict[ID, int])


class History:
    """In place of the stock `MessageCache`."""

    def __init__(self) -> None:
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._bytes = 0

    def put(self, message: rpc_pb2.Message) -> None:
        """Remember a message; the oldest go when there are too many bytes."""
        message_id = id_of(message)
        if message_id in self._entries:
            return
        size = message.ByteSize() + ENTRY_BYTES
        self._entries[message_id] = _Entry(message, trio.current_time(), size)
        self._bytes += size
        while self._bytes > MAX_HISTORY_BYTES:
            self._drop_oldest()

    def get(self, message_id: bytes) -> rpc_pb2.Message | None:
        """Return a message that is still remembered."""
        entry = self._entries.get(message_id)
        return None if entry is None else entry.message

    def retell(self, message_id: bytes, peer: ID) -> rpc_pb2.Message | None:
        """Return a message that `peer` asks for, unless it has asked too often."""
        entry = self._entries.get(message_id)
        if entry is None or entry.retold.get(peer, 0) >= MAX_RETOLD:
            return None
        entry.retold[peer] = entry.retold.get(peer, 0) + 1
        return entry.message

    def window(self, topic: str, *, within_s: float = WINDOW_S) -> list[bytes]:
        """Return the ids of the messages on `topic` of the last seconds, the oldest first."""
        since = trio.current_time() - within_s
        ids: list[bytes] = []
        for message_id in reversed(self._entries):
            entry = self._entries[message_id]
            if entry.at < since:
                break
            if topic in entry.message.topicIDs:
                ids.append(message_id)
        ids.reverse()
        return ids

    def shift(self) -> None:
        """Forget what is too old."""
        since = trio.current_time() - HISTORY_S
        while self._entries and next(iter(self._entries.values())).at < since:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, entry = self._entries.popitem(last=False)
        self._bytes -= entry.size


def id_of(message: rpc_pb2.Message) -> bytes:
    """Return the id by which peers name a message to each other."""
    return message.from_id + message.seqno
