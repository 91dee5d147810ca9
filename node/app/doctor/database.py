"""The PostgreSQL server, if the journal lies there."""

import statistics
from typing import Final

import trio

from node.app.doctor.finding import Finding, Patient, ok, warning
from node.app.tables import database_address
from node.storage.postgres.address import PostgresAddress

ASKED: Final = 20
SLOW_ANSWER_S: Final = 0.02
"""A task takes some hundred round trips, one after the other."""


async def check_database(patient: Patient) -> list[Finding]:
    """Whether the server is one that a node may trust with promises, and this node may have."""
    return await trio.to_thread.run_sync(_look, patient)


def _look(patient: Patient) -> list[Finding]:
    address = database_address(patient.settings)
    return [] if address is None else _look_at(address, is_running=patient.running is not None)


def _look_at(address: PostgresAddress, *, is_running: bool) -> list[Finding]:
    from node.storage.postgres.database import PostgresDatabase  # noqa: PLC0415 - its driver is optional
    from node.storage.postgres.server import list_worries, require_fit  # noqa: PLC0415

    database = PostgresDatabase(address)
    facts, answers = database.look(ASKED)
    require_fit(facts)
    if not is_running:
        database.connect_writer().close()  # raises if another node has it
    release, median_s = facts.version // 10_000, statistics.median(answers)
    text = f"PostgreSQL {release}, {address.place}, answers in {median_s * 1000:.1f} ms (median of {ASKED})"
    if median_s > SLOW_ANSWER_S:
        found = [warning("database", text, "use a server nearer by: each step of a task waits for it several times")]
    else:
        found = [ok("database", text)]
    return found + [warning("database safety", text, advice) for text, advice in list_worries(facts)]
