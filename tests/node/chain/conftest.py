"""Fixtures of the chain room."""

from collections.abc import AsyncGenerator

import pytest

from tests.node.chain.chain_world import World, open_world


@pytest.fixture
async def world() -> AsyncGenerator[World, None]:
    async with open_world() as world:
        yield world
