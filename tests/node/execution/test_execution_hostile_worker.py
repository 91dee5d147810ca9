"""A worker that was taken over says what it likes. The node hears it out within bounds and calls it a host failure."""

from pathlib import Path

import pytest

from node.execution import processes
from node.execution.job import Job, Limits, PreparedModule
from node.execution.pool import open_worker_pool
from node.execution.settings import ExecutionSettings
from protocol.task.outcome import Outcome
from tests.node.execution.execution_lab import command, digest

LIMITS = Limits(fuel=1000, memory_mib=16, output_bytes=100, log_bytes=100, cpu_s=20, wall_s=20)
TAKEN_OVER = """
import os, socket, sys
sys.path.insert(0, sys.argv[1])
kind, descriptor = sys.argv[2:4]
if kind == "compiler":
    from node.execution.worker_main import main
    main()
from dataclasses import replace
from node.execution.messages import *
from protocol.task.engine import ENGINE_DIGEST
from protocol.wire.codec import decode, encode
from blake3 import blake3
connection = socket.socket(fileno=int(descriptor))
def say(value):
    connection.sendall(frame(encode(value)))
ready = ReadyMessage(engine=ENGINE_DIGEST, barriers=())
empty = blake3(b"").digest()
done = DoneMessage(
    outcome=0, fuel=10, peak_mib=1, output=empty, output_bytes=0, logs=empty, log_bytes=0, cpu_us=1, detail=""
)
progress = ProgressMessage(fuel=2**63, bytes_out=0, cpu_us=0)
say(ready)
header, fds, _, _ = socket.recv_fds(connection, 4, 250)
connection.recv(frame_length(header))
{lie}
connection.recv(1)
"""
LIES = {
    "announces four gigabytes": 'connection.sendall(b"\\xff" * 100)',
    "announces more than a reply may have": 'connection.sendall((65537).to_bytes(4, "little") + bytes(65537))',
    "speaks no msgpack": 'connection.sendall(frame(b"\\xc1"))',
    "sends a message of another kind": "say(CompiledMessage(artifact=empty, artifact_bytes=1, cpu_us=1))",
    "starts anew": "say(ready)",
    "invents an outcome": "say(replace(done, outcome=127))",
    "bills more fuel than the limit": "say(replace(done, fuel=1001))",
    "claims output that it did not write": "say(replace(done, output_bytes=5))",
    "writes output that it does not claim": 'os.write(fds[1], b"x"); say(done)',
    "reports absurd progress and leaves": "say(progress); os._exit(0)",
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_worker_that(lie: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_BOOTSTRAP", TAKEN_OVER.replace("{lie}", LIES[lie]))
    source = tmp_path / "module"
    source.write_bytes(command(""))
    async with open_worker_pool(
        ExecutionSettings(spares=0, max_memory_mib=64), cache_dir=tmp_path / "cache", work_dir=tmp_path / "work"
    ) as pool:
        module: PreparedModule = await pool.prepare(source, digest(command("")))
        result = await pool.run(Job(module=module, limits=LIMITS))
        assert result.outcome == Outcome.HOST_FAILURE, result.detail
        assert result.fuel <= LIMITS.fuel
