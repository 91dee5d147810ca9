"""What a collection looks at, once a node runs."""

import gc
from collections.abc import Iterator

import pytest

from node.app.garbage import set_aside


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    threshold = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)


def test_what_lives_at_the_start_is_never_looked_at_again() -> None:
    old: list[list[int]] = [[] for _ in range(10)]
    set_aside()
    new: list[list[int]] = []

    looked_at = {id(each) for each in gc.get_objects()}
    assert id(new) in looked_at
    assert not looked_at & {id(each) for each in old}


def test_cycles_made_later_are_still_collected() -> None:
    set_aside()
    cycle: list[object] = []
    cycle.append(cycle)
    del cycle
    assert gc.collect() > 0
