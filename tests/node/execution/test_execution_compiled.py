"""Compiled modules of a pool: kept for the next process, run only by who wrote them, dropped when unused."""

from dataclasses import replace
from pathlib import Path

import pytest

from node.execution.errors import InvalidJob
from node.execution.job import Job
from node.execution.settings import ExecutionSettings
from protocol.identity import ContentDigest
from protocol.task.outcome import Outcome
from tests.node.execution.pool_lab import ENDLESS, LIMITS, SHORT, open_bench


async def test_a_compiled_module_is_kept_for_the_next_process(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        assert (await bench.prepare(SHORT)).compile_cpu_s > 0
        assert (await bench.prepare(SHORT)).compile_cpu_s == 0
    async with open_bench(tmp_path) as bench:
        assert (await bench.prepare(SHORT)).compile_cpu_s == 0


@pytest.mark.parametrize("at", [0, 100, -1])
async def test_a_flipped_byte_in_a_compiled_module_is_noticed_and_it_is_compiled_anew(tmp_path: Path, at: int) -> None:
    async with open_bench(tmp_path) as bench:
        await bench.prepare(SHORT)
        sound = bench.artifact.read_bytes()
        damaged = bytearray(sound)
        damaged[at] ^= 1
        bench.artifact.write_bytes(damaged)
        assert (await bench.run(SHORT)).outcome == Outcome.OK
        assert bench.artifact.read_bytes() == sound


async def test_an_artifact_that_this_node_did_not_write_is_not_run(tmp_path: Path) -> None:
    async with open_bench(tmp_path / "theirs") as theirs:
        await theirs.prepare(SHORT)
        foreign = theirs.artifact
    async with open_bench(tmp_path / "ours") as ours:
        await ours.prepare(SHORT)
        seal = ours.artifact.with_name(ours.artifact.name + ".seal")
        seal.write_bytes(foreign.with_name(foreign.name + ".seal").read_bytes())
        assert (await ours.prepare(SHORT)).compile_cpu_s > 0


async def test_two_artifacts_that_changed_places_are_not_run(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        await bench.prepare(SHORT)
        first = bench.artifact
        await bench.prepare(ENDLESS)
        (second,) = (p for p in (tmp_path / "cache").iterdir() if p.suffix not in (".seal", "") and p != first)
        for suffix in ("", ".seal"):
            a, b = (path.with_name(path.name + suffix) for path in (first, second))
            held = a.read_bytes()
            a.write_bytes(b.read_bytes())
            b.write_bytes(held)
        assert (await bench.run(SHORT)).outcome == Outcome.OK


async def test_the_cache_drops_what_was_not_used_for_longest(tmp_path: Path) -> None:
    async with open_bench(tmp_path, ExecutionSettings(max_memory_mib=64, cache_bytes=1)) as bench:
        await bench.prepare(SHORT)
        await bench.prepare(ENDLESS)
        assert (await bench.prepare(ENDLESS)).compile_cpu_s == 0
        assert (await bench.prepare(SHORT)).compile_cpu_s > 0


async def test_the_digest_of_another_module_is_not_in_the_cache(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        module = replace(await bench.prepare(SHORT), digest=ContentDigest(bytes(32)))
        with pytest.raises(InvalidJob):
            await bench.pool.run(Job(module=module, limits=LIMITS))
