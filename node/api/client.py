"""The other end of the control socket: the facade's methods as calls over it, with their own types.

async with open_client(path) as client:
    status = await client.call(NodeFacade.node_status)
    async with client.stream(NodeFacade.task_watch, task="3f") as events:
        async for event in events: ...
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import trio

from node.api.control_socket import connect
from node.api.errors import ConnectionLost, RemoteBug, RemoteError, rebuild
from node.api.facade import NodeFacade
from node.api.json_codec import InvalidJson, Json, from_json_as, to_json
from node.api.lines import LineStream, parse_line
from node.api.methods import Method, method_of
from protocol.identity import ContentDigest

T = TypeVar("T")
P = ParamSpec("P")


class NodeClient:
    """One connection; one call at a time. Made by `open_client`."""

    def __init__(self, lines: LineStream) -> None:
        self._lines = lines
        self._last_id = 0

    async def call(
        self, method: Callable[Concatenate[NodeFacade, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a method of the facade; arguments by name.

        Raises:
            RemoteError: The node refused; on the branch of the error tree that its own error was on.
            ConnectionLost: The node went away.
        """
        assert not args, "give arguments by name: they travel by name"
        described = method_of(method)
        request_id = await self._request(described, kwargs)
        return cast("T", await self._result(described, request_id))

    @asynccontextmanager
    async def stream(
        self, method: Callable[Concatenate[NodeFacade, P], AsyncGenerator[T, None]], *args: P.args, **kwargs: P.kwargs
    ) -> AsyncGenerator[AsyncIterator[T], None]:
        """Read the items of a streaming method. Leaving the block before the end makes the connection useless.

        Raises:
            RemoteError, ConnectionLost: As in `call`, while iterating.
        """
        assert not args, "give arguments by name: they travel by name"
        described = method_of(method)
        request_id = await self._request(described, kwargs)
        async with aclosing(self._items(described, request_id)) as items:
            yield cast("AsyncIterator[T]", items)

    async def put_blob(self, digest: ContentDigest, size: int, chunks: AsyncGenerator[bytes, None]) -> None:
        """Send a blob to the node's store, each chunk at most `CHUNK_BYTES`.

        Raises:
            RemoteError, ConnectionLost: As in `call`.
        """
        described = method_of(NodeFacade.blob_put)
        request_id = await self._request(described, {"digest": digest, "size": size})
        answer: list[dict[str, Any]] = []

        async def listen(scope: trio.CancelScope) -> None:
            answer.append(await self._receive(request_id))
            scope.cancel()  # an answer before the last chunk is a refusal: stop sending

        async with aclosing(chunks) as pieces, trio.open_nursery() as nursery:
            sending = trio.CancelScope()
            nursery.start_soon(listen, sending)
            with sending:
                async for chunk in pieces:
                    await self._lines.send({"id": request_id, "chunk": to_json(chunk)})
                await self._lines.send({"id": request_id, "chunk": None})
        _read_result(described, answer[0])

    async def _request(self, method: Method, arguments: dict[str, Any]) -> int:
        self._last_id += 1
        params = method.write_params(arguments)
        await self._lines.send({"id": self._last_id, "method": method.wire_name, "params": params})
        return self._last_id

    async def _result(self, method: Method, request_id: int) -> object:
        return _read_result(method, await self._receive(request_id))

    async def _items(self, method: Method, request_id: int) -> AsyncGenerator[object, None]:
        while "event" in (message := await self._receive(request_id)):
            yield _read(method.result, message["event"])
        if "error" in message:
            raise _read_error(message["error"])

    async def _receive(self, request_id: int) -> dict[str, Any]:
        line = await self._lines.receive()
        if line is None:
            raise ConnectionLost("the node closed the connection")
        message = parse_line(line)
        if message.get("id") not in (request_id, None):
            raise RemoteBug(f"the node answered request {message.get('id')} instead of {request_id}")
        return message


@asynccontextmanager
async def open_client(path: Path) -> AsyncGenerator[NodeClient, None]:
    """Connect to the node whose control socket is `path`.

    Raises:
        NodeNotRunning: Nobody listens there.
        ForeignSocket: The process there is another user's.
    """
    stream = await connect(path)
    async with stream:
        yield NodeClient(LineStream(stream))


def _read_result(method: Method, message: dict[str, Any]) -> object:
    if "error" in message:
        raise _read_error(message["error"])
    if "result" not in message:
        raise RemoteBug(f"the node's answer to {method.wire_name} has neither result nor error")
    return _read(method.result, message["result"])


def _read(hint: Any, raw: Json) -> object:
    try:
        return from_json_as(hint, raw)
    except InvalidJson as error:
        raise RemoteBug(
            f"the node's answer can't be read: {error}",
            advice="Node and command line may be of different releases: restart the node.",
        ) from error


def _read_error(raw: Any) -> RemoteError:
    report = cast("dict[str, Any]", raw) if isinstance(raw, dict) else {}
    family, kind, message, advice = (str(report.get(name, "")) for name in ("family", "kind", "message", "advice"))
    return rebuild(family, kind, message or "the node gave no reason", advice)
