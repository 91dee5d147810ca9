"""Named stories, and the random ones. Each lets nodes join, spoils what it wants, and submits tasks."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeAlias

import trio

from node.market.ports import PartRun
from protocol.channel.messages import VOUCHER_METHOD
from protocol.market.messages import BidAnnouncement, CommitmentAnnouncement, RollAnnouncement
from protocol.task.messages import FUNDING_METHOD, PAYMENT_METHOD, RECEIPT_METHOD
from protocol.task.verification import Audit
from protocol.units import BasisPoints
from protocol.wire.topics import MarketTopic, topic_name
from tests.simulation import faults, liars, omission
from tests.simulation.faults import Fault, storm
from tests.simulation.network import Weather
from tests.simulation.node import Node
from tests.simulation.stages import CHEAPEST, STORM_S, WARM_UP_S, has_award, people, trade
from tests.simulation.storms import random_storm
from tests.simulation.world import PURSE, RULES, World

Scenario: TypeAlias = Callable[[World], Awaitable[None]]


def stormy(*kinds: Fault, count: int = 4, tasks: int = 2) -> Scenario:
    """Trade while faults of these kinds come at random."""

    async def run(world: World) -> None:
        buying, _ = await people(world)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(storm, world, world.chance, faults=kinds, count=count, within_s=STORM_S / 2))
            nursery.start_soon(partial(trade, world, buying, tasks=tasks))

    return run


async def calm(world: World) -> None:
    """Nothing goes wrong; then everything must have gone well."""
    buying, _ = await people(world)
    await trade(world, buying, tasks=3)
    world.expects_success = True


async def slow_and_overtaking(world: World) -> None:
    """Messages take long for such short windows, and overtake each other."""
    world.network.weather = Weather(delay_s=0.15)
    buying, _ = await people(world)
    await trade(world, buying)


async def lossy(world: World) -> None:
    """A fifth of everything gets lost."""
    world.network.weather = Weather(loss=0.2)
    buying, _ = await people(world)
    await trade(world, buying)


async def doubled(world: World) -> None:
    """Every other message arrives twice."""
    world.network.weather = Weather(double=0.5)
    buying, _ = await people(world)
    await trade(world, buying, tasks=3)
    world.expects_success = True


AUDITED: Final = Audit(rate=BasisPoints(10_000))


def audited(lies: Callable[[PartRun], PartRun], *, dies: bool = False) -> Scenario:
    """The cheapest provider signs what its parts did not give, and every part is run again; its requester may die."""

    async def run(world: World) -> None:
        buying, selling = await people(world)
        liar, requester = selling[0], buying[0]
        world.liars.add(liar.wallet)
        liar.lies = lies
        assert liar.life is not None
        liar.life.sandbox.lies = lies
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(trade, world, buying, tasks=3, policy=AUDITED))
            if dies:
                requester.down_s = 3.0
                for _ in range(4):
                    await trio.sleep(10.0)
                    requester.die_at_commit(world.chance.randint(1, 12), loses_it=world.chance.random() < 1 / 2)
        world.expects_success = not dies

    return run


def dies_at_a_commit(*, buys: bool, loses_it: bool) -> Scenario:
    """One node dies at some commit of its own, often, and is back a few seconds later."""

    async def run(world: World) -> None:
        buying, selling = await people(world, providers=2)
        victim = buying[0] if buys else selling[0]
        # The life that is running dies by hand; each later one at a commit of its choice.
        victim.crashes = {life: (world.chance.randint(1, 25), loses_it) for life in range(2, 8)}
        victim.down_s = 3.0
        victim.kill()
        await victim.alive()
        await trade(world, buying, tasks=3)

    return run


async def skewed_clocks(world: World) -> None:
    """Clocks differ by up to two seconds."""
    buying = [world.join("requester-0", purse=PURSE, skew_s=1)]
    for number, skew_s in enumerate((-1, 0, 1)):
        world.join(f"provider-{number}", asks=CHEAPEST + 5_000 * number, skew_s=skew_s)
    for node in world.nodes:
        await node.alive()
    await trio.sleep(WARM_UP_S)
    await trade(world, buying)


async def busy(world: World) -> None:
    """Three requesters, five providers, many tasks at once."""
    buying, _ = await people(world, requesters=3, providers=5)
    await trade(world, buying, tasks=8, every_s=3.0)


def lying_provider(make: Callable[[World, Node], liars.Bend]) -> Scenario:
    """The cheapest provider cheats."""

    async def run(world: World) -> None:
        buying, selling = await people(world)
        liars.lie(world, selling[0], make(world, selling[0]))
        await trade(world, buying, tasks=3)

    return run


def lying_requester(make: Callable[[World, Node], liars.Bend]) -> Scenario:
    """One of two requesters cheats."""

    async def run(world: World) -> None:
        buying, _ = await people(world, requesters=2)
        liars.lie(world, buying[0], make(world, buying[0]))
        await trade(world, buying, tasks=4)

    return run


async def spammed(world: World) -> None:
    """One node shouts garbage."""
    buying, selling = await people(world)
    topics = [topic_name(RULES.market, topic) for topic in MarketTopic]
    world.nursery.start_soon(liars.spam, world, selling[-1], topics)
    await trade(world, buying, tasks=3)


async def stalling_provider(world: World) -> None:
    """The cheapest provider answers everything half a minute late."""
    buying, selling = await people(world)
    world.liars.add(selling[0].wallet)
    world.network.slow[selling[0].wallet] = 25.0
    await trade(world, buying)


async def vanishing_provider(world: World) -> None:
    """The cheapest provider leaves for ever once it has an award."""
    buying, selling = await people(world)
    cheapest = selling[0]
    world.nursery.start_soon(liars.vanish, world, cheapest, lambda: has_award(cheapest))
    await trade(world, buying)


async def vanishing_requester(world: World) -> None:
    """A requester leaves for ever once a provider has taken its award."""
    buying, selling = await people(world, requesters=2)
    world.nursery.start_soon(liars.vanish, world, buying[0], lambda: any(has_award(node) for node in selling))
    await trade(world, buying, tasks=4)


def crowd(nodes: int) -> Scenario:
    """Many nodes, few of which trade at a time."""

    async def run(world: World) -> None:
        buying, _ = await people(world, requesters=max(1, nodes // 10), providers=nodes - max(1, nodes // 10))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(storm, world, world.chance, count=4, within_s=STORM_S / 2))
            nursery.start_soon(partial(trade, world, buying, tasks=4, every_s=10.0))

    return run


NAMED: Final[dict[str, Scenario]] = {
    "calm": calm,
    "slow-and-overtaking": slow_and_overtaking,
    "lossy": lossy,
    "doubled": doubled,
    "partition": stormy(faults.partition),
    "one-way": stormy(faults.one_way),
    "flapping": stormy(faults.flapping, count=2),
    "slow-node": stormy(faults.slow_node),
    "crashes": stormy(faults.crash, count=6, tasks=3),
    "blackout": stormy(faults.blackout, count=1, tasks=3),
    "full-disk": stormy(faults.full_disk),
    "slow-disk": stormy(faults.slow_disk),
    "dying-workers": stormy(faults.dying_workers, count=3),
    "chain-away": stormy(faults.chain_away),
    "chain-stuck": stormy(faults.chain_stuck, count=2),
    "reorganisations": stormy(faults.reorganisations, count=3),
    "requester-dies-at-a-commit": dies_at_a_commit(buys=True, loses_it=False),
    "requester-loses-its-last-writes": dies_at_a_commit(buys=True, loses_it=True),
    "provider-dies-at-a-commit": dies_at_a_commit(buys=False, loses_it=False),
    "provider-loses-its-last-writes": dies_at_a_commit(buys=False, loses_it=True),
    "audited-forger-of-outputs": audited(liars.forge_output),
    "audited-forger-of-fuel": audited(liars.forge_fuel),
    "audits-of-a-requester-that-dies": audited(liars.forge_output, dies=True),
    "skewed-clocks": skewed_clocks,
    "busy": busy,
    "equivocating-provider": lying_provider(liars.equivocating),
    "equivocating-requester": lying_requester(liars.equivocating),
    "provider-that-seals-and-never-reveals": lying_provider(liars.withholding(BidAnnouncement)),
    "provider-that-commits-to-some": lying_provider(liars.withholding(CommitmentAnnouncement, from_odd_only=True)),
    "requester-that-keeps-its-roll-from-some": lying_requester(liars.withholding(RollAnnouncement, from_odd_only=True)),
    "requester-that-never-pays": lying_requester(liars.silent_about(PAYMENT_METHOD, VOUCHER_METHOD)),
    "requester-that-never-funds": lying_requester(liars.silent_about(FUNDING_METHOD)),
    "provider-that-never-delivers": lying_provider(liars.silent_about(RECEIPT_METHOD)),
    "replaying-provider": lying_provider(liars.replaying),
    "replaying-requester": lying_requester(liars.replaying),
    "forging-provider": lying_provider(liars.forging),
    "forging-requester": lying_requester(liars.forging),
    "spammed": spammed,
    "stalling-provider": stalling_provider,
    "vanishing-provider": vanishing_provider,
    "vanishing-requester": vanishing_requester,
    "struck-in-bad-weather": omission.struck_in_bad_weather,
    "crowd": crowd(30),
}

DAYS: Final[dict[str, Scenario]] = {
    f"a-day-with-one-omission-in-{one_in}": partial(omission.leave_out, one_in=one_in) for one_in in (0, 24, 12, 8)
}
RANDOM: Final[dict[str, Scenario]] = {"storm": random_storm, "crowd-of-200": crowd(200)}


def scenario_of(name: str) -> Scenario:
    """Return a scenario by its name."""
    return {**NAMED, **DAYS, **RANDOM}[name]
