"""The operator's configuration as the rooms take it, with the chain's own defaults where it says nothing."""

import math
from dataclasses import replace
from typing import Final

from node.arbitration.ports import CourtTerms
from node.chain.chain import Chain
from node.chain.profile import GWEI, ChainProfile, profile_named
from node.config.settings import Settings
from node.execution.settings import ExecutionSettings
from node.feedback.writing import FeedbackTerms
from node.market.drafting import MarketTerms
from node.payments.settings import PaymentSettings
from node.reputation.anchoring import AnchorTerms
from protocol.dispute.acting import Attitude
from protocol.errors import ConfigError
from protocol.identity import ZERO_ADDRESS, Address
from protocol.market.offer import CourtBounds, OfferTaste
from protocol.units import Amount, BasisPoints, Seconds, format_amount

SPLIT_BPS: Final = BasisPoints(5_000)
LONGEST_OFFER_S: Final = Seconds(7 * 86_400)
LOCAL_PACE_S: Final = Seconds(20)
LOCAL_RESOLVE_S: Final = Seconds(30)
REAL_RESOLVE_S: Final = Seconds(86_400)
STAGGER_BLOCKS: Final = 3
"""So many blocks later than its opener we close a case."""


def chain_profile(settings: Settings) -> ChainProfile:
    """Return the chain's profile with the user's changes."""
    profile = profile_named(settings.chain.profile)
    if settings.chain.confirmations is not None:
        profile = replace(profile, confirmations=settings.chain.confirmations)
    if settings.chain.max_fee_gwei is not None:
        profile = replace(profile, max_fee=int(settings.chain.max_fee_gwei * GWEI))
    if settings.chain.coin_price is not None:
        profile = replace(profile, coin_price=settings.chain.coin_price)
    return profile


def execution_settings(settings: Settings) -> ExecutionSettings:
    """Return how much of this machine tasks may use."""
    execution = settings.execution
    return ExecutionSettings(
        workers=settings.provider.worker_count if settings.provider.enabled else 1,
        spares=1 if settings.provider.enabled else 0,
        max_memory_mib=execution.max_memory_mib,
        compile_cpu_s=execution.compile_cpu_s,
        compile_memory_mib=execution.compile_memory_mib,
        cache_bytes=execution.cache_mib << 20,
    )


def market_terms(settings: Settings, chain: Chain, court: CourtTerms | None = None) -> MarketTerms:
    """Return what every offer of this node says; `court` is the deployment's, None if it has none.

    Raises:
        ConfigError: The dispute fee of the settings is one that the court doesn't take.
    """
    requester, profile = settings.requester, chain.profile
    pace = requester.pace_s or max(profile.min_pace, LOCAL_PACE_S)
    resolve = requester.resolve_within_s or (LOCAL_RESOLVE_S if profile.is_local else REAL_RESOLVE_S)
    dispute_fee = Amount(0)
    if court is not None and names_court(chain):
        dispute_fee = _dispute_fee(settings, court)
        # A case is opened a while after its claim is disputed: then there must still be the court's least left.
        resolve = max(resolve, court.min_resolve_within + pace)
    has_stakes, has_arbiter = chain.deployment.has_stakes, chain.deployment.arbiter != ZERO_ADDRESS
    return MarketTerms(
        token=chain.deployment.token,
        arbiter=chain.deployment.arbiter,
        liability_bps=BasisPoints(requester.liability_bps if has_stakes and has_arbiter else 0),
        liability_above=requester.escrow_threshold,
        bond=requester.bond if has_stakes else Amount(0),
        min_stake=requester.min_stake if has_stakes else Amount(0),
        dispute_fee=dispute_fee,
        split_bps=SPLIT_BPS,
        pace=Seconds(pace),
        resolve_within=Seconds(resolve),
    )


def names_court(chain: Chain) -> bool:
    """Tell whether offers here name the deployment's court as their arbiter."""
    return chain.deployment.has_court and chain.deployment.arbiter == chain.deployment.court


def _dispute_fee(settings: Settings, court: CourtTerms) -> Amount:
    fee = settings.requester.dispute_fee
    if fee is None:
        return court.least_fee
    if not court.least_fee <= fee <= court.greatest_fee:
        raise ConfigError(
            f"requester.dispute_fee is {format_amount(fee)}, and the court of this network takes"
            f" {format_amount(court.least_fee)} to {format_amount(court.greatest_fee)}",
            advice="leave requester.dispute_fee out for the court's least",
        )
    return fee


def party_attitude(settings: Settings, chain: Chain, court: CourtTerms) -> Attitude:
    """Return how far this node goes in its own cases."""
    return Attitude(
        open=settings.disputes.open,
        appeal=settings.disputes.appeal,
        max_bond=settings.disputes.max_bond,
        min_resolve_within=court.min_resolve_within,
        stagger=math.ceil(STAGGER_BLOCKS * chain.profile.block_time_s),
    )


def offer_taste(settings: Settings, chain: Chain, court: CourtTerms | None = None) -> OfferTaste:
    """Return which offers this node reads at all; `court` is the deployment's, None if it has none."""
    deployment = chain.deployment
    return OfferTaste(
        tokens=frozenset((deployment.token,)),
        rails=frozenset((deployment.escrow, deployment.payment_channel)),
        arbiters=frozenset((ZERO_ADDRESS, deployment.arbiter, deployment.court)),
        min_pace=chain.profile.min_pace,
        max_life=LONGEST_OFFER_S,
        max_eta=Seconds(settings.execution.max_wall_s),
        stakes=deployment.has_stakes,
        court=None
        if court is None
        else CourtBounds(
            address=deployment.court,
            least_fee=court.least_fee,
            greatest_fee=court.greatest_fee,
            min_resolve_within=court.min_resolve_within,
        ),
    )


def anchor_terms(settings: Settings) -> AnchorTerms:
    """Return when this node anchors its opinions."""
    every = Seconds(int(settings.reputation.epoch_h * 3_600))
    patience = payment_settings(settings).claim_patience
    return AnchorTerms(unasked=settings.reputation.anchor, every=every, patience=Seconds(min(patience, every // 2)))


def feedback_terms(settings: Settings, registry: Address) -> FeedbackTerms:
    """Return what this node writes into a registry of feedback."""
    chosen = settings.reputation.erc8004
    return FeedbackTerms(
        registry=registry,
        write=chosen.write,
        least=chosen.write_from,
        agent=chosen.agent_id,
        patience=payment_settings(settings).claim_patience,
    )


def payment_settings(settings: Settings) -> PaymentSettings:
    """Return how money moves."""
    profile, patience_h = profile_named(settings.chain.profile), settings.payments.claim_patience_h
    return PaymentSettings(
        threshold=settings.requester.escrow_threshold,
        # What others let us owe is not known beforehand; most keep the default, as we do.
        credit_limit=settings.provider.credit_limit,
        channel_deposit=settings.payments.channel_deposit,
        claim_at=settings.payments.claim_at,
        free_at=settings.payments.free_at,
        success_bonus=settings.payments.success_bonus,
        claim_patience=profile.claim_patience if patience_h is None else Seconds(int(patience_h * 3_600)),
        close_within=Seconds(settings.payments.close_within_s),
        confirm_timeout_s=settings.payments.confirm_timeout_s,
    )
