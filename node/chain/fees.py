"""What to offer per gas (EIP-1559). Pure; all fees in wei per gas."""

from dataclasses import dataclass
from typing import Final

from node.chain.errors import GasPriceAboveCap

# Nodes take a replacement only if both fees grew by a tenth at least (geth, anvil); an eighth leaves room for rounding.
_BUMP_NUMERATOR: Final = 9
_BUMP_DENOMINATOR: Final = 8


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
