"""Putting the watching together: samplers, metrics and their server, spans and their exporter."""

import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import trio

from node.app.node import Node
from node.app.telemetry.instruments import Instruments
from node.app.telemetry.look import Lookout
from node.app.telemetry.readings import Readings
from node.operations.health import Status, compute_overall
from node.operations.http_server import Answer, HttpServer, open_http_server
from node.operations.metrics import Reading, render, watch_lag
from node.operations.tracing import Tracer
from protocol.market.messages import MarketMessage


@asynccontextmanager
async def open_observation(
    node: Node, instruments: Instruments, tracer: Tracer | None
) -> AsyncGenerator[HttpServer | None, None]:
    """Watch `node` until the block ends, and tell whoever may ask. Without an address to listen on, nothing runs.

    Raises:
        ListenFailed: The address of `operations.metrics_listen` can't be had.
    """
    address = node.settings.operations.metrics_listen
    if address is None:
        yield None
        return
    lookout = Lookout(node)
    instruments.registry.register(Reading(Readings(node, lookout, tracer).read))

    one_page = trio.Lock()

    async def metrics(accept: str) -> Answer:
        async with one_page:  # in each round of the loop, however many ask: it takes milliseconds
            await trio.lowlevel.checkpoint()
            body, content_type = render(instruments.registry, accept)
        return Answer(content_type=content_type, body=body)

    async def health(_accept: str) -> Answer:
        return await _tell_health(node)

    async def hear(message: MarketMessage) -> None:
        await trio.lowlevel.checkpoint()
        instruments.on_market_message(node.domain, message)

    node.gossip.listen(hear)
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        stack.callback(nursery.cancel_scope.cancel)
        nursery.start_soon(lookout.run)
        nursery.start_soon(watch_lag, instruments.on_lag)
        pages = {"/metrics": metrics, "/healthz": health}
        yield await stack.enter_async_context(open_http_server(address.host, address.port, pages))


async def _tell_health(node: Node) -> Answer:
    """Say how the node is: 503 when something has failed, 200 otherwise; the reasons are in the body."""
    reports = await node.health.examine()
    overall = compute_overall(reports)
    document = {
        "status": overall.label,
        "checks": {
            name: {"status": report.status.label, "reason": report.reason, "advice": report.advice}
            for name, report in reports.items()
        },
    }
    return Answer(
        status=503 if overall is Status.FAILED else 200,
        content_type="application/json",
        body=json.dumps(document).encode() + b"\n",
    )
