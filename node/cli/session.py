"""One command's talk with the node."""

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Concatenate, ParamSpec, TypeVar

import trio
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

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


def transact(
    options: Options,
    method: Callable[Concatenate[NodeFacade, P], Awaitable[T]],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """The same, with a clock: it waits for a transaction of its own, up to minutes on a real network."""
    with clock("Waiting for the chain to confirm it"):
        return call(options, method, *args, **kwargs)


@contextmanager
def clock(waiting: str) -> Generator[None, None, None]:
    """Show on a terminal what is waited for, and since when; gone at the end."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console, transient=True
    ) as progress:
        progress.add_task(waiting, total=None)
        yield
