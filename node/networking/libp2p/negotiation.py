"""Agreeing on a protocol: multistream-select 1.0 (https://github.com/multiformats/multistream-select).

Ours, since the negotiator of py-libp2p 0.8.1 lets a token that is not UTF-8 escape as an exception that ends the whole
host, reads a length prefix of any size into memory, and answers unknown tokens for as long as the peer sends them.
tests/node/networking/test_networking_hostile.py sends all three.
"""

from collections.abc import Collection
from typing import Final, Protocol

HEADER: Final = "/multistream/1.0.0"
NOT_AVAILABLE: Final = "na"
MAX_TOKEN_BYTES: Final = 256
MAX_TOKENS: Final = 16
"""Proposals answered before the peer is dropped: more than any implementation speaks versions of one protocol."""


class NegotiationFailed(Exception):
    """The two sides share no protocol, or the peer does not speak multistream-select."""


class ByteStream(Protocol):
    """What can be negotiated on: a raw connection, a secured one, or one stream of it."""

    async def read(self, limit: int, /) -> bytes:
        """Return 1 to `limit` bytes, or none at the end."""
        ...

    async def write(self, data: bytes, /) -> None:
        """Write all of `data`."""
        ...


async def propose(stream: ByteStream, protocols: Collection[str]) -> str:
    """Offer `protocols`, best first, and return the one that the peer takes.

    The caller sets the deadline.

    Raises:
        NegotiationFailed: The peer takes none.
    """
    header_seen = False
    opening = _encode(HEADER)  # the header goes out with the first proposal: one round trip less
    for protocol in protocols:
        await stream.write(opening + _encode(protocol))
        opening = b""
        if not header_seen:
            await _expect_header(stream)
            header_seen = True
        answer = await _read_token(stream)
        if answer == protocol:
            return protocol
        if answer != NOT_AVAILABLE:
            raise NegotiationFailed(f"the peer answered {answer!r} to {protocol!r}")
    raise NegotiationFailed(f"the peer speaks none of {', '.join(protocols)}")


async def respond(stream: ByteStream, protocols: Collection[str]) -> str:
    """Wait for the peer to propose one of `protocols`, agree, and return it.

    The caller sets the deadline.

    Raises:
        NegotiationFailed: It proposes none, or garbage.
    """
    await stream.write(_encode(HEADER))
    await _expect_header(stream)
    for _ in range(MAX_TOKENS):
        token = await _read_token(stream)
        if token in protocols:
            await stream.write(_encode(token))
            return token
        await stream.write(_encode(NOT_AVAILABLE))
    raise NegotiationFailed(f"the peer proposed {MAX_TOKENS} protocols that this node does not speak")


def _encode(token: str) -> bytes:
    line = token.encode() + b"\n"
    return encode_varint(len(line)) + line


def encode_varint(value: int) -> bytes:
    """Return `value` as an unsigned LEB128 varint."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


async def _expect_header(stream: ByteStream) -> None:
    header = await _read_token(stream)
    if header != HEADER:
        raise NegotiationFailed(f"the peer does not speak {HEADER}")


async def _read_token(stream: ByteStream) -> str:
    first = (await _read_exactly(stream, 1))[0]
    length = first & 0x7F
    if first & 0x80:
        second = (await _read_exactly(stream, 1))[0]
        length |= second << 7
    if not 1 <= length <= MAX_TOKEN_BYTES:
        raise NegotiationFailed(f"a token of {length} bytes")
    line = await _read_exactly(stream, length)
    if not line.endswith(b"\n"):
        raise NegotiationFailed("a token that does not end its line")
    try:
        return line[:-1].decode()
    except UnicodeDecodeError as error:
        raise NegotiationFailed("a token that is not UTF-8") from error


async def _read_exactly(stream: ByteStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = await stream.read(size - len(data))
        if not chunk:
            raise NegotiationFailed("the peer left")
        data += chunk
    return data
