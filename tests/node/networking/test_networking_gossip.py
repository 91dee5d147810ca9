# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportUnknownVariableType=false
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.networking.errors import MessageTooLarge
from node.networking.network import Network
from node.networking.verdict import Verdict
from protocol.errors import ProtocolError
from protocol.identity import PeerId

TOPIC = "stoa/test"
Eventually = Callable[[Callable[[], object]], Any]


class Inbox:
    """A subscription with what it got."""

    def __init__(self, network: Network, *, verdict: Verdict = Verdict.ACCEPT, topic: str = TOPIC) -> None:
        self.got: list[tuple[PeerId, bytes]] = []
        self.judged: list[bytes] = []
        self.verdict = verdict
        network.subscribe(topic, validate=self.validate, deliver=self.deliver)

    def validate(self, _author: PeerId, data: bytes) -> Verdict:
        self.judged.append(data)
        return self.verdict

    async def deliver(self, author: PeerId, data: bytes) -> None:
        self.got.append((author, data))


async def in_mesh(*networks: Network) -> None:
    """Wait until every node has at least one peer in its mesh."""
    with trio.fail_after(10):
        while not all(any(TOPIC in info.topics for info in network.peers()) for network in networks):
            await trio.sleep(0.05)


async def test_a_message_reaches_everybody_once_with_its_author(lab: Any, autojump_clock: MockClock) -> None:
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(lab.node(number)) for number in range(1, 9)]
        inboxes = [Inbox(node) for node in nodes]
        for index, node in enumerate(nodes[1:]):
            await node.connect(nodes[index].addresses[0])
            await node.connect(nodes[max(0, index - 1)].addresses[0])
        await in_mesh(*nodes)
        await nodes[0].publish(TOPIC, b"offer")
        await trio.sleep(5)
        assert inboxes[0].got == []
        for inbox in inboxes[1:]:
            assert inbox.got == [(nodes[0].peer_id, b"offer")]
            assert inbox.judged == [b"offer"]


@pytest.mark.parametrize("verdict", [Verdict.IGNORE, Verdict.REJECT])
async def test_what_a_validator_does_not_accept_is_neither_delivered_nor_relayed(
    lab: Any, autojump_clock: MockClock, verdict: Verdict
) -> None:
    async with lab.node(1) as one, lab.node(2) as two, lab.node(3) as three:
        Inbox(one)
        middle, far = Inbox(two, verdict=verdict), Inbox(three)
        await two.connect(one.addresses[0])
        await three.connect(two.addresses[0])
        await in_mesh(one, two, three)
        await one.publish(TOPIC, b"x")
        await trio.sleep(5)
        assert middle.judged == [b"x"]
        assert middle.got == []
        assert far.judged == []
        assert len(two.peers()) == 2  # one strike is no ban


@pytest.mark.parametrize("error", [ProtocolError("against a rule"), RuntimeError("a bug")])
async def test_a_validator_that_raises_rejects_and_the_node_lives(
    lab: Any, autojump_clock: MockClock, error: Exception, logged: Callable[[str], list[Any]]
) -> None:
    async with lab.node(1) as one, lab.node(2) as two:
        got: list[bytes] = []

        def validate(_author: PeerId, data: bytes) -> Verdict:
            if data == b"bad":
                raise error
            return Verdict.ACCEPT

        Inbox(one)
        two.subscribe(TOPIC, validate=validate, deliver=lambda _author, data: got.append(data))
        await two.connect(one.addresses[0])
        await in_mesh(one, two)
        await one.publish(TOPIC, b"bad")
        await one.publish(TOPIC, b"good")
        await trio.sleep(2)
        assert got == [b"good"]
        assert len(logged("network.validator_crashed")) == isinstance(error, RuntimeError)


async def test_a_deliverer_that_raises_costs_that_message_alone(
    lab: Any, autojump_clock: MockClock, logged: Callable[[str], list[Any]]
) -> None:
    async with lab.node(1) as one, lab.node(2) as two:
        got: list[bytes] = []

        async def deliver(_author: PeerId, data: bytes) -> None:
            if data == b"bad":
                raise RuntimeError("a bug")
            got.append(data)

        Inbox(one)
        two.subscribe(TOPIC, validate=lambda _author, _data: Verdict.ACCEPT, deliver=deliver)
        await two.connect(one.addresses[0])
        await in_mesh(one, two)
        await one.publish(TOPIC, b"bad")
        await one.publish(TOPIC, b"good")
        await trio.sleep(2)
        assert got == [b"good"]
        assert len(logged("network.deliver_crashed")) == 1


async def test_a_slow_deliverer_drops_and_counts_instead_of_growing(lab: Any, autojump_clock: MockClock) -> None:
    async with lab.node(1) as one, lab.node(2) as two:

        async def never(_author: PeerId, _data: bytes) -> None:
            await trio.sleep_forever()

        Inbox(one)
        two.subscribe(TOPIC, validate=lambda _author, _data: Verdict.ACCEPT, deliver=never)
        await two.connect(one.addresses[0])
        await in_mesh(one, two)
        for index in range(1100):
            await one.publish(TOPIC, index.to_bytes(2))
        await trio.sleep(5)
        assert two.dropped[TOPIC] == 1100 - 1 - 1024


async def test_publishing_is_paced_to_what_peers_allow_an_author(lab: Any, autojump_clock: MockClock) -> None:
    async with lab.node(1) as one, lab.node(2) as two:
        Inbox(one)
        inbox = Inbox(two)
        await two.connect(one.addresses[0])
        await in_mesh(one, two)
        start = trio.current_time()
        for index in range(300):
            await one.publish(TOPIC, index.to_bytes(2))
        assert trio.current_time() - start == pytest.approx(200 / 20, rel=0.01)
        await trio.sleep(5)
        assert len(inbox.got) == 300


