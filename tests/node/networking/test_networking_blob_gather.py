# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportUnknownVariableType=false
"""One blob from several holders: honest, slow, lying and vanishing ones. All on memory streams and a virtual clock."""

import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
import trio
import zstandard
from blake3 import blake3
from trio.testing import MockClock

from node.networking.blob_frames import (
    LAST_GROUP,
    MAX_WANTED,
    PROTOCOL,
    Accepts,
    Encoding,
    Greeting,
    GroupHead,
    Order,
    OrderKind,
    Status,
    encode_answer,
)
from node.networking.blob_holder import PIPELINE
from node.networking.blob_receive import FIRST_TIMEOUT_S, SLOWEST_BYTES_PER_S, STALL_TIMEOUT_S
from node.networking.blob_source import NotServed
from node.networking.errors import (
    BlobCorrupt,
    BlobUnavailable,
    MessageTooLarge,
    NoHolderLeft,
    PeerBusy,
    PeerMisbehaved,
    PeerTimeout,
    PeerUnreachable,
)
from node.networking.network import Network
from node.storage.blake3_tree import GROUP_BYTES, BlobTree, group_count, group_cv
from protocol.identity import ContentDigest, PeerId

MIB = GROUP_BYTES


@cache
def blob(size: int) -> bytes:
    return random.Random(size).randbytes(size)


@cache
def tree_of(data: bytes) -> BlobTree:
    groups = range(group_count(len(data)))
    cvs = b"".join(group_cv(group(data, index), index) for index in groups) if len(groups) > 1 else b""
    tree = BlobTree.prove(ContentDigest(blake3(data).digest()), len(data), cvs)
    assert tree is not None
    return tree


def group(data: bytes, index: int) -> bytes:
    return data[index * MIB : (index + 1) * MIB]


@dataclass
class Crate:
    """Where groups go, in memory. What was put is genuine: it is compared."""

    data: bytes
    tree: BlobTree | None = None
    missing: frozenset[int] = frozenset()
    puts: list[int] = field(default_factory=list[int])
    put_delay_s: float = 0.0

    async def begin(self, tree: BlobTree) -> None:
        assert tree == tree_of(self.data)
        self.tree, self.missing = tree, frozenset(range(tree.groups))
        await trio.lowlevel.checkpoint()

    async def put(self, index: int, data: bytes) -> None:
        assert data == group(self.data, index), "unchecked bytes reached the store"
        await trio.sleep(self.put_delay_s)
        self.missing -= {index}
        self.puts.append(index)

    def resumed_with(self, *indexes: int) -> "Crate":
        self.tree = tree_of(self.data)
        self.missing = frozenset(range(self.tree.groups)) - set(indexes)
        return self


@dataclass
class Shelf:
    """A source in memory. `delay_s` is the time of each read, `served` what was read."""

    data: bytes
    delay_s: float = 0.0
    served: int = 0
    opened: int = 0
    open_now: int = 0
    allows: bool = True

    @property
    def size(self) -> int:
        return len(self.data)

    @asynccontextmanager
    async def open(self, digest: ContentDigest, _peer: PeerId) -> AsyncGenerator["Shelf"]:
        if not self.allows or digest != tree_of(self.data).digest:
            raise NotServed(digest.hex())
        self.opened += 1
        self.open_now += 1
        try:
            yield self
        finally:
            self.open_now -= 1

    async def read_at(self, offset: int, length: int) -> bytes:
        await trio.sleep(self.delay_s)
        piece = self.data[offset : offset + length]
        self.served += len(piece)
        return piece


@dataclass
class Scene:
    asker: Network
    holders: list[Network]

    async def gather(self, crate: Crate, *, of: Sequence[int] | None = None, max_bytes: int = 1000 * MIB) -> None:
        chosen = self.holders if of is None else [self.holders[index] for index in of]
        await self.asker.gather_blob(
            [holder.peer_id for holder in chosen],
            tree_of(crate.data).digest,
            into=crate,
            max_bytes=max_bytes,
        )


