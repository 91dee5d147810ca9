"""Audits between real processes: the requester runs real modules again, and pays to the base unit what is right."""

from pathlib import Path

import pytest

from tests.system.liars import lying
from tests.system.system_lab import EXAMPLES, Lab, check_output, files_of, make_monte_carlo

PROVIDERS = 1
OVERRIDES = {"provider.credit_limit": "10", "requester.pace_s": 240}
"""An audit may take three quarters of the pace: far more than a part takes on the busiest machine."""
PARTS = 3


async def test_an_honest_provider_is_audited_at_every_part_and_paid_to_the_base_unit(lab: Lab, tmp_path: Path) -> None:
    small = make_monte_carlo(tmp_path / "task", parts=PARTS, batches=4, paths=200, budget="1")
    before = await lab.snapshot()
    command = ("task", "submit", small, "--output", f"{tmp_path}/out/", "--verify", "audit:100%")
    ran = await lab.cli(lab.requester, *command)
    assert ran.code == 0, ran.text
    assert ran.out.count("audited: equal") == PARTS, ran.text
    assert "Cheating pays" not in ran.out, ran.text  # at 100 % a fifth of the budget is enough
    checked = check_output(small, *files_of(tmp_path / "out"))
    assert checked.returncode == 0, checked.stdout + checked.stderr

    await lab.settle()
    income = lab.income(before, await lab.assert_books_balance(before))
    provider = lab.devnet.places[1].name
    spent = -income["requester"]
    assert spent > 0
    assert {name: change for name, change in income.items() if change} == {"requester": -spent, provider: spent}


async def test_results_that_no_second_run_finds_are_tested_and_paid_in_full(lab: Lab, tmp_path: Path) -> None:
    """The search draws its start: whichever factor it finds, the test that the task brings says whether it is one."""
    await lab.settle()
    before = await lab.snapshot()
    command = ("task", "submit", EXAMPLES / "factors", "--output", f"{tmp_path}/out/")
    ran = await lab.cli(lab.requester, *command)
    assert ran.code == 0, ran.text
    assert ran.out.count("tested: passed") == 2, ran.text
    products = (1000000016000000063, 999962000357)
    for product, found in zip(products, files_of(tmp_path / "out"), strict=True):
        factor = int(found.read_text())
        assert 1 < factor < product, ran.text
        assert product % factor == 0, ran.text

    await lab.settle()
    income = lab.income(before, await lab.assert_books_balance(before))
    assert income["requester"] < 0
    assert income[lab.devnet.places[1].name] == -income["requester"]


@pytest.mark.parametrize("lie", ["output", "fuel"])
async def test_a_provider_that_lies_is_found_and_gets_nothing(lab: Lab, tmp_path: Path, lie: str) -> None:
    await lab.settle()
    small = make_monte_carlo(tmp_path / "task", parts=PARTS, batches=4, paths=200, budget="1")
    before = await lab.snapshot()
    liar = lab.devnet.places[1]
    async with lying(lab, liar, lie):
        task = await lab.submit(small, verify="audit:100%")
        detail = await lab.wait_ended(task)
        assert (detail.task.state, detail.task.paid_parts, detail.task.spent) == ("failed", 0, 0)
        (refuted,) = detail.refuted
        assert (refuted.part, refuted.provider) == (0, liar.wallet)
        assert lie in refuted.reason
        await lab.settle()
    income = lab.income(before, await lab.assert_books_balance(before))
    assert not any(income.values()), income
    ran = await lab.cli(lab.requester, "task", "show", task.task.hex())
    assert "was refuted" in ran.out, ran.text
