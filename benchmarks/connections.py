"""What each connected peer costs a node: memory and CPU of a real node beside which strangers stand idle.

python -m benchmarks.run --only connections

The node sells on a network of its own, a local chain and a requester that asks for nothing. The strangers are in one
process, each with a key and an address of its own, and on every topic.
"""

import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

import trio

from benchmarks.figures import Figure
from benchmarks.weight import Weight, weigh
from node.devnet.devnet import Devnet, open_devnet

COUNTS: Final = (0, 12, 25, 50)
"""Of 64 connections that a node holds by default, 56 may have been opened by others."""
SETTLED_S: Final = 10.0
READY_TIMEOUT_S: Final = 120.0
ROUNDS: Final = 3


def measure(*, quick: bool) -> list[Figure]:
    """Measure a node with ever more peers."""
    return trio.run(observe, COUNTS[:2] if quick else COUNTS, 3.0 if quick else 10.0)


async def observe(counts: tuple[int, ...], look_s: float) -> list[Figure]:
    """Connect so many, let it settle, look."""
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="stoa-bench-") as folder:
        overrides = {"logging.level": "warning"}
        async with open_devnet(Path(folder) / "net", providers=1, overrides=overrides) as devnet:
            pid = devnet.processes[devnet.providers[0].name].pid
            for count in counts:
                async with strangers(devnet, count):
                    await trio.sleep(SETTLED_S)
                    looks = [await look(pid, look_s) for _ in range(ROUNDS)]
                name = f"{count} strangers connected"
                figures += [
                    Figure(name=f"{name}: RSS", unit="MiB", value=median(weight.rss for weight, _ in looks)),
                    Figure(name=f"{name}: of a core", unit="%", value=median(share for _, share in looks)),
                ]
    return figures


async def look(pid: int, seconds: float) -> tuple[Weight, float]:
    """Return what the process weighs, and how much of a core it takes, percent."""
    before, began = weigh(pid), trio.current_time()
    await trio.sleep(seconds)
    after = weigh(pid)
    return after, (after.cpu_s - before.cpu_s) / (trio.current_time() - began) * 100


@asynccontextmanager
async def strangers(devnet: Devnet, count: int) -> AsyncGenerator[None]:
    """Have so many peers connected to the provider while the block lasts."""
    deployment, victim = devnet.deployment, devnet.providers[0]
    command = [sys.executable, "-m", "benchmarks.strangers", victim.address, str(count)]
    command += [str(deployment.chain_id), deployment.escrow.hex()]
    async with trio.open_nursery() as nursery:
        process = await nursery.start(
            partial(trio.run_process, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, check=False)
        )
        with trio.fail_after(READY_TIMEOUT_S):
            said = await process.stdout.receive_some()
        if said != b"ready\n":
            raise AssertionError(f"the {count} strangers did not get in")
        yield
        nursery.cancel_scope.cancel()
