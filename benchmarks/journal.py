"""Appended rows a second on both stores: many callers sharing commits, against one that waits for each of its own.

Run: `python benchmarks/journal.py [--folder FOLDER] [--url URL] [--notify]`. The folder decides which disk is measured
(default: a temporary one), the URL which PostgreSQL server (default: one of its own, on a local socket and such a disk;
left out where there is none). Rounds of the two are interleaved. `--notify` measures a NOTIFY at each commit too.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import trio

from node.operations.clock import SystemClock
from node.storage.chain import Entry
from node.storage.journal import Transaction
from node.storage.postgres.address import PostgresAddress, read_address
from node.storage.storage import Storage, open_storage
from tests.postgres_lab import run_postgres

ROUNDS = 5
BODY = bytes(256)
GROUPED_ROWS = 2000
CALLERS = 200
SINGLE_ROWS = 100
NOTIFY = "NOTIFY stoa_journal"

Measure = Callable[[Storage, str], Awaitable[float]]


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


async def notified(storage: Storage, stream: str) -> float:
    """The same, and every commit tells whoever listens."""

    def job(transaction: Transaction) -> None:
        transaction.connection.exec_driver_sql(NOTIFY)
        transaction.append([Entry(stream=stream, kind="row", body=BODY)])

    started = time.perf_counter()
    for _ in range(SINGLE_ROWS):
        await storage.transact(job)
    return SINGLE_ROWS / (time.perf_counter() - started)


async def verify(storage: Storage, _stream: str) -> float:
    """Check the whole chain; return rows a second."""
    started = time.perf_counter()
    head = await storage.journal.verify()
    return head.seq / (time.perf_counter() - started)


@dataclass
class Row:
    """One measure on both stores: rows a second and CPU seconds of this process for 1000 rows."""

    rates: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    cpu: dict[str, list[float]] = field(default_factory=dict[str, list[float]])


async def measure(folder: Path, address: PostgresAddress | None, *, notify: bool) -> None:
    """Print the medians."""
    kinds: dict[str, Measure] = {
        f"{CALLERS} callers, shared commits": grouped,
        "1 caller, a commit a row": single,
        "verify the chain": verify,
    }
    rows: dict[str, Row] = {}
    async with AsyncExitStack() as stack:
        stores = {"SQLite": await stack.enter_async_context(open_storage(folder / "sqlite", clock=SystemClock()))}
        if address is not None:
            stores["PostgreSQL"] = await stack.enter_async_context(
                open_storage(folder / "postgresql", clock=SystemClock(), address=address)
            )
            if notify:
                kinds["1 caller, a commit and a NOTIFY a row"] = notified
        for number in range(ROUNDS):
            for title, kind in kinds.items():
                for name, storage in stores.items():
                    if kind is notified and name == "SQLite":
                        continue
                    cpu = time.process_time()
                    began = time.perf_counter()
                    rate = await kind(storage, f"{kind.__name__}-{number}")
                    count = rate * (time.perf_counter() - began)
                    row = rows.setdefault(title, Row())
                    row.rates.setdefault(name, []).append(rate)
                    row.cpu.setdefault(name, []).append((time.process_time() - cpu) / count * 1000)
    print(f"rows of {len(BODY)} bytes, medians of {ROUNDS} rounds, flushed to disk; {os.cpu_count()} cores")
    for title, row in rows.items():
        medians = {name: statistics.median(rates) for name, rates in row.rates.items()}
        cpu = {name: statistics.median(each) for name, each in row.cpu.items()}
        shown = [f"{name} {medians[name]:>9,.0f} rows/s ({cpu[name]:.2f} CPU-s/1000)" for name in medians]
        if len(medians) > 1:
            shown.append(f"ratio {medians['PostgreSQL'] / medians['SQLite']:.2f}")
        print(f"  {title:<40} {'   '.join(shown)}")


def main() -> None:
    """Bring a folder and a server, and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--url")
    parser.add_argument("--notify", action="store_true")
    wish = parser.parse_args()
    with ExitStack() as stack:
        folder = wish.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        address: PostgresAddress | None = None
        if wish.url:
            address = read_address(wish.url)
        else:
            try:
                server = stack.enter_context(run_postgres())
                address = read_address(server.url(server.new_database()))
            except AssertionError as error:
                print(f"SQLite alone: {error}")
        trio.run(partial(measure, folder, address, notify=wish.notify))


if __name__ == "__main__":
    main()
