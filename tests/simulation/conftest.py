"""Nodes log what goes wrong in a simulation, and much does: only a story that fails is told."""

import logging

import pytest
import structlog


@pytest.fixture(autouse=True)
def _quiet() -> None:  # pyright: ignore[reportUnusedFunction] - pytest uses it
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
