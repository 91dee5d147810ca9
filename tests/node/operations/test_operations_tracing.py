"""Against a real HTTP server: what arrives is OTLP, and a collector that is slow, wrong or away costs only spans."""

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import h11
import pytest
import trio
import trio.testing

from node.operations import tracing
from node.operations.tracing import QUEUE_SPANS, Span, Tracer, encode_spans, open_tracer

PATIENCE_S = 60.0
RESOURCE = {"service.name": "stoa"}


class Collector:
    """An HTTP server that keeps what is posted, and answers as it is told."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.status: Callable[[], int] = lambda: 200
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1/traces"

    @property
    def spans(self) -> list[dict[str, Any]]:
        return [
            span
            for body in self.bodies
            for resource in body["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]

    async def serve(self, stream: trio.SocketStream) -> None:
        connection, body = h11.Connection(h11.SERVER), b""
        while True:
            match connection.next_event():
                case h11.NEED_DATA:
                    connection.receive_data(await stream.receive_some(65_536))
                case h11.Request() as request:
                    headers = {name.decode(): value.decode() for name, value in request.headers}
                    self.requests.append((request.target.decode(), headers))
                case h11.Data(data=data):
                    body += data
                case h11.EndOfMessage():
                    status = self.status()
                    if status == 200:
                        self.bodies.append(json.loads(body))
                    head = connection.send(h11.Response(status_code=status, headers=[("content-length", "0")]))
                    await stream.send_all((head or b"") + (connection.send(h11.EndOfMessage()) or b""))
                    connection.start_next_cycle()
                    body = b""
                case _:
                    return


@asynccontextmanager
async def open_collector() -> AsyncGenerator[Collector, None]:
    collector = Collector()
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    collector.port = listener.socket.getsockname()[1]
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(trio.serve_listeners, collector.serve, [listener]))
            yield collector
            nursery.cancel_scope.cancel()


def span(number: int = 0, **changes: Any) -> Span:
    plain = Span(trace=bytes(range(16)), identity=number.to_bytes(8, "big"), name="part", start=1.5, end=2.0)
    return replace(plain, **changes)


async def until(is_true: Callable[[], bool]) -> None:
    while not is_true():
        await trio.sleep(0.01)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "BATCH_EVERY_S", 0.05)
    monkeypatch.setattr(tracing, "FIRST_RETRY_S", 0.01)


async def test_spans_arrive_as_otlp_json() -> None:
    attributes = {"stoa.part": 3, "stoa.task": "0xab", "flag": True}
    async with open_collector() as collector, open_tracer(collector.url, resource=RESOURCE) as tracer:
        tracer.record(span(7, parent=b"\xaa" * 8, attributes=attributes, error="it broke"))
        await until(lambda: tracer.sent == 1)
        (path, headers) = collector.requests[0]
        (body,) = collector.bodies
    assert path == "/v1/traces"
    assert headers["content-type"] == "application/json"
    (resource,) = body["resourceSpans"]
    assert resource["resource"]["attributes"] == [{"key": "service.name", "value": {"stringValue": "stoa"}}]
    assert resource["scopeSpans"][0]["spans"] == [
        {
            "traceId": "000102030405060708090a0b0c0d0e0f",
            "spanId": "0000000000000007",
            "parentSpanId": "aaaaaaaaaaaaaaaa",
            "name": "part",
            "kind": 1,
            "startTimeUnixNano": "1500000000",
            "endTimeUnixNano": "2000000000",
            "attributes": [
                {"key": "stoa.part", "value": {"intValue": "3"}},
                {"key": "stoa.task", "value": {"stringValue": "0xab"}},
                {"key": "flag", "value": {"boolValue": True}},
            ],
            "status": {"code": 2, "message": "it broke"},
        }
    ]


def test_a_span_never_ends_before_it_starts_though_the_clock_was_set_back() -> None:
    (made,) = json.loads(encode_spans([span(start=9.0, end=3.0)], {}))["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert made["startTimeUnixNano"] == made["endTimeUnixNano"] == "9000000000"


async def test_a_busy_collector_is_asked_again_and_gets_each_span_once() -> None:
    answers = iter([503, 429, 200])
    async with open_collector() as collector, open_tracer(collector.url, resource=RESOURCE) as tracer:
        collector.status = lambda: next(answers, 200)
        tracer.record(span(1))
        await until(lambda: tracer.sent == 1)
        tracer.record(span(2))
        await until(lambda: tracer.sent == 2)
        assert [each["spanId"] for each in collector.spans] == ["0000000000000001", "0000000000000002"]
        assert tracer.dropped == 0


@pytest.mark.parametrize("status", [400, 302, 503])
async def test_what_is_refused_for_good_or_for_too_long_is_dropped_and_counted(status: int) -> None:
    async with open_collector() as collector, open_tracer(collector.url, resource=RESOURCE) as tracer:
        collector.status = lambda: status
        tracer.record(span(1))
        await until(lambda: tracer.dropped == 1)
        collector.status = lambda: 200
        tracer.record(span(2))
        await until(lambda: tracer.sent == 1)
        assert [each["spanId"] for each in collector.spans] == ["0000000000000002"]


async def test_without_a_collector_the_queue_is_bounded_and_nobody_waits() -> None:
    with trio.fail_after(PATIENCE_S):
        async with open_tracer("http://127.0.0.1:9/v1/traces", resource=RESOURCE) as tracer:
            for number in range(QUEUE_SPANS + 100):
                tracer.record(span(number))
            assert tracer.dropped == 100
            assert tracer.waiting == QUEUE_SPANS


async def test_a_closing_node_still_sends_what_waits() -> None:
    async with open_collector() as collector:
        tracers: list[Tracer] = []
        async with open_tracer(collector.url, resource=RESOURCE) as tracer:
            tracers.append(tracer)
            await trio.testing.wait_all_tasks_blocked()
            for number in range(300):  # more than one batch, none of it sent yet
                tracer.record(span(number))
        assert len(collector.spans) == 300
        tracers[0].record(span())  # too late: dropped, not raised
        assert tracers[0].dropped == 1


async def test_a_collector_that_never_answers_does_not_keep_a_node_from_closing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracing, "LAST_WORDS_S", 0.2)
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        with trio.fail_after(PATIENCE_S):
            url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/"
            async with open_tracer(url, resource=RESOURCE) as tracer:
                tracer.record(span())
                async with await listener.accept():
                    pass
