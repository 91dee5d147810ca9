"""Chance, as a service receives it (DESIGN, D14): a simulation that failed can be replayed from its seed."""

import random
import secrets
from typing import Final, Protocol

_DOUBLE_BITS: Final = 53


class RandomSource(Protocol):
    """Where salts, secrets and jitter come from. Wallet and host keys never do: they take `secrets` directly."""

    def bytes(self, count: int) -> bytes:
        """Return `count` random bytes."""
        ...

    def uniform(self) -> float:
        """Return a number in [0, 1)."""
        ...

    def below(self, limit: int) -> int:
        """Return an integer in [0, limit); `limit` is at least 1."""
        ...


class SystemRandomSource:
    """The operating system's generator: unpredictable, safe for salts and secrets."""

    def bytes(self, count: int) -> bytes:
        """Return `count` unpredictable bytes."""
        return secrets.token_bytes(count)

    def uniform(self) -> float:
        """Return an unpredictable number in [0, 1)."""
        return secrets.randbits(_DOUBLE_BITS) / (1 << _DOUBLE_BITS)

    def below(self, limit: int) -> int:
        """Return an unpredictable integer in [0, limit)."""
        return secrets.randbelow(limit)


class SeededRandomSource:
    """A reproducible sequence, for tests and simulations. Anyone who knows the seed knows every salt."""

    def __init__(self, seed: int | str) -> None:
        self._seed = seed
        self._random = random.Random(f"stoa:{seed}")  # noqa: S311 - predictable is what it is for

    def bytes(self, count: int) -> bytes:
        """Return the next `count` bytes of the sequence."""
        return self._random.randbytes(count)

    def uniform(self) -> float:
        """Return the next number in [0, 1)."""
        return self._random.random()

    def below(self, limit: int) -> int:
        """Return the next integer in [0, limit)."""
        return self._random.randrange(limit)

    def fork(self, label: str) -> "SeededRandomSource":
        """Return a source of its own for `label`: what one service draws does not shift what another gets."""
        return SeededRandomSource(f"{self._seed}/{label}")
