"""What `ape console` knows beforehand: the deployed contracts of the connected network, and two ways to look at them.

Ape looks for this file in the root of the project.
"""

from typing import Any

import click

from protocol.channel.objects import ChannelKey, channel_id
from scripts._deployed import connect, read_identity


def ape_init_extras() -> dict[str, Any]:
    """Return the names to add: deployment, the contracts by short names, channel(), award(), channel_id, ChannelKey."""
    helpers: dict[str, Any] = {"channel_id": channel_id, "ChannelKey": ChannelKey}
    try:
        deployed = connect()
    except click.ClickException as error:
        click.echo(f"No contracts loaded: {error.message}")
        return helpers

    def channel(identity: str) -> Any:
        return deployed.channels.stateOf(read_identity(identity))

    def award(digest: str) -> Any:
        return deployed.escrow.recordOf(read_identity(digest))

    return helpers | {
        "deployment": deployed.deployment,
        "token": deployed.token,
        "escrow": deployed.escrow,
        "channels": deployed.channels,
        "reputation": deployed.reputation,
        "channel": channel,
        "award": award,
    }
