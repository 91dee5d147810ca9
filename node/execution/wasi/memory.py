"""The guest's linear memory, as host calls see it. Every pointer is the guest's and is checked here.

A view is good only until the guest runs again: the guest may grow its memory, and nothing here keeps one.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

from node.execution.wasi.abi import Errno, WasiError

_WRITABLE: Final = 0x200  # PyBUF_WRITE

# A ctypes array would make a new Python type for every length that a guest thinks of.
_memoryview_at = cast(
    "Callable[[int, int, int], memoryview]",
    ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int)(
        ("PyMemoryView_FromMemory", ctypes.pythonapi)
    ),
)


@dataclass(slots=True)
class GuestMemory:
    """Bounds-checked access to `size` bytes at host address `base`, for the length of one host call."""

    base: int
    size: int

    def view(self, pointer: int, length: int) -> memoryview:
        """Return a writable view of guest bytes.

        Raises:
            WasiError: FAULT, if any of them lies outside the memory.
        """
        self._check(pointer, length)
        return _memoryview_at(self.base + pointer, length, _WRITABLE)

    def read(self, pointer: int, length: int) -> bytes:
        """Return a copy of guest bytes. Raises as `view`."""
        self._check(pointer, length)
        return ctypes.string_at(self.base + pointer, length)

    def write(self, pointer: int, data: bytes) -> None:
        """Copy bytes into the guest. Raises as `view`, and then nothing was written."""
        self._check(pointer, len(data))
        ctypes.memmove(self.base + pointer, data, len(data))

    def read_u32(self, pointer: int) -> int:
        """Return the little-endian unsigned 32 bits at `pointer`. Raises as `view`."""
        return int.from_bytes(self.read(pointer, 4), "little")

    def write_u32(self, pointer: int, value: int) -> None:
        """Store little-endian 32 bits. Raises as `view`."""
        self.write(pointer, (value & 0xFFFFFFFF).to_bytes(4, "little"))

    def write_u64(self, pointer: int, value: int) -> None:
        """Store little-endian 64 bits. Raises as `view`."""
        self.write(pointer, (value & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "little"))

    def check(self, pointer: int, length: int) -> None:
        """Check a range that a call will write to, before it changes anything. Raises as `view`."""
        self._check(pointer, length)

    def _check(self, pointer: int, length: int) -> None:
        # Both are unsigned Python integers by now, so neither a sum that wraps nor a negative one can pass.
        if pointer < 0 or length < 0 or pointer + length > self.size:
            raise WasiError(Errno.FAULT)
