# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportUnknownVariableType=false
"""Each fault of the stock swarm, provoked (docs/adr/0302)."""

import gc
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.networking.addresses import parse_peer_address
from node.networking.errors import BadPeerAddress, PeerUnreachable, PortInUse
from node.networking.libp2p.switch import DIAL_TIMEOUT_S, HANDSHAKE_TIMEOUT_S
from node.networking.memory import MemoryTransport
from node.networking.network import Network, open_network
from node.networking.peers.doorway import ALL_ARRIVALS, CHANCE_S
from node.networking.peers.groups import host_group
from node.networking.requests import PROTOCOL as REQUESTS
from node.networking.settings import NetworkSettings
from protocol.errors import ConfigError
from protocol.node_record import peer_id_of

Eventually = Callable[[Callable[[], object]], Any]
Logged = Callable[[str], list[Any]]


async def echo(_peer: str, body: bytes) -> bytes:
    return body


async def test_two_nodes_know_each_other_by_their_host_keys(lab: Any) -> None:
    async with lab.node(1) as one, lab.node(2) as two:
        assert await two.connect(one.addresses[0]) == one.peer_id
        assert [info.peer for info in one.peers()] == [two.peer_id]
        assert [info.dialled for info in two.peers()] == [True]


async def test_connecting_twice_keeps_one_connection(lab: Any) -> None:
    async with lab.node(1) as one, lab.node(2) as two:
        await two.connect(one.addresses[0])
        await two.connect(one.addresses[0])
        assert len(one._switch.connections[two.peer_id]) == 1


async def test_dials_of_one_peer_at_the_same_time_end_in_one_connection(lab: Any) -> None:
    async with lab.node(1) as one, lab.node(2) as two:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(two.connect, one.addresses[0])
        assert len(one._switch.connections[two.peer_id]) == 1
        assert two._switch._dialling == {}


async def test_a_disconnected_peer_is_gone_on_both_sides(lab: Any, eventually: Eventually) -> None:
    async with lab.node(1) as one, lab.node(2) as two:
        await two.connect(one.addresses[0])
        await two.disconnect(one.peer_id)
        assert two.peers() == ()
        await eventually(lambda: one.peers() == ())


async def test_another_peer_than_the_expected_one_is_refused(lab: Any, eventually: Eventually) -> None:
    async with lab.node(1) as one, lab.node(2) as two:
        wrong = parse_peer_address(one.addresses[0]).at(peer_id_of(b"\x07" * 32))
        with pytest.raises(PeerUnreachable, match="handshake failed"):
            await two.connect(str(wrong))
        await eventually(lambda: one.peers() == ())


async def test_a_node_does_not_connect_to_itself(lab: Any) -> None:
    async with lab.node(1) as one:
        with pytest.raises(PeerUnreachable, match="itself"):
            await one.connect(one.addresses[0])
        with pytest.raises(PeerUnreachable, match="itself"):
            await one.connect(one.addresses[0].partition("/p2p/")[0])


async def test_nobody_at_an_address_is_a_typed_error(lab: Any) -> None:
    async with lab.node(1) as one:
        with pytest.raises(PeerUnreachable, match="nobody listens"):
            await one.connect("/memory/99")
        with pytest.raises(BadPeerAddress):
            await one.connect("127.0.0.1:4001")


async def test_a_handler_that_raises_costs_the_peer_its_stream_alone(lab: Any, logged: Logged) -> None:
    async with lab.node(1) as one, lab.node(2) as two:

        async def crash(stream: Any) -> None:
            await stream.read()
            raise RuntimeError("a bug that a stream reaches")

        one._switch.handle("/crash/1", crash)
        one.serve("echo", echo, max_request=10)
        await two.connect(one.addresses[0])
        stream = await two._switch.open_stream(one.peer_id, ["/crash/1"])
        await stream.write(b"x")
        with pytest.raises(Exception, match="reset"):
            await stream.read()
        assert await two.call(one.peer_id, "echo", b"alive") == b"alive"
        assert len(logged("network.handler_crashed")) == 1


async def test_more_than_250_connections_in_a_life_are_no_problem(
    lab: Any, eventually: Eventually, autojump_clock: MockClock
) -> None:
    async with lab.node(1) as one:
        for _ in range(260):
            async with lab.attacker(one):
                pass
            await eventually(lambda: not one.peers())
            await trio.sleep(2 / ALL_ARRIVALS.per_s)
        async with lab.attacker(one):
            assert len(one.peers()) == 1


