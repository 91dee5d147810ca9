"""What to offer per gas (EIP-1559). Pure; all fees in wei per gas."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from node.chain.errors import GasPriceAboveCap

# Nodes take a replacement only if both fees grew by a tenth at least (geth, anvil); an eighth leaves room for rounding.
_BUMP_NUMERATOR: Final = 9
_BUMP_DENOMINATOR: Final = 8
CHEAP_PERCENTILE: Final = 25
"""A quarter of all hours is cheap: over a patience of some hours, one comes almost surely."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fees:
    """The two fees of a transaction: `priority` is the tip, `most` bounds base fee and tip together."""

    priority: int
    most: int


def compute_fees(*, base_fee: int, tip: int, cap: int) -> Fees:
    """Return fees that stay good while the base fee doubles, as far as `cap` allows.

    Raises:
        GasPriceAboveCap: Inclusion in the next block already costs more than `cap`.
    """
    if base_fee + tip > cap:
        raise GasPriceAboveCap(asked=base_fee + tip, cap=cap)
    return Fees(priority=tip, most=min(2 * base_fee + tip, cap))


def is_cheap(base_fees: Sequence[int], *, cap: int, percentile: int = CHEAP_PERCENTILE) -> bool:
    """Tell whether the newest base fee is among the lowest of a history, and below the cap.

    Args:
        base_fees: Of blocks in their order, the newest last; at least one.
        cap: Most to pay per gas.
        percentile: Share of the history that may be cheaper, percent.
    """
    newest = base_fees[-1]
    cheaper = sum(fee < newest for fee in base_fees)
    return newest <= cap and 100 * cheaper <= percentile * len(base_fees)


def compute_replacement(previous: Fees, *, base_fee: int, tip: int, cap: int) -> Fees:
    """Return fees that replace a transaction which waits at `previous`.

    Raises:
        GasPriceAboveCap: The least that nodes take as a replacement is above `cap`.
    """
    priority = max(tip, _bumped(previous.priority))
    most = max(_bumped(previous.most), base_fee + priority)
    if most > cap:
        raise GasPriceAboveCap(asked=most, cap=cap)
    return Fees(priority=priority, most=min(max(most, 2 * base_fee + priority), cap))


def _bumped(fee: int) -> int:
    return -(-fee * _BUMP_NUMERATOR // _BUMP_DENOMINATOR) + 1
