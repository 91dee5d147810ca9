"""One command's talk with the node."""

from collections.abc import Awaitable, Callable
from typing import Concatenate, ParamSpec, TypeVar

import trio

from node.api.client import NodeClient, open_client
from node.api.facade import NodeFacade
from node.cli.options import Options

P = ParamSpec("P")
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


def call(
    options: Options,
    method: Callable[Concatenate[NodeFacade, P], Awaitable[T]],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Call one method of the node's facade; arguments by name.

    Raises:
        NodeNotRunning: There is none.
        RemoteError: It refused.
    """
    return ask(options, lambda client: client.call(method, *args, **kwargs))
