"""A running node in one hand: what the doors speak to."""

from collections.abc import Callable
from dataclasses import dataclass

from node.app.bench_desk import BenchDesk
from node.app.sandbox import WasmSandbox
from node.app.selling import Seller
from node.arbitration.arbiter import Arbiter
from node.arbitration.ordering import Ordering
from node.arbitration.party import Party
from node.chain.chain import Chain
from node.chain.erc8004 import FeedbackRegistry
from node.chain.transactor import Transactor
from node.config.settings import Settings
from node.execution.pool import WorkerPool
from node.feedback.writing import FeedbackWriter
from node.market.gossip import MarketGossip
from node.market.provider import Provider
from node.market.requester import Requester
from node.networking.directory import Directory
from node.networking.network import Network
from node.operations.clock import Clock
from node.operations.health import HealthRegistry
from node.payments.payments import Payments
from node.reputation.anchoring import Anchors
from node.storage.storage import Storage
from node.wallet.signer import Signer
from protocol.signing.eip712 import Domain
from protocol.units import UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """Made by `open_node`; good until its block ends.

    Attributes:
        anchors: None on a network without stakes.
        bench: None on a network without a court.
        arbiter: None unless this node judges.
        party, ordering: None on a network without a court.
        feedback, registry: None if no registry of ERC-8004 is set.
    """

    settings: Settings
    started_at: UnixTime
    domain: Domain
    clock: Clock
    health: HealthRegistry
    storage: Storage
    signer: Signer
    chain: Chain
    transactor: Transactor
    anchors: Anchors | None
    feedback: FeedbackWriter | None
    registry: FeedbackRegistry | None
    network: Network
    directory: Directory
    pool: WorkerPool
    sandbox: WasmSandbox
    gossip: MarketGossip
    payments: Payments
    bench: BenchDesk | None
    requester: Requester
    provider: Provider
    arbiter: Arbiter | None
    party: Party | None
    ordering: Ordering | None
    seller: Seller
    stop: Callable[[], None]
