"""What an operator may choose about payments."""

from dataclasses import dataclass, field

from protocol.settlement.claiming import Habits
from protocol.settlement.rail import THRESHOLD
from protocol.units import ONE_TOKEN, Amount, Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentSettings:
    """Amounts in base units.

    Attributes:
        threshold: Highest price that goes over a channel.
        credit_limit: The most unjudged work per part that we suppose a provider lets us owe.
        channel_deposit: What a new channel, or a top-up, brings at least, if the wallet has it.
        claim_at: Unclaimed amount in one channel from which it is claimed without being asked.
        claim_patience: For how long a claim that nothing urges waits for cheap gas.
        habits: What the chance of losing unclaimed money is computed from.
        close_within: How long a payee has to submit a close that both want, before the payer leaves alone.
        free_at: Stake and bonuses that could be freed from which that is done without being asked.
        success_bonus: Whether awards with liability get a bonus for success (L6).
        confirm_timeout_s: How long opening, topping up or funding may take to be confirmed. What was begun goes on
            after that; only the caller stops waiting.
    """

    threshold: Amount = THRESHOLD
    credit_limit: Amount = THRESHOLD
    channel_deposit: Amount = Amount(5 * ONE_TOKEN)
    claim_at: Amount = Amount(5 * ONE_TOKEN)
    claim_patience: Seconds = Seconds(0)
    habits: Habits = field(default_factory=Habits)
    close_within: Seconds = Seconds(120)
    free_at: Amount = Amount(5 * ONE_TOKEN)
    success_bonus: bool = True
    confirm_timeout_s: float = 300.0
