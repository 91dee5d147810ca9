"""Appended rows a second: many callers sharing commits, against one caller that waits for each of its own.

python -m benchmarks.run --only journal          TMPDIR decides which disk is measured
"""

import sys
import tempfile
import time
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Final

import trio

from benchmarks.figures import Figure, rated
from node.operations.clock import SystemClock
from node.storage.chain import Entry
from node.storage.journal import Transaction
from node.storage.postgres.address import PostgresAddress, read_address
from node.storage.storage import Storage, open_storage
from tests.postgres_lab import run_postgres

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


async def notified(storage: Storage, stream: str) -> float:
    """The same, and every commit tells whoever listens (docs/adr/1505); PostgreSQL only."""

    def job(transaction: Transaction) -> None:
        transaction.connection.exec_driver_sql("NOTIFY stoa_journal")
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


async def observe(rounds: int) -> list[Figure]:
    """Measure in turns: SQLite, and PostgreSQL where its server can be had."""
    kinds = {"many": grouped, "one": single, "checked": verify}
    with tempfile.TemporaryDirectory(prefix="stoa-bench-") as folder, ExitStack() as servers:
        async with AsyncExitStack() as stack:
            stores = {"SQLite": await stack.enter_async_context(open_storage(Path(folder) / "a", clock=SystemClock()))}
            address = _server_of_its_own(servers)
            if address is not None:
                stores["PostgreSQL"] = await stack.enter_async_context(
                    open_storage(Path(folder) / "b", clock=SystemClock(), address=address)
                )
            rates = {(kind, name): list[float]() for kind in kinds for name in stores}
            if address is not None:
                kinds["told"] = notified
                rates["told", "PostgreSQL"] = []
            for turn in range(rounds):
                for (kind, name), measured in rates.items():
                    measured.append(await kinds[kind](stores[name], f"{kind}-{turn}"))
    figures = [
        rated(
            f"journal, {CALLERS} callers sharing commits",
            "rows/s",
            rates["many", "SQLite"],
            "one caller",
            rates["one", "SQLite"],
        ),
        rated("journal, checking its chain", "rows/s", rates["checked", "SQLite"]),
    ]
    if address is not None:
        titles = {"many": f"{CALLERS} callers", "one": "one caller", "checked": "checking its chain"}
        figures += [
            rated(
                f"journal in PostgreSQL, {title}", "rows/s", rates[kind, "PostgreSQL"], "SQLite", rates[kind, "SQLite"]
            )
            for kind, title in titles.items()
        ]
        told, one = rates["told", "PostgreSQL"], rates["one", "PostgreSQL"]
        figures.append(rated("journal in PostgreSQL, a NOTIFY at each commit", "rows/s", told, "without", one))
    return figures


def _server_of_its_own(servers: ExitStack) -> PostgresAddress | None:
    try:
        server = servers.enter_context(run_postgres())
    except AssertionError as error:
        print(f"SQLite alone: {error}", file=sys.stderr)
        return None
    return read_address(server.url(server.new_database()))


def measure(*, quick: bool) -> list[Figure]:
    """Measure all."""
    return trio.run(observe, 2 if quick else 5)
