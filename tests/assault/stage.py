"""The scene of an assault: a network of real processes, an honest peer that asks, a requester that buys, and gauges.

The node under attack is the only provider, so no task ends unless it serves. If there are two cores, it shares one with
its workers and the peers that ask; attackers, requester, chain and this process have the other. The requester hears the
same gossip: on one core each would be measured with the other's work.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import trio

from node.devnet.layout import NodePlace
from protocol.errors import TransientError
from tests.system.system_lab import EXAMPLES, ROOT, Lab, run_lab, submit_to

TASK_EVERY_S: Final = 5.0
SAMPLE_EVERY_S: Final = 0.25
END_TIMEOUT_S: Final = 30.0
OVERRIDES: Final = {"operations.metrics_listen": "127.0.0.1:0"}
ASKER_NICE: Final = -10
"""The honest peer asks as if it had a machine of its own: what is measured is how long the node takes."""
TASK: Final = EXAMPLES / "word-statistics"
_CORES: Final = sorted(os.sched_getaffinity(0))
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Reading:
    """The main process of the node at one moment."""

    at: float
    rss_mib: float
    cpu_s: float
    descriptors: int


@dataclass(frozen=True, slots=True)
class Answer:
    """One request of the honest peer: when it was due, and how long it took; None if it never was answered."""

    at: float
    ms: float | None


@dataclass(frozen=True, slots=True)
class Trade:
    """One task of the honest requester: seconds to the award and to the end; None if it did not come to that."""

    at: float
    award_s: float | None
    end_s: float | None


@dataclass(slots=True)
class Stage:
    """What goes on, and what was seen of it so far. Made by `open_stage`."""

    lab: Lab
    victim: NodePlace
    pid: int
    readings: list[Reading] = field(default_factory=list[Reading])
    answers: list[Answer] = field(default_factory=list[Answer])
    trades: list[Trade] = field(default_factory=list[Trade])

    def is_alive(self) -> bool:
        """Whether the node's process is the one that was started."""
        return self.lab.devnet.processes[self.victim.name].is_running

    def peak_mib(self) -> float:
        """Return the most memory since the last `forget_peak`."""
        return _status_mib(self.pid, "VmHWM")

    def forget_peak(self) -> None:
        """Measure the peak anew from now on."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def read(self) -> Reading:
        """Read the gauges now."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        cpu_s = (int(fields[11]) + int(fields[12])) / _TICKS
        descriptors = sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())
        return Reading(time.time(), _status_mib(self.pid, "VmRSS"), cpu_s, descriptors)

    def errors(self) -> list[dict[str, Any]]:
        """Return what the node has logged as an error so far."""
        lines = self.victim.log.read_text(errors="replace").splitlines()
        return [entry for entry in map(_entry, lines) if entry.get("level") in ("error", "critical")]

    def door(self) -> int:
        """Return the port of the node's metrics."""
        lines = self.victim.log.read_text().splitlines()
        return next(int(_entry(line)["port"]) for line in reversed(lines) if '"metrics.listening"' in line)

    @contextmanager
    def attacked_by(self, names: Sequence[str], seed: str = "assault") -> Generator[Counter[str]]:
        """Let these attack, in one process, while the block lasts; the counter then tells what they did."""
        deployment = self.lab.devnet.deployment
        done: Counter[str] = Counter()
        command = [
            *("-m", "tests.assault.attacker", ",".join(names), seed, "127.0.0.1", str(self.victim.port)),
            *(str(self.victim.peer), str(deployment.chain_id), deployment.escrow.hex(), str(self.door())),
        ]
        with _process(command, core=-1) as process:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise AssertionError(f"the attackers {', '.join(names)} did not start")
            yield done
            out, _ = process.communicate(timeout=END_TIMEOUT_S)
            if process.returncode:
                raise AssertionError(f"the attackers {', '.join(names)} ended with status {process.returncode}")
            done.update(json.loads(out))

    @contextmanager
    def beside_a_burner(self) -> Generator[None]:
        """Burn the attackers' core while the block lasts."""
        with _process(["-m", "tests.assault.burner"], core=-1) as process:
            yield
            process.communicate(timeout=END_TIMEOUT_S)


