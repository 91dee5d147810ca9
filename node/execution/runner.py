"""Run one guest after another in this process. It blocks and belongs in a worker process, never in the node."""

import math
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from ctypes import byref, create_string_buffer
from dataclasses import dataclass
from typing import Any, Final

import wasmtime
from blake3 import blake3

from node.execution.binding import HostBinding
from node.execution.engine import build_engine
from node.execution.errors import ArtifactDamaged
from node.execution.messages import MICROSECONDS, DoneMessage, ProgressMessage, RunMessage, clip
from node.execution.metering import CallFailed, Fuel, Outlet, SliceLength, drive
from node.execution.native import context_of, ffi
from node.execution.wasi.guest import ROOT_FD, Guest, GuestExit, OpenDirectory, OpenFile, OpenSink, OutOfFuel
from node.execution.wasi.sinks import Sink, SinkFull
from node.execution.wasi.tree import FileNode, build_tree
from protocol.identity import ContentDigest
from protocol.task.engine import EngineDescription, cap_of
from protocol.task.outcome import Outcome, is_leaky, outcome_of_exit

PAGE_BYTES: Final = 65536
MIB: Final = 1 << 20
CACHED_MODULES: Final = 4
REPORT_EVERY_S: Final = 0.2
CALLS_PER_LOOK: Final = 32
TRAPS: Final = {
    wasmtime.TrapCode.UNREACHABLE: Outcome.UNREACHABLE,
    wasmtime.TrapCode.OUT_OF_FUEL: Outcome.OUT_OF_FUEL,
    wasmtime.TrapCode.INDIRECT_CALL_TO_NULL: Outcome.INDIRECT_CALL_TO_NULL,
    wasmtime.TrapCode.BAD_SIGNATURE: Outcome.INDIRECT_CALL_SIGNATURE,
    wasmtime.TrapCode.INTEGER_DIVISION_BY_ZERO: Outcome.DIVISION_BY_ZERO,
    wasmtime.TrapCode.INTEGER_OVERFLOW: Outcome.INTEGER_OVERFLOW,
    wasmtime.TrapCode.BAD_CONVERSION_TO_INTEGER: Outcome.BAD_CONVERSION,
    wasmtime.TrapCode.MEMORY_OUT_OF_BOUNDS: Outcome.MEMORY_OUT_OF_BOUNDS,
    wasmtime.TrapCode.TABLE_OUT_OF_BOUNDS: Outcome.TABLE_OUT_OF_BOUNDS,
    wasmtime.TrapCode.STACK_OVERFLOW: Outcome.STACK_OVERFLOW,
}


