"""`stoa task`: buying computation."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.text import Text

from node.api.client import NodeClient
from node.api.facade import NodeFacade
from node.api.views import TaskDetail, TaskFilter, TaskView
from node.cli.failures import ExitCode, UsageMistake
from node.cli.following import follow, interruptible, submit_and_follow
from node.cli.lazy import StoaCommand, new_app
from node.cli.options import Options, options_of
from node.cli.order import PreparedTask, make_order, prepare
from node.cli.output import dollars, new_console, print_document, print_json, show
from node.cli.results import prepare_destination, read_logs, save_results
from node.cli.session import ask, call
from node.cli.task_file import OfferSpec, TaskFile, load_task_file
from node.cli.task_pages import render_parts, render_plan, render_task, render_tasks
from node.cli.terms import merge_offer

app = new_app("Buy computation: plan, submit and follow tasks.")

TaskPath = Annotated[Path, typer.Argument(help="A task.toml, or the folder that has one.", show_default=False)]
TaskId = Annotated[str, typer.Argument(help="The task's id, or its first digits.", show_default=False)]
Budget = Annotated[str | None, typer.Option(help="Most to pay, in dollars: 0.40.")]
MaxEta = Annotated[int | None, typer.Option(min=1, max=2**32 - 1, help="Longest time from start to delivery, seconds.")]
Format = Annotated[
    Literal["second-price", "first-price", "open"] | None, typer.Option("--format", help="Kind of auction.")
]
Hire = Annotated[str | None, typer.Option(help="Hire the node with this wallet address, at the budget, no auction.")]
CommitWindow = Annotated[float | None, typer.Option(min=0.1, help="Seconds in which providers may bid, sealed.")]
RevealWindow = Annotated[float | None, typer.Option(min=0.1, help="Seconds in which they reveal their bids.")]
Weights = Annotated[
    str | None, typer.Option(help="Price,reputation,speed in basis points that add up to 10000: 5000,3000,2000.")
]
Verify = Annotated[
    str | None, typer.Option(help="How results are checked: trust, audit, audit:10%, copies, copies:3 or test.")
]


@app.command(cls=StoaCommand)
def submit(
    context: typer.Context,
    path: TaskPath,
    *,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Save the result here: a file, a folder (end it in /), or -.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would happen; same as task plan.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Return once the auction is open.")] = False,
    budget: Budget = None,
    max_eta: MaxEta = None,
    format_name: Format = None,
    hire: Hire = None,
    commit_window: CommitWindow = None,
    reveal_window: RevealWindow = None,
    weights: Weights = None,
    verify: Verify = None,
) -> None:
    """Auction a task and follow it to its result. Ctrl-C only stops the following; the task goes on.

    Examples:
      stoa task submit examples/word-statistics -o out/
      stoa task submit task.toml --budget 2.50 --max-eta 300 --dry-run
      stoa task submit task.toml --verify audit:20% --detach --json
    """
    options = options_of(context)
    task, prepared, offer = _read(
        path, budget, max_eta, format_name, hire, commit_window, reveal_window, weights, verify
    )
    if dry_run:
        _plan(options, prepared, offer)
        return
    destination = prepare_destination(output) if output else None
    code = submit_and_follow(options, task, prepared, offer, destination=destination, detach=detach)
    raise typer.Exit(code)


@app.command(cls=StoaCommand)
def plan(
    context: typer.Context,
    path: TaskPath,
    *,
    budget: Budget = None,
    max_eta: MaxEta = None,
    format_name: Format = None,
    hire: Hire = None,
    commit_window: CommitWindow = None,
    reveal_window: RevealWindow = None,
    weights: Weights = None,
    verify: Verify = None,
) -> None:
    """Say what a task would cost at most, how it would be paid and why, and what may go wrong. Nothing is sent.

    Example:
      stoa task plan examples/monte-carlo
    """
    _, prepared, offer = _read(path, budget, max_eta, format_name, hire, commit_window, reveal_window, weights, verify)
    _plan(options_of(context), prepared, offer)


@app.command("list", cls=StoaCommand)
def list_tasks(
    context: typer.Context,
    *,
    open_only: Annotated[bool, typer.Option("--open/--all", help="Only those that are not over, or all.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most to show.")] = 20,
) -> None:
    """List the tasks that this node buys, newest first.

    Example:
      stoa task list --open
    """
    options = options_of(context)
    chosen: TaskFilter = "open" if open_only else "all"
    tasks = call(options, NodeFacade.task_list, state=chosen, limit=limit)
    show(options, tasks, lambda: render_tasks(tasks), hint=tuple[TaskView, ...])


@app.command("show", cls=StoaCommand)
def show_task(context: typer.Context, task: TaskId) -> None:
    """Show a task: its state, its awards, and each delivered part with fuel, cost and digest.

    Example:
      stoa task show 3fa4
    """
    options = options_of(context)
    detail = _detail(options, task)
    show(options, detail, lambda: render_task(detail))


@app.command(cls=StoaCommand)
def watch(context: typer.Context, task: TaskId) -> None:
    """Follow a task, also one that runs already or is over: what happened is told again first.

    Examples:
      stoa task watch 3fa4
      stoa task watch 3fa4 --json | jq .kind
    """
    options = options_of(context)
    code = interruptible(options, task, lambda: ask(options, lambda client: follow(options, client, task)))
    raise typer.Exit(code)


@app.command(cls=StoaCommand)
def cancel(
    context: typer.Context,
    task: TaskId,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask; pay the price that is shown.")] = False,
) -> None:
    """Cancel a task. Says its price first: what was delivered is paid, nothing more is.

    With --json and without --yes, only the price is printed.

    Examples:
      stoa task cancel 3fa4
      stoa task cancel 3fa4 --yes
    """
    options = options_of(context)
    price = call(options, NodeFacade.task_cancel_quote, task=task)
    if not options.json_output:
        new_console().print(
            f"Cancelling costs {dollars(price.cost)}: {price.explanation.rstrip('.')}. "
            f"{dollars(price.released)} comes back."
        )
    elif not yes:
        print_json(price)
        return
    if not yes and not typer.confirm("Cancel the task?"):
        raise typer.Exit(ExitCode.DONE)
    view = call(options, NodeFacade.task_cancel, task=task, cost=price.cost)
    show(options, view, lambda: Text("The task is cancelled."))


@app.command(cls=StoaCommand)
def result(
    context: typer.Context,
    task: TaskId,
    *,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Save here: a file, a folder (end it in /), or - for stdout.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the file in a folder; else the task's name.")] = None,
) -> None:
    """Save what a task gave, each byte checked against the digest that the provider signed.

    Without -o, list the outputs. With several parts, part k of report.txt is saved as report.k.txt.

    Examples:
      stoa task result 3fa4 -o out/
      stoa task result 3fa4 -o - | head
    """
    options = options_of(context)
    if output is None:
        detail = _detail(options, task)
        show(options, detail, lambda: render_parts(detail))
        return
    destination = prepare_destination(output)

    async def work(client: NodeClient) -> list[Path]:
        detail = await client.call(NodeFacade.task_show, task=task)
        return await save_results(client, detail, destination, name or detail.task.name)

    saved = ask(options, work)
    if options.json_output and saved:
        print_document({"saved": [str(path) for path in saved]})
    else:
        for path in saved:
            new_console().print(f"Saved {path}", soft_wrap=True)


@app.command(cls=StoaCommand)
def logs(
    context: typer.Context,
    task: TaskId,
    *,
    part: Annotated[int | None, typer.Option(min=0, help="Only this part, from 0.")] = None,
) -> None:
    """Print what the program wrote on standard error, as its provider signed it.

    Example:
      stoa task logs 3fa4 --part 2
    """
    options = options_of(context)

    async def work(client: NodeClient) -> dict[int, bytes]:
        detail = await client.call(NodeFacade.task_show, task=task)
        chosen = [each for each in detail.parts if part is None or each.part == part]
        if not chosen:
            raise UsageMistake(
                f"no such part has been delivered; there are {len(detail.parts)} of {detail.task.parts}",
                advice="See: stoa task show, or wait for it with stoa task watch.",
            )
        return {each.part: await read_logs(client, each) for each in chosen}

    found = ask(options, work)
    for number, data in found.items():
        text = data.decode("utf-8", "replace")
        if options.json_output:
            print_document({"part": number, "logs": text})
        else:
            typer.echo(text, nl=not text.endswith("\n"))


def _read(
    path: Path,
    budget: str | None,
    max_eta: int | None,
    format_name: str | None,
    hire: str | None,
    commit_window: float | None,
    reveal_window: float | None,
    weights: str | None,
    verify: str | None,
) -> tuple[TaskFile, PreparedTask, OfferSpec]:
    task = load_task_file(path)
    offer = merge_offer(
        task.offer,
        budget=budget,
        max_eta_s=max_eta,
        format_name=format_name,
        hire=hire,
        commit_window_s=commit_window,
        reveal_window_s=reveal_window,
        weights=weights,
        verify=verify,
    )
    return task, prepare(task), offer


def _plan(options: Options, prepared: PreparedTask, offer: OfferSpec) -> None:
    order = make_order(prepared, offer)
    answer = call(options, NodeFacade.task_plan, order=order)
    show(options, answer, lambda: render_plan(answer))


def _detail(options: Options, task: str) -> TaskDetail:
    return call(options, NodeFacade.task_show, task=task)
