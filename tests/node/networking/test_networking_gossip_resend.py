# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportUnknownVariableType=false
"""A peer that is slow for a while gets every message in the end, within the bounds of what is remembered."""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import trio
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from trio.testing import MockClock

from node.networking.libp2p.history import HISTORY_S, MAX_HISTORY_BYTES, History, id_of
from node.networking.libp2p.owed import MAX_DEBTORS, MAX_OWED, OFFERED_AT_ONCE, Owed
from node.networking.network import Network
from node.networking.verdict import Verdict
from protocol.identity import PeerId

TOPIC = "stoa/test"
SIZE = 4096


class Inbox:
    """What a node got on the topic, each counted."""

    def __init__(self, network: Network) -> None:
        self.got: dict[bytes, int] = {}
        network.subscribe(TOPIC, validate=lambda _author, _data: Verdict.ACCEPT, deliver=self.deliver)

    async def deliver(self, _author: PeerId, data: bytes) -> None:
        self.got[data[:16]] = self.got.get(data[:16], 0) + 1


async def publish(network: Network, number: int, count: int, pause_s: float, sent: dict[bytes, float]) -> None:
    for index in range(count):
        name = f"{number:04}{index:012}".encode()
        await network.publish(TOPIC, name + bytes(SIZE - 16))
        sent[name] = trio.current_time()
        await trio.sleep(pause_s)


@dataclass
class Outcome:
    """What was sent when, what the listener got, and when the link stalled and went on."""

    sent: dict[bytes, float]
    inbox: Inbox
    stalled_at: float
    healed_at: float


async def deliver_through_a_stall(
    lab: Any, *, stall_s: float, authors: int, each: int, pause_s: float, settle_s: float = 60
) -> Outcome:
    """Some authors publish to a hub, whose link to one listener stalls meanwhile."""
    stalled = False
    lab.memory.is_cut = lambda source, target: stalled and {source, target} == {1, 2}
    sent: dict[bytes, float] = {}
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(lab.node(1))
        listener = await stack.enter_async_context(lab.node(2))
        others = [await stack.enter_async_context(lab.node(number)) for number in range(3, 3 + authors)]
        inbox = Inbox(listener)
        for network in (hub, *others):
            Inbox(network)
        for network in (listener, *others):
            await network.connect(hub.addresses[0])
        await trio.sleep(5)
        async with trio.open_nursery() as nursery:
            for number, network in enumerate(others):
                nursery.start_soon(publish, network, number, each, pause_s, sent)
            await trio.sleep(1)
            stalled_at, stalled = trio.current_time(), True
            await trio.sleep(stall_s)
            healed_at, stalled = trio.current_time(), False
            lab.memory.heal()
        await trio.sleep(settle_s)
        assert listener.is_connected(hub.peer_id)
    return Outcome(sent, inbox, stalled_at, healed_at)


async def test_what_a_full_queue_dropped_is_offered_again(lab: Any, autojump_clock: MockClock) -> None:
    outcome = await deliver_through_a_stall(lab, stall_s=12, authors=10, each=100, pause_s=0.1)
    assert len(outcome.sent) == 1000
    assert outcome.inbox.got == dict.fromkeys(outcome.sent, 1)


async def test_what_one_author_said_during_a_stall_is_not_taken_for_a_flood(
    lab: Any, autojump_clock: MockClock
) -> None:
    outcome = await deliver_through_a_stall(lab, stall_s=15, authors=1, each=400, pause_s=0)
    assert len(outcome.sent) == 400
    assert outcome.inbox.got == dict.fromkeys(outcome.sent, 1)


async def test_a_peer_whose_stream_broke_is_spoken_to_again_and_told_what_is_remembered(
    lab: Any, autojump_clock: MockClock
) -> None:
    outcome = await deliver_through_a_stall(lab, stall_s=45, authors=10, each=60, pause_s=1)
    lost = [at for name, at in outcome.sent.items() if name not in outcome.inbox.got]
    assert set(outcome.inbox.got.values()) == {1}
    assert all(at < outcome.healed_at - HISTORY_S + 15 for at in lost)  # 15 s: until the new stream is agreed
    assert len(lost) < 200


async def test_who_was_alone_when_it_spoke_is_heard_by_the_first_that_joins(
    lab: Any, autojump_clock: MockClock
) -> None:
    async with lab.node(1) as one, lab.node(2) as two:
        Inbox(one)
        inbox = Inbox(two)
        sent: dict[bytes, float] = {}
        await publish(one, 0, 5, 4, sent)
        await two.connect(one.addresses[0])
        await trio.sleep(10)
        assert inbox.got == dict.fromkeys(sent, 1)


def message(number: int, size: int = 100) -> rpc_pb2.Message:
    return rpc_pb2.Message(data=bytes(size), topicIDs=[TOPIC], from_id=b"author", seqno=number.to_bytes(8))


async def test_the_history_is_bounded_in_bytes_and_time(autojump_clock: MockClock) -> None:
    history = History()
    for number in range(1000):
        history.put(message(number, 64 * 1024))
    kept = history.window(TOPIC)
    assert MAX_HISTORY_BYTES * 0.95 <= len(kept) * 64 * 1024 <= MAX_HISTORY_BYTES
    assert kept[-1] == id_of(message(999))
    await trio.sleep(HISTORY_S + 1)
    history.put(message(1000))
    history.shift()
    assert history.window(TOPIC, within_s=3600) == [id_of(message(1000))]
    assert history._bytes < 1000


async def test_one_peer_is_given_the_same_message_three_times_at_most() -> None:
    history, greedy, other = History(), ID(b"greedy"), ID(b"other")
    history.put(message(1))
    wanted = id_of(message(1))
    assert [history.retell(wanted, greedy) is not None for _ in range(5)] == [True, True, True, False, False]
    assert history.retell(wanted, other) is not None
    assert history.retell(b"unknown", other) is None


async def test_debts_are_bounded_and_paid_in_parts_and_old_ones_are_forgiven(autojump_clock: MockClock) -> None:
    history = History()
    owed = Owed(history)
    for number in range(MAX_OWED + 10):
        history.put(message(number))
        owed.note(ID(b"peer"), rpc_pb2.RPC(publish=[message(number)]))
    offers = [owed.next_offer(ID(b"peer"))[TOPIC] for _ in range(MAX_OWED // OFFERED_AT_ONCE)]
    assert {len(offer) for offer in offers} == {OFFERED_AT_ONCE}
    assert offers[0][0] == id_of(message(10))
    assert owed.next_offer(ID(b"peer")) == {}
    for number in range(MAX_DEBTORS + 5):
        owed.note(ID(number.to_bytes(2)), rpc_pb2.RPC(publish=[message(1)]))
    assert len(list(owed)) == MAX_DEBTORS
    await trio.sleep(HISTORY_S + 1)
    history.shift()
    owed.tidy()
    assert list(owed) == []
