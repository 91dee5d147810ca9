"""`stoa stop`."""

from contextlib import suppress

import typer

from node.api.client import NodeClient
from node.api.errors import ConnectionLost
from node.api.facade import NodeFacade
from node.cli.lazy import StoaCommand
from node.cli.options import options_of
from node.cli.output import new_console, print_document
from node.cli.session import ask

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


@app.command(cls=StoaCommand)
def stop(context: typer.Context) -> None:
    """End the running node. Tasks under way are taken up again at the next start; their deadlines run on meanwhile.

    To finish what is sold first, run [bold]stoa provide --drain[/] before.
    """
    options = options_of(context)

    async def work(client: NodeClient) -> None:
        with suppress(ConnectionLost):  # a node that ends at once closes the connection first
            await client.call(NodeFacade.node_stop)

    ask(options, work)
    if options.json_output:
        print_document({"stopping": True})
    else:
        new_console().print("The node is stopping.")
