"""Print what a payment channel holds and everything that happened to it.

APE_FOUNDRY_HOST=http://127.0.0.1:8545 ape run inspect-channel CHANNEL_ID
"""

from pathlib import Path

import click
from ape.cli import ConnectedProviderCommand

from scripts._channels import opened
from scripts._deployed import connect, history
from scripts._telling import tell_channel, tell_events
from scripts._words import read_identity


@click.command(cls=ConnectedProviderCommand)
@click.argument("channel_id")
@click.option("--deployment", type=click.Path(path_type=Path), help="Deployments file, if not the network's own.")
def cli(channel_id: str, deployment: Path | None) -> None:
    """Inspect the payment channel CHANNEL_ID (32 bytes, hexadecimal): parties, money, who may do what until when.

    `stoa channels list` prints the ids of a node's channels.
    """
    identity = read_identity(channel_id)
    deployed = connect(deployment)
    opening = opened(deployed, identity)
    for field in ("payer", "signer", "payee", "token", "counter"):
        click.echo(f"{field:<10}{opening.fields[field]}")
    for line in tell_channel(deployed, identity):
        click.echo(line)
    click.echo("\nhistory")
    events = history(deployed.deployment, contract="PaymentChannel", identity=identity)
    for line in tell_events(events, of="channel"):
        click.echo(line)
