"""What it costs to put records on the chain: `python -m tests.node.chain.gas_of_records` prints the table.

On a real anvil, of the code that is deployed; gas is the same on every machine.
"""

import logging
import sys
from dataclasses import replace
from typing import Final

import structlog
import trio

from node.chain.contract import Sent
from node.chain.erc8004 import FeedbackRegistry
from node.chain.gateway import open_gateway
from protocol.identity import ZERO_DIGEST, Digest
from protocol.market.objects import Award
from protocol.reputation.feedback import PaidAward, make_feedback
from protocol.signing.eip712 import digest
from protocol.signing.signed import Signed
from protocol.task.objects import Acceptance
from protocol.units import ONE_TOKEN, Amount, UnixTime
from tests.node.chain.chain_world import Records, World, open_world
from tests.node.chain.erc8004_lab import deploy_registries
from tests.node.chain.test_chain_feedback import sender_for
from tests.node.chain.test_chain_reputation import award as make_award

BATCHES: Final = (2, 5, 20)
_WIDTH: Final = 58


async def anchors(world: World) -> None:
    """Print what an anchor costs, the first and a later one."""
    async with world.transactor() as sender:
        contract = open_gateway(world.chain, sender).reputation
        assert contract is not None
        for number, what in ((1, "anchor, the first of a publisher"), (2, "anchor, a later one")):
            tell(what, gas_of(await contract.anchor(number, Digest(bytes([number]) * 32))))


async def feedback(world: World) -> None:
    """Print what feedback costs, the first of a client for an agent and the next."""
    registries = await deploy_registries(world)
    agent = await registries.register(world.address(1))
    async with sender_for(world, registries.feedbacks, Records()) as sender:
        registry = FeedbackRegistry(world.chain, registries.feedbacks, sender)
        paid = PaidAward(
            award=Digest(b"\x01" * 32),
            provider=world.address(1),
            parts=4,
            paid_parts=3,
            last_part=2,
            receipt=Digest(b"\x02" * 32),
            due=Amount(15 * ONE_TOKEN),
            ended_at=UnixTime(0),
        )
        said = make_feedback(world.deployment.market_domain, paid)
        for key, what in (("1", "feedback, a client's first for an agent"), ("2", "feedback, a later one")):
            given = await registry.give(agent, said, key=key)
            receipt = await world.chain.receipt(given.transaction)
            assert receipt is not None
            tell(what, receipt.gas_used)


async def freeing(world: World) -> None:
    """Print what freeing locks costs, one by one and together: locks without bonus whose time is over."""
    async with world.transactor(number=1) as seller:
        gateway = open_gateway(world.chain, seller)
        contract = gateway.reputation
        assert contract is not None
        await gateway.token.ensure_allowance(world.deployment.reputation, Amount(500 * ONE_TOKEN))
        await contract.stake(Amount(500 * ONE_TOKEN), key="stake")
        awards = [replace(await make_award(world), slot=slot) for slot in range(1 + sum(BATCHES))]
        for each in awards:
            await contract.lock(each)
        await world.rpc.call("evm_increaseTime", hex(10_000))
        await world.mine()
        alone = gas_of(await contract.free(awards.pop()))
        tell("free one lock", alone)
        for count in BATCHES:
            together = gas_of(await contract.free_many([(awards.pop(), None) for _ in range(count)]))
            tell(f"free {count} locks together, each", together // count)
            tell(f"  saved of {count} single transactions, per cent", 100 - 100 * together // (count * alone))


async def funding(world: World) -> None:
    """Print what funding and releasing escrows costs, one by one and together."""
    async with (
        world.transactor(number=0) as buyer,
        world.transactor(number=1) as seller,
        world.signer(0) as signer,
    ):
        buys, sells = open_gateway(world.chain, buyer), open_gateway(world.chain, seller)
        await buys.token.ensure_allowance(world.deployment.escrow, Amount(900 * ONE_TOKEN))
        terms = replace(await make_award(world), rail=world.deployment.escrow, channel=ZERO_DIGEST, liability=Amount(0))
        awards = [await signer.sign_award(replace(terms, slot=slot)) for slot in range(2 + 1 + 2 + 5)]
        accepted: list[tuple[Award, Signed[Acceptance]]] = []
        for each in awards:
            name = digest(world.deployment.market_domain, each.value)
            acceptance = Acceptance(award=name, part=0, receipt=Digest(b"r" * 32), due=each.value.price)
            accepted.append((each.value, await signer.sign_acceptance(acceptance, each.value)))
        # It stays open: who empties the contract makes the next one pay for its balance anew.
        warm = await buys.escrow.fund(awards[0])
        tell("fund one escrow, the first of all", gas_of(warm))
        tell("fund one escrow (fund)", gas_of(await buys.escrow.fund(awards[1])))
        tell("release one escrow (release)", gas_of(await sells.escrow.release(*accepted[1])))
        place = 2
        for count in (1, 2, 5):
            piece = slice(place, place + count)
            tell(f"fund {count} together (fundMany), each", gas_of(await buys.escrow.fund_many(awards[piece])) // count)
            released = await sells.escrow.release_many(accepted[piece])
            tell(f"release {count} together (releaseMany), each", gas_of(released) // count)
            place += count


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
        await feedback(world)
        await funding(world)
        await freeing(world)


if __name__ == "__main__":
    trio.run(main)
