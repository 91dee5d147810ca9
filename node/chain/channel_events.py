"""What PaymentChannel reports. Base units and Unix seconds."""

from dataclasses import dataclass

from protocol.identity import Address, Digest
from protocol.units import Amount, Uint64, UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelOpened:
    """A channel exists; its key is (payer, signer, payee, token, counter)."""

    channel: Digest
    payer: Address
    payee: Address
    signer: Address
    token: Address
    counter: Uint64
    deposit: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class ToppedUp:
    """Somebody added `amount` to a channel's deposit, which is now `deposit`."""

    channel: Digest
    funder: Address
    amount: Amount
    deposit: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelClaimed:
    """The payee was paid `paid`; `claimed` is its total in the channel."""

    channel: Digest
    claimed: Amount
    paid: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimSkipped:
    """A batch left this claim out; `reason` is the selector of the error."""

    channel: Digest
    reason: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldsPresented:
    """The payee presented a voucher: its holds now count against the payer's exit."""

    channel: Digest
    sequence: Uint64
    cumulative: Amount
    held: Amount
    holds: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitStarted:
    """The payer began to leave; `exits_at` is the last second of the challenge."""

    channel: Digest
    payer: Address
    exits_at: UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldEnforced:
    """An arbiter enforced the hold of `award` on the voucher presented last."""

    channel: Digest
    award: Digest
    arbiter: Address
    to_payee: Amount
    to_arbiter: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn:
    """`amount` of a channel went back to its payer."""

    channel: Digest
    payer: Address
    amount: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelClosed:
    """A channel is closed and empty; `to_payee` is what the payee got in all."""

    channel: Digest
    to_payee: Amount
