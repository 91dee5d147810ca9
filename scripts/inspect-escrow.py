"""Print where an escrowed award stands and everything that happened to it.

APE_FOUNDRY_HOST=http://127.0.0.1:8545 ape run inspect-escrow AWARD_DIGEST
"""

from pathlib import Path

import click
from ape.cli import ConnectedProviderCommand

from scripts._deployed import connect, history
from scripts._telling import tell_escrow, tell_events
from scripts._words import read_identity


@click.command(cls=ConnectedProviderCommand)
@click.argument("award_digest")
@click.option("--deployment", type=click.Path(path_type=Path), help="Deployments file, if not the network's own.")
def cli(award_digest: str, deployment: Path | None) -> None:
    """Inspect the escrow of the award AWARD_DIGEST (32 bytes, hexadecimal). `inspect-award` shows its stake, too."""
    identity = read_identity(award_digest)
    deployed = connect(deployment)
    events = tuple(history(deployed.deployment, contract="Escrow", identity=identity))
    funded = next((event.fields for event in events if event.name == "Funded"), None)
    if funded is None:
        raise click.ClickException("this award was never funded here; is this the right network and deployment?")
    for field in ("requester", "provider", "token"):
        click.echo(f"{field:<10}{funded[field]}")
    for line in tell_escrow(deployed, identity):
        click.echo(line)
    click.echo("\nhistory")
    for line in tell_events(events, of="award"):
        click.echo(line)
