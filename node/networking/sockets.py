"""TCP, through trio. No reuse of a port that another program holds: two nodes on one port would share its peers."""

import errno
from contextlib import suppress
from typing import Final

import structlog
import trio

from node.networking.addresses import PeerAddress
from node.networking.errors import PortInUse
from node.networking.transport import Serve
from protocol.errors import ConfigError

log = structlog.get_logger(__name__)

BACKLOG: Final = 128


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
            with suppress(OSError):  # the peer may be gone before we ask who it is
                await serve(stream, str(stream.socket.getpeername()[0]))
            await trio.aclose_forcefully(stream)

        bound = listeners[0].socket.getsockname()[1]
        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, serve_stream, listeners)
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
