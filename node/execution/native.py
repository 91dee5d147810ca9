"""The parts of wasmtime's C interface that its Python package does not wrap, in one place.

Suspending a call, host calls without per-argument wrappers and the size of a fiber's stack are only there. The package
calls these bindings private, so its version is pinned exactly and the tests of this room are what allows a new one.
"""

from typing import Any, Final

import wasmtime
from wasmtime import _bindings

ffi: Final[Any] = _bindings


def context_of(store: wasmtime.Store) -> Any:
    """Return the C context of a store."""
    return store._context()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - no public way


def trap_of(pointer: Any) -> wasmtime.Trap:
    """Take ownership of a trap."""
    return wasmtime.Trap._from_ptr(pointer)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - no public way


def error_of(pointer: Any) -> wasmtime.WasmtimeError:
    """Take ownership of an error."""
    return wasmtime.WasmtimeError._from_ptr(pointer)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - no public way


def check(error: Any) -> None:
    """Raise the error that a C function returned, if it returned one."""
    if error:
        raise error_of(error)
