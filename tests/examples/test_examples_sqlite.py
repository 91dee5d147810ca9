"""The SQLite module on other queries than the shipped one, against Python's sqlite3 and csv."""

import csv
import io
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import wasmtime
from hypothesis import example, given, settings
from hypothesis import strategies as st

from examples.run_local import ROOT, GuestFile, Run, read_task, run_part

Ask = Callable[[str], Run]


@pytest.fixture(scope="module")
def ask(engine: wasmtime.Engine, tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """Ask a small database; each query finds it unchanged."""
    folder = tmp_path_factory.mktemp("sqlite")
    database = sqlite3.connect(folder / "small.db")
    database.executescript("CREATE TABLE steps (step INTEGER); INSERT INTO steps VALUES (1), (2);")
    database.close()
    task = read_task(ROOT / "examples" / "sqlite-query")
    module = wasmtime.Module(engine, task.module.read_bytes())
    files = (GuestFile(path="/data/packages.db", source=folder / "small.db"),)
    part = replace(task.parts[0], stdin=folder / "query.sql", files=files)

    def run_query(query: str) -> Run:
        (folder / "query.sql").write_bytes(query.encode())
        return run_part(engine, module, task, part)

    return run_query


def literal(value: str | int | bytes | None) -> str:
    match value:
        case None:
            return "NULL"
        case str():
            return "'" + value.replace("'", "''") + "'"
        case bytes():
            return f"x'{value.hex()}'"
        case int():
            return str(value)


TEXTS = st.text(alphabet="a,;\"'\n\r\t \u00e9\u4e2d", max_size=6)
INTEGERS = st.sampled_from([0, 1, -1, 2**31, 2**63 - 1, 1 - 2**63])
ROWS = st.lists(st.none() | TEXTS | INTEGERS | st.binary(max_size=4), min_size=2, max_size=4)


@settings(max_examples=100, deadline=None)
@example(row=['"', "\r", "\n", ","])
@given(row=ROWS)
def test_pythons_csv_reads_back_every_row(row: list[str | int | bytes | None], ask: Ask) -> None:
    names = [f"c{number}" for number in range(len(row))]
    columns = ", ".join(f"{literal(value)} AS {name}" for value, name in zip(row, names, strict=True))
    shown = ["" if value is None else value.hex() if isinstance(value, bytes) else str(value) for value in row]
    output = ask(f"SELECT {columns}").output.decode()
    assert list(csv.reader(io.StringIO(output, newline=""), strict=True)) == [names, shown]


def test_statements_follow_one_another_and_change_only_their_own_copy(ask: Ask) -> None:
    for _ in range(2):
        result = ask(
            "INSERT INTO steps SELECT step + 10 FROM steps; SELECT sum(step) AS total FROM steps; -- the end\n"
        )
        assert (result.exit_code, result.output) == (0, b"total\n26\n")


def test_time_and_chance_are_the_tasks(ask: Ask) -> None:
    query = "SELECT datetime('now') AS now, random() AS chance, hex(randomblob(8)) AS more"
    first, second = ask(query), ask(query)
    assert first.output == second.output
    assert b"\n1970-01-01 00:00:00," in first.output


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("SELEKT 1", b'near "SELEKT": syntax error'),
        ("SELECT step FROM nowhere", b"no such table: nowhere"),
        ('SELECT "step" FROM steps; SELECT "nothing" FROM steps', b"no such column"),
        ("ATTACH '/data/packages.db' AS other", b"unable to open database"),
        ("SELECT load_extension('x')", b"no such function: load_extension"),
    ],
)
def test_a_wrong_query_exits_with_1_and_says_what_is_wrong(query: str, complaint: bytes, ask: Ask) -> None:
    result = ask(query)
    assert result.exit_code == 1
    assert complaint in result.log


@pytest.mark.parametrize("content", [b"", b"not a database" * 100, b"SQLite format 3\x00" + bytes(4000)])
def test_what_is_no_database_is_refused_or_empty(content: bytes, engine: wasmtime.Engine, tmp_path: Path) -> None:
    (tmp_path / "bad.db").write_bytes(content)
    (tmp_path / "query.sql").write_text("SELECT count(*) AS tables FROM sqlite_master")
    task = read_task(ROOT / "examples" / "sqlite-query")
    module = wasmtime.Module(engine, task.module.read_bytes())
    files = (GuestFile(path="/data/packages.db", source=tmp_path / "bad.db"),)
    result = run_part(engine, module, task, replace(task.parts[0], stdin=tmp_path / "query.sql", files=files))
    if content:
        assert result.exit_code == 1
        assert b"SQLite: " in result.log
    else:
        assert (result.exit_code, result.output) == (0, b"tables\n0\n")
