"""Print how a dispute before the court stands: rounds, committees, votes, deadlines, money at stake; and its history.

APE_FOUNDRY_HOST=http://127.0.0.1:8545 ape run inspect-case AWARD_DIGEST
"""

from pathlib import Path

import click
from ape.cli import ConnectedProviderCommand

from scripts._court import case_events, tell_case
from scripts._deployed import connect
from scripts._telling import tell_events
from scripts._words import read_identity


@click.command(cls=ConnectedProviderCommand)
@click.argument("award_digest")
@click.option("--deployment", type=click.Path(path_type=Path), help="Deployments file, if not the network's own.")
def cli(award_digest: str, deployment: Path | None) -> None:
    """Inspect the case about the award AWARD_DIGEST (32 bytes, hexadecimal). `inspect-award` shows its money."""
    identity = read_identity(award_digest)
    deployed = connect(deployment)
    if deployed.court is None:
        raise click.ClickException("this network has no court: its deployment has no DisputeArbiter contract")
    told = tuple(tell_case(deployed, identity))
    if not told:
        raise click.ClickException("the court here has no case about this award; is this the right network?")
    for line in told:
        click.echo(line)
    click.echo("\nhistory")
    for line in tell_events(case_events(deployed, identity), of="award"):
        click.echo(line)
