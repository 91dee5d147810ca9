"""Promises in the real journal."""

from pathlib import Path

import pytest

from node.operations.clock import SystemClock
from node.storage.errors import ConcurrentAppend
from node.storage.storage import open_storage
from node.wallet.spend_ledger import JournaledSpendLedger
from protocol.identity import Address, Digest
from protocol.spending import AccountClosed, Spend, SpendingEvent, Spent, TaskClosed
from protocol.units import MAX_AMOUNT, Amount, UnixTime

ME = Address(b"\x01" * 20)
TASK = Digest(b"\x02" * 32)
EVENTS: list[SpendingEvent] = [
    Spent(
        at=UnixTime(1),
        spend=Spend(account=TASK, total=MAX_AMOUNT, peer=ME, task=TASK, task_total=Amount(MAX_AMOUNT - 1)),
    ),
    Spent(at=UnixTime(2), spend=Spend(account=TASK, total=Amount(0), peer=ME)),
    AccountClosed(account=TASK),
    TaskClosed(task=TASK),
]


async def test_promises_come_back_in_order_after_a_restart(tmp_path: Path) -> None:
    async with open_storage(tmp_path, clock=SystemClock()) as storage:
        ledger = JournaledSpendLedger(storage.journal, ME)
        assert await ledger.load() == ()
        for event in EVENTS:
            await ledger.append(event)
    async with open_storage(tmp_path, clock=SystemClock()) as storage:
        assert list(await JournaledSpendLedger(storage.journal, ME).load()) == EVENTS


async def test_a_second_writer_of_one_wallet_is_refused(tmp_path: Path) -> None:
    async with open_storage(tmp_path, clock=SystemClock()) as storage:
        first, second = (JournaledSpendLedger(storage.journal, ME) for _ in range(2))
        await first.load()
        await second.load()
        await first.append(EVENTS[0])
        with pytest.raises(ConcurrentAppend):
            await second.append(EVENTS[1])
