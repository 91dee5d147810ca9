"""Who watches this node's channels, and whose channels it watches."""

from dataclasses import dataclass

from protocol.identity import Address, Digest
from protocol.units import Amount, UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class TowerView:
    """A tower of ours.

    Attributes:
        channels: How many it says that it watches for us.
        heard_at: When it answered last, since this node started; None if it has not.
        least: The smallest gain for which it acts; None before it told.
        trouble: Why the last request failed; empty if it did not.
    """

    wallet: Address
    channels: int
    heard_at: UnixTime | None
    least: Amount | None
    trouble: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldView:
    """What one tower holds of a channel: a sequence, 0 for nothing; and why it refused more."""

    tower: Address
    sequence: int
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverView:
    """A channel that pays this wallet.

    Attributes:
        sequence: Of our newest voucher.
        at_stake: What would be lost if the payer left while this node is away.
        covered: Whether that is less than `watchtower.hand_at`.
    """

    channel: Digest
    payer: Address
    sequence: int
    at_stake: Amount
    covered: bool
    towers: tuple[HeldView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchClientView:
    """Somebody for whom this node watches.

    Attributes:
        allowed: Whether new orders are taken.
        size: Bytes of all its orders.
        seen_at: When it was heard of last, since this node started; None if it was not.
        acts: Transactions for it within 24 hours.
    """

    wallet: Address
    allowed: bool
    watches: int
    size: int
    seen_at: UnixTime | None
    acts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedView:
    """A channel that this node watches for a client.

    Attributes:
        worth: What the order says that the client has in it, paid and held.
        act_at: When this node acts, as things stand; None if there is nothing to do.
        acting: Whether a transaction is on its way.
        trouble: Why an act failed, or waits; empty if it did not.
    """

    channel: Digest
    client: Address
    payer: Address
    sequence: int
    worth: Amount
    received_at: UnixTime
    act_at: UnixTime | None
    acting: bool
    trouble: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchReport:
    """Both sides of it: `towers` and `channels` are about our own money, `clients` and `watches` about others'."""

    towers: tuple[TowerView, ...]
    channels: tuple[CoverView, ...]
    clients: tuple[WatchClientView, ...]
    watches: tuple[WatchedView, ...]
