"""A task during which one process dies at a chosen commit of its journal, and what must hold after its restart."""

import subprocess
import sys
from collections.abc import Awaitable, Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal, TypeAlias, TypeVar, cast

import trio

from node.api.client import open_client
from node.api.errors import ConnectionLost, NodeNotRunning, RemoteBug
from node.api.facade import NodeFacade
from node.api.views import TaskDetail, TaskView
from node.devnet.layout import NodePlace
from node.operations.clock import SystemClock
from tests.system.crash_lab import check_books
from tests.system.system_lab import ROOT, Lab, make_monte_carlo

T = TypeVar("T")
Moment = Literal["before", "after"]
Case: TypeAlias = tuple[str, str, int, Moment]
"""Who dies, on which rail, at which commit, on which side of it."""
NOT_REACHED: Final = "not reached"
BEYOND: Final = 3
"""Tasks differ by a commit or two; after so many steps in a row that none reached, none reaches the next."""
PARTS: Final = 2
FRESH_S: Final = 5
OVER: Final = ("done", "failed", "cancelled")
START_TIMEOUT_S: Final = 240.0
OVER_TIMEOUT_S: Final = 300.0
POLL_S: Final = 0.05


class Mortal:
    """A node's process that dies when it is told to."""

    def __init__(self, place: NodePlace) -> None:
        self.place = place
        self._order = place.folder / "die.order"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_dead(self) -> bool:
        """Whether it died, by its order or otherwise."""
        return self._process is None or self._process.poll() is not None

    def order(self, step: int, moment: Moment) -> None:
        """Have it die at the `step`-th commit from now on."""
        self._order.with_suffix(".died").unlink(missing_ok=True)
        temporary = self._order.with_suffix(".new")
        temporary.write_text(f"{step} {moment}")
        temporary.rename(self._order)

    async def take_back(self) -> str:
        """Take the order back; say at which commit it died, empty if it did not. A fresh process runs afterwards."""
        self.end()  # it may have read the order and count, or be just dying, or starting
        self._order.unlink(missing_ok=True)
        await self.start()
        died = self._order.with_suffix(".died")
        return died.read_text() if died.exists() else ""

    async def start(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "tests.system.dying_node", str(self._order)]
        command += ["--config", str(self.place.config), "--debug", "run"]
        with self.place.log.open("ab") as out:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - each test has a loop of its own, the process outlives it
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT
            )
        with trio.fail_after(START_TIMEOUT_S):
            while True:
                assert not self.is_dead, f"{self.place.name} did not come up again"
                try:
                    async with open_client(self.place.socket):
                        return
                except (NodeNotRunning, ConnectionLost):
                    await trio.sleep(POLL_S)

    async def keep_up(self) -> None:
        """Start it again when it is dead, until cancelled."""
        while True:
            if self.is_dead:
                await self.start()
            await trio.sleep(POLL_S)

    def end(self) -> None:
        """End it, whatever state it is in."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@dataclass
class Sweep:
    """The network, with every node mortal."""

    lab: Lab
    mortals: dict[str, Mortal]

    async def survive(self, folder: Path, victim: str, budget: str, step: int, moment: Moment) -> str:
        """Run a task during which `victim` dies, start it again, and check every balance to the base unit.

        Returns:
            What the commit brought at which it died; empty if the task had fewer commits.
        """
        lab, mortal = self.lab, self.mortals[victim]
        for each in self.mortals.values():
            if each.is_dead:
                await each.start()
        await lab.settle()
        await lab.refill()
        await lab.until("the requester's view of the chain is fresh enough for a channel", self._is_fresh)
        before = await lab.snapshot()
        path = make_monte_carlo(folder / "task", parts=PARTS, batches=4, paths=500, budget=budget)
        mortal.order(step, moment)
        task = await self._submit(mortal, path)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mortal.keep_up)
            if task is None:  # nobody was told that it was taken
                tasks = await _until_answered(self._tasks)
                task = tasks[0] if tasks and tasks[0].state not in OVER else await lab.submit(path)
            detail = await _until_answered(partial(self._wait_over, task))
            await _until_answered(lab.settle)  # to close channels is the end of the task's commits
            nursery.cancel_scope.cancel()
        died = await mortal.take_back()
        paid = sum(part.cost for part in detail.parts)
        what = f"{victim} died at step {step}: {died}; the task is {detail.task.state}: {detail.task.reason}"
        assert detail.task.spent == paid <= detail.task.budget, what
        if detail.task.state == "done":
            assert [part.part for part in detail.parts] == list(range(PARTS)), what
        else:
            assert detail.task.state == "failed", what
            assert "was down" in detail.task.reason, what
        await check_books(lab, before, detail)
        return died

    async def _submit(self, mortal: Mortal, path: Path) -> TaskView | None:
        try:
            return await self.lab.submit(path)
        except (ConnectionLost, NodeNotRunning, RemoteBug):
            with trio.fail_after(START_TIMEOUT_S):
                while not mortal.is_dead:
                    await trio.sleep(POLL_S)
            return None

    async def _is_fresh(self) -> bool:
        async with open_client(self.lab.requester.socket) as client:
            status = await client.call(NodeFacade.node_status)
        return status.confirmed_at >= SystemClock().now() - FRESH_S

    async def _tasks(self) -> tuple[TaskView, ...]:
        async with open_client(self.lab.requester.socket) as client:
            return await client.call(NodeFacade.task_list, state="all", limit=5)

    async def _wait_over(self, task: TaskView) -> TaskDetail:
        with trio.move_on_after(OVER_TIMEOUT_S):
            while (detail := await self.lab.detail(task)).task.state not in OVER:
                await trio.sleep(POLL_S)
            return detail
        raise AssertionError(f"the task is not over\n{self.lab.last_words()}")


async def _until_answered(act: Callable[[], Awaitable[T]]) -> T:
    """Do it anew as long as who is asked dies meanwhile."""
    with trio.fail_after(OVER_TIMEOUT_S):
        while True:
            try:
                return await act()
            except (ConnectionLost, NodeNotRunning, RemoteBug):
                await trio.sleep(POLL_S)


@contextmanager
def make_mortal(lab: Lab) -> Generator[Sweep]:
    """Exchange every node's process for one that can be told to die."""
    with ExitStack() as stack:
        mortals: dict[str, Mortal] = {}
        for place in lab.devnet.places:
            trio.run(lab.kill, place)
            mortals[place.name] = Mortal(place)
            stack.callback(mortals[place.name].end)
        yield Sweep(lab, mortals)


class SweepRecord:
    """Which cases of a long sweep are done, in a file, so that it may be interrupted, or run by several processes.

    A line a case: `<victim> <rail> <step> <moment> <what the commit brought at which it died>`.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def note(self, case: Case, died: str) -> None:
        """Note a case that went well."""
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(" ".join((*map(str, case), died or NOT_REACHED)) + "\n")

    def reason_to_skip(self, case: Case) -> str:
        """Say why a case need not run: it did, or the tasks are over before that step. Empty if it must."""
        if self._path is None or not self._path.exists():
            return ""
        told = dict(map(_parse_line, self._path.read_text().splitlines()))
        if case in told:
            return "done before"
        victim, rail, step, moment = case
        before = [told.get((victim, rail, step - back, moment), "") for back in range(1, BEYOND + 1)]
        return "no task has so many commits" if all(died == NOT_REACHED for died in before) else ""


def _parse_line(line: str) -> tuple[Case, str]:
    victim, rail, step, moment, died = line.split(" ", 4)
    return (victim, rail, int(step), cast("Moment", moment)), died