async def test_handlers_end_with_their_connection(lab: Any, eventually: Eventually) -> None:
    async with lab.node(1) as one, lab.node(2) as two:
        ended: list[str] = []

        async def sleep(_stream: object) -> None:
            ended.append("started")
            try:
                await trio.sleep_forever()
            finally:
                ended.append("ended")

        one._switch.handle("/sleep/1", sleep)
        await two.connect(one.addresses[0])
        await two._switch.open_stream(one.peer_id, ["/sleep/1"])
        await eventually(lambda: ended == ["started"])
        await two.disconnect(one.peer_id)
        await eventually(lambda: ended == ["started", "ended"])
        assert one.peers() == ()


async def test_a_peer_that_accepts_and_says_nothing_holds_the_dialler_ten_seconds(
    lab: Any, autojump_clock: MockClock
) -> None:
    async with lab.node(1) as one, trio.open_nursery() as nursery:

        async def stay_silent(stream: trio.abc.Stream, _host: str) -> None:
            await trio.sleep_forever()

        bound = await nursery.start(MemoryTransport(lab.memory).listen, parse_peer_address("/memory/0"), stay_silent)
        start = trio.current_time()
        with pytest.raises(PeerUnreachable, match="no answer within"):
            await one.connect(str(bound))
        assert trio.current_time() - start == pytest.approx(DIAL_TIMEOUT_S)
        nursery.cancel_scope.cancel()


async def test_a_second_address_is_tried_beside_one_that_hangs(lab: Any, autojump_clock: MockClock) -> None:
    async with lab.node(1) as one, lab.node(2) as two, trio.open_nursery() as nursery:

        async def stay_silent(stream: trio.abc.Stream, _host: str) -> None:
            await trio.sleep_forever()

        silent = await nursery.start(MemoryTransport(lab.memory).listen, parse_peer_address("/memory/0"), stay_silent)
        two.learn_addresses(
            one.peer_id, ("/memory/98", str(silent), "no address", one.addresses[0]), source=one.peer_id
        )
        start = trio.current_time()
        await two.connect_peer(one.peer_id)
        assert two.is_connected(one.peer_id)
        assert trio.current_time() - start < 1
        nursery.cancel_scope.cancel()


async def test_a_peer_that_does_not_finish_its_handshake_is_dropped(lab: Any, autojump_clock: MockClock) -> None:
    async with lab.node(1) as one:
        stream = await lab.dial_raw(one)
        await stream.send_all(b"\x13/multistream/1.0.0\n")
        start = trio.current_time()
        while await stream.receive_some():
            pass
        assert trio.current_time() - start == pytest.approx(HANDSHAKE_TIMEOUT_S)
        assert one.peers() == ()


async def test_unfinished_handshakes_are_bounded(lab: Any, autojump_clock: MockClock) -> None:
    async with lab.node(1, max_handshakes=3) as one:
        held = [await lab.dial_raw(one) for _ in range(3)]
        await trio.sleep(CHANCE_S / 2)
        fourth = await lab.dial_raw(one)
        assert await fourth.receive_some() == b""
        assert len(held) == 3


async def test_connections_of_one_host_are_bounded(lab: Any, eventually: Eventually) -> None:
    async with lab.node(1, max_connections_per_host=2, max_connections_per_peer=9) as one:
        host = MemoryTransport(lab.memory)
        place = parse_peer_address(one.addresses[0])
        streams = [(await host.dial(place))[0] for _ in range(3)]
        assert await streams[2].receive_some() == b""
        assert await streams[0].receive_some() != b""
        await streams[0].aclose()
        await eventually(lambda: one._switch._hosts.total() == 1)
        again, _ = await host.dial(place)
        assert await again.receive_some() != b""


@pytest.mark.parametrize(
    ("host", "group"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("memory-7", "memory-7"),
    ],
)
def test_the_addresses_of_one_customer_count_as_one_host(host: str, group: str) -> None:
    assert host_group(host) == group


