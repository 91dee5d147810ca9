# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportUnknownVariableType=false
"""One blob from several holders: quick, slow and vanishing ones. All on memory streams and a virtual clock."""

import random
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.networking.blob_frames import (
    PROTOCOL,
    Status,
    encode_answer,
)
from node.networking.blob_holder import PIPELINE
from node.networking.errors import (
    BlobUnavailable,
    MessageTooLarge,
    NoHolderLeft,
    PeerBusy,
    PeerUnreachable,
)
from node.networking.network import Network
from node.storage.blake3_tree import group_count
from tests.node.networking.blob_lab import GREETING_BYTES, MIB, Crate, Scene, Script, Shelf, blob, hostile, scene

SIZES = [0, 1, MIB - 1, MIB, MIB + 1, 3 * MIB, 5 * MIB + 5]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("holders", [1, 3])
async def test_a_blob_arrives_whole(size: int, holders: int, lab: Any, autojump_clock: MockClock) -> None:
    data = blob(size)
    shelves = [Shelf(data) for _ in range(holders)]
    async with scene(lab, *shelves, knows=False) as it:
        crate = Crate(data)
        await it.gather(crate)
        assert sorted(crate.puts) == list(range(group_count(size)))
        if size <= MIB:
            assert [shelf.opened for shelf in shelves] == [1] + [0] * (holders - 1)  # small blobs are paid for once


async def test_large_blobs_are_hashed_beside_the_main_loop(lab: Any) -> None:
    data = blob(2 * MIB + 1)
    async with scene(lab, Shelf(data), hash_in_threads=True) as it:
        crate = Crate(data)
        await it.gather(crate)
        assert sorted(crate.puts) == [0, 1, 2]


async def test_only_what_is_missing_is_asked_for(lab: Any, autojump_clock: MockClock) -> None:
    data = blob(5 * MIB + 5)
    shelf = Shelf(data)
    async with scene(lab, shelf, knows=False) as it:
        crate = Crate(data).resumed_with(0, 2, 5)
        await it.gather(crate)
        assert sorted(crate.puts) == [1, 3, 4]
        assert shelf.served == 3 * MIB  # nor does the holder hash what nobody asks to be proven


async def test_a_blob_that_is_here_asks_nobody(lab: Any, autojump_clock: MockClock) -> None:
    data = blob(MIB + 1)
    shelf = Shelf(data)
    async with scene(lab, shelf) as it:
        await it.gather(Crate(data).resumed_with(0, 1))
        assert shelf.opened == 0


async def test_holders_share_the_work_and_little_is_paid_for_twice(lab: Any, autojump_clock: MockClock) -> None:
    data = blob(24 * MIB)
    shelves = [Shelf(data, delay_s=0.25) for _ in range(3)]  # a MiB a second each
    async with scene(lab, *shelves) as it:
        start = trio.current_time()
        await it.gather(Crate(data))
        took = trio.current_time() - start
    assert took < 12  # one alone takes 24 s
    assert all(shelf.served > 5 * MIB for shelf in shelves)
    assert sum(shelf.served for shelf in shelves) <= 24 * MIB + 4 * MIB


async def test_a_slow_holder_loses_its_groups_to_the_others(lab: Any, autojump_clock: MockClock) -> None:
    data = blob(16 * MIB)
    slow, fast = Shelf(data, delay_s=25), Shelf(data, delay_s=0.01)  # 25 s or more for a group
    async with scene(lab, slow, fast) as it:
        crate = Crate(data).resumed_with(0)  # so both are asked at once, and the slow one has its groups under way
        start = trio.current_time()
        await it.gather(crate)
        assert trio.current_time() - start < 20
    assert slow.opened == 1
    assert slow.served <= 2 * MIB
    assert fast.served <= 16 * MIB


async def test_a_group_that_two_holders_fail_with_goes_to_the_third(lab: Any, autojump_clock: MockClock) -> None:
    async def takes_orders(stream: Any, script: Script) -> None:
        await stream.read_exactly(GREETING_BYTES)
        await stream.write(encode_answer(Status.OK, script.tree.size))
        await trio.sleep_forever()

    data = blob(PIPELINE * MIB + 44)
    script = Script(takes_orders, data)
    async with hostile(lab, script, Shelf(data, delay_s=1), Shelf(data)) as it:
        it.holders[2]._switch.handle(PROTOCOL, script.run)
        crate = Crate(data).resumed_with(PIPELINE)
        await it.gather(crate, of=[0, 2, 1])
        assert not crate.missing
        assert script.opened == 2


async def test_an_asker_that_stores_slowly_is_waited_for(lab: Any, autojump_clock: MockClock) -> None:
    data = blob(6 * MIB)
    async with scene(lab, Shelf(data), Shelf(data)) as it:
        crate = Crate(data, put_delay_s=20)
        await it.gather(crate)
        assert not crate.missing


@pytest.mark.parametrize("limit", ["upload_bytes_per_s", "download_bytes_per_s", "upload_bytes_per_s_per_peer"])
async def test_a_transfer_keeps_to_the_rate_that_is_set(limit: str, lab: Any, autojump_clock: MockClock) -> None:
    data = blob(6 * MIB)
    settings: dict[str, Any] = {limit: float(MIB)}
    for served_by_old in (False, True):
        async with scene(lab, Shelf(data), **settings) as it:
            if served_by_old:
                del it.holders[0]._switch._handlers[PROTOCOL]
            start = trio.current_time()
            await it.gather(Crate(data))
            assert trio.current_time() - start == pytest.approx(6, abs=0.5)


