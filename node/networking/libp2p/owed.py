"""Messages that a peer should have had and did not get, because its queue was full or its stream broke.

Stock gossip forgets them: a peer of the mesh is never told the ids of what was dropped on the way to it. Here they are
written down, by id, and offered once there is room; the peer asks for those that nobody else has given it meanwhile.
"""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2

from node.networking.libp2p.history import History, id_of

MAX_OWED: Final = 4096
"""Ids for one peer; of more the oldest are lost."""
MAX_DEBTORS: Final = 256
"""Peers; 256 of 4,096 ids are 60 MB if all are different, and a few where all are owed the same."""
OFFERED_AT_ONCE: Final = 128
"""Ids for one peer in a heartbeat: it may take 400 messages a second, and new ones come meanwhile."""


class Owed:
    """Who is owed what."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._debts: OrderedDict[ID, OrderedDict[bytes, None]] = OrderedDict()

    def __iter__(self) -> Iterator[ID]:
        return iter(tuple(self._debts))

    def note(self, peer: ID, rpc: rpc_pb2.RPC) -> None:
        """The messages of `rpc` did not go out to `peer`."""
        if not rpc.publish:
            return
        debts = self._debts.setdefault(peer, OrderedDict())
        self._debts.move_to_end(peer)
        for message in rpc.publish:
            debts[id_of(message)] = None
            if len(debts) > MAX_OWED:
                debts.popitem(last=False)
        if len(self._debts) > MAX_DEBTORS:
            self._debts.popitem(last=False)

    def next_offer(self, peer: ID) -> dict[str, list[bytes]]:
        """Return, and strike out, the next ids to offer to `peer`, by topic; those we still have, the oldest first."""
        debts = self._debts.get(peer, OrderedDict[bytes, None]())
        offer: dict[str, list[bytes]] = {}
        taken = 0
        while debts and taken < OFFERED_AT_ONCE:
            message_id, _ = debts.popitem(last=False)
            message = self._history.get(message_id)
            if message is not None:
                offer.setdefault(message.topicIDs[0], []).append(message_id)
                taken += 1
        if not debts:
            self._debts.pop(peer, None)
        return offer

    def tidy(self) -> None:
        """Strike out what is too old to be offered."""
        for peer, debts in tuple(self._debts.items()):
            while debts and self._history.get(next(iter(debts))) is None:
                debts.popitem(last=False)
            if not debts:
                del self._debts[peer]