class CpuLimitReached(Exception):
    """The run has used the CPU time that this node gives it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModule:
    """A module ready to be instantiated."""

    prepared: wasmtime.InstancePre
    first_memory_bytes: int


class Runner:
    """One engine, its host calls, and the modules that ran last."""

    def __init__(self, description: EngineDescription) -> None:
        self._engine = build_engine(description)
        self._binding = HostBinding(self._engine)
        self._table_elements = cap_of(description, "table_elements")
        self._tables = cap_of(description, "tables")
        self._modules: OrderedDict[ContentDigest, LoadedModule] = OrderedDict()

    def run(self, job: RunMessage, fds: Sequence[int], report: Callable[[ProgressMessage], None]) -> DoneMessage:
        """Run a job to its end.

        Args:
            job: What to run.
            fds: Open descriptors: artifact, output, logs, standard input, then the files in order.
            report: Told where the run stands, about every `REPORT_EVERY_S`.

        Raises:
            ArtifactDamaged: The artifact is not the one that the job names, or can't be loaded here.
        """
        artifact_fd, output_fd, logs_fd, *input_fds = fds
        module = self._load(job, artifact_fd)
        run = _Run(job, self._engine, output_fd, logs_fd, input_fds, report)
        run.store.set_limits(
            memory_size=job.memory_mib * MIB,
            table_elements=self._table_elements,
            instances=1,
            tables=self._tables,
            memories=1,
        )
        return run.perform(module, self._binding)

    def _load(self, job: RunMessage, fd: int) -> LoadedModule:
        known = self._modules.get(job.artifact)
        if known is not None:
            self._modules.move_to_end(job.artifact)
            return known
        data = _read_exactly(fd, job.artifact_bytes)
        if blake3(data).digest() != job.artifact:
            raise ArtifactDamaged("the compiled module's bytes changed on disk")
        try:
            module = wasmtime.Module.deserialize(self._engine, data)
        except wasmtime.WasmtimeError as error:
            raise ArtifactDamaged(f"the compiled module can't be loaded: {error}") from error
        try:
            prepared = self._binding.linker.instantiate_pre(module)
        except wasmtime.WasmtimeError as error:
            raise ArtifactDamaged(f"the compiled module does not link: {error}") from error
        loaded = LoadedModule(prepared=prepared, first_memory_bytes=_first_memory(module))
        self._modules[job.artifact] = loaded
        while len(self._modules) > CACHED_MODULES:
            self._modules.popitem(last=False)
        return loaded


class _Run:
    """One guest from its first instruction to its outcome."""

    def __init__(
        self,
        job: RunMessage,
        engine: wasmtime.Engine,
        output_fd: int,
        logs_fd: int,
        input_fds: Sequence[int],
        report: Callable[[ProgressMessage], None],
    ) -> None:
        self.store = wasmtime.Store(engine)
        self._job, self._report = job, report
        self._fuel = Fuel(self.store)
        self._fuel.set(job.fuel)
        self._output = Sink(output_fd, limit=job.output_bytes, full=Outcome.OUTPUT_LIMIT)
        self._logs = Sink(logs_fd, limit=job.log_bytes, full=Outcome.LOG_LIMIT)
        self._guest = _build_guest(job, input_fds, self._fuel, self._output, self._logs)
        self._instance = ffi.wasmtime_instance_t()
        self._peak_bytes = 0
        self._cpu_start = time.process_time()
        self._calls = 0
        self._reported_at = time.monotonic()
        self._slices = SliceLength(self._reported_at)

    def perform(self, module: LoadedModule, binding: HostBinding) -> DoneMessage:
        if module.first_memory_bytes > self._job.memory_mib * MIB:
            self.store.close()
            return self._done(Outcome.MEMORY_LIMIT, 0, "")
        binding.begin(self._guest, self._after_call)
        detail = ""
        try:
            self._fuel.slice_by(self._slices.fuel)
            self._call_guest(module)
            outcome = int(Outcome.OK)
        except CpuLimitReached:
            outcome = int(Outcome.CPU_LIMIT)
        except CallFailed as failure:
            stopped_by = binding.stopped_by
            outcome = _outcome_of(stopped_by) if stopped_by is not None else _outcome_of_failure(failure)
            detail = str(failure) if stopped_by is None else f"{type(stopped_by).__name__}: {stopped_by}"
        finally:
            binding.end()
        used = self._fuel_used()
        self._peak_bytes = self._memory_bytes()
        self.store.close()
        if outcome == Outcome.OUT_OF_FUEL or is_leaky(outcome):
            used = self._job.fuel  # what was used is not known to the unit, so the receipt states the limit
        return self._done(outcome, used, detail)

    def _call_guest(self, module: LoadedModule) -> None:
        context = context_of(self.store)

        def instantiate(outlet: Outlet) -> Any:
            return ffi.wasmtime_instance_pre_instantiate_async(
                module.prepared.ptr(), context, byref(self._instance), byref(outlet.trap), byref(outlet.error)
            )

        drive(instantiate, self._look)
        start = self._export("_start")

        def call(outlet: Outlet) -> Any:
            return ffi.wasmtime_func_call_async(
                context, byref(start.of.func), None, 0, None, 0, byref(outlet.trap), byref(outlet.error)
            )

        drive(call, self._look)

    def _export(self, name: str) -> Any:
        extern = ffi.wasmtime_extern_t()
        raw = name.encode()
        found = ffi.wasmtime_instance_export_get(
            self.store._context(),  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - no public way
            byref(self._instance),
            create_string_buffer(raw),
            len(raw),
            byref(extern),
        )
        assert found, f"a module without {name} is refused before it runs"
        return extern

    def _memory_bytes(self) -> int:
        if self._instance.store_id == 0:
            # It ended in the module's start function, where its memory can't be asked for. The limit is the one figure
            # on which all nodes agree and under which nobody can hide.
            return self._job.memory_mib * MIB
        context = context_of(self.store)
        return int(ffi.wasmtime_memory_data_size(context, byref(self._export("memory").of.memory)))

    def _after_call(self) -> None:
        self._calls += 1
        if self._calls % CALLS_PER_LOOK == 0:
            self._look()

    def _look(self) -> None:
        """See how far the guest is; runs between slices of fuel and, now and then, after host calls."""
        now = time.monotonic()
        cpu_s = time.process_time() - self._cpu_start
        if cpu_s * MICROSECONDS > self._job.cpu_us:
            raise CpuLimitReached
        if now - self._reported_at >= REPORT_EVERY_S:
            self._reported_at = now
            written = self._output.written + self._logs.written
            self._report(ProgressMessage(fuel=self._fuel_used(), bytes_out=written, cpu_us=int(cpu_s * MICROSECONDS)))
        self._fuel.slice_by(self._slices.next(now))

    def _fuel_used(self) -> int:
        return max(0, self._job.fuel - self._fuel.get())

    def _done(self, outcome: int, fuel: int, detail: str) -> DoneMessage:
        return DoneMessage(
            outcome=outcome,
            fuel=fuel,
            peak_mib=math.ceil(self._peak_bytes / MIB),
            output=ContentDigest(self._output.digest()),
            output_bytes=self._output.written,
            logs=ContentDigest(self._logs.digest()),
            log_bytes=self._logs.written,
            cpu_us=int((time.process_time() - self._cpu_start) * MICROSECONDS),
            detail=clip(detail),
        )


def _build_guest(job: RunMessage, input_fds: Sequence[int], fuel: Fuel, output: Sink, logs: Sink) -> Guest:
    stdin_fd, *file_fds = input_fds
    root = build_tree([(file.path, file.size) for file in job.files])
    return Guest(
        args=tuple(text.encode() for text in job.args),
        env=tuple(text.encode() for text in job.env),
        clock_s=job.clock,
        seed=job.seed,
        fds={
            0: OpenFile(node=FileNode(inode=0, index=-1, size=job.stdin_bytes), host_fd=stdin_fd),
            1: OpenSink(output),
            2: OpenSink(logs),
            ROOT_FD: OpenDirectory(node=root, preopen=b"/"),
        },
        file_fds=tuple(file_fds),
        get_fuel=fuel.get,
        set_fuel=fuel.set,
    )


def _outcome_of(stopped_by: BaseException) -> int:
    """Return the outcome of a run that a host call ended."""
    match stopped_by:
        case GuestExit():
            return outcome_of_exit(stopped_by.code)
        case OutOfFuel():
            return Outcome.OUT_OF_FUEL
        case SinkFull():
            return stopped_by.outcome
        case CpuLimitReached():
            return Outcome.CPU_LIMIT
        case _:  # a full disk, a vanished file, too little memory, a bug of ours: never the guest's fault
            return Outcome.HOST_FAILURE


def _outcome_of_failure(failure: CallFailed) -> int:
    if failure.code is None:
        return Outcome.HOST_FAILURE
    return TRAPS.get(failure.code, Outcome.HOST_FAILURE)


def _read_exactly(fd: int, size: int) -> bytes:
    parts: list[bytes] = []
    offset = 0
    while offset < size:
        part = os.pread(fd, size - offset, offset)
        if not part:
            break
        parts.append(part)
        offset += len(part)
    return b"".join(parts)


def _first_memory(module: wasmtime.Module) -> int:
    for export in module.exports:
        if export.name == "memory" and isinstance(export.type, wasmtime.MemoryType):
            return export.type.limits.min * PAGE_BYTES
    raise ArtifactDamaged("the compiled module exports no memory")
