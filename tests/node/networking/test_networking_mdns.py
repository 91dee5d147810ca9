# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportUnknownVariableType=false
import random
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.networking.mdns.finder import ANSWER_RATE, HEARD_RATE, open_finder
from node.networking.mdns.lan import open_lan
from node.networking.mdns.packets import decode_packet, encode_answer, encode_query
from node.networking.network import open_network
from node.networking.settings import NetworkSettings
from protocol.errors import ConfigError
from protocol.node_record import peer_id_of


@dataclass
class Air:
    """A LAN in memory: everybody hears everything, themselves too."""

    members: list["MemoryLan"] = field(default_factory=list["MemoryLan"])
    said: list[tuple[float, str, bytes]] = field(default_factory=list[tuple[float, str, bytes]])

    def join(self, host: str) -> "MemoryLan":
        send, receive = trio.open_memory_channel[tuple[bytes, str]](10_000)
        lan = MemoryLan(self, host, send, receive)
        self.members.append(lan)
        return lan


@dataclass
class MemoryLan:
    air: Air
    host: str
    inbox: "trio.MemorySendChannel[tuple[bytes, str]]"
    outbox: "trio.MemoryReceiveChannel[tuple[bytes, str]]"
    is_down: bool = False

    async def send(self, packet: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if self.is_down:
            raise OSError("network is unreachable")
        self.air.said.append((trio.current_time(), self.host, packet))
        for member in self.air.members:
            member.inbox.send_nowait((packet, self.host))

    async def receive(self) -> tuple[bytes, str]:
        if self.is_down:
            raise OSError("network is down")
        return await self.outbox.receive()


def answers_of(air: Air, host: str) -> list[float]:
    return [at for at, who, packet in air.said if who == host and decode_packet(packet).addresses]


async def test_nodes_of_a_lan_find_each_other_without_a_bootstrap_list(lab: Any, autojump_clock: MockClock) -> None:
    air = Air()
    async with AsyncExitStack() as stack:
        members: list[Any] = []
        for number in range(1, 4):
            host = f"192.168.0.{number}"
            members.append(await stack.enter_async_context(lab.member(number, host=host)))
            lan = air.join(host)
            await stack.enter_async_context(open_finder(members[-1].network, lan, random=random.Random(number)))
        await trio.sleep(60)
        for member in members:
            assert len(member.network.peers()) == 2
            assert all(member.directory.wallet_of(info.peer) for info in member.network.peers())


async def test_an_address_that_is_not_the_senders_is_not_believed(lab: Any, autojump_clock: MockClock) -> None:
    air, stranger = Air(), peer_id_of(b"\x07" * 32)
    async with lab.node(1, host="192.168.0.1") as network:
        liar = air.join("192.168.0.66")
        async with open_finder(network, air.join("192.168.0.1"), random=random.Random(1)):
            await liar.send(
                encode_answer(
                    "x",
                    [
                        f"/ip4/192.168.0.2/tcp/22/p2p/{stranger}",
                        f"/ip4/20.0.0.1/tcp/80/p2p/{stranger}",
                        f"/dns/bank.example/tcp/443/p2p/{stranger}",
                        "/ip4/192.168.0.66/tcp/1",
                        f"/ip4/192.168.0.66/tcp/1/p2p/{network.peer_id}",
                        "nonsense",
                    ],
                )
            )
            await trio.sleep(5)
            assert network.book.find(stranger) is None
            await liar.send(encode_answer("x", [f"/ip4/192.168.0.66/tcp/9/p2p/{stranger}"]))
            await trio.sleep(5)
            assert [place.port for place in network.book.places_of(stranger)] == [9]
            assert network.book.find(network.peer_id) is None


async def test_a_flood_is_answered_once_a_second_and_read_at_a_rate(lab: Any, autojump_clock: MockClock) -> None:
    air = Air()
    async with lab.node(1, host="192.168.0.1") as network:
        flooder, quiet = air.join("192.168.0.66"), air.join("192.168.0.5")
        async with open_finder(network, air.join("192.168.0.1"), random=random.Random(1)):
            await trio.sleep(30)
            start = trio.current_time()
            for number in range(2000):
                await flooder.send(encode_query())
                host_key = (5000 + number).to_bytes(32)
                await flooder.send(encode_answer("x", [f"/ip4/192.168.0.66/tcp/9/p2p/{peer_id_of(host_key)}"]))
                await trio.sleep(0.01)
            took = trio.current_time() - start
            answers = [at for at in answers_of(air, "192.168.0.1") if at >= start]
            assert len(answers) <= ANSWER_RATE.burst + took * ANSWER_RATE.per_s + 1
            heard = sum(
                network.book.find(peer_id_of((5000 + number).to_bytes(32))) is not None for number in range(2000)
            )
            assert 0 < heard <= HEARD_RATE.burst + took * HEARD_RATE.per_s
            await quiet.send(encode_answer("q", [f"/ip4/192.168.0.5/tcp/9/p2p/{peer_id_of(bytes(31) + b'q')}"]))
            await trio.sleep(1)
            assert network.book.find(peer_id_of(bytes(31) + b"q"))


async def test_many_who_ask_at_once_get_one_answer(lab: Any, autojump_clock: MockClock) -> None:
    air = Air()
    async with lab.node(1, host="192.168.0.1") as network:
        asking = [air.join(f"192.168.0.{number}") for number in range(2, 40)]
        async with open_finder(network, air.join("192.168.0.1"), random=random.Random(1)):
            await trio.sleep(30)
            before = len(answers_of(air, "192.168.0.1"))
            for lan in asking:
                await lan.send(encode_query())
            await trio.sleep(3)
            assert len(answers_of(air, "192.168.0.1")) == before + 1


async def test_garbage_and_a_network_that_goes_and_comes_do_not_end_it(
    lab: Any, autojump_clock: MockClock, logged: Callable[[str], list[Any]]
) -> None:
    air, stranger = Air(), peer_id_of(b"\x07" * 32)
    async with lab.node(1, host="192.168.0.1") as network:
        lan, other = air.join("192.168.0.1"), air.join("192.168.0.2")
        async with open_finder(network, lan, random=random.Random(1)):
            await trio.sleep(10)
            lan.is_down = True
            for garbage in (b"", b"\xff" * 100, bytes(9001)):
                await other.send(garbage)
            await trio.sleep(120)
            assert logged("mdns.not_sent")
            assert logged("mdns.deaf")
            lan.is_down = False
            await trio.sleep(60)
            assert logged("mdns.bad_packet")
            await other.send(encode_answer("x", [f"/ip4/192.168.0.2/tcp/9/p2p/{stranger}"]))
            await trio.sleep(5)
            assert network.book.find(stranger)


async def test_two_nodes_find_each_other_over_real_sockets(eventually: Callable[..., Any]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]  # not 5353: nobody else's mDNS is disturbed, nor disturbs
    async with AsyncExitStack() as stack:
        networks = [
            await stack.enter_async_context(
                open_network(NetworkSettings(), bytes([number]) * 32, clock=lambda: 1.8e9, random=random.Random(number))
            )
            for number in (1, 2)
        ]
        for number, network in enumerate(networks):
            lan = await stack.enter_async_context(open_lan("127.0.0.1", port=port))
            assert lan.host == "127.0.0.1"
            await stack.enter_async_context(open_finder(network, lan, random=random.Random(number)))
        one, two = networks
        with trio.fail_after(60):
            while not (one.book.find(two.peer_id) and two.book.find(one.peer_id)):
                await trio.sleep(0.05)
        await one.connect_peer(two.peer_id)


async def test_an_interface_that_is_not_there_is_the_operators_to_mend() -> None:
    with pytest.raises(ConfigError, match=r"network of 192\.0\.2\.77"):
        async with open_lan("192.0.2.77", port=15353):
            pass
