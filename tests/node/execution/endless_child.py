"""Runs an endless guest in a pool until it is killed; prints its workers' process ids once the guest runs.

Arguments: a module, its digest in hex, a working folder.
"""

import sys
from pathlib import Path

import trio

from node.execution.job import Job, Limits, Progress
from node.execution.pool import open_worker_pool
from node.execution.settings import ExecutionSettings
from protocol.identity import ContentDigest

LIMITS = Limits(fuel=2**62, memory_mib=16, output_bytes=0, log_bytes=0, cpu_s=120, wall_s=120)


def say(_progress: Progress) -> None:
    threads = Path("/proc/self/task").iterdir()
    pids = {pid for thread in threads for pid in (thread / "children").read_text().split()}
    sys.stdout.write(" ".join(pids) + "\n")
    sys.stdout.flush()


async def main() -> None:
    module, digest, folder = sys.argv[1:]
    async with open_worker_pool(
        ExecutionSettings(max_memory_mib=64), cache_dir=Path(folder) / "cache", work_dir=Path(folder) / "work"
    ) as pool:
        prepared = await pool.prepare(Path(module), ContentDigest(bytes.fromhex(digest)))
        await pool.run(Job(module=prepared, limits=LIMITS), on_progress=say)


if __name__ == "__main__":
    trio.run(main)
