"""From a raw connection to an encrypted one between two known peers: Noise, and nothing else.

The stock host of py-libp2p 0.8.1 also offers plaintext, SECIO and TLS; here `/noise` is the only proposal and the only
answer, so no peer can talk a connection down (docs/adr/0303). The handshake itself is py-libp2p's.
"""

from typing import Final

import trio
from cryptography.exceptions import InvalidTag
from libp2p.abc import IRawConnection
from libp2p.connection_types import ConnectionType
from libp2p.crypto.ed25519 import Ed25519PrivateKey
from libp2p.crypto.keys import KeyPair
from libp2p.crypto.x25519 import create_new_key_pair as create_x25519_key_pair
from libp2p.exceptions import BaseLibp2pError
from libp2p.peer.id import ID
from libp2p.security.noise.io import NoiseTransportReadWriter
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.security.secure_session import SecureSession
from multiaddr import Multiaddr
from noise.exceptions import NoiseInvalidMessage, NoiseValueError

from node.networking.libp2p.negotiation import propose, respond
from node.networking.libp2p.yamux import MuxError
from node.networking.turns import PER_BYTE, PER_HANDSHAKE, PER_MESSAGE, Spend, spend_nothing
from protocol.identity import PeerId
from protocol.node_record import host_public_key

NOISE: Final = "/noise"
YAMUX: Final = "/yamux/1.0.0"
RECEIVE_BYTES: Final = 128 * 1024
LENGTH_BYTES: Final = 2
MAX_PLAIN_BYTES: Final = 65535 - 16
"""A Noise message ends with a tag of 16 bytes."""


class HandshakeFailed(Exception):
    """The other side is not who it should be, or does not speak Noise."""


class Identity:
    """The host key of this node, in the forms that libp2p wants."""

    def __init__(self, host_key: bytes) -> None:
        """Take the 32-byte seed of an Ed25519 key."""
        private = Ed25519PrivateKey.new(host_key)
        self.key_pair = KeyPair(private, private.get_public_key())
        self.id = ID.from_pubkey(self.key_pair.public_key)
        self.peer = PeerId(self.id.to_base58())
        # The Noise key lives as long as the process: the handshake signs it with the host key.
        self.noise = NoiseTransport(self.key_pair, create_x25519_key_pair().private_key)


class RawConnection(IRawConnection):
    """A trio stream as libp2p's handshake wants it. Reads are buffered: stock reads twice for every Noise message."""

    def __init__(self, stream: trio.abc.Stream, *, is_initiator: bool, spend: Spend = spend_nothing) -> None:
        self.is_initiator = is_initiator
        self._stream, self._spend = stream, spend
        self._buffer = bytearray()

    async def read(self, n: int | None = None) -> bytes:
        """Return at most `n` bytes, none at the end."""
        if not self._buffer:
            try:
                self._buffer += await self._stream.receive_some(RECEIVE_BYTES)
                await self._spend(PER_HANDSHAKE)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return b""
        size = len(self._buffer) if n is None else n
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    async def read_message(self) -> bytes | None:
        """Return the next Noise message, still sealed, or None at the end, or where it was cut."""
        buffer = self._buffer
        while True:
            if len(buffer) >= LENGTH_BYTES:
                end = LENGTH_BYTES + int.from_bytes(buffer[:LENGTH_BYTES])
                if len(buffer) >= end:
                    message = bytes(memoryview(buffer)[LENGTH_BYTES:end])
                    del buffer[:end]
                    return message
            try:
                received = await self._stream.receive_some(RECEIVE_BYTES)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return None
            if not received:
                return None
            buffer += received

    async def write(self, data: bytes) -> None:
        """Write all of `data`."""
        await self._stream.send_all(data)

    async def close(self) -> None:
        """Close the stream."""
        await self._stream.aclose()

    def get_remote_address(self) -> tuple[str, int] | None:
        """Not known here; the switch knows."""
        return None

    def get_transport_addresses(self) -> list[Multiaddr]:
        """Not known here; the switch knows."""
        return []

    def get_connection_type(self) -> ConnectionType:
        """Never relayed."""
        return ConnectionType.DIRECT


