"""The bytes of `relay/messages.py`: protobufs with their length in front, and the signed envelope of a voucher.

The protobufs are py-libp2p's. The envelope is that of libp2p's RFC 0002
(https://github.com/libp2p/specs/blob/master/RFC/0002-signed-envelopes.md), with domain and payload of Circuit Relay v2.
"""

from collections.abc import Callable
from typing import Final, Protocol

from google.protobuf.message import DecodeError
from libp2p.crypto.ed25519 import Ed25519PublicKey
from libp2p.peer.pb import crypto_pb2, envelope_pb2
from libp2p.relay.circuit_v2.pb import circuit_pb2
from multiaddr import Multiaddr

from node.networking.addresses import PeerAddress
from node.networking.libp2p.negotiation import encode_varint
from node.networking.relay.messages import (
    MAX_MESSAGE_BYTES,
    BadCircuitMessage,
    HopKind,
    HopMessage,
    Limit,
    Reservation,
    Status,
    StopKind,
    StopMessage,
)
from protocol.identity import PeerId
from protocol.node_record import ED25519_ID_PREFIX, HOST_KEY_BYTES, host_public_key, peer_id_of

VOUCHER_DOMAIN: Final = b"libp2p-relay-rsvp"
VOUCHER_TYPE: Final = b"\x03\x02"
SIGNATURE_BYTES: Final = 64


class Source(Protocol):
    """What messages are read from: a stream."""

    async def read_exactly(self, size: int) -> bytes:
        """Return exactly `size` bytes. Raises `StreamClosed`."""
        ...


async def read_frame(stream: Source) -> bytes:
    """Read one message without its length.

    Raises:
        BadCircuitMessage: It is over `MAX_MESSAGE_BYTES`.
        StreamClosed: The other side left.
    """
    length = 0
    for shift in (0, 7):
        byte = (await stream.read_exactly(1))[0]
        length |= (byte & 0x7F) << shift
        if not byte & 0x80 and length <= MAX_MESSAGE_BYTES:
            return await stream.read_exactly(length)
    raise BadCircuitMessage(f"a message of more than {MAX_MESSAGE_BYTES} bytes")


def frame(message: bytes) -> bytes:
    """Put the length in front."""
    return encode_varint(len(message)) + message


def encode_hop(message: HopMessage) -> bytes:
    """Return the protobuf of `message`."""
    out = circuit_pb2.HopMessage(type=circuit_pb2.HopMessage.Type.ValueType(message.kind))
    if message.peer is not None:
        out.peer.id = peer_bytes(message.peer)
    if message.reservation is not None:
        out.reservation.expire = message.reservation.expires
        out.reservation.addrs.extend(message.reservation.addresses)
        if message.reservation.voucher:
            out.reservation.voucher = message.reservation.voucher
    if message.limit is not None:
        out.limit.CopyFrom(_limit(message.limit))
    if message.status:
        out.status = circuit_pb2.Status.ValueType(message.status)
    return out.SerializeToString()


def decode_hop(data: bytes) -> HopMessage:
    """Read a message of the hop protocol. Raises `BadCircuitMessage`."""
    raw = circuit_pb2.HopMessage()
    _parse(raw, data)
    if not raw.HasField("type") or raw.type not in HopKind.__members__.values():
        raise BadCircuitMessage("no hop message")
    told = raw.reservation if raw.HasField("reservation") else None
    return HopMessage(
        kind=HopKind(raw.type),
        peer=_peer(raw.peer.id) if raw.HasField("peer") else None,
        reservation=None
        if told is None
        else Reservation(expires=told.expire, addresses=tuple(told.addrs), voucher=told.voucher),
        limit=Limit(duration_s=raw.limit.duration, data_bytes=raw.limit.data) if raw.HasField("limit") else None,
        status=_status(raw.status),
    )


def encode_stop(message: StopMessage) -> bytes:
    """Return the protobuf of `message`."""
    out = circuit_pb2.StopMessage(type=circuit_pb2.StopMessage.Type.ValueType(message.kind))
    if message.peer is not None:
        out.peer.id = peer_bytes(message.peer)
    if message.limit is not None:
        out.limit.CopyFrom(_limit(message.limit))
    if message.status:
        out.status = circuit_pb2.Status.ValueType(message.status)
    return out.SerializeToString()


