"""Print what a payment channel holds and everything that happened to it.

APE_FOUNDRY_HOST=http://127.0.0.1:8545 ape run inspect-channel CHANNEL_ID
"""

from pathlib import Path
from typing import Any

import click
from ape.cli import ConnectedProviderCommand

from protocol.units import Amount, format_amount
from scripts._deployed import ape, connect, history, read_identity, show


@click.command(cls=ConnectedProviderCommand)
@click.argument("channel_id")
@click.option("--deployment", type=click.Path(path_type=Path), help="Deployments file, if not the network's own.")
def cli(channel_id: str, deployment: Path | None) -> None:
    """Inspect the payment channel CHANNEL_ID (32 bytes, hexadecimal)."""
    identity = read_identity(channel_id)
    deployed = connect(deployment)
    events = history(deployed.channels, "PaymentChannel", identity, deployed.deployment.block)
    if not events:
        raise click.ClickException("no such channel was ever opened here; is this the right network and deployment?")
    opened = next(fields for name, fields, _ in events if name == "ChannelOpened")
    for field in ("payer", "signer", "payee", "token", "counter"):
        click.echo(f"{field:<10}{opened[field]}")
    _print_state(deployed.channels, identity)
    click.echo("\nhistory")
    for name, fields, block in events:
        rest = "  ".join(f"{key}={show(value)}" for key, value in fields.items() if key != "channel")
        click.echo(f"  block {block:<8} {name:<15} {rest}")


def _print_state(channels: Any, identity: bytes) -> None:
    state = channels.stateOf(identity)
    if not state.deposit:
        click.echo("state     closed; it holds nothing")
        return
    click.echo(f"deposit   {_money(state.deposit)}")
    click.echo(f"claimed   {_money(state.claimed)}")
    click.echo(f"left      {_money(state.deposit - state.claimed)}")
    if state.sequence:
        click.echo(f"reserved  {_money(state.held)} by voucher {state.sequence} that pays {_money(state.base)}")
    if state.settled:
        click.echo("state     settled by an arbiter: the payer may withdraw all but the reserve")
    elif state.exitsAt:
        left = int(state.exitsAt) - int(ape.chain.blocks.head.timestamp)
        when = f"in {left + 1} s" if left >= 0 else "now"
        click.echo(f"state     the payer is leaving: it may withdraw {when} (from second {int(state.exitsAt) + 1})")
    else:
        click.echo("state     open")


def _money(amount: int) -> str:
    return format_amount(Amount(int(amount)))
