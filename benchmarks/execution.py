"""Tasks a second on a warm worker, against the bare call of the same engine in this process.

python -m benchmarks.run --only execution

A warm worker is a process behind sandbox walls that is handed a module, files and limits over a socket; the pool adds
what a node adds: a folder for the results, digests of what came out. What that costs is the same for every task, so its
share depends on how long a task runs: an empty one, a millisecond, ten, and the example word-statistics are measured.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio
import wasmtime
from blake3 import blake3

from benchmarks.figures import Figure, Goal, Of, rated
from node.cli.task_file import load_task_file
from node.execution.calibration import calibrate
from node.execution.engine import build_engine
from node.execution.job import Job, Limits, PreparedModule
from node.execution.pool import WorkerPool, open_worker_pool
from node.execution.settings import ExecutionSettings
from protocol.identity import ContentDigest
from protocol.task.engine import WASMTIME_50_0_1
from protocol.task.outcome import Outcome

EXAMPLE: Final = Path(__file__).resolve().parent.parent / "examples" / "word-statistics" / "task.toml"
LOOP: Final = """(module (memory (export "memory") 1) (func (export "_start") (local $i i32)
    (loop $again
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $i) (i32.const {turns}))))))"""
TURNS: Final = {"an empty task": 1, "a task of 1 ms": 1_000_000, "a task of 10 ms": 10_000_000}
"""How often the loop turns; about a nanosecond each with fuel."""
LIMITS: Final = Limits(fuel=10**10, memory_mib=32, output_bytes=1 << 20, log_bytes=1 << 20, cpu_s=30, wall_s=60)
GOAL: Final = Goal(of=Of.RATIO, least=0.7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A task to measure: a module, its arguments and what it reads."""

    name: str
    module: bytes
    args: tuple[str, ...] = ("task",)
    stdin: Path | None = None


def kinds() -> list[Kind]:
    """Return the loops, and the example."""
    loops = [Kind(name=name, module=bytes(wasmtime.wat2wasm(LOOP.format(turns=n)))) for name, n in TURNS.items()]
    task = load_task_file(EXAMPLE)
    return [
        *loops,
        Kind(name=task.name, module=task.module.read_bytes(), args=(task.name, *task.args), stdin=task.stdin),
    ]


def bare(engine: wasmtime.Engine, kind: Kind, folder: Path) -> Callable[[], None]:
    """Return a run of the engine alone: a store and an instance each, and wasmtime's own WASI for the example."""
    module, linker = wasmtime.Module(engine, kind.module), wasmtime.Linker(engine)
    if kind.stdin is not None:
        linker.define_wasi()

    def run() -> None:
        with wasmtime.Store(engine) as store:
            store.set_fuel(LIMITS.fuel)
            if kind.stdin is not None:
                wasi = wasmtime.WasiConfig()
                wasi.argv = kind.args
                wasi.stdin_file = kind.stdin
                wasi.stdout_file = folder / "bare.out"
                store.set_wasi(wasi)
            start = linker.instantiate(store, module).exports(store)["_start"]
            assert isinstance(start, wasmtime.Func)
            start(store)

    return run


async def prepared(pool: WorkerPool, kind: Kind, folder: Path) -> Job:
    """Compile a module for the pool."""
    digest = ContentDigest(blake3(kind.module).digest())
    source = trio.Path(folder / f"{digest.hex()}.wasm")
    await source.write_bytes(kind.module)
    module: PreparedModule = await pool.prepare(Path(source), digest)
    return Job(module=module, limits=LIMITS, args=kind.args, stdin=kind.stdin)


async def run_warm(pool: WorkerPool, job: Job) -> None:
    """Run a job as the node does, and throw its results away."""
    result = await pool.run(job)
    assert result.outcome == Outcome.OK, result.detail
    result.output.unlink()
    result.logs.unlink()
    result.output.parent.rmdir()


async def observe(rounds: int, seconds: float) -> list[Figure]:
    """Measure each kind of task, taking turns with the bare call."""
    engine = build_engine(WASMTIME_50_0_1)
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="stoa-bench-") as name:
        folder = Path(name)
        async with open_worker_pool(ExecutionSettings(), cache_dir=folder / "cache", work_dir=folder / "work") as pool:
            for kind in kinds():
                alone, job = bare(engine, kind, folder), await prepared(pool, kind, folder)
                alone()
                await run_warm(pool, job)
                rates: tuple[list[float], list[float]] = ([], [])
                for _ in range(rounds):
                    done, began = 0, time.perf_counter()
                    while (elapsed := time.perf_counter() - began) < seconds:
                        await run_warm(pool, job)
                        done += 1
                    rates[0].append(done / elapsed)
                    done, began = 0, time.perf_counter()
                    while (elapsed := time.perf_counter() - began) < seconds:
                        alone()
                        done += 1
                    rates[1].append(done / elapsed)
                goal = GOAL if kind.stdin is not None else None
                figures.append(rated(f"warm worker, {kind.name}", "/s", rates[0], "bare call", rates[1], goal=goal))
            measured = await calibrate(pool)
    figures.append(
        Figure(name="fuel, median of the calibration kernels", unit="G/s CPU", value=measured.fuel_per_s / 1e9)
    )
    figures.append(Figure(name="compiling", unit="kB/s CPU", value=measured.compile_bytes_per_s / 1e3))
    return figures


def measure(*, quick: bool) -> list[Figure]:
    """Measure all."""
    return trio.run(observe, 2 if quick else 7, 0.2 if quick else 0.4)
