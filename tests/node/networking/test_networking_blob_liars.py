# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportUnknownVariableType=false
"""Holders that lie, break the rules, stall or go away: each is named, and nothing of theirs is stored."""

from typing import Any

import pytest
import trio
import zstandard
from trio.testing import MockClock

from node.networking.blob_frames import (
    ORDER_BYTES,
    Encoding,
    GroupHead,
    OrderKind,
    Status,
    encode_answer,
)
from node.networking.blob_holder import PIPELINE
from node.networking.blob_receive import FIRST_TIMEOUT_S, SLOWEST_BYTES_PER_S, STALL_TIMEOUT_S
from node.networking.errors import (
    BlobCorrupt,
    MessageTooLarge,
    PeerMisbehaved,
    PeerTimeout,
    PeerUnreachable,
)
from protocol.identity import PeerId
from tests.node.networking.blob_lab import GREETING_BYTES, MIB, Crate, Script, Shelf, blob, group, hello, hostile, plain


async def other_digest(stream: Any, script: Script) -> None:
    await stream.read_exactly(GREETING_BYTES + ORDER_BYTES)
    await stream.write(encode_answer(Status.OK, script.tree.size) + bytes(len(script.tree.cvs)))


async def larger(stream: Any, script: Script) -> None:
    await stream.read_exactly(GREETING_BYTES + ORDER_BYTES)
    await stream.write(encode_answer(Status.OK, script.tree.size + MIB) + script.tree.cvs + bytes(32))


async def one_byte_more(stream: Any, script: Script) -> None:
    """The group count is right, so only the last group tells."""
    await stream.read_exactly(GREETING_BYTES + ORDER_BYTES)
    last = script.tree.groups - 1
    body = group(script.data, last) + b"\0"
    await stream.write(encode_answer(Status.OK, script.tree.size + 1) + script.tree.cvs + plain(last, body))


async def wrong_last(stream: Any, script: Script) -> None:
    await stream.read_exactly(GREETING_BYTES + ORDER_BYTES)
    last = script.tree.groups - 1
    body = bytes(script.tree.length_of(last))
    await stream.write(encode_answer(Status.OK, script.tree.size) + script.tree.cvs + plain(last, body))


async def wrong_group(stream: Any, script: Script) -> None:
    await hello(stream, script)
    order = await stream.read_exactly(ORDER_BYTES)
    index = int.from_bytes(order[1:5])
    await stream.write(plain(index, bytes(MIB)))


async def understated(stream: Any, script: Script) -> None:
    await stream.read_exactly(GREETING_BYTES + ORDER_BYTES)
    await stream.write(encode_answer(Status.OK, 1) + plain(0, script.data[:1]))


async def packed_wrongly(stream: Any, script: Script) -> None:
    await hello(stream, script)
    await stream.read_exactly(ORDER_BYTES)
    body = zstandard.compress(bytes(MIB))
    await stream.write(GroupHead(0, Encoding.ZSTD, len(body)).encode() + body)


async def bomb(stream: Any, script: Script) -> None:
    await hello(stream, script)
    await stream.read_exactly(ORDER_BYTES)
    body = zstandard.compress(bytes(64 * MIB))
    assert len(body) < MIB
    await stream.write(GroupHead(0, Encoding.ZSTD, len(body)).encode() + body)


async def bomb_of_unknown_size(stream: Any, script: Script) -> None:
    await hello(stream, script)
    await stream.read_exactly(ORDER_BYTES)
    packer = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    body = packer.compress(bytes(64 * MIB)) + packer.flush()
    await stream.write(GroupHead(0, Encoding.ZSTD, len(body)).encode() + body)


async def garbage_packed(stream: Any, script: Script) -> None:
    await hello(stream, script)
    await stream.read_exactly(ORDER_BYTES)
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
    await stream.read_exactly(ORDER_BYTES)
    await stream.write(plain(script.tree.groups + 7, bytes(MIB)))


async def not_the_last(stream: Any, script: Script) -> None:
    await stream.read_exactly(GREETING_BYTES + ORDER_BYTES)
    await stream.write(encode_answer(Status.OK, script.tree.size) + script.tree.cvs + plain(0, script.data[:MIB]))


async def twice(stream: Any, script: Script) -> None:
    await hello(stream, script)
    await stream.read_exactly(ORDER_BYTES)
    await stream.write(plain(0, script.data[:MIB]) + plain(0, script.data[:MIB]))


async def short_group(stream: Any, script: Script) -> None:
    await hello(stream, script)
    await stream.read_exactly(ORDER_BYTES)
    await stream.write(plain(0, script.data[: MIB - 1]))


async def long_group(stream: Any, script: Script) -> None:
    await hello(stream, script)
    await stream.read_exactly(ORDER_BYTES)
    await stream.write(GroupHead(0, Encoding.PLAIN, 2**32 - 1).encode())


async def packed_and_no_smaller(stream: Any, script: Script) -> None:
    await hello(stream, script)
    await stream.read_exactly(ORDER_BYTES)
    await stream.write(GroupHead(0, Encoding.ZSTD, MIB).encode() + bytes(MIB))


async def unknown_encoding(stream: Any, script: Script) -> None:
    await hello(stream, script)
    await stream.read_exactly(ORDER_BYTES)
    await stream.write((0).to_bytes(4) + b"\x07\0" + (10).to_bytes(4) + bytes(10))


async def left_unasked(stream: Any, script: Script) -> None:
    await hello(stream, script)
    await stream.read_exactly(ORDER_BYTES)
    await stream.write(GroupHead(0, Encoding.LEFT, 0).encode())


async def left_with_bytes(stream: Any, script: Script) -> None:
    await hello(stream, script)
    await stream.read_exactly(ORDER_BYTES)
    await stream.write((0).to_bytes(4) + b"\xff\0" + (10).to_bytes(4) + bytes(10))


async def unknown_status(stream: Any, _script: Script) -> None:
    await stream.read_exactly(GREETING_BYTES + ORDER_BYTES)
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
    await stream.read_exactly(ORDER_BYTES)
    await stream.write(GroupHead(0, Encoding.PLAIN, MIB).encode() + script.data[:1000])
    await trio.sleep_forever()


async def drip(stream: Any, script: Script) -> None:
    """A byte each 25 s never stalls, and never ends."""
    await hello(stream, script)
    await stream.read_exactly(ORDER_BYTES)
    await stream.write(GroupHead(0, Encoding.PLAIN, MIB).encode())
    for at in range(MIB):
        await stream.write(script.data[at : at + 1])
        await trio.sleep(25)


STALLS = [silent, silent_after_hello, silent_in_group, drip]


async def gone(_stream: Any, _script: Script) -> None:
    await trio.lowlevel.checkpoint()


async def gone_after_answer(stream: Any, script: Script) -> None:
    await stream.read_exactly(GREETING_BYTES + ORDER_BYTES)
    await stream.write(encode_answer(Status.OK, script.tree.size))


async def gone_in_cvs(stream: Any, script: Script) -> None:
    await stream.read_exactly(GREETING_BYTES + ORDER_BYTES)
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
        assert (await stream.read_exactly(GREETING_BYTES))[33] == 0  # the chaining values are known
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
        await stream.read_exactly(GREETING_BYTES)
        await stream.write(encode_answer(Status.OK, script.tree.size))
        while not any(order[0] == OrderKind.LEAVE for order in orders):
            orders.append(await stream.read_exactly(ORDER_BYTES))
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
        await stream.read_exactly(GREETING_BYTES + ORDER_BYTES)
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
