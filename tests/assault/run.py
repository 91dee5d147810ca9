"""Attack a node in every way there is, and print what it cost: `python -m tests.assault.run --minutes 10`.

One row a class of attack. Latencies are those of an honest peer's requests; the ratio is that of the 99th percentile to
the one beside a burner, a process that merely uses the attackers' core.
"""

import argparse
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.assault.arsenal import ARSENAL
from tests.assault.stage import Stage, open_stage

QUIET: Final = "(quiet)"
BURNER: Final = "(burner)"
ALL: Final = "(all at once)"
MOST_MIB: Final = 250.0
MOST_RATIO: Final = 3.0
SETTLE_S: Final = 2.0
"""Left out at the beginning of each phase: processes start."""
HEAL_TIMEOUT_S: Final = 150.0
"""A silent connection is given up after 75 s, a frame that stalls after 30."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one phase cost."""

    name: str
    peak_mib: float
    cpu: float
    p50: float
    p99: float
    answered: int
    lost: int
    trades: int
    traded: int
    award_s: float | None
    descriptors: int
    alive: bool
    did: str


def measure(stage: Stage, name: str, during: AbstractContextManager[Any], seconds: float) -> Row:
    """Let a phase run, and read the gauges."""
    with during as done:
        time.sleep(SETTLE_S)
        stage.forget_peak()
        began, before = time.time(), stage.read()
        time.sleep(seconds)
        ended = time.time()
        alive = stage.is_alive()
        after, peak = (stage.read(), stage.peak_mib()) if alive else (before, 0.0)
    did = " ".join(f"{what}={count}" for what, count in sorted(done.items())) if done else ""
    answers = [each for each in stage.answers if began <= each.at < ended]
    times = sorted(each.ms for each in answers if each.ms is not None) or [float("inf")]
    trades = [each for each in stage.trades if began <= each.at < ended]
    awards = [each.award_s for each in trades if each.award_s is not None]
    return Row(
        name=name,
        peak_mib=peak,
        cpu=(after.cpu_s - before.cpu_s) / (after.at - before.at),
        p50=statistics.median(times),
        p99=times[min(len(times) - 1, len(times) * 99 // 100)],
        answered=len([each for each in answers if each.ms is not None]),
        lost=len([each for each in answers if each.ms is None]),
        trades=len(trades),
        traded=len([each for each in trades if each.end_s is not None]),
        award_s=statistics.median(awards) if awards else None,
        descriptors=after.descriptors,
        alive=alive,
        did=did,
    )


def verdict(row: Row, burner: Row | None) -> str:
    """Say what is wrong, or that nothing is."""
    wrong: list[str] = []
    if not row.alive:
        wrong.append("DIED")
    if not row.answered or row.lost:
        wrong.append(f"{row.lost} lost")
    if row.traded < row.trades:
        wrong.append(f"{row.trades - row.traded} trades failed")
    if row.peak_mib >= MOST_MIB:
        wrong.append("memory")
    if burner is not None and row.p99 > MOST_RATIO * burner.p99:
        wrong.append("slow")
    return ", ".join(wrong) or "holds"


def show(row: Row, burner: Row | None) -> str:
    """Return a line of the table."""
    ratio = f"{row.p99 / burner.p99:6.2f}" if burner is not None else "     -"
    award = f"{row.award_s:6.2f}" if row.award_s is not None else "     -"
    return (
        f"{row.name:22} {row.peak_mib:7.1f} {row.cpu * 100:5.0f} {row.descriptors:4} {row.p50:8.1f} {row.p99:9.1f} "
        f"{ratio} {row.answered:6} {row.traded:3}/{row.trades:<3} {award}  {verdict(row, burner)}  [{row.did}]"
    )


HEADING: Final = (
    f"{'attack':22} {'peakMiB':>7} {'CPU%':>5} {'fds':>4} {'p50 ms':>8} {'p99 ms':>9} {'ratio':>6} "
    f"{'answ.':>6} {'trades':>7} {'award':>6}  verdict"
)


def wait_served(stage: Stage) -> None:
    """Wait until the honest peers are there, and one task is done."""
    began = time.time()
    while not (any(each.ms for each in stage.answers) and any(each.end_s for each in stage.trades)):
        if time.time() > began + HEAL_TIMEOUT_S:
            raise AssertionError(f"nobody is served before the attack\n{stage.lab.last_words()}")
        time.sleep(0.5)


def wait_healed(stage: Stage, descriptors: int) -> float | None:
    """Wait until the node holds no more descriptors than before; return the seconds, None if it never came to that."""
    began = time.time()
    while time.time() < began + HEAL_TIMEOUT_S:
        if stage.read().descriptors <= descriptors:
            return time.time() - began
        time.sleep(0.5)
    return None


def what_of(error: dict[str, Any]) -> str:
    """Return an error's event, and what was raised."""
    raised: list[dict[str, str]] = error.get("exception") or [{}]
    return f"{error['event'][:200]} {raised[-1].get('exc_type', '')} {raised[-1].get('exc_value', '')}"


def _leave(_signal: int, _frame: object) -> None:
    """End as an exception does, so that the network is stopped too."""
    sys.exit(1)


def say(line: str) -> None:
    """Print a line now: a run takes minutes."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    """Run, print, and return how many phases did not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="of all phases together")
    parser.add_argument("--only", nargs="*", choices=list(ARSENAL), help="these classes alone")
    chosen = parser.parse_args(arguments)
    names = tuple(chosen.only or ARSENAL)
    seconds = chosen.minutes * 60 / (len(names) + 3 + (len(names) > 1)) - SETTLE_S
    signal.signal(signal.SIGTERM, _leave)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="stoa-assault-") as folder, open_stage(Path(folder) / "d") as stage:
        wait_served(stage)
        say(HEADING)
        quiet = measure(stage, QUIET, nullcontext(), seconds)
        say(show(quiet, None))
        burner = measure(stage, BURNER, stage.beside_a_burner(), seconds)
        say(show(burner, None))
        phases = [(name, [name]) for name in names]
        if len(names) > 1:
            phases.append((ALL, list(names)))
        for name, classes in phases:
            row = measure(stage, name, stage.attacked_by(classes, seed=name), seconds)
            say(show(row, burner))
            failed += verdict(row, burner) != "holds"
            if not row.alive:
                return failed
        healed_s = wait_healed(stage, quiet.descriptors + 2)
        after = measure(stage, "(afterwards)", nullcontext(), seconds)
        say(show(after, None))
        say("descriptors are not back" if healed_s is None else f"descriptors are back after {healed_s:.0f} s")
        errors = stage.errors()
        say(f"{len(errors)} errors in the log: {dict(Counter(map(what_of, errors)))}")
        failed += (healed_s is None) + bool(errors)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
