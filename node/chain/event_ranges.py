"""How much of the chain is asked for in one reading: ranges of blocks, several at once, as large as its node gives."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from node.chain.chain import Block, RawLog

RANGES_AT_ONCE: Final = 4
"""While behind. More gains little, and public nodes begin to refuse."""
GROW_AFTER: Final = 32
"""Ranges that a node must have answered before a greater one is tried than the one that it refused."""


@dataclass(frozen=True, slots=True)
class BlockRange:
    """Logs of the blocks from number `first` to the block `end`, both included."""

    first: int
    end: Block
    logs: Sequence[RawLog]


class RangeSizes:
    """How many blocks, and how many ranges at once, the chain's node gives.

    What it refuses is halved, and not asked for again for a while: a node that allows 700 blocks would else refuse each
    second request. At one block the ranges at once become one; a node that refuses that has another trouble.
    """

    def __init__(self, most: int) -> None:
        self._most, self._ceiling, self._blocks = most, most, most
        self._width = RANGES_AT_ONCE
        self._answered = 0

    def plan(self, first: int, last: int) -> list[tuple[int, int, int]]:
        """Return place, first and last block of the ranges to read next."""
        starts = range(first, min(last + 1, first + self._width * self._blocks), self._blocks)
        return [(place, start, min(start + self._blocks - 1, last)) for place, start in enumerate(starts)]

    def shrink(self) -> bool:
        """Ask for less. False if there is no less."""
        self._answered = 0
        if self._blocks > 1:
            self._blocks //= 2
            self._ceiling = self._blocks
            return True
        if self._width > 1:
            self._width = 1
            return True
        return False

    def grow(self, answered: int) -> None:
        """Ask for more, if so many ranges were answered lately that it is worth a try."""
        self._answered += answered
        if self._answered >= GROW_AFTER:
            self._answered, self._width = 0, RANGES_AT_ONCE
            self._ceiling = min(self._ceiling * 2, self._most)
        self._blocks = min(self._blocks * 2, self._ceiling)


def without_gap(read: Sequence[BlockRange | None]) -> list[BlockRange]:
    """Return what was read without a gap: later ranges are read again."""
    ranges: list[BlockRange] = []
    for each in read:
        if each is None:
            break
        ranges.append(each)
    return ranges


async def run_at_once(act: Callable[..., Awaitable[None]], arguments: Sequence[tuple[object, ...]]) -> None:
    """Run `act` for each; if several fail, one of their errors is raised."""
    failures: list[Exception] = []

    async def run(each: tuple[object, ...]) -> None:
        try:
            await act(*each)
        except Exception as error:  # noqa: BLE001 - raised below, as itself instead of in a group
            failures.append(error)

    async with trio.open_nursery() as nursery:
        for each in arguments:
            nursery.start_soon(run, each)
    if failures:
        raise failures[0]
