"""What a provider asks, and the reasons for which it does not bid."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.config.values import WorkingHours
from node.market.quoting import NotWanted, Quote, SellingTerms, quote
from protocol.identity import Address, ContentDigest, Digest
from protocol.task.manifest import Blob, Limits, Manifest, Part
from protocol.task.pricing import price_at_limits
from protocol.task.verification import Audit, Trust, Verification
from protocol.units import Amount, BasisPoints, UnixTime
from tests.node.market.fake_sandbox import ENGINE
from tests.node.market.market_lab import selling

MIB = 2**20
TERMS = selling(100_000)
REQUESTER = Address(b"\x07" * 20)
NOON = 12 * 60
TRUST = Trust()
AUDIT = Audit(rate=BasisPoints(1))


def blob(number: int, size: int) -> Blob:
    return Blob(digest=ContentDigest(number.to_bytes(32)), size=size)


def task(*, parts: int = 1, **limits: Any) -> Manifest:
    """A task of a MiB of module, and a MiB of input a part."""
    usual: dict[str, Any] = {"fuel": 10**9, "memory_mib": 16, "output_bytes": 1024, "log_bytes": 1024}
    return Manifest(
        name="task",
        module=blob(1, MIB),
        engine=ENGINE,
        limits=Limits(**{**usual, **limits}),
        clock=UnixTime(0),
        seed=Digest(bytes(32)),
        args=("task",),
        parts=tuple(Part(stdin=blob(2 + part, MIB)) for part in range(parts)),
    )


def ask(
    terms: SellingTerms, manifest: Manifest, *, policy: Verification = TRUST, minute: int = NOON, **offer: Any
) -> Quote:
    usual: dict[str, Any] = {"requester": REQUESTER, "max_eta": 300, "budget": Amount(10_000_000), "pace": 10}
    wanted: Any = SimpleNamespace(**{**usual, **offer})
    return quote(terms, ENGINE, wanted, manifest, policy, minute=minute)


@given(parts=st.integers(1, 20), fuel=st.integers(1, 10**10), gfuel=st.integers(0, 10**6))
def test_the_price_is_the_one_at_limits_and_the_time_holds_for_all_its_fuel(parts: int, fuel: int, gfuel: int) -> None:
    terms, manifest = replace(selling(gfuel), max_eta_s=10**6), task(parts=parts, fuel=fuel)
    asked = ask(terms, manifest, max_eta=10**6, budget=Amount(10**12))
    assert asked.price == price_at_limits(terms.rates, manifest, 0, parts)
    assert asked.eta * terms.fuel_per_s >= fuel * parts


@pytest.mark.parametrize(
    ("terms", "manifest", "offer", "reason"),
    [
        (replace(TERMS, deny=frozenset((REQUESTER,))), task(), {}, "deny list"),
        (replace(TERMS, allow=frozenset((Address(bytes(20)),))), task(), {}, "not on the allow list"),
        (replace(TERMS, hours=WorkingHours(start=NOON + 1, end=NOON)), task(), {}, "outside 12:01-12:00"),
        (TERMS, replace(task(), engine=Digest(bytes(32))), {}, "another engine"),
        (TERMS, task(memory_mib=1025), {}, "1025 MiB of memory, this node allows 1024"),
        (TERMS, task(parts=64), {}, "65 MiB of module and inputs, this node allows 64"),
        (TERMS, task(output_bytes=16 * MIB + 1), {}, "17 MiB of output a part, this node allows 16"),
        (TERMS, task(fuel=10**12), {"max_eta": 10**6}, "may take 2001 s here"),
        (TERMS, task(), {"max_eta": 2}, "the offer allows 2"),
        (TERMS, task(), {"budget": Amount(1)}, "the budget is"),
    ],
)
def test_each_reason_not_to_bid_is_told_in_words(
    terms: SellingTerms, manifest: Manifest, offer: dict[str, Any], reason: str
) -> None:
    with pytest.raises(NotWanted, match=reason):
        ask(terms, manifest, **offer)


def test_what_is_exactly_at_every_limit_is_bid_on() -> None:
    terms = replace(TERMS, allow=frozenset((REQUESTER,)), hours=WorkingHours(start=NOON, end=NOON + 1))
    manifest = task(parts=63, memory_mib=1024, output_bytes=16 * MIB)
    wanted = ask(terms, manifest)
    assert ask(terms, manifest, max_eta=wanted.eta, budget=wanted.price) == wanted


@pytest.mark.parametrize(("parts", "fuel", "waits"), [(1, 10**9, 0), (2, 10**9, 3), (5, 10**9, 12), (3, 10**11, 20)])
def test_who_is_audited_promises_time_to_wait_for_its_pay_after_each_part_but_the_last(
    parts: int, fuel: int, waits: int
) -> None:
    terms, manifest = replace(TERMS, max_eta_s=10**4), task(parts=parts, fuel=fuel)
    wanted: dict[str, Any] = {"max_eta": 10**4, "budget": Amount(10**12)}
    trusted, audited = ask(terms, manifest, **wanted), ask(terms, manifest, policy=AUDIT, **wanted)
    assert (audited.price, audited.eta) == (trusted.price, trusted.eta + waits)


def test_an_input_that_all_parts_share_counts_once() -> None:
    shared = replace(task(), parts=tuple(Part(stdin=blob(2, 40 * MIB)) for _ in range(8)))
    assert ask(TERMS, shared).price > 0
