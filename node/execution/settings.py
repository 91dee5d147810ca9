"""What an operator gives to execution."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionSettings:
    """How much of this machine tasks may use.

    Attributes:
        workers: Tasks that run at the same time; each takes one core.
        spares: Worker processes kept ready besides, to step in for one that was killed.
        max_memory_mib: The largest memory limit that a task may ask for.
        compile_cpu_s: CPU seconds that compiling one module may take.
        compile_memory_mib: Memory that it may take.
        cache_bytes: Compiled modules kept on disk; the ones not used for longest go first.
    """

    workers: int = 1
    spares: int = 1
    max_memory_mib: int = 1024
    compile_cpu_s: int = 60
    compile_memory_mib: int = 2048
    cache_bytes: int = 2 << 30
