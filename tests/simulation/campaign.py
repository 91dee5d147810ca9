"""Many seeds over several processes, with a report that a run which was broken off goes on from.

A report is a file of JSON lines: first what was run, with which code, then a line for each seed that ended.
"""

import gc
import hashlib
import json
import multiprocessing
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from protocol.errors import StoaError
from tests.simulation.simulate import Violation, simulate

SEEDS_A_PROCESS: Final = 100
"""Then a fresh one takes its place: a process may keep no memory of thousands of worlds."""
_OBJECTS_A_COLLECTION: Final = 50_000
"""Worlds are small: a seventh of the time went into looking for garbage that was not there yet."""
_CODE: Final = ("protocol", "node", "tests/simulation")


class OtherReport(StoaError):
    """The report is of another scenario, or of other code."""

    advice = "Name another file, or remove this one."


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one seed ended. Seconds of CPU, and of virtual time."""

    seed: str
    cpu_s: float
    virtual_s: float = 0.0
    messages: int = 0
    recomputed: int = 0
    ended: dict[str, int]
    violation: str = ""


def run_seed(name: str, seed: str) -> Outcome:
    """Run one seed; a violation is an outcome too."""
    began = time.process_time()
    try:
        result = simulate(name, seed)
    except Violation as violation:
        return Outcome(seed=seed, cpu_s=time.process_time() - began, ended={}, violation=str(violation))
    return Outcome(
        seed=seed,
        cpu_s=time.process_time() - began,
        virtual_s=result.virtual_s,
        messages=result.messages,
        recomputed=result.recomputed,
        ended=dict(result.ended),
    )


def run_campaign(name: str, seeds: Sequence[str], *, jobs: int, report: Path | None) -> list[Outcome]:
    """Run all seeds that the report does not have yet, and tell how it goes on stderr.

    Raises:
        OtherReport: `report` is of another scenario, or of other code.
    """
    known = [] if report is None else _open_report(report, name)
    ran = {outcome.seed for outcome in known}
    left = [seed for seed in seeds if seed not in ran]
    outcomes = [outcome for outcome in known if outcome.seed in set(seeds)]
    began, broken = time.monotonic(), sum(bool(outcome.violation) for outcome in outcomes)
    for number, outcome in enumerate(_run_all(name, left, jobs), start=1):
        outcomes.append(outcome)
        if report is not None:
            with report.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(outcome)) + "\n")
        if outcome.violation:
            broken += 1
            sys.stdout.write(f"\n{outcome.violation}\n")
            sys.stdout.flush()
        if sys.stderr.isatty() or number % 50 == 0 or number == len(left):
            left_s = (time.monotonic() - began) / number * (len(left) - number)
            sys.stderr.write(f"\r{len(outcomes)} of {len(seeds)}, {broken} violations, {left_s / 60:.0f} min left   ")
            sys.stderr.flush()
    sys.stderr.write("\n")
    return outcomes


def summarize(name: str, outcomes: Sequence[Outcome]) -> str:
    """Return what is to be told of them."""
    seconds, ended = [outcome.cpu_s for outcome in outcomes], Counter[str]()
    for outcome in outcomes:
        ended.update(outcome.ended)
    return (
        f"{name}: {len(outcomes)} simulations, {sum(bool(outcome.violation) for outcome in outcomes)} violations\n"
        f"  tasks {dict(ended)}, auctions worked out again {sum(outcome.recomputed for outcome in outcomes)}\n"
        f"  {sum(outcome.virtual_s for outcome in outcomes) / 3600:.0f} virtual hours, "
        f"{sum(outcome.messages for outcome in outcomes):,} messages\n"
        f"  CPU a seed: median {statistics.median(seconds or [0]):.2f} s, worst {max(seconds, default=0):.2f} s, "
        f"in all {sum(seconds) / 60:.1f} min\n"
    )


def _run_all(name: str, seeds: Sequence[str], jobs: int) -> Iterator[Outcome]:
    if jobs == 1:
        _collect_seldom()
        yield from (run_seed(name, seed) for seed in seeds)
        return
    with multiprocessing.Pool(jobs, maxtasksperchild=SEEDS_A_PROCESS, initializer=_collect_seldom) as pool:
        yield from pool.imap_unordered(_run_pair, [(name, seed) for seed in seeds])


def _collect_seldom() -> None:
    gc.freeze()
    gc.set_threshold(_OBJECTS_A_COLLECTION)


def _run_pair(pair: tuple[str, str]) -> Outcome:
    return run_seed(*pair)


def _open_report(report: Path, name: str) -> list[Outcome]:
    head = {"scenario": name, "code": _digest_of_code()}
    if not report.exists():
        report.write_text(json.dumps(head) + "\n", encoding="utf-8")
        return []
    first, *lines = report.read_text(encoding="utf-8").splitlines()
    if json.loads(first) != head:
        raise OtherReport(f"{report} is not of {name} with this code")
    return [Outcome(**json.loads(line)) for line in lines]


def _digest_of_code() -> str:
    """Return a digest of all that a run follows from."""
    digest = hashlib.blake2b(digest_size=16)
    for folder in _CODE:
        for file in sorted(Path(folder).rglob("*.py")):
            digest.update(str(file).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()
