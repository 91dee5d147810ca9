"""A network of nodes in one process: who is up, and what may be done to messages on their way."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

import trio

from node.market.delivery_run import DeliveryContext
from node.market.purchase_run import PurchaseContext
from node.operations.clock import TrioClock
from node.storage.storage import Storage
from protocol.errors import ProtocolError, TransientError
from protocol.identity import Address, ContentDigest, Digest, PeerId
from protocol.task import delivery, purchase
from protocol.units import UnixTime

T = TypeVar("T")
EPOCH = UnixTime(1_800_000_000)
LATENCY_S = 0.01


class Unreachable(TransientError):
    """The fake network has no such node now."""


@dataclass(kw_only=True)
class Hub:
    """The network: who is up, and what may be done to messages on their way."""

    nodes: dict[Address, "FakePeers"] = field(default_factory=dict[Address, "FakePeers"])
    nursery: trio.Nursery
    clock: TrioClock = field(default_factory=lambda: TrioClock.starting_at(EPOCH))
    is_lost: Callable[[Address, Address | None, str], bool] = lambda _source, _target, _what: False
    twist: Callable[[Address, str, bytes], bytes] = lambda _source, _what, data: data
    serve: Callable[[Address, bytes], bytes | None] = lambda _source, data: data
    """What a node serves instead of a blob; None: nothing."""
    purchases: dict[Digest, list[purchase.Event]] = field(default_factory=dict[Digest, list[purchase.Event]])
    """What every requester journaled, by offer; kept over restarts."""
    deliveries: dict[Digest, list[delivery.Event]] = field(default_factory=dict[Digest, list[delivery.Event]])
    """What every provider journaled, by award."""
    jobs: dict[Digest, delivery.Job] = field(default_factory=dict[Digest, delivery.Job])

    def note_purchase(self, context: PurchaseContext, event: purchase.Event) -> None:
        self.purchases.setdefault(context.offer_id, []).append(event)

    def note_delivery(self, context: DeliveryContext, event: delivery.Event) -> None:
        self.jobs[context.job.award_id] = context.job
        self.deliveries.setdefault(context.job.award_id, []).append(event)


class FakePeers:
    """One node's place in the hub."""

    def __init__(self, hub: Hub, wallet: Address, storage: Storage) -> None:
        self._hub, self._wallet, self._storage = hub, wallet, storage
        self._handlers: dict[str, Callable[[PeerId, bytes], Awaitable[bytes]]] = {}
        self._topics: dict[str, tuple[Callable[[bytes], bool], Callable[[bytes], Awaitable[None]]]] = {}

    @property
    def methods(self) -> tuple[str, ...]:
        """What this node answers."""
        return tuple(self._handlers)

    async def call(self, wallet: Address, method: str, body: bytes) -> bytes:
        await trio.sleep(LATENCY_S)
        target = self._hub.nodes.get(wallet)
        if target is None or self._hub.is_lost(self._wallet, wallet, method):
            raise Unreachable(f"{method} did not arrive")
        handler = target._handlers.get(method)
        if handler is None:
            raise ProtocolError(f"no {method} there")
        answer = await handler(peer_name(self._wallet), self._hub.twist(self._wallet, method, body))
        await trio.sleep(LATENCY_S)
        return answer

    def serve(self, method: str, handler: Callable[[PeerId, bytes], Awaitable[bytes]], *, max_request: int) -> None:
        assert max_request > 0
        self._handlers[method] = handler

    async def publish(self, topic: str, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        for wallet, node in self._hub.nodes.items():
            if wallet != self._wallet and not self._hub.is_lost(self._wallet, wallet, topic):
                twisted = self._hub.twist(self._wallet, topic, data)
                self._hub.nursery.start_soon(node._hear, topic, twisted)

    def subscribe(
        self, topic: str, *, judge: Callable[[bytes], bool], deliver: Callable[[bytes], Awaitable[None]]
    ) -> None:
        self._topics[topic] = (judge, deliver)

    def wallet_of(self, peer: PeerId) -> Address | None:
        return next((wallet for wallet in self._hub.nodes if peer_name(wallet) == peer), None)

    def is_reachable(self, wallet: Address) -> bool:
        return wallet in self._hub.nodes

    async def fetch(self, wallet: Address, digest: ContentDigest, *, max_bytes: int, keep_until: UnixTime) -> None:
        await trio.sleep(LATENCY_S)
        if await self._storage.blobs.has(digest):
            return
        source = self._hub.nodes.get(wallet)
        if source is None:
            raise Unreachable("the holder is away")
        if not await source._storage.access.is_granted(digest, self._wallet):
            raise Unreachable("not served")
        kept = await source._storage.blobs.read(digest, max_bytes=1 << 20)
        data = self._hub.serve(wallet, kept)
        if data is None:
            raise Unreachable("not served")
        async with self._storage.blobs.open_writer(max_bytes=max_bytes, expected=digest) as writer:
            await writer.write(data)
            await writer.commit(keep_until=keep_until)

    async def grant(self, digest: ContentDigest, wallet: Address, until: UnixTime) -> None:
        await self._storage.access.grant(digest, wallet, until)

    async def _hear(self, topic: str, data: bytes) -> None:
        await trio.sleep(LATENCY_S)
        if self._hub.nodes.get(self._wallet) is not self:
            return  # gone meanwhile
        judge, deliver = self._topics[topic]
        try:
            relayed = judge(data)
        except ProtocolError:
            return
        if relayed:
            await deliver(data)


def peer_name(wallet: Address) -> PeerId:
    """The host of a wallet, in this network."""
    return PeerId(wallet.hex())