@asynccontextmanager
async def scene(lab: Any, *shelves: Shelf, knows: bool = True, **settings: Any) -> AsyncGenerator[Scene]:
    """An asker that is connected to a holder for each shelf. `knows`: the holders have the chaining values already."""
    async with AsyncExitStack() as stack:
        asker = await stack.enter_async_context(lab.node(100, **settings))
        holders: list[Network] = []
        for number, shelf in enumerate(shelves, 1):
            holder = await stack.enter_async_context(lab.node(number, **settings))
            holder.serve_blobs(shelf)
            if knows and len(shelf.data) > MIB:
                holder._blobs._serving._cvs[tree_of(shelf.data).digest] = tree_of(shelf.data).cvs
            await asker.connect(holder.addresses[0])
            holders.append(holder)
        yield Scene(asker, holders)


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
        await stream.read_exactly(34)
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


# Peers that do not keep to the protocol


@dataclass
class Script:
    """What a hostile holder does with a stream, and how many were opened."""

    play: Callable[[Any, "Script"], Awaitable[None]]
    data: bytes
    opened: int = 0
    said: list[bytes] = field(default_factory=list[bytes])

    async def run(self, stream: Any) -> None:
        self.opened += 1
        await self.play(stream, self)
        stream.finish()
        await trio.sleep_forever()

    @property
    def tree(self) -> BlobTree:
        return tree_of(self.data)


def plain(index: int, body: bytes) -> bytes:
    return GroupHead(index, Encoding.PLAIN, len(body)).encode() + body


async def hello(stream: Any, script: Script) -> None:
    """Answer as an honest holder does: size, chaining values, last group."""
    greeting = await stream.read_exactly(34 + 9)
    assert greeting[:32] == script.tree.digest
    last = script.tree.groups - 1
    await stream.write(
        encode_answer(Status.OK, script.tree.size) + script.tree.cvs + plain(last, group(script.data, last))
    )


@asynccontextmanager
async def hostile(lab: Any, script: Script, *honest: Shelf) -> AsyncGenerator[Scene]:
    """A scene in which the first holder plays `script`; the others are honest."""
    async with AsyncExitStack() as stack:
        it = await stack.enter_async_context(scene(lab, Shelf(script.data), *honest))
        it.holders[0]._switch.handle(PROTOCOL, script.run)
        yield it


async def other_digest(stream: Any, script: Script) -> None:
    await stream.read_exactly(43)
    await stream.write(encode_answer(Status.OK, script.tree.size) + bytes(len(script.tree.cvs)))


async def larger(stream: Any, script: Script) -> None:
    await stream.read_exactly(43)
    await stream.write(encode_answer(Status.OK, script.tree.size + MIB) + script.tree.cvs + bytes(32))


async def one_byte_more(stream: Any, script: Script) -> None:
    """The group count is right, so only the last group tells."""
    await stream.read_exactly(43)
    last = script.tree.groups - 1
    body = group(script.data, last) + b"\0"
    await stream.write(encode_answer(Status.OK, script.tree.size + 1) + script.tree.cvs + plain(last, body))


async def wrong_last(stream: Any, script: Script) -> None:
    await stream.read_exactly(43)
    last = script.tree.groups - 1
    body = bytes(script.tree.length_of(last))
    await stream.write(encode_answer(Status.OK, script.tree.size) + script.tree.cvs + plain(last, body))


async def wrong_group(stream: Any, script: Script) -> None:
    await hello(stream, script)
    order = await stream.read_exactly(9)
    index = int.from_bytes(order[1:5])
    await stream.write(plain(index, bytes(MIB)))


async def understated(stream: Any, script: Script) -> None:
    await stream.read_exactly(43)
    await stream.write(encode_answer(Status.OK, 1) + plain(0, script.data[:1]))


async def packed_wrongly(stream: Any, script: Script) -> None:
    await hello(stream, script)
    await stream.read_exactly(9)
    body = zstandard.compress(bytes(MIB))
    await stream.write(GroupHead(0, Encoding.ZSTD, len(body)).encode() + body)


async def bomb(stream: Any, script: Script) -> None:
    await hello(stream, script)
    await stream.read_exactly(9)
    body = zstandard.compress(bytes(64 * MIB))
    assert len(body) < MIB
    await stream.write(GroupHead(0, Encoding.ZSTD, len(body)).encode() + body)


async def bomb_of_unknown_size(stream: Any, script: Script) -> None:
    await hello(stream, script)
    await stream.read_exactly(9)
    packer = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    body = packer.compress(bytes(64 * MIB)) + packer.flush()
    await stream.write(GroupHead(0, Encoding.ZSTD, len(body)).encode() + body)


