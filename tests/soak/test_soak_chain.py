"""The chain is killed and started again, and reorganised by six blocks, while tasks run; `make assurance` has more."""

from functools import partial
from pathlib import Path

import trio

from tests.soak.chain_story import REORGANISED, tell_chain_story, write_story

TASKS = 30


def test_all_adds_up_and_nothing_is_claimed_twice_after_the_chain_was_killed_and_reorganised(tmp_path: Path) -> None:
    told: list[str] = []
    story = trio.run(partial(tell_chain_story, tmp_path / "d", tasks=TASKS, rounds=1, tell=told.append))
    table = "\n".join((*told, write_story(story)))
    print(table)  # noqa: T201 - shown if the test fails, and with -s
    assert story.verdict.wrong == [], table
    assert story.running[0].total() >= TASKS, table
    assert story.running[0]["running"] + story.running[0]["funding"] > 0, table
    assert story.lost_blocks >= REORGANISED, table
    assert story.verdict.ended["channel", "done"] > 0, table
    assert story.verdict.ended["escrow", "done"] > 0, table
    assert story.events["ChannelClaimed"] > 0, table