async def test_a_slow_link_is_spared_what_packs_and_not_troubled_with_what_does_not(
    lab: Any, autojump_clock: MockClock
) -> None:
    took: list[float] = []
    for data in (blob(4 * MIB), random.Random(1).randbytes(2 * MIB).hex().encode()):
        async with scene(lab, Shelf(data), upload_bytes_per_s=float(MIB)) as it:
            start = trio.current_time()
            crate = Crate(data)
            await it.gather(crate)
            assert not crate.missing
            took.append(trio.current_time() - start)
    assert took[0] == pytest.approx(4, abs=0.5)
    assert took[1] < 0.7 * took[0]


async def test_two_askers_of_one_holder_get_equal_shares(lab: Any, autojump_clock: MockClock) -> None:
    data = blob(8 * MIB)
    ended: list[float] = []
    async with scene(lab, Shelf(data), upload_bytes_per_s=float(MIB)) as it, lab.node(101) as other:
        await other.connect(it.holders[0].addresses[0])

        async def fetch(asker: Network) -> None:
            await Scene(asker, it.holders).gather(Crate(data))
            ended.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fetch, it.asker)
            nursery.start_soon(fetch, other)
    assert ended[1] - ended[0] < 1.5


async def test_a_stranger_of_version_1_serves_alone_and_beside_others(lab: Any, autojump_clock: MockClock) -> None:
    data = blob(6 * MIB + 3)
    async with scene(lab, Shelf(data, delay_s=0.01), Shelf(data, delay_s=0.01)) as it:
        old = it.holders[0]
        del old._switch._handlers[PROTOCOL]
        for of in ([0], [0, 1], [1, 0]):
            crate = Crate(data)
            await it.gather(crate, of=of)
            assert not crate.missing
        crate = Crate(data).resumed_with(1, 2, 4)
        await it.gather(crate, of=[0])
        assert sorted(crate.puts) == [0, 3, 5, 6]


async def test_the_only_holders_refusal_is_told_as_it_is(lab: Any, autojump_clock: MockClock) -> None:
    data = blob(MIB + 1)
    shelf = Shelf(data, allows=False)
    async with scene(lab, shelf) as it:
        with pytest.raises(BlobUnavailable):
            await it.gather(Crate(data))
        shelf.allows = True
        with pytest.raises(MessageTooLarge):
            await it.gather(Crate(data), max_bytes=MIB)
    async with scene(lab, shelf, max_blob_streams=0) as it:
        with pytest.raises(PeerBusy):
            await it.gather(Crate(data))


async def test_a_holder_without_the_blob_does_not_matter_beside_one_that_has_it(
    lab: Any, autojump_clock: MockClock
) -> None:
    data = blob(3 * MIB)
    async with scene(lab, Shelf(data, allows=False), Shelf(data)) as it:
        start = trio.current_time()
        crate = Crate(data)
        await it.gather(crate)
        assert not crate.missing
        assert trio.current_time() - start < 1  # the second did not wait for its turn


async def test_when_all_holders_fail_each_is_named_with_its_reason(lab: Any, autojump_clock: MockClock) -> None:
    data = blob(3 * MIB)
    async with scene(lab, Shelf(data, allows=False), Shelf(data, allows=False)) as it:
        with pytest.raises(NoHolderLeft) as caught:
            await it.gather(Crate(data))
        assert [type(reason) for reason in caught.value.reasons] == [BlobUnavailable, BlobUnavailable]
        for holder in it.holders:
            assert holder.peer_id in str(caught.value)


async def test_a_failure_of_our_own_store_ends_the_transfer_at_once(lab: Any, autojump_clock: MockClock) -> None:
    class Full(Crate):
        async def put(self, index: int, data: bytes) -> None:
            raise OSError("no room")

    data = blob(3 * MIB)
    shelves = [Shelf(data), Shelf(data)]
    async with scene(lab, *shelves) as it:
        with pytest.raises(OSError, match="no room"):
            await it.gather(Full(data))
        await trio.sleep(1)
        assert [shelf.open_now for shelf in shelves] == [0, 0]


@pytest.mark.parametrize("after_mib", [0, 1, 3])
async def test_a_holder_that_vanishes_leaves_its_groups_to_the_others(
    after_mib: int, lab: Any, autojump_clock: MockClock
) -> None:
    data = blob(10 * MIB)
    leaving, staying = Shelf(data, delay_s=0.25), Shelf(data, delay_s=0.25)
    async with scene(lab, leaving, staying) as it, trio.open_nursery() as nursery:

        async def vanish() -> None:
            while leaving.served < after_mib * MIB:
                await trio.sleep(0.1)
            await it.holders[0].disconnect(it.asker.peer_id)
            it.asker.learn_addresses(it.holders[0].peer_id, (), source=it.holders[0].peer_id)

        nursery.start_soon(vanish)
        crate = Crate(data)
        await it.gather(crate)
        assert not crate.missing


async def test_what_came_before_the_only_holder_vanished_is_not_asked_for_again(
    lab: Any, autojump_clock: MockClock
) -> None:
    data = blob(10 * MIB)
    shelf = Shelf(data, delay_s=0.25)
    async with scene(lab, shelf) as it, trio.open_nursery() as nursery:

        async def vanish() -> None:
            while shelf.served < 5 * MIB:
                await trio.sleep(0.1)
            await it.holders[0].disconnect(it.asker.peer_id)

        nursery.start_soon(vanish)
        crate = Crate(data)
        with pytest.raises(PeerUnreachable):
            await it.gather(crate)
        before = set(crate.puts)
        assert 3 <= len(before) <= 6
        await it.gather(crate)  # dials it again
        assert not crate.missing
        assert len(crate.puts) == 10, "a group came twice"
