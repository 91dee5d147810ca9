"""Divide: tell of every part's output whether it is a factor of the number that the part was given.

    python3 check.py factor.0.txt factor.1.txt      (one file a part, in the order of the parts)

check.wasm says the same to the market; this is a second implementation of it, to be run without one. Which factor was
found is a matter of luck, so nothing is compared: each file is one number and a newline, and that number divides the
part's and is neither 1 nor the part's. Exit status 0 only if all parts are there and right.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
MOST = (1 << 62) - 1  # what number.h reads
ONE_NUMBER = re.compile(rb"[0-9]{1,30}\n")


def read_factor(output: bytes, number: int) -> int:
    """The factor of `number` that `output` states.

    Raises:
        ValueError: It states none, or what it states is no factor; with the words to say so.
    """
    if ONE_NUMBER.fullmatch(output) is None:
        raise ValueError("not one number and a newline")
    found = int(output)
    if not 1 < found < number <= MOST or number % found != 0:
        raise ValueError("not a factor")
    return found


def read_numbers(task: Path) -> list[int]:
    """The number of each part of the task file `task`."""
    return [int(part["args"][0]) for part in tomllib.loads(task.read_text())["parts"]]


def check_parts(paths: Sequence[Path], numbers: Sequence[int]) -> bool:
    """Print what is in each output and return whether all are right."""
    right = True
    for path, number in zip(paths, numbers, strict=True):
        try:
            found = read_factor(path.read_bytes(), number)
        except ValueError as error:
            print(f"{path}: WRONG for {number}: {error}")
            right = False
        else:
            print(f"{path}: {number} = {found} * {number // found}")
    return right


def main() -> int:
    """Check the outputs named on the command line."""
    parser = argparse.ArgumentParser(description="Tell of every part's output whether it is a factor.")
    parser.add_argument("outputs", type=Path, nargs="+", help="one file a part, in the order of the parts")
    parser.add_argument("--task", type=Path, default=HERE / "task.toml", help="the task that was run")
    arguments = parser.parse_args()
    numbers = read_numbers(arguments.task)
    if len(arguments.outputs) != len(numbers):
        print(f"expected {len(numbers)} files, one a part")
        return 1
    return 0 if check_parts(arguments.outputs, numbers) else 1


if __name__ == "__main__":
    sys.exit(main())
