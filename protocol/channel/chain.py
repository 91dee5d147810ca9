"""What both sides of a channel learn from the chain: confirmed facts, each delivered once and in order.

The tags are the events' numbers in a journal; they are never reused. 1 to 15 belong to this module, 16 to 31 to the
payer's own events, 32 to 47 to the payee's.
"""

from dataclasses import dataclass
from typing import TypeAlias

from protocol.channel.objects import ChannelKey
from protocol.identity import Digest
from protocol.units import Amount, Uint64, UnixTime
from protocol.wire.codec import tagged


@tagged(1)
@dataclass(frozen=True, slots=True, kw_only=True)
class OpenConfirmed:
    """The channel exists with this deposit."""

    key: ChannelKey
    deposit: Amount


@tagged(2)
@dataclass(frozen=True, slots=True, kw_only=True)
class TopUpConfirmed:
    """Somebody added to the deposit, which is now `deposit`."""

    deposit: Amount


@tagged(3)
@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimConfirmed:
    """The payee has been paid `claimed` in all."""

    claimed: Amount


@tagged(4)
@dataclass(frozen=True, slots=True, kw_only=True)
class PresentConfirmed:
    """The payee presented voucher `sequence`: its holds now count against the payer's exit (M4)."""

    sequence: Uint64
    cumulative: Amount
    held: Amount


@tagged(5)
@dataclass(frozen=True, slots=True, kw_only=True)
class ExitConfirmed:
    """The payer's exit has begun, by the payer or by an enforcement. `exits_at` is the last second of the challenge."""

    exits_at: UnixTime


@tagged(6)
@dataclass(frozen=True, slots=True, kw_only=True)
class EnforceConfirmed:
    """An arbiter enforced the hold of `award` on the voucher presented last. The payer's exit has begun before.

    Attributes:
        award: Whose hold.
        to_payee: What the payee was paid by it.
        to_arbiter: What left the deposit for the arbiter.
        reserved: What the payee would have in all if the voucher's other holds were enforced in full; 0 without any.
    """

    award: Digest
    to_payee: Amount
    to_arbiter: Amount
    reserved: Amount


@tagged(7)
@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawConfirmed:
    """`amount` went back to the payer."""

    amount: Amount


@tagged(8)
@dataclass(frozen=True, slots=True, kw_only=True)
class CloseConfirmed:
    """The channel is closed and empty; the payee got `to_payee` from it in all."""

    to_payee: Amount


@tagged(9)
@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSeen:
    """A block with this time is confirmed.

    Only the newest matters, so a journal need not keep each; but what is allowed depends on it, so a replay must apply,
    before each other event, the newest time that was known when it happened.
    """

    time: UnixTime


ChainEvent: TypeAlias = (
    OpenConfirmed
    | TopUpConfirmed
    | ClaimConfirmed
    | PresentConfirmed
    | ExitConfirmed
    | EnforceConfirmed
    | WithdrawConfirmed
    | CloseConfirmed
    | BlockSeen
)
