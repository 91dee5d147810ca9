"""Keccak-256, the hash of the contracts (not NIST SHA-3: the padding differs)."""

from collections.abc import Callable
from typing import Final, NewType, Protocol, cast

import sha3  # pyright: ignore[reportMissingTypeStubs] - no types; safe-pysha3: 2 µs a call where eth-hash with pycryptodome takes 6

Digest = NewType("Digest", bytes)
"""32 bytes of Keccak-256: the id of a signed object, a Merkle root, a hash lock."""


class _Hash(Protocol):
    def digest(self) -> bytes: ...


_keccak_256 = cast("Callable[[bytes], _Hash]", sha3.keccak_256)  # pyright: ignore[reportUnknownMemberType]

ZERO_DIGEST: Final = Digest(bytes(32))


def keccak256(data: bytes) -> Digest:
    """Return the 32-byte Keccak-256 of `data`."""
    return Digest(_keccak_256(data).digest())
