"""The entry points of the two kinds of process that meet a stranger's code: runners stay, compilers do one thing.

Started by `node.execution.processes` as `python -I -c … <kind> <socket> <memory> <cpu>`. They end with `os._exit`,
since a normal exit would run destructors of a library whose state a guest may have broken.
"""

import contextlib
import gc
import os
import signal
import socket
import sys
from typing import Final, NoReturn

from node.execution.compiling import compile_module
from node.execution.confinement import confine, limit_cpu, limit_cpu_from_now, limit_memory
from node.execution.engine import build_engine
from node.execution.errors import ArtifactDamaged
from node.execution.messages import (
    HEADER_BYTES,
    MAX_DESCRIPTORS,
    MAX_FRAME_BYTES,
    MICROSECONDS,
    CompileMessage,
    DamagedMessage,
    ProgressMessage,
    ReadyMessage,
    RunMessage,
    clip,
    frame,
    frame_length,
)
from node.execution.runner import Runner
from protocol.task.engine import ENGINE_DIGEST, WASMTIME_50_0_1
from protocol.wire.codec import decode, encode

EXIT_ORPHANED: Final = 3


def main() -> NoReturn:
    """Run as `argv` says, until the node closes its end of the socket."""
    kind, descriptor, memory_bytes, cpu_s = sys.argv[-4:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the node decides when its workers end, not the terminal
    channel = _Channel(socket.socket(fileno=int(descriptor)))
    limit_memory(int(memory_bytes))
    if kind == "compiler":
        limit_cpu(int(cpu_s))
        _compile_once(channel)
    else:
        _run_many(channel)
    os._exit(0)


class _Channel:
    """The worker's end of the socket: blocking, one request at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def receive(self) -> tuple[bytes, list[int]]:
        """Return the next frame and the descriptors beside it. Ends the process when the node has hung up."""
        header, fds, _, _ = socket.recv_fds(self._connection, HEADER_BYTES, MAX_DESCRIPTORS)
        header += self._exactly(HEADER_BYTES - len(header)) if header else b""
        if not header:
            os._exit(0)
        return self._exactly(frame_length(header)), fds

    def send(self, value: object) -> None:
        """Send a value."""
        try:
            self._connection.sendall(frame(encode(value)))
        except OSError:
            os._exit(EXIT_ORPHANED)

    def send_progress(self, value: ProgressMessage) -> None:
        """Send a value that may be dropped: a node that doesn't listen must not hold up the guest."""
        with contextlib.suppress(BlockingIOError):
            self._connection.send(frame(encode(value)), socket.MSG_DONTWAIT)

    def exit_if_orphaned(self) -> None:
        """End the process if the node is gone, so that no guest runs for nobody."""
        with contextlib.suppress(BlockingIOError):
            if not self._connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                os._exit(EXIT_ORPHANED)

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = self._connection.recv(size - len(data))
            if not part:
                os._exit(0)
            data += part
        return bytes(data)


def _run_many(channel: _Channel) -> None:
    runner = Runner(WASMTIME_50_0_1)
    barriers = confine()
    gc.freeze()
    channel.send(ReadyMessage(engine=ENGINE_DIGEST, barriers=barriers))

    def report(progress: ProgressMessage) -> None:
        channel.exit_if_orphaned()
        channel.send_progress(progress)

    while True:
        data, fds = channel.receive()
        try:
            job = decode(RunMessage, data, max_bytes=MAX_FRAME_BYTES)
            limit_cpu_from_now(job.cpu_us / MICROSECONDS)
            channel.send(runner.run(job, fds, report))
        except ArtifactDamaged as error:
            channel.send(DamagedMessage(reason=clip(str(error))))
        finally:
            for fd in fds:
                os.close(fd)


def _compile_once(channel: _Channel) -> None:
    engine = build_engine(WASMTIME_50_0_1)
    confine()
    data, (module_fd, artifact_fd) = channel.receive()
    request = decode(CompileMessage, data, max_bytes=MAX_FRAME_BYTES)
    channel.send(compile_module(request, module_fd, artifact_fd, engine, WASMTIME_50_0_1))
