"""A small HTTP/1.1 server for those who watch a node: GET and HEAD on a few paths, in the node's own loop.

Whoever can reach it is a stranger: it takes no body, few connections, small headers, and has a deadline for everything.
Parsing is h11's. It speaks no TLS and asks for no password, so it belongs on a loopback or private address.
"""

import errno
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

import h11
import structlog
import trio

from protocol.errors import ConfigError

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

MAX_CLIENTS: Final = 16
MAX_HEADER_BYTES: Final = 8 * 1024
MAX_REQUESTS: Final = 10_000
"""On one connection: a scraper that keeps it for a day at 15 s has sent 5,760."""
REQUEST_TIMEOUT_S: Final = 10.0
"""From a request's first byte to its last, and for sending an answer."""
IDLE_TIMEOUT_S: Final = 120.0
"""Between two requests; a scraper comes every 15 to 60 s."""
REQUESTS_PER_S: Final = 2.0
REQUESTS_AT_ONCE: Final = 10
"""Of all clients together. A page of metrics takes the main loop milliseconds, and no scraper wants it more often."""
_RECEIVE_BYTES: Final = 4096
_SAFE: Final = (b"GET", b"HEAD")


class ListenFailed(ConfigError):
    """The address to listen on can't be had."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(
            f"can't listen on {host}:{port} for metrics: {reason}",
            advice="choose another address in operations.metrics_listen, or none",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is said to one request."""

    status: int = 200
    content_type: str = "text/plain; charset=utf-8"
    body: bytes = b""


Page: TypeAlias = Callable[[str], Awaitable[Answer]]
"""Gets the request's `Accept` header, empty if there is none. What it raises is a bug and stops the node."""


class HttpServer:
    """Made by `open_http_server`."""

    def __init__(self, pages: Mapping[str, Page], listener: trio.SocketListener) -> None:
        self._pages, self._listener = pages, listener
        self.clients = 0
        self._next_at = -math.inf

    @property
    def port(self) -> int:
        """The port that was bound."""
        port: int = self._listener.socket.getsockname()[1]
        return port

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve one connection; `trio.serve_listeners` closes the stream."""
        if self.clients >= MAX_CLIENTS:
            return  # closed without a word: an answer would cost what the limit is there to save
        self.clients += 1
        try:
            await self._converse(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            log.debug("metrics.client_gone", reason=str(error))
        finally:
            self.clients -= 1

    async def _converse(self, stream: trio.SocketStream) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADER_BYTES)
        for number in range(MAX_REQUESTS):
            await self._wait_turn()
            patience_s = IDLE_TIMEOUT_S if number else REQUEST_TIMEOUT_S  # who connects has something to say
            try:
                request = await _receive(stream, connection, patience_s)
            except h11.RemoteProtocolError as error:
                log.debug("metrics.bad_request", reason=str(error))
                await _refuse(stream, connection, error.error_status_hint)
                return
            if request is None or not await self._answer(stream, connection, request):
                return
            connection.start_next_cycle()

    async def _wait_turn(self) -> None:
        """Wait as long as all clients together ask too often."""
        now = trio.current_time()
        self._next_at = max(self._next_at, now - REQUESTS_AT_ONCE / REQUESTS_PER_S) + 1 / REQUESTS_PER_S
        await trio.sleep(max(0.0, self._next_at - now))

    async def _answer(self, stream: trio.SocketStream, connection: h11.Connection, request: h11.Request) -> bool:
        """Answer one request; tell whether another may follow on this connection."""
        page = self._pages.get(request.target.decode("ascii", "replace").partition("?")[0])
        if request.method not in _SAFE:
            answer = Answer(status=405, body=b"only GET and HEAD\n")
        elif page is None:
            known = ", ".join(sorted(self._pages))
            answer = Answer(status=404, body=f"there are only {known}\n".encode())
        else:
            accept = b",".join(value for name, value in request.headers if name == b"accept")
            answer = await page(accept.decode("latin-1"))
        with trio.move_on_after(REQUEST_TIMEOUT_S) as scope:
            await _send(stream, connection, answer, has_body=request.method != b"HEAD")
        if scope.cancelled_caught or connection.our_state is not h11.DONE:
            return False
        return connection.their_state is h11.DONE


async def _receive(stream: trio.SocketStream, connection: h11.Connection, patience_s: float) -> h11.Request | None:
    """Return the next request, without a body; None when it does not begin within `patience_s`, or end in time.

    Raises:
        h11.RemoteProtocolError: It is no HTTP, too long, or has a body.
    """
    request: h11.Request | None = None
    has_begun = connection.trailing_data[0] != b""
    deadline = trio.current_time() + (REQUEST_TIMEOUT_S if has_begun else patience_s)
    while True:
        event = connection.next_event()
        match event:
            case h11.NEED_DATA:
                data = b""
                with trio.move_on_at(deadline):
                    data = await stream.receive_some(_RECEIVE_BYTES)
                if not data:
                    return None
                if not has_begun:
                    has_begun, deadline = True, trio.current_time() + REQUEST_TIMEOUT_S
                connection.receive_data(data)
            case h11.Request():
                request = event
            case h11.Data():
                raise h11.RemoteProtocolError("a body is not taken", error_status_hint=413)
            case h11.EndOfMessage() if request is not None:
                return request
            case _:
                return None


async def _refuse(stream: trio.SocketStream, connection: h11.Connection, status: int) -> None:
    if connection.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
        return
    with trio.move_on_after(REQUEST_TIMEOUT_S):
        await _send(stream, connection, Answer(status=status, body=b"bad request\n"), last=True)


async def _send(
    stream: trio.SocketStream, connection: h11.Connection, answer: Answer, *, has_body: bool = True, last: bool = False
) -> None:
    headers = [
        ("content-type", answer.content_type),
        ("content-length", str(len(answer.body))),
        ("x-content-type-options", "nosniff"),
        *([("connection", "close")] if last else []),
    ]
    parts = (
        h11.Response(status_code=answer.status, headers=headers),
        *((h11.Data(data=answer.body),) if has_body else ()),
        h11.EndOfMessage(),
    )
    await stream.send_all(b"".join(connection.send(part) or b"" for part in parts))


@asynccontextmanager
async def open_http_server(host: str, port: int, pages: Mapping[str, Page]) -> AsyncGenerator[HttpServer, None]:
    """Serve `pages`, by path, until the block ends. It listens when this yields.

    Args:
        host: A name or address of this machine; if it is a name, its first address is taken.
        port: 0 lets the system choose; see `HttpServer.port`.
        pages: What is said under each path.

    Raises:
        ListenFailed: The address can't be had.
    """
    try:
        listeners = await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        reason = "another program has that port" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
        raise ListenFailed(host, port, reason) from error
    for unused in listeners[1:]:
        await unused.aclose()
    server = HttpServer(pages, listeners[0])
    async with listeners[0], trio.open_nursery() as nursery:
        await nursery.start(partial(trio.serve_listeners, server.serve, listeners[:1]))
        log.info("metrics.listening", host=host, port=server.port)
        yield server
        nursery.cancel_scope.cancel()
