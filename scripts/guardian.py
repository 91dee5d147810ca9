"""The guardian: who may pause new business, pausing and resuming it, and handing the place on.

ape run guardian show --network ethereum:mainnet:node
ape run guardian pause --network ethereum:mainnet:node --account NAME
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from ape.cli import ConnectedProviderCommand

from protocol.identity import format_address
from scripts._deployed import NOBODY, Deployed, connect, connected_profile
from scripts._ground import load_account
from scripts._words import read_account

F = TypeVar("F", bound=Callable[..., Any])


def _common(command: F) -> F:
    command = click.option("--deployment", type=click.Path(path_type=Path), help="Deployments file, if another.")(
        command
    )
    return click.option("--account", help="Ape account that sends; on a local chain the first, or TEST::N.")(command)


@click.group()
def cli() -> None:
    """Show, pause, resume, and rotate the guardian.

    A guardian can refuse new business: new channels, top-ups, escrows, stakes, locks, and tickets on the court's bench.
    It can't touch money, and what lets money out (claims, refunds, withdrawals, cases) can't be paused by anybody.
    """


@cli.command(cls=ConnectedProviderCommand)
@click.option("--deployment", type=click.Path(path_type=Path), help="Deployments file, if another.")
def show(deployment: Path | None) -> None:
    """Say who the guardian is and what is paused."""
    deployed = connect(deployment)
    for name, contract in deployed.paused_by_guardian.items():
        state = "PAUSED" if contract.paused() else "open for new business"
        click.echo(f"{name:<15} {state:<22} guardian {_name(contract.guardian())}")
    if deployed.guardian is None:
        click.echo("The guardian is no place that can be handed on: it is nobody, or an account, for ever.")
        return
    click.echo(f"held by         {deployed.guardian.holder()}")
    offered = str(deployed.guardian.offeredTo())
    if offered != NOBODY:
        click.echo(f"offered to      {offered}, who takes it with: ape run guardian accept")


@cli.command(cls=ConnectedProviderCommand)
@_common
def pause(account: str | None, deployment: Path | None) -> None:
    """Refuse new business in all contracts, in one transaction. Exits stay open."""
    deployed, sender = connect(deployment), load_account(connected_profile(), account)
    _place(deployed, sender).pause(_addresses(deployed), sender=sender)
    click.echo(
        "Paused: no new channels, top-ups, escrows, stakes, cases, tickets. Claims, refunds and withdrawals go on."
    )


@cli.command(cls=ConnectedProviderCommand)
@_common
def resume(account: str | None, deployment: Path | None) -> None:
    """Allow new business again in all contracts."""
    deployed, sender = connect(deployment), load_account(connected_profile(), account)
    _place(deployed, sender).resume(_addresses(deployed), sender=sender)
    click.echo("Resumed.")


@cli.command(cls=ConnectedProviderCommand)
@click.argument("successor")
@_common
def offer(successor: str, account: str | None, deployment: Path | None) -> None:
    """Offer the guardian's place to SUCCESSOR. It is yours until SUCCESSOR takes it; `offer 0x00...00` takes it back.

    A key that may have leaked: offer the place to a new account and accept from there, at once. Until then whoever
    has the key can only do what the guardian can: refuse new business, or offer the place to itself.
    """
    deployed, sender = connect(deployment), load_account(connected_profile(), account)
    address = format_address(read_account(successor, "SUCCESSOR"))
    _place(deployed, sender).offer(address, sender=sender)
    if address == NOBODY:
        click.echo("The offer is taken back; the place is yours.")
    else:
        click.echo(f"Offered to {address}. It takes the place with: ape run guardian accept --account ITS-NAME")


@cli.command(cls=ConnectedProviderCommand)
@_common
def accept(account: str | None, deployment: Path | None) -> None:
    """Take the guardian's place, if it is offered to the account."""
    deployed, sender = connect(deployment), load_account(connected_profile(), account)
    if deployed.guardian is None:
        raise click.ClickException("the guardian is no place that can be handed on")
    if str(deployed.guardian.offeredTo()) != str(sender.address):
        raise click.ClickException(f"the place is not offered to {sender.address}; see: ape run guardian show")
    deployed.guardian.accept(sender=sender)
    click.echo(f"{sender.address} holds the guardian's place now.")


def _place(deployed: Deployed, sender: Any) -> Any:
    """Return the guardian's place, which `sender` must hold: a refused transaction costs gas and says less."""
    if deployed.guardian is None:
        raise click.ClickException(
            f"the guardian is {_name(deployed.escrow.guardian())}, no place that can be handed on; if it is an account"
            " of yours, call pause() of each contract from it (ape console)"
        )
    holder = str(deployed.guardian.holder())
    if holder != str(sender.address):
        raise click.ClickException(f"the guardian's place is held by {holder}, not by {sender.address}")
    return deployed.guardian


def _addresses(deployed: Deployed) -> list[str]:
    return [str(contract.address) for contract in deployed.paused_by_guardian.values()]


def _name(address: object) -> str:
    return "nobody" if str(address) == NOBODY else str(address)
