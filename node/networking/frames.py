"""Frames of the request protocol (docs/spec/networking.md, section 3): a length, a kind, a number, the rest."""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from node.networking.errors import PeerMisbehaved
from node.networking.streams import Stream

MAX_FRAME_BYTES: Final = 1024 * 1024
MAX_METHOD_CHARS: Final = 64
MAX_CODE_CHARS: Final = 64
MAX_TEXT_CHARS: Final = 1000
_LENGTH: Final = struct.Struct("!I")
_HEAD: Final = struct.Struct("!BI")


class Kind(IntEnum):
    """What a frame is."""

    REQUEST = 1
    ANSWER = 2
    REFUSAL = 3
    CANCEL = 4


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame; `number` tells the requests of one stream apart."""

    kind: Kind
    number: int
    rest: bytes


def encode_frame(kind: Kind, number: int, rest: bytes = b"") -> bytes:
    """Return the bytes of a frame."""
    return _LENGTH.pack(_HEAD.size + len(rest)) + _HEAD.pack(kind, number) + rest


def frame_bytes(rest: int) -> int:
    """Return the length that a frame announces for `rest` bytes of content."""
    return _HEAD.size + rest


async def read_frame(stream: Stream) -> Frame:
    """Read the next frame.

    Raises:
        StreamClosed: The stream ended.
        PeerMisbehaved: No frame of this protocol, or longer than any may be.
    """
    (length,) = _LENGTH.unpack(await stream.read_exactly(_LENGTH.size))
    if not _HEAD.size <= length <= MAX_FRAME_BYTES:
        raise PeerMisbehaved(f"{stream.peer} announced a frame of {length} bytes, at most {MAX_FRAME_BYTES} may come")
    data = await stream.read_exactly(length)
    kind, number = _HEAD.unpack_from(data)
    try:
        return Frame(Kind(kind), number, data[_HEAD.size :])
    except ValueError as error:
        raise PeerMisbehaved(f"{stream.peer} sent a frame of unknown kind {kind}") from error


def encode_named(name: str, rest: bytes) -> bytes:
    """Put a short ASCII name before `rest`: the method of a request, the code of a refusal."""
    raw = name.encode("ascii")
    return bytes([len(raw)]) + raw + rest


def decode_named(data: bytes, limit: int) -> tuple[str, bytes]:
    """Undo `encode_named`.

    Raises:
        PeerMisbehaved: No name, one of more than `limit` characters, or one that is not printable ASCII.
    """
    size = data[0] if data else 0
    name, rest = data[1 : 1 + size], data[1 + size :]
    if not 1 <= size <= limit or len(name) != size or not all(0x21 <= byte <= 0x7E for byte in name):
        raise PeerMisbehaved("a frame without a proper name")
    return name.decode("ascii"), rest


def printable(raw: bytes) -> str:
    """Return a peer's words, fit to be shown and logged: bounded, and without control characters."""
    text = raw[: 4 * MAX_TEXT_CHARS].decode(errors="replace")[:MAX_TEXT_CHARS]
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
