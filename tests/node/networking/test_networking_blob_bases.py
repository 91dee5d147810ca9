# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportUnknownVariableType=false
"""Blobs that resemble one that the asker has: only the difference travels, and nobody is believed for it."""

import random
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import trio
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from node.networking.blob_bases import MAX_BASES, WINDOW_BYTES, Base, no_bases, pack_against, read_window
from node.networking.blob_codec import Packed, Packer, unpack
from node.networking.blob_frames import (
    ORDER_BYTES,
    PROTOCOL,
    Accepts,
    Encoding,
    Greeting,
    GroupHead,
    Status,
    encode_answer,
)
from node.networking.blob_source import Hashing, NotServed
from node.networking.errors import BlobCorrupt, PeerMisbehaved
from node.networking.settings import NetworkSettings
from protocol.identity import ContentDigest, PeerId
from tests.node.networking.blob_lab import (
    GREETING_BYTES,
    MIB,
    Crate,
    Scene,
    Script,
    Shelf,
    blob,
    group,
    hello,
    hostile,
    scene,
    tree_of,
    want,
)

OLD = blob(5 * MIB + 77)


def edited(data: bytes, *, seed: int = 1, times: int = 20) -> bytes:
    """`data` with bytes changed, inserted and taken out here and there."""
    chance, new = random.Random(seed), bytearray(data)
    for _ in range(times):
        at = chance.randrange(len(new))
        new[at : at + chance.choice((0, 8, 60))] = chance.randbytes(chance.choice((0, 8, 60)))
    return bytes(new)


NEW = edited(OLD)
LINE = 10 * MIB
"""Bytes per second: where nothing takes time, nothing is worth packing."""
TALE = edited(OLD[: 2 * MIB]) + blob(2 * MIB + 3)
"""Begins like the old one and goes on like nothing."""


class Library:
    """A source of several blobs. `hidden` are here and for nobody."""

    def __init__(self, *blobs: bytes, hidden: Sequence[bytes] = ()) -> None:
        self.shelves = {tree_of(data).digest: Shelf(data) for data in blobs}
        for data in hidden:
            self.shelves[tree_of(data).digest] = Shelf(data, allows=False)

    @asynccontextmanager
    async def open(self, digest: ContentDigest, peer: PeerId) -> AsyncGenerator[Shelf]:
        if digest not in self.shelves:
            raise NotServed(digest.hex())
        async with self.shelves[digest].open(digest, peer) as shelf:
            yield shelf


def bases(*blobs: bytes) -> tuple[Base, ...]:
    return tuple(Base(tree_of(data).digest, Shelf(data)) for data in blobs)


@asynccontextmanager
async def library(lab: Any, held: Library, wanted: bytes) -> AsyncGenerator[Scene]:
    """An asker connected to one holder of all that `held` has."""
    async with scene(lab, Shelf(wanted), upload_bytes_per_s=LINE) as it:
        it.holders[0].serve_blobs(held)
        yield it


async def fetch(it: Scene, data: bytes, *offered: Base) -> int:
    """Fetch `data` from the first holder; return how many bytes came, heads not counted."""
    came = 0
    down = it.asker._blobs._bandwidth.down

    async def count(peer: PeerId, size: int) -> None:
        nonlocal came
        came += size
        await down(peer, size)

    it.asker._blobs._bandwidth.down = count
    crate = Crate(data)
    try:
        await it.asker.gather_blob(
            [holder.peer_id for holder in it.holders],
            tree_of(data).digest,
            into=crate,
            max_bytes=1000 * MIB,
            bases_of=lambda _peer: offered,
        )
    finally:
        it.asker._blobs._bandwidth.down = down
    assert not crate.missing
    return came


