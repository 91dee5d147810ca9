"""What was earned, and where a node's money is."""

from dataclasses import dataclass
from typing import Literal

from node.api.json_codec import Wei
from node.api.views.names import RailName
from node.api.views.status import CapView
from protocol.identity import Address, Digest
from protocol.units import Amount, UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class EarningView:
    """What one award brought."""

    award: Digest
    requester: Address
    task: str
    taken_at: UnixTime
    state: str
    reason: str
    price: Amount
    earned: Amount
    parts: int
    paid_parts: int
    rail: RailName


@dataclass(frozen=True, slots=True, kw_only=True)
class EarningsReport:
    """What this node earned since a time. `unclaimed` is paid off-chain and not yet claimed on the chain."""

    since: UnixTime
    earned: Amount
    unclaimed: Amount
    awards: tuple[EarningView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelView:
    """A payment channel.

    Attributes:
        peer: The other side's wallet.
        paid: Sum of all payments so far (`cumulative`).
        held: Promised to tasks in flight.
        free: Deposit that is neither.
        unclaimed: Of `paid`, what the payee has not yet taken from the contract.
        leaves_at: When the payer's exit ends; None if there is none.
    """

    channel: Digest
    role: Literal["payer", "payee"]
    peer: Address
    state: str
    deposit: Amount
    paid: Amount
    held: Amount
    free: Amount
    unclaimed: Amount
    leaves_at: UnixTime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EscrowView:
    """An award that is paid from the escrow contract."""

    award: Digest
    role: Literal["payer", "payee"]
    peer: Address
    state: str
    amount: Amount
    paid: Amount
    claim_by: UnixTime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WalletView:
    """The wallet: `in_channels` and `in_escrow` are deposits of this wallet that contracts hold."""

    address: Address
    did: str
    chain_id: int
    token: Address
    token_balance: Amount
    gas_balance: Wei
    in_channels: Amount
    in_escrow: Amount
    caps: tuple[CapView, ...]
