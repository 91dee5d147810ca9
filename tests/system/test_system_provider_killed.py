"""A provider that is SIGKILLed when a receipt of its was accepted: the standby does the rest, each is paid its own."""

import json
from pathlib import Path

import pytest

from node.api.client import open_client
from node.api.facade import NodeFacade
from node.api.views import PartDelivered
from tests.system.crash_lab import (
    CHANNEL_BUDGET,
    ESCROW_BUDGET,
    PARTS,
    bill_of,
    check_books,
    check_paid_once,
    check_result,
    earnings_of,
    make_task,
    part_delivered,
)
from tests.system.system_lab import Lab


def ran_parts(log: Path) -> list[int]:
    """Return the parts that a node says it ran, in order."""
    told = [json.loads(line) for line in log.read_text(errors="replace").splitlines() if line.startswith("{")]
    return [line["part"] for line in told if line.get("event") == "part.ran"]


@pytest.mark.parametrize(("budget", "accepted"), [(CHANNEL_BUDGET, 2), (ESCROW_BUDGET, 1)], ids=["channel", "escrow"])
async def test_a_standby_does_the_parts_that_a_killed_provider_left(
    lab: Lab, tmp_path: Path, budget: str, accepted: int
) -> None:
    await lab.settle()
    before = await lab.snapshot()
    path = make_task(tmp_path / "task", budget=budget, batches=32)
    task = await lab.submit(path)
    event = await lab.watch(lab.requester, task, part_delivered(accepted - 1))
    assert isinstance(event, PartDelivered)
    killed = lab.place_of(event.part.provider)
    await lab.kill(killed)

    detail = await lab.wait_ended(task)
    check_paid_once(detail)
    first, second = detail.awards
    own = len([part for part in detail.parts if part.provider == killed.wallet])
    assert first.provider == killed.wallet != second.provider
    assert own >= accepted  # the next receipt may have left before the signal came
    assert (second.attempt, second.first_part, second.parts) == (1, own, PARTS - own)
    assert {part.provider for part in detail.parts[own:]} == {second.provider}
    await check_result(lab, path, detail, tmp_path / "out")

    said = len(ran_parts(killed.log))
    await lab.start(killed)
    bill = bill_of(detail)

    async def is_paid() -> bool:
        earned = (await earnings_of(killed)).get(first.award)
        return earned is not None and earned.earned == bill[killed.wallet] and earned.paid_parts == own

    await lab.until("the killed provider holds the payment of what it delivered, and no more", is_paid)

    async def is_idle() -> bool:
        async with open_client(killed.socket) as client:
            return (await client.call(NodeFacade.node_status)).open_deliveries == 0

    await lab.until("the killed provider has let go of the award", is_idle)
    assert ran_parts(killed.log)[said:] == [], "it ran a part that a standby has done"
    await check_books(lab, before, detail)
