"""`stoa run`."""

import traceback
from pathlib import Path
from typing import Annotated

import typer

from node.cli.failures import unwrap
from node.cli.lazy import StoaCommand
from node.cli.options import options_of
from node.cli.setup import read_password, settings_of
from protocol.errors import StoaError

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


@app.command(cls=StoaCommand)
def run(
    context: typer.Context,
    *,
    password_file: Annotated[
        Path | None, typer.Option(help="File whose first line is the wallet's password; else variable or terminal.")
    ] = None,
) -> None:
    """Run the node in the foreground until Ctrl-C or SIGTERM; tasks under way are taken up again at the next start.

    Examples:
      stoa run
      stoa --data-dir /srv/stoa run --password-file /run/credentials/stoa-password
    """
    settings = settings_of(options_of(context))
    password = read_password(settings, password_file)
    from node.app.run import run_node  # noqa: PLC0415 - the whole node: what `--help` and mistakes need not wait for

    try:
        run_node(settings, password)
    except Exception as raised:
        if not isinstance(unwrap(raised), StoaError):
            traceback.print_exception(raised)  # nobody can run a node's bug again with --debug
        raise
