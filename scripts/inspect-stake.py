"""Print what an address has staked: free, locked for which awards, leaving when; and everything that happened to it.

APE_FOUNDRY_HOST=http://127.0.0.1:8545 ape run inspect-stake ADDRESS
"""

from pathlib import Path

import click
from ape.cli import ConnectedProviderCommand

from protocol.identity import format_address
from scripts._deployed import connect, history
from scripts._telling import tell_events, tell_stake
from scripts._words import read_account


@click.command(cls=ConnectedProviderCommand)
@click.argument("address")
@click.option("--deployment", type=click.Path(path_type=Path), help="Deployments file, if not the network's own.")
def cli(address: str, deployment: Path | None) -> None:
    """Inspect the stake of ADDRESS, a provider's or an arbiter's wallet."""
    owner = read_account(address, "ADDRESS")
    deployed = connect(deployment)
    if deployed.reputation is None:
        raise click.ClickException("this network has no stakes: its deployment has no Reputation contract")
    events = [
        event
        for topic in (1, 2)
        for event in history(deployed.deployment, contract="Reputation", identity=owner.rjust(32, b"\0"), topic=topic)
    ]
    if not events:
        raise click.ClickException(f"{format_address(owner)} never had a stake here")
    for line in tell_stake(deployed, format_address(owner)):
        click.echo(line)
    click.echo("\nhistory")
    # Staked by its owner: one event, with the owner in both fields.
    once = {(event.block, event.index): event for event in events}
    for line in tell_events((once[place] for place in sorted(once)), of="owner"):
        click.echo(line)
