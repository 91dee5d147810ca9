"""`stoa chain`: a local chain to try things on, with the contracts and test money; and the index of events."""

import os
import signal
from collections.abc import Mapping
from typing import Annotated, Final

import trio
import typer

from node.cli.chain_files import LocalChainFiles, NotRunning, running_chain
from node.cli.commands.chain_index import check, events, reindex
from node.cli.lazy import StoaCommand, new_app
from node.cli.options import Options, options_of
from node.cli.output import facts, new_console, print_document
from node.cli.setup import settings_of
from node.cli.terms import read_address, read_amount
from protocol.identity import format_address

app = new_app(
    "A local chain: anvil with Stoa's contracts and test money. For this machine alone; its money is worth nothing."
)

for command in (check, reindex, events):
    app.command(cls=StoaCommand)(command)

DEFAULT_PORT: Final = 8545
DEFAULT_TOKENS: Final = "1000"
RpcUrl = Annotated[str | None, typer.Option(help="The chain's endpoint; else the configuration's.")]


@app.command(cls=StoaCommand)
def start(
    context: typer.Context,
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="On 127.0.0.1; 0 takes a free one.")] = DEFAULT_PORT,
    block_time: Annotated[int | None, typer.Option(min=1, help="A block every so many seconds.")] = 1,
    tokens: Annotated[str, typer.Option(help="Test dollars for this node's wallet on a new chain.")] = DEFAULT_TOKENS,
) -> None:
    """Run a local chain until Ctrl-C. Its state is kept in the data folder, so the next start goes on from there.

    A new chain gets the contracts, and this node's wallet test money and money for fees.

    Example:
      stoa chain start &
      stoa run
    """
    options = options_of(context)
    amount = read_amount("--tokens", tokens)
    settings = settings_of(options)

    def on_ready(found: Mapping[str, object]) -> None:
        _tell(options, found)
        if options.json_output:
            return
        if found["rpc_url"] != settings.chain.endpoint:
            new_console().print(
                f'Nodes look for it elsewhere: set chain.rpc_url = "{found["rpc_url"]}".', soft_wrap=True
            )
        new_console().print("Ctrl-C ends it; its state is kept.")

    from node.cli.local_chain import run_local_chain  # noqa: PLC0415 - all that speaks to chains: not for `--help`

    files = LocalChainFiles(settings.node.data_dir)
    trio.run(
        lambda: run_local_chain(
            files, settings.keystore, port=port, block_time_s=block_time, tokens=amount, on_ready=on_ready
        )
    )


@app.command(cls=StoaCommand)
def stop(context: typer.Context) -> None:
    """End the local chain of this data folder.

    Example:
      stoa chain stop
    """
    options = options_of(context)
    files = LocalChainFiles(settings_of(options).node.data_dir)
    pid = running_chain(files)
    if pid is None:
        raise NotRunning(files.lock)
    os.kill(pid, signal.SIGINT)
    if options.json_output:
        print_document({"stopping": pid})
    else:
        new_console().print("The local chain is stopping.")


@app.command(cls=StoaCommand)
def deploy(
    context: typer.Context,
    *,
    court: Annotated[bool, typer.Option("--court", help="Deploy a court, too, and let requesters name it.")] = False,
    rpc_url: RpcUrl = None,
) -> None:
    """Deploy the contracts anew on a running local chain and write deployments.json. Nodes must be started again.

    With a court, providers need stake for tasks above the buyer's threshold, and disputes need arbiters' tickets. The
    test dollars are new, too, and nobody has any of them: give each wallet some.

    Examples:
      stoa chain deploy --rpc-url http://127.0.0.1:8545
      stoa chain deploy --court && stoa chain fund
    """
    options = options_of(context)
    settings = settings_of(options)
    files = LocalChainFiles(settings.node.data_dir)
    url = rpc_url or settings.chain.endpoint
    from node.cli.local_chain import deploy_anew  # noqa: PLC0415 - as above

    _tell(options, trio.run(lambda: deploy_anew(url, files.deployments, court=court)))
    if not options.json_output:
        new_console().print("Its test dollars are new ones: stoa chain fund, for each wallet; then start nodes again.")


@app.command("fund", cls=StoaCommand)
def fund_account(
    context: typer.Context,
    account: Annotated[str | None, typer.Argument(help="Wallet address; else this node's.", show_default=False)] = None,
    *,
    tokens: Annotated[str, typer.Option(help="Test dollars to add; money for fees comes along.")] = DEFAULT_TOKENS,
    rpc_url: RpcUrl = None,
) -> None:
    """Give a wallet test dollars and money for fees, on a local chain.

    Examples:
      stoa chain fund
      stoa chain fund 0x52908400098527886E0F7030069857D2E4169EE7 --tokens 25
    """
    options = options_of(context)
    settings = settings_of(options)
    amount = read_amount("--tokens", tokens)
    wallet = read_address("ACCOUNT", account) if account else settings.keystore
    path = settings.chain.deployments or LocalChainFiles(settings.node.data_dir).deployments
    from node.cli.local_chain import fund_wallet  # noqa: PLC0415 - as above

    address = trio.run(fund_wallet, rpc_url or settings.chain.endpoint, path, wallet, amount)
    if options.json_output:
        print_document({"funded": format_address(address), "tokens": str(amount)})
    else:
        new_console().print(f"{format_address(address)} has {tokens} test dollars more, and money for fees.")


def _tell(options: Options, found: Mapping[str, object]) -> None:
    if options.json_output:
        print_document(dict(found))
    else:
        new_console().print(facts(*((name.replace("_", " "), str(value)) for name, value in found.items() if value)))
