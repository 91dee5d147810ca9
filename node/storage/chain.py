"""The hash chain of the journal: docs/spec/storage.md, section 1. Pure."""

import struct
from dataclasses import dataclass
from typing import Final

from blake3 import blake3

from protocol.units import UnixTime

CONTEXT: Final = "stoa 2026 journal record"
GENESIS: Final = bytes(32)

_NUMBERS: Final = struct.Struct(">QQQHHI")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a service asks to be journaled.

    Attributes:
        stream: Whose history this is, such as `channel:0x12ab`; at most 160 of `A-Z a-z 0-9 _ . : / -`.
        kind: Name of the event in its stream, such as `voucher-received`, from the same alphabet.
        body: Canonical msgpack of the event (`protocol.wire.codec`).
    """

    stream: str
    kind: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """An entry in its place.

    Attributes:
        seq: Position in the journal, from 1, without gaps.
        version: Position in the stream, from 1, without gaps.
        at: When the node wrote it.
        hash: `compute_hash` of the record and the one before.
    """

    seq: int
    stream: str
    version: int
    kind: str
    at: UnixTime
    body: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """The last record: its position and hash. `Head(0, GENESIS)` is the empty journal."""

    seq: int
    hash: bytes


EMPTY: Final = Head(0, GENESIS)


def compute_hash(*, previous: bytes, seq: int, stream: str, version: int, kind: str, at: int, body: bytes) -> bytes:
    """Return the 32-byte hash that commits to a record and, through `previous`, to all before it."""
    stream_bytes, kind_bytes = stream.encode(), kind.encode()
    numbers = _NUMBERS.pack(seq, version, at, len(stream_bytes), len(kind_bytes), len(body))
    return blake3(b"".join((previous, numbers, stream_bytes, kind_bytes, body)), derive_key_context=CONTEXT).digest()


def is_linked(record: Record, previous: bytes) -> bool:
    """Tell whether `record` is what was written after the record whose hash is `previous`."""
    found = compute_hash(
        previous=previous,
        seq=record.seq,
        stream=record.stream,
        version=record.version,
        kind=record.kind,
        at=record.at,
        body=record.body,
    )
    return found == record.hash
