"""Compute the same report with SQL, and compare it byte for byte.

    python3 check.py report.json

SQLite (the sqlite3 of the Python that runs this) groups, sums, ranks and formats; nothing of report.py is used.
Exit status 0 only if both are equal.
"""

from __future__ import annotations

import csv
import json
import sqlite3
import sys
from pathlib import Path

HERE = Path(__file__).parent

SECTIONS = """
WITH ranked AS (
    SELECT *,
        row_number() OVER (PARTITION BY section ORDER BY installed_kib DESC, package) AS place,
        row_number() OVER (PARTITION BY section ORDER BY installed_kib) AS rank,
        count(*) OVER (PARTITION BY section) AS members
    FROM packages
)
SELECT section, count(*) AS packages, sum(architecture = 'amd64') AS compiled, sum(installed_kib) AS installed_kib,
    max(CASE WHEN rank = (members + 1) / 2 THEN installed_kib END) AS installed_kib_median,
    sum(download_bytes) AS download_bytes, max(dependencies) AS dependencies_most
FROM ranked GROUP BY section ORDER BY section
"""

LARGEST = "SELECT package, installed_kib FROM packages WHERE section = ? ORDER BY installed_kib DESC, package LIMIT 5"


def expected_report(table: Path) -> str:
    """The report that the script must have printed on `table`."""
    database = sqlite3.connect(":memory:")
    database.row_factory = sqlite3.Row
    database.execute(
        "CREATE TABLE packages (package TEXT, version TEXT, section TEXT, architecture TEXT,"
        " installed_kib INTEGER, download_bytes INTEGER, dependencies INTEGER)"
    )
    with table.open(newline="", encoding="utf-8") as file:
        _, *rows = csv.reader(file)
    database.executemany("INSERT INTO packages VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    sections: dict[str, dict[str, object]] = {}
    for row in database.execute(SECTIONS).fetchall():
        fields: dict[str, object] = dict(row)
        name = str(fields.pop("section"))
        sections[name] = fields | {"largest": [list(pair) for pair in database.execute(LARGEST, (name,))]}
    totals = dict(
        database.execute("SELECT count(*) AS packages, sum(download_bytes) AS download_bytes FROM packages").fetchone()
    )
    database.close()
    return json.dumps(totals | {"sections": sections}, indent=2) + "\n"


def main() -> int:
    """Compare the file named on the command line with the report computed here."""
    output = Path(sys.argv[1]).read_bytes()
    expected = expected_report(HERE / "packages.csv").encode()
    if output == expected:
        print(f"equal: {len(output)} bytes")
        return 0
    for number, (got, wanted) in enumerate(zip(output.splitlines(), expected.splitlines(), strict=False), start=1):
        if got != wanted:
            print(f"line {number}: got {got!r}, expected {wanted!r}")
            return 1
    print(f"got {len(output)} bytes, expected {len(expected)}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
