"""Frames on their way out of one stream."""

from typing import Final

import trio

from node.networking.streams import Stream, StreamClosed

OUTGOING_FRAMES: Final = 8
TAKE_TIMEOUT_S: Final = 60.0
"""A frame that a peer does not take for so long ends its stream: it has given up long ago."""


class Outgoing:
    """Frames go out one after the other, so that none is cut by the deadline of whoever queued it.

    Most go straight to the muxer. One that would have to wait there, for the peer to read or the wire to take it, is
    left to a task, and so are all behind it.
    """

    def __init__(self, stream: Stream, most: int = OUTGOING_FRAMES) -> None:
        """Let at most so many frames wait here."""
        self._stream = stream
        self._send, self._queue = trio.open_memory_channel[bytes](most)
        self._waiting = 0

    async def send(self, frame: bytes) -> None:
        """Queue a frame; waits while many are. Raises `trio.BrokenResourceError` after the stream has ended."""
        if self._waiting == 0 and self._stream.write_now(frame):
            await trio.lowlevel.checkpoint_if_cancelled()
            return
        self._waiting += 1
        try:
            await self._send.send(frame)
        except BaseException:
            self._waiting -= 1
            raise

    def send_nowait(self, frame: bytes) -> None:
        """Queue a frame. Raises `trio.WouldBlock` while many are, `trio.BrokenResourceError` after the stream ended."""
        self._send.send_nowait(frame)
        self._waiting += 1

    async def run(self, scope: trio.CancelScope) -> None:
        """Write what has to wait, until the stream ends; then cancel `scope`."""
        try:
            async with self._queue:
                async for frame in self._queue:
                    self._stream.hold(len(frame))
                    try:
                        with trio.fail_after(TAKE_TIMEOUT_S):
                            await self._stream.write(frame)
                    finally:
                        self._stream.hold(-len(frame))
                    self._waiting -= 1
        except (StreamClosed, trio.TooSlowError):
            scope.cancel()

    def close(self) -> None:
        """Refuse every frame from now on."""
        self._waiting += 1  # for good: nothing goes past the closed queue
        self._queue.close()
