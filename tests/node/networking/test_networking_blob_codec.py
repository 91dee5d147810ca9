# pyright: reportUnknownMemberType=false, reportPrivateUsage=false
"""When groups are packed, and what unpacking refuses."""

import random
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import pytest
import trio
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from node.networking.blob_codec import MIN_BYTES, Packer, unpack
from node.networking.blob_frames import Accepts
from node.networking.blob_source import Hashing
from node.networking.settings import NetworkSettings
from node.storage.blake3_tree import GROUP_BYTES

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

TEXT = random.Random(2).randbytes(GROUP_BYTES // 2).hex().encode()
"""Packs to half."""
NOISE = random.Random(1).randbytes(GROUP_BYTES)


class SlowHashing(Hashing):
    """Takes as long as it is told, on trio's clock."""

    def __init__(self, seconds: float) -> None:
        super().__init__(NetworkSettings(hash_in_threads=False))
        self.seconds = seconds

    async def run(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        await trio.sleep(self.seconds)
        return await super().run(function, *args)


def packer(accepts: Accepts = Accepts.ZSTD, *, pack_s: float = 0.0) -> Packer:
    return Packer(accepts, SlowHashing(pack_s))


async def test_an_asker_that_cannot_unpack_gets_plain_groups() -> None:
    assert not packer(Accepts.NONE).wants(GROUP_BYTES)
    assert not packer().wants(MIN_BYTES - 1)
    assert packer().wants(MIN_BYTES)


async def test_text_packs_and_comes_back() -> None:
    packed = await packer().pack(0, TEXT)
    assert packed is not None
    assert len(packed.data) < 0.6 * len(TEXT)
    assert unpack(packed.data, len(TEXT)) == TEXT


async def test_what_is_compressed_already_is_tried_ever_more_rarely() -> None:
    it, tried = packer(), list[int]()
    for group in range(200):
        if it.wants(len(NOISE)):
            tried.append(group)
            assert await it.pack(0, NOISE) is None
        it.sent(len(NOISE), 1.0, is_packed=False)
    assert tried == [0, 2, 6, 14, 30, 62, 126, 191]


async def test_after_noise_text_packs_again() -> None:
    it = packer()
    assert await it.pack(0, NOISE) is None
    assert not it.wants(len(TEXT))
    assert it.wants(len(TEXT))
    assert await it.pack(0, TEXT) is not None
    assert it.wants(len(TEXT))


@pytest.mark.parametrize(("wire_s", "pays"), [(1.0, True), (0.02, True), (0.002, False), (0.0, False)])
async def test_packing_goes_on_while_it_costs_less_time_than_it_saves(
    wire_s: float, *, pays: bool, autojump_clock: MockClock
) -> None:
    """5 ms to pack a MiB; `wire_s` is what a MiB takes on the wire."""
    it = packer(pack_s=0.005)
    for _ in range(20):
        if it.wants(len(TEXT)):
            packed = await it.pack(0, TEXT)
            assert packed is not None
            it.sent(len(packed.data), wire_s * len(packed.data) / GROUP_BYTES, is_packed=True)
        else:
            it.sent(len(TEXT), wire_s, is_packed=False)
    assert it.wants(len(TEXT)) == pays


async def test_a_first_group_that_went_into_a_buffer_at_once_does_not_hide_a_slow_wire() -> None:
    it = packer(pack_s=0.005)
    it.sent(GROUP_BYTES, 0.0, is_packed=False)
    it.sent(GROUP_BYTES, 0.1, is_packed=False)
    assert it.wants(GROUP_BYTES)


async def test_a_busy_moment_does_not_end_packing_for_good(autojump_clock: MockClock) -> None:
    hashing = SlowHashing(60)
    it = Packer(Accepts.ZSTD, hashing)
    assert await it.pack(0, TEXT) is not None
    hashing.seconds = 0.005
    packed = 0
    for _ in range(40):
        wants = it.wants(len(TEXT))
        if wants:
            await it.pack(0, TEXT)
            packed += 1
        it.sent(len(TEXT), 0.1, is_packed=wants)
    assert packed >= 20


async def test_a_wire_that_becomes_slow_is_noticed(autojump_clock: MockClock) -> None:
    it = packer(pack_s=0.005)
    packed = await it.pack(0, TEXT)
    assert packed is not None
    for _ in range(10):
        it.sent(GROUP_BYTES, 0.0, is_packed=False)
    assert not it.wants(GROUP_BYTES)
    for _ in range(3):
        it.sent(GROUP_BYTES, 0.1, is_packed=False)
    assert it.wants(GROUP_BYTES)


def bomb(size: int, *, declared: bool = True) -> bytes:
    packing = zstandard.ZstdCompressor(write_content_size=declared).compressobj(size if declared else -1)
    return packing.compress(bytes(size)) + packing.flush()


BAD = {
    "nothing": b"",
    "no frame": b"\0" * 100,
    "a head alone": zstandard.compress(TEXT)[:8],
    "cut": zstandard.compress(TEXT)[:-1],
    "declares more": bomb(GROUP_BYTES + 1),
    "declares far more": bomb(64 * GROUP_BYTES),
    "declares less": bomb(GROUP_BYTES - 1),
    "declares nothing": bomb(GROUP_BYTES, declared=False),
    "two frames": zstandard.compress(TEXT) + zstandard.compress(b"more"),
    "something behind": zstandard.compress(TEXT) + b"x",
    "a skippable frame": b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"skip",
}


@pytest.mark.parametrize("data", BAD.values(), ids=list(BAD))
def test_what_does_not_unpack_to_the_length_of_the_group_is_refused(data: bytes) -> None:
    assert unpack(data, GROUP_BYTES) is None


def test_a_window_beyond_the_group_is_no_reason_to_allocate() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27, enable_ldm=True)
    packing = zstandard.ZstdCompressor(compression_params=parameters).compressobj(64 * GROUP_BYTES)
    assert unpack(packing.compress(NOISE * 64) + packing.flush(), GROUP_BYTES) is None


@given(st.binary(max_size=200), st.integers(0, GROUP_BYTES))
def test_any_bytes_are_refused_or_unpacked_to_the_length(data: bytes, size: int) -> None:
    plain = unpack(data, size)
    assert plain is None or len(plain) == size


@given(st.binary(max_size=2000), st.integers(0, 2000), st.integers(0, 255))
def test_a_changed_byte_never_gives_another_length(data: bytes, place: int, value: int) -> None:
    packed = bytearray(zstandard.compress(data))
    packed[place % len(packed)] = value
    plain = unpack(bytes(packed), len(data))
    assert plain is None or len(plain) == len(data)
