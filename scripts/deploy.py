"""Deploy Stoa's contracts and write deployments/<network>.json, from which nodes and the other scripts find them.

APE_FOUNDRY_HOST=http://127.0.0.1:8545 ape run deploy      # a local chain that is running
ape run deploy --network ethereum:sepolia:node --account NAME --token 0x...
"""

from pathlib import Path
from typing import Any

import click
from ape.cli import ConnectedProviderCommand

from node.chain.deployment import Deployment, save_deployment
from node.chain.local import POOL
from node.chain.profile import ChainProfile
from protocol.identity import ZERO_ADDRESS, format_address, parse_address
from protocol.units import ONE_TOKEN
from scripts._deployed import ape, connected_profile, deployment_path

NOBODY = format_address(ZERO_ADDRESS)


@click.command(cls=ConnectedProviderCommand)
@click.option("--account", help="Ape account that pays; on a local chain the first test account.")
@click.option("--token", help="Address of the stablecoin; on a local chain a test token is deployed.")
@click.option("--guardian", default=NOBODY, help="Who may pause new business (never exits); nobody by default.")
@click.option("--arbiter", default=NOBODY, help="Arbiter that requesters name by default; none by default.")
@click.option("--challenge", type=int, help="Seconds from the start of a payer's exit to its first withdrawal.")
@click.option("--hold-period", type=int, help="Seconds after that for which presented holds stay reserved.")
@click.option("--cooldown", type=int, help="Seconds from asking for stake to taking it.")
@click.option("--pool", help="Who gets slashed money beyond fees and bounties; it has no other right. Local: nobody.")
@click.option("--max-bounty", default=5 * ONE_TOKEN, help="Most that an accuser gets, base units.", show_default=True)
@click.option("--min-pace", type=int, help="Least pace of an award in escrow, seconds.")
@click.option("--out", type=click.Path(path_type=Path), help="Where to write; deployments/<network>.json by default.")
def cli(account: str | None, token: str | None, out: Path | None, **terms: Any) -> None:
    """Deploy the token (local chains), Escrow, PaymentChannel and Reputation."""
    profile = connected_profile()
    deployer: Any = ape.accounts.load(account) if account else _local_account(profile)
    token = token or _test_token(profile, deployer)
    challenge = _at_least(profile.min_challenge, terms["challenge"], "--challenge")
    hold_period = _at_least(profile.min_hold_period, terms["hold_period"], "--hold-period")
    min_pace = _at_least(profile.min_pace, terms["min_pace"], "--min-pace")
    cooldown = _at_least(profile.min_cooldown, terms["cooldown"], "--cooldown")
    pool = terms["pool"] or _local_pool(profile)

    escrow = deployer.deploy(ape.project.Escrow, min_pace, terms["guardian"])
    channels = deployer.deploy(ape.project.PaymentChannel, escrow, challenge, hold_period, terms["guardian"])
    reputation = deployer.deploy(
        ape.project.Reputation, escrow, token, pool, cooldown, terms["max_bounty"], terms["guardian"]
    )

    path = out or deployment_path(profile)
    deployment = Deployment(
        chain_id=profile.chain_id,
        token=parse_address(token),
        escrow=parse_address(escrow.address),
        payment_channel=parse_address(channels.address),
        reputation=parse_address(reputation.address),
        arbiter=parse_address(terms["arbiter"]),
        block=int(escrow.creation_metadata.block),
    )
    save_deployment(path, deployment)
    click.echo(f"token           {token}")
    click.echo(f"Escrow          {escrow.address}   pace at least {min_pace} s")
    click.echo(f"PaymentChannel  {channels.address}   challenge {challenge} s, holds reserved {hold_period} s more")
    click.echo(f"Reputation      {reputation.address}   stake leaves after {cooldown} s, slashed money to {pool}")
    click.echo(f"guardian        {terms['guardian']}")
    click.echo(f"written to      {path}")
    click.echo(f"\nNext: name {path} in the node's configuration, then: stoa run")


def _local_account(profile: ChainProfile) -> Any:
    if not profile.is_local:
        raise click.UsageError("name the account that pays: --account (ape accounts list)")
    return ape.accounts.test_accounts[0]


def _test_token(profile: ChainProfile, deployer: Any) -> str:
    if not profile.is_local:
        raise click.UsageError(f"name the stablecoin on {profile.name}: --token")
    return str(deployer.deploy(ape.project.TestToken).address)


def _local_pool(profile: ChainProfile) -> str:
    if not profile.is_local:
        raise click.UsageError(f"name who gets slashed money on {profile.name}: --pool")
    return format_address(POOL)


def _at_least(least: int, wanted: int | None, option: str) -> int:
    """Return `wanted`, or the network's minimum: a shorter period would risk the users' money on a late block."""
    if wanted is not None and wanted < least:
        raise click.UsageError(f"{option} is {wanted} s; this network needs at least {least} s")
    return least if wanted is None else wanted
