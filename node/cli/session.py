"""One command's talk with the node."""

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Final, TypeVar

import trio
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from node.api.client import NodeClient, open_client
from node.cli.options import Options

T = TypeVar("T")
TRANSACTION: Final = "Waiting for the chain to confirm it"
"""What is said while a command waits for a transaction of its own: up to minutes on a real network."""


def ask(options: Options, work: Callable[[NodeClient], Awaitable[T]], *, waiting: str = "") -> T:
    """Run `work` with a connection to the node.

    Args:
        options: Where the node is.
        work: What to ask it.
        waiting: What it waits for, if that may take long: shown with a clock on a terminal, and gone at the end.

    Raises:
        NodeNotRunning: There is none.
    """

    async def run() -> T:
        async with open_client(options.find_socket()) as client:
            return await work(client)

    with _clock(waiting):
        return trio.run(run)


@contextmanager
def _clock(waiting: str) -> Generator[None, None, None]:
    console = Console(stderr=True)
    if not waiting or not console.is_terminal:
        yield
        return
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console, transient=True
    ) as progress:
        progress.add_task(waiting, total=None)
        yield
