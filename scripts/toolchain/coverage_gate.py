#!/usr/bin/env python3
"""Read forge's lcov report and name each line and branch of contracts/ that no test runs. Exit 1 if there is one.

    forge coverage --report lcov --report-file FILE && python scripts/toolchain/coverage_gate.py FILE

Interfaces have no code, and mocks are not ours to guard.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

LEFT_OUT = ("contracts/mocks/", "contracts/interfaces/", "tests/", "node_modules/")


def missing(report: Iterable[str]) -> tuple[int, list[str]]:
    """Return how many lines and branches there are, and those that were never taken, as `file:line: what`."""
    total, never, file = 0, list[str](), ""
    for line in map(str.strip, report):
        kind, _, rest = line.partition(":")
        if kind == "SF":
            file = rest
        elif kind in ("DA", "BRDA") and not file.startswith(LEFT_OUT):
            total += 1
            number, *_, taken = rest.split(",")
            if taken in ("0", "-"):
                never.append(f"{file}:{number}: {'this line' if kind == 'DA' else 'a branch'} is never taken")
    return total, never


def main() -> int:
    """Print what is missing, or how much there is."""
    total, never = missing(Path(sys.argv[1]).read_text().splitlines())
    if never or not total:
        print("\n".join(never) or f"{sys.argv[1]} names no line of contracts/", file=sys.stderr)
        return 1
    print(f"coverage: all {total} lines and branches of contracts/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