async def garbage_packed(stream: Any, script: Script) -> None:
    await hello(stream, script)
    await stream.read_exactly(9)
    await stream.write(GroupHead(0, Encoding.ZSTD, 1000).encode() + blob(1000))


LIES = [
    other_digest,
    larger,
    one_byte_more,
    wrong_last,
    wrong_group,
    understated,
    packed_wrongly,
    bomb,
    bomb_of_unknown_size,
    garbage_packed,
]


async def wrong_number(stream: Any, script: Script) -> None:
    await hello(stream, script)
    await stream.read_exactly(9)
    await stream.write(plain(script.tree.groups + 7, bytes(MIB)))


async def not_the_last(stream: Any, script: Script) -> None:
    await stream.read_exactly(43)
    await stream.write(encode_answer(Status.OK, script.tree.size) + script.tree.cvs + plain(0, script.data[:MIB]))


async def twice(stream: Any, script: Script) -> None:
    await hello(stream, script)
    await stream.read_exactly(9)
    await stream.write(plain(0, script.data[:MIB]) + plain(0, script.data[:MIB]))


async def short_group(stream: Any, script: Script) -> None:
    await hello(stream, script)
    await stream.read_exactly(9)
    await stream.write(plain(0, script.data[: MIB - 1]))


async def long_group(stream: Any, script: Script) -> None:
    await hello(stream, script)
    await stream.read_exactly(9)
    await stream.write(GroupHead(0, Encoding.PLAIN, 2**32 - 1).encode())


async def packed_and_no_smaller(stream: Any, script: Script) -> None:
    await hello(stream, script)
    await stream.read_exactly(9)
    await stream.write(GroupHead(0, Encoding.ZSTD, MIB).encode() + bytes(MIB))


async def unknown_encoding(stream: Any, script: Script) -> None:
    await hello(stream, script)
    await stream.read_exactly(9)
    await stream.write((0).to_bytes(4) + b"\x07" + (10).to_bytes(4) + bytes(10))


async def left_unasked(stream: Any, script: Script) -> None:
    await hello(stream, script)
    await stream.read_exactly(9)
    await stream.write(GroupHead(0, Encoding.LEFT, 0).encode())


async def left_with_bytes(stream: Any, script: Script) -> None:
    await hello(stream, script)
    await stream.read_exactly(9)
    await stream.write((0).to_bytes(4) + b"\xff" + (10).to_bytes(4) + bytes(10))


async def unknown_status(stream: Any, _script: Script) -> None:
    await stream.read_exactly(43)
    await stream.write(b"\x09" + bytes(8))


BREACHES = [
    wrong_number,
    not_the_last,
    twice,
    short_group,
    long_group,
    packed_and_no_smaller,
    unknown_encoding,
    left_unasked,
    left_with_bytes,
    unknown_status,
]


async def silent(_stream: Any, _script: Script) -> None:
    await trio.sleep_forever()


async def silent_after_hello(stream: Any, script: Script) -> None:
    await hello(stream, script)
    await trio.sleep_forever()


async def silent_in_group(stream: Any, script: Script) -> None:
    await hello(stream, script)
    await stream.read_exactly(9)
    await stream.write(GroupHead(0, Encoding.PLAIN, MIB).encode() + script.data[:1000])
    await trio.sleep_forever()


async def drip(stream: Any, script: Script) -> None:
    """A byte each 25 s never stalls, and never ends."""
    await hello(stream, script)
    await stream.read_exactly(9)
    await stream.write(GroupHead(0, Encoding.PLAIN, MIB).encode())
    for at in range(MIB):
        await stream.write(script.data[at : at + 1])
        await trio.sleep(25)


STALLS = [silent, silent_after_hello, silent_in_group, drip]


async def gone(_stream: Any, _script: Script) -> None:
    await trio.lowlevel.checkpoint()


async def gone_after_answer(stream: Any, script: Script) -> None:
    await stream.read_exactly(43)
    await stream.write(encode_answer(Status.OK, script.tree.size))


async def gone_in_cvs(stream: Any, script: Script) -> None:
    await stream.read_exactly(43)
    await stream.write(encode_answer(Status.OK, script.tree.size) + script.tree.cvs[:-1])


async def gone_after_hello(stream: Any, script: Script) -> None:
    await hello(stream, script)


