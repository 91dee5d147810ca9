"""The stranger's client as a process: commands in, answers out, one JSON line each."""

import json
import os
import subprocess
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio

from protocol.identity import Address

PEER: Final = Path(__file__).parent / "peer"
ANSWER_TIMEOUT_S: Final = 90.0
"""Longer than the client itself waits for anything, so that a failure is told in its words."""
CHECK_TIMEOUT_S: Final = 240.0
LAST_LINES: Final = 30


def ask_checker(questions: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ask the client's own judgement, without a network; an answer for each question."""
    done = subprocess.run(
        ["node", str(PEER / "check.mjs")],
        input="".join(json.dumps(each) + "\n" for each in questions),
        capture_output=True,
        text=True,
        check=False,
        timeout=CHECK_TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


class Stranger:
    """A running client. Made by `open_stranger`."""

    def __init__(self, process: trio.Process, errors: Path) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin, self._stdout = process.stdin, process.stdout
        self._process, self._errors = process, errors
        self._lines: list[dict[str, Any]] = []
        self._buffer = b""
        self._number = 0
        self.peer = ""
        self.wallet = Address(b"")

    async def call(self, command: str, **arguments: Any) -> Any:
        """Give a command and return its answer; fails with what the client says is wrong."""
        self._number += 1
        line = json.dumps({"id": self._number, "command": command, **arguments}) + "\n"
        await self._stdin.send_all(line.encode())
        return await self.answer(self._number)

    async def answer(self, number: int) -> Any:
        """Wait for the answer with this number. One at a time."""
        with trio.move_on_after(ANSWER_TIMEOUT_S):
            while True:
                for line in self._lines:
                    if line["id"] == number:
                        assert "ok" in line, f"the client failed: {line['error']}\n{self._last_words()}"
                        return line["ok"]
                *lines, self._buffer = self._buffer.split(b"\n")
                self._lines += [json.loads(each) for each in lines]
                if not lines:
                    received = await self._stdout.receive_some()
                    assert received, f"the client ended\n{self._last_words()}"
                    self._buffer += received
        raise AssertionError(f"the client does not answer\n{self._last_words()}")

    def _last_words(self) -> str:
        return "\n".join(self._errors.read_text().splitlines()[-LAST_LINES:])


@asynccontextmanager
async def open_stranger(folder: Path, **settings: Any) -> AsyncGenerator[Stranger, None]:
    """Start the client and wait until it listens; end it with the block."""
    errors = folder / "stranger.err"
    with errors.open("wb") as sink:
        process = await trio.lowlevel.open_process(
            ["node", str(PEER / "stranger.mjs"), json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=sink,
            env=dict(os.environ),
        )
    try:
        stranger = Stranger(process, errors)
        hello = await stranger.answer(0)
        stranger.peer, stranger.wallet = hello["peer"], Address(bytes.fromhex(hello["wallet"]))
        yield stranger
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
