"""Which tasks name the court, and on which terms."""

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from trio.testing import MockClock

from node.app.terms import market_terms as terms_of
from node.app.terms import offer_taste, party_attitude
from node.arbitration.ports import CourtTerms
from node.chain.chain import Chain
from node.chain.deployment import Deployment
from node.chain.profile import ChainProfile, profile_named
from node.config.settings import Settings
from protocol.errors import ConfigError
from protocol.identity import ZERO_ADDRESS, Address
from protocol.units import Amount, BasisPoints
from tests.node.market.fake_bank import Bank
from tests.node.market.market_lab import make_wish, market_terms, open_hub, open_node

FEE = Amount(250_000)
COURT = CourtTerms(
    seat_stake=Amount(10_000_000), least_fee=FEE, greatest_fee=Amount(1_000_000), min_resolve_within=600, max_time=3_600
)
NAMES = [Address(bytes([number]) * 20) for number in range(1, 7)]


class LocalChain:
    """What terms ask of a chain."""

    def __init__(self, *, named: bool = True) -> None:
        self.profile: ChainProfile = profile_named("local")
        token, escrow, channel, reputation, court, bench = NAMES
        self.deployment = Deployment(
            chain_id=31337, token=token, escrow=escrow, payment_channel=channel, reputation=reputation, court=court,
            bench=bench, arbiter=court if named else ZERO_ADDRESS, block=0,
        )  # fmt: skip


def chain(*, named: bool = True) -> Chain:
    return cast("Chain", LocalChain(named=named))


async def test_a_task_names_the_court_if_its_parts_cost_as_much_as_a_dispute(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    court = NAMES[4]
    terms = replace(
        market_terms(), arbiter=court, dispute_fee=FEE, liability_bps=BasisPoints(2_000), liability_above=Amount(0)
    )
    async with open_hub() as hub, open_node(hub, Bank(), tmp_path, "requester", terms=terms) as node:
        for budget, fee, liability in ((3 * FEE, FEE, 3 * FEE // 5), (3 * FEE - 1, 0, 0)):
            offer = node.requester.draft(await make_wish(node, parts=3, budget=budget))
            assert offer.arbiter == (court if fee else ZERO_ADDRESS)
            assert (offer.dispute_fee, offer.liability) == (fee, liability)
        assert node.requester.terms.dispute_fee == FEE


def test_offers_reserve_the_least_fee_and_give_the_court_its_time() -> None:
    terms = terms_of(Settings(), chain(), COURT)
    assert (terms.arbiter, terms.dispute_fee, terms.resolve_within) == (NAMES[4], FEE, 600 + terms.pace)
    settings = Settings.model_validate({"requester": {"dispute_fee": "0.50", "resolve_within_s": 900}})
    terms = terms_of(settings, chain(), COURT)
    assert (terms.dispute_fee, terms.resolve_within) == (500_000, 900)


def test_a_fee_that_the_court_does_not_take_is_the_users_to_change() -> None:
    for fee in ("0.249999", "1.000001"):
        with pytest.raises(ConfigError, match=r"requester\.dispute_fee"):
            terms_of(Settings.model_validate({"requester": {"dispute_fee": fee}}), chain(), COURT)


def test_a_network_whose_court_is_not_the_named_arbiter_reserves_nothing() -> None:
    for court in (COURT, None):
        terms = terms_of(Settings(), chain(named=False), court)
        assert (terms.arbiter, terms.dispute_fee, terms.liability_bps) == (ZERO_ADDRESS, 0, 0)


def test_a_provider_reads_offers_that_name_the_court_and_knows_its_bounds() -> None:
    taste = offer_taste(Settings(), chain(named=False), COURT)
    assert NAMES[4] in taste.arbiters
    assert taste.court is not None
    assert (taste.court.address, taste.court.least_fee, taste.court.min_resolve_within) == (NAMES[4], FEE, 600)
    assert offer_taste(Settings(), chain()).court is None


def test_a_party_goes_as_far_as_its_settings_say() -> None:
    settings = Settings.model_validate({"disputes": {"appeal": False, "max_bond": "7.00"}})
    attitude = party_attitude(settings, chain(), COURT)
    assert (attitude.open, attitude.appeal, attitude.max_bond) == (True, False, 7_000_000)
    assert (attitude.min_resolve_within, attitude.stagger) == (600, 3)
