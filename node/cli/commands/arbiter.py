"""`stoa arbiter`: tickets of an arbiter, and what they earn."""

from typing import Annotated, Final

import typer
from rich.console import Group, RenderableType

from node.api.facade import NodeFacade
from node.api.views import ArbiterReport
from node.cli.lazy import StoaCommand, new_app
from node.cli.options import Options, options_of
from node.cli.output import dollars, due, long_address, short_id, show, table
from node.cli.session import call, transact

_MOST: Final = 100
"""Tickets that one transaction buys; the node says the same (`node.app.bench_desk`), which is slow to import."""
_ALL: Final = 2**32 - 1

app = new_app(
    "Arbiter: decide disputes, and be paid for it. Your tickets are drawn by chance; each has a stake behind it.\n\n"
    "Whoever is drawn runs the disputed part again and votes. A vote with the majority earns a fifth of the award's"
    " dispute fee; another one loses the stake of a ticket, none at all a tenth of it. So buy tickets only for a node"
    " that runs all the time, with arbiter.enabled."
)


@app.command("status", cls=StoaCommand)
def status(context: typer.Context) -> None:
    """Show your tickets and seats, what a ticket costs, and what you can collect.

    Example:
      stoa arbiter status
    """
    options = options_of(context)
    _print(options, call(options, NodeFacade.arbiter_show))


@app.command("enlist", cls=StoaCommand)
def enlist(
    context: typer.Context,
    count: Annotated[int, typer.Argument(help="How many tickets to buy.", min=1, max=_MOST, show_default=False)],
) -> None:
    """Buy tickets; one transaction, and one more the first time. Their stake stays yours.

    You sit on no more seats at a time than you have tickets.

    Example:
      stoa arbiter enlist 3
    """
    options = options_of(context)
    _print(options, transact(options, NodeFacade.arbiter_enlist, count=count))


@app.command("resign", cls=StoaCommand)
def resign(
    context: typer.Context,
    count: Annotated[
        int | None,
        typer.Argument(help="How many tickets to give up; all by default.", min=1, max=_ALL, show_default=False),
    ] = None,
) -> None:
    """Give tickets up. They are drawn no more; their stake is yours to collect after the cooldown.

    Keep the node running while you still have seats. One resignation at a time waits for its cooldown.

    Example:
      stoa arbiter resign 2
    """
    options = options_of(context)
    _print(options, transact(options, NodeFacade.arbiter_resign, count=count))


@app.command("collect", cls=StoaCommand)
def collect(context: typer.Context) -> None:
    """Take out what you have earned, and the stake of tickets that left long enough ago.

    Example:
      stoa arbiter collect
    """
    options = options_of(context)
    _print(options, transact(options, NodeFacade.arbiter_collect))


def _print(options: Options, report: ArbiterReport) -> None:
    show(options, report, lambda: _render(report))


def _render(report: ArbiterReport) -> RenderableType:
    totals = table(
        "",
        ">tickets", ">a ticket costs", ">leaving", "free from", ">seats", "until", ">drawn so far",
        rows=(
            (
                str(report.tickets),
                dollars(report.seat_stake),
                str(report.leaving),
                due(report.ready_at),
                str(report.seats),
                due(report.serving_until),
                str(report.cases),
            ),
        ),
        empty="",
    )  # fmt: skip
    sittings = table(
        "",
        "case", ">round", ">part", ">your seats", "your vote", "votes until",
        rows=(
            (
                short_id(each.award),
                str(each.round + 1),
                str(each.part),
                str(each.seats or ""),
                each.vote or "not yet",
                due(each.vote_by),
            )
            for each in report.sittings
        ),
        empty="No case is before a committee that you may sit in.",
    )  # fmt: skip
    place, free = long_address(report.court), dollars(report.collectable)
    told: list[RenderableType] = [
        totals,
        *([sittings] if report.enabled else []),
        f"{dollars(report.balance)} on the bench of court {place}, {free} to be collected now.",
    ]
    if report.tickets and not report.enabled:
        told.append("This node does not judge: set arbiter.enabled, or every seat that it is drawn for loses a tenth.")
    return Group(*told)
