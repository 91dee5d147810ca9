"""What the services of this folder need of the streams that the adapter below gives them."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from protocol.identity import PeerId


class StreamClosed(Exception):
    """The stream is gone: reset by either side, or with its connection."""


class Stream(Protocol):
    """A stream between two authenticated peers, on which both have agreed what to speak."""

    @property
    def peer(self) -> PeerId:
        """Who is at the other end."""
        ...

    @property
    def protocol(self) -> str:
        """What both sides have agreed to speak."""
        ...

    async def read(self, limit: int = ...) -> bytes:
        """Return 1 to `limit` bytes, none when the peer has finished. Raises `StreamClosed`."""
        ...

    async def read_exactly(self, size: int) -> bytes:
        """Return exactly `size` bytes. Raises `StreamClosed`, also if the peer finishes before."""
        ...

    async def write(self, data: bytes | memoryview) -> None:
        """Queue `data`, at the pace of the reader. Raises `StreamClosed`. If cancelled, reset the stream."""
        ...

    def write_now(self, data: bytes) -> bool:
        """Queue `data` if that needs no waiting; return whether it did. Not while somebody waits in `write`."""
        ...

    def finish(self) -> None:
        """Say that we write no more."""
        ...

    def reset(self) -> None:
        """Drop the stream, now."""
        ...

    def hold(self, size: int) -> None:
        """Count bytes that are held for the peer, beside the stream's own (held_bytes.py); negative gives them back."""
        ...

    async def spend(self, units: float) -> None:
        """Count work that the peer causes, beside that of reading (turns.py); wait when it is others' turn."""
        ...


class Streams(Protocol):
    """Opens and accepts streams."""

    def handle(self, protocol: str, handler: Callable[..., Awaitable[None]]) -> None:
        """Run `handler` with each `Stream` that a peer opens for `protocol`."""
        ...

    async def open_stream(self, peer: PeerId, protocols: Sequence[str]) -> Stream:
        """Open a stream to a connected peer, for the first of `protocols` that it speaks. Raises `PeerUnreachable`."""
        ...

    def strike(self, peer: PeerId, why: str, *, weight: float = 1.0) -> None:
        """Count misconduct."""
        ...
