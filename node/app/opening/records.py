"""What this node says of others in public."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

import trio

from node.app.feedback_chain import ContractFeedback
from node.app.opening.base import Base
from node.app.opening.money import Money
from node.app.peers import WalletPeers
from node.app.score_chain import ContractScores
from node.app.terms import (
    anchor_terms,
    feedback_terms,
)
from node.chain.erc8004 import FeedbackRegistry
from node.feedback.writing import FeedbackWriter
from node.reputation.anchoring import Anchors
from node.reputation.conduct import Reputations
from protocol.identity import ZERO_ADDRESS, Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """What this node says of others in public; None where the network, or the operator, has no place for it."""

    anchors: Anchors | None
    feedback: FeedbackWriter | None
    registry: FeedbackRegistry | None


async def open_records(stack: AsyncExitStack, base: Base, peers: WalletPeers, money: Money) -> Records:
    """Open what this node says of others in public."""
    anchors = await _open_anchors(stack, base, peers, money)
    address = base.signer.scope.feedback
    if address == ZERO_ADDRESS:
        return Records(anchors=anchors, feedback=None, registry=None)
    registry = FeedbackRegistry(base.chain, address, money.transactor)
    feedback = FeedbackWriter(
        domain=base.deployment.market_domain,
        journal=base.storage.journal,
        reader=base.storage.read,
        registry=ContractFeedback(registry, money.contracts.is_gas_cheap),
        peers=peers,
        clock=base.clock,
        terms=feedback_terms(base.settings, address),
    )
    nursery = await stack.enter_async_context(trio.open_nursery())
    stack.callback(nursery.cancel_scope.cancel)
    nursery.start_soon(feedback.run)
    return Records(anchors=anchors, feedback=feedback, registry=registry)


async def _open_anchors(stack: AsyncExitStack, base: Base, peers: WalletPeers, money: Money) -> Anchors | None:
    """Open the sheets of scores; None on a network without the contract that holds their roots."""
    if money.gateway.reputation is None:
        return None
    storage = base.storage
    opinions = Reputations(storage.journal, storage.read)

    async def scores(limit: int) -> Mapping[Address, int]:
        return {each.provider: each.reputation for each in await opinions.all(limit)}

    anchors = Anchors(
        journal=storage.journal,
        open_streams=base.open_streams,
        chain=ContractScores(base.chain, money.gateway.reputation, money.contracts.is_gas_cheap),
        peers=peers,
        wallet=base.signer.address,
        clock=base.clock,
        terms=anchor_terms(base.settings),
        opinions=scores,
    )
    await anchors.start()
    nursery = await stack.enter_async_context(trio.open_nursery())
    stack.callback(nursery.cancel_scope.cancel)
    nursery.start_soon(anchors.run)
    return anchors
