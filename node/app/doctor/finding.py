"""What an examination says of one thing."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import trio

from node.api.views.status import NodeStatus, PeerView
from node.api.views.watch import WatchReport
from node.config.settings import Settings
from protocol.errors import StoaError

State: TypeAlias = Literal["ok", "warning", "broken"]
CHECK_TIMEOUT_S: Final = 40.0
"""For any one check; those that ask others have shorter ones of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line.

    Attributes:
        check: What was looked at: a stable name.
        state: `broken` if the node can't work like this, `warning` if it can and somebody should know.
        text: What was found.
        advice: What to do; empty if nothing.
    """

    check: str
    state: State
    text: str
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """The node of these settings, if it runs now. `watch` is None if it was not asked."""

    status: NodeStatus
    peers: tuple[PeerView, ...]
    watch: WatchReport | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """What is examined.

    Attributes:
        settings: As the node would read them.
        password: Of the key files; None if none was to be had without asking.
        running: What the node says of itself; None if it does not run.
    """

    settings: Settings
    password: str | None
    running: Running | None


Check: TypeAlias = Callable[[Patient], Awaitable[list[Finding]]]


async def look(name: str, check: Check, patient: Patient) -> list[Finding]:
    """Make a check. One of our own errors that gets out of it is what was found; a bug gets out of here."""
    with trio.move_on_after(CHECK_TIMEOUT_S):
        try:
            return await check(patient)
        except StoaError as error:
            return [broken(name, str(error), error.advice)]
    return [broken(name, f"the check did not end within {CHECK_TIMEOUT_S:g} s", "look at the machine's load and disk")]


def ok(check: str, text: str) -> Finding:
    """Return a good finding."""
    return Finding(check=check, state="ok", text=text)


def warning(check: str, text: str, advice: str) -> Finding:
    """Return a finding that somebody should know of."""
    return Finding(check=check, state="warning", text=text, advice=advice)


def broken(check: str, text: str, advice: str) -> Finding:
    """Return a finding with which the node can't work."""
    return Finding(check=check, state="broken", text=text, advice=advice)
