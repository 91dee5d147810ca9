"""The pool: what dies dies alone, and equal jobs end equally."""

import itertools
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from blake3 import blake3

from node.execution import pool as pool_module
from node.execution.errors import CompileLimit, InvalidJob, InvalidModule, WorkerUnavailable
from node.execution.job import Job, PreparedModule, Progress, RunResult, check_job
from node.execution.processes import NICE
from node.execution.settings import ExecutionSettings
from protocol.task.outcome import Outcome
from tests.node.execution.execution_lab import command, digest
from tests.node.execution.pool_lab import (
    COPY,
    ENDLESS,
    FOR_EVER,
    LIMITS,
    READ_AND_WRITE,
    SHORT,
    Bench,
    open_bench,
    workers_of_this_process,
)
from tests.node.execution.test_execution_compiling import functions_with_locals, leb, section


def judged(result: RunResult) -> tuple[object, ...]:
    return (result.outcome, result.fuel, result.peak_mib, result.output_digest, result.logs_digest, result.bytes_out)


async def test_a_job_leaves_its_output_its_log_and_their_digests(tmp_path: Path) -> None:
    stdin = tmp_path / "input"
    stdin.write_bytes(b"the input" * 10_000)
    async with open_bench(tmp_path) as bench:
        result = await bench.run(COPY, stdin=stdin, seed=b"r" * 32)
    output = result.output.read_bytes()
    assert result.outcome == Outcome.OK
    assert output[:-8] == b"the input" * 10_000
    assert result.logs.read_bytes() == b"log"
    assert result.output_digest == blake3(output).digest()
    assert result.logs_digest == digest(b"log")
    assert (result.bytes_in, result.bytes_out) == (90_000, 90_011)
    assert result.wall_s >= 0
    assert list((tmp_path / "work").iterdir()) == [result.output.parent]


async def test_equal_jobs_end_equally_in_every_process_and_with_every_neighbour(tmp_path: Path) -> None:
    stdin = tmp_path / "input"
    stdin.write_bytes(bytes(range(256)) * 700)
    seen: set[tuple[object, ...]] = set()
    pids: set[int] = set()
    for _ in range(2):
        async with open_bench(tmp_path, ExecutionSettings(workers=2, spares=0, max_memory_mib=64)) as bench:
            await bench.prepare(COPY)

            async def one(bench: Bench = bench) -> None:
                seen.add(judged(await bench.run(COPY, stdin=stdin, seed=b"r" * 32, clock=5)))

            async with trio.open_nursery() as nursery:
                for _ in range(4):
                    nursery.start_soon(one)
            await bench.run(SHORT)
            pids |= set(workers_of_this_process())
    assert len(seen) == 1
    assert len(pids) == 4


async def test_who_sells_computation_comes_first_itself(tmp_path: Path) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    async with open_bench(tmp_path) as bench:
        await bench.run(SHORT)
        workers = workers_of_this_process()
        levels = {os.getpriority(os.PRIO_PROCESS, pid) for pid in workers}
        sessions = {os.getsid(pid) for pid in (os.getpid(), *workers)}
        signalled_together = {os.getpgid(pid) for pid in workers}
    assert levels == {min(19, own + NICE)}
    assert len(sessions) == 1, "between sessions the scheduler takes no account of niceness"
    assert os.getpgid(0) not in signalled_together


async def test_a_worker_killed_in_the_middle_of_a_run_is_a_host_failure_and_the_next_run_works(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        module = await bench.prepare(ENDLESS)
        running: list[Progress] = []

        def kill_all(progress: Progress) -> None:
            if not running:
                for pid in workers_of_this_process():
                    os.kill(pid, signal.SIGKILL)
            running.append(progress)

        result = await bench.pool.run(Job(module=module, limits=FOR_EVER), on_progress=kill_all)
        assert result.outcome == Outcome.HOST_FAILURE
        assert result.fuel == running[-1].fuel > 0
        assert "-9" in result.detail
        assert (await bench.run(SHORT)).outcome == Outcome.OK  # the spare was killed too: it is noticed and replaced


async def test_an_idle_worker_that_is_stuck_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "HAND_OVER_TIMEOUT_S", 0.3)
    monkeypatch.setattr("node.execution.job.MAX_TEXT_BYTES", 1 << 20)
    async with open_bench(tmp_path, ExecutionSettings(spares=0, max_memory_mib=64)) as bench:
        module = await bench.prepare(SHORT)
        (worker,) = workers_of_this_process()
        os.kill(worker, signal.SIGSTOP)
        # More than a socket buffers, or the request would seem to have been taken.
        args = ("x" * 100_000,) * 6
        assert (await bench.pool.run(Job(module=module, limits=LIMITS, args=args))).outcome == Outcome.OK
        assert worker not in workers_of_this_process()


