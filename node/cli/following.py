"""Submit a task and follow it to its end, as `task submit` and `task watch` do."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from node.api.client import NodeClient, open_client
from node.api.errors import ConnectionLost
from node.api.facade import NodeFacade
from node.api.views import TaskView
from node.cli.failures import ExitCode, unwrap
from node.cli.options import Options
from node.cli.order import PreparedTask, make_order, upload
from node.cli.output import new_console, print_document, print_json
from node.cli.results import save_results
from node.cli.task_file import OfferSpec, TaskFile
from node.cli.watch_view import WatchView

_ID_CHARS: Final = 10


def submit_and_follow(
    options: Options,
    task: TaskFile,
    prepared: PreparedTask,
    offer: OfferSpec,
    *,
    destination: Path | None,
    detach: bool,
) -> ExitCode:
    """Submit, follow unless `detach`, save to `destination` if given, and return how it ended."""
    order = make_order(prepared, offer)
    submitted: list[TaskView] = []

    async def run() -> ExitCode:
        async with open_client(options.find_socket()) as client:
            await _upload(options, client, prepared)
            view = await client.call(NodeFacade.task_submit, order=order)
            submitted.append(view)
            _announce(options, view, detach=detach)
            if detach:
                return ExitCode.DONE
            code = await follow(options, client, view.task.hex())
            if destination is not None and code in (ExitCode.DONE, ExitCode.TASK_FAILED):
                await _save(options, client, view, destination, task.output)
            elif not options.json_output and code is ExitCode.DONE:
                new_console().print(f"Save the result with: stoa task result {view.task.hex()[:_ID_CHARS]} -o .")
            return code

    return interruptible(options, lambda: submitted[0].task.hex() if submitted else None, lambda: trio.run(run))


async def follow(options: Options, client: NodeClient, task: str) -> ExitCode:
    """Print a task's events until its last, and return how it ended.

    Raises:
        ConnectionLost: The node went away before.
    """
    with WatchView(json_output=options.json_output) as view:
        async with client.stream(NodeFacade.task_watch, task=task) as events:
            async for event in events:
                view.show(event)
    if view.ended is None:
        raise ConnectionLost(
            "the node stopped telling before the task was over", advice=f"Follow it again: stoa task watch {task}"
        )
    if view.ended.state == "done" and not view.unsuccessful:
        return ExitCode.DONE
    return ExitCode.TASK_FAILED


def interruptible(options: Options, task: str | Callable[[], str | None], run: Callable[[], ExitCode]) -> ExitCode:
    """Run, and on Ctrl-C say that the task goes on without us, and how to come back to it."""
    try:
        return run()
    except BaseException as raised:
        if not isinstance(unwrap(raised), KeyboardInterrupt):
            raise
        name = task if isinstance(task, str) else task()
        if not options.json_output:
            text = (
                f"The task goes on. Follow it again with: stoa task watch {name[:_ID_CHARS]}\n"
                f"Cancel it with: stoa task cancel {name[:_ID_CHARS]}"
                if name is not None
                else "Nothing was submitted."
            )
            Console(stderr=True, highlight=False, soft_wrap=True).print(f"\n{text}")
        return ExitCode.INTERRUPTED


async def _upload(options: Options, client: NodeClient, prepared: PreparedTask) -> None:
    console = new_console()
    total = sum(blob.size for blob in prepared.sources)
    with Progress(
        TextColumn("handing files to the node"),
        BarColumn(bar_width=30),
        DownloadColumn(),
        console=console,
        transient=True,
        disable=options.json_output or not console.is_terminal,
    ) as progress:
        bar = progress.add_task("", total=total)
        await upload(client, prepared, lambda count: progress.advance(bar, count))


def _announce(options: Options, view: TaskView, *, detach: bool) -> None:
    if options.json_output:
        print_json(view)
        return
    console = new_console()
    console.print(f"Task [bold]{view.task.hex()[:_ID_CHARS]}[/] ({view.name})")
    if detach:
        console.print(f"Follow it with: stoa task watch {view.task.hex()[:_ID_CHARS]}")


async def _save(options: Options, client: NodeClient, view: TaskView, destination: Path, name: str) -> None:
    detail = await client.call(NodeFacade.task_show, task=view.task.hex())
    if not detail.parts:
        return  # the events said why
    saved = await save_results(client, detail, destination, name)
    if options.json_output:
        print_document({"saved": [str(path) for path in saved]})
        return
    for path in saved:
        new_console().print(f"Saved {path}", soft_wrap=True)
