"""The shipped tasks in a node's own sandbox: another WASI than run_local.py's, so what agrees is the task's doing."""

from pathlib import Path

import pytest
import wasmtime
from blake3 import blake3

from examples.run_local import ROOT, read_task, run_part
from node.execution.job import Job, Limits
from node.execution.pool import open_worker_pool
from node.execution.settings import ExecutionSettings
from protocol.identity import ContentDigest
from protocol.task.outcome import Outcome
from protocol.units import UnixTime

PATIENCE_S = 120.0
SPEND_MORE = 0.015  # what metering host calls adds at most; CPython, which makes the most, came to 0.0116


@pytest.mark.parametrize("name", ["word-statistics", "image-filter", "monte-carlo", "python-script", "sqlite-query"])
async def test_a_nodes_sandbox_gives_the_same_bytes_for_little_more_fuel(
    name: str, engine: wasmtime.Engine, tmp_path: Path
) -> None:
    task = read_task(ROOT / "examples" / name)
    part = task.parts[-1]
    local = run_part(engine, wasmtime.Module(engine, task.module.read_bytes()), task, part)
    digest = ContentDigest(blake3(task.module.read_bytes()).digest())
    cache_dir = ROOT / ".cache" / "examples-sandbox"

    async with open_worker_pool(ExecutionSettings(spares=0), cache_dir=cache_dir, work_dir=tmp_path) as pool:
        job = Job(
            module=await pool.prepare(task.module, digest),
            args=part.args,
            env=tuple(task.env.items()),
            stdin=part.stdin,
            files=tuple((file.path, file.source) for file in part.files),
            clock=UnixTime(task.clock),
            limits=Limits(
                fuel=task.limits.fuel,
                memory_mib=task.limits.memory_mib,
                output_bytes=task.limits.output_bytes,
                log_bytes=task.limits.log_bytes,
                cpu_s=PATIENCE_S,
                wall_s=PATIENCE_S,
            ),
        )
        result = await pool.run(job)

    assert result.outcome == Outcome.OK, result.detail
    assert result.output.read_bytes() == local.output
    assert result.logs.read_bytes() == local.log
    assert local.fuel < result.fuel <= local.fuel * (1 + SPEND_MORE)