class SecureWire:
    """A Noise session as the muxer wants it: whole messages in and out.

    The library's reader takes each message apart in five calls and four copies, and gives up on one that comes in more
    than a hundred pieces; so its cipher alone is used.
    """

    def __init__(self, session: SecureSession, raw: RawConnection, peer: PeerId) -> None:
        assert isinstance(session.conn, NoiseTransportReadWriter)
        self.peer = peer
        self.spend: Spend = spend_nothing
        self._raw, self._cipher = raw, session.conn.noise_state

    async def read(self, _limit: int = 0) -> bytes:
        """Return one decrypted message, or none at the end.

        Raises:
            MuxError: It does not decrypt.
        """
        try:
            while (sealed := await self._raw.read_message()) is not None:
                message = self._cipher.decrypt(sealed)
                await self.spend(PER_MESSAGE + len(message) * PER_BYTE)
                if message:  # an empty one is legal, and no end
                    return message
        except (InvalidTag, NoiseInvalidMessage) as error:
            raise MuxError("a message does not decrypt") from error
        return b""

    async def write(self, data: bytes) -> None:
        """Encrypt and send `data`, at most `MAX_PLAIN_BYTES`.

        Raises:
            MuxError: The connection broke.
        """
        assert len(data) <= MAX_PLAIN_BYTES
        sealed = self._cipher.encrypt(data)
        try:
            await self._raw.write(len(sealed).to_bytes(LENGTH_BYTES) + sealed)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise MuxError("the connection broke") from error


class Wire:
    """A wire with the leftovers of negotiation: multistream tokens and the muxer's first frames may share a message."""

    def __init__(self, wire: SecureWire) -> None:
        self._wire = wire
        self._rest = b""

    def count_for(self, spend: Spend) -> None:
        """From now on, reading is work that somebody causes."""
        self._wire.spend = spend

    async def read(self, limit: int = RECEIVE_BYTES) -> bytes:
        """Return 1 to `limit` bytes, none at the end. Raises `MuxError`."""
        data = self._rest or await self._wire.read()
        self._rest = data[limit:]
        return data[:limit]

    async def write(self, data: bytes) -> None:
        """Encrypt and send `data`. Raises `MuxError`."""
        await self._wire.write(data)


async def secure(
    stream: trio.abc.Stream,
    identity: Identity,
    *,
    is_dialler: bool,
    expected: PeerId | None,
    spend: Spend = spend_nothing,
) -> tuple[PeerId, Wire]:
    """Authenticate the other side and agree on the muxer; return who it is and the wire for the muxer.

    Nothing is sent in the clear but the protocol's name. The caller sets the deadline and closes `stream`.

    Args:
        stream: Fresh from the transport.
        identity: Ours.
        is_dialler: Whether we dialled.
        expected: Who must answer, when we dialled; None takes anybody.
        spend: Gets the work that the handshake causes, before it is done; `Wire.count_for` names another for later.

    Raises:
        HandshakeFailed: Another peer answered, or none that speaks Noise with an Ed25519 host key.
        NegotiationFailed: The other side offers no encryption, or another muxer.
        MuxError: The connection broke.
    """
    raw = RawConnection(stream, is_initiator=is_dialler, spend=spend)
    try:
        if is_dialler:
            await propose(raw, [NOISE])
            pattern = identity.noise.get_pattern()
            session = await pattern.handshake_outbound(raw, None if expected is None else ID.from_base58(expected))
        else:
            await respond(raw, [NOISE])
            session = await identity.noise.secure_inbound(raw)
    except (
        BaseLibp2pError, NoiseInvalidMessage, NoiseValueError, InvalidTag, ValueError, trio.BrokenResourceError
    ) as error:  # fmt: skip
        # A message too short to hold a key; a payload that is no protobuf, a key that is no curve point (ValueError)
        raise HandshakeFailed(f"handshake failed: {error or type(error).__name__}") from error
    assert isinstance(session, SecureSession)
    peer = PeerId(session.get_remote_peer().to_base58())
    host_public_key(peer)  # Ed25519 only: a record of this network can't name another kind
    wire = Wire(SecureWire(session, raw, peer))
    await (propose(wire, [YAMUX]) if is_dialler else respond(wire, [YAMUX]))
    return peer, wire
