"""Stakes between real processes: who has none sells no large task, who has locks, delivers, and gets the bonus."""

import json
from pathlib import Path

from node.api.client import open_client
from node.api.facade import NodeFacade
from node.api.views import StakeReport
from node.chain.local import fund
from node.devnet.layout import NodePlace
from protocol.identity import Address, format_address
from protocol.signing.keccak import keccak256
from protocol.units import ONE_TOKEN, Amount
from tests.system.system_lab import Lab, check_output, files_of, make_monte_carlo

PROVIDERS = 2
OVERRIDES = {"provider.credit_limit": "10"}
ARBITER = Address(keccak256(b"an arbiter who is never asked")[12:])
STAKE = 10 * ONE_TOKEN
NEWCOMER_SCORE = 2_113
BUDGET = 12 * ONE_TOKEN


async def report(place: NodePlace) -> StakeReport:
    async with open_client(place.socket) as client:
        return await client.call(NodeFacade.stake_show)


def raise_score(proof: Path) -> int:
    """Make a proof claim one point more; return what it said."""
    said = json.loads(proof.read_text())
    proof.write_text(json.dumps(said | {"score": said["score"] + 1}))
    return said["score"]


async def check_that_the_buyer_is_held_to_its_word(lab: Lab, about: NodePlace, asker: NodePlace, proof: Path) -> None:
    """Its opinion is anchored by one process, asked for by another, and checked with the chain by a third."""
    anchored = await lab.cli(lab.requester, "reputation", "anchor")
    assert anchored.code == 0, anchored.text
    subject, publisher = format_address(about.wallet), format_address(lab.requester.wallet)
    asked = await lab.cli(asker, "reputation", "prove", subject, "--of", publisher, "-o", f"{proof}")
    assert asked.code == 0, asked.text
    verified = await lab.cli(asker, "reputation", "verify", f"{proof}")
    assert verified.code == 0, verified.text
    assert raise_score(proof) > NEWCOMER_SCORE
    assert (await lab.cli(asker, "reputation", "verify", f"{proof}")).code == 1


async def test_only_who_staked_sells_a_large_task_and_all_of_its_stake_comes_free(lab: Lab, tmp_path: Path) -> None:
    backed, idle = lab.devnet.providers
    await fund(lab.devnet.rpc_url, lab.devnet.deployment, [backed.wallet], tokens=Amount(STAKE))
    lab.supply += STAKE
    task = make_monte_carlo(tmp_path / "task", parts=2, batches=4, paths=200, budget="12")

    ran = await lab.cli(lab.requester, "task", "submit", task)
    assert ran.code == 5, ran.text  # nobody has anything at stake yet
    passed_over = await lab.cli(idle, "provide", "--show")
    assert "stake" in passed_over.text

    before = await lab.snapshot()
    added = await lab.cli(backed, "stake", "add", "10")
    assert added.code == 0, added.text
    ran = await lab.cli(lab.requester, "task", "submit", task, "--output", f"{tmp_path}/out/")
    assert ran.code == 0, ran.text
    checked = check_output(task, *files_of(tmp_path / "out"))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    async with open_client(lab.requester.socket) as client:
        (bought, *_) = await client.call(NodeFacade.task_list, state="all", limit=1)
    detail = await lab.detail(bought)
    (award,) = detail.awards
    assert (award.provider, detail.task.rail) == (backed.wallet, "escrow")

    async def can_be_freed() -> bool:
        return (await report(backed)).freeable > 0

    await lab.until("the lock of the task can be freed", can_be_freed)
    locked = await report(backed)
    assert (locked.stake, locked.locked) == (STAKE, BUDGET // 5)
    freed = await lab.cli(backed, "stake", "free")
    assert freed.code == 0, freed.text
    after = await report(backed)
    assert (after.locked, after.free, after.awards) == (0, STAKE, ())

    await check_that_the_buyer_is_held_to_its_word(lab, backed, idle, tmp_path / "proof.json")
    await lab.settle()
    bonus = award.price // 20
    income = lab.income(before, await lab.assert_books_balance(before))
    assert {name: change for name, change in income.items() if change} == {
        "requester": -detail.task.spent - bonus,
        backed.name: detail.task.spent + bonus - STAKE,
        "stakes": STAKE,
    }


async def test_stake_comes_back_after_its_cooldown(lab: Lab) -> None:
    backed, _ = lab.devnet.providers
    staked = await report(backed)
    asked = await lab.cli(backed, "stake", "withdraw", "4")
    assert asked.code == 0, asked.text
    early = await lab.cli(backed, "stake", "withdraw", "1")
    assert early.code == 4, early.text

    async def is_collected() -> bool:
        return (await lab.cli(backed, "stake", "collect")).code == 0

    await lab.until("the cooldown is over", is_collected)
    left = await report(backed)
    assert (left.stake, left.leaving) == (staked.stake - 4 * ONE_TOKEN, 0)
