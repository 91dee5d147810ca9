# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportUnknownVariableType=false
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.networking.errors import PeerTimeout, PeerUnreachable, PortInUse
from node.networking.memory import PIPE_CHUNKS, MemoryNetwork, stream_pair
from protocol.identity import PeerId


async def echo(_peer: PeerId, body: bytes) -> bytes:
    return body


async def test_bytes_arrive_in_order_and_after_the_latency_of_their_link(autojump_clock: MockClock) -> None:
    delays = iter([3.0, 1.0, 0.0])
    network = MemoryNetwork(latency_s=lambda _from, _to: next(delays))
    one, two = stream_pair(network, 1, 2)
    await one.send_all(b"slow")
    await one.send_all(b"quick")
    assert await two.receive_some() == b"slow"
    assert trio.current_time() == pytest.approx(3)
    assert await two.receive_some(2) == b"qu"
    assert await two.receive_some(99) == b"ick"
    await one.aclose()
    assert await two.receive_some() == b""
    with pytest.raises(trio.BrokenResourceError):
        await two.send_all(b"x")


async def test_a_sender_waits_when_nobody_reads(autojump_clock: MockClock) -> None:
    one, _two = stream_pair(MemoryNetwork(), 1, 2)
    sent = 0
    with trio.move_on_after(10):
        while True:
            await one.send_all(b"x")
            sent += 1
    assert sent == PIPE_CHUNKS


async def test_requests_take_the_latency_both_ways(lab: Any, autojump_clock: MockClock) -> None:
    async with lab.node(1) as one, lab.node(2) as two:
        one.serve("echo", echo, max_request=10)
        await two.connect(one.addresses[0])
        await two.call(one.peer_id, "echo", b"")
        lab.memory.latency_s = lambda _from, _to: 0.5
        start = trio.current_time()
        await two.call(one.peer_id, "echo", b"")
        assert trio.current_time() - start == pytest.approx(1, abs=0.01)


async def test_a_cut_stops_dials_and_delays_bytes_until_it_heals(lab: Any, autojump_clock: MockClock) -> None:
    async with lab.node(1) as one, lab.node(2) as two, lab.node(3) as three:
        one.serve("echo", echo, max_request=10)
        await two.connect(one.addresses[0])
        await two.call(one.peer_id, "echo", b"")
        lab.memory.is_cut = lambda _from, _to: True
        with pytest.raises(PeerUnreachable):
            await three.connect(one.addresses[0])
        with pytest.raises(PeerTimeout):
            await two.call(one.peer_id, "echo", b"lost")
        lab.memory.is_cut = lambda _from, _to: False
        lab.memory.heal()
        assert await two.call(one.peer_id, "echo", b"back") == b"back"


async def test_a_long_cut_ends_the_connection_on_both_sides(lab: Any, autojump_clock: MockClock) -> None:
    async with lab.node(1) as one, lab.node(2) as two:
        await two.connect(one.addresses[0])
        lab.memory.is_cut = lambda _from, _to: True
        await trio.sleep(150)
        assert one.peers() == two.peers() == ()


async def test_an_endpoint_is_taken_once(lab: Any) -> None:
    async with lab.node(1, listen=("/memory/7",)):
        with pytest.raises(PortInUse):
            async with lab.node(2, listen=("/memory/7",)):
                pass
