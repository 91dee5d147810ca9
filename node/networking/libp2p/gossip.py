"""Gossip: py-libp2p's pubsub on our switch, with the faults of version 0.8.1 contained (docs/adr/0304).

What is overridden here and in pubsub_parts.py, and why (provoked in test_networking_gossip_hostile.py):
- the read loop: malformed protobuf, and an author whose id is the hash of a key that does not parse, end the host; each
  message became a task, so a peer could start any number; and bytes were read one by one;
- `push_msg`: a validator that raises ends the host, messages were marked as seen after they were validated, so that
  copies which arrive meanwhile were validated and delivered again;
- the sequence numbers: they began at the second of the start, so that a node that restarts within it repeats numbers
  that its peers have seen, and its messages vanish;
- the table of seen messages: unbounded, on the wall clock, with a thread of its own;
- the sending loop: a peer that does not read holds its queue and its stream for ever;
- the death of the stream that we write on, while the peer stays connected (docs/adr/1323, 1343): it was noticed at the
  next message; what was queued was lost, and with it the peer's subscriptions, which it never tells twice.
"""

import random
from collections.abc import Callable
from typing import Any, Final, cast

import structlog
import trio
from google.protobuf.message import DecodeError
from libp2p.crypto.ed25519 import Ed25519PublicKey
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.pubsub.rpc_queue import RpcQueue
from libp2p.pubsub.validators import PUBSUB_SIGNING_PREFIX

from node.networking.errors import MessageTooLarge
from node.networking.libp2p.connection import ProtocolStream
from node.networking.libp2p.history import HISTORY_S
from node.networking.libp2p.pubsub_parts import MAX_RPC_BYTES, PubsubHost, PubsubStream, PubsubTasks
from node.networking.libp2p.router import MESHSUB, Router
from node.networking.libp2p.secure import Identity
from node.networking.libp2p.switch import Switch
from node.networking.limits import Buckets, Rate, TokenBucket
from node.networking.settings import NetworkSettings
from node.networking.turns import PER_CONTROL, PER_GOSSIP, PER_JUDGEMENT
from node.networking.verdict import Verdict
from protocol.errors import ProtocolError
from protocol.identity import PeerId
from protocol.node_record import ED25519_ID_PREFIX, HOST_KEY_BYTES, peer_id_of

log = structlog.get_logger(__name__)
REGREET_S: Final = 1.0
"""Well below the three seconds of messages that are said again to who is greeted again."""
MAX_SUBSCRIPTIONS_PER_RPC: Final = 64
MAX_SUBSCRIPTIONS_PER_PEER: Final = 64
SEQUENCE_BYTES: Final = 8
ED25519_SIGNATURE_BYTES: Final = 64

TopicValidator = Callable[[PeerId, bytes], Verdict]
TopicSink = Callable[[PeerId, bytes], None]


