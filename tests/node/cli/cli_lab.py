"""A fake node on a real socket in a thread, and the real command line against it."""

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio
from typer.testing import CliRunner, Result

from node.api.server import open_control_server
from node.cli.main import app
from tests.node.api.fake_node import FakeNode

LIMITS = "[limits]\nfuel = 1_000\nmemory_mib = 1\noutput_bytes = 100\nlog_bytes = 100\n"
OFFER = '[offer]\nbudget = "0.40"\nmax_eta_s = 60\n'


@dataclass
class Place:
    """A data folder, its fake node, and the command line."""

    folder: Path
    node: FakeNode

    def stoa(self, *args: str, stdin: str | None = None) -> Result:
        return stoa("--data-dir", str(self.folder), *args, stdin=stdin)

    def json(self, *args: str, code: int = 0) -> Any:
        result = self.stoa(*args, "--json")
        assert result.exit_code == code, result.output
        return json.loads(result.stdout)


def stoa(*args: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, list(args), input=stdin, prog_name="stoa", catch_exceptions=False)


@contextmanager
def running(folder: Path, node: FakeNode | None = None) -> Generator[Place]:
    fake = node or FakeNode()
    ready = threading.Event()
    stop: list[Any] = []

    async def serve() -> None:
        end = trio.Event()
        stop.extend((trio.lowlevel.current_trio_token(), end))
        async with open_control_server(fake, folder / "control.sock"):
            ready.set()
            await end.wait()

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    assert ready.wait(10)
    try:
        yield Place(folder=folder, node=fake)
    finally:
        token, end = stop
        token.run_sync_soon(end.set)
        thread.join(10)


def write_task(folder: Path, text: str | None = None, *, parts: int = 1) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "module.wasm").write_bytes(b"\0asm\1\0\0\0")
    (folder / "in.txt").write_text("some input\n")
    more = "".join(f'[[parts]]\nargs = ["--part", "{part}"]\n' for part in range(parts)) if parts > 1 else ""
    head = 'name = "a-task"\nmodule = "module.wasm"\nstdin = "in.txt"\noutput = "report.txt"\n'
    path = folder / "task.toml"
    path.write_text(text if text is not None else head + LIMITS + more + OFFER)
    return path


def submitted(place: Place, folder: Path) -> str:
    """Submit a task, and return its id."""
    task: str = place.json("task", "submit", str(write_task(folder)), "--detach")["task"]
    return task


def lines_of(text: str) -> list[Any]:
    """Read JSON, an object a line."""
    return [json.loads(line) for line in text.splitlines()]
