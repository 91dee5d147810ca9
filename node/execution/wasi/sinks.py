"""Where a guest's output goes: a host file, hashed as it is written, and never longer than the task allows."""

import os
from typing import Final

from blake3 import blake3

from protocol.task.outcome import Outcome

WRITE_CHUNK: Final = 1 << 20


class SinkFull(Exception):
    """The guest wrote past its limit; what fits was kept."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.name)
        self.outcome = outcome


class Sink:
    """A bounded, hashed output stream over an open host descriptor."""

    def __init__(self, fd: int, *, limit: int, full: Outcome) -> None:
        """Write to `fd`, at most `limit` bytes; `full` is the outcome of a run that goes beyond."""
        self._fd = fd
        self._left = limit
        self._full = full
        self._hash = blake3()
        self.written = 0

    def write(self, data: memoryview) -> None:
        """Write all of `data`, or what still fits.

        Raises:
            SinkFull: Not all of it fits.
            OSError: The host can't write it.
        """
        fits = data[: self._left]
        for start in range(0, len(fits), WRITE_CHUNK):
            chunk = bytes(fits[start : start + WRITE_CHUNK])
            self._hash.update(chunk)
            done = 0
            while done < len(chunk):
                done += os.write(self._fd, chunk[done:])
        self._left -= len(fits)
        self.written += len(fits)
        if len(fits) < len(data):
            raise SinkFull(self._full)

    def digest(self) -> bytes:
        """Return the BLAKE3 of everything written."""
        return self._hash.digest()
