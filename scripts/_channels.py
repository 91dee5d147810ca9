"""What the scripts need of a payment channel: its opening, and from it the key that calls name it by."""

from typing import Any

import click

from scripts._deployed import Deployed, PastEvent, history


def opened(deployed: Deployed, identity: bytes) -> PastEvent:
    """Return the event of a channel's opening.

    Raises:
        ClickException: It was never opened here.
    """
    for event in history(deployed.deployment, contract="PaymentChannel", identity=identity):
        if event.name == "ChannelOpened":
            return event
    raise click.ClickException("no such channel was ever opened here; is this the right network and deployment?")


def key_of(opening: PastEvent) -> tuple[Any, ...]:
    """Return the channel's key as Ape encodes the struct."""
    return tuple(opening.fields[name] for name in ("payer", "signer", "payee", "token", "counter"))
