"""What `ape console` knows beforehand: the contracts of the connected network, and ways to look at them.

Ape looks for this file in the root of the project.
"""

from collections.abc import Callable, Iterable
from typing import Any

import click

from protocol.channel.objects import ChannelKey, channel_id
from scripts._channels import key_of, opened
from scripts._court import tell_arbiter, tell_case
from scripts._deployed import Deployed, connect, connected_profile, history
from scripts._telling import chain_time, tell_channel, tell_escrow, tell_events, tell_lock, tell_stake
from scripts._words import moment, money, read_account, read_dollars, read_identity

HELP = (
    "channel(ID)      what a channel holds, in words",
    "award(DIGEST)    an award's escrow, liability and bonus, in words",
    "stake(ADDRESS)   what somebody staked, in words",
    "case(DIGEST)     the dispute about an award: rounds, votes, deadlines, money at stake",
    "arbiter(ADDRESS) what somebody has on the court's bench: tickets, seats, earnings",
    "events([ID])     all that the contracts reported, or what is about a channel or an award",
    "key(ID)          a channel's key, for calls: channels.topUp(key(ID), dollars(5), sender=...)",
    "dollars(TEXT)    base units; money(UNITS) and when(SECOND) write in words",
    "token, escrow, channels, reputation, court, bench, guardian: the contracts; accounts: Ape's",
)


def ape_init_extras() -> dict[str, Any]:
    """Return the names to add; without a deployment on the connected network only those that need none."""
    extras: dict[str, Any] = {
        "channel_id": channel_id,
        "ChannelKey": ChannelKey,
        "dollars": _dollars,
        "money": money,
        "when": _when,
    }
    try:
        deployed = connect()
    except click.ClickException as error:
        click.echo(f"No contracts loaded: {error.message}")
        return extras
    named = {
        "deployment": deployed.deployment,
        "token": deployed.token,
        "escrow": deployed.escrow,
        "channels": deployed.channels,
        "reputation": deployed.reputation,
        "court": deployed.court,
        "bench": deployed.bench,
        "guardian": deployed.guardian,
    }
    extras |= {name: value for name, value in named.items() if value is not None}
    extras |= _helpers(deployed)
    click.echo(f"Stoa on {connected_profile().name}: {', '.join(name for name in named if name in extras)}")
    click.echo("Type stoa() for what else there is.")
    return extras


def _helpers(deployed: Deployed) -> dict[str, Callable[..., Any]]:
    def channel(identity: str) -> None:
        _print(tell_channel(deployed, read_identity(identity)))

    def award(digest: str) -> None:
        identity = read_identity(digest)
        lines = [*tell_escrow(deployed, identity), *tell_lock(deployed, identity)]
        _print(lines or ["no contract holds anything for this award"])

    def stake(address: str) -> None:
        read_account(address, "address")
        _print(tell_stake(deployed, address) if deployed.reputation is not None else ["no stakes on this network"])

    def case(digest: str) -> None:
        _print(tuple(tell_case(deployed, read_identity(digest))) or ["no court here has a case about this award"])

    def arbiter(address: str) -> None:
        read_account(address, "address")
        _print(tell_arbiter(deployed, address) if deployed.bench is not None else ["no court on this network"])

    def events(identity: str | None = None) -> None:
        found = history(deployed.deployment, identity=None if identity is None else read_identity(identity))
        _print(tell_events(found, of=""))

    def key(identity: str) -> tuple[Any, ...]:
        return key_of(opened(deployed, read_identity(identity)))

    def stoa() -> None:
        _print(HELP)

    named = (channel, award, stake, case, arbiter, events, key, stoa)
    return {helper.__name__: helper for helper in named}


def _dollars(text: object) -> int:
    return read_dollars(str(text), "amount")


def _when(second: int) -> str:
    return moment(second, chain_time())


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)
