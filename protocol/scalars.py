"""The fixed-size types of the protocol: what each is in Python, in Solidity and on the wire."""

from dataclasses import dataclass
from typing import Annotated, Any, Final, get_args, get_origin

from protocol.identity import Address, ContentDigest
from protocol.signing.keccak import Digest
from protocol.units import Amount, BasisPoints, Bits, Seconds, UnixTime


@dataclass(frozen=True, slots=True)
class Scalar:
    """One fixed-size type. `shape` is the width of an unsigned integer, or the length of a byte string."""

    solidity: str
    shape: Bits | int


def _uint(width: int) -> Scalar:
    return Scalar(f"uint{width}", Bits(width))


_NAMED: Final[dict[Any, Scalar]] = {
    Amount: _uint(128),
    UnixTime: _uint(64),
    Seconds: _uint(32),
    BasisPoints: _uint(16),
    Address: Scalar("address", 20),
    Digest: Scalar("bytes32", 32),
    ContentDigest: Scalar("bytes32", 32),
}


def scalar_of(hint: Any) -> Scalar:
    """Return the scalar that a field annotation names.

    Raises:
        TypeError: The annotation is of no fixed size.
    """
    scalar = find_scalar(hint)
    if scalar is None:
        raise TypeError(f"{hint} has no fixed size; an EIP-712 struct here has only flat fields")
    return scalar


def find_scalar(hint: Any) -> Scalar | None:
    """Return the scalar that a field annotation names, or None."""
    if hint in _NAMED:
        return _NAMED[hint]
    if get_origin(hint) is Annotated:
        base, *extras = get_args(hint)
        for extra in extras:
            if base is int and isinstance(extra, Bits):
                return _uint(extra.width)
    return None
