"""A node of its own process under every attack at once. `make assurance` gives each ten minutes' share and a table."""

import time
from collections.abc import Callable, Iterator

import pytest
import trio

from node.api.client import open_client
from node.api.facade import NodeFacade
from tests.assault.arsenal import AT_THE_DOOR, INSIDE
from tests.assault.run import MOST_MIB
from tests.assault.stage import Stage, open_stage

WAVE_S = 20.0
PATIENCE_S = 150.0
"""A silent connection is given up after 75 s."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("assault", numbered=True) / "d") as stage:
        yield stage


def until(what: str, is_true: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_true():
        assert time.monotonic() < deadline, f"after {PATIENCE_S:g} s not yet: {what}"
        time.sleep(0.2)


def is_answered(stage: Stage, *, since: float) -> bool:
    """Whether something that was asked since then has been answered."""
    return any(each.at >= since and each.ms is not None for each in stage.answers)


def connected(stage: Stage) -> frozenset[str]:
    """Return the peers of the node, as it tells its operator."""

    async def ask() -> frozenset[str]:
        async with open_client(stage.victim.socket) as client:
            return frozenset(each.peer for each in await client.call(NodeFacade.peer_list) if each.connected)

    return trio.run(ask)


@pytest.mark.timeout(600)
def test_a_node_under_every_attack_at_once_lives_and_trades_and_has_forgotten_it_afterwards(stage: Stage) -> None:
    until("the honest peer is answered", lambda: any(each.ms is not None for each in stage.answers))
    until("a task is done", lambda: any(each.end_s is not None for each in stage.trades))
    before, friends = stage.read(), connected(stage)
    for wave in (INSIDE, AT_THE_DOOR):
        began = time.time()
        with stage.attacked_by(tuple(wave)) as done:
            time.sleep(WAVE_S)
            until("the honest peer is answered", lambda began=began: is_answered(stage, since=began))
            assert stage.is_alive()
        assert done["connections"] > 20, done
        if wave is INSIDE:  # some got in, so this was an attack
            assert done["messages"] + done["requests"] + done["streams"] + done["frames"] > 100, done
    ended = time.time()
    until("a task is done afterwards", lambda: any(each.at >= ended and each.end_s for each in stage.trades))
    until("all connections of the attackers are gone", lambda: connected(stage) == friends)
    until("so are their descriptors", lambda: stage.read().descriptors <= before.descriptors + 2)
    assert stage.peak_mib() < MOST_MIB
    assert stage.errors() == []
