"""What is asked of the requester."""

from dataclasses import dataclass

from protocol.identity import Address
from protocol.market.objects import AuctionFormat
from protocol.task.manifest import Manifest
from protocol.task.pricing import Rates
from protocol.task.verification import Verification
from protocol.units import Amount, BasisPoints, Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a user wants of one task.

    Attributes:
        commit_window_s, reveal_window_s: Least time for commitments and for reveals, seconds.
        standby_for_s: How long after the reveals standbys may still be hired.
        hire: Hire this provider directly, at the budget; None to auction.
    """

    manifest: Manifest
    rates: Rates
    verification: Verification
    budget: Amount
    max_eta: Seconds
    format: AuctionFormat
    w_price: BasisPoints
    w_reputation: BasisPoints
    w_speed: BasisPoints
    max_bidders: int
    commit_window_s: float
    reveal_window_s: float
    start_within: Seconds
    standby_for_s: int
    hire: Address | None = None
