"""Which blobs came from whom, so that the next one that resembles them need not come whole."""

from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from node.networking.blob_bases import MAX_BASES, Base
from node.storage.blobs import BlobStore
from node.storage.errors import BlobMissing
from protocol.identity import Address, ContentDigest

MAX_WALLETS: Final = 1_024


class GivenBlobs:
    """The last few blobs of each of the last wallets. Forgotten when the node stops: then one blob comes whole."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._given: OrderedDict[Address, OrderedDict[ContentDigest, None]] = OrderedDict()

    def remember(self, wallet: Address, digest: ContentDigest) -> None:
        """Take note that `wallet` has given us `digest`."""
        digests = self._given.setdefault(wallet, OrderedDict())
        digests[digest] = None
        digests.move_to_end(digest)
        self._given.move_to_end(wallet)
        if len(digests) > MAX_BASES:
            digests.popitem(last=False)
        if len(self._given) > MAX_WALLETS:
            self._given.popitem(last=False)

    @asynccontextmanager
    async def opened(self, wallets: Sequence[Address]) -> AsyncGenerator[dict[Address, list[Base]]]:
        """Open what is still here of what each of `wallets` gave, the newest first."""
        async with AsyncExitStack() as stack:
            opened = dict[Address, list[Base]]()
            for wallet in wallets:
                bases = opened[wallet] = []
                for digest in reversed(tuple(self._given.get(wallet, ()))):  # others come while we open these
                    try:
                        reader = await stack.enter_async_context(self._blobs.open_reader(digest))
                    except BlobMissing:
                        continue
                    bases.append(Base(digest, reader))
            yield opened
