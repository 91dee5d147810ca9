#!/usr/bin/env python3
"""Compare slither's findings over the contracts with the answers in docs/spec/slither.toml (docs/spec/assurance.md).

Fails on a finding without an answer, and on an answer without a finding: none must outlive the code that it is about.
Give slither's JSON on standard input.
"""

import json
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

ANSWERS = Path(__file__).parents[2] / "docs" / "spec" / "slither.toml"


def places(report: dict[str, dict[str, list[dict[str, object]]]]) -> set[tuple[str, str]]:
    """Detector and place of each finding: contract, function, a local's name. Line numbers change too often."""
    found: set[tuple[str, str]] = set()
    for finding in report["results"].get("detectors", []):
        first = str(finding["description"]).split(" (contracts/")[0].removeprefix("Reentrancy in ")
        # The parameters of functions say nothing that the names don't.
        name, _, rest = first.partition("(")
        found.add((str(finding["check"]), name + rest.rpartition(")")[2]))
    return found


def complain(title: str, pairs: Iterable[tuple[str, str]]) -> bool:
    """Print `pairs` under `title`, and say whether there were any."""
    rows = [f"  {check}: {place}" for check, place in sorted(pairs)]
    if rows:
        print("\n".join([title, *rows]))
    return bool(rows)


def main() -> int:
    """Exit status: 0 if findings and answers match."""
    text = sys.stdin.read()
    if not text:
        print("slither gave no report: run it by itself to see why")
        return 2
    found = places(json.loads(text))
    answers = tomllib.loads(ANSWERS.read_text())["answer"]
    reasoned = [answer for answer in answers if answer["reason"].strip()]
    answered = {(answer["check"], place) for answer in reasoned for place in answer["places"]}
    wrong = complain("findings without an answer in docs/spec/slither.toml:", found - answered)
    wrong |= complain("answers to what slither doesn't find (any more):", answered - found)
    if not wrong:
        print(f"slither: {len(found)} findings, each answered in docs/spec/slither.toml")
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
