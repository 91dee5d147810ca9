"""What the nodes' processes and files take over time, and what they complain of, read from outside."""

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, TextIO

import trio

from node.devnet.layout import NodePlace
from tests.soak.town import Town

PAGE: Final = os.sysconf("SC_PAGESIZE")
TICKS: Final = os.sysconf("SC_CLK_TCK")
MIB: Final = 2**20
FILES: Final = {
    "database": ("stoa.sqlite3",),
    "wal": ("stoa.sqlite3-wal",),
    "blobs": ("blobs",),
    "modules": ("modules",),
    "runs": ("runs",),
}
LONGEST_TOLD: Final = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One node at one moment. A life is from a start to a death; bytes but for counts.

    Attributes:
        at: Seconds since the soak began.
        age: Seconds since this process was started.
        memory: Resident memory of the main process.
        workers: The same of its children, together.
        descriptors: Open files of the main process.
        threads: Of the main process.
        cpu_s: CPU seconds of the main process so far.
        database, wal, blobs, modules, runs, log: Files.
    """

    node: str
    life: int
    at: float
    age: float
    memory: int
    workers: int
    children: int
    descriptors: int
    threads: int
    cpu_s: float
    database: int
    wal: int
    blobs: int
    modules: int
    runs: int
    log: int


class Watch:
    """Takes samples, and reads logs as they grow."""

    def __init__(self, town: Town, out: TextIO) -> None:
        self._town, self._out = town, out
        self._began = time.monotonic()
        self._read: dict[str, int] = {}
        self.samples: Final[list[Sample]] = []
        self.levels: Final[Counter[tuple[str, str]]] = Counter()
        """How often each event was logged above INFO, by (level, event)."""
        self.errors: Final[list[str]] = []
        """Lines of level error and above, and lines that are no log lines: what a dying interpreter prints."""

    @property
    def elapsed_s(self) -> float:
        """Since the watch began."""
        return time.monotonic() - self._began

    async def run(self, every_s: float) -> None:
        """Look, until cancelled."""
        while True:
            await trio.to_thread.run_sync(self.look)
            await trio.sleep(every_s)

    def look(self) -> None:
        """Take a sample of each node that is alive, and read what all have logged."""
        parents = _parents()
        for place in self._town.places:
            pid = self._town.pid_of(place)
            sample = None if pid is None else self._sample(place, pid, parents)
            if sample is not None:
                self.samples.append(sample)
                self._out.write(json.dumps(asdict(sample)) + "\n")
            self._read_log(place)
        self._out.flush()

    def _sample(self, place: NodePlace, pid: int, parents: dict[int, int]) -> Sample | None:
        try:
            fields = _stat(pid)
            status = dict(_status(pid))
            memory, descriptors = _resident(pid), len(list(Path(f"/proc/{pid}/fd").iterdir()))
        except OSError:
            return None  # it died meanwhile
        children = _descendants(pid, parents)
        uptime_s = float(Path("/proc/uptime").read_text().split()[0])
        sizes = {name: sum(_size(place.folder / each) for each in paths) for name, paths in FILES.items()}
        return Sample(
            node=place.name,
            life=pid,
            at=round(self.elapsed_s, 2),
            age=round(uptime_s - int(fields[19]) / TICKS, 2),
            memory=memory,
            workers=sum(_resident_or_none(child) for child in children),
            children=len(children),
            descriptors=descriptors,
            threads=int(status.get("Threads", "0")),
            cpu_s=(int(fields[11]) + int(fields[12])) / TICKS,
            log=_size(place.log),
            **sizes,
        )

    def _read_log(self, place: NodePlace) -> None:
        if not place.log.exists():
            return
        with place.log.open("rb") as file:
            file.seek(self._read.get(place.name, 0))
            for line in file:
                if not line.endswith(b"\n"):
                    break  # half a line: later
                self._read[place.name] = file.tell()
                self._judge(place, line.decode(errors="replace").strip())

    def _judge(self, place: NodePlace, line: str) -> None:
        try:
            fields = json.loads(line)
            level, event = str(fields["level"]), str(fields["event"])
        except (ValueError, KeyError, TypeError):
            if line:
                self.errors.append(f"{place.name}: {line[:LONGEST_TOLD]}")
            return
        if level not in ("info", "debug"):
            self.levels[level, event] += 1
        if level in ("error", "critical"):
            self.errors.append(f"{place.name}: {line[:LONGEST_TOLD]}")


def orphans(pids: set[int]) -> tuple[int, ...]:
    """Return the processes of sessions that began with one of `pids`: children that outlived their node."""
    found = (each for each in _pids() if each not in pids)
    return tuple(each for each in found if _session(each) in pids)


def _pids() -> Iterator[int]:
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            yield int(each.name)


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/<pid>/stat after the program's name, which may contain anything: the state first."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _session(pid: int) -> int:
    try:
        return int(_stat(pid)[3])
    except OSError:
        return 0


def _parents() -> dict[int, int]:
    parents: dict[int, int] = {}
    for pid in _pids():
        try:
            parents[pid] = int(_stat(pid)[1])
        except OSError:
            continue
    return parents


def _descendants(pid: int, parents: dict[int, int]) -> set[int]:
    found: set[int] = set()
    more = {pid}
    while more:
        more = {child for child, parent in parents.items() if parent in more}
        found |= more
    return found


def _status(pid: int) -> Iterator[tuple[str, str]]:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        yield name, value.strip()


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def _resident_or_none(pid: int) -> int:
    try:
        return _resident(pid)
    except OSError:
        return 0


def _size(path: Path) -> int:
    """Return the bytes of a file, or of all files under a folder."""
    try:
        if not path.is_dir():
            return path.stat().st_size
        return sum(_size(each) for each in path.iterdir())
    except OSError:
        return 0  # gone, or going
