"""From `task submit` to the result, between four node processes: word-statistics over an open channel, warm cache.

The commit and reveal windows are waiting by design, so what matters is what comes on top of them. Offers name whole
seconds (docs/adr/0103), so the windows last up to a second longer than asked for; both are printed.

    PYTHONPATH=. python benchmarks/task.py [runs]
"""

import os
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import trio

from node.api.client import NodeClient, open_client
from node.api.facade import NodeFacade
from node.api.views import AuctionOpened, RailFunded, TaskEnded, WinnerChosen, WorkStarted
from node.cli.order import make_order, prepare, upload
from node.cli.task_file import load_task_file
from node.devnet.devnet import open_devnet

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "word-statistics" / "task.toml"
STEPS = ("windows", "award", "funding", "start", "result")


async def main(runs: int) -> None:
    """Print the medians of `runs` tasks, after one that opens the channel and compiles the module."""
    with tempfile.TemporaryDirectory(prefix="stoa-bench-") as folder:
        async with open_devnet(Path(folder) / "net") as devnet, open_client(devnet.requester.socket) as client:
            await trio.sleep(3)
            print(
                f"1 requester, {len(devnet.providers)} providers, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
            )
            await run_once(client)
            rows = [await run_once(client) for _ in range(runs)]
    for index, step in enumerate(STEPS):
        print(f"{step:10} {statistics.median(row[index] for row in rows):6.2f} s")
    beyond = [sum(row[1:]) for row in rows]
    print(f"submit to result, beyond the windows: median {statistics.median(beyond):.2f} s, worst {max(beyond):.2f} s")
    print(f"submit to result, in all:             median {statistics.median(map(sum, rows)):.2f} s")


async def run_once(client: NodeClient) -> tuple[float, ...]:
    """Return how long each step took, seconds."""
    file = load_task_file(EXAMPLE)
    prepared = prepare(file)
    await upload(client, prepared, lambda _count: None)
    began = time.time()
    view = await client.call(NodeFacade.task_submit, order=make_order(prepared.manifest, file.offer))
    marks: dict[str, float] = {}
    async with client.stream(NodeFacade.task_watch, task=view.task.hex()) as events:
        async for event in events:
            now = time.time()
            match event:
                case AuctionOpened(reveal_by=reveal_by):
                    marks["windows"] = float(reveal_by + 1)
                case WinnerChosen():
                    marks["award"] = now
                case RailFunded():
                    marks["funding"] = now
                case WorkStarted():
                    marks["start"] = now
                case TaskEnded(state=state, reason=reason):
                    assert state == "done", reason
                    marks["result"] = now
                case _:
                    pass
    times = [began, *(marks[step] for step in STEPS)]
    return tuple(after - before for before, after in pairwise(times))


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 7)
