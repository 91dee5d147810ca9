"""`stoa chain`: a local chain to try things on, with the contracts and test money; and the index of events."""

import os
import signal
from pathlib import Path
from typing import Annotated, Final

import trio
import typer

from node.chain.anvil import open_anvil
from node.chain.deployment import Deployment, load_deployment
from node.chain.local import LocalTerms, deploy_local, fund
from node.chain.rpc import hexed, open_rpc
from node.cli.chain_files import LocalChainFiles, NotRunning, hold_chain, running_chain
from node.cli.commands.chain_index import check, events, reindex
from node.cli.lazy import StoaCommand, new_app
from node.cli.options import Options, options_of
from node.cli.output import facts, new_console, print_document
from node.cli.setup import settings_of
from node.cli.terms import read_address, read_amount
from node.wallet.keystore import read_address as read_wallet_address
from protocol.identity import Address, format_address
from protocol.units import Amount, Seconds

app = new_app(
    "A local chain: anvil with Stoa's contracts and test money. For this machine alone; its money is worth nothing."
)

for command in (check, reindex, events):
    app.command(cls=StoaCommand)(command)

TERMS: Final = LocalTerms(challenge=Seconds(60), hold_period=Seconds(3_600), min_pace=Seconds(2))
"""Long enough that a view of the chain one block old is fresh (SPEC M6), short enough to watch an exit end."""
DEFAULT_PORT: Final = 8545
DEFAULT_TOKENS: Final = "1000"
RpcUrl = Annotated[str | None, typer.Option(help="The chain's endpoint; else the configuration's.")]


@app.command(cls=StoaCommand)
def start(
    context: typer.Context,
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="On 127.0.0.1; 0 takes a free one.")] = DEFAULT_PORT,
    block_time: Annotated[int | None, typer.Option(min=1, help="A block every so many seconds; else at once.")] = 1,
    tokens: Annotated[str, typer.Option(help="Test dollars for this node's wallet on a new chain.")] = DEFAULT_TOKENS,
) -> None:
    """Run a local chain until Ctrl-C. Its state is kept in the data folder, so the next start goes on from there.

    A new chain gets the contracts, and this node's wallet test money and money for fees.

    Example:
      stoa chain start &
      stoa run
    """
    options = options_of(context)
    trio.run(_start, options, port, block_time, read_amount("--tokens", tokens))


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

    With a court, providers need stake for tasks above the buyer's threshold, and disputes need arbiters' tickets.

    Example:
      stoa chain deploy --rpc-url http://127.0.0.1:8545
    """
    options = options_of(context)
    settings = settings_of(options)
    files = LocalChainFiles(settings.node.data_dir)
    url = rpc_url or settings.chain.endpoint
    deployment = trio.run(lambda: deploy_local(url, court=court, terms=TERMS, path=files.deployments))
    _tell(options, url, files.deployments, deployment)


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
    address = read_address("ACCOUNT", account) if account else trio.run(read_wallet_address, settings.keystore)
    path = settings.chain.deployments or LocalChainFiles(settings.node.data_dir).deployments
    deployment = load_deployment(path)
    trio.run(lambda: fund(rpc_url or settings.chain.endpoint, deployment, [address], tokens=amount))
    if options.json_output:
        print_document({"funded": format_address(address), "tokens": str(amount)})
    else:
        new_console().print(f"{format_address(address)} has {tokens} test dollars more, and money for fees.")


async def _start(options: Options, port: int, block_time: int | None, tokens: Amount) -> None:
    settings = settings_of(options)
    files = LocalChainFiles(settings.node.data_dir)
    with hold_chain(files):
        async with open_anvil(state_file=files.state, port=port, block_time_s=block_time) as anvil:
            deployment = await _existing(anvil.url, files.deployments)
            if deployment is None:
                deployment = await deploy_local(anvil.url, terms=TERMS, path=files.deployments)
                wallet = await _wallet(settings.keystore)
                if wallet is not None:
                    await fund(anvil.url, deployment, [wallet], tokens=tokens)
            _tell(options, anvil.url, files.deployments, deployment)
            if not options.json_output:
                new_console().print("Ctrl-C ends it; its state is kept.")
            with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
                async for _ in received:
                    return


async def _existing(url: str, path: Path) -> Deployment | None:
    """Return the deployment of an earlier run, if this chain has it."""
    if not await trio.Path(path).exists():
        return None
    deployment = await trio.to_thread.run_sync(load_deployment, path)
    async with open_rpc(url) as rpc:
        code = await rpc.call("eth_getCode", hexed(deployment.escrow), "latest")
    return deployment if isinstance(code, str) and code != "0x" else None


async def _wallet(keystore: Path) -> Address | None:
    return await read_wallet_address(keystore) if await trio.Path(keystore).exists() else None


def _tell(options: Options, url: str, path: Path, deployment: Deployment) -> None:
    document = {
        "rpc_url": url,
        "deployments": str(path),
        "chain_id": deployment.chain_id,
        "token": format_address(deployment.token),
        "escrow": format_address(deployment.escrow),
        "payment_channel": format_address(deployment.payment_channel),
        "court": format_address(deployment.court) if deployment.has_court else None,
    }
    if options.json_output:
        print_document(dict(document))
    else:
        new_console().print(facts(*((name.replace("_", " "), str(value)) for name, value in document.items() if value)))
