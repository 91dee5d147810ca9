"""What it costs to leave a bidder out (A6b): an honest requester on a bad line, and one that means to."""

from functools import partial
from typing import Final

import trio

from node.market.gossip import MESSAGE_METHOD
from node.market.task_table import list_tasks
from protocol.identity import Address, Digest
from protocol.market.messages import CommitmentAnnouncement, read_message
from protocol.market.observer_states import ObservedAuction
from protocol.reputation.strikes import HALF_LIFE
from protocol.units import ONE_TOKEN
from tests.simulation.network import Ear
from tests.simulation.node import Node
from tests.simulation.stages import WARM_UP_S, people
from tests.simulation.world import World, make_wish

AUCTION_S: Final = 90.0
"""From the submission to the end of a task of one part, in good weather."""
DAY_S: Final = 86_400.0
EVERY_S: Final = 3_600.0
BUDGET: Final = ONE_TOKEN // 2


def deaf_to(*bidders: Address) -> Ear:
    """Hear everything but the commitments of these."""

    def ear(what: str, data: bytes) -> bool:
        if what != MESSAGE_METHOD and not what.startswith("/stoa/"):
            return True
        message = read_message(data)
        return not (isinstance(message, CommitmentAnnouncement) and message.signed.value.bidder in bidders)

    return ear


async def struck_in_bad_weather(world: World) -> None:
    """A requester's line fails, it leaves a bidder out, and is refused; six hours later everybody sells to it again."""
    (requester,), selling = await people(world)
    victim, *others = selling
    world.network.ears[requester.wallet] = deaf_to(victim.wallet)
    await _buy(world, requester, "on a bad line")
    world.network.ears.clear()
    world.note(f"refused by {[node.name for node in selling if _refuses(node, requester)]}")
    assert all(_refuses(node, requester) for node in others), "whoever heard the commitment in time holds it to it"
    assert not _refuses(victim, requester), "the bidder itself got no answer, so it can't know"
    offer = await _buy(world, requester, "refused")
    assert _bidders(requester, offer) == {victim.wallet}
    await _let_pass(world, HALF_LIFE)
    offer = await _buy(world, requester, "forgiven")
    assert _bidders(requester, offer) == {node.wallet for node in selling}, "six hours later, all have forgiven it"
    assert await _state_of(requester, offer) == "done"


async def leave_out(world: World, *, one_in: int) -> None:
    """Trade for a day, every hour, with three providers; every so often leave the cheapest one out.

    `world.figures` tells what became of it: tasks, those done, what the awards of those cost (token base units), and in
    how many other auctions the requester had but one bidder.

    Args:
        world: Empty.
        one_in: Cheat in one auction of so many; 0 for never.
    """
    (requester,), selling = await people(world)
    victim, figures = selling[0], world.figures
    if one_in:
        world.liars.add(requester.wallet)
    for number in range(round(DAY_S / EVERY_S)):
        cheats = bool(one_in) and number % one_in == 0
        world.network.ears[requester.wallet] = deaf_to(*([victim.wallet] if cheats else []))
        offer = await _buy(world, requester, f"task {number}")
        auction = _auction(requester, offer)
        figures["tasks"] += 1
        figures["omissions"] += cheats
        figures["one bidder"] += not cheats and len(auction.leaves) == 1
        if await _state_of(requester, offer) == "done":
            figures["done"] += 1
            figures["cost"] += auction.awards[-1].signed.value.price
        await _let_pass(world, EVERY_S - AUCTION_S)


async def _buy(world: World, requester: Node, name: str) -> Digest:
    offer = await world.submit(requester, make_wish(name, parts=1, budget=BUDGET))
    assert offer is not None
    await trio.sleep(AUCTION_S)
    return offer


async def _let_pass(world: World, seconds: float) -> None:
    """Let time pass without blocks, which nobody needs and which would cost much to simulate."""
    world.chain.is_stuck = True
    await trio.sleep(seconds)
    world.chain.is_stuck = False
    await trio.sleep(WARM_UP_S)


def _auction(node: Node, offer: Digest) -> ObservedAuction:
    assert node.life is not None
    return node.life.trading.gossip.observed.auctions[offer]


def _bidders(requester: Node, offer: Digest) -> set[Address]:
    return {leaf.bidder for leaf in _auction(requester, offer).leaves}


def _refuses(provider: Node, requester: Node) -> bool:
    assert provider.life is not None
    return provider.life.trading.gossip.is_refused(requester.wallet)


async def _state_of(requester: Node, offer: Digest) -> str:
    assert requester.life is not None
    newest = partial(list_tasks, limit=1000, open_only=False)
    return next(row.state for row in await requester.life.storage.read.query(newest) if row.offer == offer)
