"""`stoa disputes`: cases about your own tasks and work."""

from enum import Enum
from typing import Annotated

import typer

from node.api.facade import NodeFacade
from node.api.views import DisputeView
from node.cli.dispute_pages import render_case, render_cases, render_quote
from node.cli.failures import ExitCode
from node.cli.lazy import StoaCommand, new_app
from node.cli.options import Options, options_of
from node.cli.output import dollars, new_console, print_json, show
from node.cli.session import call, clock, transact
from protocol.errors import ProtocolError

app = new_app(
    "Disputes about your tasks and your work, before the network's court.\n\n"
    "Your node opens, shows, appeals and closes them by itself, as far as disputes.open, disputes.appeal and"
    " disputes.max_bond say. Here you see how they stand and what they cost, and open or appeal one by hand."
)

Award = Annotated[str, typer.Argument(help="The award, or how its id begins.", show_default=False)]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask; put down the bond that is shown.")]
Anyway = Annotated[
    bool,
    typer.Option(
        "--anyway", help="Also if there is nothing to gain, as far as your node can tell; no part is run first."
    ),
]


class NothingToGain(ProtocolError):
    """The bond would be lost for nothing, as far as the node can tell."""


class _Order(Enum):
    """What is ordered, as the question ends."""

    OPEN = "open the case"
    APPEAL = "appeal"


@app.command("list", cls=StoaCommand)
def list_(context: typer.Context) -> None:
    """List the cases that are open, then those that are over.

    Example:
      stoa disputes list
    """
    options = options_of(context)
    found = call(options, NodeFacade.dispute_list)
    show(options, found, lambda: render_cases(found), hint=tuple[DisputeView, ...])


@app.command("show", cls=StoaCommand)
def show_(
    context: typer.Context,
    award: Annotated[str, typer.Argument(help="The award that it is about, or how its id begins.", show_default=False)],
) -> None:
    """Show one case: who opened it and why, what was found, what happens next, by whom and until when.

    Example:
      stoa disputes show 7ac3
    """
    options = options_of(context)
    found = call(options, NodeFacade.dispute_show, award=award)
    show(options, found, lambda: render_case(found))


@app.command("open", cls=StoaCommand)
def open_(context: typer.Context, award: Award, *, yes: Yes = False, anyway: Anyway = False) -> None:
    """Open a case by hand. Says its bond, what can be won and lost, and asks; your node then sees it through.

    As a requester, over a claim on an escrow or a receipt over a channel; your node runs the part itself first, so that
    you know what a court would find. As a provider, over work that is not paid, or whose claim is disputed.
    With --json and without --yes, only what it would cost and bring is printed. Ctrl-C ends the waiting, no order.

    Examples:
      stoa disputes open 7ac3
      stoa disputes open 7ac3 --yes --json
    """
    _order(options_of(context), _Order.OPEN, award, yes=yes, anyway=anyway)


@app.command("appeal", cls=StoaCommand)
def appeal(context: typer.Context, award: Award, *, yes: Yes = False, anyway: Anyway = False) -> None:
    """Take a decision to a committee of 11, or 23, by hand. Says its bond first, and asks.

    Your node appeals by itself what contradicts its own run of the part; this is for the rest.
    With --json and without --yes, only what it would cost and bring is printed.

    Example:
      stoa disputes appeal 7ac3
    """
    _order(options_of(context), _Order.APPEAL, award, yes=yes, anyway=anyway)


def _order(options: Options, order: _Order, award: str, *, yes: bool, anyway: bool) -> None:
    if order is _Order.OPEN:
        with clock("Looking at it, and running the part again if need be"):
            quote = call(options, NodeFacade.dispute_open_quote, award=award, look=not anyway)
    else:
        quote = call(options, NodeFacade.dispute_appeal_quote, award=award)
    if not options.json_output:
        new_console().print(render_quote(quote), crop=False)
    elif not yes:
        print_json(quote)
        return
    if quote.warning and not anyway:
        raise NothingToGain(quote.warning, advice="if you know better, say --anyway")
    if not yes and not typer.confirm(f"Put down {dollars(quote.bond)} and {order.value}?"):
        raise typer.Exit(ExitCode.DONE)
    method = NodeFacade.dispute_open if order is _Order.OPEN else NodeFacade.dispute_appeal
    found = transact(options, method, award=quote.award.hex(), bond=quote.bond, anyway=anyway)
    show(options, found, lambda: render_case(found))