@contextmanager
def open_stage(folder: Path, *, trades: bool = True) -> Generator[Stage]:
    """Start the network and all that watches it; stop it at the end."""
    os.sched_setaffinity(0, _CORES[:1])
    try:
        with run_lab(folder, providers=1, overrides=dict(OVERRIDES)) as lab:
            victim = lab.devnet.providers[0]
            stage = Stage(lab, victim, lab.devnet.processes[victim.name].pid)
            for pid in (lab.devnet.processes[lab.requester.name].pid, lab.devnet.chain_process.pid, os.getpid()):
                _move(pid, core=-1)
            stop = threading.Event()
            probe = ["-m", "tests.assault.prober", victim.address]
            with _process(probe, core=0) as prober:
                assert prober.stdout is not None
                with suppress(OSError):  # who is not root measures how it waits, too
                    os.setpriority(os.PRIO_PROCESS, prober.pid, ASKER_NICE)
                    Path(f"/proc/{prober.pid}/autogroup").write_text(str(ASKER_NICE))
                works: list[Callable[[], None]] = [
                    lambda: _gauge(stage, stop),
                    lambda: _collect(stage, prober.stdout),
                ]
                if trades:
                    works.append(lambda: trio.run(_trade, stage, stop))
                threads = [threading.Thread(target=work) for work in works]
                for thread in threads:
                    thread.start()
                try:
                    yield stage
                finally:
                    stop.set()
                    assert prober.stdin is not None
                    prober.stdin.close()
                    for thread in threads:
                        thread.join(60)
                    prober.wait(END_TIMEOUT_S)
    finally:
        os.sched_setaffinity(0, _CORES)


def _gauge(stage: Stage, stop: threading.Event) -> None:
    while not stop.wait(SAMPLE_EVERY_S):
        try:
            stage.readings.append(stage.read())
        except OSError:  # the node is gone: `is_alive` tells
            return


def _collect(stage: Stage, lines: IO[str] | None) -> None:
    assert lines is not None
    for line in lines:
        at, ms = map(float, line.split())
        stage.answers.append(Answer(at, None if ms < 0 else ms))


async def _trade(stage: Stage, stop: threading.Event) -> None:
    """Buy a task every few seconds, one after the other."""
    while not stop.is_set():
        began = time.time()
        award_s = end_s = None
        try:
            with trio.move_on_after(60):
                task = await submit_to(stage.lab.requester, TASK, commit_window_s=1, reveal_window_s=1)
                event = await stage.lab.watch(
                    stage.lab.requester, task, lambda each: each.kind in ("winner-chosen", "task-ended")
                )
                if event.kind == "winner-chosen":
                    award_s = time.time() - began
                detail = await stage.lab.wait_ended(task)
                if detail.task.state == "done":
                    end_s = time.time() - began
        except (TransientError, AssertionError, OSError) as error:
            sys.stderr.write(f"a trade failed: {error}\n")
        stage.trades.append(Trade(began, award_s, end_s))
        while not stop.is_set() and time.time() < began + TASK_EVERY_S:
            await trio.sleep(0.1)


@contextmanager
def _process(arguments: list[str], *, core: int) -> Generator[subprocess.Popen[str]]:
    """Run a module on a core, until the end of its standard input ends it."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Linux shares cores between sessions: else an asker waits for the attackers' sake
    )
    _move(process.pid, core=core)
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def _move(pid: int, *, core: int) -> None:
    """Move a process with all its threads."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {_CORES[core]})


def _entry(line: str) -> dict[str, Any]:
    try:
        return json.loads(line)
    except ValueError:
        return {"event": line, "level": "error"}  # not our log: a traceback on standard error


def _status_mib(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"/proc/{pid}/status has no {name}")
