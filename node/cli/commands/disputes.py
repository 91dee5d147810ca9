"""`stoa disputes`: cases about your own tasks and work."""

from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from node.api.facade import NodeFacade
from node.api.views import DisputeView
from node.cli.lazy import StoaCommand, new_app
from node.cli.options import options_of
from node.cli.output import dollars, long_address, moment, short_id, show, state, table
from node.cli.session import call

app = new_app(
    "Disputes about your tasks and your work, before the network's court.\n\n"
    "Your node opens, shows, appeals and closes them by itself, as far as disputes.open, disputes.appeal and"
    " disputes.max_bond say. Here you see how they stand, and what they cost."
)


@app.command("list", cls=StoaCommand)
def list_(context: typer.Context) -> None:
    """List the cases that are open, then those that are over.

    Example:
      stoa disputes list
    """
    options = options_of(context)
    found = call(options, NodeFacade.dispute_list)
    show(options, found, lambda: _render(found), hint=tuple[DisputeView, ...])


@app.command("show", cls=StoaCommand)
def show_(
    context: typer.Context,
    award: Annotated[str, typer.Argument(help="The award that it is about, or how its id begins.", show_default=False)],
) -> None:
    """Show one case: why it was opened, what was found, and what is in the way.

    Example:
      stoa disputes show 7ac3
    """
    options = options_of(context)
    found = call(options, NodeFacade.dispute_show, award=award)
    show(options, found, lambda: _render_one(found))


def _render(found: tuple[DisputeView, ...]) -> RenderableType:
    return table(
        "",
        "award", "you are", "other side", "state", ">round", "appeal until", "found", ">worth", ">bonds",
        rows=(
            (
                short_id(each.award),
                each.role,
                long_address(each.peer),
                state(each.state),
                "" if each.round is None else str(each.round + 1),
                moment(each.deadline),
                each.finding,
                "" if each.due is None else dollars(each.due),
                dollars(each.bonds),
            )
            for each in found
        ),
        empty="No disputes.",
    )  # fmt: skip


def _render_one(found: DisputeView) -> RenderableType:
    lines = [f"Why: {found.reason}"] if found.reason else []
    if found.part is not None:
        lines.append(f"It is about part {found.part}; the award is worth {dollars(found.price)} at most.")
    if found.liability:
        lines.append(f"The provider answers for it with {dollars(found.liability)} of its stake, if that was locked.")
    if found.problem:
        lines.append(f"In the way: {found.problem}")
    return Group(_render((found,)), *(Text(line) for line in lines))
