"""How each bad guest ends, with which fuel, and that equal runs are equal."""

from pathlib import Path

import pytest

from protocol.task.outcome import Outcome
from tests.node.execution.execution_lab import COUNT_TO_A_MILLION, FUEL, Lab, command, wat

PROC_EXIT = '(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))'
FD_WRITE = '(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))'

# Each body divides nothing away: the million iterations before the trap are what a leak loses.
EXACT_TRAPS = {
    Outcome.UNREACHABLE: "unreachable",
    Outcome.INDIRECT_CALL_TO_NULL: "(call_indirect (type $v) (i32.const 1))",
    Outcome.INDIRECT_CALL_SIGNATURE: "(call_indirect (type $v) (i32.const 0))",
}
LEAKY_TRAPS = [
    (Outcome.DIVISION_BY_ZERO, "(drop (i32.div_u (i32.const 1) (i32.const 0)))"),
    (Outcome.DIVISION_BY_ZERO, "(drop (i64.rem_s (i64.const 1) (i64.const 0)))"),
    (Outcome.INTEGER_OVERFLOW, "(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))"),
    (Outcome.INTEGER_OVERFLOW, "(drop (i32.trunc_f32_s (f32.const 1e30)))"),
    (Outcome.BAD_CONVERSION, "(drop (i32.trunc_f64_u (f64.const nan)))"),
    (Outcome.MEMORY_OUT_OF_BOUNDS, "(drop (i32.load (i32.const 70000)))"),
    (Outcome.MEMORY_OUT_OF_BOUNDS, "(memory.fill (i32.const 65530) (i32.const 1) (i32.const 100))"),
    (Outcome.TABLE_OUT_OF_BOUNDS, "(drop (table.get 0 (i32.const 9)))"),
    (Outcome.TABLE_OUT_OF_BOUNDS, "(call_indirect (type $v) (i32.const 9))"),
]
TABLE = "(type $v (func)) (table 2 funcref) (func $takes (param i32)) (elem (i32.const 0) $takes)"


def writes(fd: int, pages: int = 1) -> bytes:
    """Return a guest that writes one page at a time for ever."""
    body = f"""
        (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 1000))
        (loop $again (drop (call $write (i32.const {fd}) (i32.const 0) (i32.const 1) (i32.const 8))) (br $again))
    """
    return command(body, imports=FD_WRITE, pages=str(pages))


def test_a_guest_that_returns_is_ok_and_its_fuel_is_pinned(lab: Lab) -> None:
    ran = lab.run(command(COUNT_TO_A_MILLION))
    assert (ran.outcome, ran.fuel, ran.done.peak_mib) == (Outcome.OK, 8_000_001, 1)


@pytest.mark.parametrize(("code", "outcome"), [(0, 0), (1, 1), (125, 125), (126, 126), (127, 126), (-1, 126)])
def test_an_exit_code_becomes_the_outcome(lab: Lab, code: int, outcome: int) -> None:
    assert lab.run(command(f"(call $exit (i32.const {code}))", imports=PROC_EXIT)).outcome == outcome


@pytest.mark.parametrize(("outcome", "body"), EXACT_TRAPS.items())
def test_an_exact_trap_keeps_the_fuel_that_was_used(lab: Lab, outcome: Outcome, body: str) -> None:
    ran = lab.run(command(COUNT_TO_A_MILLION + body, fields=TABLE))
    assert ran.outcome == outcome
    assert 8_000_000 < ran.fuel < 8_000_010


@pytest.mark.parametrize(("outcome", "body"), LEAKY_TRAPS)
def test_a_leaky_trap_states_the_limit_since_what_was_used_is_lost(lab: Lab, outcome: Outcome, body: str) -> None:
    ran = lab.run(command(COUNT_TO_A_MILLION + body, fields=TABLE))
    assert (ran.outcome, ran.fuel) == (outcome, FUEL)


@pytest.mark.parametrize("where", ["_start", "start section"])
def test_an_endless_loop_ends_when_the_fuel_does(lab: Lab, where: str) -> None:
    if where == "_start":
        module = command("(loop $again (br $again))")
    else:
        module = wat(
            '(module (memory (export "memory") 1) (func $s (loop $again (br $again))) (start $s)'
            ' (func (export "_start")))'
        )
    ran = lab.run(module, fuel=50_000_000)
    assert (ran.outcome, ran.fuel) == (Outcome.OUT_OF_FUEL, 50_000_000)


def test_a_run_that_ends_in_the_start_section_is_billed_the_memory_limit(lab: Lab) -> None:
    module = wat('(module (memory (export "memory") 1) (func $s unreachable) (start $s) (func (export "_start")))')
    ran = lab.run(module, memory_mib=7)
    assert (ran.outcome, ran.done.peak_mib) == (Outcome.UNREACHABLE, 7)


