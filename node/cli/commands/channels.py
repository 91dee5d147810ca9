"""`stoa channels`: payment channels."""

from typing import Annotated, Final

import typer
from rich.console import RenderableType

from node.api.facade import NodeFacade
from node.api.views import ChannelView
from node.cli.lazy import StoaCommand, new_app
from node.cli.options import options_of
from node.cli.output import dollars, long_address, moment, short_id, show, state, table
from node.cli.session import call, clock, transact
from node.cli.terms import read_address, read_amount

app = new_app("Payment channels: money set aside for one provider, paid by signed vouchers without a transaction each.")

_CLOSING: Final = "Waiting for the other side to agree (payments.close_within_s), else leaving alone"

ChannelId = Annotated[str, typer.Argument(help="The channel's id, or its first digits.", show_default=False)]


@app.command("list", cls=StoaCommand)
def list_channels(context: typer.Context) -> None:
    """List channels, those that you pay from and those that you are paid from.

    Example:
      stoa channels list
    """
    options = options_of(context)
    channels = call(options, NodeFacade.channel_list)
    show(options, channels, lambda: _render(channels), hint=tuple[ChannelView, ...])


@app.command("open", cls=StoaCommand)
def open_channel(
    context: typer.Context,
    provider: Annotated[str, typer.Argument(help="The provider's wallet address.", show_default=False)],
    deposit: Annotated[str, typer.Argument(help="Dollars to deposit: 5.00.", show_default=False)],
) -> None:
    """Open a channel to pay a provider; one transaction. Tasks open channels by themselves where they need one.

    Example:
      stoa channels open 0x52908400098527886E0F7030069857D2E4169EE7 5.00
    """
    options = options_of(context)
    address, amount = read_address("PROVIDER", provider), read_amount("DEPOSIT", deposit)
    channel = transact(options, NodeFacade.channel_open, provider=address, deposit=amount)
    show(options, channel, lambda: _render((channel,)))


@app.command("top-up", cls=StoaCommand)
def top_up(
    context: typer.Context,
    channel: ChannelId,
    amount: Annotated[str, typer.Argument(help="Dollars to add: 2.50.", show_default=False)],
) -> None:
    """Add to a channel's deposit; one transaction.

    Example:
      stoa channels top-up 3fa4 2.50
    """
    options = options_of(context)
    added = read_amount("AMOUNT", amount)
    view = transact(options, NodeFacade.channel_top_up, channel=channel, amount=added)
    show(options, view, lambda: _render((view,)))


@app.command(cls=StoaCommand)
def close(context: typer.Context, channel: ChannelId) -> None:
    """Close a channel: at once if the other side agrees, else after its challenge period. The rest of it comes back.

    The other side has payments.close_within_s to agree (2 minutes); without an answer the node leaves alone, and the
    channel is "leaving" until its challenge is over. Ctrl-C before that: the channel stays open.

    Example:
      stoa channels close 3fa4
    """
    options = options_of(context)
    with clock(_CLOSING):
        view = call(options, NodeFacade.channel_close, channel=channel)
    show(options, view, lambda: _render((view,)))


def _render(channels: tuple[ChannelView, ...]) -> RenderableType:
    return table(
        "",
        "channel", "you are", "other side", "state", ">deposit", ">paid", ">promised", ">free", ">to claim",
        "exit ends",
        rows=(
            (
                short_id(each.channel),
                each.role,
                long_address(each.peer),
                state(each.state),
                dollars(each.deposit),
                dollars(each.paid),
                dollars(each.held),
                dollars(each.free),
                dollars(each.unclaimed),
                moment(each.leaves_at),
            )
            for each in channels
        ),
        empty="No channels. Tasks open them when they need them; or: stoa channels open PROVIDER DEPOSIT",
    )  # fmt: skip