async def gone_in_head(stream: Any, script: Script) -> None:
    await hello(stream, script)
    await stream.write(GroupHead(0, Encoding.PLAIN, MIB).encode()[:-1])


async def gone_in_group(stream: Any, script: Script) -> None:
    await hello(stream, script)
    await stream.write(plain(0, script.data[:MIB])[:-1])


LEAVERS = [gone, gone_after_answer, gone_in_cvs, gone_after_hello, gone_in_head, gone_in_group]
HOSTILE_DATA = blob(4 * MIB + 44)
EXPECTED = (
    [(play, BlobCorrupt, 5.0) for play in LIES]
    + [(play, PeerMisbehaved, 1.0) for play in BREACHES]
    + [(play, PeerTimeout, 0.0) for play in STALLS]
    + [(play, PeerUnreachable, 0.0) for play in LEAVERS]
)
NAMES = [play.__name__ for play, _, _ in EXPECTED]


@pytest.mark.parametrize(("play", "error", "weight"), EXPECTED, ids=NAMES)
async def test_a_holder_that_breaks_the_rules_is_named_and_struck_and_stores_nothing(
    play: Any, error: type[Exception], weight: float, lab: Any, autojump_clock: MockClock
) -> None:
    script = Script(play, HOSTILE_DATA)
    async with hostile(lab, script) as it:
        strikes: list[tuple[PeerId, float]] = []
        it.asker._switch.strike = lambda peer, why, *, weight=1.0: strikes.append((peer, weight))
        with pytest.raises(error) as caught:
            await it.gather(Crate(HOSTILE_DATA))
        assert it.holders[0].peer_id in str(caught.value)
        assert strikes == ([(it.holders[0].peer_id, weight)] if weight else [])
        assert script.opened == 1


@pytest.mark.parametrize(("play", "error", "weight"), EXPECTED, ids=NAMES)
async def test_whatever_one_holder_does_the_honest_one_delivers(
    play: Any, error: type[Exception], weight: float, lab: Any, autojump_clock: MockClock
) -> None:
    script = Script(play, HOSTILE_DATA)
    async with hostile(lab, script, Shelf(HOSTILE_DATA, delay_s=0.01)) as it:
        for of in ([0, 1], [1, 0]):
            crate = Crate(HOSTILE_DATA)
            start = trio.current_time()
            await it.gather(crate, of=of)
            assert not crate.missing
            assert trio.current_time() - start < 5, "the honest one waited for the other"


@pytest.mark.parametrize("change", [-1, 1, MIB])
async def test_a_holder_that_claims_another_size_than_the_proven_one_lies(
    change: int, lab: Any, autojump_clock: MockClock
) -> None:
    async def other_size(stream: Any, script: Script) -> None:
        assert (await stream.read_exactly(34))[33] == 0  # the chaining values are known: not asked for again
        await stream.write(encode_answer(Status.OK, script.tree.size + change))
        await trio.sleep_forever()

    async with hostile(lab, Script(other_size, HOSTILE_DATA)) as it:
        with pytest.raises(BlobCorrupt, match="claims"):
            await it.gather(Crate(HOSTILE_DATA).resumed_with(1))


async def test_a_group_that_came_from_elsewhere_is_left_and_its_holder_goes_on(
    lab: Any, autojump_clock: MockClock
) -> None:
    orders: list[bytes] = []

    async def late(stream: Any, script: Script) -> None:
        """Begins with one group, and keeps the others waiting until it is told to leave them."""
        await stream.read_exactly(34)
        await stream.write(encode_answer(Status.OK, script.tree.size))
        while not any(order[0] == OrderKind.LEAVE for order in orders):
            orders.append(await stream.read_exactly(9))
        left = next(order for order in orders if order[0] == OrderKind.LEAVE)
        await stream.write(GroupHead(int.from_bytes(left[1:5]), Encoding.LEFT, 0).encode())
        await trio.sleep_forever()

    script = Script(late, HOSTILE_DATA)
    async with hostile(lab, script, Shelf(HOSTILE_DATA, delay_s=0.01)) as it:
        crate = Crate(HOSTILE_DATA).resumed_with(0)
        await it.gather(crate)
        assert not crate.missing
        wants = [order for order in orders if order[0] == OrderKind.WANT]
        assert len(wants) < len(orders), "it was not told"
        assert len(wants) <= PIPELINE
        assert it.asker.is_connected(it.holders[0].peer_id)


