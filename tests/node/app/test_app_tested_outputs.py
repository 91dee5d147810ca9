"""Tests of outputs in the real sandbox: what differs from run to run passes, what is wrong or hostile doesn't."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from node.app.rerunning import SandboxRunner
from node.app.sandbox import WasmSandbox
from node.cli.order import prepare
from node.cli.task_file import load_task_file
from node.execution.pool import open_worker_pool
from node.execution.settings import ExecutionSettings
from node.market.ports import PartRun
from node.market.testing import InvalidTest, prepare_test, run_test
from node.operations.clock import TrioClock
from node.storage.storage import Storage, open_storage
from protocol.identity import ContentDigest, Digest
from protocol.task.audit import Finding, Rerun
from protocol.task.manifest import Blob, Manifest
from protocol.task.outcome import Outcome
from protocol.task.receipt import Terms
from protocol.task.testing import TEST_OUTPUT_BYTES, judge_by_test
from protocol.task.verification import ByTest
from protocol.units import UnixTime
from tests.node.execution.execution_lab import command
from tests.protocol.task.test_task_receipt import AWARD, GFUEL_ONLY, TERMS, receipt

FACTORS = Path(__file__).resolve().parents[3] / "examples" / "factors"
KEEP = UnixTime(2_000_000_000)
WRITE = '(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))'
ENDLESS = command("(loop $again (br $again))")
# Writes 4 KiB again and again.
CHATTY = command(
    """
    (i32.store (i32.const 4) (i32.const 4096))
    (loop $again (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))) (br $again))
    """,
    imports=WRITE,
)
RECURSIVE = command("(call $deeper)", fields="(func $deeper (call $deeper) (call $deeper))")
# Writes 16 bytes of chance and the time.
FICKLE = command(
    """
    (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 24))
    (drop (call $random (i32.const 16) (i32.const 16)))
    (drop (call $time (i32.const 0) (i64.const 1) (i32.const 32)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    """,
    imports=WRITE
    + '(import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))'
    + '(import "wasi_snapshot_preview1" "clock_time_get" (func $time (param i32 i64 i32) (result i32)))',
)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """One node's sandbox, and the example."""

    sandbox: WasmSandbox
    storage: Storage
    terms: Terms

    async def put(self, data: bytes) -> Blob:
        return Blob(digest=await self.storage.blobs.put(data, keep_until=KEEP), size=len(data))

    async def run(self, seed: int) -> PartRun:
        manifest = replace(self.terms.manifest, seed=Digest(bytes([seed]) * 32))
        return await self.sandbox.run(manifest, 0, lambda _fuel, _bytes: None)

    async def test(self, output: bytes, part: int = 0) -> Rerun:
        return await run_test(self.sandbox, self.terms, part, await self.put(output))

    async def judged_by(self, module: bytes) -> "Bench":
        assert isinstance(self.terms.policy, ByTest)
        policy = replace(self.terms.policy, module=await self.put(module))
        return replace(self, terms=replace(self.terms, policy=policy))


@asynccontextmanager
async def open_bench(folder: Path) -> AsyncGenerator[Bench, None]:
    prepared = prepare(load_task_file(FACTORS))
    assert prepared.test is not None
    module = Blob(digest=prepared.test.module, size=prepared.test.module_bytes)
    policy = ByTest(module=module, fuel=prepared.test.fuel, memory_mib=prepared.test.memory_mib)
    manifest: Manifest = prepared.manifest
    terms = Terms(
        award=replace(AWARD, first_part=0), award_id=TERMS.award_id, manifest=manifest, rates=GFUEL_ONLY, policy=policy
    )
    settings = ExecutionSettings(workers=1)
    async with (
        open_storage(folder / "storage", clock=TrioClock.starting_at(UnixTime(1_900_000_000))) as storage,
        open_worker_pool(settings, cache_dir=folder / "cache", work_dir=folder / "work") as pool,
    ):
        for path in prepared.sources.values():
            await storage.blobs.put(path.read_bytes(), keep_until=KEEP)
        sandbox = WasmSandbox(
            pool, storage.blobs, keep_until=lambda: KEEP, max_wall_s=120.0, patience_cpu_s=lambda _fuel: 60.0
        )
        yield Bench(sandbox=sandbox, storage=storage, terms=terms)


async def test_two_runs_give_different_results_and_both_pass_where_wrong_ones_fail(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        outputs: set[ContentDigest] = set()
        for seed in range(1, 33):
            run = await bench.run(seed)
            assert run.outcome == Outcome.OK
            outputs.add(run.output)
            text = await bench.storage.blobs.read(run.output, max_bytes=64)
            assert judge_by_test(receipt(), await bench.test(text)).finding is Finding.EQUAL
            if len(outputs) == 2:
                break
        assert len(outputs) == 2, "32 searches from other starts found the same factor"
        for wrong in (b"", b"1\n", b"7\n", b"1000000016000000063\n", b"1000000007", b"1000000007\n\n", b"9" * 5000):
            test = await bench.test(wrong)
            assert (test.outcome, judge_by_test(receipt(), test).finding) == (1, Finding.DIFFERENT), wrong
        assert (await bench.test(b"1000000007\n")).outcome == Outcome.OK
        assert (await bench.test(b"1000000007\n", part=1)).outcome == 1, "each part has its own number"
        assert await bench.test(b"7\n") == await bench.test(b"7\n"), "a test is deterministic to the unit of fuel"


@pytest.mark.parametrize(
    ("module", "outcome"), [(ENDLESS, Outcome.OUT_OF_FUEL), (CHATTY, Outcome.OUTPUT_LIMIT)], ids=["endless", "chatty"]
)
async def test_a_hostile_test_stays_within_its_limits(tmp_path: Path, module: bytes, outcome: Outcome) -> None:
    async with open_bench(tmp_path) as bench:
        hostile = await bench.judged_by(module)
        test = await hostile.test(b"1000000007\n")
        assert test.outcome == outcome
        assert isinstance(bench.terms.policy, ByTest)
        assert test.fuel <= bench.terms.policy.fuel
        assert test.bytes_out <= TEST_OUTPUT_BYTES
        assert judge_by_test(receipt(), test).finding is Finding.DIFFERENT


async def test_a_test_that_recurses_without_end_convicts_nobody(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        test = await (await bench.judged_by(RECURSIVE)).test(b"1000000007\n")
        assert test.outcome == Outcome.STACK_OVERFLOW
        assert judge_by_test(receipt(), test).finding is Finding.UNDECIDED


async def test_a_test_that_asks_for_chance_and_time_is_told_the_same_whoever_runs_it(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        fickle = await bench.judged_by(FICKLE)
        first = await fickle.test(b"1000000007\n")
        assert first.outcome == Outcome.OK
        assert await fickle.test(b"1000000007\n") == first, "what it drew and what time it was"
        assert (await fickle.test(b"1000000009\n")).output != first.output, "the seed follows from the output"


async def test_a_test_that_asks_for_more_than_a_node_gives_is_refused_before_anybody_begins(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        assert isinstance(bench.terms.policy, ByTest)
        greedy = replace(bench.terms.policy, memory_mib=4096)
        with pytest.raises(InvalidTest, match="asks for 4096 MiB, this node gives"):
            await prepare_test(bench.sandbox, bench.terms.manifest, greedy)


async def test_a_test_that_is_no_module_is_refused_before_anybody_begins_and_convicts_nobody(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        await prepare_test(bench.sandbox, bench.terms.manifest, bench.terms.policy)
        broken = await bench.judged_by(b"not a module")
        with pytest.raises(InvalidTest, match="the test can't be run: not a WebAssembly module") as caught:
            await prepare_test(broken.sandbox, broken.terms.manifest, broken.terms.policy)
        assert "[test]" in caught.value.advice
        output = await bench.put(b"7\n")
        found = await SandboxRunner(bench.sandbox, bench.storage.blobs).run_test(broken.terms, 0, output.digest)
        assert found.outcome == Outcome.INVALID_MODULE
        assert judge_by_test(receipt(), found).finding is Finding.EQUAL
        right = await SandboxRunner(bench.sandbox, bench.storage.blobs).run_test(bench.terms, 0, output.digest)
        assert right.outcome == 1
