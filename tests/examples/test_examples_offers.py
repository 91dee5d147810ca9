"""What an example offers suits every provider of the local network, so that trying it never ends in "no bids"."""

import math
from pathlib import Path

import pytest

from node.app.selling import rates_of
from node.cli.order import prepare
from node.cli.task_file import load_task_file
from node.config.trade import PriceSettings
from node.devnet.layout import FUEL_PER_S, PROVIDER_GFUEL
from protocol.task.pricing import price_at_limits

EXAMPLES = sorted(path.parent for path in (Path(__file__).parents[2] / "examples").glob("*/task.toml"))
DEVNET_PROVIDERS = 3


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda folder: folder.name)
def test_budget_and_time_of_an_example_suit_every_provider_of_the_local_network(folder: Path) -> None:
    task = load_task_file(folder)
    manifest = prepare(task).manifest
    parts = len(manifest.parts)
    assert task.offer.budget is not None
    assert task.offer.max_eta_s is not None
    for gfuel in PROVIDER_GFUEL[:DEVNET_PROVIDERS]:
        rates = rates_of(PriceSettings.model_validate({"gfuel": gfuel}))
        assert price_at_limits(rates, manifest, 0, parts) <= task.offer.budget
    assert math.ceil(manifest.limits.fuel * parts / FUEL_PER_S) + parts <= task.offer.max_eta_s


def test_all_six_examples_are_looked_at() -> None:
    assert len(EXAMPLES) == 6
