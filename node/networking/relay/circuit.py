"""A circuit, from both sides: as the stream that a connection runs over, and as the relay that moves its bytes.

The relay sees Noise: it can drop, delay and count, and nothing else.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from node.networking.bandwidth import MAX_PIECE_BYTES
from node.networking.relay.messages import Limit
from node.networking.streams import Stream, StreamClosed

IDLE_S: Final = 90.0
"""Both ends ping each other every 30 s: a circuit that carries nothing for so long has no ends any more."""

Pace = Callable[[int], Awaitable[None]]
"""Waits until so many bytes may pass."""


class CircuitStream(trio.abc.Stream):
    """A stream to a relay, or from one, as the byte stream below a connection."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data`, at the pace of whoever reads it."""
        try:
            await self._stream.write(bytes(data))
        except StreamClosed as error:
            raise trio.BrokenResourceError(str(error)) from error

    async def wait_send_all_might_not_block(self) -> None:
        """Not known beforehand: answers at once."""
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return what has arrived, none at the end."""
        try:
            return await self._stream.read(max_bytes or MAX_PIECE_BYTES)
        except StreamClosed as error:
            raise trio.BrokenResourceError(str(error)) from error

    async def aclose(self) -> None:
        """Give up the circuit."""
        self._stream.reset()
        await trio.lowlevel.checkpoint()


async def splice(one: Stream, other: Stream, *, limit: Limit, pace: Pace) -> str:
    """Move bytes both ways until the circuit ends; reset both streams then, and return why it ended.

    Args:
        one: Towards the dialler.
        other: Towards the target.
        limit: What it may take.
        pace: Awaited before each piece is passed on; what is not read is held back at its sender by its window.
    """
    why = "its time is over"
    heard_at = trio.current_time()
    with trio.move_on_after(limit.duration_s or float("inf")):
        async with trio.open_nursery() as nursery:

            def end(reason: str) -> None:
                nonlocal why
                why = reason
                nursery.cancel_scope.cancel()

            async def pump(source: Stream, sink: Stream) -> None:
                nonlocal heard_at
                moved = 0
                try:
                    while data := await source.read(MAX_PIECE_BYTES):
                        heard_at = trio.current_time()
                        moved += len(data)
                        if limit.data_bytes and moved > limit.data_bytes:
                            end("it has carried what it may")
                            return
                        await pace(len(data))
                        await sink.write(data)
                    # A connection is never half open: whoever finishes has nothing more to say to anybody.
                    end("one side has finished")
                except StreamClosed as error:
                    end(str(error))

            async def watch() -> None:
                while trio.current_time() < heard_at + IDLE_S:
                    await trio.sleep_until(heard_at + IDLE_S)
                end("nothing has passed for too long")

            nursery.start_soon(pump, one, other)
            nursery.start_soon(pump, other, one)
            nursery.start_soon(watch)
    one.reset()
    other.reset()
    return why
