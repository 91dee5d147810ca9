"""A requester that is SIGKILLed and started again: its task ends, and nothing is paid twice."""

from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from node.api.views import TaskEvent
from tests.system.crash_lab import (
    CHANNEL_BUDGET,
    ESCROW_BUDGET,
    check_books,
    check_paid_once,
    check_result,
    event_of,
    make_task,
    part_delivered,
)
from tests.system.system_lab import Lab

OVERRIDES = {"requester.pace_s": 40, "requester.start_within_s": 40}
"""On a real network a node has an hour to come back; here it takes seconds to start again, on a busy machine many."""
SHORT_WINDOW_S = 2.0
WINDOW_S = 20.0
"""Longer than that, so that an auction can outlive its requester."""


class Nth:
    """The event at which `kind` is seen for the `count`-th time."""

    def __init__(self, kind: str, count: int) -> None:
        self._kind, self._left = kind, count

    def __call__(self, event: TaskEvent) -> bool:
        self._left -= event.kind == self._kind
        return self._left == 0


@pytest.mark.parametrize(
    ("budget", "moment", "window_s"),
    [
        (CHANNEL_BUDGET, event_of("auction-opened"), WINDOW_S),
        (CHANNEL_BUDGET, Nth("bid-revealed", 3), None),
        (ESCROW_BUDGET, event_of("winner-chosen"), None),
        (CHANNEL_BUDGET, part_delivered(1), None),
        (ESCROW_BUDGET, part_delivered(1), None),
    ],
    ids=["submitted", "opening-channel", "funding-escrow", "parts-channel", "parts-escrow"],
)
async def test_a_killed_requester_finishes_its_task_after_a_restart_and_pays_once(
    lab: Lab, tmp_path: Path, budget: str, moment: Callable[[TaskEvent], bool], window_s: float | None
) -> None:
    await lab.settle()
    before = await lab.snapshot()
    path = make_task(tmp_path / "task", budget=budget)
    task = await lab.submit(path, commit_window_s=window_s)
    await lab.watch(lab.requester, task, moment)
    await lab.kill(lab.requester)
    await lab.start(lab.requester)

    detail = await lab.wait_ended(task)
    check_paid_once(detail)
    await check_result(lab, path, detail, tmp_path / "out")
    await check_books(lab, before, detail)


async def test_an_auction_that_closed_while_its_requester_was_down_costs_neither_money_nor_trust(
    lab: Lab, tmp_path: Path
) -> None:
    await lab.settle()
    before = await lab.snapshot()
    task = await lab.submit(make_task(tmp_path / "first", budget=CHANNEL_BUDGET))
    await lab.watch(lab.requester, task, event_of("auction-opened"))
    await lab.kill(lab.requester)
    await trio.sleep(SHORT_WINDOW_S)
    await lab.start(lab.requester)

    detail = await lab.wait_ended(task)
    assert (detail.task.state, detail.task.spent) == ("failed", 0)
    assert "was down" in detail.task.reason, detail.task.reason
    again = await lab.submit(make_task(tmp_path / "second", budget=CHANNEL_BUDGET))
    bidders = Nth("bidder-committed", 3)  # nobody holds the crash against the requester
    await lab.watch(lab.requester, again, bidders)
    detail = await lab.wait_ended(again)
    check_paid_once(detail)
    await check_books(lab, before, detail)
