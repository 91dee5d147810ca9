"""The user's script: reads a CSV table of Debian packages, prints a report in JSON. Ordinary Python 3.12.

python3 report.py packages.csv
"""

import csv
import json
import statistics
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

LARGEST = 5
COMPILED = "amd64"


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One row of the table; sizes in KiB and bytes as their names say."""

    package: str
    section: str
    architecture: str
    installed_kib: int
    download_bytes: int
    dependencies: int


def read_packages(path: Path) -> list[Package]:
    """Read the rows, with numbers as integers."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Package(
                package=row["package"],
                section=row["section"],
                architecture=row["architecture"],
                installed_kib=int(row["installed_kib"]),
                download_bytes=int(row["download_bytes"]),
                dependencies=int(row["dependencies"]),
            )
            for row in csv.DictReader(file)
        ]


def describe_section(packages: list[Package]) -> dict[str, object]:
    """Counts, sizes and extremes of the packages of one section."""
    installed = [package.installed_kib for package in packages]
    by_size = sorted(packages, key=lambda package: (-package.installed_kib, package.package))
    return {
        "packages": len(packages),
        "compiled": sum(package.architecture == COMPILED for package in packages),
        "installed_kib": sum(installed),
        "installed_kib_median": statistics.median_low(installed),
        "download_bytes": sum(package.download_bytes for package in packages),
        "dependencies_most": max(package.dependencies for package in packages),
        "largest": [[package.package, package.installed_kib] for package in by_size[:LARGEST]],
    }


def main() -> None:
    """Read, group, print."""
    packages = read_packages(Path(sys.argv[1]))
    sections: defaultdict[str, list[Package]] = defaultdict(list)
    for package in packages:
        sections[package.section].append(package)
    report = {
        "packages": len(packages),
        "download_bytes": sum(package.download_bytes for package in packages),
        "sections": {name: describe_section(members) for name, members in sorted(sections.items())},
    }
    json.dump(report, sys.stdout, indent=2)
    print()
    print(f"read {len(packages)} packages", file=sys.stderr)


if __name__ == "__main__":
    main()
