"""`stoa peers list`: other nodes."""

from typing import Annotated

import typer
from rich.console import RenderableType

from node.api.facade import NodeFacade
from node.api.views import PeerView
from node.cli.lazy import StoaCommand, new_app
from node.cli.options import options_of
from node.cli.output import dollars, long_address, moment, show, table
from node.cli.session import call

app = new_app("Other nodes: who is there, who sells, at what price.")


@app.command("list", cls=StoaCommand)
def list_peers(context: typer.Context) -> None:
    """List the nodes that yours knows, connected ones first.

    Example:
      stoa peers list
    """
    options = options_of(context)
    peers = call(options, NodeFacade.peer_list)
    show(options, peers, lambda: _render(peers), hint=tuple[PeerView, ...])


@app.command(cls=StoaCommand)
def connect(
    context: typer.Context,
    address: Annotated[str, typer.Argument(help="/ip4/203.0.113.7/tcp/4600/p2p/12D3KooW...", show_default=False)],
) -> None:
    """Connect to a node by its address; put it under network.bootstrap to do so at every start.

    Example:
      stoa peers connect /ip4/203.0.113.7/tcp/4600/p2p/12D3KooWExample
    """
    options = options_of(context)
    peer = call(options, NodeFacade.peer_connect, address=address)
    show(options, peer, lambda: _render((peer,)))


def _render(peers: tuple[PeerView, ...]) -> RenderableType:
    return table(
        "",
        "wallet", "connected", "sells", ">per Gfuel", "record until", "host", "addresses",
        rows=(
            (
                long_address(peer.wallet),
                "yes" if peer.connected else "no",
                "yes" if peer.sells else "no",
                dollars(peer.gfuel),
                moment(peer.record_expires),
                peer.peer,
                " ".join(peer.addresses),
            )
            for peer in peers
        ),
        empty="No other node is known. Name one: stoa peers connect ADDRESS",
    )  # fmt: skip
