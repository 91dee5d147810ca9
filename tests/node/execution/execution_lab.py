"""Run guests in this process, without a pool: fast, and every part of a run within reach."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import wasmtime
from blake3 import blake3

from node.execution.compiling import compile_module
from node.execution.engine import build_engine
from node.execution.messages import (
    CompiledMessage,
    CompileMessage,
    CompilerReply,
    DoneMessage,
    GuestFile,
    ProgressMessage,
    RunMessage,
)
from node.execution.runner import Runner
from protocol.identity import ContentDigest
from protocol.task.engine import WASMTIME_50_0_1

FUEL = 10**9
COUNT_TO_A_MILLION = """
    (local $i i32)
    (loop $again
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $i) (i32.const 1000000))))
"""


def wat(text: str) -> bytes:
    """Compile WebAssembly text to binary."""
    return bytes(wasmtime.wat2wasm(text))


def command(body: str, *, imports: str = "", fields: str = "", pages: str = "1") -> bytes:
    """Return a module whose `_start` is `body`."""
    return wat(f'(module {imports} (memory (export "memory") {pages}) {fields} (func (export "_start") {body}))')


def digest(data: bytes) -> ContentDigest:
    return ContentDigest(blake3(data).digest())


@dataclass(frozen=True, kw_only=True)
class Ran:
    """A run's report and what it wrote."""

    done: DoneMessage
    output: bytes
    logs: bytes
    progress: list[ProgressMessage]

    @property
    def outcome(self) -> int:
        return self.done.outcome

    @property
    def fuel(self) -> int:
        return self.done.fuel

    @property
    def judged(self) -> tuple[object, ...]:
        """Everything on which honest nodes must agree."""
        done = self.done
        return (done.outcome, done.fuel, done.peak_mib, done.output, done.output_bytes, done.logs, done.log_bytes)


@dataclass(kw_only=True)
class Lab:
    """A runner in this process and a folder for its artifacts."""

    folder: Path
    runner: Runner = field(default_factory=lambda: Runner(WASMTIME_50_0_1))

    def compile(self, module: bytes) -> CompilerReply:
        source = self.folder / f"{digest(module).hex()}.wasm"
        source.write_bytes(module)
        with source.open("rb") as read, source.with_suffix(".artifact").open("wb") as write:
            request = CompileMessage(module=digest(module), module_bytes=len(module))
            engine = build_engine(WASMTIME_50_0_1)
            return compile_module(request, read.fileno(), write.fileno(), engine, WASMTIME_50_0_1)

    def run(
        self,
        module: bytes,
        *,
        args: Sequence[str] = ("task",),
        env: Sequence[str] = (),
        stdin: bytes = b"",
        files: Sequence[tuple[str, bytes]] = (),
        clock: int = 0,
        seed: bytes = bytes(32),
        fuel: int = FUEL,
        memory_mib: int = 16,
        output_bytes: int = 1 << 16,
        log_bytes: int = 1 << 16,
        cpu_us: int = 20_000_000,
        runner: Runner | None = None,
        output_path: Path | None = None,
        claimed_stdin_bytes: int | None = None,
        report: Callable[[ProgressMessage], None] | None = None,
    ) -> Ran:
        compiled = self.compile(module)
        assert isinstance(compiled, CompiledMessage), compiled
        job = RunMessage(
            artifact=compiled.artifact,
            artifact_bytes=compiled.artifact_bytes,
            args=tuple(args),
            env=tuple(env),
            stdin_bytes=len(stdin) if claimed_stdin_bytes is None else claimed_stdin_bytes,
            files=tuple(GuestFile(path=path, size=len(data)) for path, data in files),
            clock=clock,
            seed=ContentDigest(seed),
            fuel=fuel,
            memory_mib=memory_mib,
            output_bytes=output_bytes,
            log_bytes=log_bytes,
            cpu_us=cpu_us,
        )
        progress: list[ProgressMessage] = []
        handles: list[BinaryIO] = [(self.folder / f"{digest(module).hex()}.artifact").open("rb")]
        handles += [_temporary(b"") if output_path is None else output_path.open("r+b", buffering=0)]
        handles += [_temporary(data) for data in (b"", stdin, *(data for _, data in files))]
        try:
            fds = [handle.fileno() for handle in handles]
            done = (runner or self.runner).run(job, fds, report or progress.append)
            output = _content(handles[1]) if output_path is None else b""
            logs = _content(handles[2])
        finally:
            for handle in handles:
                handle.close()
        return Ran(done=done, output=output, logs=logs, progress=progress)


def _temporary(data: bytes) -> BinaryIO:
    file: BinaryIO = tempfile.TemporaryFile()  # type: ignore[assignment]  # noqa: SIM115 - closed by the caller
    file.write(data)
    file.flush()
    return file


def _content(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()
