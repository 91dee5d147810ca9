"""Copies between real processes: three run the same module, one lies, and money adds up to the base unit."""

from pathlib import Path

from tests.system.liars import lying
from tests.system.system_lab import Lab, check_output, files_of, make_monte_carlo

PROVIDERS = 3
OVERRIDES = {"provider.credit_limit": "10", "requester.pace_s": 240}
"""A result may wait half of the pace for the others: far more than a part takes on the busiest machine."""


async def test_of_three_copies_the_two_honest_ones_are_paid_and_the_liar_is_not(lab: Lab, tmp_path: Path) -> None:
    small = make_monte_carlo(tmp_path / "task", parts=1, batches=4, paths=200, budget="1")
    before = await lab.snapshot()
    liar = lab.devnet.places[1]
    async with lying(lab, liar, "output"):
        task = await lab.submit(small, verify="copies:3")
        detail = await lab.wait_ended(task)
        assert (detail.task.state, detail.task.copies, len(detail.parts)) == ("done", 3, 1), lab.last_words()
        compared = {each.provider: (each.compared, each.spent > 0) for each in detail.copies}
        honest = [place.wallet for place in lab.devnet.places[2:4]]
        assert compared == {liar.wallet: ("different", False), **dict.fromkeys(honest, ("equal", True))}
        ran = await lab.cli(lab.requester, "task", "result", task.task.hex(), "--output", f"{tmp_path}/out/")
        assert ran.code == 0, ran.text
        checked = check_output(small, *files_of(tmp_path / "out"))
        assert checked.returncode == 0, checked.stdout + checked.stderr
        await lab.settle()
    income = lab.income(before, await lab.assert_books_balance(before))
    names = {lab.place_of(wallet).name: spent for wallet, spent in ((c.provider, c.spent) for c in detail.copies)}
    paid = {name: int(spent) for name, spent in names.items() if spent}
    assert {name: change for name, change in income.items() if change} == {"requester": -detail.task.spent, **paid}
    ran = await lab.cli(lab.requester, "task", "show", task.task.hex())
    assert "different" in ran.out, ran.text
    assert "for each of 3 copies" in ran.out, ran.text
