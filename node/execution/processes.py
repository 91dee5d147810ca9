"""Processes that meet a stranger's code, seen from the node: start one, hand it a request, hear it, kill it."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any, Final, Literal

import trio

import node
from node.execution.messages import HEADER_BYTES, BadFrame, descriptors_beside, frame, frame_length
from protocol.wire.codec import decode_as, encode

MAX_REPLY_BYTES: Final = 64 * 1024
LAST_WORDS_BYTES: Final = 2000
END_TIMEOUT_S: Final = 2.0
NICE: Final = 10
"""Of a core that a task shares with its node, the node has the first say: it answers in milliseconds (ADR 1573)."""
_BOOTSTRAP: Final = "import sys; sys.path.insert(0, sys.argv[1]); from node.execution.worker_main import main; main()"


class ProcessEnded(Exception):
    """The process hung up."""


class SandboxProcess:
    """One process and the socket to it. Replies must be read in full or the process given up."""

    def __init__(self, process: trio.Process, connection: "trio.socket.SocketType", words: IO[bytes]) -> None:
        self._process, self._connection, self._words = process, connection, words

    @property
    def pid(self) -> int:
        """The operating system's number for it."""
        return self._process.pid

    async def send(self, request: object, fds: Sequence[int] = ()) -> None:
        """Send a request and the descriptors beside it.

        Raises:
            ProcessEnded: The process is gone.
        """
        data = frame(encode(request))
        try:
            sent = await self._connection.sendmsg([data], descriptors_beside(list(fds)))
            while sent < len(data):
                sent += await self._connection.send(data[sent:])
        except OSError as error:
            raise ProcessEnded("the worker process hung up") from error

    async def receive(self, hint: Any) -> Any:
        """Return the next reply, one of the types in `hint`.

        Raises:
            ProcessEnded: The process is gone.
            ProtocolError: It said something that no worker of ours says.
        """
        length = frame_length(await self._exactly(HEADER_BYTES))
        if length > MAX_REPLY_BYTES:
            raise BadFrame(f"a reply of {length} bytes, at most {MAX_REPLY_BYTES} are allowed")
        return decode_as(hint, await self._exactly(length), max_bytes=MAX_REPLY_BYTES)

    def is_running(self) -> bool:
        """Tell whether it has neither ended nor been killed."""
        return self._process.poll() is None

    def kill(self) -> None:
        """Kill it at once (SIGKILL)."""
        self._process.kill()

    async def wait_end(self) -> int:
        """Return the status with which it ends; negative is the number of a signal. It is killed if that takes long."""
        with trio.move_on_after(END_TIMEOUT_S):
            return await self._process.wait()
        self.kill()
        return await self._process.wait()

    def last_words(self) -> str:
        """Return the last line of its standard error: why it could not start. No guest can write there."""
        size = self._words.seek(0, 2)
        self._words.seek(max(0, size - LAST_WORDS_BYTES))
        lines = self._words.read(LAST_WORDS_BYTES).decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    async def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            try:
                part = await self._connection.recv(size - len(data))
            except OSError as error:
                raise ProcessEnded("the worker process hung up") from error
            if not part:
                raise ProcessEnded("the worker process hung up")
            data += part
        return bytes(data)


@asynccontextmanager
async def open_sandbox_process(
    kind: Literal["runner", "compiler"], *, memory_bytes: int, cpu_s: int
) -> AsyncGenerator[SandboxProcess, None]:
    """Start a process that runs guests, or one that compiles one module. It is killed on the way out.

    It gets nothing of the node's: no environment, no open file but its socket, a working folder that is gone.

    Args:
        kind: Which of the two.
        memory_bytes: Its private writable memory, at most.
        cpu_s: CPU seconds, at most; only for a compiler, a runner sets them for each run.
    """
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    root = str(Path(node.__path__[0]).parent)
    with trio.socket.from_stdlib_socket(ours) as connection, tempfile.TemporaryFile() as words:
        # The folder is gone once the process stands in it: there nothing can be made, and a killed node leaves nothing.
        with theirs, tempfile.TemporaryDirectory(prefix="stoa-empty-") as nowhere:
            arguments = [root, kind, str(theirs.fileno()), str(memory_bytes), str(cpu_s)]
            process = await trio.lowlevel.open_process(
                [sys.executable, "-I", "-B", "-X", "utf8", "-c", _BOOTSTRAP, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=words,
                pass_fds=(theirs.fileno(),),
                env={},
                cwd=nowhere,
                process_group=0,  # not a session of its own: then the scheduler would take no account of niceness
            )
        try:
            os.setpriority(os.PRIO_PROCESS, process.pid, os.getpriority(os.PRIO_PROCESS, 0) + NICE)
            yield SandboxProcess(process, connection, words)
        finally:
            process.kill()
            with trio.CancelScope(shield=True):  # a killed process ends at once; left alone it stays a zombie
                await process.wait()
