# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportUnknownVariableType=false
"""Whoever makes a node work much waits for the others (docs/adr/1511)."""

import struct
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
import trio
from libp2p.pubsub.pb import rpc_pb2
from trio.testing import MockClock

from node.networking import requests
from node.networking.frames import Kind, encode_frame, encode_named
from node.networking.libp2p.negotiation import encode_varint
from node.networking.libp2p.secure import Identity, secure
from node.networking.requests import PROTOCOL
from node.networking.turns import (
    CHOSEN_SHARE,
    PER_CONTROL,
    PER_DROP,
    PER_FRAME,
    PER_HANDSHAKE,
    PER_JUDGEMENT,
    PER_MESSAGE,
    PER_READ,
    QUANTUM,
    STRANGERS_SHARE,
    Share,
    Turns,
)
from node.networking.verdict import Verdict
from tests.node.networking.test_networking_gossip_hostile import MESHSUB, TOPIC, message

PING = 2


class Metronome:
    """Counts what happens between two ticks of the loop: what others do in two turns, for theirs may come first."""

    def __init__(self) -> None:
        self.count, self.most, self.total = 0, 0, 0

    def counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            self.count += 1
            self.total += 1
            return function(*args, **options)

        return call

    async def run(self) -> None:
        while True:
            self.count = 0
            await trio.lowlevel.checkpoint()
            self.most = max(self.most, self.count)

    async def until(self, total: int) -> None:
        """Wait until so much has happened; this only yields, so that a mock clock stands still."""
        for _ in range(200_000):
            if self.total >= total:
                return
            await trio.lowlevel.checkpoint()
        pytest.fail(f"{self.total} of {total} after 200,000 ticks")


async def test_of_those_above_their_share_one_goes_on_at_each_tick(autojump_clock: MockClock) -> None:
    turns, beats = Turns(), Metronome()
    attackers = [Share(turns, lambda number=number: (f"127.0.0.{number}", False)) for number in range(50)]
    passed = [0] * 50
    note = beats.counted(lambda number: passed.__setitem__(number, passed[number] + 1))

    async def attack(number: int) -> None:
        for _ in range(1000):
            await attackers[number].spend(STRANGERS_SHARE.burst)
            note(number)

    for share in attackers:
        await share.spend(STRANGERS_SHARE.burst)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(beats.run)
        for number in range(50):
            nursery.start_soon(attack, number)
        await beats.until(1000)
        assert beats.most <= 2
        assert max(passed) - min(passed) <= 2  # all alike: nobody starves
        nursery.cancel_scope.cancel()


async def test_of_many_addresses_each_within_its_share_one_goes_on_at_each_tick(autojump_clock: MockClock) -> None:
    turns, beats = Turns(), Metronome()
    note = beats.counted(lambda: None)

    async def ask(number: int) -> None:
        share = Share(turns, lambda: (f"127.0.1.{number}", False))
        for _ in range(int(STRANGERS_SHARE.burst / QUANTUM)):
            await share.spend(QUANTUM)
            note()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(beats.run)
        for number in range(50):
            nursery.start_soon(ask, number)
        await beats.until(50 * int(STRANGERS_SHARE.burst / QUANTUM))
        assert beats.most <= 2
        nursery.cancel_scope.cancel()


async def test_who_stays_within_its_share_waits_for_no_queue(autojump_clock: MockClock) -> None:
    turns = Turns()
    attacker = Share(turns, lambda: ("192.0.2.1", False))
    attackers = [Share(turns, lambda: ("192.0.2.1", False)) for _ in range(100)]
    honest = Share(turns, lambda: ("192.0.2.2", False))
    chosen = Share(turns, lambda: ("chosen", True))
    await attacker.spend(STRANGERS_SHARE.burst)

    async def attack(share: Share) -> None:
        while True:
            await share.spend(QUANTUM)

    async with trio.open_nursery() as nursery:
        for share in attackers:
            nursery.start_soon(attack, share)
        while turns._beyond.waiting < 99:
            await trio.lowlevel.checkpoint()
        for share, allowed in ((honest, STRANGERS_SHARE.burst), (chosen, CHOSEN_SHARE.burst)):
            for _ in range(int(allowed / QUANTUM)):
                before = autojump_clock.current_time()
                await share.spend(QUANTUM)
                assert turns._beyond.waiting >= 98
                assert autojump_clock.current_time() == before
        nursery.cancel_scope.cancel()


