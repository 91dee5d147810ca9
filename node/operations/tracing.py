"""Spans to an OpenTelemetry collector: OTLP over HTTP, JSON encoding (opentelemetry-proto 1.x, specification "OTLP").

Written here because the SDK exports from threads of its own through `requests` (docs/adr/1312). Spans wait in a bounded
queue; when the collector is slow or away the newest are dropped and counted, and nobody in the node ever waits.
"""

import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

import httpx
import structlog
import trio

from node.operations.http_body import Body

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

QUEUE_SPANS: Final = 2048
BATCH_SPANS: Final = 256
BATCH_EVERY_S: Final = 2.0
POST_TIMEOUT_S: Final = 10.0
TRIES: Final = 4
"""Of one batch, each after a wait twice as long; then it is dropped."""
FIRST_RETRY_S: Final = 1.0
LAST_WORDS_S: Final = 2.0
"""What a closing node gives to the spans that wait."""
MAX_TEXT: Final = 256
_RETRIED: Final = frozenset({429, 502, 503, 504})
_NS: Final = 1_000_000_000
_KIND_INTERNAL: Final = 1
_STATUS_ERROR: Final = 2

Value: TypeAlias = str | int | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Something that took time.

    Attributes:
        trace: 16 bytes, shared by all spans of a task on every node.
        identity: 8 bytes.
        parent: The span that this is a piece of; empty for none.
        start, end: Unix time, seconds.
        attributes: Never a secret.
        error: What went wrong; empty if nothing did.
    """

    trace: bytes
    identity: bytes
    parent: bytes = b""
    name: str
    start: float
    end: float
    attributes: Mapping[str, Value] = field(default_factory=dict[str, Value])
    error: str = ""


class Tracer:
    """Takes spans. Made by `open_tracer`; `record` never waits and never raises."""

    def __init__(self, send: trio.MemorySendChannel[Span]) -> None:
        self._send = send
        self.sent = 0
        """Spans that the collector took."""
        self.dropped = 0
        """Spans that found the queue full, or that the collector refused or never took."""

    @property
    def waiting(self) -> int:
        """Spans in the queue."""
        return self._send.statistics().current_buffer_used

    def record(self, span: Span) -> None:
        """Queue a span, or drop it."""
        try:
            self._send.send_nowait(span)
        except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
            self.dropped += 1


class _Exporter:
    """Takes spans out of the queue and posts them."""

    def __init__(
        self, tracer: Tracer, inbox: trio.MemoryReceiveChannel[Span], url: str, resource: Mapping[str, Value]
    ) -> None:
        self._tracer, self._inbox, self._url, self._resource = tracer, inbox, url, resource
        self._client = httpx.AsyncClient(timeout=POST_TIMEOUT_S, trust_env=False, follow_redirects=False)
        self._in_hand: list[Span] = []

    async def run(self) -> None:
        """Post batches until cancelled, then what is left, if that is quick."""
        async with self._client, self._inbox:
            try:
                while True:
                    await self._gather()
                    await self._post_patiently()
            finally:
                with trio.move_on_after(LAST_WORDS_S, shield=True):
                    self._in_hand += self._take_waiting()
                    if self._in_hand:
                        await self._post()

    async def _gather(self) -> None:
        """Wait for a span, then a little for more. They are in hand one by one: a cancellation must lose none."""
        self._in_hand.append(await self._inbox.receive())
        with trio.move_on_after(BATCH_EVERY_S):
            while len(self._in_hand) < BATCH_SPANS:
                self._in_hand.append(await self._inbox.receive())

    def _take_waiting(self) -> list[Span]:
        spans: list[Span] = []
        while len(spans) < QUEUE_SPANS:
            try:
                spans.append(self._inbox.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel):
                break
        return spans

    async def _post_patiently(self) -> None:
        delay_s = FIRST_RETRY_S
        for attempt in range(TRIES):
            if attempt:
                await trio.sleep(delay_s)
                delay_s *= 2
            if await self._post():
                return
        self._tracer.dropped += len(self._in_hand)
        log.warning("traces.dropped", spans=len(self._in_hand), to=_host_of(self._url))
        self._in_hand = []

    async def _post(self) -> bool:
        """Post what is in hand; tell whether that is settled: taken, or refused for good."""
        body = encode_spans(self._in_hand, self._resource)
        headers = {"content-type": "application/json", "content-length": str(len(body))}
        request = self._client.build_request("POST", self._url, headers=headers)
        request.stream = Body(body)
        try:
            response = await self._client.send(request, stream=True)
            async with aclosing(response):
                status = response.status_code
        except httpx.HTTPError as error:
            log.debug("traces.not_sent", reason=str(error) or type(error).__name__)
            return False
        if status in _RETRIED:
            return False
        if httpx.codes.is_success(status):
            self._tracer.sent += len(self._in_hand)
        else:
            self._tracer.dropped += len(self._in_hand)
            log.warning("traces.refused", status=status, spans=len(self._in_hand), to=_host_of(self._url))
        self._in_hand = []
        return True


@asynccontextmanager
async def open_tracer(url: str, *, resource: Mapping[str, Value]) -> AsyncGenerator[Tracer, None]:
    """Send spans to the collector at `url` until the block ends.

    Args:
        url: With its path, usually `/v1/traces`.
        resource: What sends them: `service.name` and the like.
    """
    send, receive = trio.open_memory_channel[Span](QUEUE_SPANS)
    tracer = Tracer(send)
    exporter = _Exporter(tracer, receive, url, resource)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(exporter.run)
        yield tracer
        nursery.cancel_scope.cancel()


def encode_spans(spans: list[Span], resource: Mapping[str, Value]) -> bytes:
    """Return an ExportTraceServiceRequest in OTLP's JSON: ids as hexadecimal, 64-bit numbers as text."""
    document: dict[str, Any] = {
        "resourceSpans": [
            {
                "resource": {"attributes": _attributes(resource)},
                "scopeSpans": [{"scope": {"name": "stoa"}, "spans": [_span(each) for each in spans]}],
            }
        ]
    }
    return json.dumps(document).encode()


Record: TypeAlias = Callable[[Span], None]


def _span(span: Span) -> dict[str, Any]:
    return {
        "traceId": span.trace.hex(),
        "spanId": span.identity.hex(),
        **({"parentSpanId": span.parent.hex()} if span.parent else {}),
        "name": span.name,
        "kind": _KIND_INTERNAL,
        "startTimeUnixNano": str(int(span.start * _NS)),
        "endTimeUnixNano": str(int(max(span.start, span.end) * _NS)),
        "attributes": _attributes(span.attributes),
        **({"status": {"code": _STATUS_ERROR, "message": span.error[:MAX_TEXT]}} if span.error else {}),
    }


def _attributes(values: Mapping[str, Value]) -> list[dict[str, Any]]:
    return [{"key": name, "value": _value(value)} for name, value in values.items()]


def _value(value: Value) -> dict[str, Any]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case str():
            return {"stringValue": value[:MAX_TEXT]}


def _host_of(url: str) -> str:
    return urlsplit(url).hostname or ""  # path and query may hold a key
