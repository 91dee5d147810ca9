"""Compile one module. It blocks, it may be attacked, and it belongs in a process that does nothing else."""

import os
import time
from typing import Final

import wasmtime
from blake3 import blake3

from node.execution.errors import InvalidModule
from node.execution.messages import (
    MICROSECONDS,
    CompiledMessage,
    CompileMessage,
    CompilerReply,
    DamagedMessage,
    RefusedMessage,
    clip,
)
from node.execution.module_scan import scan_module
from node.execution.wasi.abi import MODULES, NO_RESULT, SIGNATURES
from protocol.identity import ContentDigest
from protocol.task.engine import EngineDescription

ENTRY: Final = "_start"
MEMORY: Final = "memory"


def compile_module(
    request: CompileMessage,
    module_fd: int,
    artifact_fd: int,
    engine: wasmtime.Engine,
    description: EngineDescription,
) -> CompilerReply:
    """Check the module behind `module_fd`, compile it and write the result to `artifact_fd`.

    Raises:
        OSError: The artifact can't be written.
    """
    started = time.process_time()
    try:
        data = _read_module(request, module_fd)
        if blake3(data).digest() != request.module:
            return DamagedMessage(reason="the file's bytes are not the module that the digest names")
        artifact = _compile(data, engine, description)
    except InvalidModule as error:
        return RefusedMessage(reason=clip(str(error)))
    view = memoryview(artifact)
    written = 0
    while written < len(view):
        written += os.write(artifact_fd, view[written:])
    os.fsync(artifact_fd)
    return CompiledMessage(
        artifact=ContentDigest(blake3(artifact).digest()),
        artifact_bytes=len(artifact),
        cpu_us=int((time.process_time() - started) * MICROSECONDS),
    )


def _read_module(request: CompileMessage, module_fd: int) -> bytes:
    with os.fdopen(module_fd, "rb", closefd=False) as file:
        return file.read(request.module_bytes + 1)


def _compile(data: bytes, engine: wasmtime.Engine, description: EngineDescription) -> bytes | bytearray:
    scan_module(memoryview(data), description)
    try:
        module = wasmtime.Module(engine, data)
    except wasmtime.WasmtimeError as error:
        raise InvalidModule(_reason(error)) from error
    _check_imports(module)
    _check_exports(module)
    return module.serialize()


def _reason(error: wasmtime.WasmtimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return "not valid WebAssembly: " + (lines[-1] if lines else "no reason given")


def _check_imports(module: wasmtime.Module) -> None:
    for each in module.imports:
        name = f"{each.module}.{each.name}"
        signature = SIGNATURES.get(each.name or "") if each.module in MODULES else None
        if signature is None or not isinstance(each.type, wasmtime.FuncType):
            raise InvalidModule(f"unknown import {name}: only the functions of WASI preview 1 are there")
        results = 0 if each.name in NO_RESULT else 1
        given = "".join({"i32": "i", "i64": "I"}.get(str(kind), "?") for kind in each.type.params)
        if given != signature or [str(kind) for kind in each.type.results] != ["i32"] * results:
            raise InvalidModule(f"the import {name} has the wrong type")


def _check_exports(module: wasmtime.Module) -> None:
    exports = {each.name: each.type for each in module.exports}
    start = exports.get(ENTRY)
    if not isinstance(start, wasmtime.FuncType):
        raise InvalidModule(f"no function {ENTRY} is exported: build a command, not a library")
    if list(start.params) or list(start.results):
        raise InvalidModule(f"{ENTRY} takes arguments or returns something; it must do neither")
    if not isinstance(exports.get(MEMORY), wasmtime.MemoryType):
        raise InvalidModule(f"no memory is exported under the name {MEMORY!r}")
