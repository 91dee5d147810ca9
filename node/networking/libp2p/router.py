"""GossipSub 1.1 routing, with the faults of py-libp2p 0.8.1's router contained (docs/adr/0304).

What is overridden, and why (provoked in tests/node/networking/test_networking_gossip_hostile.py):
- `handle_rpc`: an exception while control messages are handled ends the host; topics that a peer invents grow tables.
- `handle_graft`, `mesh_heartbeat`: a peer that grafts without serving pubsub stays in the mesh for ever.
- `_emit_control_msgs`: grafts of one peer were also sent to the next ones.
- `publish`: queued each message for each peer outside the topic, and kept the time of every delivery, for ever.
- `handle_ihave`, `handle_iwant`: unbounded in the ids that one control message may carry.
- the cache of messages: unbounded in bytes, and with no limit on how often one peer is given the same message.
- `_handle_dropped_rpc`: what a full queue drops is lost to a peer of the mesh for good; here it is offered again.
- `heartbeat`: an exception ends it, and with it the mesh; the "adaptive" parts of later versions are left out.
- everything that attached a freshly signed peer record to each message, which the receiver had to verify.
"""

import random
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, Final, cast

import libp2p.pubsub.gossipsub as stock
import structlog
import trio
from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pb import rpc_pb2

from node.networking.libp2p.history import HISTORY_S, History, id_of
from node.networking.libp2p.owed import Owed
from node.networking.turns import PER_CONTROL, PER_ID, Spend, spend_nothing

log = structlog.get_logger(__name__)

MESHSUB: Final = TProtocol("/meshsub/1.1.0")
DEGREE: Final = 6
DEGREE_LOW: Final = 4
DEGREE_HIGH: Final = 12
HEARTBEAT_S: Final = 1
MAX_CONTROL_ENTRIES: Final = 256
"""Grafts, prunes and lists of ids in one RPC. There are about ten topics, so honest peers stay far below."""
MAX_IDS: Final = 512
"""Message ids in one list: more than our own history holds at the rates that we accept."""
MAX_LEFT: Final = 1024
"""Peers of which it is remembered that our stream to them broke."""
ROOM: Final = 64
"""A queue with fewer messages waiting (of 256) has room for what its peer missed."""
_EPOCH: Final = 1_000_000_000


class _TrioTime:
    """Stands in for the `time` module inside the stock router, which measures back-offs on the wall clock.

    So they run on virtual time in tests, and a wall clock that jumps changes nothing. Far from zero, for the router
    takes a time of zero for "just now".
    """

    @staticmethod
    def time() -> float:
        """Return seconds of trio's clock, or of the wall clock outside of trio (at import)."""
        return _EPOCH + trio.current_time() if trio.lowlevel.in_trio_run() else time.time()


stock.time = _TrioTime  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]


