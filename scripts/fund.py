"""Give money: test dollars on a local chain, or more deposit for a payment channel on any.

APE_FOUNDRY_HOST=http://127.0.0.1:8545 ape run fund account 0x52908400098527886E0F7030069857D2E4169EE7
ape run fund channel CHANNEL_ID 25 --network ethereum:mainnet:node --account NAME
"""

from pathlib import Path

import click
from ape.cli import ConnectedProviderCommand

from protocol.identity import format_address
from scripts._channels import key_of, opened
from scripts._deployed import connect, connected_profile
from scripts._ground import enrich, load_account
from scripts._words import money, read_account, read_dollars, read_identity


@click.group()
def cli() -> None:
    """Give test money to an account, or more deposit to a channel."""


@cli.command(cls=ConnectedProviderCommand)
@click.argument("address")
@click.option("--dollars", default="1000", show_default=True, help="Test dollars to add.")
@click.option("--deployment", type=click.Path(path_type=Path), help="Deployments file, if another.")
def account(address: str, dollars: str, deployment: Path | None) -> None:
    """Give ADDRESS test dollars, and 10 coins for fees if it has less. Local chains only: nobody makes real dollars."""
    deployed, profile = connect(deployment), connected_profile()
    if not profile.is_local:
        raise click.ClickException(f"{profile.name} has no test dollars of ours; send real ones from a wallet")
    owner, amount = format_address(read_account(address, "ADDRESS")), read_dollars(dollars, "--dollars")
    deployed.token.mint(owner, amount, sender=load_account(profile, None))
    enrich(owner)
    click.echo(f"{owner} has {money(deployed.token.balanceOf(owner))} and money for fees.")


@cli.command(cls=ConnectedProviderCommand)
@click.argument("channel_id")
@click.argument("dollars")
@click.option("--account", "name", help="Ape account that pays; on a local chain the first test account, or TEST::N.")
@click.option("--deployment", type=click.Path(path_type=Path), help="Deployments file, if another.")
def channel(channel_id: str, dollars: str, name: str | None, deployment: Path | None) -> None:
    """Add DOLLARS to the deposit of the channel CHANNEL_ID. Anybody may; what is left goes to the channel's payer.

    Two transactions: the contract is allowed to take exactly this amount, and takes it.
    """
    deployed, profile = connect(deployment), connected_profile()
    identity, amount = read_identity(channel_id), read_dollars(dollars, "DOLLARS")
    key = key_of(opened(deployed, identity))
    if not deployed.channels.stateOf(identity).deposit:
        raise click.ClickException("this channel is closed; a new one is opened by: stoa channels open")
    payer = load_account(profile, name)
    if deployed.token.balanceOf(payer) < amount:
        raise click.ClickException(f"{payer.address} has {money(deployed.token.balanceOf(payer))}, not {money(amount)}")
    deployed.token.approve(deployed.channels, amount, sender=payer)
    deployed.channels.topUp(key, amount, sender=payer)
    click.echo(f"The deposit is {money(deployed.channels.stateOf(identity).deposit)} now.")
