"""What makes an offer sound: one test a rule, at its edge."""

from dataclasses import replace
from typing import Any

import pytest

from protocol.identity import ZERO_ADDRESS, Address
from protocol.market.errors import OfferError
from protocol.market.objects import AuctionFormat
from protocol.market.offer import (
    BadCount,
    BadShare,
    CheckedOffer,
    ContentMismatch,
    CourtBounds,
    FeeWithoutCourt,
    ManifestMismatch,
    NoBudget,
    NotToTaste,
    OfferOver,
    OfferTaste,
    TimesOutOfOrder,
    UnknownFormat,
    WeightsNotWhole,
    check_offer,
    check_offer_terms,
    manifest_digest,
)
from protocol.signing.ecdsa import BadSignature
from protocol.signing.signed import sign_struct
from protocol.task.verification import Copies, InvalidVerification, Trust, encode_verification
from protocol.units import Amount, Seconds, UnixTime
from protocol.wire.codec import DecodeError, encode
from tests.protocol.market.market_world import (
    ARBITER,
    DOMAIN,
    ELSEWHERE,
    NOW,
    RAIL,
    RATES,
    TOKEN,
    checked,
    key,
    make_manifest,
    make_offer,
    signed_offer,
    word,
)

TASTE = OfferTaste(
    tokens=frozenset([TOKEN]),
    rails=frozenset([RAIL]),
    arbiters=frozenset([ARBITER]),
    min_pace=Seconds(3600),
    max_life=Seconds(1000),
    max_eta=Seconds(600),
    stakes=True,
)


def check(offer: Any, **changes: Any) -> CheckedOffer:
    arguments: dict[str, Any] = {
        "manifest": encode(make_manifest()),
        "rates": RATES,
        "verification": encode_verification(Trust()),
        "now": UnixTime(NOW),
        "taste": TASTE,
    }
    return check_offer(DOMAIN, signed_offer(offer), **(arguments | changes))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, None),
        ({"dispute_fee": 9}, "is named takes"),
        ({"dispute_fee": 21}, "is named takes"),
        ({"dispute_fee": 20, "budget": 40}, None),
        ({"dispute_fee": 20, "budget": 39}, "L4"),
        ({"resolve_within": 3_899}, "needs 3900"),  # the court's least, and a pace to go there
    ],
)
def test_an_offer_that_names_the_court_and_can_have_no_case_is_not_read(
    changes: dict[str, int], problem: str | None
) -> None:
    bounds = CourtBounds(address=ARBITER, least_fee=Amount(10), greatest_fee=Amount(20), min_resolve_within=300)
    given = {"parts": 2, "budget": 1_000, "dispute_fee": 10, "resolve_within": 3_900}
    offer, manifest = make_offer(**(given | changes)), encode(make_manifest(2))
    for taste in (replace(TASTE, court=bounds), replace(TASTE, court=replace(bounds, address=TOKEN))):
        is_its_court = taste.court is not None and taste.court.address == ARBITER
        if problem is None or not is_its_court:
            check(offer, manifest=manifest, taste=taste)
        else:
            with pytest.raises(NotToTaste, match=problem):
                check(offer, manifest=manifest, taste=taste)


@pytest.mark.parametrize("changes", [{"bond": 1}, {"min_stake": 1}, {"liability": 1}])
def test_an_offer_that_asks_for_stake_is_not_read_where_there_are_no_stakes(changes: dict[str, int]) -> None:
    offer = make_offer(**({"liability": 0} | changes))
    check(offer)
    without = replace(TASTE, stakes=False)
    with pytest.raises(NotToTaste, match="stake"):
        check(offer, taste=without)
    check(make_offer(liability=0), taste=without)


def test_a_sound_offer_is_returned_with_what_it_names() -> None:
    found = check(make_offer())
    assert found.manifest == make_manifest()
    assert found.offer == make_offer()
    assert found.warnings == ("cheating may pay: nothing is checked, so a wrong result is never noticed (L5)",)


