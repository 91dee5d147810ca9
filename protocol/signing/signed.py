"""A value with the signature of whoever stands by it."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from protocol.identity import Address, Digest, format_address
from protocol.signing.ecdsa import BadSignature, Signature, recover, sign
from protocol.signing.eip712 import Domain, digest

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Signed(Generic[T]):
    """A struct and its signature. Holding one says nothing yet: `signer_of` or `verify_signer` tells who signed."""

    value: T
    signature: Signature


def sign_struct(private_key: bytes, domain: Domain, value: T) -> Signed[T]:
    """Sign `value` under `domain`. Deterministic, so signing again after a crash gives the same bytes."""
    return Signed(value, sign(private_key, digest(domain, value)))


def signer_of(domain: Domain, signed: Signed[T]) -> Address:
    """Return who signed.

    Raises:
        BadSignature: The signature is malformed or high-s.
    """
    return recover(digest(domain, signed.value), signed.signature)


def verify_signer(domain: Domain, signed: Signed[T], expected: Address) -> Digest:
    """Check that `expected` signed, and return the id of the value.

    Raises:
        BadSignature: Malformed, or signed by somebody else (or for another chain or contract).
    """
    identity = digest(domain, signed.value)
    actual = recover(identity, signed.signature)
    if actual != expected:
        name = type(signed.value).__name__
        raise BadSignature(f"{name} is signed by {format_address(actual)}, expected {format_address(expected)}")
    return identity
