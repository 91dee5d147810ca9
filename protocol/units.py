"""Units in which the protocol counts (docs/spec/conventions.md, C1). Floats never touch money."""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Annotated, Final, NewType

from protocol.errors import ProtocolError


@dataclass(frozen=True, slots=True)
class Bits:
    """Annotation of an unsigned integer: its width in bits, which is also its Solidity type."""

    width: int


Uint8 = Annotated[int, Bits(8)]
Uint16 = Annotated[int, Bits(16)]
Uint32 = Annotated[int, Bits(32)]
Uint64 = Annotated[int, Bits(64)]
Uint128 = Annotated[int, Bits(128)]

Amount = NewType("Amount", int)
"""Token base units, uint128. One dollar is 10**6 of them."""
UnixTime = NewType("UnixTime", int)
"""Seconds since 1970, uint64. Never compared with a monotonic clock."""
Seconds = NewType("Seconds", int)
"""A duration, uint32."""
BasisPoints = NewType("BasisPoints", int)
"""Hundredths of a per cent, uint16; 10,000 is the whole."""

WHOLE: Final = BasisPoints(10_000)
DECIMALS: Final = 6
ONE_TOKEN: Final = Amount(10**DECIMALS)
MAX_AMOUNT: Final = Amount(2**128 - 1)
_LONGEST: Final = 64
"""Characters. The greatest amount needs 40; Python refuses to read integers of more than 4,300 digits."""


class InvalidAmount(ProtocolError):
    """A text that is no amount of the token, or one that does not fit uint128."""


def parse_amount(text: str) -> Amount:
    """Read an amount as people write it: `"0.40"`, `"$25"`, `"1000.000001"`.

    Raises:
        InvalidAmount: Not a plain decimal number, negative, finer than a base unit, or above uint128.
    """
    plain = text.strip().removeprefix("$").replace("_", "")
    if len(plain) > _LONGEST:
        raise InvalidAmount(f"{text[:16]!r}... is too long for an amount")
    if not plain or not all(c.isascii() and (c.isdigit() or c == ".") for c in plain):
        raise InvalidAmount(f"{text!r} is not an amount; write it like 0.40 or 25")
    try:
        value = Decimal(plain)
    except InvalidOperation as error:
        raise InvalidAmount(f"{text!r} is not an amount; write it like 0.40 or 25") from error
    _, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    if -exponent > DECIMALS and any(digits[exponent + DECIMALS :]):
        raise InvalidAmount(f"{text!r} is finer than a base unit; give at most {DECIMALS} decimals")
    whole, _, fraction = plain.partition(".")
    units = int(whole or "0") * ONE_TOKEN + int(fraction[:DECIMALS].ljust(DECIMALS, "0") or "0")
    if units > MAX_AMOUNT:
        raise InvalidAmount(f"{text!r} is more than a uint128 of base units can hold")
    return Amount(units)


def format_amount(amount: int) -> str:
    """Write an amount for people: two decimals, more only where they carry something (`$0.40`, `$0.000001`)."""
    sign = "-" if amount < 0 else ""
    whole, fraction = divmod(abs(amount), ONE_TOKEN)
    digits = f"{fraction:0{DECIMALS}d}"
    while len(digits) > 2 and digits.endswith("0"):
        digits = digits[:-1]
    return f"{sign}${whole:,}.{digits}"