async def test_who_has_used_least_of_its_share_goes_first(autojump_clock: MockClock) -> None:
    turns = Turns()
    passed: list[str] = []

    async def ask(address: str, times: int) -> None:
        share = Share(turns, lambda: (address, False))
        for _ in range(times):
            await share.spend(QUANTUM)
            passed.append(address)

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(ask, f"127.0.0.{number}", int(STRANGERS_SHARE.burst / QUANTUM))
        while len(passed) < 100:
            await trio.lowlevel.checkpoint()
        assert turns._within.waiting >= 49
        nursery.start_soon(ask, "127.0.1.1", 1)
        before = len(passed)
        while "127.0.1.1" not in passed:
            await trio.lowlevel.checkpoint()
    assert passed.index("127.0.1.1") <= before + 2


async def test_who_has_used_its_share_does_not_starve_beside_ever_new_addresses(mock_clock: MockClock) -> None:
    turns = Turns()
    tick_s = 0.01

    async def newcomer(address: str) -> None:
        await turns.take(address, 1.0, chosen=False)

    async with trio.open_nursery() as nursery:

        async def newcomers() -> None:
            for number in count():
                for each in range(3):
                    nursery.start_soon(newcomer, f"{number}.{each}")
                mock_clock.jump(tick_s)
                await trio.lowlevel.checkpoint()

        nursery.start_soon(newcomers)
        while turns._within.waiting < 10:
            await trio.lowlevel.checkpoint()
        before = mock_clock.current_time()
        await turns.take("used up", STRANGERS_SHARE.burst, chosen=False)
        waited_s = mock_clock.current_time() - before
        nursery.cancel_scope.cancel()
    due_s = STRANGERS_SHARE.burst / STRANGERS_SHARE.per_s
    assert due_s / 2 < waited_s < due_s * 10  # of those that came until it was due, one goes at every other tick


async def test_a_turn_that_is_given_up_is_nobodys_loss(autojump_clock: MockClock) -> None:
    turns = Turns()
    share = Share(turns, lambda: ("192.0.2.1", False))
    await share.spend(STRANGERS_SHARE.burst)
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(share.spend, 1000)
        await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    await share.spend(1000)
    assert turns._beyond.waiting == 0
    assert not turns._beyond.is_taken
    assert not turns._within.is_taken


async def test_the_frames_of_one_message_let_the_loop_go_on(lab: Any, autojump_clock: MockClock) -> None:
    beats = Metronome()
    async with lab.node(1) as victim, lab.attacker(victim) as attacker, trio.open_nursery() as nursery:
        (mux,) = (each.mux for each in victim._switch.connections[victim.peers()[0].peer])
        mux._handle = beats.counted(mux._handle)
        nursery.start_soon(beats.run)
        await attacker.wire.write(b"".join(struct.pack("!BBHII", 0, PING, 1, 0, number) for number in range(4000)))
        await beats.until(4000)
        assert beats.most <= 2 * (QUANTUM / PER_FRAME + 1)
        nursery.cancel_scope.cancel()


async def test_messages_of_nothing_let_the_loop_go_on(lab: Any, autojump_clock: MockClock) -> None:
    beats = Metronome()
    async with lab.node(1) as victim, lab.attacker(victim) as attacker, trio.open_nursery() as nursery:
        (mux,) = (each.mux for each in victim._switch.connections[victim.peers()[0].peer])
        cipher = mux._wire._wire._cipher
        cipher.decrypt = beats.counted(cipher.decrypt)
        wire = attacker.wire._wire
        sent = b""
        for _ in range(2000):  # in one piece, as they may lie in a socket
            sent += (16).to_bytes(2) + wire._cipher.encrypt(b"")
        nursery.start_soon(beats.run)
        await wire._raw.write(sent)
        await beats.until(2000)
        assert beats.most <= 2 * (QUANTUM / PER_MESSAGE + 1)
        nursery.cancel_scope.cancel()


async def test_a_row_of_gossip_lets_the_loop_go_on(lab: Any, autojump_clock: MockClock) -> None:
    beats = Metronome()
    judge = beats.counted(lambda _author, _data: Verdict.IGNORE)
    author = Identity(b"\x66" * 32)
    made = b"".join(
        encode_varint(len(data)) + data
        for data in (
            rpc_pb2.RPC(publish=[message(author, b"%d" % number, number)]).SerializeToString() for number in range(100)
        )
    )
    async with lab.node(1) as victim, lab.attacker(victim) as attacker, trio.open_nursery() as nursery:
        victim.subscribe(TOPIC, validate=judge, deliver=lambda _author, _data: None)
        stream = await attacker.open(MESHSUB)
        nursery.start_soon(beats.run)
        await stream.write(made)
        await beats.until(100)
        assert beats.most <= 2 * (QUANTUM / PER_JUDGEMENT + 1)
        nursery.cancel_scope.cancel()


