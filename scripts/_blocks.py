"""What Ape takes for granted of a local chain, and what is so of ours: who started it, and when it makes its blocks."""

import os
from typing import Any, cast

import click
from web3.types import RPCEndpoint


def check_chain(provider: Any) -> None:
    """Make Ape fit for the connected chain, before anything is asked of it; twice is harmless.

    Raises:
        ClickException: Nobody answered at the address that the user gave, so Ape started a chain of its own there: what
            is deployed to it, or paid on it, would be gone with this command.
    """
    named = os.environ.get("APE_FOUNDRY_HOST")
    if named and is_of_this_command(provider):
        raise click.ClickException(
            f"no chain answers at {named} (APE_FOUNDRY_HOST): start one with `stoa chain start` or `stoa devnet up`"
        )
    if not _makes_blocks_by_time(provider):
        return
    # Ape asks such a chain whether it mines each transaction at once, hears no, takes it for one whose blocks are made
    # by hand, and waits for no inclusion: a second transaction of the same command then meets the first.
    kind = cast("type[object]", type(provider))
    asks = vars(kind).get("auto_mine")
    if isinstance(asks, property):
        setattr(kind, "auto_mine", property(lambda _: True, asks.fset))  # noqa: B010  a type that checkers can't see


def is_of_this_command(provider: Any) -> bool:
    """Say whether Ape has started the chain itself: it ends with the command."""
    return getattr(provider, "process", None) is not None


def _makes_blocks_by_time(provider: Any) -> bool:
    """Say whether the chain is an anvil that makes a block every so many seconds, as ours do."""
    if not hasattr(provider, "auto_mine"):
        return False
    answer = provider.web3.provider.make_request(RPCEndpoint("anvil_getIntervalMining"), [])
    return bool(answer.get("result"))
