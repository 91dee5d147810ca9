"""What must be true when a soak is over: every task ended, every base unit where it belongs, every result here."""

import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

import trio
from blake3 import blake3

from node.api.client import open_client
from node.api.errors import RemoteRefusal
from node.api.facade import NodeFacade
from node.api.views import ChannelView, EarningView, TaskDetail
from node.devnet.balances import Snapshot
from node.devnet.layout import NodePlace
from protocol.identity import Address
from protocol.units import UnixTime
from tests.soak.town import Town
from tests.soak.trade import EVERYTHING, Ledger, Order, task_text, tasks_of
from tests.system.system_lab import EXAMPLES

OVER: Final = ("done", "failed", "cancelled")
POLL_S: Final = 0.5
CHECKER: Final = EXAMPLES / "monte-carlo" / "check.py"
CHECK_TIMEOUT_S: Final = 120.0
READ_BACK: Final = 20
"""Results that are read whole; of the others it is asked whether they are there."""


@dataclass(slots=True)
class Verdict:
    """What was found. A soak is good if `wrong` is empty."""

    wrong: list[str] = field(default_factory=list[str])
    ended: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    """Tasks by kind of order and last state."""
    reasons: Counter[str] = field(default_factory=Counter[str])
    """Why tasks failed that were meant to be done."""
    paid: int = 0
    awards: int = 0
    parts: int = 0
    fees: int = 0


async def wait_over(town: Town, timeout_s: float) -> list[str]:
    """Wait until no task is open; say which still are."""
    left: list[str] = []
    with trio.move_on_after(timeout_s):
        while True:
            left = [
                f"{place.name} still has {task.name}, {task.state}: {task.reason}"
                for place in town.buyers
                for task in await tasks_of(place, open_only=True)
            ]
            if not left:
                return []
            await trio.sleep(POLL_S)
    return left


async def settle(town: Town, timeout_s: float) -> list[str]:
    """Close every channel together, and wait until the contracts hold nothing; say what they still hold."""
    left: list[str] = []
    with trio.move_on_after(timeout_s):
        while True:
            left = []
            async with trio.open_nursery() as nursery:  # each close waits for its confirmations
                for place in town.places:
                    nursery.start_soon(_close_channels, place, left)
            holdings = (await town.snapshot()).holdings
            left += [
                f"{name} holds {holdings[name].tokens}" for name in ("escrow", "channels") if holdings[name].tokens
            ]
            if not left:
                return []
            await trio.sleep(POLL_S)
    return left


async def _close_channels(place: NodePlace, left: list[str]) -> None:
    """Close what `place` pays with, all at once; add to `left` what is not over yet."""
    async with open_client(place.socket) as client, trio.open_nursery() as nursery:
        for channel in await client.call(NodeFacade.channel_list):
            if channel.role == "payer":
                nursery.start_soon(_close_channel, place, channel, left)
        escrows = await client.call(NodeFacade.escrow_list)
        left += [f"{place.name} has an escrow that is {each.state}" for each in escrows if each.role == "payer"]


async def _close_channel(place: NodePlace, channel: ChannelView, left: list[str]) -> None:
    told = f"{place.name} has a channel that is {channel.state}, with {channel.held} held"
    if channel.state == "open":
        try:
            async with open_client(place.socket) as client:
                await client.call(NodeFacade.channel_close, channel=channel.channel.hex())
        except RemoteRefusal as error:  # a hold that is not released yet
            told += f": {error}"
    left.append(told)


async def judge(town: Town, ledger: Ledger, before: Snapshot, after: Snapshot, folder: Path) -> Verdict:
    """Compare what buyers, sellers and the chain say of each other. `folder` is for what is compared in files."""
    verdict = Verdict()
    verdict.wrong += town.discrepancies(before, after)
    verdict.fees = sum(after.fees.values()) - sum(before.fees.values())
    details = await _details(town, ledger, verdict)
    for order, _, detail in details:
        _judge_task(order, detail, verdict)
    _judge_outputs(details, verdict)
    await _judge_results(details, verdict, folder)
    await _judge_money(town, details, before, after, verdict)
    return verdict


async def _details(town: Town, ledger: Ledger, verdict: Verdict) -> list[tuple[Order, NodePlace, TaskDetail]]:
    """Read every task that any node has, and miss those that a node once said it had."""
    found: list[tuple[Order, NodePlace, TaskDetail]] = []
    for place in town.buyers:
        known = {task.name: task for task in await tasks_of(place)}
        mine = {name: order for name, (buyer, order, _) in ledger.taken.items() if buyer is place}
        verdict.wrong += [f"{place.name} has lost {name}, which it had taken" for name in mine if name not in known]
        strange = [name for name in known if name not in mine]
        verdict.wrong += [f"{place.name} has {name}, which was ordered elsewhere" for name in strange]
        async with open_client(place.socket) as client:
            for name, task in known.items():
                if name in mine:
                    detail = await client.call(NodeFacade.task_show, task=task.task.hex())
                    found.append((mine[name], place, detail))
    return found


