"""Tables for people, JSON for programs."""

import json
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from node.api.json_codec import Wei, to_json
from node.cli.options import Options
from protocol.identity import Address, format_address
from protocol.units import Amount, UnixTime, format_amount

_PLAIN_WIDTH: Final = 160
"""Columns when the output is no terminal: nothing should be folded for a width that nobody has."""
_WIDEST: Final = 1_000
_ID_CHARS: Final = 10
_ETHER: Final = 10**18
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
STATE_STYLES: Final = {
    "done": "green",
    "delivered": "green",
    "open": "green",
    "ok": "green",
    "failed": "red",
    "dropped": "red",
    "cancelled": "yellow",
    "standby": "yellow",
    "running": "cyan",
}


def new_console() -> Console:
    """Return the console for standard output as it is now."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _PLAIN_WIDTH
    return console


def show(options: Options, value: object, render: Callable[[], RenderableType], *, hint: Any = None) -> None:
    """Print `value` as one line of JSON, or what `render` makes of it."""
    if options.json_output:
        print_json(value, hint=hint)
    else:
        new_console().print(render(), crop=False)


def print_json(value: object, *, hint: Any = None) -> None:
    """Print one line of JSON, as the control socket would carry the value."""
    sys.stdout.write(json.dumps(to_json(value, hint), ensure_ascii=False) + "\n")
    sys.stdout.flush()


def print_document(document: dict[str, Any]) -> None:
    """Print one line of JSON that a command makes itself."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def table(title: str, *columns: str, rows: Iterable[Iterable[str | Text]], empty: str) -> RenderableType:
    """Return a table, or the sentence `empty`. A column that begins with ">" is aligned to the right."""
    grid = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for column in columns:
        grid.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left", no_wrap=True)
    for row in rows:
        grid.add_row(*row)
    if not grid.row_count:
        return Text(empty)
    # As wide as its contents, on any terminal: a line that folds can still be copied, an id that was cut can't.
    wide = Console(width=_WIDEST)
    grid.width = Measurement.get(wide, wide.options, grid).maximum
    return grid


def facts(*pairs: tuple[str, str | Text]) -> RenderableType:
    """Return names and values, one pair a line."""
    grid = Table(box=None, show_header=False, pad_edge=False)
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in pairs:
        grid.add_row(name, value)
    return grid


def state(name: str) -> Text:
    """Return a state in its colour."""
    return Text(name, style=STATE_STYLES.get(name, ""))


def short_id(digest: bytes | None) -> str:
    """Return enough of an id to name it on the command line."""
    return digest.hex()[:_ID_CHARS] if digest is not None else "-"


def short_address(address: Address | None) -> str:
    """Return an address for a table."""
    if address is None:
        return "-"
    text = format_address(address)
    return f"{text[:8]}…{text[-4:]}"


def long_address(address: Address | None) -> str:
    """Return an address to copy."""
    return format_address(address) if address is not None else "-"


def dollars(amount: Amount | None) -> str:
    """Return an amount."""
    return format_amount(amount) if amount is not None else "-"


def native(amount: Wei) -> str:
    """Return an amount of the chain's own money."""
    whole, fraction = divmod(amount, _ETHER)
    return f"{whole}.{fraction:018d}"[: len(str(whole)) + 7]


def moment(time: UnixTime | None) -> str:
    """Return a time in the user's own zone."""
    if not time:
        return "-"
    return datetime.fromtimestamp(time, tz=UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def due(time: UnixTime | None) -> str:
    """Return a time, and how far it is from now by this machine's clock."""
    if not time:
        return "-"
    left = time - round(datetime.now(tz=UTC).timestamp())
    return f"{moment(time)} ({f'in {span(left)}' if left >= 0 else f'{span(-left)} ago'})"


def span(seconds: int) -> str:
    """Return a length of time in its two greatest units."""
    parts: list[str] = []
    for length, name in _UNITS:
        if seconds >= length and len(parts) < 2:
            parts.append(f"{seconds // length} {name}")
            seconds %= length
    return " ".join(parts) or "0 s"


def change(amount: int) -> str:
    """Return dollars that come (+) or go (-)."""
    return f"{'-' if amount < 0 else '+'}{format_amount(Amount(abs(amount)))}" if amount else format_amount(Amount(0))


def fuel(units: int) -> str:
    """Return fuel in Gfuel."""
    return f"{units / 10**9:,.3f} G"


def size(count: int) -> str:
    """Return a number of bytes for people."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    raise AssertionError
