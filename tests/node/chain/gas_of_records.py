"""What it costs to put records on the chain: `python -m tests.node.chain.gas_of_records` prints the table.

On a real anvil, of the code that is deployed; gas is the same on every machine.
"""

import logging
import sys
from typing import Final

import structlog
import trio

from node.chain.contract import Sent
from node.chain.gateway import open_gateway
from protocol.identity import Digest
from tests.node.chain.chain_world import World, open_world

_WIDTH: Final = 58


async def anchors(world: World) -> None:
    """Print what an anchor costs, the first and a later one."""
    async with world.transactor() as sender:
        contract = open_gateway(world.chain, sender).reputation
        assert contract is not None
        for number, what in ((1, "anchor, the first of a publisher"), (2, "anchor, a later one")):
            tell(what, gas_of(await contract.anchor(number, Digest(bytes([number]) * 32))))


def gas_of(sent: Sent) -> int:
    """Return what a transaction used."""
    return sent.receipt.gas_used


def tell(what: str, gas: int) -> None:
    """Print one line."""
    sys.stdout.write(f"{what:<{_WIDTH}}{gas:>10,}\n")


async def main() -> None:
    """Print everything."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    async with open_world() as world:
        await anchors(world)


if __name__ == "__main__":
    trio.run(main)
