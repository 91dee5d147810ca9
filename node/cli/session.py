"""One command's talk with the node."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from node.api.client import NodeClient, open_client
from node.cli.options import Options

T = TypeVar("T")


def ask(options: Options, work: Callable[[NodeClient], Awaitable[T]]) -> T:
    """Run `work` with a connection to the node.

    Raises:
        NodeNotRunning: There is none.
    """

    async def run() -> T:
        async with open_client(options.find_socket()) as client:
            return await work(client)

    return trio.run(run)