async def test_a_message_over_the_limit_is_not_sent(lab: Any) -> None:
    async with lab.node(1) as one:
        with pytest.raises(MessageTooLarge):
            await one.publish(TOPIC, bytes(64 * 1024 + 1))


async def test_a_message_of_the_largest_size_arrives(lab: Any, autojump_clock: MockClock) -> None:
    async with lab.node(1) as one, lab.node(2) as two:
        Inbox(one)
        inbox = Inbox(two)
        await two.connect(one.addresses[0])
        await in_mesh(one, two)
        await one.publish(TOPIC, bytes(64 * 1024))
        await trio.sleep(2)
        assert [len(data) for _, data in inbox.got] == [64 * 1024]


async def test_one_who_joins_late_gets_the_last_seconds(lab: Any, autojump_clock: MockClock) -> None:
    async with lab.node(1) as one, lab.node(2) as two:
        Inbox(one)
        await one.publish(TOPIC, b"offer")
        await two.connect(one.addresses[0])
        inbox = Inbox(two)
        await trio.sleep(2)
        assert inbox.got == [(one.peer_id, b"offer")]


async def test_after_unsubscribing_nothing_comes(lab: Any, autojump_clock: MockClock) -> None:
    async with lab.node(1) as one, lab.node(2) as two:
        Inbox(one)
        inbox = Inbox(two)
        await two.connect(one.addresses[0])
        await in_mesh(one, two)
        await two.unsubscribe(TOPIC)
        await trio.sleep(1)
        await one.publish(TOPIC, b"x")
        await trio.sleep(5)
        assert inbox.judged == []
        Inbox(two)  # and it can be joined again


async def test_messages_of_a_node_that_restarts_within_a_second_are_not_taken_for_old_ones(
    lab: Any, autojump_clock: MockClock, eventually: Eventually
) -> None:
    async with lab.node(1) as one:
        inbox = Inbox(one)
        for life in range(2):
            # The same host key, the same second of the wall clock, another state of chance: as after a crash.
            async with lab.node(2, chance=life) as two:
                Inbox(two)
                await two.connect(one.addresses[0])
                await in_mesh(one, two)
                await two.publish(TOPIC, b"life %d" % life)
                await trio.sleep(1)
            await eventually(lambda: not one.peers())
        assert [data for _, data in inbox.got] == [b"life 0", b"life 1"]


async def test_a_mesh_that_loses_a_peer_goes_on_when_it_returns(
    lab: Any, autojump_clock: MockClock, eventually: Eventually
) -> None:
    async with lab.node(1) as one, lab.node(2) as two:
        Inbox(one)
        inbox = Inbox(two)
        for round_ in range(3):
            await two.connect(one.addresses[0])
            await in_mesh(one, two)
            await one.publish(TOPIC, bytes([round_]))
            await trio.sleep(2)
            await two.disconnect(one.peer_id)
            await eventually(lambda: not one.peers())
        assert [data for _, data in inbox.got] == [b"\0", b"\1", b"\2"]


async def test_an_hour_of_gossip_on_a_virtual_clock_keeps_the_mesh(lab: Any, autojump_clock: MockClock) -> None:
    async with lab.node(1) as one, lab.node(2) as two:
        Inbox(one)
        inbox = Inbox(two)
        await two.connect(one.addresses[0])
        for _ in range(60):
            await trio.sleep(60)
            await one.publish(TOPIC, b"tick")
        await trio.sleep(5)
        assert len(inbox.got) == 60


async def connect_twice(first: Network, second: Network) -> None:
    """Let both dial at once, as nodes do that learn of each other: two connections, of which neither is closed."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.connect, second.addresses[0])
        nursery.start_soon(second.connect, first.addresses[0])
    with trio.fail_after(10):
        while len(first._switch.connections[second.peer_id]) < 2 or len(second._switch.connections[first.peer_id]) < 2:
            await trio.sleep(0.05)


@pytest.mark.parametrize("which", [0, 1])
async def test_gossip_goes_on_both_ways_when_one_of_two_connections_ends(
    lab: Any, autojump_clock: MockClock, which: int
) -> None:
    async with lab.node(1) as first, lab.node(2) as second:
        inboxes = Inbox(first), Inbox(second)
        await connect_twice(first, second)
        await in_mesh(first, second)
        first._switch.connections[second.peer_id][which].end()
        await trio.sleep(5)
        assert first.is_connected(second.peer_id)
        for number in range(3):
            await first.publish(TOPIC, f"from first {number}".encode())
            await second.publish(TOPIC, f"from second {number}".encode())
            await trio.sleep(5)
        assert [data for _, data in inboxes[1].got] == [f"from first {number}".encode() for number in range(3)]
        assert [data for _, data in inboxes[0].got] == [f"from second {number}".encode() for number in range(3)]


async def test_gossip_goes_on_when_the_stream_that_it_is_written_on_dies_alone(
    lab: Any, autojump_clock: MockClock
) -> None:
    async with lab.node(1) as first, lab.node(2) as second:
        inbox = Inbox(second)
        Inbox(first)
        await first.connect(second.addresses[0])
        await in_mesh(first, second)
        await trio.sleep(5)
        for number in range(3):
            second._gossip._inbound[first.peer_id].reset()
            await trio.sleep(1)
            await first.publish(TOPIC, str(number).encode())
            await trio.sleep(10)
        assert [data for _, data in inbox.got] == [b"0", b"1", b"2"]
