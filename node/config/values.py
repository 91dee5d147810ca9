"""Kinds of values in the configuration, each with the words that say what to write instead."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, cast

from pydantic import BeforeValidator, PlainSerializer

from protocol.errors import ProtocolError
from protocol.identity import Address, format_address, parse_address
from protocol.units import DECIMALS, ONE_TOKEN, Amount, parse_amount

_HOURS: Final = re.compile(r"([01]\d|2[0-4]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)")
_DAY_MINUTES: Final = 24 * 60
_ENDPOINT: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+)):(\d{1,5})")
_MAX_PORT: Final = 65_535
_POSTGRES: Final = re.compile(r"postgres(ql)?://[^\s\x00-\x1f]+")
_MULTIADDR: Final = re.compile(r"/(ip4|ip6|dns|dns4|dns6)/[^/\s]+/tcp/\d{1,5}(/p2p/[A-Za-z0-9]+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where to listen: a host name or address, and a TCP port; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkingHours:
    """A span of every day, in minutes since local midnight; one that ends before it starts runs over midnight."""

    start: int
    end: int

    def contains(self, minute: int) -> bool:
        """Tell whether the minute of the day (0..1439) lies in the span, the end excluded. Equal ends: all day."""
        if self.start < self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end

    def __str__(self) -> str:
        return f"{self.start // 60:02}:{self.start % 60:02}-{self.end // 60:02}:{self.end % 60:02}"


def _read_amount(value: object) -> object:
    match value:
        case str():
            try:
                return parse_amount(value)
            except ProtocolError as error:
                raise ValueError(str(error)) from error
        case bool() | int() | float():
            raise ValueError(f'write the amount in quotes, in dollars: "{value}", not {value}')
        case _:
            raise ValueError('write an amount of dollars in quotes, such as "0.40"')


def _write_amount(amount: int) -> str:
    """Return what `_read_amount` reads: at least two decimals."""
    whole, fraction = divmod(amount, ONE_TOKEN)
    digits = f"{fraction:0{DECIMALS}d}"
    return f"{whole}.{digits[:2]}{digits[2:].rstrip('0')}"


def _read_address(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("write an address in quotes: 0x and 40 hexadecimal digits")  # noqa: TRY004 - pydantic collects ValueError
    try:
        return parse_address(value)
    except ProtocolError as error:
        raise ValueError(str(error)) from error


def _read_list(value: object) -> object:
    """An environment variable holds a list with commas."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _read_path(value: object) -> object:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("write a path in quotes")
    return Path(value).expanduser()


def _write_path(path: Path) -> str:
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


def _read_hours(value: object) -> object:
    match = _HOURS.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('write local hours as "HH:MM-HH:MM", such as "22:00-06:30"')
    first_hour, first_minute, last_hour, last_minute = (int(group) for group in match.groups())
    start, end = first_hour * 60 + first_minute, last_hour * 60 + last_minute
    if start >= _DAY_MINUTES or end > _DAY_MINUTES:
        raise ValueError(f"{value!r} is past midnight; the day ends at 24:00")
    return WorkingHours(start=start, end=end)


def _read_peer_address(value: object) -> object:
    if not isinstance(value, str) or "/p2p/" not in value:
        raise ValueError(f"{value!r} names no peer; write /ip4/203.0.113.7/tcp/4600/p2p/12D3KooW...")
    return _read_multiaddr(value)


def _read_multiaddr(value: object) -> object:
    if not isinstance(value, str) or not _MULTIADDR.fullmatch(value):
        raise ValueError(f"{value!r} is not a TCP multiaddress; write /ip4/203.0.113.7/tcp/4600 or /dns4/host/tcp/4600")
    return value


def _read_postgres_url(value: object) -> object:
    """The driver reads the rest when the node starts. What is wrong is not quoted: it may hold a password."""
    if not isinstance(value, str) or not _POSTGRES.fullmatch(value):
        raise ValueError("this is not the address of a PostgreSQL database; write postgresql://user@host:5432/database")
    return value


def _read_endpoint(value: object) -> object:
    match = _ENDPOINT.fullmatch(value) if isinstance(value, str) else None
    if match is None or int(match[3]) > _MAX_PORT:
        raise ValueError(f'{value!r} is no address to listen on; write "127.0.0.1:9464" or "[::1]:9464"')
    return Endpoint(host=match[1] or match[2], port=int(match[3]))


def _read_http_url(value: object) -> object:
    # Not quoted back: it may hold a key.
    if not isinstance(value, str) or not re.fullmatch(r"https?://[^\s/]+(/\S*)?", value):
        raise ValueError("write an http:// or https:// address")
    return value


def _read_url(value: object) -> object:
    # The value isn't quoted back: the URL of an RPC provider contains a key.
    if not isinstance(value, str) or not re.fullmatch(r"https?://[^\s/]+(/\S*)?|/\S+\.ipc", value):
        raise ValueError("write an http:// or https:// address, or the path of an .ipc socket")
    return value


Dollars = Annotated[Amount, BeforeValidator(_read_amount), PlainSerializer(_write_amount)]
"""An amount, written as a decimal string of dollars."""
WalletAddress = Annotated[
    Address, BeforeValidator(_read_address), PlainSerializer(lambda value: format_address(cast("bytes", value)))
]
Addresses = Annotated[tuple[WalletAddress, ...], BeforeValidator(_read_list)]
LocalPath = Annotated[Path, BeforeValidator(_read_path), PlainSerializer(_write_path)]
Hours = Annotated[WorkingHours, BeforeValidator(_read_hours), PlainSerializer(str)]
Multiaddrs = Annotated[tuple[Annotated[str, BeforeValidator(_read_multiaddr)], ...], BeforeValidator(_read_list)]
PeerAddresses = Annotated[tuple[Annotated[str, BeforeValidator(_read_peer_address)], ...], BeforeValidator(_read_list)]
PostgresUrl = Annotated[str, BeforeValidator(_read_postgres_url)]
RpcUrl = Annotated[str, BeforeValidator(_read_url)]
HttpUrl = Annotated[str, BeforeValidator(_read_http_url)]
ListenAddress = Annotated[Endpoint, BeforeValidator(_read_endpoint), PlainSerializer(str)]


def write_toml(value: Any) -> str:
    """Return a plain value (text, number, truth, list or table of these) as TOML."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            return f'"{escaped}"'
        case list() | tuple():
            return f"[{', '.join(write_toml(each) for each in cast('Sequence[Any]', value))}]"
        case dict():
            pairs = cast("dict[str, Any]", value).items()
            return (
                f"{{ {', '.join(f'{write_toml(key)} = {write_toml(each)}' for key, each in pairs)} }}"
                if pairs
                else "{}"
            )
        case _:
            raise TypeError(f"{type(value).__name__} has no form in TOML")
