"""Auctions, their bids, and what a check of one found."""

from dataclasses import dataclass
from typing import Literal

from node.api.views.tasks import AwardView
from protocol.identity import Address, Digest
from protocol.units import Amount, UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class AuctionView:
    """An auction that this node held, took part in, or heard.

    Attributes:
        role: What this node was in it.
        bidders: Commitments heard (open format: bidders).
        bids: Bids revealed.
        own_price: This node's bid.
    """

    auction: Digest
    requester: Address
    role: Literal["requester", "bidder", "observer"]
    state: str
    format: str
    budget: Amount
    parts: int
    commit_by: UnixTime
    reveal_by: UnixTime
    bidders: int
    bids: int
    winner: Address | None
    price: Amount | None
    own_price: Amount | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BidView:
    """A bid that counts, and its score: term by term, of 10**6 times the weights."""

    bidder: Address
    position: int
    price: Amount
    eta_s: int
    reputation: int
    score: int
    price_score: int
    reputation_score: int
    speed_score: int
    won: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AuctionDetail:
    """Everything about an auction."""

    auction: AuctionView
    weight_price: int
    weight_reputation: int
    weight_speed: int
    max_eta_s: int
    bids: tuple[BidView, ...]
    awards: tuple[AwardView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BidderVerdict:
    """Why one bidder won or lost, in a sentence."""

    bidder: Address
    won: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuctionVerdict:
    """An auction computed again from its signed messages.

    Attributes:
        ok: Whether every rule held.
        rule: The broken rule of docs/spec/auction.md; empty if none.
        problem: What is wrong, in words; empty if nothing.
        evidence: File for `auctions verify FILE`, on any machine; see `node.api.evidence`.
    """

    auction: Digest
    ok: bool
    rule: str
    problem: str
    bidders: tuple[BidderVerdict, ...]
    evidence: bytes