def _judge_task(order: Order, detail: TaskDetail, verdict: Verdict) -> None:
    task = detail.task
    verdict.ended[order.kind, task.state] += 1
    verdict.awards += len(detail.awards)
    verdict.parts += len(detail.parts)
    paid = sum(part.cost for part in detail.parts)
    verdict.paid += paid
    if task.spent != paid or paid > task.budget:
        verdict.wrong.append(f"{task.name}: spent {task.spent}, its parts cost {paid}, its budget is {task.budget}")
    numbers = [part.part for part in detail.parts]
    if numbers != list(range(len(numbers))) or (task.state == "done" and len(numbers) != order.parts):
        verdict.wrong.append(f"{task.name} is {task.state} with parts {numbers} of {order.parts}")
    if task.state not in OVER:
        verdict.wrong.append(f"{task.name} did not end: {task.state}")
    if task.state == "failed":
        if not task.reason:
            verdict.wrong.append(f"{task.name} failed, and nobody says why")
        if order.kind in ("channel", "escrow"):
            verdict.reasons[task.reason] += 1
    if order.kind == "no taker" and (task.state != "failed" or detail.awards):
        verdict.wrong.append(f"{task.name} could be sold to nobody, and is {task.state}")


def _judge_outputs(details: Sequence[tuple[Order, NodePlace, TaskDetail]], verdict: Verdict) -> None:
    """Equal parts have equal outputs and equal fuel (DESIGN D9), whoever ran them, and after whatever death."""
    first: dict[tuple[int, int], tuple[bytes, int]] = {}
    for order, _, detail in details:
        for part in detail.parts:
            found = (bytes(part.output), part.fuel)
            if first.setdefault((order.seed, part.part), found) != found:
                verdict.wrong.append(f"{order.name}, part {part.part}, differs from the same part of another task")


async def _judge_results(
    details: Sequence[tuple[Order, NodePlace, TaskDetail]], verdict: Verdict, folder: Path
) -> None:
    """Every output that was paid is in its buyer's store; some are read whole, and judged by the example's checker."""
    chosen = {detail.task.task for _, _, detail in Random(0).sample(details, min(READ_BACK, len(details)))}
    for order, place, detail in details:
        async with open_client(place.socket) as client:
            for part in detail.parts:
                if not await client.call(NodeFacade.blob_has, digest=part.output):
                    verdict.wrong.append(f"{place.name} has paid for part {part.part} of {order.name}, and lacks it")
            if detail.task.task not in chosen or detail.task.state != "done":
                continue
            outputs: list[bytes] = []
            for part in detail.parts:
                async with client.stream(NodeFacade.blob_read, digest=part.output) as chunks:
                    outputs.append(b"".join([chunk async for chunk in chunks]))
                if blake3(outputs[-1]).digest() != part.output:
                    verdict.wrong.append(f"{order.name}, part {part.part}: the output is not what its digest names")
        problem = await trio.to_thread.run_sync(_check, folder / order.name, order, outputs)
        if problem:
            verdict.wrong.append(f"{order.name}: {problem}")


async def _judge_money(
    town: Town,
    details: Sequence[tuple[Order, NodePlace, TaskDetail]],
    before: Snapshot,
    after: Snapshot,
    verdict: Verdict,
) -> None:
    """What each pair says it paid and earned agrees, and is what the chain moved."""
    paid: Counter[tuple[str, str]] = Counter()
    names = {place.wallet: place.name for place in town.places}
    for _, buyer, detail in details:
        for part in detail.parts:
            paid[buyer.name, names[part.provider]] += part.cost
    earned: Counter[tuple[str, str]] = Counter()
    for place in town.places:
        for award in await _earnings_of(place):
            earned[names[award.requester], place.name] += award.earned
    for pair in paid.keys() | earned.keys():
        if paid[pair] != earned[pair]:
            verdict.wrong.append(f"{pair[0]} paid {pair[1]} {paid[pair]}, which earned {earned[pair]}")
    verdict.wrong += compare_income(names, paid, before, after)


def compare_income(
    names: Mapping[Address, str], paid: Mapping[tuple[str, str], int], before: Snapshot, after: Snapshot
) -> list[str]:
    """Return whose balance did not change by what it sold less what it bought."""
    wrong: list[str] = []
    for name in names.values():
        due = sum(amount for (_, seller), amount in paid.items() if seller == name)
        due -= sum(amount for (buyer, _), amount in paid.items() if buyer == name)
        change = after.holdings[name].tokens - before.holdings[name].tokens
        if change != due:
            wrong.append(f"{name}: its tokens changed by {change}, it sold and bought for {due}")
    return wrong


async def _earnings_of(place: NodePlace) -> tuple[EarningView, ...]:
    async with open_client(place.socket) as client:
        report = await client.call(NodeFacade.earnings_show, since=UnixTime(0), limit=EVERYTHING)
    return report.awards


def _check(folder: Path, order: Order, outputs: Sequence[bytes]) -> str:
    """Have the example's own checker compute a task by other means; say what it finds."""
    folder.mkdir(parents=True)
    task = folder / "task.toml"
    task.write_text(task_text(order))
    files = [folder / f"{number}.tsv" for number in range(len(outputs))]
    for file, output in zip(files, outputs, strict=True):
        file.write_bytes(output)
    command = [sys.executable, str(CHECKER), "--task", str(task), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=CHECK_TIMEOUT_S)
    return "" if done.returncode == 0 else f"the checker says {done.stdout[-500:]}{done.stderr[-500:]}"
