"""What goes wrong without anybody's ill will. Each fault comes, lasts, and is noted in the story."""

from collections.abc import Awaitable, Callable
from random import Random
from typing import Final, TypeAlias

import trio

from tests.simulation.chain import DEEPEST_REORG
from tests.simulation.network import Weather
from tests.simulation.node import Node
from tests.simulation.world import World

Fault: TypeAlias = Callable[[World, Random, float], Awaitable[None]]
"""Spoils something for so many seconds, then mends it."""


async def bad_weather(world: World, chance: Random, lasts_s: float) -> None:
    """Messages are late, lost and doubled."""
    before = world.network.weather
    world.network.weather = Weather(
        delay_s=chance.uniform(0.02, 1.0), loss=chance.uniform(0.0, 0.3), double=chance.uniform(0.0, 0.5)
    )
    world.note(f"weather {world.network.weather} for {lasts_s:.0f} s")
    await trio.sleep(lasts_s)
    world.network.weather = before


async def partition(world: World, chance: Random, lasts_s: float) -> None:
    """Nothing passes between two groups."""
    one, other = _groups(world, chance)
    world.note(f"partition {_names(one)} | {_names(other)} for {lasts_s:.0f} s")
    cut = {(a.wallet, b.wallet) for a in one for b in other} | {(b.wallet, a.wallet) for a in one for b in other}
    world.network.cut |= cut
    await trio.sleep(lasts_s)
    world.network.cut -= cut


async def one_way(world: World, chance: Random, lasts_s: float) -> None:
    """One group hears the other, which hears nothing."""
    one, other = _groups(world, chance)
    world.note(f"one way: {_names(one)} can't reach {_names(other)} for {lasts_s:.0f} s")
    cut = {(a.wallet, b.wallet) for a in one for b in other}
    world.network.cut |= cut
    await trio.sleep(lasts_s)
    world.network.cut -= cut


async def flapping(world: World, chance: Random, lasts_s: float) -> None:
    """A partition that comes and goes every second or so."""
    end = trio.current_time() + lasts_s
    while trio.current_time() < end:
        await partition(world, chance, chance.uniform(0.2, 3.0))
        await trio.sleep(chance.uniform(0.2, 3.0))


async def slow_node(world: World, chance: Random, lasts_s: float) -> None:
    """All that one node says comes seconds late."""
    node, late_s = chance.choice(world.nodes), chance.uniform(0.5, 8.0)
    world.note(f"{node.name} is {late_s:.1f} s late for {lasts_s:.0f} s")
    world.network.slow[node.wallet] = late_s
    await trio.sleep(lasts_s)
    world.network.slow.pop(node.wallet, None)


async def crash(world: World, chance: Random, lasts_s: float) -> None:
    """One node is killed now and comes back."""
    await _kill(world, chance.choice(world.nodes), lasts_s)


async def crash_at_commit(world: World, chance: Random, lasts_s: float) -> None:
    """One node dies at one of its next commits, or just before it; and so on, each time that it is back."""
    node, loses_it = chance.choice(world.nodes), chance.random() < 0.5
    world.note(f"{node.name} dies at commits for {lasts_s:.0f} s, {'before' if loses_it else 'after'} they are durable")
    end = trio.current_time() + lasts_s
    while trio.current_time() < end:
        node.down_s = chance.uniform(0.1, 10.0)
        node.die_at_commit(chance.randint(1, 20), loses_it=loses_it)
        await trio.sleep(chance.uniform(1.0, 15.0))
    node.spare()


async def blackout(world: World, chance: Random, lasts_s: float) -> None:
    """All nodes are killed at once."""
    del chance
    async with trio.open_nursery() as nursery:
        for node in world.nodes:
            nursery.start_soon(_kill, world, node, lasts_s)


async def full_disk(world: World, chance: Random, lasts_s: float) -> None:
    """One node can't write."""
    node = chance.choice(world.nodes)
    world.note(f"{node.name} has a full disk for {lasts_s:.0f} s")
    node.set_disk(is_full=True)
    await trio.sleep(lasts_s)
    node.set_disk()


async def slow_disk(world: World, chance: Random, lasts_s: float) -> None:
    """One node's commits take long."""
    node, slow_s = chance.choice(world.nodes), chance.uniform(0.1, 2.0)
    world.note(f"{node.name} has a slow disk, {slow_s:.1f} s, for {lasts_s:.0f} s")
    node.set_disk(slow_s=slow_s)
    world.network.failed += 1  # what it says late may come in time to some, and not to others
    await trio.sleep(lasts_s)
    node.set_disk()


