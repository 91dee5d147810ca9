"""The control server: serves the facade to the commands of this user on this machine."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import structlog
import trio

from node.api.connection import serve_client
from node.api.control_socket import hold_control_socket
from node.api.errors import ConnectionLost, TooManyClients, family_of
from node.api.facade import NodeFacade
from node.api.lines import LineStream

log = structlog.stdlib.get_logger(__name__)

MAX_CLIENTS: Final = 64


class ControlServer:
    """Made by `open_control_server`."""

    def __init__(self, facade: NodeFacade) -> None:
        self._facade = facade
        self.clients = 0

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve one client; `trio.serve_listeners` closes the stream."""
        if self.clients >= MAX_CLIENTS:
            await _turn_away(LineStream(stream))
            return
        self.clients += 1
        try:
            await serve_client(LineStream(stream), self._facade)
        finally:
            self.clients -= 1


@asynccontextmanager
async def open_control_server(facade: NodeFacade, path: Path) -> AsyncGenerator[ControlServer, None]:
    """Serve `facade` at the Unix socket `path` until the block ends. The socket appears when this yields.

    Raises:
        ControlSocketInUse: Another node listens there.
        ControlSocketUnusable: The folder is missing, forbidden or open to others.
    """
    server = ControlServer(facade)
    with hold_control_socket(path) as listener:
        async with listener, trio.open_nursery() as nursery:
            await nursery.start(partial(trio.serve_listeners, server.serve, [listener]))
            log.info("api.listening", socket=str(path))
            yield server
            nursery.cancel_scope.cancel()


async def _turn_away(lines: LineStream) -> None:
    error = TooManyClients(f"the node serves {MAX_CLIENTS} commands already")
    try:
        await lines.send(
            {
                "id": None,
                "error": {
                    "kind": type(error).__name__,
                    "family": family_of(error),
                    "message": str(error),
                    "advice": error.advice,
                },
            }
        )
    except ConnectionLost:
        log.debug("api.client_gone")
