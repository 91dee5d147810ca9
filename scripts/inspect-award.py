"""Print all that the contracts know of an award: escrow, liability, bonus, disputes, whichever contract tells it.

APE_FOUNDRY_HOST=http://127.0.0.1:8545 ape run inspect-award AWARD_DIGEST
"""

from pathlib import Path

import click
from ape.cli import ConnectedProviderCommand

from scripts._court import tell_case
from scripts._deployed import connect, history
from scripts._telling import tell_escrow, tell_events, tell_lock
from scripts._words import read_identity


@click.command(cls=ConnectedProviderCommand)
@click.argument("award_digest")
@click.option("--deployment", type=click.Path(path_type=Path), help="Deployments file, if not the network's own.")
def cli(award_digest: str, deployment: Path | None) -> None:
    """Inspect the award AWARD_DIGEST (32 bytes, hexadecimal) in every contract: money, stake, deadlines, history.

    An award that is paid through a channel shows here only what was locked for it, and its dispute; the money is the
    channel's: `inspect-channel`.
    """
    identity = read_identity(award_digest)
    deployed = connect(deployment)
    # An award is the first indexed field of the contracts' events, but the second where a channel's hold is enforced.
    events = [*history(deployed.deployment, identity=identity)]
    events += history(deployed.deployment, identity=identity, topic=2)
    if not events:
        raise click.ClickException("no contract knows this award; is this the right network and deployment?")
    for line in (*tell_escrow(deployed, identity), *tell_lock(deployed, identity), *tell_case(deployed, identity)):
        click.echo(line)
    click.echo("\nhistory")
    for line in tell_events(sorted(events, key=lambda event: (event.block, event.index)), of="award"):
        click.echo(line)
