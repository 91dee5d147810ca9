"""Nodes that lie, in the place of a network's honest ones."""

import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import trio

from node.api.client import open_client
from node.api.errors import ConnectionLost, NodeNotRunning
from node.devnet.layout import NodePlace
from tests.system.system_lab import POLL_S, ROOT, Lab

START_TIMEOUT_S: Final = 90.0


@asynccontextmanager
async def lying(lab: Lab, place: NodePlace, lie: str) -> AsyncGenerator[None, None]:
    """Let a node lie until the block ends; `lab` starts the honest one again."""
    await lab.kill(place)
    command = [sys.executable, "-m", "node.cli.cheat", lie]
    command += ["--config", str(place.config), "--debug", "run"]
    with place.log.open("ab") as out:
        process = await trio.lowlevel.open_process(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT
        )
    try:
        with trio.fail_after(START_TIMEOUT_S):
            while not await _answers(place):
                assert process.returncode is None, lab.last_words()
                await trio.sleep(POLL_S)
        yield
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def _answers(place: NodePlace) -> bool:
    try:
        async with open_client(place.socket):
            return True
    except (NodeNotRunning, ConnectionLost):
        return False
