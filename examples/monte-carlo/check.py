"""Check the outputs of all parts, and price the option from them.

    python3 check.py batches.0.tsv batches.1.tsv ...      (one file a part, in any order)

1. Form: every part and every batch once, with the number of paths that the task asks for.
2. Exactly: of each part, batches are computed again here and must be equal to the last digit. Which ones is drawn from
   the digest of the part's output, so whoever wrote the output couldn't choose it. `--each N` takes N batches a part
   (default 1, about 0.7 s each), `--each 400` all of them.
3. As a whole: the European price lies within 4 standard errors of Black and Scholes (1973), which is 1 false alarm in
   16,000 runs; the Asian is worth less than the European, as it must be.

Exit status 0 only if all three hold.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import random
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
MASK = (1 << 64) - 1
YEAR_DAYS = 252
DAY_STEPS = 64
MOST_UPS = YEAR_DAYS * DAY_STEPS // 2
MOST_PAYOFF = 1e9
UNITS_A_CENT = 1e6
UNITS_A_DOLLAR = 1e8
STANDARD_ERRORS = 4.0
NAMES = ["part", "batch", "paths", "european", "asian", "european_paid", "asian_paid"]
Row = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """What task.toml asks for: money in cents, rate and volatility in basis points a year."""

    batches: int
    paths: int
    seed: int
    spot: int
    strike: int
    rate: int
    volatility: int
    days: int = YEAR_DAYS


def read_option(args: Sequence[str]) -> Option:
    """The option that `args`, a command line of the module, describe."""
    return Option(**{name.removeprefix("--"): int(value) for name, value in zip(args[::2], args[1::2], strict=True)})


def splitmix64(state: int) -> tuple[int, int]:
    """The next state, and the number drawn."""
    state = (state + 0x9E3779B97F4A7C15) & MASK
    mixed = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & MASK
    return state, mixed ^ (mixed >> 31)


def draw_ups(seed: int, part: int, batch: int) -> Iterator[int]:
    """Steps up of one day after the other, 0..64: bits set in the numbers of xoshiro256**."""
    state = seed
    for mix in (part, batch):
        _, drawn = splitmix64(state)
        state = drawn ^ mix
    words: list[int] = []
    for _ in range(4):
        state, drawn = splitmix64(state)
        words.append(drawn)
    a, b, c, d = words
    while True:
        scaled = (b * 5) & MASK
        yield ((((scaled << 7) | (scaled >> 57)) * 9) & MASK).bit_count()
        shifted = (b << 17) & MASK
        c ^= a
        d ^= b
        b ^= c
        a ^= d
        c ^= shifted
        d = ((d << 45) | (d >> 19)) & MASK


def exponential(x: float) -> float:
    """e^x by 40 terms of its series, in the module's order."""
    total = term = 1.0
    for n in range(1, 41):
        term = term * x / n
        total += term
    return total


def square_root(x: float) -> float:
    """Square root by 60 steps of Newton's, in the module's order."""
    root = 1.0
    for _ in range(60):
        root = (root + x / root) / 2
    return root


def build_tables(option: Option) -> tuple[list[float], list[float]]:
    """Growth by net steps up from -MOST_UPS, and the trend's price by day."""
    volatility, rate = option.volatility / 10000, option.rate / 10000
    step = 2 * volatility * square_root(1.0 / (YEAR_DAYS * DAY_STEPS))
    rising, falling = [1.0], [1.0]
    up, down = exponential(step), exponential(-step)
    for _ in range(MOST_UPS):
        rising.append(rising[-1] * up)
        falling.append(falling[-1] * down)
    day = exponential((rate - volatility * volatility / 2) / YEAR_DAYS)
    trend = [float(option.spot)]
    for _ in range(YEAR_DAYS):
        trend.append(trend[-1] * day)
    return [*falling[:0:-1], *rising], trend


def payoff(price: float, strike: int) -> int:
    """Millionths of a cent that a call pays at `price`."""
    paid = price - strike
    return int(min(paid, MOST_PAYOFF) * UNITS_A_CENT + 0.5) if paid > 0 else 0


