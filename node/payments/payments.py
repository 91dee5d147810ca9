"""Opening the room: both sides of both rails, fed by one reading of the chain."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import trio

from node.operations.clock import Clock
from node.payments.channel_payee import ChannelPayee
from node.payments.channel_payer import ChannelPayer
from node.payments.escrow_payee import EscrowPayee
from node.payments.escrow_payer import EscrowPayer
from node.payments.feed import Feed
from node.payments.flow import Flow
from node.payments.payee import Payee
from node.payments.payer import Payer
from node.payments.ports import Chain, DemandUnpaid, Fact, JudgeClaim, OpenCase, Peers, Wallet
from node.payments.room import Room
from node.payments.settings import PaymentSettings
from node.payments.stake_ports import StakeChain
from node.payments.stakes import Stakes
from node.payments.watch.handover import Handover
from node.payments.watch.ports import WatchParts
from node.payments.watch.store import WatchStore
from node.payments.watch.tower import Tower
from node.storage.storage import Storage
from protocol.signing.eip712 import Domain


class Side(Protocol):
    """One kind of accounts on one side: it hears of every fact, and is told that time passes."""

    async def start(self) -> None:
        """Take up what was open."""
        ...

    async def on_fact(self, fact: Fact) -> bool:
        """Take a fact; say whether it mattered."""
        ...

    def on_block(self) -> None:
        """Let time pass."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Payments:
    """The open room. `payer` is the market's PayerRails, `payee` its PayeeRails; `feed` shows how far the chain is.

    `stakes` is None on a network without stakes. `tower` watches for others, `handover` has others watch for this node;
    both are None in a node that was opened without them.
    """

    payer: Payer
    payee: Payee
    feed: Feed
    stakes: Stakes | None
    tower: Tower | None
    handover: Handover | None


@asynccontextmanager
async def open_payments(
    *,
    storage: Storage,
    chain: Chain,
    wallet: Wallet,
    peers: Peers,
    clock: Clock,
    settings: PaymentSettings,
    chain_id: int,
    judge: JudgeClaim | None = None,
    stake_chain: StakeChain | None = None,
    watch: WatchParts | None = None,
    on_flow: Callable[[Flow], None] = lambda _flow: None,
    demand: DemandUnpaid | None = None,
    open_case: OpenCase | None = None,
) -> AsyncGenerator[Payments, None]:
    """Take up every channel and escrow that is not over, and look after them until the block ends.

    Args:
        storage: Opened with the projection `OpenStreams`; one node at a time uses it.
        chain: The contracts (`ContractChain`).
        wallet: The signer.
        peers: Other nodes; this registers the methods of protocol/channel/messages.py.
        clock: The node's clock.
        settings: What the operator chose.
        chain_id: Of the chain.
        judge: Whether a claim on an escrow is owed that was not accepted; without it, none is.
        stake_chain: The stakes (`ContractStakes`); None on a network without.
        watch: For watchtowers; then `storage` is opened with `WATCH_SCHEMA`. None neither watches nor is watched.
        on_flow: Told of money that came or went, once that is durable.
        demand: Goes to court for what a channel's payer leaves unpaid, or an escrow's disputes;
            without it, nobody does.
        open_case: Takes a claim on an escrow that is contested to court; without it, claims are disputed, no more.

    Raises:
        TransientError: The chain can't be reached for the contract's constants.
    """
    rules = await chain.rules()
    async with trio.open_nursery() as nursery:
        room = Room(
            storage=storage,
            chain=chain,
            wallet=wallet,
            peers=peers,
            clock=clock,
            settings=settings,
            market_domain=Domain(chain_id=chain_id, verifying_contract=chain.escrow_contract),
            channel_domain=Domain(chain_id=chain_id, verifying_contract=chain.channel_contract),
            rules=rules,
            feed=Feed(chain, storage.cursors),
            nursery=nursery,
            on_flow=on_flow,
        )
        rails = (ChannelPayer(room), ChannelPayee(room), EscrowPayer(room, judge, open_case), EscrowPayee(room, demand))
        stakes = None if stake_chain is None else Stakes(room, stake_chain)
        sides: tuple[Side, ...] = rails if stakes is None else (*rails, stakes.provider, stakes.requester)
        tower, handover = None, None
        if watch is not None:
            store = WatchStore(storage)
            tower = Tower(room, watch.chain, store, watch.settings)
            handover = Handover(room, rails[1], watch.signer, store, watch.settings)
            sides = (*sides, tower)
        for side in sides:
            await side.start()

        async def deliver(fact: Fact) -> bool:
            mattered = False
            for side in sides:
                mattered |= await side.on_fact(fact)
            return mattered

        def on_block() -> None:
            for side in sides:
                side.on_block()

        await nursery.start(room.feed.run, deliver, on_block)
        channel_payer, channel_payee, escrow_payer, escrow_payee = rails
        nursery.start_soon(channel_payee.claims.desk.run)
        if handover is not None:
            await handover.start()
        if stakes is not None:
            nursery.start_soon(stakes.desk.run)
        yield Payments(
            payer=Payer(room, channel_payer, escrow_payer, stakes),
            payee=Payee(room, channel_payee, escrow_payee, stakes, demand),
            feed=room.feed,
            stakes=stakes,
            tower=tower,
            handover=handover,
        )
        nursery.cancel_scope.cancel()
