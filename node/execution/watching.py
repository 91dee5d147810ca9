"""One run as the node sees it: what it asks of a worker, how it waits, and what it makes of the answer."""

import signal
from collections.abc import Callable
from pathlib import Path

import trio

from node.execution.errors import ArtifactDamaged
from node.execution.inputs import LOGS_NAME, OUTPUT_NAME, OpenJob, digest_of
from node.execution.job import Job, Progress, RunResult
from node.execution.messages import (
    MICROSECONDS,
    BadReply,
    DamagedMessage,
    DoneMessage,
    ProgressMessage,
    ReadyMessage,
    RunMessage,
    WorkerReply,
)
from node.execution.processes import ProcessEnded, SandboxProcess
from protocol.errors import ProtocolError
from protocol.identity import ContentDigest
from protocol.task.outcome import Outcome, UnknownOutcome, classify


def run_request(job: Job, files: OpenJob) -> RunMessage:
    """Return the message that asks a worker for a run."""
    return RunMessage(
        artifact=files.artifact.digest,
        artifact_bytes=files.artifact.size,
        args=job.args,
        env=tuple(f"{name}={value}" for name, value in job.env),
        stdin_bytes=files.stdin_bytes,
        files=files.files,
        clock=job.clock,
        seed=ContentDigest(job.seed),
        fuel=job.limits.fuel,
        memory_mib=job.limits.memory_mib,
        output_bytes=job.limits.output_bytes,
        log_bytes=job.limits.log_bytes,
        cpu_us=int(job.limits.cpu_s * MICROSECONDS),
    )


class Watch:
    """Follows one run on one worker.

    Attributes:
        answered: Whether the worker itself told the end.
    """

    def __init__(self, folder: Path, job: Job, files: OpenJob, on_progress: Callable[[Progress], None]) -> None:
        """Watch a run of `job` whose output stands in `folder`."""
        self._folder, self._job, self._files, self._on_progress = folder, job, files, on_progress
        self._last = Progress(fuel=0, bytes_out=0, cpu_s=0.0)
        self._started = trio.current_time()
        self.answered = False

    async def follow(self, process: SandboxProcess) -> RunResult:
        """Wait for the end of the run.

        Raises:
            ArtifactDamaged: The worker could not load the module.
        """
        outcome, detail = Outcome.WALL_LIMIT, f"no result after {self._job.limits.wall_s:g} s"
        with trio.move_on_after(self._job.limits.wall_s):
            try:
                done = await self._hear(process)
                self.answered = True
                return await self._accept(done)
            except (ProcessEnded, ProtocolError) as error:
                if not isinstance(error, ProcessEnded):
                    process.kill()  # it lies, so it gets no time to end by itself
                status = await process.wait_end()
                outcome = Outcome.CPU_LIMIT if status == -signal.SIGXCPU else Outcome.HOST_FAILURE
                detail = f"the worker ended with status {status}: {error}"
        process.kill()
        await process.wait_end()  # what it wrote is read below, so it must have stopped writing
        return await self._salvage(outcome, detail)

    async def _hear(self, process: SandboxProcess) -> DoneMessage:
        while True:
            reply: WorkerReply = await process.receive(WorkerReply)
            match reply:
                case ProgressMessage():
                    cpu_s = reply.cpu_us / MICROSECONDS
                    self._last = Progress(fuel=reply.fuel, bytes_out=reply.bytes_out, cpu_s=cpu_s)
                    self._on_progress(self._last)
                case DamagedMessage():
                    raise ArtifactDamaged(reply.reason)
                case DoneMessage():
                    return reply
                case ReadyMessage():
                    raise BadReply("the worker started anew in the middle of a run")

    async def _accept(self, done: DoneMessage) -> RunResult:
        try:
            classify(done.outcome)
        except UnknownOutcome as error:
            raise BadReply(str(error)) from error
        result = RunResult(
            outcome=done.outcome,
            output=self._folder / OUTPUT_NAME,
            output_digest=done.output,
            logs=self._folder / LOGS_NAME,
            logs_digest=done.logs,
            fuel=done.fuel,
            peak_mib=done.peak_mib,
            bytes_in=self._files.bytes_in,
            bytes_out=done.output_bytes + done.log_bytes,
            cpu_s=done.cpu_us / MICROSECONDS,
            wall_s=trio.current_time() - self._started,
            detail=done.detail,
        )
        sizes = (result.output.stat().st_size, result.logs.stat().st_size)
        if sizes != (done.output_bytes, done.log_bytes) or done.fuel > self._job.limits.fuel:
            raise BadReply("the worker's report does not fit what it wrote")
        return result

    async def _salvage(self, outcome: Outcome, detail: str) -> RunResult:
        """Return the result of a run whose worker can't be asked any more, from what stands on disk."""
        output, logs = self._folder / OUTPUT_NAME, self._folder / LOGS_NAME
        output_digest, output_bytes = await trio.to_thread.run_sync(digest_of, output)
        logs_digest, log_bytes = await trio.to_thread.run_sync(digest_of, logs)
        return RunResult(
            outcome=outcome,
            output=output,
            output_digest=output_digest,
            logs=logs,
            logs_digest=logs_digest,
            fuel=min(self._last.fuel, self._job.limits.fuel),
            peak_mib=0,
            bytes_in=self._files.bytes_in,
            bytes_out=output_bytes + log_bytes,
            cpu_s=self._last.cpu_s,
            wall_s=trio.current_time() - self._started,
            detail=detail,
        )
