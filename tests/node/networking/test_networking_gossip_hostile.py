# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportUnknownVariableType=false
"""Gossip that killed, or would wear out, the stock pubsub (docs/adr/0304)."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import trio
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.validators import PUBSUB_SIGNING_PREFIX
from trio.testing import MockClock

from node.networking.libp2p.history import HISTORY_S
from node.networking.libp2p.negotiation import encode_varint, respond
from node.networking.libp2p.secure import Identity
from node.networking.limits import Rate
from node.networking.verdict import Verdict
from protocol.identity import PeerId

MESHSUB = "/meshsub/1.1.0"
TOPIC = "stoa/test"


@dataclass
class Victim:
    network: Any
    judged: list[bytes]
    got: list[bytes]


@asynccontextmanager
async def victim_of(lab: Any, **settings: Any) -> AsyncGenerator[Victim, None]:
    async with lab.node(1, **settings) as network:
        judged: list[bytes] = []
        got: list[bytes] = []

        def validate(_author: PeerId, data: bytes) -> Verdict:
            judged.append(data)
            return Verdict.REJECT if data.startswith(b"bad") else Verdict.ACCEPT

        network.subscribe(TOPIC, validate=validate, deliver=lambda _author, data: got.append(data))
        yield Victim(network, judged, got)


async def assert_alive(lab: Any, victim: Victim) -> None:
    """An honest node's message still gets through."""
    async with lab.node(90) as honest:
        honest.subscribe(TOPIC, validate=lambda _author, _data: Verdict.ACCEPT, deliver=lambda _author, _data: None)
        await honest.connect(victim.network.addresses[0])
        await trio.sleep(3)
        await honest.publish(TOPIC, b"honest")
        await trio.sleep(3)
        assert b"honest" in victim.got


def framed(rpc: rpc_pb2.RPC) -> bytes:
    data = rpc.SerializeToString()
    return encode_varint(len(data)) + data


def message(identity: Identity, data: bytes, number: int, /, **changes: Any) -> rpc_pb2.Message:
    """A message as its author signs it, and then changed."""
    made = rpc_pb2.Message(data=data, topicIDs=[TOPIC], from_id=identity.id.to_bytes(), seqno=number.to_bytes(8))
    made.signature = identity.key_pair.private_key.sign(PUBSUB_SIGNING_PREFIX.encode() + made.SerializeToString())
    for field, value in changes.items():
        if field == "topicIDs":
            del made.topicIDs[:]
            made.topicIDs.extend(value)
        else:
            setattr(made, field, value)
    return made


AUTHOR = Identity(b"\xc8" * 32)  # the attacker of the laboratory
HASHED_ID = ID(b"\x12\x20" + b"\x07" * 32).to_bytes()

