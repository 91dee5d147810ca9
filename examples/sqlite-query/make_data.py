"""Write packages.db again: packages of the Debian release that runs here and what they depend on.

    apt-get update && python3 make_data.py

Of a dependency with alternatives the first counts; dependencies outside the chosen sections are left out.
"""

from __future__ import annotations

import re
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
SECTIONS = ("math", "python", "science")
NAME = re.compile(r"[a-z0-9][a-z0-9+.-]*")


def entries() -> Iterator[dict[str, str]]:
    """The fields of each package of SECTIONS."""
    listing = subprocess.run(["/usr/bin/apt-cache", "dumpavail"], check=True, capture_output=True, text=True).stdout
    for entry in listing.split("\n\n"):
        lines = (line.partition(": ") for line in entry.splitlines() if not line.startswith(" "))
        fields = {name: value for name, _, value in lines}
        if fields.get("Section") in SECTIONS and "Size" in fields:  # without: installed, but in no archive
            yield fields


def main() -> None:
    """Write the file."""
    chosen = {fields["Package"]: fields for fields in entries()}
    edges: set[tuple[str, str]] = set()
    for name, fields in chosen.items():
        for dependency in fields.get("Depends", "").split(", "):
            found = NAME.match(dependency)
            if found and found[0] in chosen:
                edges.add((name, found[0]))
    path = HERE / "packages.db"
    path.unlink(missing_ok=True)
    database = sqlite3.connect(path, isolation_level=None)
    database.executescript(
        "PRAGMA page_size = 4096; PRAGMA journal_mode = OFF;"
        "CREATE TABLE packages (id INTEGER PRIMARY KEY, name TEXT, section TEXT, installed_kib INTEGER);"
        "CREATE TABLE depends (dependency INTEGER, package INTEGER, PRIMARY KEY (dependency, package)) WITHOUT ROWID;"
    )
    ids = {name: number for number, name in enumerate(sorted(chosen), start=1)}
    rows = ((ids[name], name, chosen[name]["Section"], int(chosen[name].get("Installed-Size", 0))) for name in ids)
    database.execute("BEGIN")
    database.executemany("INSERT INTO packages VALUES (?, ?, ?, ?)", rows)
    database.executemany("INSERT INTO depends VALUES (?, ?)", sorted((ids[to], ids[name]) for name, to in edges))
    database.execute("COMMIT")
    database.execute("VACUUM")
    database.close()
    print(f"{len(ids)} packages, {len(edges)} dependencies, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
