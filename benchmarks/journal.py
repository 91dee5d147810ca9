"""Appended rows a second: many callers sharing commits, against one caller that waits for each of its own.

python -m benchmarks.run --only journal          TMPDIR decides which disk is measured
"""

import tempfile
import time
from pathlib import Path
from typing import Final

import trio

from benchmarks.figures import Figure, rated
from node.operations.clock import SystemClock
from node.storage.chain import Entry
from node.storage.storage import Storage, open_storage

BODY: Final = bytes(256)
GROUPED_ROWS: Final = 4000
CALLERS: Final = 200
SINGLE_ROWS: Final = 100


async def grouped(storage: Storage, stream: str) -> float:
    """Append from many tasks at once; return rows a second."""

    async def caller(number: int) -> None:
        for _ in range(GROUPED_ROWS // CALLERS):
            await storage.journal.append([Entry(stream=f"{stream}:{number}", kind="row", body=BODY)])

    started = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for number in range(CALLERS):
            nursery.start_soon(caller, number)
    return GROUPED_ROWS / (time.perf_counter() - started)


async def single(storage: Storage, stream: str) -> float:
    """Append one row at a time, each with a commit of its own; return rows a second."""
    started = time.perf_counter()
    for _ in range(SINGLE_ROWS):
        await storage.journal.append([Entry(stream=stream, kind="row", body=BODY)])
    return SINGLE_ROWS / (time.perf_counter() - started)


async def verify(storage: Storage) -> float:
    """Check the whole chain; return rows a second."""
    started = time.perf_counter()
    head = await storage.journal.verify()
    return head.seq / (time.perf_counter() - started)


async def observe(rounds: int) -> list[Figure]:
    """Measure in turns."""
    many, one, checked = list[float](), list[float](), list[float]()
    with tempfile.TemporaryDirectory(prefix="stoa-bench-") as folder:
        async with open_storage(Path(folder) / "data", clock=SystemClock()) as storage:
            for turn in range(rounds):
                many.append(await grouped(storage, f"many-{turn}"))
                one.append(await single(storage, f"one-{turn}"))
                checked.append(await verify(storage))
    return [
        rated(f"journal, {CALLERS} callers sharing commits", "rows/s", many, "one caller", one),
        rated("journal, checking its chain", "rows/s", checked),
    ]


def measure(*, quick: bool) -> list[Figure]:
    """Measure all."""
    return trio.run(observe, 2 if quick else 5)
