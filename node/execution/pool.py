"""Warm worker processes, and the door through which tasks reach them.

One worker runs one guest at a time, so `workers` guests run at once and a guest that breaks its process breaks nothing
else. `spares` more stand ready, for a killed worker takes a tenth of a second to replace.
"""

import shutil
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
import trio

from node.execution.artifacts import ArtifactCache
from node.execution.errors import ArtifactDamaged, InvalidJob, WorkerUnavailable
from node.execution.inputs import OpenJob, open_run
from node.execution.job import Job, PreparedModule, Progress, RunResult, check_job
from node.execution.messages import ReadyMessage, RunMessage
from node.execution.preparing import Preparer
from node.execution.processes import ProcessEnded, SandboxProcess, open_sandbox_process
from node.execution.settings import ExecutionSettings
from node.execution.watching import Watch, run_request
from protocol.errors import ProtocolError, StoaError
from protocol.identity import ContentDigest
from protocol.task.engine import ENGINE_DIGEST, WASMTIME_50_0_1
from protocol.task.outcome import Outcome

log = structlog.get_logger(__name__)

START_TIMEOUT_S: Final = 60.0
HAND_OVER_TIMEOUT_S: Final = 10.0
RUNS_PER_WORKER: Final = 5_000
OVERHEAD_BYTES: Final = 768 << 20
"""What a worker may hold besides a guest's memory: Python, compiled modules, tables."""
MIB: Final = 1 << 20
RESTART_DELAYS_S: Final = (0.1, 1.0, 5.0, 30.0)
SUSPECT: Final = frozenset({Outcome.HOST_FAILURE, Outcome.STACK_OVERFLOW, Outcome.CPU_LIMIT})
"""Outcomes after which a worker is not used again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStatus:
    """What the node shows of its workers.

    Attributes:
        free: How many more jobs would start at once. Spares don't count: they replace, they add nothing.
        ready: Processes that wait for a job, spares included.
        running: Jobs that have a worker, or wait for one to start.
        barriers: What holds the workers besides the sandbox.
    """

    free: int
    ready: int
    running: int
    barriers: tuple[str, ...]


class _Worker:
    """A ready process and whether it still is."""

    def __init__(self, process: SandboxProcess, barriers: tuple[str, ...]) -> None:
        self.process, self.barriers = process, barriers
        self.runs = 0
        self.retired = trio.Event()

    def retire(self) -> None:
        self.process.kill()
        self.retired.set()


class WorkerPool:
    """Prepares modules and runs jobs. Made by `open_worker_pool`."""

    def __init__(self, settings: ExecutionSettings, cache: ArtifactCache, work_dir: Path) -> None:
        """Take work as `settings` allow, leaving results in folders under `work_dir`."""
        self._settings, self._cache, self._work_dir = settings, cache, work_dir
        self._preparer = Preparer(settings, cache, WASMTIME_50_0_1)
        self._slots = trio.CapacityLimiter(settings.workers)
        self._idle: list[_Worker] = []
        self._waiting = trio.lowlevel.ParkingLot()
        self._barriers: tuple[str, ...] = ()
        self._last_failure = ""

    def status(self) -> PoolStatus:
        """Return how many workers are ready and how many run."""
        running = int(self._slots.borrowed_tokens)
        free = self._settings.workers - running
        return PoolStatus(free=free, ready=len(self._idle), running=running, barriers=self._barriers)

    async def prepare(self, module: Path, digest: ContentDigest) -> PreparedModule:
        """Compile a module, or find it compiled. The file must stay where it is while the module is in use.

        Raises:
            InvalidModule: It is no module that the engine runs; outcome 192.
            InvalidJob: The file can't be read, or is not what `digest` names.
            CompileLimit: Compiling took more than this node gives; unjudged.
            WorkerUnavailable: The compiler did not start.
        """
        return await self._preparer.prepare(module, digest)

    def check(self, job: Job) -> None:
        """Check, before anything is promised, that this pool would take a job. Its files are not looked at.

        Raises:
            InvalidJob: Something is out of range, a guest path is hostile, or it asks for more memory than there is.
        """
        check_job(job)
        if job.limits.memory_mib > self._settings.max_memory_mib:
            raise InvalidJob(
                f"the task asks for {job.limits.memory_mib} MiB, this node gives {self._settings.max_memory_mib}"
            )

    async def forget(self, module: ContentDigest) -> None:
        """Remove a module's compiled form from the cache; a run of it would compile it anew."""
        await trio.to_thread.run_sync(self._cache.discard, module)

    async def run(self, job: Job, *, on_progress: Callable[[Progress], None] | None = None) -> RunResult:
        """Run a job to its end. Cancelling kills the worker.

        Args:
            job: What to run. Its files are opened now; no guest can reach any other.
            on_progress: Called about five times a second, from this task; it must not block.

        Returns:
            The result, in a new folder that the caller removes. A guest that fails, a limit that is hit and a worker
            that dies are all results, told apart by `outcome`.

        Raises:
            InvalidJob: The job is not one that a worker can be given, or one of its files can't be read.
            WorkerUnavailable: No worker became ready in time.
            InvalidModule, CompileLimit: Its compiled form was lost and could not be made again.
        """
        self.check(job)
        async with self._slots:
            folder: Path | None = None
            finished = False
            try:
                for _attempt in range(3):  # once if all is well; again after an artifact that was evicted or damaged
                    folder, files = await trio.to_thread.run_sync(self._stage, job, folder)
                    if files is None:
                        await self._preparer.prepare(job.module.source, job.module.digest)
                        continue
                    result = await self._run_staged(folder, job, files, on_progress or _ignore)
                    if result is not None:
                        finished = True
                        return result
            finally:
                if folder is not None and not finished:
                    shutil.rmtree(folder, ignore_errors=True)
        raise WorkerUnavailable(
            "the compiled module does not last on this disk", advice="check the cache folder's disk"
        )

    def _stage(self, job: Job, folder: Path | None) -> tuple[Path, OpenJob | None]:
        """Make the run's folder and open its files, all in one visit to a thread."""
        artifact = self._cache.find(job.module.digest)
        folder = folder or Path(tempfile.mkdtemp(prefix="run-", dir=self._work_dir))
        if artifact is None:
            return folder, None
        try:
            return folder, open_run(job, artifact, folder)
        except StoaError:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    async def _run_staged(
        self, folder: Path, job: Job, files: OpenJob, on_progress: Callable[[Progress], None]
    ) -> RunResult | None:
        """Run a staged job; None if its artifact turned out to be damaged and was discarded."""
        try:
            return await self._run_on_a_worker(folder, job, files, on_progress)
        except ArtifactDamaged as error:
            log.warning("execution.artifact_damaged", module=job.module.digest.hex(), reason=str(error))
            await trio.to_thread.run_sync(self._cache.discard, job.module.digest)
            return None
        finally:
            files.close()

    async def _run_on_a_worker(
        self, folder: Path, job: Job, files: OpenJob, on_progress: Callable[[Progress], None]
    ) -> RunResult:
        request = run_request(job, files)
        while True:
            worker = await self._take()
            reusable = False
            try:
                if not await _hand_over(worker.process, request, files):
                    continue
                watch = Watch(folder, job, files, on_progress)
                result = await watch.follow(worker.process)
                worker.runs += 1
                reusable = result.outcome not in SUSPECT and watch.answered and worker.runs < RUNS_PER_WORKER
                return result
            finally:
                if reusable:
                    self._offer(worker)
                else:
                    worker.retire()

    async def _take(self) -> _Worker:
        with trio.move_on_after(START_TIMEOUT_S):
            while True:
                while self._idle:
                    worker = self._idle.pop()  # the last one used: it has this module loaded, most likely
                    if worker.process.is_running():
                        return worker
                    worker.retire()
                await self._waiting.park()
        raise WorkerUnavailable(
            f"no worker became ready in {START_TIMEOUT_S:.0f} s"
            + (f": {self._last_failure}" if self._last_failure else "")
        )

    def _offer(self, worker: _Worker) -> None:
        self._idle.append(worker)
        self._waiting.unpark()

    async def wait_ready(self) -> None:
        """Wait for the first worker.

        Raises:
            WorkerUnavailable: It could not start.
        """
        while not self._idle:
            if self._last_failure:
                raise WorkerUnavailable(self._last_failure)
            await self._waiting.park()

    async def keep_one_worker(self) -> None:
        """Keep one worker alive until cancelled: start it, offer it, replace it when it is retired."""
        failures = 0
        while True:
            try:
                await self._tend_one()
                failures = 0
            except WorkerUnavailable as error:
                self._last_failure = str(error)
                self._waiting.unpark_all()
                log.warning("execution.worker_failed", reason=str(error), failures=failures + 1)
                await trio.sleep(RESTART_DELAYS_S[min(failures, len(RESTART_DELAYS_S) - 1)])
                failures += 1

    async def _tend_one(self) -> None:
        memory_bytes = self._settings.max_memory_mib * MIB + OVERHEAD_BYTES
        async with open_sandbox_process("runner", memory_bytes=memory_bytes, cpu_s=0) as process:
            try:
                with trio.fail_after(START_TIMEOUT_S):
                    ready: ReadyMessage = await process.receive(ReadyMessage)
            except (ProcessEnded, ProtocolError, trio.TooSlowError) as error:
                raise WorkerUnavailable(f"a worker did not start: {process.last_words() or error}") from error
            if ready.engine != ENGINE_DIGEST:
                raise WorkerUnavailable("a worker started with another engine than this node's")
            self._barriers = ready.barriers
            worker = _Worker(process, ready.barriers)
            self._offer(worker)
            try:
                await worker.retired.wait()
            finally:
                if worker in self._idle:
                    self._idle.remove(worker)


