"""What every story begins with: nodes that join, and tasks that are submitted."""

from dataclasses import replace
from typing import Final

import trio

from protocol.market.objects import AuctionFormat
from protocol.task.verification import Trust, Verification
from protocol.units import ONE_TOKEN
from tests.simulation.node import Node
from tests.simulation.world import PURSE, World, make_wish

WARM_UP_S: Final = 20.0
"""Until the first block is confirmed."""
TRUST: Final = Trust()
STORM_S: Final = 120.0
CHEAPEST: Final = 100_000
SMALL: Final = 2 * ONE_TOKEN
LARGE: Final = 12 * ONE_TOKEN
"""Above the threshold: through escrow."""


async def people(world: World, *, requesters: int = 1, providers: int = 3) -> tuple[list[Node], list[Node]]:
    """Let nodes join, each provider a little dearer, and wait until all are up and see the chain."""
    buying = [world.join(f"requester-{number}", purse=PURSE) for number in range(requesters)]
    selling = [world.join(f"provider-{number}", asks=CHEAPEST + 5_000 * number) for number in range(providers)]
    for node in world.nodes:
        await node.alive()
    await trio.sleep(WARM_UP_S)
    return buying, selling


async def trade(
    world: World, buying: list[Node], *, tasks: int = 2, every_s: float = 25.0, policy: Verification = TRUST
) -> None:
    """Submit tasks, small and large by turns."""
    for number in range(tasks):
        node = buying[number % len(buying)]
        budget = LARGE if number % 2 else SMALL
        form = (AuctionFormat.SEALED_SECOND_PRICE, AuctionFormat.SEALED_FIRST_PRICE, AuctionFormat.OPEN)[number % 3]
        wish = make_wish(f"task-{number}", parts=world.chance.randint(1, 4), budget=budget, form=form)
        await world.submit(node, replace(wish, verification=policy))
        await trio.sleep(every_s)


def has_award(node: Node) -> bool:
    """Tell whether a provider works on something."""
    return node.life is not None and bool(node.life.trading.provider.deliveries)
