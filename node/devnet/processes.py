"""Nodes as separate processes: started, watched, killed, started again."""

import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Final

import structlog
import trio

from node.devnet.layout import NodePlace
from protocol.errors import TransientError

log = structlog.stdlib.get_logger(__name__)

READY_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 10.0
HONEST: Final = ("node.cli.main",)
CHEAT: Final = ("node.cli.cheat", "output")
_POLL_S: Final = 0.05


class NodeNotReady(TransientError):
    """A node's process ended, or does not answer."""


class NodeProcess:
    """One node's process. Made by `Processes.start`."""

    def __init__(self, place: NodePlace, *, prefix: Sequence[str] = (), program: Sequence[str] = HONEST) -> None:
        """Run the node at `place`.

        Args:
            place: Where it lives.
            prefix: A program that runs another, as `nice` does, with its arguments.
            program: The Python module that is run as `stoa`, and its own arguments.
        """
        self.place = place
        self._prefix = prefix
        self._program = program
        self._process: trio.Process | None = None

    @property
    def is_running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        """Of the newest process, dead or alive."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start the process and wait until its control socket answers.

        Raises:
            NodeNotReady: It ended, or the socket does not come.
        """
        command = [
            *self._prefix,
            sys.executable,
            "-m",
            *self._program,
            "--config",
            str(self.place.config),
            "--debug",
            "run",
        ]
        with self.place.log.open("ab") as out:
            self._process = await trio.lowlevel.open_process(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C in the terminal is for the parent, which ends the nodes in order
            )
        with trio.move_on_after(READY_TIMEOUT_S):
            while self.is_running:
                if await _answers(self.place):
                    return
                await trio.sleep(_POLL_S)
            raise NodeNotReady(f"{self.place.name} ended: {_last_words(self.place)}")
        raise NodeNotReady(f"{self.place.name} does not answer after {READY_TIMEOUT_S:.0f} s; see {self.place.log}")

    async def kill(self) -> None:
        """SIGKILL: what a power cut does."""
        if self._process is not None and self.is_running:
            self._process.send_signal(signal.SIGKILL)
            await self._process.wait()

    async def stop(self) -> None:
        """Ask the node to end, and kill it if it does not."""
        if self._process is None or not self.is_running:
            return
        self._process.send_signal(signal.SIGTERM)
        with trio.move_on_after(STOP_TIMEOUT_S):
            await self._process.wait()
            return
        log.warning("devnet.killed", node=self.place.name)
        await self.kill()


@asynccontextmanager
async def open_processes(
    places: tuple[NodePlace, ...], cheats: Collection[str] = ()
) -> AsyncGenerator[dict[str, NodeProcess], None]:
    """Start all nodes at once, those in `cheats` as cheats, and end them all on the way out, whatever happened."""
    processes = {place.name: NodeProcess(place, program=CHEAT if place.name in cheats else HONEST) for place in places}
    try:
        async with trio.open_nursery() as nursery:
            for process in processes.values():
                nursery.start_soon(process.start)
        yield processes
    finally:
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                for process in processes.values():
                    nursery.start_soon(process.stop)


async def _answers(place: NodePlace) -> bool:
    try:
        stream = await trio.open_unix_socket(str(place.socket))
    except OSError:
        return False
    await stream.aclose()
    return True


def _last_words(place: NodePlace) -> str:
    lines = place.log.read_text(errors="replace").splitlines()[-12:]
    return "\n  ".join(lines) if lines else "it said nothing"
