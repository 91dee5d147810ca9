"""`stoa watch`: watchtowers."""

from collections.abc import Sequence
from typing import Annotated, Final

import typer
from rich.console import Group, RenderableType

from node.api.facade import NodeFacade
from node.api.views import CoverView, WatchedView, WatchReport
from node.cli.lazy import StoaCommand, new_app
from node.cli.options import Options, options_of
from node.cli.output import dollars, long_address, moment, short_address, short_id, show, size, state, table
from node.cli.session import call
from node.cli.terms import read_address
from node.cli.toml_edit import change_settings
from protocol.identity import Address, format_address

app = new_app(
    "Watchtowers: nodes that look after channels while their owners are away.\n\n"
    "A payer that leaves takes back what its provider has not brought on the chain in time. A tower does that for a"
    " provider that is away: it holds the newest vouchers, and can do nothing with them but have the provider paid. It"
    " pays the gas itself, so a tower is a node of your own on a second machine, or a friend's."
)

Wallet = Annotated[str, typer.Argument(help="The other node's wallet address.", show_default=False)]
_KNOWN: Final = "0x52908400098527886E0F7030069857D2E4169EE7"


@app.command("list", cls=StoaCommand)
def list_watches(context: typer.Context) -> None:
    """Show your towers, what each holds of your channels, whom you watch for, and the channels that you watch.

    "at stake" is what would be lost if the payer left while this node is away; below watchtower.hand_at it is left.

    Example:
      stoa watch list
    """
    options = options_of(context)
    _print(options, call(options, NodeFacade.watch_show))


@app.command("add", cls=StoaCommand)
def add(context: typer.Context, tower: Wallet) -> None:
    """Have another node watch the channels that pay you. Its operator has to allow you: stoa watch allow YOUR-WALLET.

    The running node begins at once, and the configuration keeps it (watchtower.towers). Two towers are safer than one.

    Example:
      stoa watch add 0x52908400098527886E0F7030069857D2E4169EE7
    """
    address = read_address("TOWER", tower)
    options = options_of(context)
    report = call(options, NodeFacade.watch_add, tower=address)
    _keep(options, "towers", [each.wallet for each in report.towers])
    _print(options, report)


@app.command("remove", cls=StoaCommand)
def remove(context: typer.Context, tower: Wallet) -> None:
    """Tell a tower nothing more. What it holds it may still use, and only in your favour.

    Example:
      stoa watch remove 0x52908400098527886E0F7030069857D2E4169EE7
    """
    address = read_address("TOWER", tower)
    options = options_of(context)
    report = call(options, NodeFacade.watch_remove, tower=address)
    _keep(options, "towers", [each.wallet for each in report.towers])
    _print(options, report)


@app.command("allow", cls=StoaCommand)
def allow(context: typer.Context, client: Wallet) -> None:
    """Watch for another node, at your own cost for gas: a transaction for each channel that is left while it is away.

    The running node begins at once, and the configuration keeps it (watchtower.clients). What it can cost is
    bounded by watchtower.acts_per_day, .least, .watches_per_client and .mib_per_client.

    Example:
      stoa watch allow 0x52908400098527886E0F7030069857D2E4169EE7
    """
    address = read_address("CLIENT", client)
    options = options_of(context)
    report = call(options, NodeFacade.watch_allow, client=address)
    _keep(options, "clients", [each.wallet for each in report.clients if each.allowed])
    _print(options, report)


@app.command("disallow", cls=StoaCommand)
def disallow(context: typer.Context, client: Wallet) -> None:
    """Take nothing new from a client. The channels that you watch for it already are watched until they are closed.

    Example:
      stoa watch disallow 0x52908400098527886E0F7030069857D2E4169EE7
    """
    address = read_address("CLIENT", client)
    options = options_of(context)
    report = call(options, NodeFacade.watch_disallow, client=address)
    _keep(options, "clients", [each.wallet for each in report.clients if each.allowed])
    _print(options, report)


@app.command("drop", cls=StoaCommand)
def drop(
    context: typer.Context,
    channel: Annotated[str, typer.Argument(help="The channel's id, or its first digits.", show_default=False)],
) -> None:
    """Watch a client's channel no more. Its owner notices within a sixteenth of the challenge, and may bring it again.

    Example:
      stoa watch drop 3fa4
    """
    options = options_of(context)
    _print(options, call(options, NodeFacade.watch_drop, channel=channel))


def _keep(options: Options, name: str, wallets: Sequence[Address]) -> None:
    """Write a list into the configuration, if there is one."""
    path = options.find_config()
    if path is not None and path.exists():
        change_settings(path, {f"watchtower.{name}": [format_address(wallet) for wallet in wallets]})


def _print(options: Options, report: WatchReport) -> None:
    show(options, report, lambda: _render(report))


def _render(report: WatchReport) -> RenderableType:
    towers = table(
        "Your towers",
        "wallet", ">channels", "answered", ">acts for", "trouble",
        rows=(
            (
                long_address(each.wallet),
                str(each.channels),
                moment(each.heard_at),
                dollars(each.least),
                each.trouble or "-",
            )
            for each in report.towers
        ),
        empty=f"No watchtower. With one: stoa watch add WALLET, such as {_KNOWN}",
    )  # fmt: skip
    channels = table(
        "Your channels",
        "channel", "payer", ">voucher", ">at stake", "safe", "towers",
        rows=(
            (
                short_id(each.channel),
                short_address(each.payer),
                str(each.sequence),
                dollars(each.at_stake),
                state("ok" if each.covered else "failed"),
                _held(each),
            )
            for each in report.channels
        ),
        empty="No channel pays you yet.",
    )  # fmt: skip
    clients = table(
        "You watch for",
        "wallet", "new orders", ">channels", ">size", "heard of", ">acts in a day",
        rows=(
            (
                long_address(each.wallet),
                "taken" if each.allowed else "refused",
                str(each.watches),
                size(each.size),
                moment(each.seen_at),
                str(each.acts),
            )
            for each in report.clients
        ),
        empty="You watch for nobody. To do so: stoa watch allow WALLET",
    )  # fmt: skip
    watches = table(
        "Channels that you watch",
        "channel", "client", "payer", ">voucher", ">worth", "came", "state",
        rows=(
            (
                short_id(each.channel),
                short_address(each.client),
                short_address(each.payer),
                str(each.sequence),
                dollars(each.worth),
                moment(each.received_at),
                _standing(each),
            )
            for each in report.watches
        ),
        empty="No channel is watched here.",
    )  # fmt: skip
    return Group(towers, channels, clients, watches)


def _held(channel: CoverView) -> str:
    return "; ".join(
        f"{short_address(each.tower)} {each.problem or each.sequence or 'nothing'}" for each in channel.towers
    ) or "-"  # fmt: skip


def _standing(watch: WatchedView) -> str:
    if watch.trouble:
        return watch.trouble
    if watch.acting:
        return "acting"
    return f"acts at {moment(watch.act_at)}" if watch.act_at else "quiet"
