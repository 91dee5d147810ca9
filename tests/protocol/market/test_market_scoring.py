"""Scores, ties and prices against brute force and against the formula in exact fractions."""

import math
from dataclasses import replace
from fractions import Fraction
from itertools import permutations

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from protocol.identity import Address, Digest
from protocol.market.objects import AuctionFormat, Bid, Offer
from protocol.market.scoring import (
    AboveBudget,
    Candidate,
    NoCandidates,
    WrongEta,
    candidate_of,
    clearing_price,
    compute_score,
    greatest_price,
    place,
    place_standby,
    rank,
    remaining_price,
)
from protocol.signing.keccak import keccak256
from protocol.units import MAX_AMOUNT, Amount, BasisPoints, Seconds
from tests.protocol.market.market_world import make_offer, word

ROLL = word("roll")
# Few, small and extreme weights and budgets: where the rounding of a term changes from one price to the next.
BUDGETS = st.sampled_from([1, 2, 3, 7, 10, 99, 100, 101]) | st.integers(1, 300)
WEIGHTS = st.sampled_from([(0, 10_000), (10_000, 0), (5000, 3000), (1, 9999), (3333, 3333)])


def bid(name: str, price: int, eta: int = 1) -> Bid:
    return Bid(
        offer=word("offer"),
        roll=ROLL,
        bidder=Address(word(name)[:20]),
        price=Amount(price),
        eta=Seconds(eta),
        salt=word(f"salt {name}"),
    )


def offer_with(budget: int, weights: tuple[int, int], max_eta: int = 10, **changes: object) -> Offer:
    w_price, w_reputation = weights
    return make_offer(
        budget=Amount(budget),
        max_eta=Seconds(max_eta),
        w_price=BasisPoints(w_price),
        w_reputation=BasisPoints(w_reputation),
        w_speed=BasisPoints(10_000 - w_price - w_reputation),
        **changes,
    )


