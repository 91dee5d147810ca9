"""Bind the host calls to wasmtime: one linker a process, used for one guest at a time.

The calls go through the C bindings, where a call costs a tenth of what the package's own wrapper does, and where no
exception can end up in another guest. `begin` sets whose calls they are.
"""

import ctypes
from collections.abc import Callable, Sequence
from ctypes import byref
from typing import Any, Final

import wasmtime

from node.execution.native import ffi
from node.execution.wasi.abi import MODULES, NO_RESULT, SIGNATURES, Errno, WasiError
from node.execution.wasi.calls import Call, host_calls
from node.execution.wasi.guest import CALL_FUEL, Guest
from node.execution.wasi.memory import GuestMemory

_NO_FINALIZER: Final = ctypes.CFUNCTYPE(None, ctypes.c_void_p)()
_STOP: Final = b"stopped by the host"


class HostBinding:
    """All host calls, defined in `linker`.

    Attributes:
        linker: Knows every call of both snapshots of WASI and nothing else.
        stopped_by: The exception with which a host call ended the run, if one did.
    """

    def __init__(self, engine: wasmtime.Engine) -> None:
        self.linker = wasmtime.Linker(engine)
        self.stopped_by: BaseException | None = None
        self._guest: Guest | None = None
        self._after_call: Callable[[], None] = lambda: None
        self._memory: Any = None
        self._callbacks: list[Any] = []  # C holds their addresses for as long as the linker lives
        for module in MODULES:
            for name, call in host_calls(module).items():
                self._define(module, name, call)

    def begin(self, guest: Guest, after_call: Callable[[], None]) -> None:
        """Answer calls for `guest` from now on, and run `after_call` after each; what it raises ends the run."""
        self._guest, self._after_call = guest, after_call
        self._memory, self.stopped_by = None, None

    def end(self) -> None:
        """Forget the guest."""
        self._guest, self._memory = None, None
        self._after_call = lambda: None

    def _define(self, module: str, name: str, call: Call) -> None:
        kinds = SIGNATURES[name]
        types = [wasmtime.ValType.i32() if each == "i" else wasmtime.ValType.i64() for each in kinds]
        results = [] if name in NO_RESULT else [wasmtime.ValType.i32()]
        kind = wasmtime.FuncType(types, results)  # a name of its own: a temporary would be freed before the call
        callback = ffi.wasmtime_func_unchecked_callback_t(self._trampoline(call, kinds, has_result=bool(results)))
        self._callbacks.append(callback)
        error = ffi.wasmtime_linker_define_func_unchecked(
            self.linker.ptr(),
            ctypes.create_string_buffer(module.encode()),
            len(module),
            ctypes.create_string_buffer(name.encode()),
            len(name),
            kind.ptr(),
            callback,
            None,
            _NO_FINALIZER,
        )
        assert not error, f"{module}.{name} is defined twice"

    def _trampoline(self, call: Call, kinds: str, *, has_result: bool) -> Callable[..., int]:
        wide = tuple(kind == "I" for kind in kinds)

        def trampoline(_env: Any, caller: Any, raw: Any, _count: int) -> int:
            try:
                arguments = [
                    (raw[i].i64 & 0xFFFFFFFFFFFFFFFF) if is_wide else (raw[i].i32 & 0xFFFFFFFF)
                    for i, is_wide in enumerate(wide)
                ]
                errno = self._answer(call, caller, arguments)
                if has_result:
                    raw[0].i32 = errno
            except BaseException as error:  # noqa: BLE001 - C is above: whatever this is must not be lost there
                self.stopped_by = error
                return _new_trap()
            return 0

        return trampoline

    def _answer(self, call: Call, caller: Any, arguments: Sequence[int]) -> int:
        guest = self._guest
        assert guest is not None, "a host call outside a run"
        guest.charge(CALL_FUEL)
        guest.memory = self._guest_memory(caller)
        errno = Errno.SUCCESS
        try:
            call(guest, *arguments)
        except WasiError as error:
            errno = error.errno
        self._after_call()
        return errno

    def _guest_memory(self, caller: Any) -> GuestMemory:
        # Looked up once: which memory it is can't change. Where it is and how large is asked for every call.
        context = ffi.wasmtime_caller_context(caller)
        if self._memory is None:
            extern = ffi.wasmtime_extern_t()
            found = ffi.wasmtime_caller_export_get(caller, ctypes.create_string_buffer(b"memory"), 6, byref(extern))
            assert found, "a module without memory is refused before it runs"
            self._memory = extern.of.memory
        base = ctypes.cast(ffi.wasmtime_memory_data(context, byref(self._memory)), ctypes.c_void_p).value or 0
        return GuestMemory(base, ffi.wasmtime_memory_data_size(context, byref(self._memory)))


def _new_trap() -> int:
    trap = ffi.wasmtime_trap_new(ctypes.create_string_buffer(_STOP), len(_STOP))
    return ctypes.cast(trap, ctypes.c_void_p).value or 0
