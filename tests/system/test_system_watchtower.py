"""A watchtower between real processes: the provider is killed, its payer leaves, and it has its money all the same."""

from pathlib import Path

from node.api.client import open_client
from node.api.facade import NodeFacade
from node.api.views import WatchReport
from node.chain.opening import open_chain
from node.chain.payment_channel import ChannelState, PaymentChannel
from node.chain.profile import LOCAL
from node.devnet.layout import NodePlace
from protocol.identity import Digest, format_address
from tests.system.system_lab import Lab, make_monte_carlo

PROVIDERS = 2
"""One sells, the other one watches for it."""
OVERRIDES = {
    "payments.close_within_s": 1,
    "watchtower.hand_at": "0.000001",
    "watchtower.least": "0.000001",
}


async def report(place: NodePlace) -> WatchReport:
    async with open_client(place.socket) as client:
        return await client.call(NodeFacade.watch_show)


async def on_chain(lab: Lab, channel: Digest) -> ChannelState:
    async with open_chain(LOCAL, lab.devnet.rpc_url, lab.devnet.deployment) as chain:
        return await PaymentChannel(chain).state_of(channel)


async def buy(lab: Lab, folder: Path, seller: NodePlace) -> int:
    """Buy a small task of one provider, and return what it cost."""
    path = make_monte_carlo(folder, parts=1, batches=4, paths=200, budget="0.40")
    detail = await lab.wait_ended(await lab.submit(path, hire=format_address(seller.wallet)))
    assert detail.task.state == "done", detail.task.reason
    return detail.task.spent


async def test_nobody_is_its_own_tower_client_or_provider_and_none_is_removed_that_never_was(lab: Lab) -> None:
    seller, tower = lab.devnet.providers
    own, other = format_address(seller.wallet), format_address(tower.wallet)
    for command in (("watch", "add", own), ("watch", "allow", own), ("channels", "open", own, "1.00")):
        refused = await lab.cli(seller, *command)
        assert refused.code == 4, refused.text
        assert "this is the node's own wallet" in refused.text
    for command in (("watch", "remove", other), ("watch", "disallow", other), ("watch", "disallow", own)):
        refused = await lab.cli(seller, *command)
        assert refused.code == 4, refused.text
        assert "see `stoa watch list`" in refused.text
    assert not (await report(seller)).clients
    assert not await lab.channels_of(seller)


async def test_a_tower_killed_in_between_brings_a_killed_provider_its_money(lab: Lab, tmp_path: Path) -> None:
    seller, tower = lab.devnet.providers
    before = await lab.snapshot()
    for place, arguments in ((tower, ("allow", seller.wallet)), (seller, ("add", tower.wallet))):
        told = await lab.cli(place, "watch", arguments[0], format_address(arguments[1]))
        assert told.code == 0, told.text

    first = await buy(lab, tmp_path / "first", seller)
    (channel,) = await lab.channels_of(seller)
    claimed = await lab.cli(seller, "channels", "close", channel.channel.hex())
    assert claimed.code == 0, claimed.text

    async def is_claimed() -> bool:
        return (await on_chain(lab, channel.channel)).claimed == first

    await lab.until("the first task's voucher, soon the old one, is claimed", is_claimed)
    second = await buy(lab, tmp_path / "second", seller)

    async def is_held() -> bool:
        if (await lab.channels_of(seller))[0].paid != first + second:
            return False
        (mine,) = (await report(seller)).channels  # asked afterwards: of an older voucher nothing may be at stake
        return mine.at_stake == 0

    await lab.until("the tower holds the newest voucher", is_held)
    (watched,) = (await report(tower)).watches
    assert watched.channel == channel.channel
    assert watched.worth >= first + second  # what is left of the task's hold may still be in it

    await lab.kill(seller)
    async with open_client(lab.requester.socket) as client:
        left = await client.call(NodeFacade.channel_close, channel=channel.channel.hex())
    assert left.state != "closed"

    async def is_left() -> bool:
        return (await on_chain(lab, channel.channel)).exits_at > 0

    await lab.until("the requester leaves", is_left)
    await lab.kill(tower)
    await lab.kill(lab.requester)  # so that no test depends on how long a start takes: nobody withdraws meanwhile
    assert (await on_chain(lab, channel.channel)).claimed == first
    await lab.start(tower)

    async def is_brought() -> bool:
        return (await on_chain(lab, channel.channel)).claimed == first + second

    await lab.until("the tower has brought the newest voucher on chain", is_brought)
    after = await lab.assert_books_balance(before)
    income = lab.income(before, after)
    assert income[seller.name] == first + second, income
    assert income["requester"] == -(first + second) - after.holdings["channels"].tokens, income
    (client,) = (await report(tower)).clients
    assert (client.wallet, client.allowed, client.acts) == (seller.wallet, True, 1)
