"""DNS packets of libp2p's mDNS discovery, as far as it needs them (https://github.com/libp2p/specs/blob/master/discovery/mdns.md).

A query asks for the PTR of `_p2p._udp.local`; an answer names an instance by PTR, and its addresses as TXT strings
`dnsaddr=/ip4/…/tcp/…/p2p/…`. Anybody on the LAN can send anything here, so whatever is read is counted and bounded
(RFC 1035, sections 3 and 4; RFC 6762, section 18).
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from node.networking.errors import PeerMisbehaved

SERVICE: Final = ("_p2p", "_udp", "local")
MAX_PACKET_BYTES: Final = 9000
"""RFC 6762, section 17."""
MAX_ADDRESSES: Final = 8
TTL_S: Final = 120

_HEADER: Final = struct.Struct("!6H")
_QUESTION: Final = struct.Struct("!2H")
_RECORD: Final = struct.Struct("!2HIH")
_MAX_ENTRIES: Final = 64
"""Questions and records in one packet: an answer of libp2p has two or three."""
_MAX_NAME_BYTES: Final = 255
_MAX_JUMPS: Final = 16
_MAX_STRING_BYTES: Final = 255
_ANSWER_FLAGS: Final = 0x8400
_RESPONSE_BIT: Final = 0x8000
_CLASS_MASK: Final = 0x7FFF
"""The top bit asks for unicast in a question, and flushes caches in a record."""
_IN: Final = 1
_PTR: Final = 12
_TXT: Final = 16
_ANY: Final = 255
_PREFIX: Final = b"dnsaddr="

Name = tuple[str, ...]


class BadPacket(PeerMisbehaved):
    """A packet that is no DNS, or longer or deeper than any honest one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What a packet says.

    Attributes:
        asks: It asks who is there.
        addresses: Texts after `dnsaddr=`, at most `MAX_ADDRESSES`; printable ASCII, and not checked further.
    """

    asks: bool
    addresses: tuple[str, ...]


def encode_query() -> bytes:
    """Return the packet that asks who is there."""
    return _HEADER.pack(0, 0, 1, 0, 0, 0) + _encode_name(SERVICE) + _QUESTION.pack(_PTR, _IN)


def encode_answer(instance: str, addresses: Sequence[str]) -> bytes:
    """Return the packet that says where this node is.

    Args:
        instance: 1 to 63 ASCII letters and digits; says nothing about the node.
        addresses: Multiaddresses with the peer id; those too long for a TXT string are left out.
    """
    name = (instance, *SERVICE)
    raw = [_PREFIX + each.encode() for each in addresses[:MAX_ADDRESSES]]
    texts = b"".join(bytes([len(each)]) + each for each in raw if len(each) <= _MAX_STRING_BYTES)
    pointer = _encode_name(name)
    return (
        _HEADER.pack(0, _ANSWER_FLAGS, 0, 1, 0, 1)
        + _encode_name(SERVICE)
        + _RECORD.pack(_PTR, _IN, TTL_S, len(pointer))
        + pointer
        + _encode_name(name)
        + _RECORD.pack(_TXT, _IN, TTL_S, len(texts))
        + texts
    )


def decode_packet(data: bytes) -> Heard:
    """Read a packet; records of other services, and other kinds, are skipped.

    Raises:
        BadPacket: It is cut, loops, or is over a bound.
    """
    if len(data) > MAX_PACKET_BYTES:
        raise BadPacket(f"an mDNS packet of {len(data)} bytes")
    try:
        return _decode(data)
    except (struct.error, IndexError) as error:
        raise BadPacket("an mDNS packet that is cut") from error


def _decode(data: bytes) -> Heard:
    _, flags, questions, *sections = _HEADER.unpack_from(data)
    if questions + sum(sections) > _MAX_ENTRIES:
        raise BadPacket(f"an mDNS packet with {questions + sum(sections)} entries")
    position, asks = _HEADER.size, False
    for _ in range(questions):
        name, position = _read_name(data, position)
        kind, group = _QUESTION.unpack_from(data, position)
        position += _QUESTION.size
        asks = asks or (name == SERVICE and kind in (_PTR, _ANY) and group & _CLASS_MASK == _IN)
    addresses: list[str] = []
    for _ in range(sum(sections)):
        name, position = _read_name(data, position)
        kind, group, _, size = _RECORD.unpack_from(data, position)
        position += _RECORD.size
        if position + size > len(data):
            raise BadPacket("an mDNS packet that is cut")
        if kind == _TXT and group & _CLASS_MASK == _IN and name[1:] == SERVICE:
            addresses += _read_addresses(data[position : position + size])
        position += size
    is_answer = bool(flags & _RESPONSE_BIT)
    return Heard(asks=asks and not is_answer, addresses=tuple(addresses[:MAX_ADDRESSES]) if is_answer else ())


def _encode_name(name: Name) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name) + b"\0"


def _read_name(data: bytes, position: int) -> tuple[Name, int]:
    """Return a name, in lower case, and the position after it. A pointer must lead back, so no name loops."""
    labels: list[str] = []
    end: int | None = None
    size = jumps = 0
    while length := data[position]:
        if length >= 0xC0:
            target = (length & 0x3F) << 8 | data[position + 1]
            end = position + 2 if end is None else end
            jumps += 1
            if target >= position or jumps > _MAX_JUMPS:
                raise BadPacket("an mDNS name that loops")
            position = target
            continue
        label = data[position + 1 : position + 1 + length]
        size += length + 1
        if length > 63 or size > _MAX_NAME_BYTES or len(label) != length:
            raise BadPacket("an mDNS name that is too long, or cut")
        labels.append(label.decode("ascii", errors="replace").lower())
        position += 1 + length
    return tuple(labels), position + 1 if end is None else end


def _read_addresses(texts: bytes) -> list[str]:
    found: list[str] = []
    position = 0
    while position < len(texts):
        text = texts[position + 1 : position + 1 + texts[position]]
        if len(text) != texts[position]:
            raise BadPacket("an mDNS text that is cut")
        position += 1 + len(text)
        if text.startswith(_PREFIX) and all(0x21 <= byte <= 0x7E for byte in text):
            found.append(text[len(_PREFIX) :].decode("ascii"))
    return found
