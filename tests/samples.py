"""An offer and an award of which a test says only what matters to it."""

from dataclasses import replace
from typing import Any

from protocol.identity import ZERO_ADDRESS, ZERO_DIGEST, ContentDigest
from protocol.market.objects import AuctionFormat, Award, Offer
from protocol.units import Amount, BasisPoints, Seconds, UnixTime

_OFFER = Offer(
    requester=ZERO_ADDRESS,
    token=ZERO_ADDRESS,
    rail=ZERO_ADDRESS,
    arbiter=ZERO_ADDRESS,
    manifest=ContentDigest(ZERO_DIGEST),
    engine=ZERO_DIGEST,
    rates=ZERO_DIGEST,
    verification=ZERO_DIGEST,
    format=AuctionFormat.SEALED_SECOND_PRICE,
    parts=1,
    copies=1,
    w_price=BasisPoints(10_000),
    w_reputation=BasisPoints(0),
    w_speed=BasisPoints(0),
    max_bidders=8,
    split_bps=BasisPoints(5_000),
    budget=Amount(1),
    bond=Amount(0),
    min_stake=Amount(0),
    liability=Amount(0),
    dispute_fee=Amount(0),
    max_eta=Seconds(60),
    start_within=Seconds(60),
    pace=Seconds(60),
    resolve_within=Seconds(60),
    commit_by=UnixTime(1),
    reveal_by=UnixTime(2),
    expires=UnixTime(3),
    salt=ZERO_DIGEST,
)
_AWARD = Award(
    offer=ZERO_DIGEST,
    roll=ZERO_DIGEST,
    bids=ZERO_DIGEST,
    requester=ZERO_ADDRESS,
    provider=ZERO_ADDRESS,
    token=ZERO_ADDRESS,
    rail=ZERO_ADDRESS,
    channel=ZERO_DIGEST,
    arbiter=ZERO_ADDRESS,
    slot=0,
    attempt=0,
    first_part=0,
    parts=1,
    price=Amount(1),
    liability=Amount(0),
    dispute_fee=Amount(0),
    split_bps=BasisPoints(5_000),
    start_by=UnixTime(1),
    deliver_by=UnixTime(2),
    pace=Seconds(60),
    resolve_within=Seconds(60),
    audit_seal=ZERO_DIGEST,
)


def sample_offer(**changes: Any) -> Offer:
    """Return an offer of nobody, with these fields otherwise."""
    return replace(_OFFER, **changes)


def sample_award(**changes: Any) -> Award:
    """Return an award of nobody, with these fields otherwise."""
    return replace(_AWARD, **changes)
