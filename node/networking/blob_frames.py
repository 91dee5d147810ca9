"""Messages of `/stoa/blobs/3` (docs/spec/networking.md, section 4).

asker                                          server
greeting: digest, encodings, tree?, bases  ──▶  may this peer have it?
orders: want groups, leave groups   ─────────▶
◀─────────  status, size
◀─────────  one chaining value per MiB, if asked for
◀─────────  groups: number, encoding, base, length, bytes
"""

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final

from node.networking.blob_bases import MAX_BASES
from node.networking.errors import PeerMisbehaved
from node.networking.streams import Stream
from node.storage.blake3_tree import GROUP_BYTES
from protocol.identity import ContentDigest, PeerId

PROTOCOL: Final = "/stoa/blobs/3"
MAX_WANTED: Final = 64
"""Groups that an asker may have ordered and not got."""
LAST_GROUP: Final = 2**32 - 1
"""Number that stands for the last group, for an asker that does not know the size yet."""
_GREETING: Final = struct.Struct("!32sBBB")
_DIGEST_BYTES: Final = 32
_ANSWER: Final = struct.Struct("!BQ")
_ORDER: Final = struct.Struct("!BII")
_GROUP: Final = struct.Struct("!IBBI")


class Status(IntEnum):
    """How a server answers; also in version 1."""

    OK = 0
    NOT_FOUND = 1
    BUSY = 2


class Encoding(IntEnum):
    """How the bytes of a group are written."""

    PLAIN = 0
    ZSTD = 1
    DELTA = 2
    """One zstd frame whose dictionary is a window of a base (`blob_bases`)."""
    LEFT = 255
    """No bytes follow: the asker left the group before it was begun. So every group that was wanted is answered
    once."""


class Accepts(IntFlag):
    """Encodings that an asker reads besides `PLAIN`. Bits that a server doesn't know mean nothing to it."""

    NONE = 0
    ZSTD = 1


class OrderKind(IntEnum):
    """What an order is."""

    WANT = 1
    LEAVE = 2


@dataclass(frozen=True, slots=True)
class Greeting:
    """What an asker begins with."""

    digest: ContentDigest
    accepts: Accepts
    wants_tree: bool
    bases: tuple[ContentDigest, ...] = ()
    """Blobs that the asker has and that the server may pack groups against, at most `MAX_BASES`."""

    def encode(self) -> bytes:
        """Return its bytes."""
        return _GREETING.pack(self.digest, self.accepts, self.wants_tree, len(self.bases)) + b"".join(self.bases)


@dataclass(frozen=True, slots=True)
class Order:
    """Groups that the asker wants, or no longer wants."""

    kind: OrderKind
    first: int
    count: int = 1

    def encode(self) -> bytes:
        """Return its bytes."""
        return _ORDER.pack(self.kind, self.first, self.count)


@dataclass(frozen=True, slots=True)
class GroupHead:
    """What precedes the bytes of a group."""

    index: int
    encoding: Encoding
    length: int
    base: int = 0
    """Which of the greeting's bases, from 0; 0 too where the encoding needs none."""

    def encode(self) -> bytes:
        """Return its bytes."""
        return _GROUP.pack(self.index, self.encoding, self.base, self.length)


async def read_greeting(stream: Stream) -> Greeting:
    """Read what an asker begins with.

    Raises:
        StreamClosed: The stream ended.
        PeerMisbehaved: A value that no asker sends.
    """
    digest, accepts, wants_tree, count = _GREETING.unpack(await stream.read_exactly(_GREETING.size))
    if wants_tree > 1:
        raise PeerMisbehaved(f"{stream.peer} greets with {wants_tree} where 0 or 1 belongs")
    if count > MAX_BASES:
        raise PeerMisbehaved(f"{stream.peer} names {count} bases, at most {MAX_BASES} are allowed")
    names = await stream.read_exactly(count * _DIGEST_BYTES)
    bases = tuple(ContentDigest(names[at : at + _DIGEST_BYTES]) for at in range(0, len(names), _DIGEST_BYTES))
    return Greeting(ContentDigest(digest), Accepts(accepts & Accepts.ZSTD), bool(wants_tree), bases)


def encode_answer(status: Status, size: int = 0) -> bytes:
    """Return the bytes of an answer."""
    return _ANSWER.pack(status, size)


async def read_answer(stream: Stream) -> tuple[Status, int]:
    """Read a server's answer.

    Raises:
        StreamClosed: The stream ended.
        PeerMisbehaved: A status that does not exist.
    """
    status, size = _ANSWER.unpack(await stream.read_exactly(_ANSWER.size))
    try:
        return Status(status), size
    except ValueError as error:
        raise PeerMisbehaved(f"{stream.peer} answers with the unknown status {status}") from error


ORDER_BYTES: Final = _ORDER.size


def decode_order(raw: bytes, *, groups: int, peer: PeerId) -> Order:
    """Read an order for a blob of so many groups; `LAST_GROUP` becomes the number of the last.

    Raises:
        PeerMisbehaved: An unknown kind, or groups that the blob does not have.
    """
    kind, first, count = _ORDER.unpack(raw)
    if first == LAST_GROUP:
        first = groups - 1
    if kind not in (OrderKind.WANT, OrderKind.LEAVE) or not 1 <= count <= MAX_WANTED or first + count > groups:
        raise PeerMisbehaved(f"{peer} orders (kind {kind}) {count} groups from {first} on, of {groups}")
    return Order(OrderKind(kind), first, count)


async def read_group_head(stream: Stream) -> GroupHead:
    """Read what precedes the bytes of a group.

    Raises:
        StreamClosed: The stream ended.
        PeerMisbehaved: An unknown encoding, or more bytes than a group has.
    """
    index, encoding, base, length = _GROUP.unpack(await stream.read_exactly(_GROUP.size))
    if (
        encoding not in tuple(Encoding)
        or length > (0 if encoding == Encoding.LEFT else GROUP_BYTES)
        or (base and encoding != Encoding.DELTA)
    ):
        raise PeerMisbehaved(f"{stream.peer} sends group {index} as {length} bytes in encoding {encoding}")
    return GroupHead(index, Encoding(encoding), length, base)
