"""Secrets that do not show."""

from typing import Final, final


@final
class Secret:
    """Bytes that never appear in a repr, a log line, an exception, a pickle or a comparison.

    Python can't wipe memory, so this guards against leaks by accident, not against whoever reads the process.
    """

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value: Final = value

    def reveal(self) -> bytes:
        """Return the bytes. Call it where they are used, and don't name the result."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(...)"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a secret is not pickled")
