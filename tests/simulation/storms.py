"""Storms: any number of anything, with anybody. One seed, one storm."""

from functools import partial
from typing import Final

import trio

from protocol.channel.messages import RELEASE_METHOD, VOUCHER_METHOD
from protocol.errors import StoaError
from protocol.identity import Digest
from protocol.market.messages import AwardAnnouncement, BidAnnouncement, CommitmentAnnouncement, RollAnnouncement
from protocol.market.objects import AuctionFormat
from protocol.task.messages import FUNDING_METHOD, PAYMENT_METHOD, RECEIPT_METHOD, START_METHOD
from protocol.wire.topics import MarketTopic, topic_name
from tests.simulation import liars
from tests.simulation.faults import storm
from tests.simulation.network import Weather
from tests.simulation.node import Node
from tests.simulation.stages import LARGE, SMALL, STORM_S, has_award, people
from tests.simulation.world import RULES, World, make_wish

MOST_REQUESTERS: Final = 3
MOST_PROVIDERS: Final = 7
LIARS: Final = (0, 0, 0, 1, 1, 1, 2, 3)
LIES: Final[tuple[liars.Lie, ...]] = (
    liars.equivocating,
    liars.withholding(BidAnnouncement),
    liars.withholding(CommitmentAnnouncement, from_odd_only=True),
    liars.withholding(RollAnnouncement, from_odd_only=True),
    liars.withholding(AwardAnnouncement, from_odd_only=True),
    liars.silent_about(PAYMENT_METHOD, VOUCHER_METHOD),
    liars.silent_about(FUNDING_METHOD),
    liars.silent_about(START_METHOD),
    liars.silent_about(RECEIPT_METHOD),
    liars.silent_about(RELEASE_METHOD),
    liars.replaying,
    liars.forging,
)


async def random_storm(world: World) -> None:
    """Anything, with anybody: up to ten nodes."""
    chance = world.chance
    world.network.weather = Weather(
        delay_s=chance.uniform(0.01, 0.3), loss=chance.choice((0.0, 0.02, 0.1)), double=chance.choice((0.0, 0.0, 0.2))
    )
    requesters, providers = chance.randint(1, MOST_REQUESTERS), chance.randint(1, MOST_PROVIDERS)
    buying, selling = await people(world, requesters=requesters, providers=providers)
    suspects = [*buying[1:], *selling[1:]]
    for liar in chance.sample(suspects, min(chance.choice(LIARS), len(suspects))):
        _corrupt(world, liar)
    for node in world.nodes:
        if chance.random() < 0.2:
            node.clock.set_wrong(offset_s=chance.uniform(-2.0, 2.0), drift=chance.uniform(-0.002, 0.002))
        if chance.random() < 0.3:
            node.crashes = {life: (chance.randint(1, 40), chance.random() < 0.5) for life in range(2, 5)}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(storm, world, chance, count=chance.randint(1, 8), within_s=STORM_S))
        nursery.start_soon(
            partial(_trade_at_random, world, buying, tasks=chance.randint(1, 6), every_s=chance.uniform(1.0, 30.0))
        )


def _corrupt(world: World, node: Node) -> None:
    """Make a liar of a node: one lie, or two at once, or noise, or leaving at the worst moment."""
    chance = world.chance
    kind = chance.random()
    world.note(f"{node.name} lies")
    if kind < 0.1:
        topics = [topic_name(RULES.market, topic) for topic in MarketTopic]
        world.nursery.start_soon(liars.spam, world, node, topics)
    elif kind < 0.2:
        sellers = [each for each in world.nodes if each.asks is not None]
        world.nursery.start_soon(liars.vanish, world, node, lambda: any(has_award(each) for each in sellers))
    elif kind < 0.3:
        liars.lie(world, node, liars.withholding()(world, node))
        world.network.slow[node.wallet] = chance.uniform(1.0, 25.0)
    else:
        lies = chance.sample(LIES, chance.choice((1, 1, 2)))
        liars.lie(world, node, liars.combined(*lies)(world, node))


async def _trade_at_random(world: World, buying: list[Node], *, tasks: int, every_s: float) -> None:
    """Submit tasks of every form and size, and think better of some."""
    chance = world.chance
    sellers = [node for node in world.nodes if node.asks is not None]
    async with trio.open_nursery() as nursery:
        for number in range(tasks):
            node = buying[number % len(buying)]
            form = chance.choice(tuple(AuctionFormat))
            wish = make_wish(
                f"task-{number}",
                parts=chance.randint(1, 4),
                budget=LARGE if number % 2 else SMALL,
                form=form,
                hire=chance.choice(sellers).wallet if form is AuctionFormat.DIRECT else None,
            )
            offer = await world.submit(node, wish)
            if offer is not None and chance.random() < 0.1:
                nursery.start_soon(_cancel, world, node, offer, chance.uniform(0.0, 30.0))
            await trio.sleep(every_s)


async def _cancel(world: World, node: Node, offer: Digest, after_s: float) -> None:
    await trio.sleep(after_s)
    if node.life is not None:
        try:
            node.life.trading.requester.cancel(offer)
        except StoaError:
            return  # it was over
        world.note(f"{node.name} cancelled {offer.hex()[:8]}")