@pytest.mark.parametrize(
    ("error", "changes"),
    [
        (UnknownFormat, {"format": 4}),
        (WeightsNotWhole, {"w_price": 5001}),
        (WeightsNotWhole, {"w_speed": 1999}),
        (BadShare, {"split_bps": 10_001}),
        (NoBudget, {"budget": 0}),
        (BadCount, {"parts": 0}),
        (BadCount, {"copies": 0}),
        (BadCount, {"max_bidders": 0}),
        (BadCount, {"max_bidders": 257}),
        (BadCount, {"copies": 17}),
        (BadCount, {"copies": 2, "format": AuctionFormat.DIRECT}),
        (TimesOutOfOrder, {"commit_by": NOW + 20}),
        (TimesOutOfOrder, {"reveal_by": NOW + 1000}),
        (TimesOutOfOrder, {"max_eta": 0}),
        (TimesOutOfOrder, {"start_within": 0}),
        (TimesOutOfOrder, {"pace": 0}),
        (TimesOutOfOrder, {"resolve_within": 0}),
        (TimesOutOfOrder, {"expires": 2**64 - 1}),
        (TimesOutOfOrder, {"expires": 2**64 - 30 - 600 - 3 * 3600 - 7200}),
        (FeeWithoutCourt, {"arbiter": ZERO_ADDRESS}),
    ],
)
def test_an_offer_that_breaks_a_rule_is_refused_by_its_name(error: type[OfferError], changes: dict[str, int]) -> None:
    with pytest.raises(error) as caught:
        check_offer_terms(make_offer(**changes))
    assert caught.value.rule
    assert f"(rule {caught.value.rule})" in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"split_bps": 0},
        {"split_bps": 10_000},
        {"w_price": 10_000, "w_reputation": 0, "w_speed": 0},
        {"budget": 1},
        {"max_bidders": 256, "copies": 256},
        {"max_bidders": 1},
        {"commit_by": NOW + 19},
        {"expires": NOW + 21},
        {"max_eta": 1, "start_within": 1, "pace": 1, "resolve_within": 1},
        {"expires": 2**64 - 31 - 600 - 3 * 3600 - 7200},
        {"arbiter": ZERO_ADDRESS, "dispute_fee": 0},
        {"format": AuctionFormat.DIRECT},
    ],
)
def test_an_offer_at_the_edge_of_a_rule_is_sound(changes: dict[str, Any]) -> None:
    check_offer_terms(make_offer(**changes))


def test_an_offer_can_be_bid_on_in_the_last_second_and_not_after() -> None:
    check(make_offer(), now=UnixTime(NOW + 10))
    with pytest.raises(OfferOver, match="bid"):
        check(make_offer(), now=UnixTime(NOW + 11))


def test_a_direct_hire_is_open_until_the_offer_ends() -> None:
    offer = make_offer(format=AuctionFormat.DIRECT, commit_by=UnixTime(NOW - 2), reveal_by=UnixTime(NOW - 1))
    check(offer, now=UnixTime(NOW + 1000))
    with pytest.raises(OfferOver, match="hire"):
        check(offer, now=UnixTime(NOW + 1001))


def test_content_that_the_offer_does_not_name_is_refused() -> None:
    with pytest.raises(ContentMismatch, match="manifest"):
        check(make_offer(), manifest=encode(make_manifest(2)))
    with pytest.raises(ContentMismatch, match="rates"):
        check(make_offer(), rates=replace(RATES, start=Amount(6)))
    with pytest.raises(InvalidVerification):
        check(make_offer(), verification=encode_verification(Copies(count=2)))


def test_a_manifest_of_another_engine_or_number_of_parts_is_refused() -> None:
    with pytest.raises(ManifestMismatch, match="engine"):
        check(make_offer(engine=word("another engine")))
    two = encode(make_manifest(2))
    with pytest.raises(ManifestMismatch, match="2 parts"):
        check(make_offer(manifest=manifest_digest(two)), manifest=two)


def test_a_manifest_that_is_no_manifest_is_refused() -> None:
    with pytest.raises(DecodeError):
        check(make_offer(manifest=manifest_digest(b"\xc0")), manifest=b"\xc0")


def test_copies_must_be_those_that_the_policy_compares() -> None:
    assert checked(make_offer(copies=2)).offer.copies == 2
    with pytest.raises(BadCount, match="compares 1"):
        check(replace(make_offer(), copies=2))


def test_an_offer_of_another_signer_chain_or_contract_is_refused() -> None:
    content: dict[str, Any] = {
        "manifest": encode(make_manifest()),
        "rates": RATES,
        "verification": encode_verification(Trust()),
        "now": UnixTime(NOW),
    }
    for signed in (
        sign_struct(key("mallory"), DOMAIN, make_offer()),
        sign_struct(key("alice"), ELSEWHERE, make_offer()),
        sign_struct(key("alice"), replace(DOMAIN, verifying_contract=Address(b"\x12" * 20)), make_offer()),
    ):
        with pytest.raises(BadSignature):
            check_offer(DOMAIN, signed, **content)


@pytest.mark.parametrize(
    ("changes", "word_of_reason"),
    [
        ({"token": ZERO_ADDRESS}, "token"),
        ({"rail": TOKEN}, "contract"),
        ({"arbiter": TOKEN}, "arbiter"),
        ({"pace": 3599}, "pace"),
        ({"expires": NOW + 1001}, "ends in"),
        ({"max_eta": 601}, "max_eta"),
    ],
)
def test_a_sound_offer_may_not_be_to_taste(changes: dict[str, Any], word_of_reason: str) -> None:
    offer = make_offer(**changes)
    check(offer, taste=None)
    with pytest.raises(NotToTaste, match=word_of_reason):
        check(offer)


def test_the_user_is_told_when_no_court_can_help() -> None:
    assert any("no court" in warning for warning in check(make_offer(budget=Amount(49_999))).warnings)
    assert not any("no court" in warning for warning in check(make_offer(budget=Amount(50_000))).warnings)
    without = make_offer(arbiter=ZERO_ADDRESS, dispute_fee=Amount(0))
    assert any("no arbiter" in warning for warning in check(without, taste=None).warnings)
