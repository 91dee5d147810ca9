"""One client of the control socket: its requests are answered one after the other, and die with it."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, cast

import structlog
import trio

from node.api.errors import BUG, BadRequest, ConnectionLost, family_of
from node.api.facade import NodeFacade
from node.api.json_codec import Json, from_json, to_json
from node.api.lines import LineStream, LineTooLong, parse_line
from node.api.methods import Method, methods
from protocol.errors import StoaError

log = structlog.stdlib.get_logger(__name__)

MAX_WAITING: Final = 16
"""Requests of one client that wait for the one before them."""
CHUNKS_WAITING: Final = 2
"""Chunks in memory; beyond them the client waits."""
_MAX_ID_CHARS: Final = 64

_RequestId = int | str


class _ClientGone(Exception):
    """Nobody is left to answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """A request that was understood."""

    request_id: _RequestId
    method: Method
    arguments: Mapping[str, Any]
    chunks: trio.MemoryReceiveChannel[bytes] | None


async def serve_client(lines: LineStream, facade: NodeFacade) -> None:
    """Serve one client until it goes away, stops reading, or sends an endless line."""
    connection = _Connection(lines, facade)
    try:
        await connection.run()
    except* _ClientGone:
        log.debug("api.client_gone")


class _Connection:
    """Reads requests and chunks in one task, works in another."""

    def __init__(self, lines: LineStream, facade: NodeFacade) -> None:
        self._lines, self._facade = lines, facade
        self._post, self._jobs = trio.open_memory_channel[_Job](MAX_WAITING)
        self._feeds: dict[_RequestId, trio.MemorySendChannel[bytes]] = {}

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._work)
            try:
                await self._read()
            except LineTooLong as error:
                await self._refuse(None, error)
            nursery.cancel_scope.cancel()  # whatever the client still waited for

    async def _read(self) -> None:
        while (line := await self._lines.receive()) is not None:
            request_id: _RequestId | None = None
            try:
                message = parse_line(line)
                request_id = _read_id(message)
                if "chunk" in message:
                    await self._feed(request_id, message["chunk"])
                else:
                    self._post.send_nowait(self._understand(request_id, message))
            except trio.WouldBlock:
                self._feeds.pop(request_id or 0, None)
                await self._refuse(request_id, BadRequest(f"{MAX_WAITING} requests wait already; read some answers"))
            except StoaError as error:
                await self._refuse(request_id, error)

    def _understand(self, request_id: _RequestId, message: Mapping[str, Any]) -> _Job:
        name, params = message.get("method"), message.get("params", {})
        method = methods().get(name) if isinstance(name, str) else None
        if method is None:
            raise BadRequest(f"there is no method {str(name)[:64]!r}")
        if not isinstance(params, dict):
            raise BadRequest("params is not an object")
        arguments = method.read_params(params)  # pyright: ignore[reportUnknownArgumentType] - checked by the method
        chunks = None
        if method.chunks is not None:
            if request_id in self._feeds:
                raise BadRequest(f"request {request_id} takes chunks already")
            self._feeds[request_id], chunks = trio.open_memory_channel[bytes](CHUNKS_WAITING)
        return _Job(request_id=request_id, method=method, arguments=arguments, chunks=chunks)

    async def _feed(self, request_id: _RequestId, raw: Json) -> None:
        feed = self._feeds.get(request_id)
        if feed is None:
            return  # its request failed, and was answered
        if raw is None:
            del self._feeds[request_id]
            await feed.aclose()
            return
        try:
            await feed.send(from_json(bytes, raw, where="chunk"))
        except trio.BrokenResourceError:
            self._feeds.pop(request_id, None)

    async def _work(self) -> None:
        async for job in self._jobs:
            try:
                result = await self._perform(job)
            except _ClientGone:
                raise
            except Exception as error:
                # A bug in answering one command must not end a node that has money in flight (STYLE, section 5).
                refusal = _find_refusal(error)
                if refusal is not None:
                    await self._refuse(job.request_id, refusal)
                else:
                    log.exception("api.bug", method=job.method.wire_name)
                    await self._send(job.request_id, error=_BUG_REPORT)
            else:
                await self._send(job.request_id, result=result)

    async def _perform(self, job: _Job) -> Json:
        function, hint = getattr(self._facade, job.method.name), job.method.result
        arguments = dict(job.arguments)
        if job.method.is_stream:
            async with aclosing(function(**arguments)) as items:
                async for item in items:
                    await self._send(job.request_id, event=to_json(item, hint))
            return None
        if job.method.chunks is None or job.chunks is None:
            return to_json(await function(**arguments), hint)
        async with job.chunks, aclosing(_each(job.chunks)) as chunks:
            return to_json(await function(**arguments, **{job.method.chunks: chunks}), hint)

    async def _refuse(self, request_id: _RequestId | None, error: StoaError) -> None:
        report: dict[str, Json] = {
            "kind": type(error).__name__,
            "family": family_of(error),
            "message": str(error),
            "advice": error.advice,
        }
        await self._send(request_id, error=report)

    async def _send(self, request_id: _RequestId | None, **message: Json) -> None:
        try:
            await self._lines.send({"id": request_id, **message})
        except ConnectionLost as error:
            raise _ClientGone from error


_BUG_REPORT: Final[dict[str, Json]] = {
    "kind": "Bug",
    "family": BUG,
    "message": "the node met a bug while it worked on this",
    "advice": "Its log has the traceback (event api.bug); please report it.",
}


async def _each(channel: trio.MemoryReceiveChannel[bytes]) -> AsyncGenerator[bytes, None]:
    async for chunk in channel:
        yield chunk


def _find_refusal(error: Exception) -> StoaError | None:
    """Return what Stoa raised on purpose, out of the groups that nurseries make; None if a bug is among it."""
    if isinstance(error, ExceptionGroup):
        causes = [_find_refusal(cause) for cause in cast("ExceptionGroup[Exception]", error).exceptions]
        return causes[0] if all(causes) else None
    return error if isinstance(error, StoaError) else None


def _read_id(message: Mapping[str, Any]) -> _RequestId:
    request_id = message.get("id")
    if isinstance(request_id, bool) or not isinstance(request_id, int | str):
        raise BadRequest("a request needs an id, a number or a text")
    if isinstance(request_id, str) and len(request_id) > _MAX_ID_CHARS:
        raise BadRequest(f"an id has at most {_MAX_ID_CHARS} characters")
    return request_id