async def test_the_wall_limit_kills_the_worker_and_keeps_what_was_written(tmp_path: Path) -> None:
    write_then_loop = command(
        """
        (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 5))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        (loop $again (br $again))
        """,
        imports=READ_AND_WRITE,
    )
    async with open_bench(tmp_path) as bench:
        before = workers_of_this_process()
        result = await bench.run(write_then_loop, replace(FOR_EVER, wall_s=0.5))
        assert result.outcome == Outcome.WALL_LIMIT
        assert result.output.read_bytes() == bytes(5)
        assert result.output_digest == digest(bytes(5))
        assert result.bytes_out == 5
        assert (await bench.run(SHORT)).outcome == Outcome.OK
        assert workers_of_this_process() != before


async def test_cancelling_a_run_kills_its_worker_and_leaves_nothing(tmp_path: Path) -> None:
    async with open_bench(tmp_path, ExecutionSettings(spares=0, max_memory_mib=64)) as bench:
        module = await bench.prepare(ENDLESS)
        (worker,) = workers_of_this_process()
        with trio.CancelScope() as scope:
            await bench.pool.run(Job(module=module, limits=FOR_EVER), on_progress=lambda _: scope.cancel())
        assert scope.cancelled_caught
        assert list((tmp_path / "work").iterdir()) == []
        assert (await bench.run(SHORT)).outcome == Outcome.OK
        assert worker not in workers_of_this_process()


async def test_no_worker_outlives_the_pool(tmp_path: Path) -> None:
    before = workers_of_this_process()
    with trio.CancelScope() as scope:
        async with open_bench(tmp_path) as bench:
            module = await bench.prepare(ENDLESS)
            assert len(workers_of_this_process()) > len(before)
            await bench.pool.run(Job(module=module, limits=FOR_EVER), on_progress=lambda _: scope.cancel())
    assert workers_of_this_process() == before


def test_workers_end_by_themselves_when_the_node_is_killed_in_the_middle_of_a_run(tmp_path: Path) -> None:
    source = tmp_path / "module"
    source.write_bytes(ENDLESS)
    child = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("endless_child.py")), source, digest(ENDLESS).hex(), tmp_path],
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert child.stdout is not None
    with child.stdout:
        workers = [int(pid) for pid in child.stdout.readline().split()]
        child.kill()
        child.wait()
    assert len(workers) == 2
    end = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < end, "a guest goes on for nobody"
        time.sleep(0.05)  # their init reaps them: there is no event to wait for


async def test_a_worker_that_was_suspect_is_replaced(tmp_path: Path) -> None:
    overflow = command("(call $f)", fields="(func $f (call $f))")
    async with open_bench(tmp_path, ExecutionSettings(spares=0, max_memory_mib=64)) as bench:
        before = workers_of_this_process()
        assert (await bench.run(overflow)).outcome == Outcome.STACK_OVERFLOW
        assert (await bench.run(SHORT)).outcome == Outcome.OK
        assert workers_of_this_process() != before


async def test_one_slot_means_one_guest_at_a_time_though_a_spare_stands_ready(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        module = await bench.prepare(ENDLESS)
        reports: list[int] = []
        free: set[int] = {bench.pool.status().free}
        assert free == {1}

        def note(number: int) -> None:
            reports.append(number)
            free.add(bench.pool.status().free)

        async def one(number: int) -> None:
            job = Job(module=module, limits=replace(FOR_EVER, cpu_s=0.7))
            await bench.pool.run(job, on_progress=lambda _: note(number))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one, 0)
            nursery.start_soon(one, 1)
        changes = sum(before != after for before, after in itertools.pairwise(reports))
        assert set(reports) == {0, 1}
        assert changes == 1
        assert free == {0, 1}


