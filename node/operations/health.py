"""How well the node is: one named report a concern, the worst of which is the node's."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeAlias

import trio

from node.operations.clock import Clock
from protocol.errors import StoaError
from protocol.units import UnixTime

CHECK_TIMEOUT_S: Final = 5.0


class Status(IntEnum):
    """Greater is worse."""

    OK = 0
    DEGRADED = 1
    FAILED = 2

    @property
    def label(self) -> str:
        """Lower-case word for logs and the API."""
        return self.name.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One concern's state.

    Attributes:
        reason: Why it is not ok; empty if it is.
        advice: What the operator can do; may be empty.
        since: When it last changed to this status.
    """

    status: Status
    reason: str = ""
    advice: str = ""
    since: UnixTime = UnixTime(0)


OK: Final = Report(status=Status.OK)
Check: TypeAlias = Callable[[], Awaitable[Report]]


class HealthRegistry:
    """Reports that services push, and checks that are asked when someone wants to know."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._reports: dict[str, Report] = {}
        self._checks: dict[str, Check] = {}

    def report(self, name: str, status: Status, *, reason: str = "", advice: str = "") -> None:
        """Set the report of `name`; `since` moves only when the status does."""
        before = self._reports.get(name)
        since = before.since if before is not None and before.status == status else self._clock.now()
        self._reports[name] = Report(status=status, reason=reason, advice=advice, since=since)

    def forget(self, name: str) -> None:
        """Drop the report and the check of `name`."""
        self._reports.pop(name, None)
        self._checks.pop(name, None)

    def register(self, name: str, check: Check) -> None:
        """Ask `check` at each `examine`. A `StoaError` that it raises is a failure with that reason; a bug is a bug."""
        self._checks[name] = check

    def latest(self) -> dict[str, Report]:
        """Return all reports by name as last pushed or examined, without asking anyone."""
        return dict(sorted(self._reports.items()))

    async def examine(self) -> dict[str, Report]:
        """Ask every check, all at once, each for at most `CHECK_TIMEOUT_S`; return all reports by name."""
        async with trio.open_nursery() as nursery:
            for name, check in self._checks.items():
                nursery.start_soon(self._ask, name, check)
        return self.latest()

    async def _ask(self, name: str, check: Check) -> None:
        with trio.move_on_after(CHECK_TIMEOUT_S) as scope:
            try:
                found = await check()
            except StoaError as error:
                found = Report(status=Status.FAILED, reason=str(error), advice=error.advice)
            self.report(name, found.status, reason=found.reason, advice=found.advice)
        if scope.cancelled_caught:
            self.report(name, Status.FAILED, reason=f"the check gave no answer in {CHECK_TIMEOUT_S:g} s")


def compute_overall(reports: dict[str, Report]) -> Status:
    """Return the worst status, `OK` for none."""
    return max((report.status for report in reports.values()), default=Status.OK)
