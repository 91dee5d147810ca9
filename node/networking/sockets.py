"""TCP, through trio. No reuse of a port that another program holds: two nodes on one port would share its peers."""

import errno
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import structlog
import trio

from node.networking.addresses import PeerAddress
from node.networking.errors import PortInUse
from node.networking.limits import Rate, TokenBucket
from node.networking.transport import Serve
from protocol.errors import ConfigError

log = structlog.get_logger(__name__)

BACKLOG: Final = 128
ACCEPT_RATE: Final = Rate(per_s=200, burst=200)
"""Connections taken from the system: to look at one and refuse it costs 0.1 ms. The others wait in its backlog."""
EXHAUSTED_PAUSE_S: Final = 0.1
"""After the system had no descriptor or memory for another connection."""


class SocketTransport:
    """Connections over TCP."""

    async def listen(
        self,
        address: PeerAddress,
        serve: Serve,
        *,
        task_status: trio.TaskStatus[PeerAddress] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Accept connections on `address` until cancelled. See `Transport.listen`."""
        if address.kind not in ("ip4", "ip6"):
            raise ConfigError(f"the node can't listen on {address}", advice="Listen on an /ip4 or /ip6 address.")
        try:
            listeners = await trio.open_tcp_listeners(address.port, host=address.host, backlog=BACKLOG)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(str(address), address.port) from error
            raise ConfigError(
                f"the node can't listen on {address}: {error.strerror or error}",
                advice="Choose an address of this machine and a port that this user may use.",
            ) from error

        async def serve_stream(stream: trio.SocketStream) -> None:
            try:
                with suppress(OSError):  # the peer may be gone before we ask who it is
                    await serve(stream, str(stream.socket.getpeername()[0]))
            finally:
                await trio.aclose_forcefully(stream)

        bound = listeners[0].socket.getsockname()[1]
        async with trio.open_nursery() as nursery:
            for listener in listeners:
                nursery.start_soon(_accept, listener, serve_stream, nursery)
            task_status.started(PeerAddress(kind=address.kind, host=address.host, port=bound))

    async def dial(self, address: PeerAddress) -> tuple[trio.abc.Stream, str]:
        """Connect to `address`. See `Transport.dial`."""
        if address.kind == "memory":
            raise OSError(f"{address} exists only inside a test")
        stream = await trio.open_tcp_stream(address.host, address.port)
        try:
            return stream, str(stream.socket.getpeername()[0])
        except OSError:
            await trio.aclose_forcefully(stream)
            raise


async def _accept(
    listener: trio.SocketListener, serve: Callable[[trio.SocketStream], Awaitable[None]], nursery: trio.Nursery
) -> None:
    """Start `serve` for each connection, at a pace that leaves the loop to those that are connected."""
    pace = TokenBucket(ACCEPT_RATE)
    async with listener:
        while True:
            await pace.wait()
            try:
                stream = await listener.accept()
            except OSError as error:
                log.warning("network.accept_failed", why=error.strerror or str(error))
                await trio.sleep(EXHAUSTED_PAUSE_S)
            else:
                nursery.start_soon(serve, stream)