async def test_a_claim_of_too_many_groups_allocates_nothing(lab: Any, autojump_clock: MockClock) -> None:
    async def huge(stream: Any, _script: Script) -> None:
        await stream.read_exactly(43)
        await stream.write(encode_answer(Status.OK, 2**64 - 1))

    async with hostile(lab, Script(huge, HOSTILE_DATA)) as it:
        with pytest.raises(MessageTooLarge):
            await it.gather(Crate(HOSTILE_DATA), max_bytes=2**63)


async def test_a_holder_that_does_not_read_its_orders_is_given_up(lab: Any, autojump_clock: MockClock) -> None:
    async def deaf(_stream: Any, _script: Script) -> None:
        await trio.sleep_forever()

    async with hostile(lab, Script(deaf, HOSTILE_DATA)) as it:
        start = trio.current_time()
        with pytest.raises(PeerTimeout):
            await it.gather(Crate(HOSTILE_DATA))
        assert trio.current_time() - start <= FIRST_TIMEOUT_S + STALL_TIMEOUT_S


async def test_who_drips_is_given_up_after_the_time_that_the_slowest_honest_holder_needs(
    lab: Any, autojump_clock: MockClock
) -> None:
    async with hostile(lab, Script(drip, HOSTILE_DATA)) as it:
        start = trio.current_time()
        with pytest.raises(PeerTimeout):
            await it.gather(Crate(HOSTILE_DATA))
        assert trio.current_time() - start == pytest.approx(STALL_TIMEOUT_S + MIB / SLOWEST_BYTES_PER_S, abs=26)


# Hostile askers


GREETING = 34


def greeting(data: bytes, *, tree: bool = False, accepts: Accepts = Accepts.NONE) -> bytes:
    return Greeting(tree_of(data).digest, accepts, tree).encode()


def want(first: int, count: int = 1) -> bytes:
    return Order(OrderKind.WANT, first, count).encode()


def leave(first: int, count: int = 1) -> bytes:
    return Order(OrderKind.LEAVE, first, count).encode()


async def read_all(stream: Any) -> bytes:
    data = b""
    while chunk := await stream.read():
        data += chunk
    return data


async def test_groups_are_answered_in_the_order_of_the_orders(lab: Any, autojump_clock: MockClock) -> None:
    data = blob(3 * MIB + 9)
    async with scene(lab, Shelf(data)) as it, lab.attacker(it.holders[0]) as asker:
        stream = await asker.open(PROTOCOL)
        await stream.write(greeting(data) + want(LAST_GROUP) + want(2) + want(0, 2))
        stream.finish()
        answer = encode_answer(Status.OK, len(data))
        assert await read_all(stream) == answer + b"".join(plain(i, group(data, i)) for i in (3, 2, 0, 1))


async def test_a_group_that_was_left_in_time_is_answered_without_its_bytes(lab: Any, autojump_clock: MockClock) -> None:
    data = blob(4 * MIB)
    async with scene(lab, Shelf(data)) as it, lab.attacker(it.holders[0]) as asker:
        stream = await asker.open(PROTOCOL)
        await stream.write(greeting(data) + want(0, 3) + leave(1) + leave(3))
        stream.finish()
        left = GroupHead(1, Encoding.LEFT, 0).encode()
        answer = encode_answer(Status.OK, len(data))
        assert await read_all(stream) == answer + plain(0, group(data, 0)) + left + plain(2, group(data, 2))


BAD_ORDERS = {
    "no kind": bytes([7]) + (0).to_bytes(4) + (1).to_bytes(4),
    "kind 0": bytes(1) + (0).to_bytes(4) + (1).to_bytes(4),
    "no group": want(0, 0),
    "past the end": want(4),
    "over the end": want(3, 2),
    "all numbers": want(1, 2**32 - 1),
    "last and more": want(LAST_GROUP, 2),
    "cut short": want(0)[:-1],
}


@pytest.mark.parametrize("order", BAD_ORDERS.values(), ids=list(BAD_ORDERS))
async def test_an_order_that_no_asker_gives_is_a_strike_and_ends_the_stream(
    order: bytes, lab: Any, autojump_clock: MockClock, logged: Callable[[str], list[Any]]
) -> None:
    data = blob(4 * MIB)
    shelf = Shelf(data)
    async with scene(lab, shelf) as it, lab.attacker(it.holders[0]) as asker:
        stream = await asker.open(PROTOCOL)
        await stream.write(greeting(data) + order)
        stream.finish()
        await trio.sleep(1)
        assert len(logged("network.misconduct")) == 1
        assert shelf.open_now == 0
        assert shelf.served == 0