async def test_an_invalid_module_is_refused_and_remembered(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        for _ in range(2):
            with pytest.raises(InvalidModule, match="looks like text"):
                await bench.prepare(b"(module)")
        assert (await bench.run(SHORT)).outcome == Outcome.OK


async def test_a_file_that_is_not_the_named_module_is_the_callers_mistake_and_not_remembered(tmp_path: Path) -> None:
    source = tmp_path / "module"
    source.write_bytes(ENDLESS)
    async with open_bench(tmp_path) as bench:
        with pytest.raises(InvalidJob, match="not the module"):
            await bench.pool.prepare(source, digest(SHORT))
        assert (await bench.run(SHORT)).outcome == Outcome.OK


async def test_a_compile_bomb_is_stopped_at_the_cpu_limit_and_nothing_is_kept(tmp_path: Path) -> None:
    # 183 KB within every cap: 30,000 branches out of a thousand blocks take a compiler six seconds.
    blocks, branch = 1_000, b"\x20\0\x0d" + leb(900)
    body = b"\1\1\x7f" + b"\x02\x40" * blocks + branch * 30_000 + b"\x0b" * blocks + b"\x0b"
    bomb = b"\0asm\1\0\0\0" + section(1, b"\1\x60\0\0") + section(3, b"\1\0") + section(5, b"\1\0\1")
    bomb += section(7, b"\2\6memory\2\0\6_start\0\0") + section(10, b"\1" + leb(len(body)) + body)
    async with open_bench(tmp_path, ExecutionSettings(max_memory_mib=64, compile_cpu_s=1)) as bench:
        with pytest.raises(CompileLimit):
            await bench.prepare(bomb)
        assert [p.name for p in (tmp_path / "cache").iterdir()] == ["key"]


async def test_a_compiler_without_memory_is_a_limit_of_this_node_not_of_the_module(tmp_path: Path) -> None:
    settings = ExecutionSettings(max_memory_mib=64, compile_memory_mib=100)
    async with open_bench(tmp_path, settings) as bench:
        with pytest.raises(CompileLimit):
            await bench.prepare(functions_with_locals(150_000, 1))


def limits(**change: object) -> dict[str, object]:
    return {"limits": replace(LIMITS, **change)}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        limits(fuel=0),
        limits(fuel=2**63),
        limits(memory_mib=0),
        limits(memory_mib=4097),
        limits(output_bytes=-1),
        limits(log_bytes=2**63),
        limits(wall_s=0),
        limits(cpu_s=float("nan")),
        {"seed": b"short"},
        {"clock": -1},
        {"clock": 9_000_000_001},
        {"args": ()},
        {"args": ("a\0b",)},
        {"args": ("\udcff",)},
        {"args": ("x" * (128 * 1024),)},
        {"args": ("x",) * 1025},
        {"env": (("A=B", "c"),)},
        {"env": (("", "c"),)},
        {"files": (("relative", Path("/etc/passwd")),)},
        {"files": tuple((f"/{n}", Path("/etc/passwd")) for n in range(201))},
    ],
    ids=repr,
)
def test_a_job_that_is_out_of_range_is_refused(change: dict[str, object]) -> None:
    job = Job(module=PreparedModule(digest=digest(SHORT), source=Path("x"), compile_cpu_s=0), limits=LIMITS)
    check_job(job)
    with pytest.raises(InvalidJob):
        check_job(replace(job, **change))  # type: ignore[arg-type]


async def test_a_job_whose_files_are_no_files_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    fifo, link = tmp_path / "fifo", tmp_path / "link"
    os.mkfifo(fifo)
    link.symlink_to("/etc/passwd")
    async with open_bench(tmp_path) as bench:
        job = Job(module=await bench.prepare(SHORT), limits=LIMITS)
        for path in (tmp_path / "missing", Path("/dev/zero"), Path("/etc"), fifo, link):
            for bad in (replace(job, stdin=path), replace(job, files=(("/f", path),))):
                with pytest.raises(InvalidJob):
                    await bench.pool.run(bad)
        with pytest.raises(InvalidJob, match="65 MiB, this node gives 64"):
            await bench.pool.run(replace(job, limits=replace(LIMITS, memory_mib=65)))
        assert list((tmp_path / "work").iterdir()) == []


async def test_a_worker_that_can_not_start_is_reported_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "OVERHEAD_BYTES", 1 << 20)  # too little memory to import anything
    with pytest.RaisesGroup(WorkerUnavailable):
        async with open_bench(tmp_path, ExecutionSettings(max_memory_mib=1)):
            pass


def proc_file(pid: int, name: str) -> bytes:
    return Path(f"/proc/{pid}/{name}").read_bytes()


def open_files(pid: int) -> set[str]:
    return {str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()}


async def test_a_worker_holds_nothing_of_the_nodes_and_says_what_holds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STOA_SECRET", "do not leak")
    before = set(workers_of_this_process())
    with (tmp_path / "open").open("wb") as held:
        os.set_inheritable(held.fileno(), True)
        async with open_bench(tmp_path, ExecutionSettings(spares=0, max_memory_mib=64)) as bench:
            (worker,) = set(workers_of_this_process()) - before
            barriers = bench.pool.status().barriers
            if os.geteuid() == 0:  # a worker can't be inspected by its own user
                assert proc_file(worker, "environ") == b""
                assert str(tmp_path / "open") not in open_files(worker)
            status = proc_file(worker, "status").decode()
    assert {"rlimits", "no_new_privs"} <= set(barriers)
    assert "NoNewPrivs:\t1" in status
    assert ("Seccomp:\t2" in status) == ("seccomp" in barriers)


async def test_progress_never_goes_backwards_and_stays_below_the_result(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        module = await bench.prepare(ENDLESS)
        seen: list[int] = []
        limits = replace(FOR_EVER, cpu_s=1.0)
        result = await bench.pool.run(Job(module=module, limits=limits), on_progress=lambda p: seen.append(p.fuel))
        assert result.outcome == Outcome.CPU_LIMIT
        assert len(seen) >= 3
        assert seen == sorted(seen)
        assert seen[-1] <= result.fuel