@st.composite
def fields(draw: st.DrawFn) -> tuple[Offer, list[Candidate]]:
    offer = offer_with(
        draw(BUDGETS), draw(WEIGHTS), draw(st.sampled_from([1, 2, 10, 600])), copies=draw(st.integers(1, 3))
    )
    candidates: list[Candidate] = []
    for index in range(draw(st.integers(1, 6))):
        price = draw(st.sampled_from([0, 1, offer.budget // 2, offer.budget - 1, offer.budget]))
        eta = draw(st.sampled_from([1, offer.max_eta]) | st.integers(1, offer.max_eta))
        reputation = draw(st.sampled_from([0, 1, 5000, 9999, 10_000]))
        candidates.append(candidate_of(offer, bid(str(index), price, eta), reputation))
    return offer, candidates


@given(fields())
def test_each_term_is_the_formula_in_exact_fractions_rounded_down(case: tuple[Offer, list[Candidate]]) -> None:
    offer, candidates = case
    for one in candidates:
        expected = (
            math.floor(Fraction(offer.w_price * 10**6 * (offer.budget - one.bid.price), offer.budget)),
            math.floor(Fraction(offer.w_reputation * 10**6 * one.reputation, 10_000)),
            math.floor(Fraction(offer.w_speed * 10**6 * (offer.max_eta - one.bid.eta), offer.max_eta)),
        )
        assert (one.score.price, one.score.reputation, one.score.speed) == expected
        assert one.score.total == sum(expected)


@given(BUDGETS, WEIGHTS, st.data())
def test_greatest_price_is_what_trying_every_price_finds(
    budget: int, weights: tuple[int, int], data: st.DataObject
) -> None:
    offer = offer_with(budget, weights)
    terms = [compute_score(offer, bid("x", price), 0).price for price in range(budget + 1)]
    near = st.sampled_from(terms).flatmap(lambda term: st.integers(term - 1, term + 1))
    needed = data.draw(near | st.integers(-5, weights[0] * 10**6 + 5))
    expected = max((price for price, term in enumerate(terms) if term >= needed), default=None)
    assert greatest_price(offer, needed) == expected


@given(fields())
def test_second_price_is_the_greatest_at_which_the_winner_still_reaches_the_next_bid(
    case: tuple[Offer, list[Candidate]],
) -> None:
    offer, candidates = case
    ranked = rank(ROLL, candidates)
    following = ranked[offer.copies] if len(ranked) > offer.copies else None
    for placement in place(offer, ranked):
        winner = placement.candidate
        assert placement.price >= winner.bid.price
        reaching = [
            price
            for price in range(offer.budget + 1)
            if following is None
            or compute_score(offer, replace(winner.bid, price=Amount(price)), winner.reputation).total
            >= following.score.total
        ]
        assert placement.price == max(reaching)


@given(fields())
def test_no_bid_changes_the_order_of_two_others(case: tuple[Offer, list[Candidate]]) -> None:
    _, candidates = case
    distinct = {candidate.score.total: candidate for candidate in candidates}
    assume(len(distinct) > 1)
    ranked = rank(ROLL, distinct.values())
    for left_out in ranked:
        assert rank(ROLL, [one for one in distinct.values() if one is not left_out]) == tuple(
            one for one in ranked if one is not left_out
        )


def test_a_tie_goes_to_the_lowest_hash_of_roll_sorted_salts_and_bidder_in_any_order_of_arrival() -> None:
    offer = make_offer()
    tied = [candidate_of(offer, bid(name, 1000), 5000) for name in "abc"]
    salts = b"".join(sorted(one.bid.salt for one in tied))

    def lot(one: Candidate) -> Digest:
        return keccak256(ROLL + salts + bytes(12) + one.bid.bidder)

    expected = tuple(sorted(tied, key=lot))
    assert all(rank(ROLL, order) == expected for order in permutations(tied))
    assert rank(word("another roll"), tied) != expected or rank(word("a third roll"), tied) != expected


def test_first_price_and_open_pay_the_winner_its_own_price() -> None:
    for kind in (AuctionFormat.SEALED_FIRST_PRICE, AuctionFormat.OPEN):
        offer = make_offer(format=kind)
        cheap, dear = (candidate_of(offer, bid(str(price), price), 5000) for price in (100, 300))
        assert clearing_price(offer, cheap, dear) == 100
        assert clearing_price(offer, cheap, None) == 100


def test_a_winner_alone_is_paid_the_budget() -> None:
    offer = make_offer()
    assert clearing_price(offer, candidate_of(offer, bid("a", 100), 0), None) == offer.budget


def test_amounts_of_the_full_width_score_without_overflow() -> None:
    offer = offer_with(MAX_AMOUNT, (10_000, 0))
    assert compute_score(offer, bid("a", 0), 0).price == 10**10
    assert compute_score(offer, bid("a", MAX_AMOUNT), 0).price == 0
    assert greatest_price(offer, 10**10) == 0
    assert greatest_price(offer, 10**10 + 1) is None


@pytest.mark.parametrize(("price", "eta", "error"), [(400_001, 300, AboveBudget), (1, 0, WrongEta), (1, 601, WrongEta)])
def test_a_bid_outside_the_offer_does_not_count(price: int, eta: int, error: type[Exception]) -> None:
    with pytest.raises(error, match="rule A2"):
        candidate_of(make_offer(), bid("a", price, eta), 0)


@pytest.mark.parametrize(("price", "eta"), [(400_000, 600), (0, 1)])
def test_a_bid_at_the_edge_of_the_offer_counts(price: int, eta: int) -> None:
    candidate_of(make_offer(), bid("a", price, eta), 0)


def test_the_standby_is_the_best_that_neither_failed_nor_serves_against_bid_k_plus_1_of_the_rest() -> None:
    offer = make_offer(copies=2)
    ranked = rank(ROLL, [candidate_of(offer, bid(str(n), 1000 * n), 5000) for n in range(1, 6)])
    first, second, third, fourth, fifth = ranked
    placed = place_standby(offer, ranked, failed=[first.bid.bidder], serving=[second.bid.bidder])
    assert placed.candidate == third
    assert placed.price == clearing_price(offer, third, fourth)
    placed = place_standby(offer, ranked, failed=[first.bid.bidder, second.bid.bidder], serving=[third.bid.bidder])
    assert (placed.candidate, placed.price) == (fourth, clearing_price(offer, fourth, fifth))


def test_no_standby_is_left_when_all_failed_or_serve() -> None:
    offer = make_offer(copies=2)
    ranked = rank(ROLL, [candidate_of(offer, bid(str(n), 1000), 5000) for n in range(2)])
    with pytest.raises(NoCandidates):
        place_standby(offer, ranked, failed=[ranked[0].bid.bidder], serving=[ranked[1].bid.bidder])


@given(
    st.sampled_from([1, 2, 4, 5, 7, 10]),
    st.lists(st.sampled_from([0, 1, 98, 99, 100]), min_size=4, max_size=4),
    st.lists(st.integers(0, 10), min_size=1, max_size=4),
)
@example(parts=4, prices=[100, 99, 0, 0], stops=[3, 10])  # part prices that are cut twice would pay 102
def test_what_is_paid_over_all_attempts_stays_within_the_budget(
    parts: int, prices: list[int], stops: list[int]
) -> None:
    offer = make_offer(parts=parts, budget=Amount(100))
    paid, done = 0, 0
    for price, stop in zip(prices, sorted(min(stop, parts) for stop in stops), strict=False):
        if done == parts:
            break
        remaining = parts - done
        awarded = remaining_price(offer, Amount(price), done)
        delivered = max(0, stop - done)
        # B2: each part the quotient, the last the remainder too.
        paid += awarded if delivered == remaining else delivered * (awarded // remaining)
        done += delivered
    assert paid <= 100
