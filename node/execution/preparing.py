"""Turn a module into an artifact that runners can load: from the cache, or by compiling in a throw-away process."""

import os
from collections import OrderedDict
from pathlib import Path
from typing import Final

import trio

from node.execution.artifacts import ArtifactCache
from node.execution.errors import CompileLimit, InvalidJob, InvalidModule, WorkerUnavailable
from node.execution.inputs import open_input
from node.execution.job import PreparedModule
from node.execution.messages import (
    MICROSECONDS,
    CompiledMessage,
    CompileMessage,
    CompilerReply,
    DamagedMessage,
    RefusedMessage,
)
from node.execution.processes import ProcessEnded, open_sandbox_process
from node.execution.settings import ExecutionSettings
from protocol.errors import ProtocolError
from protocol.identity import ContentDigest
from protocol.task.engine import EngineDescription, cap_of

COMPILE_WALL_FACTOR: Final = 4
"""Wall seconds a compilation may take for each CPU second it may use: the machine may be busy."""
COMPILE_WALL_BASE_S: Final = 30.0
REMEMBERED_REFUSALS: Final = 1024
MIB: Final = 1 << 20


class Preparer:
    """Compiles each module once, one at a time."""

    def __init__(self, settings: ExecutionSettings, cache: ArtifactCache, engine: EngineDescription) -> None:
        """Compile for `engine`, keeping the results in `cache`."""
        self._settings, self._cache, self._engine = settings, cache, engine
        self._turn = trio.Lock()
        self._refused: OrderedDict[ContentDigest, str] = OrderedDict()

    async def prepare(self, source: Path, digest: ContentDigest) -> PreparedModule:
        """Compile a module unless its artifact is in the cache.

        Raises:
            InvalidModule: It is no module that the engine runs. The same digest is refused at once from then on.
            InvalidJob: The file can't be read, or holds other bytes than `digest` names.
            CompileLimit: Compiling took more than the settings allow.
            WorkerUnavailable: The compiler process could not start.
        """
        if digest in self._refused:
            raise InvalidModule(self._refused[digest])
        if await self._has(digest):
            return PreparedModule(digest=digest, source=source, compile_cpu_s=0.0)
        async with self._turn:
            if await self._has(digest):
                return PreparedModule(digest=digest, source=source, compile_cpu_s=0.0)
            return await self._compile(source, digest)

    async def _has(self, digest: ContentDigest) -> bool:
        return await trio.to_thread.run_sync(self._cache.find, digest) is not None

    async def _compile(self, source: Path, digest: ContentDigest) -> PreparedModule:
        temporary = self._cache.temporary(digest)
        module_fd, size = await trio.to_thread.run_sync(open_input, source)
        try:
            largest = cap_of(self._engine, "module_bytes")
            if size > largest:
                raise self._refuse(digest, f"{size} bytes, at most {largest} are allowed")
            artifact_fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                request = CompileMessage(module=digest, module_bytes=size)
                compiled = await self._ask_compiler(request, [module_fd, artifact_fd])
            finally:
                os.close(artifact_fd)
            await trio.to_thread.run_sync(self._cache.keep, digest, temporary, compiled.artifact)
        finally:
            os.close(module_fd)
            temporary.unlink(missing_ok=True)
        return PreparedModule(digest=digest, source=source, compile_cpu_s=compiled.cpu_us / MICROSECONDS)

    async def _ask_compiler(self, request: CompileMessage, fds: list[int]) -> CompiledMessage:
        cpu_s = self._settings.compile_cpu_s
        memory_bytes = self._settings.compile_memory_mib * MIB
        async with open_sandbox_process("compiler", memory_bytes=memory_bytes, cpu_s=cpu_s) as process:
            reply: CompilerReply | None = None
            with trio.move_on_after(COMPILE_WALL_BASE_S + COMPILE_WALL_FACTOR * cpu_s):
                try:
                    await process.send(request, fds)
                    reply = await process.receive(CompilerReply)
                except (ProcessEnded, ProtocolError) as error:
                    status = await process.wait_end()
                    words = process.last_words()
                    if status == 1 and "MemoryError" not in words:
                        raise WorkerUnavailable(f"the compiler failed: {words}") from error
        match reply:
            case CompiledMessage():
                return reply
            case RefusedMessage():
                raise self._refuse(request.module, reply.reason)
            case DamagedMessage():
                raise InvalidJob(reply.reason)
            case None:
                raise CompileLimit(
                    f"compiling took more than {cpu_s} s of CPU or {self._settings.compile_memory_mib} MiB",
                    advice="raise compile_cpu_s or compile_memory_mib if you trust the module",
                )

    def _refuse(self, digest: ContentDigest, reason: str) -> InvalidModule:
        self._refused[digest] = reason
        while len(self._refused) > REMEMBERED_REFUSALS:
            self._refused.popitem(last=False)
        return InvalidModule(reason)
