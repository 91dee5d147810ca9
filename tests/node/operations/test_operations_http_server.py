# pyright: reportPrivateUsage=false, reportUnknownMemberType=false
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock

from node.operations.http_server import (
    IDLE_TIMEOUT_S,
    MAX_CLIENTS,
    MAX_HEADER_BYTES,
    REQUEST_TIMEOUT_S,
    REQUESTS_AT_ONCE,
    REQUESTS_PER_S,
    Answer,
    HttpServer,
    ListenFailed,
    open_http_server,
)

PATIENCE_S = 60.0
GET = b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n"


async def page(accept: str) -> Answer:
    await trio.lowlevel.checkpoint()
    return Answer(body=f"accepts {accept!r}\n".encode())


@asynccontextmanager
async def server(patience_s: float = PATIENCE_S) -> AsyncGenerator[HttpServer, None]:
    with trio.fail_after(patience_s):
        async with open_http_server("127.0.0.1", 0, {"/page": page}) as made:
            yield made


async def say(to: HttpServer, data: bytes) -> bytes:
    """Send bytes on a new connection, end our half, and return all that comes back."""
    async with await trio.open_tcp_stream("127.0.0.1", to.port) as stream:
        try:
            await stream.send_all(data)
            await stream.send_eof()
        except trio.BrokenResourceError:  # it has had enough already
            return b""
        return await read_all(stream)


async def read_all(stream: trio.SocketStream) -> bytes:
    heard = b""
    try:
        while piece := await stream.receive_some(65_536):
            heard += piece
    except trio.BrokenResourceError:
        pass
    return heard


async def assert_serves(made: HttpServer) -> None:
    assert (await say(made, GET)).startswith(b"HTTP/1.1 200 ")


async def test_a_page_is_served_with_its_length_and_the_accept_header_given_to_it() -> None:
    async with server() as made:
        answer = await say(made, b"GET /page?x=1 HTTP/1.1\r\nHost: x\r\nAccept: text/plain\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert f"content-length: {len(body)}".encode() in head
    assert body == b"accepts 'text/plain'\n"


async def test_a_connection_serves_many_requests_also_pipelined_ones() -> None:
    async with server() as made:
        assert (await say(made, GET * 50)).count(b"HTTP/1.1 200 ") == 50


async def test_head_has_no_body() -> None:
    async with server() as made:
        head, _, body = (await say(made, GET.replace(b"GET", b"HEAD"))).partition(b"\r\n\r\n")
    assert b"content-length: 11" in head
    assert body == b""


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (GET.replace(b"/page", b"/other"), 404),
        (GET.replace(b"GET", b"DELETE"), 405),
        (b"POST /page HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody", 413),
        (b"GET /page HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET /page HTTP/1.1\r\nHost: x\r\nA: " + b"a" * (2 * MAX_HEADER_BYTES) + b"\r\n\r\n", 431),
        (b"GET /page HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ],
    ids=["unknown path", "method", "body", "no host", "a TLS hello", "long header", "chunked", "no ASCII"],
)
async def test_what_it_does_not_serve_is_refused_in_words_and_it_serves_on(request_bytes: bytes, status: int) -> None:
    async with server() as made:
        answer = await say(made, request_bytes)
        # A refusal may be lost when the server closes on what it has not read; a wrong answer is what must not be.
        assert answer == b"" or answer.startswith(f"HTTP/1.1 {status} ".encode())
        assert b" 200 " not in answer
        await assert_serves(made)


async def test_garbage_at_any_point_never_stops_it() -> None:
    pieces = [
        b"\x00" * 100,
        b"\r\n" * 5000,
        b"GET",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\xff\xfe" * 50,
        GET[:20],
        GET + b"\x00",
    ]
    async with server() as made:
        for piece in pieces:
            await say(made, piece)
        await assert_serves(made)


async def test_no_more_clients_than_allowed_and_room_again_when_they_go() -> None:
    async with server() as made:
        async with trio.open_nursery() as nursery:
            held = [await trio.open_tcp_stream("127.0.0.1", made.port) for _ in range(MAX_CLIENTS)]
            while made.clients < MAX_CLIENTS:
                await trio.sleep(0.01)
            assert await say(made, GET) == b""
            for stream in held:
                nursery.start_soon(stream.aclose)
        while made.clients:
            await trio.sleep(0.01)
        await assert_serves(made)


async def test_all_clients_together_ask_at_a_pace(autojump_clock: MockClock) -> None:
    made = HttpServer({}, cast("Any", None))
    start = trio.current_time()
    for _ in range(REQUESTS_AT_ONCE):
        await made._wait_turn()
    assert trio.current_time() == start
    async with trio.open_nursery() as nursery:
        for _ in range(200):
            nursery.start_soon(made._wait_turn)
    assert trio.current_time() - start == pytest.approx(200 / REQUESTS_PER_S)
    await trio.sleep(600)
    start = trio.current_time()
    for _ in range(REQUESTS_AT_ONCE + 1):
        await made._wait_turn()
    assert trio.current_time() - start == pytest.approx(1 / REQUESTS_PER_S)  # a long pause earns no more


async def test_who_is_slow_to_ask_is_cut_off_and_a_scraper_may_pause(autojump_clock: MockClock) -> None:
    """Over a pair of sockets, since the virtual clock jumps only while nothing is on its way."""
    async with server(patience_s=10 * IDLE_TIMEOUT_S) as made:
        for before, patience_s in ((b"", REQUEST_TIMEOUT_S), (GET[:10], REQUEST_TIMEOUT_S), (GET, IDLE_TIMEOUT_S)):
            ours, theirs = (trio.SocketStream(trio.socket.from_stdlib_socket(each)) for each in socket.socketpair())
            async with ours, theirs, trio.open_nursery() as nursery:
                nursery.start_soon(made.serve, theirs)
                if before:
                    await ours.send_all(before)
                began = trio.current_time()
                while made.clients == 0:
                    await trio.lowlevel.checkpoint()
                while made.clients:
                    await trio.sleep(0.5)
                assert patience_s <= trio.current_time() - began <= patience_s + 1


async def test_an_address_in_use_is_said_with_what_to_do() -> None:
    async with server() as made:
        with pytest.raises(ListenFailed, match="another program has that port") as caught:
            async with open_http_server("127.0.0.1", made.port, {}):
                pass
    assert "operations.metrics_listen" in caught.value.advice
