"""When to bring what vouchers pay on chain, and how much of it at once. Pure; docs/spec/settlement.md, section 4.

Theory. A voucher that is not claimed costs nothing and may be lost; a claim costs gas and loses nothing. Let `u` be
what a claim would pay now and `h` the chance per second that it is lost. Waiting costs `h * u` a second, so since the
last claim `L = h * integral of u dt`, the *accrued loss*. Rule: claim when `L` has reached what the claim costs.

- For money that comes at a constant rate `r` this is the optimum: over a cycle `T` the cost per second is
  `c/T + h*r*T/2`, least where both terms are equal, that is where `L = c`, at `u = sqrt(2*c*r/h)` (Harris 1913, the
  economic order quantity; Baumol 1952 for cash).
- For money that comes in any order it is at most twice as dear as the best that hindsight could do, and no rule without
  foresight guarantees less (Dooly, Goldman, Scott 2001, J. ACM 48(2), on acknowledgements, which is the same problem).

One transaction claims from many channels: `base` once and `each` for every channel. A channel is *ripe* when its own
loss has reached `each`; a transaction goes when what ripe channels have accrued beyond `each` adds up to `base`. With
one channel that is the rule above.

What a loss is: the payer leaves while the payee is away for the whole challenge, or the payee loses its vouchers. With
exits at a rate `e`, the payee away for a share `a` of its time in outages of mean `m` (exponential, so what is left of
one is as long as one from its beginning), the first is `e * a * exp(-challenge / m)`: so a long challenge bounds it,
and `compute_hazard` says by how much. What is lost can never be more than `u` itself, nor the channel's deposit.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, TypeAlias, TypeVar

from protocol.errors import ProtocolError
from protocol.identity import Digest
from protocol.units import Amount, Seconds, UnixTime

T = TypeVar("T")

Hazard: TypeAlias = int
"""Chance that what is unclaimed is lost, in billionths a day."""
BILLION: Final = 10**9
DAY_S: Final = 86_400


class InvalidHabits(ProtocolError):
    """Rates or shares that no payee can have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """What is known of payers and of this payee.

    Attributes:
        exits_per_day: How often a payer starts to leave a channel alone.
        away_share: For which share of its time this node neither sees the chain nor can act on it.
        outage_s: How long such an outage is on average.
        losses_per_day: How often the node loses its vouchers for good: a disk without a backup.
    """

    exits_per_day: float = 1 / 30
    away_share: float = 0.01
    outage_s: float = 6 * 3_600.0
    losses_per_day: float = 1e-4


def compute_hazard(challenge: Seconds, habits: Habits) -> Hazard:
    """Return the chance per day that what is unclaimed in a channel is lost, in billionths; at most all of it.

    Raises:
        InvalidHabits: A negative rate, a share above 1, or outages that take no time.
    """
    rates = (habits.exits_per_day, habits.away_share, habits.losses_per_day)
    if not all(math.isfinite(rate) and rate >= 0 for rate in rates) or habits.away_share > 1:
        raise InvalidHabits("rates must not be negative, and nobody is away for more than all of its time")
    if not habits.outage_s > 0:
        raise InvalidHabits("an outage takes some time; say that there are none by a share of 0")
    missed = habits.away_share * math.exp(-challenge / habits.outage_s)
    return min(BILLION, math.ceil(BILLION * (habits.exits_per_day * missed + habits.losses_per_day)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimCosts:
    """What a claim costs now, token base units: `base` a transaction, `each` more for every channel in it."""

    base: Amount
    each: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What one channel has waiting.

    Attributes:
        payable: What a claim would pay, as of `at`.
        at: When that was looked at.
        exposure: The integral of `payable` since it was last zero or claimed, base units times seconds.
    """

    payable: Amount
    at: UnixTime
    exposure: int = 0


def _none() -> Mapping[Digest, Waiting]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimBook:
    """All channels with something to claim."""

    waiting: Mapping[Digest, Waiting] = field(default_factory=_none)


def observe(book: ClaimBook, payable: Mapping[Digest, Amount], now: UnixTime) -> ClaimBook:
    """Let time pass and take in what each channel could claim now; one that is not named has nothing.

    What was payable at the last look counts until now. Less than then means that it was claimed: its loss begins anew.
    A clock that went back adds nothing.
    """
    after: dict[Digest, Waiting] = {}
    for channel, amount in payable.items():
        if amount <= 0:
            continue
        old = book.waiting.get(channel)
        if old is None or amount < old.payable:
            after[channel] = Waiting(payable=amount, at=now)
        else:
            exposure = old.exposure + old.payable * max(0, now - old.at)
            after[channel] = Waiting(payable=amount, at=max(now, old.at), exposure=exposure)
    return ClaimBook(waiting=MappingProxyType(after))


def accrued_loss(waiting: Waiting, hazard: Hazard) -> Amount:
    """Return what waiting has cost so far, rounded down and never more than what waits."""
    return Amount(min(waiting.payable, waiting.exposure * hazard // (DAY_S * BILLION)))


def ripe(book: ClaimBook, costs: ClaimCosts, hazard: Hazard) -> tuple[Digest, ...]:
    """Return which channels pay for their own place in a transaction that goes anyway, by id."""
    return tuple(
        sorted(
            channel
            for channel, waiting in book.waiting.items()
            if waiting.payable > costs.each and accrued_loss(waiting, hazard) >= costs.each
        )
    )


def due(book: ClaimBook, costs: ClaimCosts, hazard: Hazard) -> tuple[Digest, ...]:
    """Return the channels to claim from now, by id; none while waiting is cheaper."""
    channels = ripe(book, costs, hazard)
    beyond = sum(accrued_loss(book.waiting[channel], hazard) - costs.each for channel in channels)
    return channels if channels and beyond >= costs.base else ()


def split(claims: Sequence[T], *, gas_limit: int, base_gas: int, gas_each: int, most: int) -> tuple[Sequence[T], ...]:
    """Cut claims, in their order, into transactions that each stay within a gas limit and a number of claims.

    A claim that is alone above the limit goes alone: the chain will say what it thinks of it.
    """
    size = max(1, min(most, (gas_limit - base_gas) // gas_each))
    return tuple(claims[start : start + size] for start in range(0, len(claims), size))