async def test_connections_in_all_are_bounded_and_some_kept_for_dialling(lab: Any, eventually: Eventually) -> None:
    async with lab.node(1, max_connections=8) as one, lab.node(2) as two, trio.open_nursery() as nursery:
        for number in range(100, 104):
            nursery.start_soon(hold_connection, lab, one, number)
        await eventually(lambda: len(one.peers()) == 4)
        with pytest.raises(PeerUnreachable):
            await two.connect(one.addresses[0])
        await one.connect(two.addresses[0])
        assert len(one.peers()) == 5
        nursery.cancel_scope.cancel()


async def hold_connection(lab: Any, victim: Network, number: int) -> None:
    async with lab.attacker(victim, number):
        await trio.sleep_forever()


async def test_a_peer_has_at_most_two_connections(lab: Any) -> None:
    async with lab.node(1) as one, lab.attacker(one), lab.attacker(one), lab.attacker(one) as third:
        with trio.fail_after(5):
            await third.ended.wait()
        assert len(one._switch.connections) == 1


async def test_a_banned_peer_is_dropped_and_refused_until_the_ban_ends(
    lab: Any, autojump_clock: MockClock, eventually: Eventually
) -> None:
    async with lab.node(1) as one, lab.node(2) as two:
        await two.connect(one.addresses[0])
        await one.ban(two.peer_id, for_s=60)
        await eventually(lambda: not two.peers())
        with pytest.raises(PeerUnreachable, match="banned"):
            await one.connect(two.addresses[0])
        await two.connect(one.addresses[0])  # the refusal comes after the handshake
        await eventually(lambda: not two.peers())
        await trio.sleep(60)
        await two.connect(one.addresses[0])
        await eventually(lambda: one.is_connected(two.peer_id))


async def test_streams_that_open_too_fast_end_in_a_ban(lab: Any, autojump_clock: MockClock) -> None:
    async with lab.node(1) as one, lab.attacker(one) as attacker:
        with trio.fail_after(60):
            while not attacker.ended.is_set():
                for _ in range(200):
                    if not attacker.mux.is_over:
                        attacker.mux.open_stream().reset()
                await trio.sleep(0.5)
        assert one.peers() == ()


async def test_a_port_in_use_is_named_with_what_to_do() -> None:
    async with open_tcp(1) as one:
        port = parse_peer_address(one.addresses[0]).port
        with pytest.raises(PortInUse) as caught:
            async with open_tcp(2, listen=(f"/ip4/127.0.0.1/tcp/{port}",)):
                pass
        assert str(port) in str(caught.value)
        assert "another port" in caught.value.advice


async def test_an_address_of_another_machine_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="can't listen"):
        async with open_tcp(1, listen=("/ip4/192.0.2.1/tcp/0",)):
            pass


async def test_a_closed_node_leaves_no_socket_open() -> None:
    gc.collect()
    before = open_sockets()
    async with open_tcp(1) as one, open_tcp(2) as two:
        one.serve("echo", echo, max_request=10)
        await two.connect(one.addresses[0])
        assert await two.call(one.peer_id, "echo", b"x") == b"x"
        assert open_sockets() > before
    assert open_sockets() == before


async def test_a_node_that_another_bug_brings_down_leaves_no_socket_open() -> None:
    before = open_sockets()
    with pytest.RaisesGroup(pytest.RaisesGroup(ZeroDivisionError)):
        async with open_tcp(1) as one, open_tcp(2) as two:
            await two.connect(one.addresses[0])
            raise ZeroDivisionError
    assert open_sockets() == before


async def test_announced_addresses_replace_the_bound_ones(lab: Any) -> None:
    async with lab.node(1, announce=("/dns/stoa.example/tcp/4001",)) as one:
        assert one.addresses == (f"/dns/stoa.example/tcp/4001/p2p/{one.peer_id}",)


async def test_no_stream_opens_for_a_protocol_that_the_peer_does_not_speak(lab: Any) -> None:
    async with lab.node(1) as one, lab.node(2) as two:
        await two.connect(one.addresses[0])
        with pytest.raises(PeerUnreachable, match="speaks none"):
            await two._switch.open_stream(one.peer_id, ["/nonsense/1"])
        stream = await two._switch.open_stream(one.peer_id, ["/nonsense/1", REQUESTS])
        assert stream.protocol == REQUESTS


def open_tcp(number: int, **settings: Any) -> Any:
    chosen = NetworkSettings(**settings)
    return open_network(chosen, bytes([number]) * 32, clock=lambda: 1.8e9, random=random.Random(number))


def open_sockets() -> int:
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            count += str(entry.readlink()).startswith("socket:")
    return count
