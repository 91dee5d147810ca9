"""What makes a court of a network's nodes: arbiters with tickets, providers that have something to lose."""

from collections.abc import Awaitable, Callable, Sequence

import trio

from node.api.client import open_client
from node.api.facade import NodeFacade
from node.chain.local import DEFAULT_TERMS, LocalTerms, fund
from node.devnet.devnet import Devnet
from node.devnet.layout import NodePlace
from protocol.units import Amount


async def seat_arbiters(devnet: Devnet, terms: LocalTerms = DEFAULT_TERMS) -> None:
    """Let every arbiter of the network buy one ticket, with test money."""

    async def enlist(place: NodePlace) -> None:
        async with open_client(place.socket) as client:
            await client.call(NodeFacade.arbiter_enlist, count=1)

    await fund(devnet.rpc_url, devnet.deployment, [each.wallet for each in devnet.arbiters], tokens=terms.seat_stake)
    await _all(devnet.arbiters, enlist)


async def stake_providers(devnet: Devnet, amount: Amount) -> None:
    """Let every provider of the network stake so much test money."""

    async def stake(place: NodePlace) -> None:
        async with open_client(place.socket) as client:
            await client.call(NodeFacade.stake_add, amount=amount)

    await fund(devnet.rpc_url, devnet.deployment, [each.wallet for each in devnet.providers], tokens=amount)
    await _all(devnet.providers, stake)


async def _all(places: Sequence[NodePlace], work: Callable[[NodePlace], Awaitable[None]]) -> None:
    async with trio.open_nursery() as nursery:
        for place in places:
            nursery.start_soon(work, place)
