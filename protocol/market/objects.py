"""The signed objects of an auction, field for field as docs/spec/objects.md gives them (O1-O5)."""

from dataclasses import dataclass
from enum import IntEnum

from protocol.identity import Address, ContentDigest, Digest
from protocol.units import Amount, BasisPoints, Seconds, Uint8, Uint16, Uint32, UnixTime


class AuctionFormat(IntEnum):
    """How a winner is found and what it is paid (DESIGN D5)."""

    DIRECT = 0
    """No auction: the requester hires one provider (O5)."""
    SEALED_SECOND_PRICE = 1
    SEALED_FIRST_PRICE = 2
    OPEN = 3
    """Bids are visible as they come; no commitments (A4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a requester wants, on which terms. Signed by the requester."""

    requester: Address
    token: Address
    rail: Address
    arbiter: Address
    manifest: ContentDigest
    engine: Digest
    rates: Digest
    verification: Digest
    format: Uint8
    parts: Uint32
    copies: Uint16
    w_price: BasisPoints
    w_reputation: BasisPoints
    w_speed: BasisPoints
    max_bidders: Uint16
    split_bps: BasisPoints
    budget: Amount
    bond: Amount
    min_stake: Amount
    liability: Amount
    dispute_fee: Amount
    max_eta: Seconds
    start_within: Seconds
    pace: Seconds
    resolve_within: Seconds
    commit_by: UnixTime
    reveal_by: UnixTime
    expires: UnixTime
    salt: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitment:
    """A sealed bid. Signed by the bidder; `hash` is that of a `SealedBid`."""

    offer: Digest
    bidder: Address
    hash: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedBid:
    """What a commitment hides. Its `abi.encode` is hashed; it is never signed or sent as such."""

    offer: Digest
    bidder: Address
    price: Amount
    eta: Seconds
    salt: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class RollLeaf:
    """One bidder that takes part, with the reputation that the requester gives it (0..10,000)."""

    commitment: Digest
    bidder: Address
    reputation: Uint16


@dataclass(frozen=True, slots=True, kw_only=True)
class Roll:
    """Who takes part, fixed before any price is known (A1). Signed by the requester."""

    offer: Digest
    root: Digest
    count: Uint16


@dataclass(frozen=True, slots=True, kw_only=True)
class Bid:
    """A bid laid open, to one roll only. Signed by the bidder."""

    offer: Digest
    roll: Digest
    bidder: Address
    price: Amount
    eta: Seconds
    salt: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Award:
    """Who does which parts for how much, on which rail. Signed by the requester."""

    offer: Digest
    roll: Digest
    bids: Digest
    requester: Address
    provider: Address
    token: Address
    rail: Address
    channel: Digest
    arbiter: Address
    slot: Uint16
    attempt: Uint16
    first_part: Uint32
    parts: Uint32
    price: Amount
    liability: Amount
    dispute_fee: Amount
    split_bps: BasisPoints
    start_by: UnixTime
    deliver_by: UnixTime
    pace: Seconds
    resolve_within: Seconds
    audit_seal: Digest
