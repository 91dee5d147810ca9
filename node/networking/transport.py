"""Byte streams and how they are dialled: the seam at which a test or the simulator replaces the network."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

import trio

from node.networking.addresses import PeerAddress

Serve: TypeAlias = Callable[[trio.abc.Stream, str], Awaitable[None]]
"""Runs one inbound connection until it ends; gets the stream and the remote host as text."""


class Transport(Protocol):
    """Where connections come from. `SocketTransport` in production, `MemoryTransport` on a virtual clock."""

    async def listen(
        self, address: PeerAddress, serve: Serve, *, task_status: trio.TaskStatus[PeerAddress] = ...
    ) -> None:
        """Accept connections on `address` until cancelled; start `serve` for each in a task of its own.

        Calls `task_status.started` with the address really bound (port 0 becomes a port).

        Raises:
            PortInUse: Another program holds the port.
            ConfigError: The address can't be bound for another reason.
        """
        ...

    async def dial(self, address: PeerAddress) -> tuple[trio.abc.Stream, str]:
        """Connect; return the stream and the remote host as text.

        Raises:
            OSError: Nobody answers there.
        """
        ...
