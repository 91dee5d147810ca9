"""The bill: what a part costs, from units that any other node can reproduce (docs/spec/bill.md).

Costs are exact rationals. They are kept as integers over one fixed denominator, so the only division, and the only
rounding, is the last step of `due_for_part`. Nothing here can overflow: Python integers have no width.
"""

from dataclasses import dataclass
from typing import Final, NewType

from protocol.errors import ProtocolError
from protocol.identity import Digest
from protocol.market.objects import Award
from protocol.signing.eip712 import encode_words
from protocol.signing.keccak import keccak256
from protocol.task.manifest import MIB, Manifest
from protocol.task.outcome import OutcomeClass, classify
from protocol.units import MAX_AMOUNT, Amount, Uint8, Uint32, Uint64

GFUEL: Final = 10**9

ScaledCost = NewType("ScaledCost", int)
"""A cost in 1 / (10**9 * 2**20) of a base unit: the exact sum of the five terms of B1."""

_SCALE: Final = GFUEL * MIB


class InvalidRates(ProtocolError):
    """Rates under which a part would cost nothing even at its limits, so no share of a price can be computed."""


class InvalidPart(ProtocolError):
    """A part number that the task or the award does not have."""


class InvalidPrice(ProtocolError):
    """Rates and limits whose price does not fit uint128."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """The five prices of an offer (B1), token base units each.

    Attributes:
        start: For beginning a part.
        gfuel: For 10**9 units of fuel.
        mib_gfuel: For one MiB of peak memory during 10**9 units of fuel.
        mib_in: For one MiB (2**20 bytes) of input.
        mib_out: For one MiB of output and logs.
    """

    start: Amount
    gfuel: Amount
    mib_gfuel: Amount
    mib_in: Amount
    mib_out: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a part used, in judged units.

    Attributes:
        fuel: Units of fuel.
        peak_mib: Highest size of the linear memory, MiB, rounded up.
        bytes_in: Sizes of the part's inputs as the manifest declares them, the module not included.
        bytes_out: Bytes of output and of logs.
    """

    fuel: Uint64
    peak_mib: Uint32
    bytes_in: Uint64
    bytes_out: Uint64


def rates_digest(rates: Rates) -> Digest:
    """Return the keccak of the five rates as words: the `rates` of an offer."""
    return keccak256(encode_words(rates))


def compute_cost(rates: Rates, usage: Usage) -> ScaledCost:
    """Return the exact cost of `usage`, in 1 / (10**9 * 2**20) of a base unit."""
    fuel = usage.fuel * (rates.gfuel + rates.mib_gfuel * usage.peak_mib) * MIB
    moved = (usage.bytes_in * rates.mib_in + usage.bytes_out * rates.mib_out) * GFUEL
    return ScaledCost(rates.start * _SCALE + fuel + moved)


def declared_bytes_in(manifest: Manifest, part: int) -> int:
    """Return the sizes of the inputs of part number `part`, added up; an input named twice counts twice.

    Raises:
        InvalidPart: The task has no such part.
    """
    if not 0 <= part < len(manifest.parts):
        raise InvalidPart(f"the task has parts 0 to {len(manifest.parts) - 1}, not {part}")
    return sum(blob.size for blob in manifest.inputs_of(part))


def usage_at_limits(manifest: Manifest, part: int) -> Usage:
    """Return the most that part number `part` can use: what its price is stated for (B2).

    Raises:
        InvalidPart: The task has no such part.
    """
    limits = manifest.limits
    return Usage(
        fuel=limits.fuel,
        peak_mib=limits.memory_mib,
        bytes_in=declared_bytes_in(manifest, part),
        bytes_out=limits.output_bytes + limits.log_bytes,
    )


def check_rates(rates: Rates, manifest: Manifest) -> None:
    """Check that every part costs something at its limits.

    Raises:
        InvalidRates: Naming the first part that would be free.
    """
    for part in range(len(manifest.parts)):
        _cost_at_limits(rates, manifest, part)


def price_at_limits(rates: Rates, manifest: Manifest, first_part: int, parts: int) -> Amount:
    """Return what `parts` parts from `first_part` on cost at full limits, rounded up: a seller's list price.

    Raises:
        InvalidPart: The task has no such parts.
        InvalidPrice: More than a uint128 holds.
    """
    return _as_price(
        sum(compute_cost(rates, usage_at_limits(manifest, part)) for part in range(first_part, first_part + parts))
    )


def price_of(rates: Rates, usage: Usage, times: int) -> Amount:
    """Return what to ask for `times` runs that each use this, rounded up.

    Raises:
        InvalidPrice: More than a uint128 holds.
    """
    return _as_price(times * compute_cost(rates, usage))


def _as_price(cost: int) -> Amount:
    price = _divide_up(cost, _SCALE)
    if price > MAX_AMOUNT:
        raise InvalidPrice("these rates and limits give a price above 2**128 - 1 base units; lower one of them")
    return Amount(price)


def part_price(price: Amount, parts: int, index: int) -> Amount:
    """Return the price of the part with number `index` (from 0) among the `parts` that `price` buys (B2).

    Every part costs `price // parts`; the last takes the remainder too.

    Raises:
        InvalidPart: `index` is not one of them.
    """
    if not 0 <= index < parts:
        raise InvalidPart(f"part {index} is not one of {parts}")
    each, remainder = divmod(price, parts)
    return Amount(each + remainder if index == parts - 1 else each)


def award_part_price(award: Award, part: int) -> Amount:
    """Return the price of part number `part` of the task under `award`, which covers some of its parts.

    Raises:
        InvalidPart: The award does not cover this part.
    """
    if not award.first_part <= part < award.first_part + award.parts:
        raise InvalidPart(
            f"the award covers parts {award.first_part} to {award.first_part + award.parts - 1}, not {part}"
        )
    return part_price(award.price, award.parts, part - award.first_part)


def highest_part_price(award: Award) -> Amount:
    """Return the most that a single part of `award` can cost: what its provider has at risk at a time (M2)."""
    return part_price(award.price, award.parts, award.parts - 1)


def due_for_part(*, rates: Rates, manifest: Manifest, part: int, price: Amount, outcome: Uint8, usage: Usage) -> Amount:
    """Return what is due for one part, by how it ended (B2, B3).

    Args:
        rates: The offer's rates.
        manifest: The task.
        part: Number of the part in the task.
        price: Price of this part at full limits (`award_part_price`).
        outcome: How the part ended.
        usage: What it used; ignored unless the outcome is exact.

    Returns:
        Token base units, at most `price`.

    Raises:
        UnknownOutcome: No outcome of this protocol version.
        InvalidPart: The task has no such part.
        InvalidRates: The part would be free at its limits.
    """
    kind = classify(outcome)
    if kind is OutcomeClass.UNJUDGED:
        return Amount(0)
    if kind is OutcomeClass.LEAKY:
        return price
    whole = _cost_at_limits(rates, manifest, part)
    used = rates.start * _SCALE if kind is OutcomeClass.INVALID else compute_cost(rates, usage)
    return Amount(min(price, _divide_up(price * used, whole)))


def _cost_at_limits(rates: Rates, manifest: Manifest, part: int) -> ScaledCost:
    cost = compute_cost(rates, usage_at_limits(manifest, part))
    if not cost:
        raise InvalidRates(f"part {part} would cost nothing at its limits; set at least one rate above zero")
    return cost


def _divide_up(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)
