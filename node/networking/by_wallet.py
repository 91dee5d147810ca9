"""The network as the market speaks of it: by the wallets of nodes, not by their peer ids.

`PeersByWallet` finds the peer of a wallet, connects, and introduces this node before its first request, so that the
other side knows who asks.
"""

from collections.abc import Awaitable, Callable, Sequence

from node.networking.blob_bases import Base
from node.networking.blob_gather import GroupStore
from node.networking.discovery import Discovery
from node.networking.errors import PeerUnreachable
from node.networking.lookup.finder import Finder
from node.networking.network import Network
from node.networking.requests import Handler
from node.networking.verdict import Verdict
from protocol.identity import Address, ContentDigest, PeerId, format_address

Judge = Callable[[bytes], bool]


class PeersByWallet:
    """Requests, topics and blobs, addressed by wallet."""

    def __init__(self, network: Network, discovery: Discovery, *, finder: Finder | None = None) -> None:
        """Look for wallets that `discovery` does not know with `finder`, if there is one."""
        self._network = network
        self._discovery = discovery
        self._finder = finder

    async def call(self, wallet: Address, method: str, body: bytes, *, max_response: int | None = None) -> bytes:
        """Send a request to the node of `wallet`. Raises as `Network.call` does."""
        return await self._network.call(await self._reach(wallet), method, body, max_response=max_response)

    async def gather_blob(
        self,
        wallets: Sequence[Address],
        digest: ContentDigest,
        *,
        max_bytes: int,
        into: GroupStore,
        bases_of: Callable[[Address], Sequence[Base]],
    ) -> None:
        """Fetch a blob from the nodes of `wallets`, the most likely first. Raises as `Network.gather_blob` does.

        Args:
            wallets: Whose nodes are asked.
            digest: Of the blob.
            max_bytes: Most that it may have.
            into: Gets what is missing.
            bases_of: Gives earlier blobs that came from a wallet's node and may resemble this one.

        Raises:
            PeerUnreachable: No record of any of the nodes is known.
        """
        known = {self._discovery.directory.peer_of(wallet): wallet for wallet in wallets}
        peers = [peer for peer in known if peer is not None]
        if not peers:
            names = ", ".join(map(format_address, wallets))
            raise PeerUnreachable(names, "no record of its node is known")
        await self._network.gather_blob(
            peers,
            digest,
            max_bytes=max_bytes,
            into=into,
            reach=self._reach_peer,
            bases_of=lambda peer: bases_of(known[peer]),
        )

    def serve(self, method: str, handler: Handler, *, max_request: int) -> None:
        """Answer requests; ask `wallet_of` whose they are."""
        self._network.serve(method, handler, max_request=max_request)

    async def publish(self, topic: str, data: bytes) -> None:
        """Gossip a message of our own."""
        await self._network.publish(topic, data)

    def subscribe(self, topic: str, *, judge: Judge, deliver: Callable[[bytes], Awaitable[None]]) -> None:
        """Take part in a topic whose messages carry their own signatures, so that it does not matter who published.

        Args:
            topic: At most 256 characters.
            judge: Whether to relay and deliver; raises `ProtocolError` on a fault of whoever sent it.
            deliver: Gets what passes.
        """

        def validate(_author: PeerId, data: bytes) -> Verdict:
            return Verdict.ACCEPT if judge(data) else Verdict.IGNORE

        self._network.subscribe(topic, validate=validate, deliver=lambda _author, data: deliver(data))

    def wallet_of(self, peer: PeerId) -> Address | None:
        """Return whose node `peer` is, if it has shown so itself."""
        return self._discovery.directory.wallet_of(peer)

    def is_reachable(self, wallet: Address) -> bool:
        """Whether there is a connection to the node of `wallet` now."""
        peer = self._discovery.directory.peer_of(wallet)
        return peer is not None and self._network.is_connected(peer)

    async def _reach(self, wallet: Address) -> PeerId:
        peer = self._discovery.directory.peer_of(wallet)
        if peer is None and self._finder is not None:
            peer = await self._finder.find(wallet)
        if peer is None:
            raise PeerUnreachable(format_address(wallet), "no record of its node is known")
        await self._reach_peer(peer)
        return peer

    async def _reach_peer(self, peer: PeerId) -> None:
        if not self._network.is_connected(peer):
            await self._network.connect_peer(peer)
        await self._discovery.introduce(peer)
