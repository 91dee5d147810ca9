"""Who runs which node, and where it answers: a record that a wallet signs over a host key (DESIGN D2).

    wallet (secp256k1) ── signs ──▶ NodeRecord(wallet, peer, body, sequence, expires)
                                        │       └─ keccak of NodeBody: addresses, engines, rates
                                        └─ Ed25519 host key, which proves itself in every handshake

The signature proves that the wallet chose this host key; the handshake proves that who answers holds it. Together they
bind a public name (`did:pkh:eip155:…`) to a connection. Between two records of one wallet the higher sequence counts,
and a record that has expired counts for nothing.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Final

from protocol.errors import ProtocolError
from protocol.identity import Address, Digest, PeerId, format_address
from protocol.signing.eip712 import Domain
from protocol.signing.keccak import keccak256
from protocol.signing.signed import Signed, sign_struct, verify_signer
from protocol.task.pricing import Rates
from protocol.units import Uint64, UnixTime
from protocol.wire.codec import MaxLen, encode

MAX_RECORD_LIFETIME_S: Final = 24 * 3600
"""The longest a record may be valid, seconds: a key that leaks, or a machine that moves, is forgotten within a day."""
MAX_ANNOUNCEMENT_BYTES: Final = 4096
HOST_KEY_BYTES: Final = 32

ED25519_ID_PREFIX: Final = bytes.fromhex("002408011220")
"""libp2p: identity multihash (0x00) of 36 bytes (0x24) holding the protobuf {type: Ed25519, data: 32 bytes}."""
_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_PEER_ID_CHARS: Final = 52


class BadPeerId(ProtocolError):
    """A text that is not the base58 id of an Ed25519 host key."""


class BadNodeRecord(ProtocolError):
    """A node record that is expired, not yet believable, or does not cover its body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeBody:
    """What a record says beyond its keys; travels beside it and is bound by its hash.

    Attributes:
        addresses: Multiaddresses without the peer id, best first.
        engines: Digests of the engines that the node runs; empty if it sells nothing.
        rates: Asked prices, a hint for requesters: only a bid binds. None if it sells nothing.
    """

    addresses: Annotated[tuple[Annotated[str, MaxLen(200)], ...], MaxLen(8)]
    engines: Annotated[tuple[Digest, ...], MaxLen(16)] = ()
    rates: Rates | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRecord:
    """The signed part. An EIP-712 struct, so that a wallet in a browser can sign it too.

    Attributes:
        wallet: Who signs, and whose node it is.
        peer: The Ed25519 public key of the host, 32 bytes.
        body: keccak of the canonical encoding of the `NodeBody`.
        sequence: Grows with every record of this wallet.
        expires: Last second at which the record counts.
    """

    wallet: Address
    peer: Digest
    body: Digest
    sequence: Uint64
    expires: UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAnnouncement:
    """A record with its body, as nodes pass them on."""

    record: Signed[NodeRecord]
    body: NodeBody

    @property
    def wallet(self) -> Address:
        """Whose node it is."""
        return self.record.value.wallet

    @property
    def peer(self) -> PeerId:
        """The id with which the node answers."""
        return peer_id_of(self.record.value.peer)


def announce_node(
    private_key: bytes, domain: Domain, *, wallet: Address, host_key: bytes, body: NodeBody, sequence: int, expires: int
) -> NodeAnnouncement:
    """Sign a record for the node with the Ed25519 public key `host_key`, valid to `expires` (unix seconds)."""
    record = NodeRecord(
        wallet=wallet, peer=Digest(host_key), body=keccak256(encode(body)), sequence=sequence, expires=UnixTime(expires)
    )
    return NodeAnnouncement(record=sign_struct(private_key, domain, record), body=body)


def verify_announcement(domain: Domain, announcement: NodeAnnouncement, *, now: int) -> None:
    """Check signature, body and time.

    Args:
        domain: The market's domain: a record for another chain says nothing here.
        announcement: As decoded; any part may lie.
        now: Unix seconds.

    Raises:
        BadSignature: The wallet named in it did not sign.
        BadNodeRecord: Expired, valid for longer than a day from now, or the body is not the one signed.
        BadPeerId: The host key is all zeros.
    """
    record = announcement.record.value
    who = format_address(record.wallet)
    if now > record.expires:
        raise BadNodeRecord(f"node record of {who} expired at {record.expires}, it is {now}")
    if record.expires > now + MAX_RECORD_LIFETIME_S:
        raise BadNodeRecord(f"node record of {who} claims to be valid for more than {MAX_RECORD_LIFETIME_S} s")
    if keccak256(encode(announcement.body)) != record.body:
        raise BadNodeRecord(f"node record of {who} was signed over another body")
    if not any(record.peer):
        raise BadPeerId(f"node record of {who} names no host key")
    verify_signer(domain, announcement.record, record.wallet)


@lru_cache(maxsize=4096)
def peer_id_of(host_key: bytes) -> PeerId:
    """Return the libp2p id of an Ed25519 public key: base58 of the key itself, never of a hash."""
    assert len(host_key) == HOST_KEY_BYTES
    raw = ED25519_ID_PREFIX + host_key
    number, text = int.from_bytes(raw), ""
    while number:
        number, digit = divmod(number, 58)
        text = _BASE58[digit] + text
    return PeerId("1" * (len(raw) - len(raw.lstrip(b"\0"))) + text)


@lru_cache(maxsize=4096)
def host_public_key(peer: PeerId) -> bytes:
    """Return the Ed25519 public key inside a peer id.

    Raises:
        BadPeerId: Not base58, not an Ed25519 key, or a hash of a key (which can't be verified by itself).
    """
    number = 0
    if len(peer) != _PEER_ID_CHARS:
        raise BadPeerId(f"a peer id of this network has {_PEER_ID_CHARS} characters, not {len(peer)}")
    for char in peer:
        digit = _BASE58.find(char)
        if digit < 0:
            raise BadPeerId(f"{char!r} in a peer id is no base58")
        number = number * 58 + digit
    size = len(ED25519_ID_PREFIX) + HOST_KEY_BYTES
    if number >> (8 * size):
        raise BadPeerId(f"{peer} is no Ed25519 peer id")
    raw = number.to_bytes(size)
    if not raw.startswith(ED25519_ID_PREFIX) or peer_id_of(raw[-HOST_KEY_BYTES:]) != peer:
        raise BadPeerId(f"{peer} is no Ed25519 peer id; it should begin with 12D3Koo")
    return raw[-HOST_KEY_BYTES:]
