"""The closing table of a soak, and its plots."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final
from xml.sax.saxutils import escape

from tests.soak.books import Verdict
from tests.soak.mishaps import Mishaps
from tests.soak.plan import Plan
from tests.soak.slopes import (
    DESCRIPTORS_PER_HOUR,
    MEMORY_PER_HOUR,
    Slope,
    slope_over_lives,
    slope_within_lives,
)
from tests.soak.trade import Ledger
from tests.soak.watch import MIB, Sample, Watch

KIB: Final = 1024
WIDTH: Final = 900
HEIGHT: Final = 220
MARGIN: Final = 50
COLOURS: Final = (
    "#1b9e77",
    "#d95f02",
    "#7570b3",
    "#e7298a",
    "#66a61e",
    "#e6ab02",
    "#a6761d",
    "#666666",
    "#1f78b4",
    "#b15928",
)
FEW: Final = 12
"""Lines of a kind that the table shows; the rest is counted."""


@dataclass(frozen=True, kw_only=True)
class Soak:
    """All that came of one."""

    plan: Plan
    traded_s: float
    ledger: Ledger
    mishaps: Mishaps
    watch: Watch
    verdict: Verdict

    @property
    def leaks(self) -> list[str]:
        """What grows that must not."""
        found: list[str] = []
        for name, slope, limit in flatness(self.watch.samples):
            if slope.exceeds(limit):
                found.append(f"{name}: {slope.per_hour:.1f} ± {slope.error:.1f} an hour, allowed are {limit:.1f}")
        return found

    @property
    def problems(self) -> list[str]:
        """Everything that makes the soak bad, but for leaks, which only a long one can tell."""
        found = list(self.verdict.wrong) + self.mishaps.failed_starts
        return found + [f"logged: {line}" for line in self.watch.errors]


def flatness(samples: Sequence[Sample]) -> list[tuple[str, Slope, float]]:
    """Return what has to be flat: its name, its growth within lives, and how much is allowed; per hour."""
    return [
        ("memory of the node, MiB", slope_within_lives(samples, lambda each: each.memory / MIB), MEMORY_PER_HOUR / MIB),
        (
            "memory of its workers, MiB",
            slope_within_lives(samples, lambda each: each.workers / MIB),
            MEMORY_PER_HOUR / MIB,
        ),
        ("open files", slope_within_lives(samples, lambda each: each.descriptors), DESCRIPTORS_PER_HOUR),
        ("threads", slope_within_lives(samples, lambda each: each.threads), DESCRIPTORS_PER_HOUR),
        ("processes", slope_within_lives(samples, lambda each: each.children), DESCRIPTORS_PER_HOUR),
    ]


def write_table(soak: Soak) -> str:
    """Return the table."""
    plan, ledger, verdict, samples = soak.plan, soak.ledger, soak.verdict, soak.watch.samples
    hours = soak.traded_s / 3600
    meant = sum(count for (kind, _), count in verdict.ended.items() if kind in ("channel", "escrow"))
    lines = [
        f"soak of {soak.traded_s / 60:.1f} min, {plan.nodes} nodes of which {plan.buyers} buy, seed {plan.seed}",
        "",
        f"auctions        {len(ledger.taken):6d}   {len(ledger.taken) / hours:7.0f} an hour",
        f"tasks meant     {meant:6d}   {meant / hours:7.0f} an hour",
        f"parts paid      {verdict.parts:6d}   {verdict.paid} base units, {verdict.awards} awards",
        f"nodes killed    {soak.mishaps.kills:6d}   chain away {soak.mishaps.chain_outages} times",
        f"orders refused  {len(ledger.refused):6d}   answers lost by a kill {ledger.unsure}",
        "",
        "how they ended",
        *_counted(Counter({f"{kind}: {state}": count for (kind, state), count in verdict.ended.items()})),
        "why tasks failed that were meant to be done",
        *_counted(verdict.reasons),
        "why orders were refused",
        *_counted(Counter(ledger.refused)),
        "logged above info",
        *_counted(Counter({f"{level} {event}": count for (level, event), count in soak.watch.levels.items()})),
        "",
        "growth within lives, after warming up    an hour   ± error   allowed    median   lives  samples",
    ]
    for name, slope, limit in flatness(samples):
        middle = median([value_of(name)(each) for each in samples]) if samples else 0
        verdict_of = "  TOO MUCH" if slope.exceeds(limit) else ""
        lines.append(
            f"  {name:36s} {slope.per_hour:9.2f} {slope.error:9.2f} {limit:9.1f} {middle:9.1f} {slope.lives:7d}"
            f" {slope.samples:8d}{verdict_of}"
        )
    lines += ["", "growth of files over lives, KiB          an hour   ± error   a task     largest"]
    for name in ("database", "wal", "blobs", "modules", "runs", "log"):
        slope = slope_over_lives(samples, lambda each, name=name: getattr(each, name) / KIB)
        largest = max((getattr(each, name) / KIB for each in samples), default=0)
        a_task = slope.per_hour * hours * plan.nodes / max(1, meant)
        lines.append(f"  {name:36s} {slope.per_hour:9.0f} {slope.error:9.0f} {a_task:8.1f} {largest:11.0f}")
    cpu_s = sum(_last_of_each_life(samples, lambda each: each.cpu_s))
    lines += [
        "",
        f"CPU of the nodes' main processes: {cpu_s / max(1.0, soak.traded_s) * 100 / plan.nodes:.1f} % of a core each",
    ]
    lines += ["", *_listed("WRONG", soak.problems), *_listed("GROWS", soak.leaks)]
    if not soak.problems and not soak.leaks:
        lines.append("nothing lost, nothing grows, no error logged")
    return "\n".join(lines) + "\n"


def value_of(name: str) -> Callable[[Sample], float]:
    """Return the reader of a line of `flatness`."""
    readers: dict[str, Callable[[Sample], float]] = {
        "memory of the node, MiB": lambda each: each.memory / MIB,
        "memory of its workers, MiB": lambda each: each.workers / MIB,
        "open files": lambda each: each.descriptors,
        "threads": lambda each: each.threads,
        "processes": lambda each: each.children,
    }
    return readers[name]


def plot(samples: Sequence[Sample]) -> str:
    """Return an SVG: memory, open files and database of every node over time."""
    charts: list[tuple[str, Callable[[Sample], float]]] = [
        ("memory of the nodes, MiB", lambda each: each.memory / MIB),
        ("open files", lambda each: each.descriptors),
        ("database, MiB", lambda each: each.database / MIB),
    ]  # fmt: skip
    body = [_chart(title, samples, value, index * HEIGHT) for index, (title, value) in enumerate(charts)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT * len(charts)}"'
        f' font-family="sans-serif" font-size="12">{"".join(body)}</svg>\n'
    )


def _chart(title: str, samples: Sequence[Sample], value: Callable[[Sample], float], top: float) -> str:
    longest = max((each.at for each in samples), default=1.0) or 1.0
    highest = max((value(each) for each in samples), default=1.0) or 1.0
    nodes = sorted({each.node for each in samples})

    def x_of(at: float) -> float:
        return MARGIN + at / longest * (WIDTH - 2 * MARGIN)

    def y_of(height: float) -> float:
        return top + HEIGHT - 30 - height / highest * (HEIGHT - 60)

    lines = [f'<text x="{MARGIN}" y="{top + 18}">{escape(title)}, at most {highest:.0f}; {longest / 60:.0f} min</text>']
    lines.append(f'<line x1="{MARGIN}" y1="{y_of(0):.0f}" x2="{WIDTH - MARGIN}" y2="{y_of(0):.0f}" stroke="#888"/>')
    for number, node in enumerate(nodes):
        lives = dict.fromkeys(each.life for each in samples if each.node == node)
        for life in lives:
            points = " ".join(
                f"{x_of(each.at):.1f},{y_of(value(each)):.1f}"
                for each in samples
                if each.node == node and each.life == life
            )
            colour = COLOURS[number % len(COLOURS)]
            lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}"><title>{node}</title></polyline>')
    return "".join(lines)


def _last_of_each_life(samples: Iterable[Sample], value: Callable[[Sample], float]) -> list[float]:
    return list({(each.node, each.life): value(each) for each in samples}.values())


def _counted(found: Counter[str]) -> list[str]:
    lines = [f"  {count:6d}  {text[:160]}" for text, count in found.most_common(FEW)]
    rest = len(found) - FEW
    return lines + ([f"          and {rest} more kinds"] if rest > 0 else []) or ["       -"]


def _listed(label: str, found: Sequence[str]) -> list[str]:
    lines = [f"{label}: {text}" for text in found[:FEW]]
    return lines + ([f"{label}: and {len(found) - FEW} more"] if len(found) > FEW else [])
