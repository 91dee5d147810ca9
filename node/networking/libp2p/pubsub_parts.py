"""What py-libp2p's pubsub is built on: streams, a host, tasks and tables of ours behind the names that it asks for."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import libp2p.pubsub.pubsub as stock
import structlog
import trio
from libp2p.custom_types import StreamHandlerFn, TProtocol
from libp2p.network.exceptions import SwarmException
from libp2p.network.stream.exceptions import StreamClosed
from libp2p.peer.id import ID
from libp2p.pubsub.rpc_queue import RpcQueue

from node.networking.errors import PeerUnreachable
from node.networking.libp2p.connection import ProtocolStream
from node.networking.libp2p.switch import Switch
from node.networking.libp2p.yamux import StreamReset
from protocol.identity import PeerId

log = structlog.get_logger(__name__)

SEEN_S: Final = 120.0
MAX_SEEN: Final = 100_000
"""Two minutes at 800 new messages a second; above that the oldest go first. About 20 MB when full."""
OUTBOUND_QUEUE: Final = 256
"""Messages that wait for one peer. What a full queue drops is offered again later (owed.py)."""
SEND_TIMEOUT_S: Final = 30.0
MAX_RPC_BYTES: Final = 1024 * 1024
"""Several messages and control lists in one frame: what other implementations send at most, and the stock queue."""


class SeenMessages:
    """Ids of messages of the last two minutes, bounded, on trio's clock and without a thread."""

    def __init__(self, _ttl: int = 0, _sweep_interval: int = 0) -> None:
        self._seen: OrderedDict[bytes, float] = OrderedDict()

    def add(self, message_id: bytes) -> bool:
        """Note an id; return whether it is new."""
        now = trio.current_time()
        while self._seen and (len(self._seen) >= MAX_SEEN or next(iter(self._seen.values())) < now - SEEN_S):
            self._seen.popitem(last=False)
        return self._seen.setdefault(message_id, now) == now

    def has(self, message_id: bytes) -> bool:
        """Whether the id was noted less than two minutes ago."""
        seen_at = self._seen.get(message_id)
        return seen_at is not None and seen_at >= trio.current_time() - SEEN_S


# The stock constructors name these two classes and take neither them nor their sizes as arguments.
stock.LastSeenCache = SeenMessages  # pyright: ignore[reportAttributeAccessIssue, reportPrivateImportUsage]
stock.RpcQueue = partial(RpcQueue, OUTBOUND_QUEUE, MAX_RPC_BYTES)  # pyright: ignore[reportAttributeAccessIssue, reportPrivateImportUsage]


class PubsubTasks:
    """What the stock service asks of its manager: tasks in a nursery of ours, none of which can end the others."""

    is_running = True

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    def run_task(self, function: Callable[..., Awaitable[Any]], *args: Any, **_options: Any) -> None:
        """Begin a task; what it raises is logged."""

        async def contained() -> None:
            try:
                await function(*args)
            except Exception:
                # The edge of the library: its background work acts on what peers sent.
                log.exception("network.gossip_task_crashed", task=getattr(function, "__name__", "?"))

        self._nursery.start_soon(contained)


class PubsubStream:
    """A stream of ours with the errors of theirs."""

    metric_send_channel = None

    def __init__(self, stream: ProtocolStream) -> None:
        self._stream = stream
        self.peer_id = ID.from_base58(stream.peer)
        self.connection_ended = stream.connection.ended

    @property
    def muxed_conn(self) -> "PubsubStream":
        """The stock code asks this only for `peer_id`."""
        return self

    def get_protocol(self) -> TProtocol:
        """Return what is spoken on the stream."""
        return TProtocol(self._stream.protocol)

    async def write(self, data: bytes) -> None:
        """Write all of it, or give the stream up.

        Raises:
            StreamClosed: The peer reset it, or read nothing for too long.
        """
        try:
            with trio.fail_after(SEND_TIMEOUT_S):
                await self._stream.write(data)
        except (StreamReset, trio.TooSlowError) as error:
            self._stream.reset()
            raise StreamClosed from error
        except trio.Cancelled:
            self._stream.reset()  # half of a message may be queued
            raise

    async def reset(self) -> None:
        """End both directions."""
        self._stream.reset()


class PubsubHost:
    """The few things that the stock pubsub asks of a host."""

    def __init__(self, switch: Switch) -> None:
        self._switch = switch

    def get_id(self) -> ID:
        """Return who we are."""
        return self._switch.identity.id

    def get_private_key(self) -> Any:
        """Return the key that our messages are signed with."""
        return self._switch.identity.key_pair.private_key

    def get_network(self) -> "PubsubHost":
        """The stock code asks this only for connections."""
        return self

    def register_notifee(self, _notifee: object) -> None:
        """The switch calls `Gossip` directly."""

    def set_stream_handler(self, _protocol: TProtocol, _handler: StreamHandlerFn) -> None:
        """`Gossip` registers its own."""

    def get_connections(self, peer: ID) -> list[Any]:
        """Return the connections to a peer."""
        return list(self._switch.connections.get(PeerId(peer.to_base58()), ()))

    async def new_stream(self, peer: ID, protocols: list[TProtocol]) -> PubsubStream:
        """Open a stream to a connected peer.

        Raises:
            SwarmException: It does not take one.
        """
        try:
            return PubsubStream(await self._switch.open_stream(PeerId(peer.to_base58()), protocols))
        except PeerUnreachable as error:
            raise SwarmException(str(error)) from error