async def test_a_row_of_control_messages_lets_the_loop_go_on(lab: Any, autojump_clock: MockClock) -> None:
    beats = Metronome()
    control = rpc_pb2.ControlMessage(graft=[rpc_pb2.ControlGraft(topicID=str(number)) for number in range(50)])
    topics = [rpc_pb2.RPC.SubOpts(subscribe=True, topicid=str(number)) for number in range(50)]
    data = rpc_pb2.RPC(control=control, subscriptions=topics).SerializeToString()
    async with lab.node(1) as victim, lab.attacker(victim) as attacker, trio.open_nursery() as nursery:
        gossip = victim._gossip
        gossip.handle_subscription = beats.counted(gossip.handle_subscription)
        gossip.router.handle_graft = beats.counted(gossip.router.handle_graft)
        stream = await attacker.open(MESHSUB)
        nursery.start_soon(beats.run)
        await stream.write((encode_varint(len(data)) + data) * 5)
        await beats.until(500)
        assert beats.most <= 2 * (QUANTUM / PER_CONTROL + 1)
        nursery.cancel_scope.cancel()


async def test_a_row_of_tiny_frames_lets_the_loop_go_on(
    lab: Any, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats = Metronome()
    monkeypatch.setattr(requests, "read_frame", beats.counted(requests.read_frame))
    async with lab.node(1) as victim, lab.attacker(victim) as attacker, trio.open_nursery() as nursery:
        stream = await attacker.open(PROTOCOL)
        nursery.start_soon(beats.run)
        await stream.write(b"".join(encode_frame(Kind.CANCEL, number) for number in range(3000)))
        await beats.until(3000)
        assert beats.most <= 2 * (QUANTUM / (2 * PER_READ) + 1)
        nursery.cancel_scope.cancel()


async def test_a_row_of_requests_that_are_much_work_lets_the_loop_go_on(lab: Any, autojump_clock: MockClock) -> None:
    beats = Metronome()

    async def look_through_much(_peer: str, _body: bytes) -> bytes:
        beats.counted(lambda: None)()
        return b""

    async with lab.node(1) as victim, lab.attacker(victim) as attacker, trio.open_nursery() as nursery:
        victim.serve("much", look_through_much, max_request=10, work=lambda: QUANTUM)
        stream = await attacker.open(PROTOCOL)
        nursery.start_soon(beats.run)
        await stream.write(
            b"".join(encode_frame(Kind.REQUEST, number, encode_named("much", b"")) for number in range(30))
        )
        await beats.until(30)
        assert beats.most <= 2
        nursery.cancel_scope.cancel()


async def test_handshakes_let_the_loop_go_on(lab: Any, autojump_clock: MockClock) -> None:
    beats = Metronome()
    async with lab.node(1) as victim, trio.open_nursery() as nursery:
        noise = victim._switch.identity.noise
        noise.secure_inbound = beats.counted(noise.secure_inbound)

        async def shake_hands(number: int) -> None:
            stream = await lab.dial_raw(victim)
            async with stream:
                await secure(stream, Identity(bytes([number]) * 32), is_dialler=True, expected=victim.peer_id)

        nursery.start_soon(beats.run)
        for number in range(30):
            nursery.start_soon(shake_hands, 100 + number)
        await beats.until(30)
        assert beats.most <= STRANGERS_SHARE.burst / PER_HANDSHAKE + 2
        nursery.cancel_scope.cancel()


async def test_the_streams_of_a_connection_that_ends_let_the_loop_go_on(lab: Any, autojump_clock: MockClock) -> None:
    beats = Metronome()
    async with lab.node(1) as victim, lab.attacker(victim) as attacker, trio.open_nursery() as nursery:
        (connection,) = victim._switch.connections[victim.peers()[0].peer]
        streams = connection.mux._streams
        for _ in range(200):
            attacker.mux.open_stream()
        while len(streams) < 200:
            await trio.lowlevel.checkpoint()
        for stream in streams.values():
            stream.drop = beats.counted(stream.drop)
        nursery.start_soon(beats.run)
        connection.end()
        await beats.until(200)
        assert beats.most <= 2 * (QUANTUM / PER_DROP + 1)
        nursery.cancel_scope.cancel()
