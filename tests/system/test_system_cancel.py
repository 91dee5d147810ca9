"""Cancelling a task that is under way."""

import json
from pathlib import Path

from tests.system.system_lab import Lab, make_monte_carlo

PROVIDERS = 1
OVERRIDES = {"provider.prices.gfuel": "0.01"}
"""So cheap that the parts below fit into a channel."""
PARTS = 50
"""A minute of work: on a busy machine a command takes seconds to start, and the task must still be running then."""


async def test_cancelling_says_its_price_first_and_pays_what_was_delivered(lab: Lab, tmp_path: Path) -> None:
    long = make_monte_carlo(tmp_path / "task", parts=PARTS, batches=400, paths=2000, budget="9.50")
    before = await lab.snapshot()
    task = await lab.submit(long, max_eta_s=3_000)
    await lab.watch(lab.requester, task, lambda event: event.kind == "part-delivered" and event.part.part == 0)
    asked = await lab.cli(lab.requester, "--json", "task", "cancel", task.task.hex())
    assert asked.code == 0, asked.text
    quote = json.loads(asked.out)
    assert int(quote["cost"]) > 0

    ran = await lab.cli(lab.requester, "task", "cancel", task.task.hex(), "--yes")
    while ran.code == 4:  # a part came in between the price and the yes
        assert "costs" in ran.text
        ran = await lab.cli(lab.requester, "task", "cancel", task.task.hex(), "--yes")
    assert ran.code == 0, ran.text
    detail = await lab.wait_ended(task)
    assert detail.task.state == "cancelled"
    assert 1 <= detail.task.paid_parts < PARTS
    assert detail.task.spent == sum(part.cost for part in detail.parts[: detail.task.paid_parts])

    await lab.settle()
    income = lab.income(before, await lab.assert_books_balance(before))
    assert income["requester"] == -detail.task.spent
