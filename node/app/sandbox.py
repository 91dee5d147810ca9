"""The market's `Sandbox` over worker pool and blob store."""

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Final

import trio

from node.execution.errors import InvalidModule
from node.execution.job import Job, Limits, PreparedModule, Progress
from node.execution.module_scan import first_memory_bytes
from node.execution.pool import WorkerPool
from node.market.ports import PartRun
from node.storage.blobs import BlobStore
from protocol.identity import ContentDigest, Digest
from protocol.task.engine import ENGINE_DIGEST
from protocol.task.manifest import Blob, Manifest
from protocol.units import UnixTime

MIB: Final = 1 << 20


def _first_memory_bytes(path: Path) -> int:
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data, memoryview(data) as view:
        return first_memory_bytes(view)


class WasmSandbox:
    """Runs the parts of a task from blobs to blobs."""

    def __init__(
        self,
        pool: WorkerPool,
        blobs: BlobStore,
        *,
        keep_until: Callable[[], UnixTime],
        max_wall_s: float,
        patience_cpu_s: Callable[[int], float],
    ) -> None:
        """Run on `pool` and keep results in `blobs`.

        Args:
            pool: Warm workers.
            blobs: Where modules and inputs are, and outputs go.
            keep_until: How long an output is kept at least.
            max_wall_s: Longest run of one part.
            patience_cpu_s: CPU seconds after which so much fuel must be spent (B4).
        """
        self._pool, self._blobs = pool, blobs
        self._keep_until, self._max_wall_s, self._patience_cpu_s = keep_until, max_wall_s, patience_cpu_s

    @property
    def engine(self) -> Digest:
        """The only engine that this node runs."""
        return ENGINE_DIGEST

    async def prepare(self, manifest: Manifest) -> None:
        """See `Sandbox`."""
        module = await self._prepare(manifest.module)
        for part in range(len(manifest.parts)):
            self._pool.check(self._job(manifest, part, module))

    async def check_first_memory(self, manifest: Manifest) -> None:
        """Check that the module, which is prepared, begins within the task's memory: else no run of it can end well.

        Raises:
            InvalidModule: It needs more at its start than the task allows.
        """
        path, most = self._blobs.path(manifest.module.digest), manifest.limits.memory_mib
        needed = -(-await trio.to_thread.run_sync(_first_memory_bytes, path) // MIB)
        if needed > most:
            raise InvalidModule(f"it has {needed} MiB of memory at its start, and memory_mib allows {most}")

    async def run(self, manifest: Manifest, part: int, on_progress: Callable[[int, int], None]) -> PartRun:
        """See `Sandbox`."""
        with ExitStack() as pins:
            for blob in {manifest.module, *manifest.inputs_of(part)}:
                pins.enter_context(self._blobs.pinned(blob.digest))
                # The sandbox reads these files as they are: what the disk changed must not become a wrong receipt.
                await self._blobs.verify(blob.digest)
            job = self._job(manifest, part, await self._prepare(manifest.module))

            def report(progress: Progress) -> None:
                on_progress(progress.fuel, progress.bytes_out)

            result = await self._pool.run(job, on_progress=report)
        try:
            output_bytes = await self._store(result.output, result.output_digest)
            log_bytes = await self._store(result.logs, result.logs_digest)
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(lambda: shutil.rmtree(result.output.parent, ignore_errors=True))
        return PartRun(
            outcome=result.outcome,
            output=result.output_digest,
            output_bytes=output_bytes,
            logs=result.logs_digest,
            log_bytes=log_bytes,
            fuel=result.fuel,
            peak_mib=result.peak_mib,
            bytes_in=sum(blob.size for blob in manifest.inputs_of(part)),
            bytes_out=output_bytes + log_bytes,
            cpu_s=result.cpu_s,
            wall_s=result.wall_s,
        )

    def free_workers(self) -> int:
        """Return how many parts could start now."""
        return self._pool.status().free

    def _job(self, manifest: Manifest, part: int, module: PreparedModule) -> Job:
        own, limits = manifest.parts[part], manifest.limits
        return Job(
            module=module,
            args=(*manifest.args, *own.args),
            env=manifest.env,
            stdin=self._blobs.path(own.stdin.digest) if own.stdin else None,
            files=tuple((file.path, self._blobs.path(file.blob.digest)) for file in (*manifest.files, *own.files)),
            clock=manifest.clock,
            seed=manifest.seed,
            limits=Limits(
                fuel=limits.fuel,
                memory_mib=limits.memory_mib,
                output_bytes=limits.output_bytes,
                log_bytes=limits.log_bytes,
                cpu_s=min(self._patience_cpu_s(limits.fuel), self._max_wall_s),
                wall_s=self._max_wall_s,
            ),
        )

    async def _prepare(self, module: Blob) -> PreparedModule:
        return await self._pool.prepare(self._blobs.path(module.digest), module.digest)

    async def _store(self, file: Path, digest: ContentDigest) -> int:
        size = (await trio.to_thread.run_sync(file.stat)).st_size
        if not await self._blobs.has(digest):
            await self._blobs.put_file(file, keep_until=self._keep_until(), max_bytes=size)
        await self._blobs.keep(digest, self._keep_until())
        return size
