"""Appended rows a second: many callers sharing commits, against one caller that waits for each of its own.

Run: `python benchmarks/journal.py [folder]`. The folder decides which disk is measured; default: a temporary one.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import trio

from node.operations.clock import SystemClock
from node.storage.chain import Entry
from node.storage.storage import Storage, open_storage

ROUNDS = 5
BODY = bytes(256)
GROUPED_ROWS = 4000
CALLERS = 200
SINGLE_ROWS = 200


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


async def measure(folder: Path) -> None:
    """Print the medians."""
    async with open_storage(folder, clock=SystemClock()) as storage:
        many = [await grouped(storage, f"many-{n}") for n in range(ROUNDS)]
        one = [await single(storage, f"one-{n}") for n in range(ROUNDS)]
        checked = [await verify(storage) for _ in range(ROUNDS)]
    print(f"rows of {len(BODY)} bytes, medians of {ROUNDS} rounds, synchronous=FULL")
    print(f"  {CALLERS} callers, shared commits: {statistics.median(many):>9,.0f} rows/s")
    print(f"  1 caller, one commit a row: {statistics.median(one):>9,.0f} rows/s")
    print(f"  verify the chain: {statistics.median(checked):>19,.0f} rows/s")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        trio.run(measure, Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            trio.run(measure, Path(temporary) / "data")
