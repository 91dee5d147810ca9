"""A clock and a folder for storage tests."""

from pathlib import Path

import pytest

from node.operations.clock import TrioClock
from protocol.units import UnixTime


@pytest.fixture
async def clock() -> TrioClock:
    """Unix time that starts at a round number and follows trio's clock."""
    return TrioClock.starting_at(UnixTime(1_800_000_000))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder that doesn't exist yet."""
    return tmp_path / "data"
