"""How the scripts write money, fees, times and ids for people, and how they read them."""

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Final, cast

import click

from protocol.errors import StoaError
from protocol.identity import Address, format_address, parse_address
from protocol.units import Amount, format_amount, parse_amount

GWEI: Final = 10**9
ETHER: Final = 10**18
_STEPS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def money(amount: int) -> str:
    """Write base units as dollars."""
    return format_amount(Amount(int(amount)))


def native(wei: int) -> str:
    """Write wei in whole coins, to a millionth, rounded up: it is what somebody must have."""
    millionths = -(-wei // 10**12)
    return f"{millionths // 10**6}.{millionths % 10**6:06}"


def gwei(wei: int) -> str:
    """Write a gas price."""
    return f"{Decimal(wei) / GWEI:.9f}".rstrip("0").rstrip(".")


def span(seconds: int) -> str:
    """Write a length of time in its two greatest units."""
    parts: list[str] = []
    for length, name in _STEPS:
        if seconds >= length and len(parts) < 2:
            parts.append(f"{seconds // length} {name}")
            seconds %= length
    return " ".join(parts) or "0 s"


def moment(second: int, now: int) -> str:
    """Write a second of the chain's clock, and how far it is from the chain's now."""
    try:
        at = dt.datetime.fromtimestamp(second, tz=dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError):
        return f"second {second}"
    if second == now:
        return f"{at}, now"
    return f"{at}, in {span(second - now)}" if second > now else f"{at}, {span(now - second)} ago"


def show(value: object) -> str:
    """Write a field of an event or a state: bytes in hexadecimal, also those inside a struct or a list."""
    match value:
        case bytes():
            return "0x" + value.hex()
        case Mapping():
            fields = cast("Mapping[object, object]", value)
            return "(" + ", ".join(f"{name}={show(field)}" for name, field in fields.items()) + ")"
        case list() | tuple():
            return "[" + ", ".join(map(show, cast("Sequence[object]", value))) + "]"
        case _:
            return str(value)


def read_identity(text: str) -> bytes:
    """Return the 32 bytes of a channel id or award digest as the user writes it.

    Raises:
        ClickException: It is no 32 bytes in hexadecimal.
    """
    try:
        value = bytes.fromhex(text.removeprefix("0x"))
    except ValueError as error:
        raise click.ClickException(f"{text!r} is no hexadecimal number") from error
    if len(value) != 32:
        raise click.ClickException(f"an id has 32 bytes (64 hexadecimal digits), this has {len(value)} bytes")
    return value


def read_account(text: str, what: str) -> Address:
    """Return an address as the user writes it.

    Raises:
        ClickException: It is none.
    """
    try:
        return parse_address(text)
    except StoaError as error:
        raise click.ClickException(f"{what}: {error}") from error


def read_dollars(text: str, what: str) -> int:
    """Return base units; the user writes dollars.

    Raises:
        ClickException: It is no amount above zero.
    """
    try:
        amount = int(parse_amount(text.removeprefix("$")))
    except StoaError as error:
        raise click.ClickException(f"{what}: {error}") from error
    if amount <= 0:
        raise click.ClickException(f"{what}: {text} is nothing")
    return amount


def read_gwei(text: str) -> int:
    """Return wei per gas; the user writes gwei.

    Raises:
        BadParameter: It is no number above zero.
    """
    try:
        wei = int(Decimal(text) * GWEI)
    except (InvalidOperation, OverflowError, ValueError) as error:
        raise click.BadParameter(f"{text!r} is no number of gwei") from error
    if wei <= 0:
        raise click.BadParameter(f"{text} gwei is no gas price")
    return wei


def address(value: Address) -> str:
    """Write an address with its checksum."""
    return format_address(value)
