"""SIGKILL at every durable step: real processes, SQLite and anvil, restarted and checked to the base unit.

`make test` runs a few steps; `KILL_STEPS=all` (in `make assurance`) runs each of them, before and after its commit, and
`KILL_STEPS=<from>-<to>/<stride>` some. With `KILL_RECORD=<file>` a sweep that was interrupted goes on where it was, and
`-n 2` has two networks share it.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.crash_lab import ESCROW_BUDGET
from tests.system.sweep_lab import Case, Moment, Sweep, SweepRecord, make_mortal
from tests.system.system_lab import Lab

PROVIDERS = 2
OVERRIDES = {
    "requester.pace_s": 40,
    "requester.start_within_s": 40,
    "requester.commit_window_s": 3.0,
    "requester.reveal_window_s": 3.0,
    "wallet.caps.per_hour": "100000",
    "wallet.caps.per_day": "100000",
    "wallet.caps.per_peer": "100000",
}
"""On a busy machine a bid, and a restart, take their time; a sweep spends more than the caps of an hour allow."""
BUDGETS = {"channel": "1", "escrow": ESCROW_BUDGET}
FEW: list[Case] = [
    ("requester", "channel", 12, "before"),
    ("provider-1", "escrow", 5, "after"),
]
MOST_STEPS = {"requester": 60, "provider-1": 40}
"""More commits than any task here has."""


def chosen() -> list[Case]:
    """Return the cases."""
    wish = os.environ.get("KILL_STEPS", "")
    if not wish:
        return FEW
    steps, _, stride = (f"1-{max(MOST_STEPS.values())}" if wish == "all" else wish).partition("/")
    first, last = map(int, steps.split("-"))
    moments: tuple[Moment, ...] = ("before", "after")
    return [
        (victim, rail, step, moment)
        for step in range(first, last + 1, int(stride or 1))
        for victim, most in MOST_STEPS.items()
        if step <= most
        for rail in BUDGETS
        for moment in moments
    ]


@pytest.fixture(scope="module")
def sweep(network: Lab) -> Iterator[Sweep]:
    """The file's network with mortal nodes."""
    with make_mortal(network) as made:
        yield made


@pytest.mark.parametrize(("victim", "rail", "step", "moment"), chosen())
async def test_whoever_dies_at_whatever_step_every_base_unit_is_where_it_belongs(
    sweep: Sweep, tmp_path: Path, victim: str, rail: str, step: int, moment: Moment
) -> None:
    named = os.environ.get("KILL_RECORD")
    case: Case = (victim, rail, step, moment)
    record = SweepRecord(Path(named) if named else None)
    if reason := record.reason_to_skip(case):
        pytest.skip(reason)
    died = await sweep.survive(tmp_path, victim, BUDGETS[rail], step, moment)
    record.note(case, died)
    print(f"STEP {victim} {rail} {step} {died or 'not reached'}")  # noqa: T201 - the sweep's protocol