def test_deep_recursion_overflows_the_stack_and_is_not_judged(lab: Lab) -> None:
    ran = lab.run(command("(call $f)", fields="(func $f (call $f))"))
    assert ran.outcome == Outcome.STACK_OVERFLOW
    assert lab.run(command(COUNT_TO_A_MILLION)).outcome == Outcome.OK  # the process survived


def test_a_host_call_at_the_very_bottom_of_the_stack_still_has_room(lab: Lab) -> None:
    # Every level calls the host before it goes deeper, so one of them does so with almost no stack left.
    imports = '(import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))'
    for padding in (20, 21, 22):
        locals_ = "(local i64 i64)" * padding
        module = command("(call $f)", imports=imports, fields=f"(func $f {locals_} (drop (call $yield)) (call $f))")
        assert lab.run(module, fuel=10**12).outcome == Outcome.STACK_OVERFLOW


def test_a_module_that_starts_above_the_memory_limit_never_runs(lab: Lab) -> None:
    module = command("", pages="33")
    assert lab.run(module, memory_mib=3).outcome == Outcome.OK
    ran = lab.run(module, memory_mib=2)
    assert (ran.outcome, ran.fuel) == (Outcome.MEMORY_LIMIT, 0)


def test_a_memory_bomb_is_told_no_at_the_limit_and_its_peak_is_counted(lab: Lab) -> None:
    # Grows page by page until refused, then exits with 7: only possible if growth returned -1.
    body = """
        (loop $again (br_if $again (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
        (call $exit (i32.const 7))
    """
    ran = lab.run(command(body, imports=PROC_EXIT), memory_mib=5)
    assert (ran.outcome, ran.done.peak_mib) == (7, 5)


def test_a_table_bomb_is_told_no_at_the_cap(lab: Lab) -> None:
    body = """
        (loop $again (br_if $again (i32.ne (table.grow 0 (ref.null func) (i32.const 100000)) (i32.const -1))))
        (call $exit (i32.div_u (table.size 0) (i32.const 100000)))
    """
    assert lab.run(command(body, imports=PROC_EXIT, fields="(table 0 funcref)")).outcome == 10


@pytest.mark.parametrize(("fd", "outcome"), [(1, Outcome.OUTPUT_LIMIT), (2, Outcome.LOG_LIMIT)])
def test_a_flood_is_cut_exactly_at_its_limit(lab: Lab, fd: int, outcome: Outcome) -> None:
    ran = lab.run(writes(fd), output_bytes=2_500, log_bytes=2_500)
    assert ran.outcome == outcome
    assert (len(ran.output), len(ran.logs)) == ((2_500, 0) if fd == 1 else (0, 2_500))


def test_output_that_just_fits_is_no_flood(lab: Lab) -> None:
    body = """
        (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 1000))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    """
    module = command(body, imports=FD_WRITE)
    assert lab.run(module, output_bytes=1_000).outcome == Outcome.OK
    assert lab.run(module, output_bytes=999).outcome == Outcome.OUTPUT_LIMIT


def test_a_flood_of_host_calls_runs_out_of_fuel(lab: Lab) -> None:
    ran = lab.run(writes(1), output_bytes=1 << 40, fuel=10_000_000)
    assert (ran.outcome, ran.fuel) == (Outcome.OUT_OF_FUEL, 10_000_000)
    assert len(ran.output) == 666_000  # 666 calls at 10,000 + 1,000 + 4 * 1,000 fuel and a few instructions each


def test_the_cpu_limit_ends_a_run_between_slices_and_the_process_goes_on(lab: Lab) -> None:
    ran = lab.run(command("(loop $again (br $again))"), fuel=2**62, cpu_us=200_000)
    assert ran.outcome == Outcome.CPU_LIMIT
    assert 0 < ran.fuel < 2**62
    assert lab.run(command(COUNT_TO_A_MILLION)).fuel == 8_000_001


def test_the_cpu_limit_ends_a_run_that_is_always_in_host_calls(lab: Lab) -> None:
    ran = lab.run(writes(1), output_bytes=1 << 40, fuel=2**62, cpu_us=100_000)
    assert ran.outcome == Outcome.CPU_LIMIT


def test_a_full_disk_is_the_hosts_failure_and_not_judged(lab: Lab) -> None:
    ran = lab.run(writes(1), output_path=Path("/dev/full"))
    assert ran.outcome == Outcome.HOST_FAILURE
    assert "No space left" in ran.done.detail


def test_a_file_that_shrinks_during_the_run_is_the_hosts_failure(lab: Lab) -> None:
    body = """
        (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 1000))
        (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    """
    imports = '(import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))'
    ran = lab.run(command(body, imports=imports), stdin=b"short", claimed_stdin_bytes=1000)
    assert (ran.outcome, "shorter" in ran.done.detail) == (Outcome.HOST_FAILURE, True)
