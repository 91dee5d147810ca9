"""Every named scenario with one seed, and some random storms; `make assurance` runs thousands.

A failure prints the story and the one command that tells it again with all logs.
"""

import pytest

from tests.simulation.scenarios import NAMED
from tests.simulation.simulate import simulate

SEED = "guard"
STORMS = 12


@pytest.mark.parametrize("name", NAMED)
def test_a_named_story_ends_well(name: str) -> None:
    result = simulate(name, SEED)
    assert sum(result.ended.values()) > 0, "nobody honest asked for anything: the story shows nothing"


@pytest.mark.parametrize("seed", range(STORMS))
def test_a_storm_ends_well(seed: int) -> None:
    simulate("storm", f"guard-{seed}")


def test_one_seed_gives_one_story() -> None:
    first, second = simulate("storm", "twice"), simulate("storm", "twice")
    assert (first.story, first.messages, first.virtual_s, first.ended) == (
        second.story,
        second.messages,
        second.virtual_s,
        second.ended,
    )


def test_honest_nodes_in_good_weather_do_every_task() -> None:
    assert simulate("calm", SEED).ended == {"done": 4}, "three, and one afterwards"


@pytest.mark.parametrize("name", ["audited-forger-of-outputs", "audited-forger-of-fuel"])
def test_a_liar_is_refuted_and_its_tasks_are_done_by_others(name: str) -> None:
    result = simulate(name, SEED)
    assert result.figures["refuted"] > 0
    assert result.ended["done"] == sum(result.ended.values()) == 4, "three, and one afterwards"