async def dying_workers(world: World, chance: Random, lasts_s: float) -> None:
    """One node's workers die on every third part."""
    node = chance.choice(world.nodes)
    world.note(f"{node.name}'s workers die for {lasts_s:.0f} s")
    node.failing = 0.33
    await trio.sleep(lasts_s)
    node.failing = 0.0


async def chain_away(world: World, chance: Random, lasts_s: float) -> None:
    """One node can't reach the chain."""
    node = chance.choice(world.nodes)
    world.note(f"{node.name} can't reach the chain for {lasts_s:.0f} s")
    node.is_away_from_chain = True
    await trio.sleep(lasts_s)
    node.is_away_from_chain = False


async def chain_stuck(world: World, chance: Random, lasts_s: float) -> None:
    """No blocks come."""
    del chance
    world.note(f"the chain is stuck for {lasts_s:.0f} s")
    world.chain.is_stuck = True
    await trio.sleep(lasts_s)
    world.chain.is_stuck = False


async def chain_down(world: World, chance: Random, lasts_s: float) -> None:
    """Nobody can reach the chain, which goes on."""
    del chance
    world.note(f"nobody can reach the chain for {lasts_s:.0f} s")
    for node in world.nodes:
        node.is_away_from_chain = True
    await trio.sleep(lasts_s)
    for node in world.nodes:
        node.is_away_from_chain = False


async def wrong_clock(world: World, chance: Random, lasts_s: float) -> None:
    """One node's clock is off by some seconds, and runs too fast or too slow."""
    await _set_wrong(world, chance.choice(world.nodes), chance.uniform(-5, 5), chance.uniform(-0.05, 0.05), lasts_s)


async def jumping_clock(world: World, chance: Random, lasts_s: float) -> None:
    """One node's clock jumps, by up to two minutes, and back after a while."""
    await _set_wrong(world, chance.choice(world.nodes), chance.uniform(-120, 120), 0.0, lasts_s)


async def _set_wrong(world: World, node: Node, offset_s: float, drift: float, lasts_s: float) -> None:
    world.note(f"{node.name}'s clock is off by {offset_s:.1f} s and {drift:.3f} s a second for {lasts_s:.0f} s")
    node.clock.set_wrong(offset_s=offset_s, drift=drift)
    await trio.sleep(lasts_s)
    node.clock.set_right()


async def reorganisations(world: World, chance: Random, lasts_s: float) -> None:
    """The newest blocks are replaced, again and again."""
    end = trio.current_time() + lasts_s
    while trio.current_time() < end:
        depth = chance.randint(1, DEEPEST_REORG)
        world.note(f"reorganisation of {depth} blocks")
        world.chain.reorganise(depth)
        await trio.sleep(chance.uniform(2.0, 10.0))


ALL: Final[tuple[Fault, ...]] = (
    bad_weather, partition, one_way, flapping, slow_node, crash, crash_at_commit, blackout, full_disk, slow_disk,
    dying_workers, wrong_clock, jumping_clock, chain_away, chain_down, chain_stuck, reorganisations,
)  # fmt: skip


async def storm(world: World, chance: Random, *, faults: tuple[Fault, ...] = ALL, count: int, within_s: float) -> None:
    """Let so many faults come at any time."""
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(_later, world, chance, chance.choice(faults), chance.uniform(0, within_s))


async def _later(world: World, chance: Random, fault: Fault, wait_s: float) -> None:
    await trio.sleep(wait_s)
    await fault(world, chance, chance.uniform(2.0, 40.0))


async def _kill(world: World, node: Node, lasts_s: float) -> None:
    world.note(f"{node.name} is killed for {lasts_s:.0f} s")
    node.down_s = lasts_s
    node.kill()
    await trio.sleep(lasts_s)


def _groups(world: World, chance: Random) -> tuple[list[Node], list[Node]]:
    nodes = list(world.nodes)
    chance.shuffle(nodes)
    middle = chance.randint(1, max(1, len(nodes) - 1))
    return nodes[:middle], nodes[middle:]


def _names(nodes: list[Node]) -> str:
    return " ".join(node.name.rpartition("/")[2] for node in nodes)
