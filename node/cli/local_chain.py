"""A local chain with contracts and test money. Apart from its commands, since it loads all that speaks to chains."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio

from node.chain.anvil import open_anvil
from node.chain.deployment import Deployment, load_deployment
from node.chain.local import LocalTerms, deploy_local, fund
from node.chain.rpc import hexed, open_rpc
from node.cli.chain_files import LocalChainFiles, hold_chain
from node.wallet.keystore import read_address
from protocol.identity import Address, format_address
from protocol.units import Amount, Seconds

TERMS: Final = LocalTerms(challenge=Seconds(60), hold_period=Seconds(3_600), min_pace=Seconds(2))
"""Long enough that a view of the chain one block old is fresh (SPEC M6), short enough to watch an exit end."""

Facts = dict[str, object]


async def run_local_chain(
    files: LocalChainFiles,
    keystore: Path,
    *,
    port: int,
    block_time_s: int | None,
    tokens: Amount,
    on_ready: Callable[[Facts], None],
) -> None:
    """Run a chain until a signal ends it; a new one gets the contracts, and the keystore's wallet `tokens`.

    Args:
        files: Where its state is kept.
        keystore: Of the wallet; it need not exist.
        port: On 127.0.0.1; 0 takes a free one.
        block_time_s: A block every so many seconds; None at once.
        tokens: Base units for the wallet, on a new chain.
        on_ready: Told once of what stands where.

    Raises:
        AlreadyRunning: One runs in that folder.
    """
    with hold_chain(files):
        async with open_anvil(state_file=files.state, port=port, block_time_s=block_time_s) as anvil:
            deployment = await _existing(anvil.url, files.deployments)
            if deployment is None:
                deployment = await deploy_local(anvil.url, terms=TERMS, path=files.deployments)
                if await trio.Path(keystore).exists():
                    await fund(anvil.url, deployment, [await read_address(keystore)], tokens=tokens)
            on_ready(_facts_of(anvil.url, files.deployments, deployment))
            with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
                async for _ in received:
                    return


async def deploy_anew(url: str, path: Path, *, court: bool) -> Facts:
    """Deploy the contracts on a running local chain, write where they are to `path`, and return it."""
    return _facts_of(url, path, await deploy_local(url, court=court, terms=TERMS, path=path))


async def fund_wallet(url: str, path: Path, wallet: Address | Path, tokens: Amount) -> Address:
    """Give a wallet, or that of a keystore, test money of the deployment at `path`; return its address."""
    address = await read_address(wallet) if isinstance(wallet, Path) else wallet
    deployment = await trio.to_thread.run_sync(load_deployment, path)
    await fund(url, deployment, [address], tokens=tokens)
    return address


async def _existing(url: str, path: Path) -> Deployment | None:
    """Return the deployment of an earlier run, if this chain has it."""
    if not await trio.Path(path).exists():
        return None
    deployment = await trio.to_thread.run_sync(load_deployment, path)
    async with open_rpc(url) as rpc:
        code = await rpc.call("eth_getCode", hexed(deployment.escrow), "latest")
    return deployment if isinstance(code, str) and code != "0x" else None


def _facts_of(url: str, path: Path, deployment: Deployment) -> Facts:
    return {
        "rpc_url": url,
        "deployments": str(path),
        "chain_id": deployment.chain_id,
        "token": format_address(deployment.token),
        "escrow": format_address(deployment.escrow),
        "payment_channel": format_address(deployment.payment_channel),
        "reputation": format_address(deployment.reputation) if deployment.has_stakes else None,
        "court": format_address(deployment.court) if deployment.has_court else None,
        "bench": format_address(deployment.bench) if deployment.has_court else None,
    }
