"""A minute of the soak: what is sure to hold after any of them, however slow the machine; growth takes a longer one."""

from functools import partial
from pathlib import Path
from typing import Any

import trio

from tests.soak.plan import Plan
from tests.soak.report import Soak, plot, write_table
from tests.soak.run import soak
from tests.soak.weigh import weigh

PLAN: dict[str, Any] = {"nodes": 4, "buyers": 2, "auctions_per_hour": 1200, "tasks_per_hour": 800, "kill_every_s": 9}


def test_nothing_is_lost_in_a_minute_of_trade_with_kills_and_a_chain_that_goes_away(tmp_path: Path) -> None:
    told: list[str] = []
    plan = Plan(folder=tmp_path / "d", seed=7, duration_s=60, escrow_share=0, chain_share=0.3, sample_every_s=2, **PLAN)
    done = trio.run(partial(_soak, plan, tmp_path, told))
    table = write_table(done)
    assert done.problems == [], table
    assert done.mishaps.kills > 0, told
    assert done.mishaps.chain_outages > 0, told
    assert len(done.ledger.taken) > 0, table
    assert sum(done.verdict.ended.values()) == len(done.ledger.taken), table
    lives = {(each.node, each.life) for each in done.watch.samples}
    assert len(lives) > plan.nodes, table  # who was killed lived again
    assert "auction" in weigh(plan.folder)
    assert plot(done.watch.samples).count("<polyline") == 3 * len(lives)


async def _soak(plan: Plan, out: Path, told: list[str]) -> Soak:
    return await soak(plan, out, told.append, trio.Event())
