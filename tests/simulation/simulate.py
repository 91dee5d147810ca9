"""Run one simulation: `simulate(scenario, seed)`.

One seed gives one run, to the last message: the virtual clock, trio's scheduler and Python's hashes are all seeded.
"""

import importlib
import shutil
import tempfile
import traceback
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final, cast

import trio
from trio.testing import MockClock

from tests.simulation.checks import check_world
from tests.simulation.scenarios import scenario_of
from tests.simulation.world import open_world

MEMORY_DISK: Final = Path("/dev/shm")
HASH_SEED: Final = "0"
STORY_S: Final = 100_000.0
"""Virtual seconds that a story may take before it settles."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a run ended."""

    ended: Counter[str]
    story: tuple[str, ...]
    messages: int
    virtual_s: float
    figures: Counter[str]
    recomputed: int
    """Auctions that somebody heard whole and worked out again."""


class Violation(AssertionError):
    """Something did not hold."""

    def __init__(self, scenario: str, seed: str, story: tuple[str, ...], cause: BaseException) -> None:
        cause = _only_cause(cause)
        told = "\n".join(story)
        again = f"PYTHONHASHSEED={HASH_SEED} python -m tests.simulation.run {scenario} --seed {seed} --story"
        why = "".join(traceback.format_exception(cause.__cause__ or cause))
        super().__init__(
            f"{scenario}, seed {seed}: {type(cause).__name__}: {cause}\n{told}\n{why}\nRun it again with: {again}"
        )


def simulate(name: str, seed: str) -> Result:
    """Run one scenario with one seed, and check it.

    Raises:
        Violation: What does not hold, the story, and the command that runs it again.
    """
    # trio shuffles what is ready at once, on purpose; here that must follow from the seed too.
    scheduler: Any = importlib.import_module("trio._core._run")
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True
    scheduler._r = Random(f"{seed}/scheduler")
    story: list[str] = []
    folder = Path(tempfile.mkdtemp(prefix="stoa-simulation-", dir=MEMORY_DISK if MEMORY_DISK.is_dir() else None))
    try:
        return trio.run(_run, name, seed, folder, story, clock=MockClock(autojump_threshold=0))
    except (Exception, BaseExceptionGroup) as error:
        raise Violation(name, seed, tuple(story), error) from error
    finally:
        shutil.rmtree(folder)


async def _run(name: str, seed: str, folder: Path, story: list[str]) -> Result:
    async with open_world(seed, folder) as world:
        world.trace = story
        with trio.fail_after(STORY_S):
            await scenario_of(name)(world)
        await world.settle()
        await check_world(world)
        return Result(
            ended=world.ended,
            story=tuple(story),
            messages=world.network.sent,
            virtual_s=trio.current_time(),
            figures=world.figures,
            recomputed=world.recomputed,
        )
    raise AssertionError("the world ended before the story")


def _only_cause(error: BaseException) -> BaseException:
    """Return what is inside groups of one."""
    while isinstance(error, BaseExceptionGroup):
        inner: list[BaseException] = list(cast("Any", error).exceptions)
        if len(inner) > 1:
            return cast("BaseException", error)
        error = inner[0]
    return error
