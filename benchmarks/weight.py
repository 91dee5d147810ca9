"""What a process takes: memory and CPU time, of itself and of the processes that it started. Read from /proc."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """Memory in MiB, CPU time in seconds.

    Attributes:
        rss: Resident, pages that it shares counted in full.
        pss: Resident, each shared page counted in equal parts with those that share it.
        cpu_s: Used so far.
    """

    rss: float
    pss: float
    cpu_s: float

    def __add__(self, other: "Weight") -> "Weight":
        return Weight(rss=self.rss + other.rss, pss=self.pss + other.pss, cpu_s=self.cpu_s + other.cpu_s)


NOTHING: Final = Weight(rss=0.0, pss=0.0, cpu_s=0.0)


def weigh(pid: int) -> Weight:
    """Weigh one process."""
    lines = (line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    kib = {line[0]: int(line[1]) for line in lines}
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return Weight(rss=kib["Rss:"] / 1024, pss=kib["Pss:"] / 1024, cpu_s=(int(fields[11]) + int(fields[12])) / _TICKS)


def weigh_children(pid: int) -> Weight:
    """Weigh all that a process started and that still runs, together."""
    total = NOTHING
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in path.read_text().split():
            try:
                total += weigh(int(child)) + weigh_children(int(child))
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended meanwhile
    return total
