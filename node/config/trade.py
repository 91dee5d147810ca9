"""Buying and selling: sections of the settings."""

import os
from typing import Literal, TypeAlias

from pydantic import Field, model_validator

from node.config.section import Section
from node.config.values import Addresses, Dollars, Hours
from protocol.units import Amount

AuctionFormatName: TypeAlias = Literal["second-price", "first-price", "open"]
VerificationName: TypeAlias = Literal["trust", "audit", "copies"]


class RateSettings(Section):
    """How a bill weighs what a task used against its price at full limits. Only their proportions matter."""

    start: Dollars = Field(default=Amount(1_000), description="For beginning a part.")
    gfuel: Dollars = Field(default=Amount(2_000), description="For 10^9 units of fuel.")
    mib_gfuel: Dollars = Field(default=Amount(2), description="For a MiB of peak memory during 10^9 units of fuel.")
    mib_in: Dollars = Field(default=Amount(100), description="For a MiB of input.")
    mib_out: Dollars = Field(default=Amount(200), description="For a MiB of output and logs.")


class RequesterSettings(Section):
    """Buying computation: defaults that each task may override."""

    commit_window_s: float = Field(
        default=1.0, ge=0.1, le=86_400, description="Seconds in which providers may commit to a bid."
    )
    reveal_window_s: float = Field(default=1.0, ge=0.1, le=86_400, description="Seconds in which they may reveal it.")
    auction: AuctionFormatName = Field(
        default="second-price", description="Sealed second-price, sealed first-price, or open bids."
    )
    weight_price: int = Field(default=5000, ge=0, le=10_000, description="Weight of the price, basis points.")
    weight_reputation: int = Field(default=3000, ge=0, le=10_000, description="Weight of the reputation, basis points.")
    weight_speed: int = Field(
        default=2000, ge=0, le=10_000, description="Weight of the promised time. The three add up to 10000."
    )
    escrow_threshold: Dollars = Field(
        default=Amount(10_000_000), description="Tasks that may cost more are paid through escrow, others by channel."
    )
    liability_bps: int = Field(
        default=2000,
        ge=0,
        le=10_000,
        description="Stake that a provider locks for a task above the threshold, basis points of its budget. Needs an "
        "arbiter.",
    )
    min_stake: Dollars = Field(
        default=Amount(0), description="Least free stake of a bidder; who has less takes no part in our auctions."
    )
    bond: Dollars = Field(
        default=Amount(0), description="Stake that a bidder loses if it is proved to have committed twice."
    )
    start_within_s: int = Field(
        default=30, ge=1, le=86_400, description="Seconds from the award in which the winner must start."
    )
    verification: VerificationName = Field(
        default="trust",
        description="How results are checked: not at all, re-run by chance, or several copies compared.",
    )
    audit_rate: int = Field(default=1000, ge=1, le=10_000, description="With audit: chance of a re-run, basis points.")
    third_node_bps: int = Field(
        default=10_000,
        ge=0,
        le=10_000,
        description="Most that audits and copies may spend on other nodes where this one can't run a part, basis "
        "points of the task's budget on top of it; 0 hires nobody, and what can't be looked at again is paid.",
    )
    copies: int = Field(default=2, ge=2, le=16, description="With copies: how many providers run the task.")
    max_bidders: int = Field(default=64, ge=1, le=256, description="Most bidders taken into one auction.")
    standby_for_s: int = Field(
        default=3600, ge=1, le=86_400, description="Seconds after the reveals in which a standby may still be hired."
    )
    patience_s: float = Field(
        default=10.0,
        ge=0.5,
        le=3600,
        description="Seconds for which a provider may be unreachable and silent before a standby takes over.",
    )
    pace_s: int | None = Field(
        default=None,
        ge=1,
        le=7 * 86_400,
        description="Seconds that each side has to claim, to dispute and to answer on chain. Default: the chain's.",
        examples=[7200],
    )
    resolve_within_s: int | None = Field(
        default=None,
        ge=1,
        le=30 * 86_400,
        description="Seconds in which an arbiter must decide, at least what its court needs. Default: the chain's.",
        examples=[86400],
    )
    dispute_fee: Dollars | None = Field(
        default=None,
        description="Reserved for a committee, in tasks whose parts cost no less. Default: the least of the court.",
        examples=["0.25"],
    )
    rates: RateSettings = Field(default_factory=RateSettings)

    @model_validator(mode="after")
    def _weights_add_up(self) -> "RequesterSettings":
        total = self.weight_price + self.weight_reputation + self.weight_speed
        if total != 10_000:
            raise ValueError(
                f"weight_price, weight_reputation and weight_speed add up to {total}; make them add up to 10000"
            )
        return self


class PriceSettings(Section):
    """What this machine's work costs, in dollars, at most six decimals. `stoa provide` suggests values."""

    start: Dollars = Field(default=Amount(1_000), description="For beginning a part.")
    gfuel: Dollars = Field(default=Amount(2_000), description="For 10^9 units of fuel (about 10^9 WASM instructions).")
    mib_gfuel: Dollars = Field(default=Amount(2), description="For a MiB of peak memory during 10^9 units of fuel.")
    mib_in: Dollars = Field(default=Amount(100), description="For a MiB of input.")
    mib_out: Dollars = Field(default=Amount(200), description="For a MiB of output and logs.")


class ProviderSettings(Section):
    """Selling this machine's time."""

    enabled: bool = Field(default=False, description="Bid for tasks.")
    cores: int | None = Field(
        default=None, ge=1, le=1024, description="Tasks run at a time. Default: all cores but one.", examples=[2]
    )
    memory_mib: int = Field(default=1024, ge=64, description="Memory for all tasks together.")
    working_hours: Hours | None = Field(
        default=None, description="When to bid, in local time. Default: always.", examples=["22:00-06:30"]
    )
    allow: Addresses = Field(
        default=(),
        description="Serve only these requesters. Empty: anyone not denied.",
        examples=[["0x52908400098527886E0F7030069857D2E4169EE7"]],
    )
    deny: Addresses = Field(default=(), description="Never serve these requesters.")
    credit_limit: Dollars = Field(
        default=Amount(1_000_000), description="Most unpaid work done for one requester without a hold or escrow."
    )
    fuel_per_s: int | None = Field(
        default=None,
        ge=1,
        description="What one core does of the slowest kind of work. Default: measured at the first start.",
        examples=[800000000],
    )
    prices: PriceSettings = Field(default_factory=PriceSettings)

    @property
    def worker_count(self) -> int:
        """Tasks run at a time."""
        return self.cores or max(1, (os.cpu_count() or 1) - 1)
