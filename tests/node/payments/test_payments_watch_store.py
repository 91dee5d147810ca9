"""The tables of watches, on both stores: what is replaced, what is bounded, what is counted once."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from node.operations.clock import SystemClock
from node.payments.watch.errors import TooManyWatches
from node.payments.watch.settings import WatchSettings
from node.payments.watch.store import ACTS_KEPT_S, DAY_S, WATCH_SCHEMA, StoredWatch, WatchStore
from node.storage.schema import schema_differences
from protocol.channel.holds import build_voucher
from protocol.channel.objects import ChannelKey
from protocol.channel.watch import HandedMark, WatchOrder
from protocol.identity import Address, Digest
from protocol.signing.ecdsa import Signature
from protocol.signing.signed import Signed
from protocol.units import MAX_AMOUNT, Amount, UnixTime
from tests.stores import Store

ANN, BOB = Address(b"\x0a" * 20), Address(b"\x0b" * 20)
FIRST, SECOND, THIRD = (Digest(bytes([number]) * 32) for number in (1, 2, 3))
SETTINGS = WatchSettings(watches_per_client=2, bytes_per_client=1_000)
NOW = UnixTime(1_800_000_000)


def watch(channel: Digest, client: Address = ANN, sequence: int = 1, size: int = 400) -> StoredWatch:
    key = ChannelKey(payer=BOB, signer=BOB, payee=client, token=BOB, counter=sequence)
    voucher = build_voucher(channel, sequence, MAX_AMOUNT, ())
    order = WatchOrder(
        key=key,
        voucher=Signed(voucher, Signature(b"\x01" * 65)),
        holds=(),
        payee_signature=Signature(b"\x02" * 65),
    )
    return StoredWatch(channel=channel, client=client, size=size, received_at=NOW, order=order)


@asynccontextmanager
async def open_store(folder: Path, store: Store) -> AsyncGenerator[WatchStore, None]:
    async with store.open(folder, clock=SystemClock(), schema_parts=[WATCH_SCHEMA]) as storage:
        assert await storage.read.query(lambda connection: list(schema_differences(connection, WATCH_SCHEMA))) == []
        yield WatchStore(storage)


async def test_orders_are_replaced_bounded_by_client_and_there_after_a_restart(tmp_path: Path, store: Store) -> None:
    newest = watch(FIRST, sequence=2**64 - 1)
    async with open_store(tmp_path, store) as watches:
        await watches.put(watch(FIRST), SETTINGS)
        await watches.put(watch(SECOND, size=600), SETTINGS)
        with pytest.raises(TooManyWatches, match="2 channels of yours"):
            await watches.put(watch(THIRD, size=0), SETTINGS)
        with pytest.raises(TooManyWatches, match="600 bytes"):
            await watches.put(watch(FIRST, sequence=2, size=401), SETTINGS)
        assert await watches.find(FIRST) == watch(FIRST).order  # what was refused left what was there
        await watches.put(newest, SETTINGS)
        await watches.put(watch(THIRD, BOB), SETTINGS)  # another client has room of its own
    async with open_store(tmp_path, store) as watches:
        assert await watches.load() == (newest, watch(SECOND, size=600), watch(THIRD, BOB))
        await watches.drop(SECOND)
        assert await watches.find(SECOND) is None
        assert len(await watches.load()) == 2


async def test_acts_count_once_a_voucher_for_each_client_and_for_a_day(tmp_path: Path, store: Store) -> None:
    mine, theirs = watch(FIRST), watch(SECOND, BOB)
    async with open_store(tmp_path, store) as watches:
        assert await watches.begin_act(mine, FIRST, NOW, 2)
        assert await watches.begin_act(mine, FIRST, NOW, 2)
        assert await watches.begin_act(mine, SECOND, NOW, 2)
        assert not await watches.begin_act(mine, THIRD, UnixTime(NOW + DAY_S - 1), 2)
        assert await watches.begin_act(theirs, THIRD, NOW, 2)
        await watches.end_act(FIRST, FIRST, 77)
        assert sorted((act.client, act.block) for act in await watches.acts(NOW)) == [(ANN, 0), (ANN, 77), (BOB, 0)]
        assert await watches.begin_act(mine, THIRD, UnixTime(NOW + DAY_S), 2)
        assert len(await watches.acts(UnixTime(NOW + 1))) == 1
        assert await watches.begin_act(theirs, FIRST, UnixTime(NOW + ACTS_KEPT_S + 1), 2)
        assert len(await watches.acts(UnixTime(0))) == 2  # the oldest are gone


async def test_marks_are_kept_by_tower_and_channel(tmp_path: Path, store: Store) -> None:
    mark = HandedMark(sequence=2**64 - 1, cumulative=MAX_AMOUNT, holds=FIRST)
    async with open_store(tmp_path, store) as watches:
        await watches.mark(ANN, FIRST, replace(mark, sequence=1), NOW)
        await watches.mark(ANN, FIRST, mark, NOW)
        await watches.mark(BOB, FIRST, mark, NOW)
        await watches.mark(BOB, SECOND, replace(mark, cumulative=Amount(0)), NOW)
        await watches.mark(BOB, FIRST, None, NOW)
    async with open_store(tmp_path, store) as watches:
        assert await watches.marks() == {
            (ANN, FIRST): mark,
            (BOB, SECOND): replace(mark, cumulative=Amount(0)),
        }
