"""What is known beforehand of each chain that Stoa runs on.

Confirmations follow how deep reorganisations of the chain have gone, not how fast one would like to be: Ethereum lost 7
blocks at most in a notable one (2022), Polygon 157 (2023). Fee caps protect against a mistaken or lying node; the user
may change them. Challenge, hold and pace minima follow SPEC section 7: at least 10 x the confirmation time, and an hour
on real networks. A stake's cooldown is longer than a dispute of an award with the usual pace and a day to judge.
"""

from dataclasses import dataclass, replace
from typing import Final

from protocol.errors import ConfigError
from protocol.units import ONE_TOKEN, Amount, Seconds

GWEI: Final = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainProfile:
    """One chain. Fees in wei per gas, times in seconds.

    Attributes:
        name: As the configuration writes it.
        chain_id: As `eth_chainId` answers it (EIP-155).
        confirmations: A block counts as confirmed when this many blocks, itself included, stand on the chain.
        block_time_s: Usual time between blocks.
        poll_s: How often to ask for a new head.
        max_fee: Most to pay per gas, base fee and tip together.
        min_priority_fee: Least tip to offer.
        stuck_after_s: A transaction that waits this long for inclusion is replaced with a higher fee.
        log_range: Blocks per `eth_getLogs`; what public nodes commonly allow.
        min_challenge: Least challenge period of a payment channel contract.
        min_hold_period: Least hold period of one.
        min_pace: Least pace of an award.
        min_cooldown: Least cooldown of stakes.
        min_case: Least time of a case of the court, all rounds together. Its shortest step is a 24th of it, and what is
            done in one step must be confirmed before the next one rests on it.
        has_beacon: Whether blocks bring the beacon's number; else a draw takes the block's hash.
        coin_price: What a coin of the chain's own money is worth, in the token's base units. It weighs fees against
            what a claim brings, nothing else, so the right order of magnitude is enough.
        claim_patience: For how long claims that nothing urges wait for cheap gas.
    """

    name: str
    chain_id: int
    confirmations: int
    block_time_s: float
    poll_s: float
    max_fee: int
    min_priority_fee: int
    stuck_after_s: float
    log_range: int
    min_challenge: Seconds
    min_hold_period: Seconds
    min_pace: Seconds
    min_cooldown: Seconds
    min_case: Seconds
    has_beacon: bool = True
    coin_price: Amount
    claim_patience: Seconds

    @property
    def is_local(self) -> bool:
        """Whether the chain is made for this machine, with a token of no value."""
        return self.chain_id == LOCAL.chain_id

    def adjusted(self, *, confirmations: int | None = None, max_fee: int | None = None) -> "ChainProfile":
        """Return this profile with what the user set otherwise; None keeps the profile's own.

        Args:
            confirmations: At least 1.
            max_fee: Wei per gas, at least the tip that the profile offers.

        Raises:
            ConfigError: A value that no transaction or block could meet.
        """
        profile = replace(
            self,
            confirmations=self.confirmations if confirmations is None else confirmations,
            max_fee=self.max_fee if max_fee is None else max_fee,
        )
        if profile.confirmations < 1:
            raise ConfigError(f"chain.confirmations is {confirmations}", advice="a block counts itself: use 1 or more")
        if profile.max_fee < profile.min_priority_fee:
            raise ConfigError(
                f"chain.max_fee_gwei is {profile.max_fee / GWEI:g}, below the least tip on {self.name},"
                f" {self.min_priority_fee / GWEI:g}",
                advice="raise it, or no transaction is ever sent",
            )
        return profile


LOCAL: Final = ChainProfile(
    name="local",
    chain_id=31337,
    confirmations=1,
    block_time_s=1.0,
    poll_s=0.2,
    max_fee=1_000 * GWEI,
    min_priority_fee=1,
    stuck_after_s=5.0,
    log_range=10_000,
    min_challenge=Seconds(2),
    min_hold_period=Seconds(10),
    min_pace=Seconds(2),
    min_cooldown=Seconds(5),
    min_case=Seconds(24),
    coin_price=Amount(3000 * ONE_TOKEN),
    claim_patience=Seconds(0),
)
SEPOLIA: Final = ChainProfile(
    name="sepolia",
    chain_id=11_155_111,
    confirmations=12,
    block_time_s=12.0,
    poll_s=4.0,
    max_fee=200 * GWEI,
    min_priority_fee=GWEI // 100,
    stuck_after_s=120.0,
    log_range=1_000,
    min_challenge=Seconds(3_600),
    min_hold_period=Seconds(24 * 3_600),
    min_pace=Seconds(3_600),
    min_cooldown=Seconds(2 * 24 * 3_600),
    min_case=Seconds(2 * 3_600),
    coin_price=Amount(3000 * ONE_TOKEN),
    claim_patience=Seconds(3_600),
)
POLYGON: Final = ChainProfile(
    name="polygon",
    chain_id=137,
    confirmations=200,
    block_time_s=2.0,
    poll_s=2.0,
    max_fee=1_000 * GWEI,
    min_priority_fee=25 * GWEI,  # what its validators ask for
    stuck_after_s=60.0,
    log_range=1_000,
    min_challenge=Seconds(24 * 3_600),
    min_hold_period=Seconds(7 * 24 * 3_600),
    min_pace=Seconds(2 * 3_600),
    min_cooldown=Seconds(14 * 24 * 3_600),
    min_case=Seconds(4 * 3_600),
    has_beacon=False,
    coin_price=Amount(1 * ONE_TOKEN),
    claim_patience=Seconds(6 * 3_600),
)
MAINNET: Final = ChainProfile(
    name="mainnet",
    chain_id=1,
    confirmations=12,
    block_time_s=12.0,
    poll_s=4.0,
    max_fee=100 * GWEI,
    min_priority_fee=GWEI // 100,
    stuck_after_s=120.0,
    log_range=1_000,
    min_challenge=Seconds(24 * 3_600),
    min_hold_period=Seconds(7 * 24 * 3_600),
    min_pace=Seconds(3_600),
    min_cooldown=Seconds(14 * 24 * 3_600),
    min_case=Seconds(4 * 3_600),
    coin_price=Amount(3000 * ONE_TOKEN),
    claim_patience=Seconds(12 * 3_600),
)
PROFILES: Final = {profile.name: profile for profile in (LOCAL, SEPOLIA, POLYGON, MAINNET)}


def profile_named(name: str) -> ChainProfile:
    """Return the profile that the configuration names.

    Raises:
        ConfigError: There is none of that name.
    """
    profile = PROFILES.get(name)
    if profile is None:
        raise ConfigError(f"there is no chain profile {name!r}", advice=f"choose one of {', '.join(PROFILES)}")
    return profile
