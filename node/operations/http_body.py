"""A request's body for httpx that leaves nothing behind when the request is cancelled."""

from collections.abc import AsyncIterator

import httpx


class Body(httpx.AsyncByteStream):
    """Bytes in one piece.

    httpx's own is an async generator, which a cancelled request leaves for the garbage collector to complain about.
    """

    def __init__(self, body: bytes) -> None:
        self._pieces = [body]

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self._pieces:
            raise StopAsyncIteration
        return self._pieces.pop()
