"""A requester that loses its disk: restored from a backup made while it ran, it pays on to the base unit."""

import shutil
from pathlib import Path

from node.api.client import open_client
from node.api.facade import NodeFacade
from node.api.views import TaskDetail
from tests.system.crash_lab import bill_of
from tests.system.system_lab import Lab, make_monte_carlo

PROVIDERS = 1


async def test_a_requester_restored_from_an_old_backup_asks_its_provider_and_pays_on(lab: Lab, tmp_path: Path) -> None:
    async def is_fresh() -> bool:
        async with open_client(lab.requester.socket) as client:
            status = await client.call(NodeFacade.node_status)
        return bool(status.confirmed_block and status.connected_peers)

    async def buy(name: str) -> TaskDetail:
        await lab.until("the requester sees chain and provider", is_fresh)
        path = make_monte_carlo(tmp_path / name, parts=2, batches=4, paths=500, budget="1")
        detail = await lab.wait_ended(await lab.submit(path))
        assert detail.task.state == "done", detail.task.reason
        return detail

    async def channel_states() -> list[str]:
        return [channel.state for channel in await lab.channels_of(lab.requester)]

    before = await lab.snapshot()
    first = await buy("first")
    backup = tmp_path / "backup.tar"
    made = await lab.cli(lab.requester, "backup", backup, "--json")
    assert made.code == 0, made.text
    assert made.documents()[0]["bytes"] == backup.stat().st_size
    second = await buy("second")  # what is signed for it is not in the backup

    folder = lab.requester.folder
    await lab.kill(lab.requester)
    await lab.kill(lab.devnet.providers[0])
    shutil.move(folder, tmp_path / "lost")
    restored = await lab.cli(lab.requester, "restore", backup, "--to", folder)
    assert restored.code == 0, restored.text
    await lab.start(lab.requester)
    assert await channel_states() == ["in doubt"]
    listed = await lab.cli(lab.requester, "channels", "list")
    assert "in doubt" in listed.out, listed.text

    await lab.start(lab.devnet.providers[0])

    async def is_known() -> bool:
        return await channel_states() == ["open"]

    await lab.until("the provider has shown what the requester forgot", is_known)
    (channel,) = await lab.channels_of(lab.requester)
    assert channel.paid == first.task.spent + second.task.spent
    # It sold nothing to itself and bids as before: only the requester was restored.
    third = await buy("third")
    await lab.settle()
    income = lab.income(before, await lab.assert_books_balance(before))
    spent = first.task.spent + second.task.spent + third.task.spent
    assert income["requester"] == -spent
    assert income["provider-1"] == sum(sum(bill_of(each).values()) for each in (first, second, third)) == spent
