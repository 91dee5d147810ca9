"""`stoa stake`: what a provider puts at stake."""

from typing import Annotated

import typer
from rich.console import Group, RenderableType

from node.api.facade import NodeFacade
from node.api.views import StakeReport
from node.cli.lazy import StoaCommand, new_app
from node.cli.options import Options, options_of
from node.cli.output import dollars, long_address, moment, short_id, show, state, table
from node.cli.session import call, transact
from node.cli.terms import read_amount

app = new_app(
    "Stake: money that stands behind your bids and your work. It stays yours.\n\n"
    "Tasks above the buyer's threshold lock a part of it, the task's liability, from the start until the task is over;"
    " an arbiter's verdict against you takes from that lock, and from nothing else. What is neither locked nor leaving"
    " is free: it backs bids, and can be withdrawn."
)


@app.command("status", cls=StoaCommand)
def status(context: typer.Context) -> None:
    """Show how much is staked, what of it is locked, by which awards and until when, and what is free.

    Example:
      stoa stake status
    """
    options = options_of(context)
    _print(options, call(options, NodeFacade.stake_show))


@app.command("add", cls=StoaCommand)
def add(
    context: typer.Context,
    amount: Annotated[str, typer.Argument(help="Dollars to add: 50.00.", show_default=False)],
) -> None:
    """Add to your stake; one transaction, and one more the first time.

    A node bids only on tasks whose bond and liability its free stake covers, beside all that it has bid on already.

    Example:
      stoa stake add 50.00
    """
    added = read_amount("AMOUNT", amount)
    options = options_of(context)
    _print(options, transact(options, NodeFacade.stake_add, amount=added))


@app.command("withdraw", cls=StoaCommand)
def withdraw(
    context: typer.Context,
    amount: Annotated[str, typer.Argument(help="Dollars of free stake to ask for: 20.00.", show_default=False)],
) -> None:
    """Ask for free stake back. It backs no bids from now on, and is yours to collect after the cooldown.

    Until then two signatures of yours that contradict each other can still cost it. One withdrawal at a time.

    Example:
      stoa stake withdraw 20.00
    """
    wanted = read_amount("AMOUNT", amount)
    options = options_of(context)
    _print(options, transact(options, NodeFacade.stake_withdraw, amount=wanted))


@app.command("collect", cls=StoaCommand)
def collect(context: typer.Context) -> None:
    """Take out what you asked for, after its cooldown.

    Example:
      stoa stake collect
    """
    options = options_of(context)
    _print(options, transact(options, NodeFacade.stake_collect))


@app.command("free", cls=StoaCommand)
def free(context: typer.Context) -> None:
    """Free the locks of awards that are over, and take their bonuses; one transaction for up to 50 of them.

    The node does so by itself when it comes to payments.free_at, or when a new task needs the stake.

    Example:
      stoa stake free
    """
    options = options_of(context)
    _print(options, transact(options, NodeFacade.stake_free))


def _print(options: Options, report: StakeReport) -> None:
    show(options, report, lambda: _render(report))


def _render(report: StakeReport) -> RenderableType:
    totals = table(
        "",
        ">staked", ">locked", ">leaving", ">free", "collect from", ">can be freed",
        rows=(
            (
                dollars(report.stake),
                dollars(report.locked),
                dollars(report.leaving),
                dollars(report.free),
                moment(report.ready_at),
                dollars(report.freeable),
            ),
        ),
        empty="",
    )  # fmt: skip
    awards = table(
        "",
        "award", "you are", "other side", "lock", ">liability", "until at most", ">bonus",
        rows=(
            (
                short_id(each.award),
                each.role,
                long_address(each.peer),
                state(each.lock),
                dollars(each.liability),
                moment(each.until),
                dollars(each.bonus),
            )
            for each in report.awards
        ),
        empty="No award has stake behind it now.",
    )  # fmt: skip
    return Group(totals, awards)