def run_batch(option: Option, part: int, batch: int) -> Row:
    """The line that the module must have written for `batch` of `part`."""
    growth, trend = build_tables(option)
    ups = draw_ups(option.seed, part, batch)
    days = trend[1 : option.days + 1]
    european: list[int] = []
    asian: list[int] = []
    for _ in range(option.paths):
        place, price, total = MOST_UPS, 0.0, 0.0
        for level in days:
            place += next(ups) - DAY_STEPS // 2
            price = level * growth[place]
            total += price
        european.append(payoff(price, option.strike))
        asian.append(payoff(total / option.days, option.strike))
    paid = (sum(value > 0 for value in european), sum(value > 0 for value in asian))
    return (part, batch, option.paths, sum(european), sum(asian), *paid)


def black_scholes(option: Option) -> float:
    """Dollars that a European call is worth."""
    years, spread = option.days / YEAR_DAYS, option.volatility / 10000 * math.sqrt(option.days / YEAR_DAYS)
    discount = math.exp(-option.rate / 10000 * years)
    high = math.log(option.spot / (option.strike * discount)) / spread + spread / 2
    below = [0.5 * math.erfc(-value / math.sqrt(2)) for value in (high, high - spread)]
    return (option.spot * below[0] - option.strike * discount * below[1]) / 100


def read_part(path: Path, option: Option) -> list[Row]:
    """The rows of one output.

    Raises:
        ValueError: it isn't of the form that the module writes.
    """
    names, *lines = path.read_text(encoding="ascii").splitlines()
    rows = [tuple(map(int, line.split("\t"))) for line in lines]
    if names.split("\t") != NAMES or any(len(row) != len(NAMES) for row in rows):
        raise ValueError(f"{path}: not the columns {NAMES}")
    if [row[1:3] for row in rows] != [(batch, option.paths) for batch in range(option.batches)]:
        raise ValueError(f"{path}: not {option.batches} batches of {option.paths} paths")
    if len({row[0] for row in rows}) != 1:
        raise ValueError(f"{path}: more than one part")
    return rows


def check_batches(path: Path, rows: Sequence[Row], option: Option, each: int) -> bool:
    """Compute `each` batches of this part again."""
    chance = random.Random(hashlib.sha256(path.read_bytes()).digest())
    chosen = sorted(chance.sample(range(option.batches), min(each, option.batches)))
    wrong = [batch for batch in chosen if run_batch(option, rows[batch][0], batch) != rows[batch]]
    shown = ", ".join(map(str, chosen[:8])) + (", ..." if len(chosen) > 8 else "")
    print(f"part {rows[0][0]}: recomputed batches {shown}: " + (f"WRONG: {wrong}" if wrong else "equal"))
    return not wrong


def price(rows: Sequence[Row], column: int, option: Option) -> tuple[float, float]:
    """Dollars that the option is worth, and the standard error, from the means of batches."""
    discount = math.exp(-option.rate / 10000 * option.days / YEAR_DAYS)
    means = [row[column] / option.paths / UNITS_A_DOLLAR * discount for row in rows]
    mean = math.fsum(means) / len(means)
    variance = math.fsum((value - mean) ** 2 for value in means) / (len(means) - 1)
    return mean, math.sqrt(variance / len(means))


def main() -> int:
    """Check the outputs named on the command line."""
    parser = argparse.ArgumentParser(description="Check the outputs of all parts, and price the option from them.")
    parser.add_argument("outputs", type=Path, nargs="+", help="one file a part")
    parser.add_argument("--each", type=int, default=1, help="batches of each part to compute again")
    parser.add_argument("--task", type=Path, default=HERE / "task.toml", help="the task that was run")
    arguments = parser.parse_args()
    task: Mapping[str, list[str]] = tomllib.loads(arguments.task.read_text())
    option = read_option(task["args"])
    parts = {path: read_part(path, option) for path in arguments.outputs}
    if sorted(rows[0][0] for rows in parts.values()) != list(range(len(task["parts"]))):
        print(f"expected the parts 0 to {len(task['parts']) - 1}, each once")
        return 1
    exact = [check_batches(path, rows, option, arguments.each) for path, rows in parts.items()]
    every = [row for rows in parts.values() for row in rows]
    european, error = price(every, NAMES.index("european"), option)
    asian, asian_error = price(every, NAMES.index("asian"), option)
    theory = black_scholes(option)
    print(f"paths     {len(every) * option.paths:,}")
    print(f"European  ${european:.4f} +- {error:.4f}, by Black and Scholes ${theory:.4f}")
    print(f"Asian     ${asian:.4f} +- {asian_error:.4f}")
    plausible = abs(european - theory) <= STANDARD_ERRORS * error and 0 < asian < european
    return 0 if all(exact) and plausible else 1


if __name__ == "__main__":
    sys.exit(main())
