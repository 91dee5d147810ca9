"""Attacks on gossip: malformed, forged, invented, repeated, and too much of what is sound."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

import trio
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.validators import PUBSUB_SIGNING_PREFIX

from node.networking.libp2p.negotiation import encode_varint
from node.networking.libp2p.secure import Identity
from node.networking.libp2p.yamux import MuxedStream
from protocol.wire.topics import MarketTopic
from tests.assault.aim import Aim, Line
from tests.assault.sham_offers import sham_offer

MESHSUB: Final = "/meshsub/1.1.0"
RPC: Final = cast("Any", rpc_pb2)
HASHED_ID: Final = ID(b"\x12\x20" + b"\x07" * 32).to_bytes()
PREPARED: Final = 200
"""Messages signed beforehand, so that an attacker sends faster than anybody signs."""


def framed(rpc: Any) -> bytes:
    """Return an RPC as it goes over the wire."""
    data: bytes = rpc.SerializeToString()
    return encode_varint(len(data)) + data


def message(identity: Identity, topic: str, data: bytes, number: int) -> Any:
    """Return a message as its author signs it."""
    made = RPC.Message(data=data, topicIDs=[topic], from_id=identity.id.to_bytes(), seqno=number.to_bytes(8))
    made.signature = identity.key_pair.private_key.sign(PUBSUB_SIGNING_PREFIX.encode() + made.SerializeToString())
    return made


def changed(made: Any, **changes: Any) -> Any:
    """Return the message with fields that its author did not sign."""
    copy = RPC.Message()
    copy.CopyFrom(made)
    for name, value in changes.items():
        setattr(copy, name, value)
    return copy


async def malformed_gossip(aim: Aim) -> None:
    """Each of the inputs that ended the stock host, and their kin."""
    topic = aim.topic(MarketTopic.OFFERS)
    author = aim.identity()
    sound = message(author, topic, b"x", 1)
    shapes = [
        b"\x05\xff\xff\xff\xff\xff",
        b"\xff" * 6,
        encode_varint(8 * 1024 * 1024),
        framed(RPC.RPC(publish=[changed(sound, from_id=HASHED_ID, key=b"\xff\xfe garbage")])),
        framed(RPC.RPC(publish=[changed(sound, from_id=b"")])),
        framed(RPC.RPC(publish=[changed(sound, from_id=bytes(4096))])),
        framed(RPC.RPC(publish=[changed(sound, from_id=bytes.fromhex("002408011220") + b"\xff" * 32)])),
        framed(RPC.RPC(publish=[changed(sound, signature=b"")])),
        framed(RPC.RPC(publish=[changed(sound, seqno=b"\1")])),
        framed(RPC.RPC(publish=[message(author, topic, bytes(64 * 1024 + 1), 1)])),
        framed(RPC.RPC(subscriptions=[RPC.RPC.SubOpts(subscribe=True, topicid=str(n)) for n in range(65)])),
        framed(RPC.RPC(control=RPC.ControlMessage(graft=[RPC.ControlGraft(topicID=topic)] * 300))),
    ]

    async def attempt(stream: MuxedStream, _line: Line) -> None:
        await stream.write(aim.chance.choice((*shapes, aim.chance.randbytes(aim.chance.randrange(1, 2048)))))
        aim.done["messages"] += 1
        with trio.move_on_after(0.5):
            await stream.read()

    await _on_gossip(aim, attempt)


async def invalid_signatures(aim: Aim) -> None:
    """Messages that nobody signed, as fast as they can be written, under the names of authors without number."""
    topics = [aim.topic(topic) for topic in MarketTopic]
    made = [
        framed(
            RPC.RPC(publish=[changed(message(aim.identity(), topic, aim.chance.randbytes(200), number), data=b"other")])
        )
        for number in range(PREPARED // len(topics))
        for topic in topics
    ]

    async def attempt(stream: MuxedStream, _line: Line) -> None:
        await stream.write(b"".join(made))
        aim.done["messages"] += len(made)

    await _on_gossip(aim, attempt, workers=6)


async def gossip_flood(aim: Aim) -> None:
    """Messages that are signed as gossip must be, and carry garbage or forged envelopes."""
    topics = [aim.topic(topic) for topic in MarketTopic]

    async def attempt(stream: MuxedStream, line: Line) -> None:
        for number in range(PREPARED):
            made = message(line.identity, aim.chance.choice(topics), _garbage(aim), aim.chance.getrandbits(63))
            await stream.write(framed(RPC.RPC(publish=[made])))
            aim.done["messages"] += 1
            if number % 20 == 0:
                await trio.lowlevel.checkpoint()

    await _on_gossip(aim, attempt)


def _garbage(aim: Aim) -> bytes:
    return aim.chance.choice(
        (
            aim.chance.randbytes(aim.chance.randrange(1, 400)),
            b"\x91" * 400 + b"\xc0",  # a list in a list in a list
            b"\x92\x63\xc0",  # a kind that nobody knows: no fault of whoever relays it
            b"\x92\x01" + b"\xdd\xff\xff\xff\xff",  # four billion entries, it says
        )
    )


async def sound_offers(aim: Aim) -> None:
    """Offers without a fault, signed by a new wallet each: nothing in them is wrong but their number."""
    topic = aim.topic(MarketTopic.OFFERS)

    async def attempt(stream: MuxedStream, line: Line) -> None:
        for _ in range(20):
            made = message(line.identity, topic, sham_offer(aim), aim.chance.getrandbits(63))
            await stream.write(framed(RPC.RPC(publish=[made])))
            aim.done["offers"] += 1
        await trio.sleep(1)  # as fast as one author may

    await _on_gossip(aim, attempt, workers=8)


async def repeated_sequences(aim: Aim) -> None:
    """The same messages again and again, each as if its author had just started anew."""
    topic = aim.topic(MarketTopic.BIDS)
    author = aim.identity()
    made = framed(RPC.RPC(publish=[message(author, topic, b"\x92\x63\xc0", number) for number in range(100)]))

    async def attempt(stream: MuxedStream, _line: Line) -> None:
        await stream.write(made)
        aim.done["messages"] += 100

    await _on_gossip(aim, attempt)


async def graft_ghosts(aim: Aim) -> None:
    """Peers that join every mesh and serve no gossip, invent topics, and ask for messages that never were."""
    topics = [aim.topic(topic) for topic in MarketTopic]

    async def attempt(stream: MuxedStream, _line: Line) -> None:
        invented = [f"{aim.chance.getrandbits(64):x}" * 8 for _ in range(30)]
        ids = [aim.chance.randbytes(46) for _ in range(500)]
        control = RPC.ControlMessage(
            graft=[RPC.ControlGraft(topicID=topic) for topic in (*topics, *invented)],
            prune=[RPC.ControlPrune(topicID=topic, backoff=2**40) for topic in invented],
            ihave=[RPC.ControlIHave(topicID=topic, messageIDs=ids) for topic in topics],
            iwant=[RPC.ControlIWant(messageIDs=ids)],
        )
        names = (*topics, *invented)
        subscriptions = [RPC.RPC.SubOpts(subscribe=True, topicid=topic) for topic in names]
        await stream.write(framed(RPC.RPC(subscriptions=subscriptions, control=control)))
        aim.done["messages"] += 1

    await _on_gossip(aim, attempt, workers=20)


async def _on_gossip(aim: Aim, attempt: Callable[[MuxedStream, Line], Awaitable[None]], *, workers: int = 4) -> None:
    async def connect() -> None:
        async with aim.muxed() as line:
            stream = await line.open(MESHSUB)
            while True:
                if stream.is_reset:
                    stream = await line.open(MESHSUB)
                await attempt(stream, line)
                await trio.lowlevel.checkpoint()

    await aim.again_and_again(connect, workers=workers)