MALFORMED = {
    "garbage": b"\x05\xff\xff\xff\xff\xff",
    "a length without end": b"\xff\xff\xff\xff\xff\xff",
    "a frame of 8 MB": encode_varint(8 * 1024 * 1024),
    "a hashed author with a garbage key": framed(
        rpc_pb2.RPC(publish=[message(AUTHOR, b"x", 1, from_id=HASHED_ID, key=b"\xff\xfe garbage")])
    ),
    "no author": framed(rpc_pb2.RPC(publish=[message(AUTHOR, b"x", 1, from_id=b"")])),
    "an author of 4 KB": framed(rpc_pb2.RPC(publish=[message(AUTHOR, b"x", 1, from_id=bytes(4096))])),
    "an author that is no curve point": framed(
        rpc_pb2.RPC(publish=[message(AUTHOR, b"x", 1, from_id=bytes.fromhex("002408011220") + b"\xff" * 32)])
    ),
    "no signature": framed(rpc_pb2.RPC(publish=[message(AUTHOR, b"x", 1, signature=b"")])),
    "another's data": framed(rpc_pb2.RPC(publish=[message(AUTHOR, b"x", 1, data=b"y")])),
    "a short sequence number": framed(rpc_pb2.RPC(publish=[message(AUTHOR, b"x", 1, seqno=b"\1")])),
    "no topic": framed(rpc_pb2.RPC(publish=[message(AUTHOR, b"x", 1, topicIDs=[])])),
    "two topics": framed(rpc_pb2.RPC(publish=[message(AUTHOR, b"x", 1, topicIDs=[TOPIC, "b"])])),
    "data over the limit": framed(rpc_pb2.RPC(publish=[message(AUTHOR, bytes(64 * 1024 + 1), 1)])),
    "65 subscriptions": framed(
        rpc_pb2.RPC(subscriptions=[rpc_pb2.RPC.SubOpts(subscribe=True, topicid=str(n)) for n in range(65)])
    ),
    "300 grafts": framed(
        rpc_pb2.RPC(control=rpc_pb2.ControlMessage(graft=[rpc_pb2.ControlGraft(topicID=TOPIC)] * 300))
    ),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
async def test_malformed_gossip_costs_its_stream_and_a_strike_alone(
    lab: Any, data: bytes, autojump_clock: MockClock, logged: Callable[[str], list[Any]]
) -> None:
    async with victim_of(lab) as victim, lab.attacker(victim.network) as attacker:
        stream = await attacker.open(MESHSUB)
        await stream.write(data)
        with trio.fail_after(30), pytest.raises(Exception, match="reset"):
            await stream.read()
        assert len(logged("network.misconduct")) == 1
        assert len(victim.network.peers()) == 1
        assert victim.judged == []
        await assert_alive(lab, victim)


async def test_malformed_gossip_again_and_again_ends_in_a_ban(lab: Any, autojump_clock: MockClock) -> None:
    async with victim_of(lab) as victim, lab.attacker(victim.network) as attacker:
        with trio.fail_after(30):
            while not attacker.ended.is_set():
                stream = await attacker.open(MESHSUB)
                await stream.write(MALFORMED["garbage"])
                with pytest.raises(Exception, match="reset"):
                    await stream.read()
                await trio.sleep(0.1)
        assert victim.network.peers() == ()
        await assert_alive(lab, victim)


async def test_forwarding_what_is_rejected_again_and_again_ends_in_a_ban(lab: Any, autojump_clock: MockClock) -> None:
    async with victim_of(lab) as victim, lab.attacker(victim.network) as attacker:
        stream = await attacker.open(MESHSUB)
        for number in range(11):
            await stream.write(framed(rpc_pb2.RPC(publish=[message(AUTHOR, b"bad %d" % number, number + 1)])))
        with trio.fail_after(30):
            await attacker.ended.wait()
        assert len(victim.judged) == 11
        assert victim.got == []


async def test_copies_of_a_message_are_judged_and_delivered_once(lab: Any, autojump_clock: MockClock) -> None:
    async with victim_of(lab) as victim, lab.attacker(victim.network) as attacker:
        stream = await attacker.open(MESHSUB)
        await stream.write(framed(rpc_pb2.RPC(publish=[message(AUTHOR, b"once", 1)] * 50)) * 3)
        await trio.sleep(1)
        assert victim.judged == [b"once"]
        assert victim.got == [b"once"]
        assert len(victim.network.peers()) == 1


async def test_a_forged_copy_does_not_shut_out_the_genuine_message(lab: Any, autojump_clock: MockClock) -> None:
    author = Identity(b"\x55" * 32)
    async with victim_of(lab) as victim, lab.attacker(victim.network) as attacker:
        stream = await attacker.open(MESHSUB)
        await stream.write(framed(rpc_pb2.RPC(publish=[message(author, b"forged", 1, signature=bytes(64))])))
        await trio.sleep(1)
        stream = await attacker.open(MESHSUB)
        await stream.write(framed(rpc_pb2.RPC(publish=[message(author, b"genuine", 1)])))
        await trio.sleep(1)
        assert victim.got == [b"genuine"]


async def test_a_flood_is_cut_at_the_rate_of_the_author(lab: Any, autojump_clock: MockClock) -> None:
    async with victim_of(lab, author_rate=Rate(per_s=1, burst=10)) as victim:  # noqa: SIM117
        async with lab.attacker(victim.network) as attacker:
            stream = await attacker.open(MESHSUB)
            for number in range(100):
                await stream.write(framed(rpc_pb2.RPC(publish=[message(AUTHOR, bytes([number]), number + 1)])))
            await trio.sleep(0.5)
            assert len(victim.got) == 10 + HISTORY_S  # what he may have said while a link stalled


async def test_a_flood_of_one_peer_is_cut_before_its_signatures_are_checked(
    lab: Any, autojump_clock: MockClock
) -> None:
    async with victim_of(lab, gossip_rate=Rate(per_s=1, burst=20)) as victim:  # noqa: SIM117
        async with lab.attacker(victim.network) as attacker:
            stream = await attacker.open(MESHSUB)
            for number in range(100):
                await stream.write(framed(rpc_pb2.RPC(publish=[message(AUTHOR, bytes([number]), number + 1)])))
            await trio.sleep(0.5)
            assert len(victim.got) == 20
            await trio.sleep(60)
            await assert_alive(lab, victim)


async def test_a_peer_that_grafts_without_serving_pubsub_is_not_in_the_mesh(
    lab: Any, autojump_clock: MockClock
) -> None:
    async with victim_of(lab) as victim, lab.attacker(victim.network) as attacker:
        stream = await attacker.open(MESHSUB)
        subscribe = rpc_pb2.RPC.SubOpts(subscribe=True, topicid=TOPIC)
        graft = rpc_pb2.ControlMessage(graft=[rpc_pb2.ControlGraft(topicID=TOPIC)])
        for _ in range(5):
            await stream.write(framed(rpc_pb2.RPC(subscriptions=[subscribe], control=graft)))
            await trio.sleep(0.1)
            (info,) = victim.network.peers()
            assert info.topics == ()
            await trio.sleep(2)


async def test_topics_that_a_peer_invents_grow_no_table(lab: Any, autojump_clock: MockClock) -> None:
    async with victim_of(lab) as victim, lab.attacker(victim.network) as attacker:
        stream = await attacker.open(MESHSUB)
        for start in range(0, 1000, 50):
            names = [f"invented {number}" for number in range(start, start + 50)]
            control = rpc_pb2.ControlMessage(
                graft=[rpc_pb2.ControlGraft(topicID=name) for name in names],
                prune=[rpc_pb2.ControlPrune(topicID=name, backoff=2**63) for name in names],
                ihave=[rpc_pb2.ControlIHave(topicID=name, messageIDs=[b"x"]) for name in names],
            )
            subscriptions = [rpc_pb2.RPC.SubOpts(subscribe=True, topicid=name) for name in names]
            await stream.write(framed(rpc_pb2.RPC(control=control, subscriptions=subscriptions)))
        await trio.sleep(0.5)
        gossip = victim.network._gossip
        router = gossip.router
        assert set(router.back_off) <= {TOPIC}
        assert not any("invented" in topic for topics in router.ihave_message_limits.values() for topic in topics)
        assert not any("invented" in topic for topics in router.graft_flood_tracking.values() for topic in topics)
        assert len(gossip.peer_topics) <= 64 + 1
        await assert_alive(lab, victim)


async def test_requests_for_messages_that_do_not_exist_are_harmless(lab: Any, autojump_clock: MockClock) -> None:
    async with victim_of(lab) as victim, lab.attacker(victim.network) as attacker:
        stream = await attacker.open(MESHSUB)
        ids = [number.to_bytes(40) for number in range(1000)]
        control = rpc_pb2.ControlMessage(
            iwant=[rpc_pb2.ControlIWant(messageIDs=ids)],
            ihave=[rpc_pb2.ControlIHave(topicID=TOPIC, messageIDs=ids)],
        )
        for _ in range(50):
            await stream.write(framed(rpc_pb2.RPC(control=control)))
        await trio.sleep(5)
        await assert_alive(lab, victim)


async def test_a_subscriber_that_does_not_read_holds_up_nobody(lab: Any, autojump_clock: MockClock) -> None:
    async with victim_of(lab) as victim, lab.attacker(victim.network) as attacker:
        stream = await attacker.open(MESHSUB)
        subscribe = rpc_pb2.RPC.SubOpts(subscribe=True, topicid=TOPIC)
        await stream.write(framed(rpc_pb2.RPC(subscriptions=[subscribe])))
        await trio.sleep(1)
        (pubsub,) = attacker.inbound  # the victim's own stream to us, which we never read
        async with lab.node(90) as honest:
            got: list[bytes] = []
            honest.subscribe(
                TOPIC,
                validate=lambda _author, _data: Verdict.ACCEPT,
                deliver=lambda _author, data: got.append(data),
            )
            await honest.connect(victim.network.addresses[0])
            await trio.sleep(3)
            for number in range(400):
                await victim.network.publish(TOPIC, bytes(4000) + number.to_bytes(2))
            await trio.sleep(60)
            assert len(got) == 400
        assert not pubsub.is_reset or attacker.inbound


async def test_a_peer_that_drops_every_stream_of_ours_is_greeted_again_once_a_second_at_most(
    lab: Any, autojump_clock: MockClock
) -> None:
    async with victim_of(lab) as victim, lab.attacker(victim.network) as attacker:

        async def drop(stream: Any) -> None:
            await respond(stream, [MESHSUB])
            await stream.read()  # the greeting: the victim takes us for a member of its topics
            stream.reset()

        stream = await attacker.open(MESHSUB)
        subscribe = rpc_pb2.RPC.SubOpts(subscribe=True, topicid=TOPIC)
        await stream.write(framed(rpc_pb2.RPC(subscriptions=[subscribe])))
        dropped = 0
        async with trio.open_nursery() as nursery:
            for _ in range(300):  # each message would be reason enough to open another stream
                while attacker.inbound:
                    nursery.start_soon(drop, attacker.inbound.pop())
                    dropped += 1
                await victim.network.publish(TOPIC, b"to all")
                await trio.sleep(0.1)
            nursery.cancel_scope.cancel()
        assert 10 <= dropped <= 31
        await assert_alive(lab, victim)