class Gossip(Pubsub):
    """Topics of this node."""

    def __init__(
        self,
        switch: Switch,
        settings: NetworkSettings,
        nursery: trio.Nursery,
        *,
        sequence_start: int,
        rng: random.Random,
    ) -> None:
        router = Router(rng)
        super().__init__(
            cast("Any", PubsubHost(switch)),
            router,
            strict_signing=True,
            max_subscriptions_per_rpc=MAX_SUBSCRIPTIONS_PER_RPC,
            max_subscriptions_per_peer=MAX_SUBSCRIPTIONS_PER_PEER,
        )
        self.counter = sequence_start
        self._manager = cast("Any", PubsubTasks(nursery))
        self._switch = switch
        self._settings = settings
        self._identity: Identity = switch.identity
        self._validators: dict[str, TopicValidator] = {}
        self._sinks: dict[str, TopicSink] = {}
        self._forwarded: Buckets[tuple[PeerId, str]] = Buckets(settings.gossip_rate)
        # After a stall, what an author said meanwhile arrives at once.
        author = settings.author_rate
        patient = Rate(per_s=author.per_s, burst=author.burst + author.per_s * HISTORY_S)
        self._authored: Buckets[tuple[PeerId, str]] = Buckets(patient)
        self._own_pace: dict[str, TokenBucket] = {}
        self._inbound: dict[PeerId, ProtocolStream] = {}
        switch.handle(MESHSUB, self._serve)
        switch.on_connected.append(self._greet)
        switch.on_disconnected.append(self._forget)
        nursery.start_soon(router.heartbeat)

    async def join(self, topic: str, validate: TopicValidator, sink: TopicSink) -> None:
        """Take part in `topic`: `sink` gets what `validate` accepts, from others only."""
        self._validators[topic] = validate
        self._sinks[topic] = sink
        await self.subscribe(topic)

    async def quit(self, topic: str) -> None:
        """Take no more part in `topic`."""
        await self.unsubscribe(topic)
        self._validators.pop(topic, None)
        self._sinks.pop(topic, None)

    async def say(self, topic: str, data: bytes) -> None:
        """Publish a message of ours, at the pace that others allow an author.

        Raises:
            MessageTooLarge: `data` is over the limit.
        """
        limit = self._settings.max_gossip_bytes
        if len(data) > limit:
            raise MessageTooLarge(f"a message on {topic}", size=len(data), limit=limit)
        await self._own_pace.setdefault(topic, TokenBucket(self._settings.author_rate)).wait()
        message = rpc_pb2.Message(
            data=data, topicIDs=[topic], from_id=self._identity.id.to_bytes(), seqno=self._next_seqno()
        )
        unsigned = PUBSUB_SIGNING_PREFIX.encode() + message.SerializeToString()
        message.signature = self._identity.key_pair.private_key.sign(unsigned)
        self._mark_msg_seen(message)
        await self.router.publish(self._identity.id, message)

    def mesh_peers(self, topic: str) -> frozenset[PeerId]:
        """Peers to which messages of `topic` go directly."""
        router = cast("Router", self.router)
        return frozenset(PeerId(peer.to_base58()) for peer in router.mesh.get(topic, ()))

    # Peers come and go

    def _greet(self, peer: PeerId) -> None:
        self.manager.run_task(self._handle_new_peer_with_retry, ID.from_base58(peer))

    def _forget(self, peer: PeerId) -> None:
        self._inbound.pop(peer, None)
        self._handle_dead_peer(ID.from_base58(peer))

    async def handle_sending_messages(self, peer_id: ID, stream: Any, queue: RpcQueue) -> None:
        """Write what is queued for a peer; what the stream broke on is owed."""
        while (rpc := await queue.pop()) is not None:
            if not await self.write_msg(stream, rpc):
                cast("Router", self.router).owed.note(peer_id, rpc)
                return

    async def _handle_new_peer(self, peer_id: ID) -> None:
        before = self.peers.get(peer_id)
        await super()._handle_new_peer(peer_id)
        stream = cast("Any", self.peers.get(peer_id))
        if stream is not None and stream is not before:
            self.manager.run_task(self._watch, peer_id, stream)
        if peer_id in self.peers:
            for topic in [topic for topic, members in self.peer_topics.items() if peer_id in members]:
                await self.router.on_peer_subscribed(peer_id, topic)

    async def _watch(self, peer_id: ID, stream: PubsubStream) -> None:
        """Notice that the connection below the stream that we write on has ended."""
        await stream.connection_ended.wait()
        if cast("Any", self.peers.get(peer_id)) is stream:
            self._handle_dead_peer(peer_id)

    def _handle_dead_peer(self, peer_id: ID) -> None:
        """Let go of a peer that we can't write to, owing it what was queued; if it is still connected, greet it again.

        What it is subscribed to was told on a stream of its own. That it has ended is for `_serve` to notice.
        """
        queue = self.peer_queues.get(peer_id)
        if not self._peer_is_connected(peer_id):
            super()._handle_dead_peer(peer_id)
        else:
            if self.peers.pop(peer_id, None) is not None:
                self.peer_queues.pop(peer_id).close()
                self.router.remove_peer(peer_id)
                self._replayed_recent_topics.pop(peer_id, None)  # what is recent is said again at once
            self._schedule_peer_stream_retry(peer_id)
        router = cast("Router", self.router)
        router.note_left(peer_id)
        while queue is not None and (rpc := queue._queue.pop()) is not None:  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
            router.owed.note(peer_id, rpc)

    async def _peer_stream_retry_task(self, peer_id: ID) -> None:
        """Greet a peer again, after a pause: one that drops each stream of ours would have us open them without end."""
        await trio.sleep(REGREET_S)
        await super()._peer_stream_retry_task(peer_id)

    def get_hello_packet(self) -> rpc_pb2.RPC:
        """Tell our topics, without a peer record."""
        topics = [rpc_pb2.RPC.SubOpts(subscribe=True, topicid=topic) for topic in self.topic_ids]
        return rpc_pb2.RPC(subscriptions=topics)

    def _build_announce_rpc(self, topic_id: str, subscribe: bool) -> tuple[rpc_pb2.RPC, rpc_pb2.RPC.SubOpts]:  # noqa: FBT001 - stock signature
        change = rpc_pb2.RPC.SubOpts(subscribe=subscribe, topicid=topic_id)
        return rpc_pb2.RPC(subscriptions=[change]), change

    # What peers send

    async def _serve(self, stream: ProtocolStream) -> None:
        previous = self._inbound.get(stream.peer)
        if previous is not None:
            previous.reset()  # one a peer: the newest is the one that it writes to
        self._inbound[stream.peer] = stream
        peer_id = ID.from_base58(stream.peer)
        try:
            await self._read(stream, peer_id)
        finally:
            if self._inbound.get(stream.peer) is stream:
                del self._inbound[stream.peer]
                self._forget_all_subscriptions(peer_id)
                for members in cast("Router", self.router).mesh.values():
                    members.discard(peer_id)

    async def _read(self, stream: ProtocolStream, peer_id: ID) -> None:
        buffer = bytearray()
        counted = 0
        try:
            while True:
                start = 0
                while (frame := _frame_at(buffer, start)) is not None:
                    body_start, start = frame
                    await self._handle_frame(bytes(memoryview(buffer)[body_start:start]), stream, peer_id)
                del buffer[:start]
                chunk = await stream.read()
                if not chunk:
                    return
                buffer += chunk
                stream.hold(len(buffer) - counted)
                counted = len(buffer)
        finally:
            stream.hold(-counted)

    async def _handle_frame(self, frame: bytes, stream: ProtocolStream, peer_id: ID) -> None:
        try:
            rpc = rpc_pb2.RPC.FromString(frame)
        except DecodeError as error:
            raise ProtocolError("malformed gossip") from error
        for message in rpc.publish:
            await self._receive(message, stream, peer_id)
        if len(rpc.subscriptions) > self.max_subscriptions_per_rpc:
            raise ProtocolError(f"{len(rpc.subscriptions)} subscriptions in one message")
        for change in rpc.subscriptions:
            await stream.spend(PER_CONTROL)
            if len(change.topicid) <= 256:
                self.handle_subscription(peer_id, change)
        if rpc.HasField("control"):
            try:
                await cast("Router", self.router).handle_rpc(rpc, peer_id, stream.spend)
            except ValueError as error:
                raise ProtocolError(str(error)) from error

    async def _receive(self, message: rpc_pb2.Message, stream: ProtocolStream, forwarder_id: ID) -> None:
        """Check, deliver and relay one message; the cheap checks first."""
        forwarder = stream.peer
        await stream.spend(PER_GOSSIP)
        if len(message.topicIDs) != 1:
            raise ProtocolError("a message that is not on exactly one topic")
        topic = message.topicIDs[0]
        if topic not in self._validators:
            return
        if not self._forwarded.take((forwarder, topic)):
            self._switch.strike(forwarder, f"floods {topic}", weight=0.01)
            return
        if self._is_msg_seen(message) or message.from_id == self._identity.id.to_bytes():
            return
        await stream.spend(PER_JUDGEMENT)
        if self._is_msg_seen(message):  # it came from another peer, while this one waited for its turn
            return
        author = self._verify_author(message)
        # Seen only now: else a forged copy would shut out the real message. And before the validator: else copies
        # that arrive while the message is relayed would be relayed again.
        self._mark_msg_seen(message)
        if not self._authored.take((author, topic)):
            return
        match self._judge(topic, author, message.data):
            case Verdict.ACCEPT:
                self._sinks[topic](author, message.data)
                await self.router.publish(forwarder_id, message)
            case Verdict.REJECT:
                self._switch.strike(forwarder, f"forwards what {topic} rejects")
            case Verdict.IGNORE:
                pass

    def _verify_author(self, message: rpc_pb2.Message) -> PeerId:
        """Return who wrote and signed the message. Only ids that contain their key are authors here."""
        if len(message.data) > self._settings.max_gossip_bytes:
            raise ProtocolError(f"a gossip message of {len(message.data)} bytes")
        if len(message.seqno) != SEQUENCE_BYTES or len(message.signature) != ED25519_SIGNATURE_BYTES:
            raise ProtocolError("a gossip message without a sequence number or signature")
        key = message.from_id.removeprefix(ED25519_ID_PREFIX)
        if len(key) != HOST_KEY_BYTES or len(message.from_id) != len(ED25519_ID_PREFIX) + HOST_KEY_BYTES:
            raise ProtocolError("a gossip message whose author's id does not contain a key")
        unsigned = rpc_pb2.Message(
            data=message.data, topicIDs=message.topicIDs, from_id=message.from_id, seqno=message.seqno
        )
        payload = PUBSUB_SIGNING_PREFIX.encode() + unsigned.SerializeToString()
        if not Ed25519PublicKey.from_bytes(key).verify(payload, message.signature):
            raise ProtocolError("a gossip message that its author did not sign")
        return peer_id_of(key)

    def _judge(self, topic: str, author: PeerId, data: bytes) -> Verdict:
        try:
            return self._validators[topic](author, data)
        except ProtocolError as error:
            log.info("network.gossip_rejected", topic=topic, author=author, why=str(error))
        except Exception:
            # A validator of ours with a bug that a message reaches: the message is refused, the node lives.
            log.exception("network.validator_crashed", topic=topic, author=author)
        return Verdict.REJECT


def _frame_at(buffer: bytearray, start: int) -> tuple[int, int] | None:
    """Return where the body of the frame at `start` begins and ends, or None while it is not complete."""
    length = 0
    for index, byte in enumerate(buffer[start : start + 4]):
        length |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if length > MAX_RPC_BYTES:
                raise ProtocolError(f"a gossip frame of {length} bytes")
            body = start + index + 1
            return (body, body + length) if body + length <= len(buffer) else None
    if len(buffer) - start >= 4:
        raise ProtocolError("a gossip frame whose length does not end")
    return None
