"""Run a guest in slices of fuel, so that its use can be watched and a limit enforced without its help.

wasmtime can suspend a call whenever a given amount of fuel is spent and go on later; the Python package offers this
only through its C bindings. Measured (tests/node/execution/test_execution_metering.py): slices of any length change
neither the outcome, nor the output, nor a single unit of fuel, with host calls and traps in between.
"""

import ctypes
from collections.abc import Callable
from ctypes import POINTER, byref
from typing import Any, Final

import wasmtime

from node.execution.native import check, context_of, error_of, ffi, trap_of

FIRST_SLICE_FUEL: Final = 1_000_000
MIN_SLICE_FUEL: Final = 100_000
MAX_SLICE_FUEL: Final = 400_000_000
SLICE_TARGET_S: Final = 0.03


class CallFailed(Exception):
    """A call into wasmtime ended in a trap or an error.

    Attributes:
        code: The trap's code; None for an error, or a trap that one of our own host calls made.
        is_trap: Tells the two apart.
    """

    def __init__(self, message: str, *, code: wasmtime.TrapCode | None, is_trap: bool) -> None:
        super().__init__(message)
        self.code, self.is_trap = code, is_trap


class Fuel:
    """The fuel of one store."""

    def __init__(self, store: wasmtime.Store) -> None:
        self._context = context_of(store)
        self._box = ctypes.c_uint64(0)

    def get(self) -> int:
        """Return what is left."""
        check(ffi.wasmtime_context_get_fuel(self._context, byref(self._box)))
        return self._box.value

    def set(self, fuel: int) -> None:
        """Replace what is left."""
        check(ffi.wasmtime_context_set_fuel(self._context, fuel))

    def slice_by(self, interval: int) -> None:
        """Suspend the running call after each `interval` units."""
        check(ffi.wasmtime_context_fuel_async_yield_interval(self._context, interval))


class SliceLength:
    """Fuel between two looks at the clock: as much as takes about `SLICE_TARGET_S`.

    Fuel per second differs eighty-fold between instruction mixes, so the length follows what the guest does.
    """

    def __init__(self, now_s: float) -> None:
        self.fuel = FIRST_SLICE_FUEL
        self._last_s = now_s

    def next(self, now_s: float) -> int:
        """Return the length of the next slice, the last one having ended at `now_s` (monotonic)."""
        took = max(now_s - self._last_s, 1e-6)
        self._last_s = now_s
        factor = min(4.0, max(0.25, SLICE_TARGET_S / took))
        self.fuel = int(min(MAX_SLICE_FUEL, max(MIN_SLICE_FUEL, self.fuel * factor)))
        return self.fuel


class Outlet:
    """Where the C functions below put a trap or an error."""

    def __init__(self) -> None:
        self.trap: Any = POINTER(ffi.wasm_trap_t)()
        self.error: Any = POINTER(ffi.wasmtime_error_t)()

    def raise_failure(self) -> None:
        """Raise `CallFailed` if the call left a trap or an error."""
        if self.trap:
            trap = trap_of(self.trap)
            raise CallFailed(_last_line(trap.message), code=trap.trap_code, is_trap=True)
        if self.error:
            error = error_of(self.error)
            raise CallFailed(_last_line(str(error)), code=None, is_trap=False)


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1].strip()[:300] if text.strip() else ""


def drive(start: Callable[[Outlet], Any], on_slice: Callable[[], None]) -> None:
    """Run an asynchronous call of wasmtime to its end.

    Args:
        start: Begins the call and returns its future.
        on_slice: Called whenever the guest is suspended. What it raises ends the call and passes on.

    Raises:
        CallFailed: The guest trapped, or could not be run.
    """
    outlet = Outlet()
    future = start(outlet)
    try:
        while not ffi.wasmtime_call_future_poll(future):
            on_slice()
    finally:
        ffi.wasmtime_call_future_delete(future)
    outlet.raise_failure()
