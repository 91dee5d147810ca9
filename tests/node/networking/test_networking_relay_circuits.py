"""Circuits through a relay: what each may have, how they share, and what is refused; on a virtual clock."""

from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.networking.errors import PeerUnreachable
from node.networking.libp2p.circuit_codec import decode_hop, decode_stop, encode_hop, encode_stop, frame
from node.networking.libp2p.secure import Identity
from node.networking.libp2p.yamux import MuxedStream, StreamReset
from node.networking.relay.circuit import IDLE_S
from node.networking.relay.messages import HOP, STOP, HopKind, HopMessage, Status, StopKind, StopMessage
from node.networking.settings import RelayLimits
from protocol.node_record import peer_id_of
from tests.node.networking.relay_lab import (
    KIB,
    MIB,
    RESERVE,
    accept_circuit,
    connect_to,
    echo,
    hidden,
    hop,
    read_frame,
    wait_for,
    way_to,
)


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (connect_to(peer_id_of(b"\x44" * 32)), Status.NO_RESERVATION),
        (HopMessage(kind=HopKind.CONNECT), Status.MALFORMED_MESSAGE),
        (HopMessage(kind=HopKind.STATUS, status=Status.OK), Status.UNEXPECTED_MESSAGE),
        (b"\xff\xff\xff", Status.MALFORMED_MESSAGE),
        (b"", Status.MALFORMED_MESSAGE),
    ],
)
async def test_each_refusal_has_its_status(
    lab: Any, autojump_clock: MockClock, message: HopMessage | bytes, status: Status
) -> None:
    async with lab.node(1, reachable="yes") as relay, hop(lab, relay, 100) as stranger:
        answer, _ = await stranger.ask(message)
        assert answer == HopMessage(kind=HopKind.STATUS, status=status)


async def test_a_connection_that_is_relayed_itself_gets_nothing_of_a_relay(lab: Any, autojump_clock: MockClock) -> None:
    async with (
        lab.node(1, reachable="yes") as relay,
        lab.node(2, reachable="yes") as second,
        hidden(lab, 3) as buyer,
    ):
        await second.connect(relay.addresses[0])
        await second.relays.reserve(relay.peer_id)
        await buyer.connect(way_to(second, relay))
        stream = await buyer._switch.open_stream(second.peer_id, [HOP])
        await stream.write(frame(encode_hop(RESERVE)))
        assert decode_hop(await read_frame(stream._stream)).status is Status.PERMISSION_DENIED


async def test_a_circuit_that_was_not_asked_for_is_refused(lab: Any, autojump_clock: MockClock) -> None:
    """A peer that merely says that it brings somebody can't make us run handshakes."""
    async with lab.node(1) as victim, lab.attacker(victim, 100) as attacker:
        stream = await attacker.open(STOP)
        await stream.write(frame(encode_stop(StopMessage(kind=StopKind.CONNECT, peer=peer_id_of(b"\x44" * 32)))))
        assert decode_stop(await read_frame(stream)).status is Status.PERMISSION_DENIED
        with trio.fail_after(60):
            assert await stream.read() == b""


async def test_a_target_that_refuses_or_says_nothing_is_a_failed_connection(
    lab: Any, autojump_clock: MockClock
) -> None:
    async with lab.node(1, reachable="yes") as relay, hop(lab, relay, 100) as target, hop(lab, relay, 101) as dialler:
        await target.ask(RESERVE)
        answer, _ = await dialler.ask(connect_to(Identity(bytes([100]) * 32).peer))  # it never reads its streams
        assert answer.status is Status.CONNECTION_FAILED
        assert relay.relay is not None
        assert relay.relay.open_circuits == 0


async def test_bytes_over_the_limit_end_a_circuit(lab: Any, autojump_clock: MockClock) -> None:
    limits = RelayLimits(circuit_bytes=100 * KIB)
    async with lab.node(1, reachable="yes", relay=limits) as relay, hidden(lab, 2) as seller, hidden(lab, 3) as buyer:
        await seller.connect(relay.addresses[0])
        await seller.relays.reserve(relay.peer_id)
        seller.serve("echo", echo, max_request=MIB)
        await buyer.connect(way_to(seller, relay))
        assert await buyer.call(seller.peer_id, "echo", b"x" * 60 * KIB)
        with pytest.raises(PeerUnreachable):
            await buyer.call(seller.peer_id, "echo", b"x" * 60 * KIB)
        await wait_for(lambda: not buyer.is_connected(seller.peer_id))
        assert relay.relay is not None
        assert relay.relay.open_circuits == 0
        await buyer.connect(way_to(seller, relay))  # and another one may be opened


async def test_time_ends_a_circuit(lab: Any, autojump_clock: MockClock) -> None:
    limits = RelayLimits(circuit_s=300)
    async with lab.node(1, reachable="yes", relay=limits) as relay, hidden(lab, 2) as seller, hidden(lab, 3) as buyer:
        await seller.connect(relay.addresses[0])
        await seller.relays.reserve(relay.peer_id)
        await buyer.connect(way_to(seller, relay))
        await trio.sleep(295)
        assert buyer.is_connected(seller.peer_id)
        await trio.sleep(10)
        assert not buyer.is_connected(seller.peer_id)


