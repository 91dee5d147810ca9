"""One connection to a peer, and a stream on it, while they last."""

from typing import Final

import trio

from node.networking.addresses import PeerAddress
from node.networking.libp2p.yamux import MuxedConnection, MuxedStream, StreamReset
from node.networking.limits import Rate, TokenBucket
from protocol.identity import PeerId

STREAM_RATE: Final = Rate(per_s=50, burst=300)
"""Streams that a peer may open: the services of this node use long-lived ones."""


class ProtocolStream:
    """A stream on which both sides have agreed what to speak."""

    def __init__(self, stream: MuxedStream, connection: "Connection", protocol: str) -> None:
        self._stream = stream
        self.connection = connection
        self._protocol = protocol

    @property
    def peer(self) -> PeerId:
        """Who is at the other end; proved by the handshake."""
        return self.connection.peer

    @property
    def protocol(self) -> str:
        """What both sides have agreed to speak."""
        return self._protocol

    async def read(self, limit: int = 64 * 1024) -> bytes:
        """Return 1 to `limit` bytes, or none when the peer has finished. Raises `StreamReset`."""
        return await self._stream.read(limit)

    async def read_exactly(self, size: int) -> bytes:
        """Return exactly `size` bytes. Raises `StreamReset`, also if the peer finishes before."""
        data = bytearray()
        try:
            while len(data) < size:
                chunk = await self._stream.read(size - len(data))
                if not chunk:
                    raise StreamReset(f"the peer finished after {len(data)} of {size} bytes")
                data += chunk
                self.hold(len(chunk))
        finally:
            self.hold(-len(data))
        return bytes(data)

    async def write(self, data: bytes | memoryview) -> None:
        """Queue `data`, at the pace of the reader. Raises `StreamReset`. If cancelled, reset the stream."""
        await self._stream.write(data)

    def write_now(self, data: bytes) -> bool:
        """Queue `data` if that needs no waiting; return whether it did. Not while somebody waits in `write`."""
        return self._stream.write_now(data)

    def finish(self) -> None:
        """Say that we write no more."""
        self._stream.finish()

    def reset(self) -> None:
        """Drop the stream, now."""
        self._stream.reset()

    def hold(self, size: int) -> None:
        """Count bytes that are held for the peer, beside those of the stream itself; negative gives them back."""
        self.connection.mux.hold(size)

    async def spend(self, units: float) -> None:
        """Count work that the peer causes, beside that of reading; wait when it is others' turn."""
        await self.connection.mux.spend(units)


class Connection:
    """An authenticated connection to a peer, while it lasts."""

    def __init__(
        self, peer: PeerId, mux: MuxedConnection, *, host: str, is_dialler: bool, relay: PeerId | None
    ) -> None:
        self.peer = peer
        self.mux = mux
        self.host = host
        """IP address of the other side; of the relay, if there is one: its network is what costs something there."""
        self.is_dialler = is_dialler
        self.relay = relay
        """Through whom, if not directly."""
        self.place: PeerAddress | None = None
        """Where we dialled it."""
        self.opened_at = trio.current_time()
        self.scope = trio.CancelScope()
        self.ended = trio.Event()
        self.streams = TokenBucket(STREAM_RATE)

    def end(self) -> None:
        """End the connection and everything on it."""
        self.scope.cancel()
