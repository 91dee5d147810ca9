"""What a run is given and what it gives back. Plain values: no process, no file is opened here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.execution.errors import InvalidJob
from node.execution.wasi.tree import check_guest_paths
from protocol.identity import ContentDigest
from protocol.units import Uint8, UnixTime

MAX_ARGS: Final = 1024
MAX_TEXT_BYTES: Final = 128 * 1024
"""All arguments and variables together; Linux gives a process about as much."""
MAX_FILES: Final = 200
"""Each file is a descriptor handed to the worker in one message; Linux allows 253 in one."""
MAX_MEMORY_MIB: Final = 4096
MAX_CLOCK: Final = 9_000_000_000
"""In nanoseconds it still fits the 64 bits that a guest reads, with room for the time that passes."""
MAX_FUEL: Final = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a run may use. The first four are judged and part of the task; the last two are this node's patience.

    Attributes:
        fuel: Units of fuel.
        memory_mib: Linear memory of the guest, MiB.
        output_bytes: What it may write to its standard output.
        log_bytes: What it may write to its standard error.
        cpu_s: CPU seconds of the worker, from the start of the run.
        wall_s: Seconds until the worker is killed.
    """

    fuel: int
    memory_mib: int
    output_bytes: int
    log_bytes: int
    cpu_s: float
    wall_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedModule:
    """A module that this node has compiled and can run.

    Attributes:
        digest: BLAKE3 of the module.
        source: The file with the module, for the case that its compiled form gets lost.
        compile_cpu_s: CPU seconds that compiling took; 0 when it was in the cache.
    """

    digest: ContentDigest
    source: Path
    compile_cpu_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run of a prepared module.

    Attributes:
        module: What to run, as `WorkerPool.prepare` returned it.
        args: Program arguments, the program's name first.
        env: Environment, in the order in which the guest sees it.
        stdin: File whose bytes are the guest's standard input; None is an empty one.
        files: Guest path (absolute, normal) and the host file that stands there, read-only.
        clock: Unix time at which the guest's clock starts.
        seed: 32 bytes from which all of the guest's randomness follows.
        limits: What the run may use.
    """

    module: PreparedModule
    args: tuple[str, ...] = ("task",)
    env: tuple[tuple[str, str], ...] = ()
    stdin: Path | None = None
    files: tuple[tuple[str, Path], ...] = ()
    clock: UnixTime = UnixTime(0)
    seed: bytes = bytes(32)
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a run stands, for the screen and the meter. Never judged."""

    fuel: int
    bytes_out: int
    cpu_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a run ended and what it left. The files stand in a folder that the caller owns and removes.

    Attributes:
        outcome: As in `protocol.task.outcome`.
        output: File with the bytes that the guest wrote to standard output.
        output_digest: Their BLAKE3.
        logs: File with the bytes of standard error.
        logs_digest: Their BLAKE3.
        fuel: Units used; the limit itself where the engine can't tell exactly (out of fuel, leaky traps).
        peak_mib: Linear memory at the end, rounded up (it never shrinks).
        bytes_in: Standard input and files together.
        bytes_out: Output and logs together.
        cpu_s: CPU seconds of the worker.
        wall_s: Seconds from hand-over to result.
        detail: What happened, in words; may quote the engine. Never judged.
    """

    outcome: Uint8
    output: Path
    output_digest: ContentDigest
    logs: Path
    logs_digest: ContentDigest
    fuel: int
    peak_mib: int
    bytes_in: int
    bytes_out: int
    cpu_s: float
    wall_s: float
    detail: str = ""


def check_job(job: Job) -> None:
    """Check everything about a job that needs no file.

    Raises:
        InvalidJob: Something is out of range, or a guest path is not absolute, normal and unique.
    """
    _check_limits(job.limits)
    if not 0 <= job.clock <= MAX_CLOCK:
        raise InvalidJob(f"the clock starts at {job.clock}; allowed are 0 to {MAX_CLOCK}")
    if len(job.seed) != 32:
        raise InvalidJob(f"the seed has {len(job.seed)} bytes, not 32")
    _check_texts(job)
    if len(job.files) > MAX_FILES:
        raise InvalidJob(f"{len(job.files)} files, at most {MAX_FILES} fit a task", advice="pack them into one archive")
    check_guest_paths([path for path, _ in job.files])


def _check_limits(limits: Limits) -> None:
    if not 0 < limits.fuel <= MAX_FUEL:
        raise InvalidJob(f"a fuel limit of {limits.fuel}; allowed are 1 to {MAX_FUEL}")
    if not 0 < limits.memory_mib <= MAX_MEMORY_MIB:
        raise InvalidJob(f"a memory limit of {limits.memory_mib} MiB; allowed are 1 to {MAX_MEMORY_MIB}")
    if not (0 <= limits.output_bytes < 2**63 and 0 <= limits.log_bytes < 2**63):
        raise InvalidJob("output and log limits must be between 0 and 2^63-1 bytes")
    if not (0 < limits.cpu_s < 1e9 and 0 < limits.wall_s < 1e9):
        raise InvalidJob("CPU and wall limits must be above 0 and below 10^9 seconds")


def _check_texts(job: Job) -> None:
    texts = [*job.args, *(f"{name}={value}" for name, value in job.env)]
    if not job.args or len(texts) > MAX_ARGS:
        raise InvalidJob(f"{len(texts)} arguments and variables; allowed are 1 (the program's name) to {MAX_ARGS}")
    try:
        size = sum(len(text.encode()) + 1 for text in texts)
    except UnicodeEncodeError as error:
        raise InvalidJob("an argument or variable is not valid text") from error
    if size > MAX_TEXT_BYTES:
        raise InvalidJob(f"{size} bytes of arguments and variables, at most {MAX_TEXT_BYTES}")
    if any("\0" in text for text in texts):
        raise InvalidJob("an argument or variable contains a NUL character")
    if any(not name or "=" in name for name, _ in job.env):
        raise InvalidJob("a variable's name is empty or contains '='")