async def test_a_circuit_without_ends_does_not_last(lab: Any, autojump_clock: MockClock) -> None:
    async with lab.node(1, reachable="yes") as relay, hop(lab, relay, 100) as target, hop(lab, relay, 101) as dialler:
        await target.ask(RESERVE)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept_circuit, target)
            status, stream = await dialler.ask(connect_to(Identity(bytes([100]) * 32).peer))
        assert status.status is Status.OK
        assert relay.relay is not None
        assert relay.relay.open_circuits == 1
        await trio.sleep(IDLE_S + 1)
        assert relay.relay.open_circuits == 0
        with pytest.raises(StreamReset):
            await stream.read()


@pytest.mark.parametrize(
    ("limits", "hosts"),
    [
        (RelayLimits(circuits_per_target=2), ["192.1.0.1", "192.2.0.1", "192.3.0.1"]),
        (RelayLimits(circuits_per_network=2), ["192.1.0.1", "192.1.0.2", "192.1.0.3"]),
        (RelayLimits(circuits=2), ["192.1.0.1", "192.2.0.1", "192.3.0.1"]),
    ],
)
async def test_circuits_are_counted_by_target_by_network_and_in_all(
    lab: Any, autojump_clock: MockClock, limits: RelayLimits, hosts: list[str]
) -> None:
    async with AsyncExitStack() as stack:
        relay = await stack.enter_async_context(lab.node(1, host="192.0.2.1", reachable="yes", relay=limits))
        seller = await stack.enter_async_context(hidden(lab, 2))
        await seller.connect(relay.addresses[0])
        await seller.relays.reserve(relay.peer_id)
        diallers = [
            await stack.enter_async_context(hop(lab, relay, 100 + index, host=host)) for index, host in enumerate(hosts)
        ]
        answers = [(await dialler.ask(connect_to(seller.peer_id)))[0].status for dialler in diallers]
        assert answers == [Status.OK, Status.OK, Status.RESOURCE_LIMIT_EXCEEDED]


async def test_circuits_are_counted_by_dialler_and_given_back(lab: Any, autojump_clock: MockClock) -> None:
    limits = RelayLimits(circuits_per_dialler=2)
    async with (
        lab.node(1, reachable="yes", relay=limits) as relay,
        hidden(lab, 2) as seller,
        hop(lab, relay, 100) as dialler,
    ):
        await seller.connect(relay.addresses[0])
        await seller.relays.reserve(relay.peer_id)
        opened = [await dialler.ask(connect_to(seller.peer_id)) for _ in range(3)]
        assert [answer.status for answer, _ in opened] == [Status.OK, Status.OK, Status.RESOURCE_LIMIT_EXCEEDED]
        opened[0][1].reset()
        await wait_for(lambda: relay.relay is not None and relay.relay.open_circuits == 1)
        answer, _ = await dialler.ask(connect_to(seller.peer_id))
        assert answer.status is Status.OK


async def test_asking_for_circuits_again_and_again_costs_the_target_little(lab: Any, autojump_clock: MockClock) -> None:
    async with (
        lab.node(1, reachable="yes") as relay,
        hidden(lab, 2) as seller,
        hop(lab, relay, 100) as dialler,
    ):
        await seller.connect(relay.addresses[0])
        await seller.relays.reserve(relay.peer_id)
        granted = 0
        for _ in range(100):
            answer, stream = await dialler.ask(connect_to(seller.peer_id))
            stream.reset()
            granted += answer.status is Status.OK
            await trio.sleep(0.05)  # five seconds in all
        assert 20 <= granted <= 26


async def test_the_line_is_shared_between_networks(lab: Any, autojump_clock: MockClock) -> None:
    """At 256 KiB/s, one peer with four circuits from one network and one from another get the same."""
    limits = RelayLimits(bytes_per_s=256.0 * KIB, circuits_per_dialler=8)
    async with AsyncExitStack() as stack:
        relay = await stack.enter_async_context(lab.node(1, host="192.0.2.1", reachable="yes", relay=limits))
        sink = await stack.enter_async_context(hop(lab, relay, 90))
        await sink.ask(RESERVE)
        target = Identity(bytes([90]) * 32).peer
        nursery = await stack.enter_async_context(trio.open_nursery())
        greedy = await stack.enter_async_context(hop(lab, relay, 100, host="198.51.100.1"))
        modest = await stack.enter_async_context(hop(lab, relay, 101, host="203.0.113.1"))
        arrived: dict[int, int] = {}

        async def read(index: int, stream: MuxedStream) -> None:
            while data := await stream.read():
                arrived[index] = arrived.get(index, 0) + len(data)

        for index, dialler in enumerate([greedy, greedy, greedy, greedy, modest]):

            async def take(index: int) -> None:
                await read(index, await accept_circuit(sink))

            nursery.start_soon(take, index)
            answer, stream = await dialler.ask(connect_to(target))
            assert answer.status is Status.OK
            nursery.start_soon(stream.write, bytes(8 * MIB))
        started = trio.current_time()
        await trio.sleep(20)
        many, one = sum(arrived[index] for index in range(4)), arrived[4]
        passed_s = trio.current_time() - started
        assert many + one <= 256 * KIB * (passed_s + 2)
        assert many + one >= 256 * KIB * (passed_s - 2)
        assert 0.8 <= many / one <= 1.25
        nursery.cancel_scope.cancel()
