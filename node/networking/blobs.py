"""Blobs by digest, checked while they stream (docs/spec/networking.md, section 4).

A blob is cut into groups of a MiB, each of which is checked against the BLAKE3 tree of the whole as soon as it is here.
So an asker holds a few MiB, whatever the size; a peer that lies is found out at the end of the MiB in which it does;
and what has been checked is right for good, so a transfer goes on where it broke, from any peer, or from several at
once.

Who may have a blob is the source's decision. A peer that may not gets the same answer as one that asks for a blob that
does not exist. Connections are encrypted between authenticated peers, so nobody else can read along (docs/adr/0303).
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Final, TypeAlias

import trio

from node.networking.bandwidth import Bandwidth
from node.networking.blob_bases import BasesOf
from node.networking.blob_frames import PROTOCOL as PROTOCOL_3
from node.networking.blob_gather import CORRUPT_WEIGHT, Gathering, GroupStore, HolderTasks, Session
from node.networking.blob_holder import HolderSession
from node.networking.blob_receive import STALL_TIMEOUT_S, Wanted
from node.networking.blob_server import BlobServer
from node.networking.blob_source import BlobSource, Hashing, Serving
from node.networking.blobs_v1 import PROTOCOL as PROTOCOL_1
from node.networking.blobs_v1 import OldHolderSession, receive_v1, serve_v1
from node.networking.errors import BaseUnfit, BlobCorrupt, PeerTimeout, PeerUnreachable
from node.networking.settings import NetworkSettings
from node.networking.streams import Stream, StreamClosed, Streams
from node.storage.blake3_tree import GROUP_BYTES
from protocol.identity import ContentDigest, PeerId

PROTOCOLS: Final = (PROTOCOL_3, PROTOCOL_1)

BlobSink: TypeAlias = Callable[[bytes], Awaitable[None]]
"""Gets the blob in order, in checked pieces of a MiB; the last may be shorter."""
Reach: TypeAlias = Callable[[PeerId], Awaitable[None]]
"""Connects to a peer if need be. Raises `PeerUnreachable`."""


class Blobs:
    """Both sides of the blob protocol of one node."""

    def __init__(self, streams: Streams, settings: NetworkSettings) -> None:
        self._streams = streams
        self._hashing = Hashing(settings)
        self._bandwidth = Bandwidth(settings)
        self._serving = Serving(settings, self._hashing)
        streams.handle(PROTOCOL_1, partial(serve_v1, serving=self._serving, bandwidth=self._bandwidth))
        streams.handle(PROTOCOL_3, BlobServer(self._serving, self._hashing, self._bandwidth).serve_stream)

    def serve(self, source: BlobSource) -> None:
        """Serve the blobs of `source` from now on."""
        self._serving.source = source

    async def gather(
        self,
        peers: Sequence[PeerId],
        digest: ContentDigest,
        *,
        max_bytes: int,
        into: GroupStore,
        reach: Reach,
        bases_of: BasesOf,
    ) -> None:
        """Fetch a blob from all of `peers`; see `Network.gather_blob`."""
        wanted = Wanted(digest, max_bytes)
        without_bases: set[PeerId] = set()

        @asynccontextmanager
        async def open_session(tasks: HolderTasks) -> AsyncGenerator[Session]:
            await reach(tasks.peer)
            stream = await self._open_stream(tasks.peer, PROTOCOLS)
            try:
                if stream.protocol == PROTOCOL_3:
                    bases = () if tasks.peer in without_bases else bases_of(tasks.peer)
                    yield HolderSession(
                        stream, wanted, tasks, hashing=self._hashing, bandwidth=self._bandwidth, bases=bases
                    )
                else:
                    again = partial(self._open_stream, tasks.peer, (PROTOCOL_1,))
                    yield OldHolderSession(again, wanted, tasks, hashing=self._hashing, bandwidth=self._bandwidth)
            except BaseUnfit:
                without_bases.add(tasks.peer)
                raise
            finally:
                stream.reset()

        def strike(peer: PeerId, why: str, weight: float) -> None:
            self._streams.strike(peer, why, weight=weight)

        await Gathering(wanted, into, open_session, strike).run(peers)

    async def fetch(
        self, peer: PeerId, digest: ContentDigest, *, max_bytes: int, sink: BlobSink, offset: int = 0
    ) -> int:
        """Fetch a blob in order from a connected peer, by version 1; see `Network.fetch_blob`."""
        assert offset % GROUP_BYTES == 0, "a transfer goes on at a whole MiB"
        stream = await self._open_stream(peer, (PROTOCOL_1,))
        size = 0
        try:
            groups = receive_v1(
                stream, Wanted(digest, max_bytes), offset, hashing=self._hashing, bandwidth=self._bandwidth
            )
            async with aclosing(groups):
                async for tree, index, data in groups:
                    size = tree.size
                    if data and index * GROUP_BYTES >= offset:
                        await sink(data)
        except StreamClosed as error:
            raise PeerUnreachable(peer, f"blob transfer broke: {error}") from error
        except trio.TooSlowError as error:
            raise PeerTimeout(peer, f"blob {digest.hex()}", after_s=STALL_TIMEOUT_S) from error
        except BlobCorrupt as error:
            self._streams.strike(peer, str(error), weight=CORRUPT_WEIGHT)
            raise
        finally:
            stream.reset()
        return size

    async def _open_stream(self, peer: PeerId, protocols: Sequence[str]) -> Stream:
        try:
            with trio.fail_after(STALL_TIMEOUT_S):
                return await self._streams.open_stream(peer, protocols)
        except trio.TooSlowError as error:
            raise PeerTimeout(peer, "a blob stream", after_s=STALL_TIMEOUT_S) from error
