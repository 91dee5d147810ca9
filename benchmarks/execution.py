"""What execution costs, measured on this machine: `python benchmarks/execution.py [--seconds S]`.

Prints runs per second of the bare engine in this process, of one warm worker over its socket, and of the pool as the
node uses it, for the same module in the same run; then the start of a pool, the calibration kernels and compiling.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import trio
import wasmtime
from blake3 import blake3

from node.execution.calibration import calibrate
from node.execution.compiling import compile_module
from node.execution.engine import build_engine
from node.execution.job import Job, Limits
from node.execution.messages import CompiledMessage, CompileMessage, DoneMessage, ReadyMessage, RunMessage
from node.execution.pool import open_worker_pool
from node.execution.processes import open_sandbox_process
from node.execution.settings import ExecutionSettings
from protocol.identity import ContentDigest
from protocol.task.engine import WASMTIME_50_0_1

MODULE = """(module (memory (export "memory") 1) (func (export "_start") (local $i i32)
    (loop $again
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $i) (i32.const 1000))))))"""
LIMITS = Limits(fuel=10**9, memory_mib=16, output_bytes=1 << 20, log_bytes=1 << 20, cpu_s=10, wall_s=30)


def bare_rate(module: bytes, seconds: float) -> list[float]:
    """Return seconds per run of the engine alone: one store and one instance a run, no host calls."""
    engine = build_engine(WASMTIME_50_0_1)
    loaded = wasmtime.Module(engine, module)
    linker = wasmtime.Linker(engine)

    def run() -> None:
        with wasmtime.Store(engine) as store:
            store.set_fuel(10**9)
            start = linker.instantiate(store, loaded).exports(store)["_start"]
            assert isinstance(start, wasmtime.Func)
            start(store)

    return timed(run, seconds)


def timed(run: Callable[[], None], seconds: float) -> list[float]:
    """Return how long each of the calls took that fit into `seconds`."""
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while (start := time.perf_counter()) < end:
        run()
        taken.append(time.perf_counter() - start)
    return taken


def report(name: str, taken: list[float]) -> None:
    """Print a rate and the median and 99th percentile of the latency."""
    taken = sorted(taken)
    p99 = taken[int(len(taken) * 0.99)]
    median = statistics.median(taken)
    print(f"{name:34} {1 / median:10,.0f} /s   p50 {median * 1e3:7.3f} ms   p99 {p99 * 1e3:7.3f} ms   n={len(taken)}")


async def bench_worker(module: bytes, seconds: float, folder: Path) -> None:
    """Measure one warm worker over its socket, without the pool: no files are made, no thread is visited."""
    source, artifact = folder / "module", folder / "artifact"
    source.write_bytes(module)
    with source.open("rb") as read, artifact.open("wb") as write:
        ask = CompileMessage(module=ContentDigest(blake3(module).digest()), module_bytes=len(module))
        compiled = compile_module(ask, read.fileno(), write.fileno(), build_engine(WASMTIME_50_0_1), WASMTIME_50_0_1)
    assert isinstance(compiled, CompiledMessage)
    request = RunMessage(
        artifact=compiled.artifact,
        artifact_bytes=compiled.artifact_bytes,
        args=("task",),
        env=(),
        stdin_bytes=0,
        files=(),
        clock=0,
        seed=ContentDigest(bytes(32)),
        fuel=LIMITS.fuel,
        memory_mib=LIMITS.memory_mib,
        output_bytes=0,
        log_bytes=0,
        cpu_us=10_000_000,
    )
    taken: list[float] = []
    with artifact.open("rb") as code, tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as logs:
        fds = [code.fileno(), output.fileno(), logs.fileno(), code.fileno()]
        async with open_sandbox_process("runner", memory_bytes=1 << 30, cpu_s=0) as process:
            await process.receive(ReadyMessage)
            end = time.perf_counter() + seconds
            while (start := time.perf_counter()) < end:
                await process.send(request, fds)
                await process.receive(DoneMessage)
                taken.append(time.perf_counter() - start)
    report("one warm worker over its socket", taken)


async def bench_pool(module: bytes, seconds: float, folder: Path) -> None:
    """Measure the pool as the node uses it."""
    started = time.perf_counter()
    async with open_worker_pool(ExecutionSettings(), cache_dir=folder / "cache", work_dir=folder / "work") as pool:
        print(f"{'pool open, first worker ready':34} {(time.perf_counter() - started) * 1e3:10,.0f} ms")
        source = trio.Path(folder / "module.wasm")
        await source.write_bytes(module)
        prepared = await pool.prepare(Path(source), ContentDigest(blake3(module).digest()))
        job = Job(module=prepared, limits=LIMITS)
        taken: list[float] = []
        end = time.perf_counter() + seconds
        while (start := time.perf_counter()) < end:
            result = await pool.run(job)
            taken.append(time.perf_counter() - start)
            result.output.unlink()
            result.logs.unlink()
            result.output.parent.rmdir()
        report("warm pool, files and digests", taken)
        measured = await calibrate(pool)
        print("barriers: " + ", ".join(pool.status().barriers))
    for kernel in measured.kernels:
        print(f"{'fuel per CPU second, ' + kernel.name:34} {kernel.fuel_per_s / 1e9:10.2f} G/s")
    print(f"{'median of kernels':34} {measured.fuel_per_s / 1e9:10.2f} G/s")
    print(f"{'compiling':34} {measured.compile_bytes_per_s / 1e3:10,.0f} kB/s of CPU")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="how long to measure each rate")
    seconds: float = parser.parse_args().seconds
    module = bytes(wasmtime.wat2wasm(MODULE))
    report("bare engine in this process", bare_rate(module, seconds))
    with tempfile.TemporaryDirectory(prefix="stoa-bench-") as folder:
        trio.run(bench_worker, module, seconds, Path(folder))
        trio.run(bench_pool, module, seconds, Path(folder))


if __name__ == "__main__":
    main()
