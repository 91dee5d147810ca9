"""Trade for hours on a network of processes that are killed again and again, and look for what is lost or grows.

    python -m tests.soak.run --hours 2 --out FOLDER

Needs nothing but the checkout. Ctrl-C ends the trade early: what was bought is settled and judged as at the end. The
folder gets `samples.jsonl`, `report.txt`, `plot.svg`, and the nodes' folders with their logs.
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio

from node.devnet.processes import NodeNotReady
from tests.soak.books import Verdict, judge, settle, wait_over
from tests.soak.mishaps import Mishaps
from tests.soak.plan import Plan
from tests.soak.report import Soak, plot, write_table
from tests.soak.town import Town, open_town
from tests.soak.trade import Trader
from tests.soak.watch import Watch, orphans
from tests.soak.weigh import weigh, write_weights

ORDERS_TIMEOUT_S: Final = 120.0
OVER_TIMEOUT_S: Final = 420.0
SETTLE_TIMEOUT_S: Final = 600.0
"""A task whose money is in an escrow that nobody claims takes its `claim_by` and then its refund."""
PROGRESS_EVERY_S: Final = 60.0


async def soak(plan: Plan, out: Path, tell: Callable[[str], None], stop: trio.Event) -> Soak:
    """Run one soak.

    Args:
        plan: What to do.
        out: A folder for samples.
        tell: Gets a line of progress now and then.
        stop: Ends the trade early.
    """
    with (out / "samples.jsonl").open("w") as samples:
        async with open_town(plan) as town:
            watch, trader, mishaps = Watch(town, samples), Trader(plan, town), Mishaps(plan, town, tell)
            before = await town.snapshot()
            async with trio.open_nursery() as watching:
                watching.start_soon(watch.run, plan.sample_every_s)
                watching.start_soon(_tell_progress, watch, trader, mishaps, tell)
                began = trio.current_time()
                async with trio.open_nursery() as orders:  # ends when each order is taken or refused
                    with trio.move_on_after(plan.duration_s):
                        async with trio.open_nursery() as trading:
                            trading.start_soon(trader.run, orders)
                            trading.start_soon(mishaps.run)
                            await stop.wait()
                            trading.cancel_scope.cancel()
                    traded_s = trio.current_time() - began
                    await _heal(town, mishaps)
                    orders.cancel_scope.deadline = trio.current_time() + ORDERS_TIMEOUT_S
                verdict = Verdict()
                tell("trade is over; waiting for what is under way")
                verdict.wrong += await wait_over(town, OVER_TIMEOUT_S)
                tell("closing channels")
                verdict.wrong += await settle(town, SETTLE_TIMEOUT_S)
                after = await town.snapshot(before.block)
                judged = await judge(town, trader.ledger, before, after, plan.folder / "checked")
                judged.wrong[:0] = verdict.wrong
                judged.wrong += [f"process {pid} outlived its node" for pid in orphans(town.past_pids)]
                await trio.to_thread.run_sync(watch.look)
                watching.cancel_scope.cancel()
    return Soak(plan=plan, traded_s=traded_s, ledger=trader.ledger, mishaps=mishaps, watch=watch, verdict=judged)


async def _heal(town: Town, mishaps: Mishaps) -> None:
    for place in town.places:
        if not town.processes[place.name].is_running:
            try:
                await town.start(place)
            except NodeNotReady as error:
                mishaps.failed_starts.append(f"at the end, {place.name}: {error}")


async def _tell_progress(watch: Watch, trader: Trader, mishaps: Mishaps, tell: Callable[[str], None]) -> None:
    while True:
        await trio.sleep(PROGRESS_EVERY_S)
        newest = {each.node: each for each in watch.samples}
        memory = max((each.memory for each in newest.values()), default=0) / 2**20
        tell(
            f"{len(trader.ledger.taken)} auctions, {mishaps.kills} kills, {mishaps.chain_outages} outages,"
            f" {len(trader.ledger.refused)} refused, {len(watch.errors)} errors; largest node {memory:.0f} MiB"
        )


async def _interruptible(plan: Plan, out: Path, tell: Callable[[str], None]) -> Soak:
    stop = trio.Event()
    async with trio.open_nursery() as nursery:

        async def listen() -> None:
            with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
                async for _ in received:
                    if stop.is_set():
                        raise KeyboardInterrupt
                    tell("stopped: settling what was bought; once more to leave it")
                    stop.set()

        nursery.start_soon(listen)
        result = await soak(plan, out, tell, stop)
        nursery.cancel_scope.cancel()
    return result


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--nodes", type=int, default=10)
    parser.add_argument("--buyers", type=int, default=3)
    parser.add_argument("--auctions-per-hour", type=float, default=1000)
    parser.add_argument("--tasks-per-hour", type=float, default=500)
    parser.add_argument("--kill-every", type=float, default=60, help="seconds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sample-every", type=float, default=10, help="seconds")
    parser.add_argument("--out", type=Path, help="folder for samples, report, plot and logs; default: a new one")
    given = parser.parse_args()
    if not 1 <= given.buyers <= given.nodes or given.nodes < 2 or given.tasks_per_hour > given.auctions_per_hour:
        parser.error("two nodes at least, no more buyers than nodes, no more tasks than auctions")
    out: Path = given.out or Path(tempfile.mkdtemp(prefix="stoa-soak-"))
    out.mkdir(parents=True, exist_ok=True)
    town = out / "d"
    if town.exists():
        shutil.rmtree(town)
    plan = Plan(
        folder=town,
        seed=given.seed,
        duration_s=given.hours * 3600,
        nodes=given.nodes,
        buyers=given.buyers,
        auctions_per_hour=given.auctions_per_hour,
        tasks_per_hour=given.tasks_per_hour,
        kill_every_s=given.kill_every,
        sample_every_s=given.sample_every,
    )
    began = time.monotonic()

    def tell(line: str) -> None:
        print(f"{(time.monotonic() - began) / 60:7.1f} min  {line}", flush=True)  # noqa: T201

    result = trio.run(_interruptible, plan, out, tell)
    table = f"{write_table(result)}\n{write_weights(weigh(town))}"
    (out / "report.txt").write_text(table)
    (out / "plot.svg").write_text(plot(result.watch.samples))
    print(f"\n{table}\nin {out}", flush=True)  # noqa: T201
    sys.exit(1 if result.problems or result.leaks else 0)


if __name__ == "__main__":
    main()