SIZES = {
    "a group": (blob(MIB), edited(blob(MIB))),
    "some groups": (OLD, NEW),
    "of a window": (blob(WINDOW_BYTES), edited(blob(WINDOW_BYTES))),
    "one that grew": (OLD, edited(OLD) + b"more"),
    "one that grew in front": (OLD, b"more" * 5_000 + OLD),
    "one that shrank": (OLD, OLD[MIB // 2 :]),
    "a small one": (blob(5_000), edited(blob(5_000), times=2)),
    "the same with another end": (OLD, OLD[:-1] + b"x"),
}


@pytest.mark.parametrize(("old", "new"), SIZES.values(), ids=list(SIZES))
async def test_of_a_blob_that_resembles_another_the_difference_comes(
    old: bytes, new: bytes, lab: Any, autojump_clock: MockClock
) -> None:
    async with library(lab, Library(old, new), new) as it:
        assert await fetch(it, new, *bases(old)) < len(new) / 10
        assert await fetch(it, new) >= len(new), "without a base all of it comes: the data is noise"


UNUSED = {
    "nothing like it": (Library(blob(MIB + 8), NEW), bases(blob(MIB + 8))),
    "not here": (Library(NEW), bases(OLD)),
    "not for the asker": (Library(NEW, hidden=[OLD]), bases(OLD)),
    "empty": (Library(b"", NEW), bases(b"")),
}


@pytest.mark.parametrize(("held", "offered"), UNUSED.values(), ids=list(UNUSED))
async def test_a_base_that_is_of_no_use_costs_nothing(
    held: Library, offered: tuple[Base, ...], lab: Any, autojump_clock: MockClock
) -> None:
    async with library(lab, held, NEW) as it:
        assert len(NEW) <= await fetch(it, NEW, *offered) < len(NEW) + 1000


async def test_of_several_bases_the_one_that_fits_is_used(lab: Any, autojump_clock: MockClock) -> None:
    others = [blob(MIB + number) for number in range(1, MAX_BASES)]
    async with library(lab, Library(OLD, NEW, *others), NEW) as it:
        assert await fetch(it, NEW, *bases(*others, OLD)) < len(NEW) / 10


async def test_what_no_longer_resembles_its_base_goes_on_without(lab: Any, autojump_clock: MockClock) -> None:
    async with library(lab, Library(OLD, TALE), TALE) as it:
        assert 2 * MIB <= await fetch(it, TALE, *bases(OLD)) < 2 * MIB + MIB // 4


async def test_a_base_that_rotted_at_the_asker_is_nobodys_lie(
    lab: Any, autojump_clock: MockClock, logged: Callable[[str], list[Any]]
) -> None:
    rotten = Shelf(bytes(len(OLD)))
    short = Shelf(OLD)
    short.data = OLD[:MIB]
    for shelf in (rotten, short):
        offered = Base(tree_of(OLD).digest, _Pretending(shelf, len(OLD)))
        async with library(lab, Library(OLD, NEW), NEW) as it:
            assert await fetch(it, NEW, offered) >= len(NEW) - MIB
    assert len(logged("blob.base_unfit")) == 2
    assert not logged("network.misconduct")


async def test_a_base_that_rotted_at_the_holder_is_left_alone(lab: Any, autojump_clock: MockClock) -> None:
    held = Library(OLD, NEW)
    held.shelves[tree_of(OLD).digest] = _Pretending(Shelf(OLD[:MIB]), len(OLD))  # type: ignore[assignment]
    async with library(lab, held, NEW) as it:
        assert await fetch(it, NEW, *bases(OLD)) >= len(NEW)


class _Pretending:
    """Has the size of a blob, and other bytes."""

    def __init__(self, shelf: Shelf, size: int) -> None:
        self._shelf, self.size = shelf, size

    @asynccontextmanager
    async def open(self, *_wanted: object) -> AsyncGenerator["_Pretending"]:
        await trio.lowlevel.checkpoint()
        yield self

    async def read_at(self, offset: int, length: int) -> bytes:
        return await self._shelf.read_at(offset, length)


async def answer_first_order(stream: Any, script: Script, head: GroupHead, body: bytes, *, offered: int = 1) -> None:
    """Greet as an honest holder does, then answer an order with this; a second time all is known but the group."""
    if script.opened == 1:
        script.said.append(await stream.read_exactly(GREETING_BYTES + 32 * offered))
        await hello(stream, script, has_greeted=True)
    else:
        script.said.append(await stream.read_exactly(GREETING_BYTES))
        await stream.write(encode_answer(Status.OK, script.tree.size))
    order = await stream.read_exactly(ORDER_BYTES)
    await stream.write(replace(head, index=int.from_bytes(order[1:5])).encode() + body)


WRONG = pack_against(bytes(MIB), OLD[:WINDOW_BYTES])
BOMB = zstandard.ZstdCompressor(dict_data=zstandard.ZstdCompressionDict(OLD[:WINDOW_BYTES])).compress(bytes(64 * MIB))


@pytest.mark.parametrize("body", [WRONG, BOMB, b"\0" * 100], ids=["wrong bytes", "a bomb", "no frame"])
async def test_a_holder_that_lies_beside_a_base_is_found_out_once_it_has_none(
    body: bytes, lab: Any, autojump_clock: MockClock
) -> None:
    async def play(stream: Any, script: Script) -> None:
        kind = Encoding.DELTA if script.opened == 1 else Encoding.PLAIN
        data = body if script.opened == 1 else bytes(MIB)
        await answer_first_order(stream, script, GroupHead(0, kind, len(data)), data)

    script = Script(play, NEW)
    async with hostile(lab, script) as it:
        with pytest.raises(BlobCorrupt):
            await fetch(it, NEW, *bases(OLD))
    assert [said[GREETING_BYTES - 1] for said in script.said] == [1, 0]


BREACHES = {
    "a base that was not named": GroupHead(0, Encoding.DELTA, 100, base=1),
    "no base for what needs none": GroupHead(0, Encoding.ZSTD, 100, base=1),
    "a delta of its full length": GroupHead(0, Encoding.DELTA, MIB),
}


@pytest.mark.parametrize("head", BREACHES.values(), ids=list(BREACHES))
async def test_a_head_that_no_holder_writes_is_a_strike(head: GroupHead, lab: Any, autojump_clock: MockClock) -> None:
    async def play(stream: Any, script: Script) -> None:
        await answer_first_order(stream, script, head, bytes(head.length))

    async with hostile(lab, Script(play, NEW)) as it:
        with pytest.raises(PeerMisbehaved):
            await fetch(it, NEW, *bases(OLD))


async def test_a_delta_without_any_base_is_a_strike(lab: Any, autojump_clock: MockClock) -> None:
    async def play(stream: Any, script: Script) -> None:
        await answer_first_order(stream, script, GroupHead(0, Encoding.DELTA, 100), bytes(100), offered=0)

    async with hostile(lab, Script(play, NEW)) as it:
        with pytest.raises(PeerMisbehaved):
            await fetch(it, NEW)


async def test_an_asker_that_names_too_many_bases_is_struck(
    lab: Any, autojump_clock: MockClock, logged: Callable[[str], list[Any]]
) -> None:
    async with scene(lab, Shelf(NEW)) as it, lab.attacker(it.holders[0]) as asker:
        for count, struck in ((MAX_BASES, 0), (MAX_BASES + 1, 1)):
            stream = await asker.open(PROTOCOL)
            digests = (tree_of(OLD).digest,) * count
            await stream.write(Greeting(tree_of(NEW).digest, Accepts.ZSTD, False, digests).encode() + want(0))
            await trio.sleep(1)
            assert len(logged("network.misconduct")) == struck


async def test_a_server_closes_bases_with_their_stream(lab: Any, autojump_clock: MockClock) -> None:
    held = Library(OLD, NEW)
    async with library(lab, held, NEW) as it:
        await fetch(it, NEW, *bases(OLD))
        await trio.sleep(60)
    assert [shelf.open_now for shelf in held.shelves.values()] == [0, 0]
    assert held.shelves[tree_of(OLD).digest].opened == 1


async def test_nobody_is_told_of_anything_unless_somebody_says_so() -> None:
    assert no_bases(PeerId("anybody")) == ()
    await trio.lowlevel.checkpoint()


async def test_both_sides_cut_the_same_window() -> None:
    for size in (1, MIB, WINDOW_BYTES - 1, WINDOW_BYTES, WINDOW_BYTES + 1, 5 * MIB + 77):
        data = blob(size)
        for index in range(9):
            window = await read_window(Shelf(data), index)
            assert len(window) == min(size, WINDOW_BYTES)
            assert window in data
    at_its_place = await read_window(Shelf(OLD), 2)
    assert at_its_place == OLD[MIB : 4 * MIB]


async def test_a_base_is_tried_again_only_when_the_last_one_no_longer_fits() -> None:
    hashing = Hashing(NetworkSettings(hash_in_threads=False))
    fits, other = Shelf(OLD), Shelf(blob(MIB + 9))
    packer = Packer(Accepts.ZSTD, hashing, [other, None, fits])
    packed = list[Packed | None]()
    for index in range(4):
        packed.append(await packer.pack(index, group(NEW, index)))
    assert [(each.encoding, each.base) for each in packed if each] == [(Encoding.DELTA, 2)] * 4
    assert other.served == other.size
    assert fits.served == 4 * WINDOW_BYTES


@given(st.binary(max_size=300), st.binary(min_size=1, max_size=300))
def test_whatever_the_window_what_was_packed_comes_back(data: bytes, window: bytes) -> None:
    assert unpack(pack_against(data, window), len(data), window) == data
    assert unpack(pack_against(data, window), len(data) + 1, window) is None


def test_the_wrong_window_gives_other_bytes_or_none() -> None:
    packed = pack_against(group(NEW, 0), OLD[:WINDOW_BYTES])
    assert unpack(packed, MIB, bytes(WINDOW_BYTES)) != group(NEW, 0)


async def test_two_holders_get_each_its_own_bases(lab: Any, autojump_clock: MockClock) -> None:
    async with AsyncExitStack() as stack:
        it = await stack.enter_async_context(scene(lab, Shelf(NEW), Shelf(NEW)))
        asked = list[PeerId]()

        def offer(peer: PeerId) -> tuple[Base, ...]:
            asked.append(peer)
            return bases(OLD)

        peers = [holder.peer_id for holder in it.holders]
        crate = Crate(NEW).resumed_with(0)
        await it.asker.gather_blob(peers, tree_of(NEW).digest, into=crate, max_bytes=1000 * MIB, bases_of=offer)
        assert not crate.missing
        assert set(asked) == set(peers)


async def test_bases_that_never_fit_are_tried_ever_more_rarely() -> None:
    text, unfit = blob(MIB // 2).hex().encode(), Shelf(blob(MIB + 9))
    packer = Packer(Accepts.ZSTD, Hashing(NetworkSettings(hash_in_threads=False)), [unfit])
    for index in range(100):
        packed = await packer.pack(index, text)
        assert packed is not None
        assert packed.encoding is Encoding.ZSTD
    assert unfit.served == 6 * unfit.size
