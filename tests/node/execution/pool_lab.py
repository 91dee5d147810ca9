"""An open pool and the folders it works in."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from node.execution.job import Job, Limits, PreparedModule, RunResult
from node.execution.pool import WorkerPool, open_worker_pool
from node.execution.settings import ExecutionSettings
from protocol.units import UnixTime
from tests.node.execution.execution_lab import COUNT_TO_A_MILLION, command, digest

LIMITS = Limits(fuel=10**9, memory_mib=16, output_bytes=1 << 20, log_bytes=1 << 20, cpu_s=20, wall_s=30)
FOR_EVER = replace(LIMITS, fuel=2**62)
ENDLESS = command("(loop $again (br $again))")
SHORT = command(COUNT_TO_A_MILLION)
READ_AND_WRITE = """
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
"""
# Copies its input to its output, followed by eight random bytes; "log" goes to standard error.
COPY = command(
    """
    (i32.store (i32.const 0) (i32.const 1024))
    (loop $again
        (i32.store (i32.const 4) (i32.const 32768))
        (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 4)))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        (br_if $again (i32.load (i32.const 4))))
    (i32.store (i32.const 4) (i32.const 8))
    (drop (call $random (i32.const 1024) (i32.const 8)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (i32.store (i32.const 1024) (i32.const 0x676f6c)) (i32.store (i32.const 4) (i32.const 3))
    (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))
    """,
    imports=READ_AND_WRITE,
)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """An open pool and the folders it works in."""

    pool: WorkerPool
    folder: Path

    async def prepare(self, module: bytes) -> PreparedModule:
        source = self.folder / f"{digest(module).hex()[:16]}.wasm"
        source.write_bytes(module)
        return await self.pool.prepare(source, digest(module))

    async def run(
        self,
        module: bytes,
        limits: Limits = LIMITS,
        *,
        stdin: Path | None = None,
        seed: bytes = bytes(32),
        clock: int = 0,
    ) -> RunResult:
        prepared = await self.prepare(module)
        return await self.pool.run(Job(module=prepared, limits=limits, stdin=stdin, seed=seed, clock=UnixTime(clock)))

    @property
    def artifact(self) -> Path:
        return next(path for path in (self.folder / "cache").iterdir() if path.suffix not in (".seal", ".tmp", ""))


@asynccontextmanager
async def open_bench(folder: Path, settings: ExecutionSettings | None = None) -> AsyncGenerator[Bench, None]:
    settings = settings or ExecutionSettings(max_memory_mib=64)
    async with open_worker_pool(settings, cache_dir=folder / "cache", work_dir=folder / "work") as pool:
        yield Bench(pool=pool, folder=folder)


def workers_of_this_process() -> list[int]:
    """Return the children that are workers, or have ended and were not waited for; not a database of other tests."""
    threads = Path("/proc/self/task").iterdir()
    children = {pid for thread in threads for pid in (thread / "children").read_text().split()}
    return sorted(int(pid) for pid in children if _is_worker(Path(f"/proc/{pid}/cmdline")))


def _is_worker(command_line: Path) -> bool:
    try:
        line = command_line.read_bytes()
    except FileNotFoundError:  # waited for just now
        return False
    return not line or b"worker_main" in line