def decode_stop(data: bytes) -> StopMessage:
    """Read a message of the stop protocol. Raises `BadCircuitMessage`."""
    raw = circuit_pb2.StopMessage()
    _parse(raw, data)
    if not raw.HasField("type") or raw.type not in StopKind.__members__.values():
        raise BadCircuitMessage("no stop message")
    return StopMessage(
        kind=StopKind(raw.type),
        peer=_peer(raw.peer.id) if raw.HasField("peer") else None,
        limit=Limit(duration_s=raw.limit.duration, data_bytes=raw.limit.data) if raw.HasField("limit") else None,
        status=_status(raw.status),
    )


def make_voucher(sign: Callable[[bytes], bytes], relay: PeerId, peer: PeerId, expires: int) -> bytes:
    """Return the envelope in which `relay` says that it keeps a place for `peer` until `expires` (unix seconds)."""
    payload = circuit_pb2.Voucher(
        relay=peer_bytes(relay), peer=peer_bytes(peer), expiration=expires
    ).SerializeToString()
    return envelope_pb2.Envelope(
        public_key=crypto_pb2.PublicKey(Type=crypto_pb2.KeyType.Ed25519, Data=host_public_key(relay)),
        payload_type=VOUCHER_TYPE,
        payload=payload,
        signature=sign(_signed_bytes(payload)),
    ).SerializeToString()


def verify_voucher(envelope: bytes, relay: PeerId, peer: PeerId, expires: int) -> None:
    """Check that `envelope` is what `make_voucher` returns for these.

    Raises:
        BadCircuitMessage: It is not, or somebody else signed it.
    """
    outer, inner = envelope_pb2.Envelope(), circuit_pb2.Voucher()
    _parse(outer, envelope)
    _parse(inner, outer.payload)
    key, signer = host_public_key(relay), outer.public_key
    if (signer.Type, signer.Data, outer.payload_type) != (crypto_pb2.KeyType.Ed25519, key, VOUCHER_TYPE):
        raise BadCircuitMessage("the voucher is not of this relay")
    # The library's verification answers False to a wrong signature, and raises for one of another length.
    if len(outer.signature) != SIGNATURE_BYTES or not Ed25519PublicKey.from_bytes(key).verify(
        _signed_bytes(outer.payload), outer.signature
    ):
        raise BadCircuitMessage("the relay did not sign its voucher")
    if (inner.relay, inner.peer, inner.expiration) != (peer_bytes(relay), peer_bytes(peer), expires):
        raise BadCircuitMessage("the voucher is for another reservation")


def peer_bytes(peer: PeerId) -> bytes:
    """Return the binary form of a peer id."""
    return ED25519_ID_PREFIX + host_public_key(peer)


def binary_address(place: PeerAddress) -> bytes:
    """Return a multiaddress in its binary form."""
    return Multiaddr(str(place)).to_bytes()


def _parse(
    into: circuit_pb2.HopMessage | circuit_pb2.StopMessage | circuit_pb2.Voucher | envelope_pb2.Envelope, data: bytes
) -> None:
    try:
        into.ParseFromString(data)
    except DecodeError as error:
        raise BadCircuitMessage("no protobuf of a circuit") from error


def _limit(limit: Limit) -> circuit_pb2.Limit:
    return circuit_pb2.Limit(duration=limit.duration_s, data=limit.data_bytes)


def _status(number: int) -> Status:
    return Status(number) if number in Status.__members__.values() else Status.UNUSED


def _peer(raw: bytes) -> PeerId:
    key = raw[len(ED25519_ID_PREFIX) :]
    if not raw.startswith(ED25519_ID_PREFIX) or len(key) != HOST_KEY_BYTES or not any(key):
        raise BadCircuitMessage("a peer that is not named by an Ed25519 key")
    return peer_id_of(key)


def _signed_bytes(payload: bytes) -> bytes:
    return b"".join(encode_varint(len(part)) + part for part in (VOUCHER_DOMAIN, VOUCHER_TYPE, payload))
