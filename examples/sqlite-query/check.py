"""Walk the graph of dependencies in Python, and compare the answer byte for byte.

    python3 check.py answer.csv

Only the two tables are read through SQLite; the walk, the sums and the order are Python's. Exit status 0 only if both
answers are equal.
"""

from __future__ import annotations

import csv
import io
import sqlite3
import sys
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).parent
COLUMNS = ("needed", "section", "needed_by", "their_installed_kib")
MOST_ROWS = 25


def expected_answer(path: Path) -> str:
    """The CSV that the query must have printed on the database at `path`."""
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    packages = {row[0]: row[1:] for row in database.execute("SELECT id, name, section, installed_kib FROM packages")}
    users: defaultdict[int, list[int]] = defaultdict(list)
    for dependency, package in database.execute("SELECT dependency, package FROM depends"):
        users[dependency].append(package)
    database.close()

    rows: list[tuple[str, str, int, int]] = []
    for root in list(users):
        reached: set[int] = set()
        waiting = [root]
        while waiting:
            found = [package for package in users.get(waiting.pop(), ()) if package not in reached]
            reached.update(found)
            waiting.extend(found)
        name, section, _ = packages[root]
        rows.append((name, section, len(reached), sum(packages[package][2] for package in reached)))
    rows.sort(key=lambda row: (-row[2], row[0]))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *rows[:MOST_ROWS]])
    return text.getvalue()


def main() -> int:
    """Compare the file named on the command line with the answer computed here."""
    output = Path(sys.argv[1]).read_bytes()
    expected = expected_answer(HERE / "packages.db").encode()
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
