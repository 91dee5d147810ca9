"""What an offer says: the user's wish, and the terms that all offers of a node have in common. Pure."""

import math
from dataclasses import dataclass

from node.market.wish import Wish
from protocol.identity import ZERO_ADDRESS, Address, Digest
from protocol.market.objects import Offer
from protocol.market.offer import check_offer_terms, has_court_size, manifest_digest
from protocol.task.pricing import check_rates, rates_digest
from protocol.task.testing import check_testable
from protocol.task.verification import copies_of, verification_digest
from protocol.units import WHOLE, Amount, BasisPoints, Seconds, UnixTime
from protocol.wire.codec import encode


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketTerms:
    """What every offer of this node says, whatever the task.

    Attributes:
        token: What is paid in.
        arbiter: Who judges tasks whose parts cost no less than `dispute_fee` (L4); zero for nobody.
        liability_bps: Provider's liability, of budgets above `liability_above`.
        liability_above: Largest budget without liability.
        bond: What a bidder loses for two commitments.
        min_stake: Least free stake of a bidder.
        dispute_fee: Reserved for a committee, if there is an arbiter; zero if it judges for nothing.
        split_bps: The provider's share of a claim that nobody judges.
        pace: Time to claim, to dispute and to answer; the network's profile sets what is safe.
        resolve_within: Time to judge.
    """

    token: Address
    arbiter: Address
    liability_bps: BasisPoints
    liability_above: Amount = Amount(0)
    bond: Amount = Amount(0)
    min_stake: Amount = Amount(0)
    dispute_fee: Amount
    split_bps: BasisPoints
    pace: Seconds
    resolve_within: Seconds


def draft_offer(terms: MarketTerms, wish: Wish, *, requester: Address, now: float, salt: Digest) -> Offer:
    """Return an offer but for its rail.

    Args:
        terms: The node's.
        wish: What is wanted.
        requester: Who offers.
        now: Unix time, with its fraction.
        salt: 32 random bytes.

    Raises:
        OfferError, InvalidRates, InvalidVerification: The wish breaks a rule.
    """
    # `commit_by` is the last second that counts (C7): the window is open until its end.
    commit_by = math.ceil(now + wish.commit_window_s) - 1
    reveal_by = commit_by + max(1, math.ceil(wish.reveal_window_s))
    check_rates(wish.rates, wish.manifest)
    check_testable(wish.manifest, wish.verification)
    is_above = wish.budget > terms.liability_above
    liability = Amount(-(-wish.budget * terms.liability_bps // WHOLE) if is_above else 0)
    has_arbiter = terms.arbiter != ZERO_ADDRESS and has_court_size(
        wish.budget, max(1, len(wish.manifest.parts)), terms.dispute_fee
    )
    offer = Offer(
        requester=requester,
        token=terms.token,
        rail=terms.token,  # until it is chosen
        arbiter=terms.arbiter if has_arbiter else ZERO_ADDRESS,
        manifest=manifest_digest(encode(wish.manifest)),
        engine=wish.manifest.engine,
        rates=rates_digest(wish.rates),
        verification=verification_digest(wish.verification),
        format=wish.format,
        parts=len(wish.manifest.parts),
        copies=copies_of(wish.verification),
        w_price=wish.w_price,
        w_reputation=wish.w_reputation,
        w_speed=wish.w_speed,
        max_bidders=wish.max_bidders,
        split_bps=terms.split_bps,
        budget=wish.budget,
        bond=terms.bond,
        min_stake=terms.min_stake,
        liability=liability if has_arbiter else Amount(0),  # nobody else could take it (LK4)
        dispute_fee=terms.dispute_fee if has_arbiter else Amount(0),
        max_eta=wish.max_eta,
        start_within=wish.start_within,
        pace=terms.pace,
        resolve_within=terms.resolve_within,
        commit_by=UnixTime(commit_by),
        reveal_by=UnixTime(reveal_by),
        expires=UnixTime(reveal_by + wish.standby_for_s),
        salt=salt,
    )
    check_offer_terms(offer)
    return offer
