"""A task of several parts during which somebody is killed, and what must hold of it afterwards."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from node.api.client import open_client
from node.api.facade import NodeFacade
from node.api.views import EarningView, PartDelivered, TaskDetail, TaskEvent
from node.devnet.balances import Snapshot
from node.devnet.layout import NodePlace
from protocol.identity import Address, Digest
from protocol.units import UnixTime
from tests.system.system_lab import Lab, check_output, files_of, make_monte_carlo

PARTS: Final = 5
CHANNEL_BUDGET: Final = "3"
ESCROW_BUDGET: Final = "12"


def make_task(folder: Path, *, budget: str, batches: int = 16) -> Path:
    """Make a task of about half a second a part, so that a kill lands in the middle of one."""
    return make_monte_carlo(folder, parts=PARTS, batches=batches, paths=3000, budget=budget)


def part_delivered(part: int) -> Callable[[TaskEvent], bool]:
    """Return a test for the event that this part was received and accepted."""
    return lambda event: isinstance(event, PartDelivered) and event.part.part == part


def event_of(kind: str) -> Callable[[TaskEvent], bool]:
    """Return a test for an event of this kind."""
    return lambda event: event.kind == kind


async def earnings_of(place: NodePlace) -> dict[Digest, EarningView]:
    """Return what a node earned, by award."""
    async with open_client(place.socket) as client:
        report = await client.call(NodeFacade.earnings_show, since=UnixTime(0), limit=1000)
    return {each.award: each for each in report.awards}


def bill_of(detail: TaskDetail) -> dict[Address, int]:
    """Return what each provider's parts cost."""
    bill: dict[Address, int] = {}
    for part in detail.parts:
        bill[part.provider] = bill.get(part.provider, 0) + part.cost
    return bill


async def check_result(lab: Lab, task: Path, detail: TaskDetail, folder: Path) -> None:
    """Save all outputs with the command line and have the example's own checker judge them."""
    ran = await lab.cli(lab.requester, "task", "result", detail.task.task.hex(), "--output", f"{folder}/")
    assert ran.code == 0, ran.text
    outputs = files_of(folder)
    assert len(outputs) == PARTS
    checked = check_output(task, *outputs)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def check_paid_once(detail: TaskDetail) -> None:
    """Check the parts and the sum of the bill."""
    assert detail.task.state == "done", detail.task.reason
    assert [part.part for part in detail.parts] == list(range(PARTS))
    assert detail.task.spent == sum(part.cost for part in detail.parts) <= detail.task.budget


async def check_books(lab: Lab, before: Snapshot, detail: TaskDetail) -> None:
    """Settle everything, and check that each provider was paid its parts and the requester paid exactly these."""
    await lab.settle()
    income = lab.income(before, await lab.assert_books_balance(before))
    bill = {lab.place_of(wallet).name: cost for wallet, cost in bill_of(detail).items()}
    expected = bill | {"requester": -detail.task.spent}
    assert {name: change for name, change in income.items() if change} == {
        name: change for name, change in expected.items() if change
    }
