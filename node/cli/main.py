"""The command `stoa`."""

import gc
import signal
from pathlib import Path
from types import FrameType
from typing import Annotated, Final

import typer

from node.cli.lazy import Branch, StoaGroup
from node.cli.options import Options

_NODE: Final = "Your node"
_BUY: Final = "Buy computation"
_SELL: Final = "Sell computation"
_MONEY: Final = "Money"
_DEVELOP: Final = "Try it on this machine"
_OBJECTS_A_COLLECTION: Final = 20_000
"""Python's own 700 collect hundreds of times while a node's modules are read: a quarter of that time, for nothing."""

StoaGroup.branches = {
    name: Branch(module=f"node.cli.{module}", help=text, panel=panel)
    for name, module, text, panel in (
        ("init", "commands.init", "Make a configuration, a wallet and a host key.", _NODE),
        ("run", "commands.run", "Run the node in the foreground.", _NODE),
        ("status", "commands.status", "Show the running node at a glance.", _NODE),
        ("stop", "commands.stop", "End the running node.", _NODE),
        ("doctor", "commands.doctor", "Find what is wrong with the set-up, and say how to mend it.", _NODE),
        ("backup", "commands.backup", "Copy the node's data into one file, while it runs or not.", _NODE),
        ("restore", "commands.restore", "Make a data folder from a backup.", _NODE),
        ("peers", "commands.peers", "Other nodes: list, connect.", _NODE),
        ("task", "commands.task", "Tasks: plan, submit, list, show, watch, result, logs, cancel.", _BUY),
        ("auctions", "commands.auctions", "Auctions: list, show, verify (why did I lose?), accuse.", _BUY),
        ("provide", "commands.provide", "Measure this machine, set prices, start or stop selling.", _SELL),
        ("earnings", "commands.earnings", "What this node earned.", _SELL),
        ("wallet", "commands.wallet", "Balances and caps; export and import the key.", _MONEY),
        ("channels", "commands.channels", "Payment channels: list, open, top-up, close.", _MONEY),
        ("stake", "commands.stake", "Stake behind your bids and work: status, add, withdraw, collect, free.", _MONEY),
        (
            "reputation",
            "commands.reputation",
            "Opinions of providers: show, anchor, prove, verify, feedback, agent.",
            _MONEY,
        ),
        ("watch", "commands.watch", "Watchtowers: list, add, remove, allow, disallow, drop.", _MONEY),
        ("arbiter", "commands.arbiter", "Decide disputes for fees: status, enlist, resign, collect.", _SELL),
        ("escrows", "commands.escrows", "Awards that are paid from the escrow contract.", _MONEY),
        ("disputes", "commands.disputes", "Your cases before the court: list, show, open, appeal.", _MONEY),
        (
            "chain",
            "commands.chain",
            "A local chain: start, stop, deploy, fund. Events: check, list, re-read.",
            _DEVELOP,
        ),
        ("devnet", "devnet", "A whole network of nodes on this machine.", _DEVELOP),
    )
}

app = typer.Typer(
    cls=StoaGroup,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


@app.callback()
def stoa(
    context: typer.Context,
    *,
    config: Annotated[Path | None, typer.Option(help="Configuration file; else stoa.toml in the data folder.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="The node's data folder; else ~/.stoa.")] = None,
    socket: Annotated[Path | None, typer.Option(help="The node's control socket; else in its folder.")] = None,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print JSON for programs; every command takes it, after its name too.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Stoa, a peer-to-peer market for computation: auction tasks, run them in a sandbox, pay for what was delivered.

    [bold]A first task[/], on a chain and nodes of your own machine:

      stoa devnet up
      stoa task submit examples/word-statistics -o out/

    [bold]Exit status:[/] 0 done, 1 checked and found wrong, 2 wrong usage, 3 node not running, 4 refused,
    5 task failed, 6 try again later, 7 configuration, keys or disk, 70 a bug.
    """
    context.obj = Options(config=config, data_dir=data_dir, socket=socket, json_output=json_output, debug=debug)


def main() -> None:
    """Run the command line. A SIGTERM ends it as Ctrl-C does: in order, with all that it started."""
    gc.set_threshold(_OBJECTS_A_COLLECTION)
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as a shell starts what a script puts in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _interrupt)
    app(prog_name="stoa")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    # By way of SIGINT, which trio raises where it does no harm.
    signal.raise_signal(signal.SIGINT)


if __name__ == "__main__":
    main()
