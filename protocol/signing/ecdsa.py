"""Signatures of plain keys: secp256k1, 65 bytes `r || s || v`, low s, v 27 or 28 (docs/spec, C4; EIP-2).

A high-s twin of a signature recovers to the same signer, so accepting it would let anyone make a second, different
message out of one signed message.
"""

from functools import lru_cache
from typing import Final, NewType

from coincurve import PrivateKey, PublicKey

from protocol.errors import ProtocolError
from protocol.identity import Address, Digest
from protocol.signing.keccak import keccak256

Signature = NewType("Signature", bytes)

SIGNATURE_BYTES: Final = 65
_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_HALF_ORDER: Final = _ORDER // 2
_REMEMBERED: Final = 4096
"""Signatures whose signer is remembered, some 400 bytes each: what is heard is checked where it is relayed, once more
where it is kept, and again in a transcript. What does not verify is never remembered."""


class BadSignature(ProtocolError):
    """A signature that is malformed, high-s, or of somebody else."""


def sign(private_key: bytes, digest: Digest) -> Signature:
    """Sign `digest` with nonces by RFC 6979, so the same digest always gives the same signature."""
    compact: bytes = _key(private_key).sign_recoverable(digest, hasher=None)  # pyright: ignore[reportUnknownMemberType] - coincurve leaves one default untyped
    return Signature(compact[:64] + bytes([compact[64] + 27]))


def recover(digest: Digest, signature: bytes) -> Address:
    """Return the address whose key signed `digest`.

    Raises:
        BadSignature: Wrong length, v other than 27 or 28, r or s out of range, high s, or no such point.
    """
    return _recover(bytes(digest), bytes(signature))


@lru_cache(maxsize=_REMEMBERED)
def _recover(digest: bytes, signature: bytes) -> Address:
    if len(signature) != SIGNATURE_BYTES:
        raise BadSignature(f"a signature has {SIGNATURE_BYTES} bytes, this has {len(signature)}")
    v = signature[64]
    if v not in (27, 28):
        raise BadSignature(f"v is {v}, must be 27 or 28")
    r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:64])
    if not 0 < r < _ORDER or not 0 < s < _ORDER:
        raise BadSignature("r or s is out of range")
    if s > _HALF_ORDER:
        raise BadSignature("s is in the upper half: the twin of another signature")
    try:
        public = PublicKey.from_signature_and_message(signature[:64] + bytes([v - 27]), digest, hasher=None)
    except ValueError as error:
        raise BadSignature("no public key fits this signature") from error
    return _address(public)


def forget_signers() -> None:
    """Forget whose signatures have verified: for who measures the work, not the memory of it."""
    _recover.cache_clear()


def address_of(private_key: bytes) -> Address:
    """Return the address of a private key, 32 bytes."""
    return _address(_key(private_key).public_key)


@lru_cache(maxsize=8)
def _key(private_key: bytes) -> PrivateKey:
    """Return the key in the library's form, which costs more to make (its public key) than a signature does.

    A node has one key and holds it as long as it runs, so nothing secret lives longer for being kept here.
    """
    return PrivateKey(private_key)


def _address(public: PublicKey) -> Address:
    return Address(keccak256(public.format(compressed=False)[1:])[12:])