async def _hand_over(process: SandboxProcess, request: RunMessage, files: OpenJob) -> bool:
    """Tell whether the worker took the request; if not, it died or stuck while it was idle, and nothing has run."""
    with trio.move_on_after(HAND_OVER_TIMEOUT_S):
        try:
            await process.send(request, files.fds)
        except ProcessEnded:
            return False
        return True
    return False


def _ignore(_progress: Progress) -> None:
    return


@asynccontextmanager
async def open_worker_pool(
    settings: ExecutionSettings, *, cache_dir: Path, work_dir: Path
) -> AsyncGenerator[WorkerPool, None]:
    """Open a pool of warm workers. They are killed on the way out, whatever they run.

    Args:
        settings: How much of the machine it may use.
        cache_dir: Where compiled modules are kept; only this node may write there.
        work_dir: Where results are left, each in a folder of its own; on one disk with where they go next.

    Raises:
        WorkerUnavailable: Not even one worker started.
    """

    def open_folders() -> ArtifactCache:
        work_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return ArtifactCache(cache_dir, engine=ENGINE_DIGEST, max_bytes=settings.cache_bytes)

    cache = await trio.to_thread.run_sync(open_folders)
    pool = WorkerPool(settings, cache, work_dir)
    async with trio.open_nursery() as nursery:
        for _ in range(settings.workers + settings.spares):
            nursery.start_soon(pool.keep_one_worker)
        await pool.wait_ready()
        yield pool
        nursery.cancel_scope.cancel()
