"""Newline-delimited JSON over a byte stream: bounded lines, bounded patience (docs/guide/cli.md, "The socket").

request     {"id": 1, "method": "task.show", "params": {"task": "3f"}}
chunk       {"id": 1, "chunk": "<base64>"}, and null for the end; only for methods that take chunks
answer      {"id": 1, "result": ...}
            {"id": 1, "error": {"kind": "UnknownTask", "family": "refused", "message": "...", "advice": "..."}}
stream      {"id": 1, "event": ...} any number of times, then an answer
"""

import json
from collections.abc import Mapping
from typing import Any, Final, cast

import trio

from node.api.errors import ConnectionLost
from node.api.json_codec import InvalidJson, Json
from protocol.errors import ProtocolError

MAX_LINE_BYTES: Final = 1 << 20
CHUNK_BYTES: Final = 256 * 1024
"""Of a blob in one line, before base64."""
SEND_TIMEOUT_S: Final = 15.0
"""How long one line may wait for the other end to read."""
_READ_BYTES: Final = 65_536


class LineTooLong(ProtocolError):
    """More bytes without a newline than a line may have."""

    def __init__(self) -> None:
        super().__init__(f"a line has more than {MAX_LINE_BYTES} bytes")


class LineStream:
    """Lines over a stream. One task reads, any number send."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._buffer = bytearray()
        self._searched = 0
        self._sending = trio.Lock()

    async def receive(self) -> bytes | None:
        """Return the next line without its newline, or None at the end; a last line without newline is dropped.

        Raises:
            LineTooLong: Nothing more can be read after it.
        """
        while True:
            end = self._buffer.find(b"\n", self._searched)
            if end >= 0:
                line = bytes(self._buffer[:end])
                del self._buffer[: end + 1]
                self._searched = 0
                return line
            self._searched = len(self._buffer)
            if self._searched > MAX_LINE_BYTES:
                raise LineTooLong
            try:
                data = await self._stream.receive_some(_READ_BYTES)
            except trio.BrokenResourceError:
                return None
            if not data:
                return None
            self._buffer += data

    async def send(self, message: Mapping[str, Json]) -> None:
        """Send one line.

        Raises:
            ConnectionLost: The other end is gone, or does not read.
        """
        data = json.dumps(message, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode() + b"\n"
        async with self._sending:
            with trio.move_on_after(SEND_TIMEOUT_S):
                try:
                    await self._stream.send_all(data)
                except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                    raise ConnectionLost("the other end of the control socket is gone") from error
                else:
                    return
        raise ConnectionLost(f"the other end of the control socket has not read for {SEND_TIMEOUT_S:.0f} s")


def parse_line(line: bytes) -> dict[str, Any]:
    """Return the JSON object of a line.

    Raises:
        InvalidJson: It is none.
    """
    try:
        value = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidJson("", f"not a line of JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidJson("", "not a JSON object")
    return cast("dict[str, Any]", value)


def _refuse_constant(name: str) -> float:
    # Python's reader would take NaN and the infinities, which are no JSON.
    raise ValueError(f"{name} is no JSON")
