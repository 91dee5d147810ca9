"""The signed objects of a payment channel (docs/spec/objects.md), and what names a channel."""

from dataclasses import dataclass
from functools import lru_cache

from protocol.identity import Address, Digest
from protocol.signing.eip712 import encode_words
from protocol.signing.keccak import keccak256
from protocol.units import Amount, Seconds, Uint64, UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class Voucher:
    """All that the payer owes in one channel so far, and what it has promised on top. Signed by the payer.

    `cumulative` is a running total. `held` is the sum of the leaves under `holds`, each a `Hold`.
    """

    channel: Digest
    sequence: Uint64
    cumulative: Amount
    held: Amount
    holds: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Money promised to one award; the arbiter can enforce it and a payer's exit can't touch it. A Merkle leaf.

    `amount` is the award's price and dispute fee, less what the vouchers have already paid for it.
    """

    award: Digest
    arbiter: Address
    amount: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """Both parties end a channel at once: `cumulative` in all to the payee, the rest back. Void after `close_by`."""

    channel: Digest
    cumulative: Amount
    close_by: UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelKey:
    """What names a channel (O3). `counter` is never reused, so neither is a channel's id.

    Attributes:
        payer: Who deposited; may be a contract.
        signer: Plain key that signs vouchers for the payer.
        payee: Who is paid.
        token: In what.
        counter: 1 for the payer's first channel, and so on.
    """

    payer: Address
    signer: Address
    payee: Address
    token: Address
    counter: Uint64


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelRules:
    """The channel contract's own constants.

    Attributes:
        challenge: From the start of an exit to the payer's first withdrawal.
        hold_period: For how long after that presented holds stay reserved.
    """

    challenge: Seconds
    hold_period: Seconds


@lru_cache(maxsize=4096)
def channel_id(key: ChannelKey) -> Digest:
    """Return a channel's id: keccak(abi.encode(payer, signer, payee, token, counter))."""
    return keccak256(encode_words(key))
