"""Fixtures of the payments room."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.node.payments.payments_world import World, open_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World, None]:
    async with open_world(tmp_path / "nodes") as world:
        yield world
