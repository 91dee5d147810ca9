"""The local chain: anvil, run as a child of this process and ended with it."""

import shutil
import socket
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import trio

from node.chain.errors import AnvilFailed, AnvilMissing, ChainTimeout, ChainUnreachable
from node.chain.profile import LOCAL
from node.chain.rpc import open_rpc
from node.operations.ports import free_ports
from protocol.errors import ConfigError

START_TIMEOUT_S: Final = 15.0
STOP_TIMEOUT_S: Final = 10.0  # writing the state of a long-lived chain takes a while
_POLL_S: Final = 0.02
_LOG_BYTES: Final = 65_536
_NATIVE: Final = Path("node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil")


class PortTaken(ConfigError):
    """Another program listens on the port."""

    def __init__(self, port: int) -> None:
        super().__init__(
            f"port {port} on 127.0.0.1 is taken, so the local chain can't use it",
            advice="end the other program, or choose another port",
        )
        self.port = port


@dataclass(frozen=True, slots=True, kw_only=True)
class Anvil:
    """A running local chain."""

    url: str
    port: int
    process: trio.Process


@asynccontextmanager
async def open_anvil(
    *,
    state_file: Path | None = None,
    port: int = 0,
    block_time_s: int | None = None,
    chain_id: int = LOCAL.chain_id,
    state_interval_s: int = 5,
    keeps_history: bool = False,
) -> AsyncGenerator[Anvil, None]:
    """Run a local chain until the block ends; it is ready when this yields and gone when this returns.

    Args:
        state_file: Where the chain's state is kept between runs; None forgets it.
        port: On 127.0.0.1; 0 takes a free one.
        block_time_s: A block every so many seconds; None makes one for each transaction, at once.
        chain_id: As `eth_chainId` answers.
        state_interval_s: How often the state is written; a SIGKILL loses what came after.
        keeps_history: Write the states after older blocks too. Without them a chain that was started again answers
            for its newest block alone, until it is as many blocks longer as its users wait for.

    Raises:
        AnvilMissing: The program is not installed.
        PortTaken: Another program listens on `port`.
        AnvilFailed: It ended by itself, then or later, or was not ready within `START_TIMEOUT_S`.
    """
    program = find_anvil()
    port = _checked_port(port)
    # No accounts: the chain signs nothing for anybody, and gas money is given by `local.fund`.
    command = [str(program), "--host", "127.0.0.1", "--port", str(port), "--chain-id", str(chain_id)]
    command += ["--hardfork", "prague", "--accounts", "0"]
    if block_time_s is not None:
        command += ["--block-time", str(block_time_s)]
    if state_file is not None:
        state_file.parent.mkdir(parents=True, exist_ok=True)
        command += ["--state", str(state_file), "--state-interval", str(state_interval_s)]
        if keeps_history:
            command.append("--preserve-historical-states")
    output = _Output()
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(_run, command, output)
        await _wait_ready(process, port, output)
        output.is_ready = True
        yield Anvil(url=f"http://127.0.0.1:{port}", port=port, process=process)
        nursery.cancel_scope.cancel()


def find_anvil() -> Path:
    """Return the path of the native program: from this checkout's npm tools, or on PATH.

    Raises:
        AnvilMissing: It is in neither place.
    """
    for folder in Path(__file__).resolve().parents:
        candidate = folder / _NATIVE
        if candidate.is_file():
            return candidate
    on_path = shutil.which("anvil")
    if on_path is None:
        raise AnvilMissing
    return Path(on_path)


class _Output:
    """The end of what a child prints, kept for the error message; the rest is dropped so that its pipe never fills."""

    def __init__(self) -> None:
        self._tail = b""
        self.is_ready = False

    async def read(self, stream: trio.abc.ReceiveStream) -> None:
        async for chunk in stream:
            self._tail = (self._tail + chunk)[-_LOG_BYTES:]

    def last_lines(self) -> str:
        return " / ".join(self._tail.decode(errors="replace").strip().splitlines()[-3:])


async def _run(
    command: list[str], output: _Output, *, task_status: trio.TaskStatus[trio.Process] = trio.TASK_STATUS_IGNORED
) -> None:
    """Run the child until it is told to stop; if it ends by itself after it was ready, say so."""
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(
            partial(
                trio.run_process,
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
                deliver_cancel=_stop,
                start_new_session=True,  # a Ctrl-C in the terminal is for us; we end the chain after its users
            )
        )
        assert process.stdout is not None
        nursery.start_soon(output.read, process.stdout)
        task_status.started(process)
    if output.is_ready:
        raise AnvilFailed(f"anvil ended by itself with status {process.returncode}: {output.last_lines()}")


async def _wait_ready(process: trio.Process, port: int, output: _Output) -> None:
    with trio.move_on_after(START_TIMEOUT_S):
        async with open_rpc(f"http://127.0.0.1:{port}") as rpc:
            while process.returncode is None:
                try:
                    await rpc.call("eth_chainId")
                except (ChainUnreachable, ChainTimeout):
                    await trio.sleep(_POLL_S)
                else:
                    return
        raise AnvilFailed(f"anvil ended with status {process.returncode}: {output.last_lines()}")
    raise AnvilFailed(f"anvil was not ready within {START_TIMEOUT_S:g} s: {output.last_lines()}")


async def _stop(process: trio.Process) -> None:
    """End the child so that it can write its state first."""
    process.terminate()
    with trio.move_on_after(STOP_TIMEOUT_S):
        await process.wait()
        return
    process.kill()


def _checked_port(port: int) -> int:
    """Return `port` if it is free, or a free one for 0. Anvil itself would only print a panic."""
    if port == 0:
        return free_ports(1)[0]
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise PortTaken(port) from error
    return port
