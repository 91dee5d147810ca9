"""What a node says of itself, of its peers and of what it sells."""

from dataclasses import dataclass

from node.api.json_codec import Wei
from protocol.identity import Address, PeerId
from protocol.units import Amount, UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class PricesView:
    """The five prices of SPEC B1."""

    start: Amount
    gfuel: Amount
    mib_gfuel: Amount
    mib_in: Amount
    mib_out: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class CapView:
    """One spending cap. `name` is as in the configuration: per_task, per_hour, per_day, per_peer."""

    name: str
    limit: Amount
    left: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class CountView:
    """How often something happened, such as a reason not to bid."""

    text: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthView:
    """One part of the node."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvideView:
    """What this node sells.

    Attributes:
        enabled: Whether it bids.
        draining: Whether it finishes what it has and takes nothing new.
        workers: Parts that can run at once.
        busy: Parts that run now.
        fuel_per_s: What one core was measured to do; 0 if it was not measured.
        refusals: Why offers were not bid on.
    """

    enabled: bool
    draining: bool
    workers: int
    busy: int
    memory_mib: int
    fuel_per_s: int
    prices: PricesView
    refusals: tuple[CountView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionView:
    """A transaction that is not confirmed yet.

    Attributes:
        title: What it does.
        nonce: Its number in the account; None while it is queued.
        attempts: How many were signed for it: more than one if the fee was raised.
        max_fee: Most that the newest offers per gas, wei; 0 while it is queued.
        waits_for: Why it does not go on; empty if it does.
    """

    title: str
    nonce: int | None
    attempts: int
    max_fee: Wei
    waits_for: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """The node at a glance.

    Attributes:
        listening: Multiaddresses with the peer id, as others dial them.
        chain_away_since: Since when the chain has answered nothing, this run; None while it answers.
        confirmed_at: Time of the newest confirmed block; 0 before the first.
        token_balance: Of the wallet; None while the chain does not answer.
        gas_balance: For transaction fees; None while the chain does not answer.
        open_tasks: Bought and not over.
        open_deliveries: Sold and not over.
        transactions: What is owed to the chain and not confirmed, in the order in which it goes out; the first 100.
        warnings: What the operator should know or do, one sentence each (no gas money with claims due, ...).
    """

    version: str
    name: str
    wallet: Address
    did: str
    peer: PeerId
    listening: tuple[str, ...]
    connected_peers: int
    chain_id: int
    chain_reachable: bool
    chain_away_since: UnixTime | None
    confirmed_block: int
    confirmed_at: UnixTime
    token_balance: Amount | None
    gas_balance: Wei | None
    started_at: UnixTime
    open_tasks: int
    open_deliveries: int
    selling: ProvideView
    transactions: tuple[TransactionView, ...]
    health: tuple[HealthView, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerView:
    """Another node. `wallet` and `prices` come from its signed record; None before it is known."""

    peer: PeerId
    wallet: Address | None
    addresses: tuple[str, ...]
    connected: bool
    sells: bool
    gfuel: Amount | None
    record_expires: UnixTime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvideOrder:
    """What to sell from now on. What is None stays as it is."""

    enabled: bool | None = None
    prices: PricesView | None = None
    fuel_per_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelView:
    """How fast one core does one kind of work."""

    name: str
    fuel_per_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationView:
    """How fast this machine is, on one core: the kinds of work, their median and the slowest."""

    kernels: tuple[KernelView, ...]
    fuel_per_s: int
    slowest_fuel_per_s: int
