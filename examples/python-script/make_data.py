"""Write packages.csv again: facts about packages of the Debian release that runs here, from `apt-cache dumpavail`.

apt-get update && python3 make_data.py
"""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
SECTIONS = ("database", "editors", "graphics", "hamradio", "interpreters", "math", "science", "sound", "web")
COLUMNS = ("package", "version", "section", "architecture", "installed_kib", "download_bytes", "dependencies")


def rows() -> Iterator[tuple[str, ...]]:
    """One row a package, as COLUMNS."""
    listing = subprocess.run(["/usr/bin/apt-cache", "dumpavail"], check=True, capture_output=True, text=True).stdout
    for entry in listing.split("\n\n"):
        lines = (line.partition(": ") for line in entry.splitlines() if not line.startswith(" "))
        fields = {name: value for name, _, value in lines}
        if fields.get("Section") in SECTIONS and "Size" in fields:  # without: installed, but in no archive
            depends = fields.get("Depends", "")
            yield (
                *(fields[name] for name in ("Package", "Version", "Section", "Architecture")),
                fields.get("Installed-Size", "0"),
                fields["Size"],
                str(len(depends.split(", ")) if depends else 0),
            )


def main() -> None:
    """Write the file, sorted by name and version."""
    table = sorted(rows())
    with (HERE / "packages.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(table)
    print(f"{len(table)} packages")


if __name__ == "__main__":
    main()