class Router(GossipSub):
    """The mesh of this node on each topic."""

    def __init__(self, rng: random.Random) -> None:
        """Configure the stock router: what no test has shown to be of use is off."""
        super().__init__(
            protocols=[MESHSUB],
            degree=DEGREE,
            degree_low=DEGREE_LOW,
            degree_high=DEGREE_HIGH,
            heartbeat_interval=HEARTBEAT_S,
            heartbeat_initial_delay=0.1,
            do_px=False,
            adaptive_gossip_enabled=False,
            spam_protection_enabled=False,
            eclipse_protection_enabled=False,
        )
        self._rng = rng
        self.history = History()
        self.mcache = cast("Any", self.history)
        self.owed = Owed(self.history)
        self._left: OrderedDict[ID, float] = OrderedDict()
        self._unheard: dict[bytes, None] = {}

    def note_left(self, peer: ID) -> None:
        """Our stream to `peer` broke: if it comes back soon, it is told what it missed."""
        self._left[peer] = trio.current_time()
        self._left.move_to_end(peer)
        if len(self._left) > MAX_LEFT:  # new identities cost nothing: only those that broke off first are forgotten
            self._left.popitem(last=False)

    async def heartbeat(self) -> None:
        """Keep the mesh for ever."""
        await trio.sleep(self.heartbeat_initial_delay)
        while True:
            try:
                await self._beat()
            except Exception:
                # The edge of the library: its state comes from peers, and a node without heartbeat goes deaf slowly.
                log.exception("network.heartbeat_crashed")
            await trio.sleep(HEARTBEAT_S)

    async def _beat(self) -> None:
        grafts, prunes = self.mesh_heartbeat()
        self.fanout_heartbeat()
        await self._emit_control_msgs(grafts, prunes, self.gossip_heartbeat())
        await self._offer_what_is_owed()
        self.history.shift()
        self.owed.tidy()
        since = trio.current_time() - HISTORY_S
        while self._left and next(iter(self._left.values())) < since:
            self._left.popitem(last=False)
        self._unheard = {each: None for each in self._unheard if self.history.get(each) is not None}
        self._periodic_security_cleanup()
        now = _TrioTime.time()
        for resting in self.back_off.values():  # stock drops one only when that peer comes again
            for peer in [peer for peer, until in resting.items() if until < now]:
                del resting[peer]

    def mesh_heartbeat(self) -> Any:
        """Drop peers that we can't write to, then keep the degrees."""
        writable = self._peers()
        for members in (*self.mesh.values(), *self.fanout.values()):
            members.intersection_update(writable)
        return super().mesh_heartbeat()

    def _perform_opportunistic_grafting(self, *_args: Any, **_kwargs: Any) -> int:
        """Graft nobody: it goes by scores that nobody gives here."""
        return 0

    def _peers(self) -> Any:
        return {} if self.pubsub is None else self.pubsub.peers

    def select_from_minus(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, num_to_select: int, pool: Iterable[Any], minus: Iterable[Any]
    ) -> list[Any]:
        """Choose with the node's own source of chance, from an order that does not depend on hashing."""
        excluded = set(minus)
        candidates = sorted((peer for peer in pool if peer not in excluded), key=lambda peer: peer.to_bytes())
        return self._rng.sample(candidates, max(0, min(num_to_select, len(candidates))))

    async def _offer_what_is_owed(self) -> None:
        """Tell peers whose queues have room again the ids of what they missed."""
        for peer in self.owed:
            if not self._has_room(peer):
                continue
            offer = self.owed.next_offer(peer)
            if offer:
                ihave = [rpc_pb2.ControlIHave(topicID=topic, messageIDs=ids) for topic, ids in offer.items()]
                await self.emit_control_message(rpc_pb2.ControlMessage(ihave=ihave), peer)

    def _has_room(self, peer: ID) -> bool:
        queue = None if self.pubsub is None else self.pubsub.peer_queues.get(peer)
        return queue is not None and len(queue) < ROOM

    def _handle_dropped_rpc(self, peer_id: ID, rpc: rpc_pb2.RPC, reason: str) -> None:
        super()._handle_dropped_rpc(peer_id, rpc, reason)
        self.owed.note(peer_id, rpc)

    async def handle_rpc(self, rpc: rpc_pb2.RPC, sender_peer_id: ID, spend: Spend = spend_nothing) -> None:
        """Act on control messages about topics that we are in, as many as an honest peer would send.

        Args:
            rpc: As decoded.
            sender_peer_id: Who sent it.
            spend: Gets the work that it causes, before it is done.

        Raises:
            ValueError: More than that.
        """
        control = rpc.control
        if len(control.ihave) + len(control.iwant) + len(control.graft) + len(control.prune) > MAX_CONTROL_ENTRIES:
            raise ValueError("too many control messages in one RPC")
        for ihave in control.ihave:
            await spend(PER_CONTROL + PER_ID * len(ihave.messageIDs))
            if ihave.topicID in self.mesh:
                await self.handle_ihave(ihave, sender_peer_id)
        for iwant in control.iwant:
            await spend(PER_CONTROL + PER_ID * len(iwant.messageIDs))
            await self.handle_iwant(iwant, sender_peer_id)
        for graft in control.graft:
            await spend(PER_CONTROL)
            await self.handle_graft(graft, sender_peer_id)
        for prune in control.prune:
            await spend(PER_CONTROL)
            if prune.topicID in self.mesh:
                await self.handle_prune(prune, sender_peer_id)

    async def handle_graft(self, graft_msg: rpc_pb2.ControlGraft, sender_peer_id: ID) -> None:
        """Let a peer into the mesh that we can write to."""
        if graft_msg.topicID in self.mesh and sender_peer_id in self._peers():
            await super().handle_graft(graft_msg, sender_peer_id)
        elif len(graft_msg.topicID) <= 256:
            await self.emit_prune(graft_msg.topicID, sender_peer_id, do_px=False, is_unsubscribe=False)

    async def handle_prune(self, prune_msg: rpc_pb2.ControlPrune, sender_peer_id: ID) -> None:
        """Leave a peer's mesh; it may ask for an hour of rest at most, and names no other peers to us."""
        bounded = rpc_pb2.ControlPrune(topicID=prune_msg.topicID, backoff=min(prune_msg.backoff, 3600))
        await super().handle_prune(bounded, sender_peer_id)

    async def on_peer_subscribed(self, peer_id: ID, topic: str) -> None:
        """Graft a new member of `topic` at once if the mesh is thin, but only one that we can tell so."""
        if peer_id in self._peers():
            await super().on_peer_subscribed(peer_id, topic)

    async def handle_ihave(self, ihave_msg: rpc_pb2.ControlIHave, sender_peer_id: ID) -> None:
        """Ask for what we have not seen."""
        if self.pubsub is None or not self._check_ihave_rate_limit(sender_peer_id, ihave_msg.topicID):
            return
        seen = self.pubsub.seen_messages
        wanted = [each for each in ihave_msg.messageIDs[:MAX_IDS] if not seen.has(each)]
        if wanted:
            await self.emit_iwant(wanted, sender_peer_id)

    async def handle_iwant(self, iwant_msg: rpc_pb2.ControlIWant, sender_peer_id: ID) -> None:
        """Send what we still have of what is asked."""
        if not self._check_iwant_rate_limit(sender_peer_id):
            return
        ids = dict.fromkeys(iwant_msg.messageIDs[:MAX_IDS])
        for message_id in ids:
            message = self.history.retell(message_id, sender_peer_id)
            if message is not None:
                self.send_rpc(sender_peer_id, rpc_pb2.RPC(publish=[message]))

    async def emit_iwant(self, msg_ids: Sequence[bytes], to_peer: ID) -> None:
        """Ask `to_peer` for messages."""
        wanted = rpc_pb2.ControlIWant(messageIDs=list(msg_ids))
        await self.emit_control_message(rpc_pb2.ControlMessage(iwant=[wanted]), to_peer)

    async def emit_control_message(self, control_msg: rpc_pb2.ControlMessage, to_peer: ID) -> None:
        """Queue a control message, without a peer record."""
        self.send_rpc(to_peer, rpc_pb2.RPC(control=control_msg), priority=True)

    async def _emit_control_msgs(
        self,
        peers_to_graft: dict[ID, list[str]],
        peers_to_prune: dict[ID, list[str]],
        peers_to_gossip: dict[ID, dict[str, list[bytes]]],
    ) -> None:
        for peer in {**peers_to_graft, **peers_to_prune, **peers_to_gossip}:
            control = rpc_pb2.ControlMessage(
                graft=[rpc_pb2.ControlGraft(topicID=topic) for topic in peers_to_graft.get(peer, ())],
                prune=[
                    rpc_pb2.ControlPrune(topicID=topic, backoff=self.prune_back_off)
                    for topic in peers_to_prune.get(peer, ())
                ],
                ihave=[
                    rpc_pb2.ControlIHave(topicID=topic, messageIDs=ids[-MAX_IDS:])
                    for topic, ids in peers_to_gossip.get(peer, {}).items()
                ],
            )
            await self.emit_control_message(control, peer)

    async def publish(self, msg_forwarder: ID, pubsub_msg: rpc_pb2.Message) -> None:
        """Forward a message that has been validated, once to each peer of the mesh."""
        self.history.put(pubsub_msg)
        rpc = rpc_pb2.RPC(publish=[pubsub_msg])
        origin = ID(pubsub_msg.from_id)
        receivers = self._get_peers_to_send(pubsub_msg.topicIDs, msg_forwarder=msg_forwarder, origin=origin)
        receivers = sorted(receivers, key=ID.to_bytes)  # an order that a simulation can repeat
        if not receivers and self.pubsub is not None and origin == self.pubsub.my_id:
            self._unheard[id_of(pubsub_msg)] = None
        for peer in receivers:
            self.send_rpc(peer, rpc)
        for topic in pubsub_msg.topicIDs:
            self.time_since_last_publish[topic] = int(_TrioTime.time())

    async def send_recent_messages(self, peer_id: ID, topic: str) -> None:
        """Give a peer that joins a topic what was said in the last seconds, so that no offer passes it by.

        With it goes what we said to nobody. A peer that was here before is told the ids of what it may have missed; a
        newcomer is not: js-libp2p asks for all of that, and hears nothing more from whoever told it.
        """
        recent = self.history.window(topic)
        older = self.history.window(topic, within_s=HISTORY_S)[: -len(recent) or None]
        unheard = [each for each in older if each in self._unheard]
        for message in filter(None, map(self.history.get, (*unheard, *recent))):
            self._unheard.pop(id_of(message), None)
            if message.from_id != peer_id.to_bytes():
                self.send_rpc(peer_id, rpc_pb2.RPC(publish=[message]))
        missed = [each for each in older if each not in unheard][-MAX_IDS:]
        if missed and peer_id in self._left:
            ihave = rpc_pb2.ControlIHave(topicID=topic, messageIDs=missed)
            await self.emit_control_message(rpc_pb2.ControlMessage(ihave=[ihave]), peer_id)
