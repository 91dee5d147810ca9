"""Payments over both rails, what else speaks to the contracts, and what goes to court."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

from node.app.bench_desk import BenchDesk, bench_desk
from node.app.contract_chain import ContractChain
from node.app.court_chain import contract_court
from node.app.disputing import Advocacy, open_advocacy
from node.app.judging import make_judge
from node.app.opening.base import Base
from node.app.peers import WalletPeers
from node.app.stake_chain import contract_stakes
from node.app.terms import payment_settings
from node.app.watch_chain import watch_parts
from node.chain.abi import Abi
from node.chain.erc8004 import REPUTATION_ABI
from node.chain.event_index import open_event_index
from node.chain.event_store import SqlEventStore
from node.chain.gateway import Gateway, abis_of, open_gateway
from node.chain.transaction_log import JournaledTransactionLog
from node.chain.transactor import Transactor, open_transactor
from node.operations.later_clock import LaterClock
from node.payments.payments import Payments, open_payments
from protocol.identity import ZERO_ADDRESS, Address
from protocol.units import UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """The payments, what else speaks to the contracts, and what goes to court; None on a network without one."""

    payments: Payments
    transactor: Transactor
    gateway: Gateway
    contracts: ContractChain
    advocacy: Advocacy | None
    bench: BenchDesk | None


async def open_money(stack: AsyncExitStack, base: Base, peers: WalletPeers) -> Money:
    """Take up every channel, escrow and stake, and follow the chain for them."""
    journal, chain, signer = base.storage.journal, base.chain, base.signer
    transactor = await stack.enter_async_context(
        open_transactor(
            chain,
            signer,
            JournaledTransactionLog(journal, base.deployment.chain_id, signer.address),
            {**abis_of(base.deployment), **_foreign(base)},
        )
    )
    index = await stack.enter_async_context(open_event_index(chain, SqlEventStore(base.storage)))
    gateway = open_gateway(chain, transactor)
    court = contract_court(chain, index, gateway, signer.address, base.storage.cursors)
    clock = LaterClock(clock=base.clock, chain_time=lambda: UnixTime(0) if index.last is None else index.last.time)
    advocacy = await open_advocacy(base.storage, clock, signer, court, base.witness.instruments.on_dispute)
    contracts = ContractChain(chain, index, gateway, signer.address, base.storage.cursors)
    payments = await stack.enter_async_context(
        open_payments(
            storage=base.storage,
            chain=contracts,
            wallet=signer,
            peers=peers,
            clock=base.clock,
            settings=payment_settings(base.settings),
            chain_id=base.deployment.chain_id,
            judge=make_judge(base.storage, clock, advocacy.litigant.contest)
            if advocacy is not None
            else make_judge(base.storage, clock),
            stake_chain=contract_stakes(chain, gateway),
            watch=watch_parts(base.settings, gateway, signer),
            on_flow=base.witness.instruments.on_flow,
            demand=None if advocacy is None else advocacy.litigant.demand,
            open_case=None if advocacy is None else advocacy.opening.open,
        )
    )
    timeout_s = base.settings.payments.confirm_timeout_s
    return Money(
        payments=payments,
        transactor=transactor,
        gateway=gateway,
        contracts=contracts,
        advocacy=advocacy,
        bench=bench_desk(chain, index, gateway, signer.address, timeout_s=timeout_s),
    )


def _foreign(base: Base) -> Mapping[Address, Abi]:
    """Return the contracts of others that this node sends to."""
    registry = base.signer.scope.feedback
    return {} if registry == ZERO_ADDRESS else {registry: REPUTATION_ABI}
