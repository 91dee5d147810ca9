"""Measure this machine in fuel, so that a provider can price a Gfuel and say how long a task will take.

Fuel per second depends on what a program does (up to eighty-fold), so a mix of kernels is run and the median and the
slowest are told apart: price by the median, promise times by the slowest.
"""

import secrets
import shutil
import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio
import wasmtime
from blake3 import blake3

from node.execution.errors import WorkerUnavailable
from node.execution.job import Job, Limits, PreparedModule, RunResult
from node.execution.pool import WorkerPool
from protocol.identity import ContentDigest
from protocol.task.outcome import Outcome, describe

ROUNDS: Final = 3
KERNEL_FUEL: Final = 400_000_000
KERNEL_CPU_S: Final = 60.0
COMPILED_FUNCTIONS: Final = 4_000
PATIENCE: Final = 3.0
"""How much slower than the slowest kernel a program may be: page faults and cold caches are no kernel here."""
PATIENCE_BASE_S: Final = 2.0
"""For what costs time and no fuel: loading the module, making its memory."""

# Each kernel runs until its fuel is spent; so each round costs the same fuel and its CPU time is the measure.
_KERNELS: Final[Mapping[str, str]] = {
    "integers": """(func (export "_start") (local $a i64) (local $b i64)
        (loop $again
            (local.set $a (i64.add (i64.mul (local.get $a) (i64.const 6364136223846793005))
                (i64.const 1442695040888963407)))
            (local.set $b (i64.xor (i64.rotl (local.get $b) (i64.const 13)) (i64.shr_u (local.get $a) (i64.const 29))))
            (br $again)))""",
    "floats": """(func (export "_start") (local $x f64) (local $y f64)
        (local.set $y (f64.const 1.000001))
        (loop $again
            (local.set $x (f64.add (f64.mul (local.get $x) (local.get $y)) (f64.sqrt (local.get $y))))
            (local.set $y (f64.add (local.get $y) (f64.div (f64.const 1) (f64.add (local.get $x) (f64.const 3)))))
            (br $again)))""",
    "memory": """(func (export "_start") (local $i i32)
        (loop $again
            (local.set $i (i32.and (i32.add (i32.mul (local.get $i) (i32.const 1664525)) (i32.const 1013904223))
                (i32.const 0x3ffffc)))
            (i32.store (local.get $i) (i32.add (i32.load (i32.xor (local.get $i) (i32.const 0x155554))) (i32.const 1)))
            (br $again)))""",
    "calls": """(type $step (func (param i32) (result i32)))
        (table 4 funcref) (elem (i32.const 0) $f0 $f1 $f2 $f3)
        (func $f0 (param i32) (result i32) (i32.add (local.get 0) (i32.const 7)))
        (func $f1 (param i32) (result i32) (i32.mul (local.get 0) (i32.const 5)))
        (func $f2 (param i32) (result i32) (i32.xor (local.get 0) (i32.const 11)))
        (func $f3 (param i32) (result i32) (i32.rotl (local.get 0) (i32.const 3)))
        (func (export "_start") (local $x i32)
            (loop $again
                (local.set $x (call_indirect (type $step) (local.get $x) (i32.and (local.get $x) (i32.const 3))))
                (br $again)))""",
    "bytes": """(func (export "_start")
        (loop $again
            (memory.fill (i32.const 0) (i32.const 1) (i32.const 1000000))
            (memory.copy (i32.const 1000000) (i32.const 0) (i32.const 1000000))
            (br $again)))""",
    "host calls": """(func (export "_start") (local $i i32)
        (loop $again
            (drop (call $clock (i32.const 0) (i64.const 0) (i32.const 0)))
            (br $again)))""",
}
_CLOCK: Final = '(import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))'


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelSpeed:
    """What one kind of work costs here: fuel per CPU second, the median of some rounds."""

    name: str
    fuel_per_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How fast this machine is, on one core.

    Attributes:
        kernels: Each kind of work, fastest first.
        fuel_per_s: The median of the kernels.
        slowest_fuel_per_s: The slowest of the kernels.
        compile_bytes_per_s: Bytes of module compiled in a CPU second.
    """

    kernels: tuple[KernelSpeed, ...]
    fuel_per_s: int
    slowest_fuel_per_s: int
    compile_bytes_per_s: int

    def likely_cpu_s(self, fuel: int) -> float:
        """Return how many CPU seconds so much fuel takes at the median speed: a guess, for prices and displays."""
        return fuel / self.fuel_per_s

    def promised_cpu_s(self, fuel: int) -> float:
        """Return in how many CPU seconds so much fuel is spent by all but extraordinary programs: for promises."""
        return fuel / self.slowest_fuel_per_s

    def patience_cpu_s(self, fuel: int) -> float:
        """Return after how many CPU seconds a run outruns its fuel and may be stopped unjudged (SPEC B4)."""
        return PATIENCE * self.promised_cpu_s(fuel) + PATIENCE_BASE_S


async def calibrate(pool: WorkerPool) -> Calibration:
    """Run the kernels on `pool`, one at a time; takes some seconds of one core.

    Raises:
        WorkerUnavailable: A kernel did not end as it must: this machine or its engine is broken.
    """
    folder = Path(await trio.to_thread.run_sync(lambda: tempfile.mkdtemp(prefix="stoa-calibration-")))
    try:
        modules = [(name, await _prepare(pool, folder, _module(body))) for name, body in _KERNELS.items()]
        speeds = [await _measure(pool, name, module) for name, module in modules]
        compile_speed = await _measure_compiling(pool, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    speeds.sort(key=lambda speed: -speed.fuel_per_s)
    return Calibration(
        kernels=tuple(speeds),
        fuel_per_s=int(statistics.median(speed.fuel_per_s for speed in speeds)),
        slowest_fuel_per_s=speeds[-1].fuel_per_s,
        compile_bytes_per_s=compile_speed,
    )


def _module(body: str) -> bytes:
    return bytes(wasmtime.wat2wasm(f'(module {_CLOCK} (memory (export "memory") 70) {body})'))


async def _prepare(pool: WorkerPool, folder: Path, module: bytes) -> PreparedModule:
    digest = ContentDigest(blake3(module).digest())
    path = trio.Path(folder / digest.hex())
    await path.write_bytes(module)
    return await pool.prepare(Path(path), digest)


async def _measure(pool: WorkerPool, name: str, module: PreparedModule) -> KernelSpeed:
    limits = Limits(
        fuel=KERNEL_FUEL, memory_mib=8, output_bytes=0, log_bytes=0, cpu_s=KERNEL_CPU_S, wall_s=4 * KERNEL_CPU_S
    )
    rounds: list[float] = []
    for _ in range(ROUNDS):
        result = await pool.run(Job(module=module, limits=limits))
        await trio.to_thread.run_sync(shutil.rmtree, result.output.parent)
        _check(name, result)
        rounds.append(KERNEL_FUEL / max(result.cpu_s, 1e-6))
    return KernelSpeed(name=name, fuel_per_s=int(statistics.median(rounds)))


def _check(name: str, result: RunResult) -> None:
    if result.outcome != Outcome.OUT_OF_FUEL:
        raise WorkerUnavailable(
            f"the calibration kernel {name!r} ended with: {describe(result.outcome)}. {result.detail}",
            advice="close other programs and calibrate again",
        )


async def _measure_compiling(pool: WorkerPool, folder: Path) -> int:
    function = "(func (param i32) (result i32) (i32.mul (i32.add (local.get 0) (i32.const {0})) (i32.const 3)))"
    functions = "".join(function.format(number) for number in range(COMPILED_FUNCTIONS))
    # A name that no module had before, or the cache would be measured.
    unique = f'(func (export "{secrets.token_hex(8)}"))'
    module = _module(functions + unique + '(func (export "_start"))')
    prepared = await _prepare(pool, folder, module)
    await pool.forget(prepared.digest)
    return int(len(module) / max(prepared.compile_cpu_s, 1e-6))
