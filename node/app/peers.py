"""The market's `Peers` over network and blob store, and what this node serves of its blobs."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from node.app.given_blobs import GivenBlobs
from node.networking.blob_source import BlobReader, NotServed
from node.networking.by_wallet import PeersByWallet
from node.networking.directory import Directory
from node.networking.discovery import Discovery
from node.networking.errors import RemoteRefused
from node.networking.lookup.finder import Finder
from node.networking.network import Network
from node.storage.errors import BlobMissing
from node.storage.storage import Storage
from protocol.errors import TransientError
from protocol.identity import Address, ContentDigest, PeerId
from protocol.units import UnixTime

NOT_YET: Final = frozenset({"UnknownMethod", "NotIntroduced", "NotSeatedYet", "NotDrawnYet", "NoCaseYet"})
"""Refusals of a node that has just started: it listens a moment before it serves, and learns wallets from us. Or of one
that the chain has not told yet what it told us."""


class NotServedYet(TransientError):
    """The peer is there and does not serve this yet. A peer that lies about it is only unreachable by other means."""


class WalletPeers(PeersByWallet):
    """Other nodes by wallet, with their blobs brought into our store and ours granted to them."""

    def __init__(
        self, network: Network, discovery: Discovery, storage: Storage, *, finder: Finder | None = None
    ) -> None:
        super().__init__(network, discovery, finder=finder)
        self._storage = storage
        self._given = GivenBlobs(storage.blobs)

    async def call(self, wallet: Address, method: str, body: bytes, *, max_response: int | None = None) -> bytes:
        """Send a request; every node serves every method, so a node that does not is still starting."""
        try:
            return await super().call(wallet, method, body, max_response=max_response)
        except RemoteRefused as error:
            if error.code in NOT_YET:
                raise NotServedYet(str(error)) from error
            raise

    async def fetch(self, wallet: Address, digest: ContentDigest, *, max_bytes: int, keep_until: UnixTime) -> None:
        """See `Peers`."""
        await self.fetch_from([wallet], digest, max_bytes=max_bytes, keep_until=keep_until)

    async def fetch_from(
        self, wallets: Sequence[Address], digest: ContentDigest, *, max_bytes: int, keep_until: UnixTime
    ) -> None:
        """Bring a blob into the store from all nodes that may hold it; what came stays when it fails, for the next try.

        Args:
            wallets: Whose nodes are asked, the most likely first.
            digest: Of the blob.
            max_bytes: Most that it may have.
            keep_until: The blob is kept at least until then.

        Raises:
            PeerUnreachable: No record of any of the nodes is known.
            StoaError: As `Network.gather_blob` and `PartialBlob` say.
        """
        blobs = self._storage.blobs
        await blobs.keep(digest, keep_until)
        if await blobs.has(digest):
            return
        async with blobs.open_partial(digest, max_bytes=max_bytes) as partial, self._given.opened(wallets) as bases:
            await self.gather_blob(wallets, digest, max_bytes=max_bytes, into=partial, bases_of=bases.__getitem__)
            await partial.commit(keep_until=keep_until)
        for wallet in wallets:
            self._given.remember(wallet, digest)

    async def grant(self, digest: ContentDigest, wallet: Address, until: UnixTime) -> None:
        """See `Peers`."""
        await self._storage.access.grant(digest, wallet, until)


class GrantedBlobs:
    """The network's blob source: serves a blob only to those to whom the access list grants it."""

    def __init__(self, storage: Storage, directory: Directory) -> None:
        self._storage, self._directory = storage, directory

    @asynccontextmanager
    async def open(self, digest: ContentDigest, peer: PeerId) -> AsyncGenerator[BlobReader, None]:
        """See `BlobSource`. "Not here" and "not for you" are one answer, so nobody learns what is stored."""
        wallet = self._directory.wallet_of(peer)
        if wallet is None or not await self._storage.access.is_granted(digest, wallet):
            raise NotServed("not served")
        try:
            reader = self._storage.blobs.open_reader(digest)
            opened = await reader.__aenter__()
        except BlobMissing as error:
            raise NotServed("not served") from error
        try:
            yield opened
        finally:
            await reader.__aexit__(None, None, None)
