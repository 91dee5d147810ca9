"""Slices of fuel change nothing, nor does the processor: the ground of live metering and of the engine's name."""

import pytest
import wasmtime

from node.execution import engine as engine_module
from node.execution import metering
from node.execution.native import ffi
from node.execution.runner import Runner
from protocol.task.engine import WASMTIME_50_0_1
from protocol.task.outcome import Outcome
from tests.node.execution.execution_lab import FUEL, Lab, command

IMPORTS = """
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
"""
# Loops of arithmetic, floats whose NaNs must be canonical, bulk memory, growth, and host calls between them.
MIXED = """
    (local $i i32) (local $x f64)
    (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 64))
    (loop $again
        (local.set $x (f64.sqrt (f64.sub (local.get $x) (f64.convert_i32_u (local.get $i)))))
        (f64.store (i32.const 40) (local.get $x))
        (i32.store (i32.const 48) (i32.add (i32.load (i32.const 48)) (i32.mul (local.get $i) (i32.const 2654435761))))
        (if (i32.eqz (i32.rem_u (local.get $i) (i32.const 1000)))
            (then
                (drop (call $random (i32.const 16) (i32.const 24)))
                (drop (call $clock (i32.const 0) (i64.const 0) (i32.const 56)))
                (memory.fill (i32.const 1000) (local.get $i) (i32.const 5000))
                (drop (memory.grow (i32.const 1)))
                (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $i) (i32.const 50000))))
"""
ENDINGS = {
    Outcome.OK: "",
    Outcome.UNREACHABLE: "unreachable",
    Outcome.DIVISION_BY_ZERO: "(drop (i32.div_u (i32.const 1) (i32.const 0)))",
    Outcome.OUT_OF_FUEL: "(loop $for_ever (br $for_ever))",
}


def mixed(ending: str) -> bytes:
    return command(MIXED + ending, imports=IMPORTS)


@pytest.mark.parametrize("outcome", ENDINGS)
def test_slices_of_any_length_change_neither_fuel_nor_output(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, outcome: Outcome
) -> None:
    judged: set[tuple[object, ...]] = set()
    slices: set[int] = set()
    for length in (500, 7_777, 100_000, 1_000_000, 10**12):
        looks = 0

        def fixed(_self: metering.SliceLength, _now_s: float, length: int = length) -> int:
            nonlocal looks
            looks += 1
            return length

        monkeypatch.setattr(metering, "FIRST_SLICE_FUEL", length)
        monkeypatch.setattr(metering.SliceLength, "next", fixed)
        ran = lab.run(mixed(ENDINGS[outcome]), fuel=20_000_000, clock=1_000, seed=b"s" * 32)
        judged.add(ran.judged)
        slices.add(looks)
        assert ran.outcome == outcome
        assert len(ran.output) == 50 * 64
    assert len(judged) == 1
    assert max(slices) > 1_000  # the lengths did make a difference to what happened between
    assert min(slices) < 10


def test_a_long_run_reports_at_least_four_times_a_second(lab: Lab) -> None:
    ran = lab.run(command("(loop $again (br $again))"), fuel=2**62, cpu_us=1_000_000)
    assert len(ran.progress) >= 3
    fuel = [each.fuel for each in ran.progress]
    assert fuel == sorted(fuel)
    assert 0 < fuel[0] < fuel[-1] <= ran.fuel


def test_a_run_that_only_waits_in_host_calls_reports_too(lab: Lab) -> None:
    body = "(loop $again (drop (call $clock (i32.const 0) (i64.const 0) (i32.const 56))) (br $again))"
    ran = lab.run(command(body, imports=IMPORTS), fuel=2**62, cpu_us=700_000)
    assert ran.outcome == Outcome.CPU_LIMIT
    assert len(ran.progress) >= 2


def _runner_on(monkeypatch: pytest.MonkeyPatch, **changes: object) -> Runner:
    """Return a runner whose code generator differs from ours in ways that must not matter."""

    def build(description: object) -> wasmtime.Engine:
        assert description is WASMTIME_50_0_1
        config = wasmtime.Config()
        for setting in WASMTIME_50_0_1.features:
            value = setting.value if setting.name == "max_wasm_stack" else bool(setting.value)
            setattr(config, setting.name, value)
        config.parallel_compilation = False
        ffi.wasmtime_config_async_stack_size_set(config.ptr(), engine_module.FIBER_STACK_BYTES)
        for name, value in changes.items():
            setattr(config, name, value)
        return wasmtime.Engine(config)

    monkeypatch.setattr("node.execution.runner.build_engine", build)
    monkeypatch.setattr("tests.node.execution.execution_lab.build_engine", build)
    return Runner(WASMTIME_50_0_1)


@pytest.mark.parametrize(
    "changes",
    [
        {"target": "pulley64"},
        {"cranelift_opt_level": "none"},
        {"signals_based_traps": False, "memory_reservation": 1 << 20, "memory_guard_size": 0},
    ],
    ids=["interpreter", "no optimisation", "explicit bounds checks"],
)
@pytest.mark.parametrize("outcome", ENDINGS)
def test_another_code_generator_gives_the_same_result_to_the_unit_of_fuel(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], outcome: Outcome
) -> None:
    module = mixed(ENDINGS[outcome])
    ours = lab.run(module, fuel=20_000_000)
    theirs = lab.run(module, fuel=20_000_000, runner=_runner_on(monkeypatch, **changes))
    assert ours.judged == theirs.judged
    assert ours.outcome == outcome


def test_growth_of_memory_is_the_same_wherever_the_host_keeps_it(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    body = "(loop $again (br_if $again (i32.ne (memory.grow (i32.const 7)) (i32.const -1))))"
    ours = lab.run(command(body), memory_mib=33)
    theirs = lab.run(command(body), memory_mib=33, runner=_runner_on(monkeypatch, memory_reservation=1 << 20))
    assert ours.judged == theirs.judged
    assert (ours.done.peak_mib, ours.fuel < FUEL) == (33, True)
