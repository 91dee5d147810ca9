"""Print where an escrowed award stands and everything that happened to it.

APE_FOUNDRY_HOST=http://127.0.0.1:8545 ape run inspect-escrow AWARD_DIGEST
"""

from pathlib import Path
from typing import Any

import click
from ape.cli import ConnectedProviderCommand

from protocol.units import Amount, format_amount
from scripts._deployed import connect, history, read_identity, show

# IEscrow.State: what it is called, and what its `time` waits for.
STATES = (
    ("never funded", ""),
    ("funded", ""),
    ("recalled: the requester saw no start", "a start may be proved until"),
    ("started", ""),
    ("claimed by the provider", "it may be disputed until"),
    ("disputed", "a verdict counts until"),
    ("closed: the last part was accepted", "at"),
    ("closed: both sides agreed", "at"),
    ("closed: refunded", "at"),
    ("closed: the claim was paid, nobody disputed it", "at"),
    ("closed: the arbiter judged", "at"),
    ("closed: split, the arbiter was silent", "at"),
)


@click.command(cls=ConnectedProviderCommand)
@click.argument("award_digest")
@click.option("--deployment", type=click.Path(path_type=Path), help="Deployments file, if not the network's own.")
def cli(award_digest: str, deployment: Path | None) -> None:
    """Inspect the escrow of the award AWARD_DIGEST (32 bytes, hexadecimal)."""
    identity = read_identity(award_digest)
    deployed = connect(deployment)
    record: Any = deployed.escrow.recordOf(identity)
    if not record.state:
        raise click.ClickException("this award was never funded here; is this the right network and deployment?")
    events = history(deployed.escrow, "Escrow", identity, deployed.deployment.block)
    funded = next(fields for name, fields, _ in events if name == "Funded")
    for field in ("requester", "provider", "token"):
        click.echo(f"{field:<10}{funded[field]}")
    click.echo(f"locked    {_money(record.amount)}")
    click.echo(f"paid      {_money(record.paid)}")
    meaning, waits_for = STATES[int(record.state)]
    click.echo(f"state     {meaning}" + (f"; {waits_for} second {record.time}" if waits_for else ""))
    click.echo("\nhistory")
    for name, fields, block in events:
        rest = "  ".join(f"{key}={show(value)}" for key, value in fields.items() if key != "award")
        click.echo(f"  block {block:<8} {name:<15} {rest}")


def _money(amount: int) -> str:
    return format_amount(Amount(int(amount)))