async def test_more_groups_than_may_be_wanted_at_once_are_a_strike(
    lab: Any, autojump_clock: MockClock, logged: Callable[[str], list[Any]]
) -> None:
    data = bytes((MAX_WANTED + 2) * MIB)
    async with scene(lab, Shelf(data)) as it, lab.attacker(it.holders[0]) as asker:
        honest = await asker.open(PROTOCOL)
        await honest.write(greeting(data) + want(0, MAX_WANTED))
        await trio.sleep(1)
        assert not logged("network.misconduct")
        greedy = await asker.open(PROTOCOL)
        await greedy.write(greeting(data) + want(0, MAX_WANTED) + want(MAX_WANTED, 2))
        await trio.sleep(1)
        assert len(logged("network.misconduct")) == 1


@pytest.mark.parametrize("sent", [b"", bytes(GREETING - 1), "greeting", "order"])
async def test_an_asker_that_holds_a_place_and_asks_for_nothing_loses_it(
    sent: Any, lab: Any, autojump_clock: MockClock
) -> None:
    data = blob(3 * MIB)
    shelf = Shelf(data)
    raw = {"greeting": greeting(data), "order": greeting(data) + want(0)[:3]}.get(sent, sent)
    async with scene(lab, shelf) as it, lab.attacker(it.holders[0]) as asker:
        stream = await asker.open(PROTOCOL)
        await stream.write(raw)
        await trio.sleep(STALL_TIMEOUT_S - 1)
        assert not stream.is_reset
        await trio.sleep(2)
        assert stream.is_reset
        assert shelf.open_now == 0


async def test_an_asker_that_does_not_read_is_given_up_and_its_blob_closed(lab: Any, autojump_clock: MockClock) -> None:
    data = blob(4 * MIB)
    shelf = Shelf(data)
    async with scene(lab, shelf) as it, lab.attacker(it.holders[0]) as asker:
        stream = await asker.open(PROTOCOL)
        await stream.write(greeting(data) + want(0, 4))
        await trio.sleep(STALL_TIMEOUT_S - 1)
        assert shelf.open_now == 1
        await trio.sleep(STALL_TIMEOUT_S)
        assert shelf.open_now == 0
        assert shelf.served <= 2 * MIB


async def test_blobs_served_at_once_are_bounded(lab: Any, autojump_clock: MockClock) -> None:
    data = blob(3 * MIB)
    async with scene(lab, Shelf(data), max_blob_streams_per_peer=2) as it, lab.attacker(it.holders[0]) as asker:
        streams = [await asker.open(PROTOCOL) for _ in range(3)]
        for stream in streams:
            await stream.write(greeting(data))
            await trio.sleep(0.1)
        assert await read_all(streams[2]) == encode_answer(Status.BUSY)
        crate = Crate(data)
        await it.gather(crate)  # another peer has places of its own
        assert not crate.missing


@pytest.mark.parametrize("byte", [2, 255])
async def test_a_greeting_that_no_asker_says_is_a_strike(
    byte: int, lab: Any, autojump_clock: MockClock, logged: Callable[[str], list[Any]]
) -> None:
    data = blob(3 * MIB)
    async with scene(lab, Shelf(data)) as it, lab.attacker(it.holders[0]) as asker:
        stream = await asker.open(PROTOCOL)
        await stream.write(greeting(data)[:-1] + bytes([byte]))
        await trio.sleep(1)
        assert len(logged("network.misconduct")) == 1


async def test_encodings_of_the_future_are_passed_over(lab: Any, autojump_clock: MockClock) -> None:
    data = bytes(2 * MIB)
    async with scene(lab, Shelf(data)) as it, lab.attacker(it.holders[0]) as asker:
        stream = await asker.open(PROTOCOL)
        await stream.write(greeting(data)[:-2] + b"\xfe\x00" + want(0))
        stream.finish()
        assert await read_all(stream) == encode_answer(Status.OK, len(data)) + plain(0, data[:MIB])


async def test_the_pipeline_is_within_what_a_server_allows() -> None:
    assert PIPELINE <= MAX_WANTED
