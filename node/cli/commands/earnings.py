"""`stoa earnings`."""

import re
import time
from typing import Annotated, Final

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from node.api.facade import NodeFacade
from node.api.views import EarningsReport
from node.cli.failures import UsageMistake
from node.cli.lazy import StoaCommand
from node.cli.options import options_of
from node.cli.output import dollars, moment, short_address, short_id, show, state, table
from node.cli.session import call
from protocol.units import UnixTime

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)

_UNITS_S: Final = {"h": 3_600, "d": 86_400, "w": 7 * 86_400}


@app.command(cls=StoaCommand)
def earnings(
    context: typer.Context,
    *,
    period: Annotated[str, typer.Option(help="How far back: 24h, 7d, 4w, or all.")] = "30d",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most awards to list.")] = 20,
) -> None:
    """Show what this node earned by its work, award by award.

    Examples:
      stoa earnings
      stoa earnings --period 24h --json
    """
    options = options_of(context)
    since = _since(period)
    report = call(options, NodeFacade.earnings_show, since=since, limit=limit)
    show(options, report, lambda: _render(report))


def _since(period: str) -> UnixTime:
    if period == "all":
        return UnixTime(0)
    match = re.fullmatch(r"(\d{1,5})([hdw])", period)
    if match is None:
        raise UsageMistake(f"--period: {period!r} is no period", advice="Write 24h, 7d, 4w, or all.")
    return UnixTime(max(0, int(time.time()) - int(match[1]) * _UNITS_S[match[2]]))


def _render(report: EarningsReport) -> RenderableType:
    since = f" since {moment(report.since)}" if report.since else ""
    rows = table(
        "",
        "award", "task", "requester", "taken", "state", ">parts", ">price at most", ">earned", "paid by", "reason",
        rows=(
            (
                short_id(each.award),
                each.task,
                short_address(each.requester),
                moment(each.taken_at),
                state(each.state),
                f"{each.paid_parts}/{each.parts}",
                dollars(each.price),
                dollars(each.earned),
                each.rail,
                each.reason,
            )
            for each in report.awards
        ),
        empty="No award yet. Are you selling? See: stoa provide --show",
    )  # fmt: skip
    total = Text(f"\nEarned {dollars(report.earned)}{since}; {dollars(report.unclaimed)} of it is still to be claimed.")
    return Group(rows, total)
