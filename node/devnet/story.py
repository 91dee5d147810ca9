"""What demo and trial do, apart from how it is shown: their tasks, and the books before and after."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from node.chain.abi import load_artifact
from node.chain.chain import Chain
from node.chain.local import POOL
from node.devnet.balances import Snapshot, take_snapshot
from node.devnet.devnet import Devnet
from protocol.identity import Address
from protocol.units import Amount

CHECK_TIMEOUT_S: Final = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoTask:
    """One task of a story.

    Attributes:
        title: What it shows.
        file: Its task file, relative to the checkout.
        check: The program that computes the result by other means, and its arguments before the outputs.
        budget: Overrides that of the file.
        verify: How results are checked, as users write it; likewise.
        kill_at: After how many accepted receipts its provider is killed; 0 for never.
    """

    title: str
    file: str
    check: tuple[str, ...]
    budget: Amount | None = None
    verify: str = ""
    kill_at: int = 0


TASKS: Final = (
    DemoTask(
        title="Statistics of a web server's log, for at most $0.40, paid over a channel",
        file="examples/word-statistics/task.toml",
        check=("examples/word-statistics/check.py",),
    ),
    DemoTask(
        title="An option priced by simulation in 6 parts, for at most $25, paid from escrow",
        file="examples/monte-carlo/task.toml",
        check=("examples/monte-carlo/check.py",),
        budget=Amount(25_000_000),
    ),
    DemoTask(
        title="A draft of the same in 6 parts, whose provider is killed at its 2nd receipt",
        file="examples/monte-carlo/draft.toml",
        check=("examples/monte-carlo/check.py", "--task", "examples/monte-carlo/draft.toml"),
        kill_at=2,
    ),
)


def parties(devnet: Devnet) -> Mapping[str, Address]:
    """Return everybody that can own tokens."""
    deployment = devnet.deployment
    found = {place.name: place.wallet for place in devnet.places}
    found |= {"channels": deployment.payment_channel, "escrow": deployment.escrow}
    if deployment.has_court:
        found |= {"stakes": deployment.reputation, "court": deployment.court, "bench": deployment.bench, "pool": POOL}
    return found


async def snapshot(devnet: Devnet, chain: Chain, since: int = 0) -> Snapshot:
    """Read the books."""
    return await take_snapshot(chain, parties(devnet), since)


async def supply(chain: Chain) -> int:
    """Return how many tokens there are."""
    (total,) = await chain.view(load_artifact("TestToken").abi, chain.deployment.token, "totalSupply")
    assert isinstance(total, int)
    return total


async def run_check(checkout: Path, task: DemoTask, outputs: list[Path]) -> tuple[bool, str]:
    """Compute the result by other means, and tell whether it is the same, with the last line that was said."""
    script, *arguments = task.check
    command = [sys.executable, str(checkout / script), *arguments, *map(str, outputs)]
    with trio.fail_after(CHECK_TIMEOUT_S):
        done = await trio.run_process(command, cwd=checkout, capture_stdout=True, stderr=subprocess.STDOUT, check=False)
    lines = done.stdout.decode(errors="replace").strip().splitlines()
    return done.returncode == 0, lines[-1] if lines else ""
