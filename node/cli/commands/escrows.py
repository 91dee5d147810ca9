"""`stoa escrows`."""

import typer
from rich.console import RenderableType

from node.api.facade import NodeFacade
from node.api.views import EscrowView
from node.cli.lazy import StoaCommand
from node.cli.options import options_of
from node.cli.output import dollars, long_address, moment, short_id, show, state, table
from node.cli.session import call

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


@app.command(cls=StoaCommand)
def escrows(context: typer.Context) -> None:
    """List the awards that are paid from the escrow contract, as buyer and as seller, and their deadlines.

    Example:
      stoa escrows
    """
    options = options_of(context)
    found = call(options, NodeFacade.escrow_list)
    show(options, found, lambda: _render(found), hint=tuple[EscrowView, ...])


def _render(found: tuple[EscrowView, ...]) -> RenderableType:
    return table(
        "",
        "award", "you are", "other side", "state", ">amount", ">paid", "claim by",
        rows=(
            (
                short_id(each.award),
                each.role,
                long_address(each.peer),
                state(each.state),
                dollars(each.amount),
                dollars(each.paid),
                moment(each.claim_by),
            )
            for each in found
        ),
        empty="No escrows. Tasks above the threshold (requester.escrow_threshold) use them.",
    )  # fmt: skip
