"""`stoa task`: buying computation."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from node.api.client import NodeClient
from node.api.facade import NodeFacade
from node.api.views import CancelQuote, TaskDetail, TaskFilter, TaskPlan, TaskView
from node.cli.commands.disputes import describe_dispute
from node.cli.failures import ExitCode, UsageMistake
from node.cli.following import follow, interruptible, submit_and_follow
from node.cli.lazy import StoaCommand, new_app
from node.cli.options import Options, options_of
from node.cli.order import PreparedTask, make_order, prepare
from node.cli.output import (
    dollars,
    facts,
    fuel,
    long_address,
    moment,
    new_console,
    print_document,
    print_json,
    short_address,
    short_id,
    show,
    size,
    state,
    table,
)
from node.cli.results import prepare_destination, read_logs, save_results
from node.cli.session import ask
from node.cli.task_file import OfferSpec, TaskFile, load_task_file
from node.cli.terms import merge_offer
from protocol.units import Amount, format_amount

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

    async def work(client: NodeClient) -> tuple[TaskView, ...]:
        return await client.call(NodeFacade.task_list, state=chosen, limit=limit)

    tasks = ask(options, work)
    show(options, tasks, lambda: _render_list(tasks), hint=tuple[TaskView, ...])


@app.command("show", cls=StoaCommand)
def show_task(context: typer.Context, task: TaskId) -> None:
    """Show a task: its state, its awards, and each delivered part with fuel, cost and digest.

    Example:
      stoa task show 3fa4
    """
    options = options_of(context)
    detail = _detail(options, task)
    show(options, detail, lambda: _render_detail(detail))


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

    async def ask_price(client: NodeClient) -> CancelQuote:
        return await client.call(NodeFacade.task_cancel_quote, task=task)

    price = ask(options, ask_price)
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

    async def confirm(client: NodeClient) -> TaskView:
        return await client.call(NodeFacade.task_cancel, task=task, cost=price.cost)

    view = ask(options, confirm)
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
        show(options, detail, lambda: _render_parts(detail))
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

    async def work(client: NodeClient) -> TaskPlan:
        return await client.call(NodeFacade.task_plan, order=order)

    answer = ask(options, work)
    show(options, answer, lambda: _render_plan(answer))


def _detail(options: Options, task: str) -> TaskDetail:
    async def work(client: NodeClient) -> TaskDetail:
        return await client.call(NodeFacade.task_show, task=task)

    return ask(options, work)


def _render_plan(plan: TaskPlan) -> RenderableType:
    parts = f"{plan.parts} parts" if plan.parts > 1 else "one part"
    rail = {"channel": "over a payment channel", "escrow": "from the escrow contract", None: "not at all now"}[
        plan.rail
    ]
    top_up = f"; {format_amount(plan.top_up)} is added to the channel first" if plan.top_up else ""
    lines: list[RenderableType] = [
        facts(
            ("task", f"{plan.name}, {parts}"),
            ("auction", f"{plan.format}, {plan.window_s:.1f} s for bids, delivery within {plan.max_eta_s} s"),
            ("estimate", f"{dollars(plan.estimate)} at full limits, as the cheapest known seller asks"),
            ("at most", f"{dollars(plan.cap)} (budget {_describe_budget(plan.budget, plan.copies)})"),
            ("paid", f"{rail}: {plan.rail_reason}{top_up}"),
            ("checked", plan.verification),
            ("sellers", f"{plan.sellers} known nodes run this engine"),
            ("caps left", ", ".join(f"{cap.name} {dollars(cap.left)}" for cap in plan.caps)),
        )
    ]
    lines += [Text(f"Warning: {warning}", style="yellow") for warning in plan.warnings]
    return Group(*lines)


def _render_list(tasks: tuple[TaskView, ...]) -> RenderableType:
    return table(
        "",
        "task",
        "name",
        "state",
        "submitted",
        ">parts",
        ">budget",
        ">spent",
        "provider",
        "paid by",
        "reason",
        rows=(
            (
                short_id(task.task),
                task.name,
                state(task.state),
                moment(task.submitted_at),
                f"{task.paid_parts}/{task.parts}",
                dollars(task.budget),
                dollars(task.spent),
                short_address(task.provider),
                task.rail or "-",
                task.reason,
            )
            for task in tasks
        ),
        empty="No tasks. Submit one with: stoa task submit examples/word-statistics",
    )


def _render_detail(detail: TaskDetail) -> RenderableType:
    task = detail.task
    awards = table(
        "\nAwards",
        "award",
        "provider",
        ">attempt",
        ">parts",
        ">price",
        "paid by",
        "deliver by",
        rows=(
            (
                short_id(award.award),
                long_address(award.provider),
                str(award.attempt),
                f"{award.first_part}-{award.first_part + award.parts - 1}",
                dollars(award.price),
                award.rail,
                moment(award.deliver_by),
            )
            for award in detail.awards
        ),
        empty="\nNo award yet.",
    )
    return Group(
        facts(
            ("task", task.task.hex()),
            ("name", task.name),
            ("state", Text.assemble(state(task.state), f"  {task.reason}" if task.reason else "")),
            ("submitted", moment(task.submitted_at)),
            ("parts", f"{task.paid_parts} of {task.parts} delivered and paid"),
            ("money", f"{dollars(task.spent)} spent of {_describe_budget(task.budget, task.copies)}"),
            ("checked", _describe_check(detail)),
            ("module", detail.module.hex()),
            ("limits", f"fuel {fuel(detail.fuel_limit)}, {detail.memory_limit_mib} MiB a part"),
        ),
        *((_render_copies(detail),) if detail.copies else ()),
        awards,
        _render_parts(detail),
        *(
            Text(f"Part {each.part} of {short_address(each.provider)} was refuted: {each.reason}", style="yellow")
            for each in detail.refuted
        ),
        *(Text(describe_dispute(each), style="yellow") for each in detail.disputes),
    )


def _describe_budget(budget: Amount, copies: int) -> str:
    return dollars(budget) + (f" for each of {copies} copies" if copies > 1 else "")


def _render_copies(detail: TaskDetail) -> RenderableType:
    return table(
        "\nCopies",
        "copy",
        "provider",
        "state",
        "compared",
        ">parts",
        ">spent",
        "reason",
        rows=(
            (
                str(each.copy + 1),
                short_address(each.provider),
                state(each.state),
                each.compared or "-",
                f"{each.paid_parts}/{detail.task.parts}",
                dollars(each.spent),
                each.reason,
            )
            for each in detail.copies
        ),
        empty="",
    )


def _describe_check(detail: TaskDetail) -> str:
    return f"{detail.verification} ({detail.warning})" if detail.warning else detail.verification


def _render_parts(detail: TaskDetail) -> RenderableType:
    return table(
        "\nParts",
        ">part",
        "outcome",
        ">fuel",
        ">memory",
        ">cost",
        ">output",
        "digest of the output",
        "provider",
        "checked",
        rows=(
            (
                str(part.part),
                part.outcome_text,
                fuel(part.fuel),
                f"{part.peak_mib} MiB",
                dollars(part.cost),
                size(part.output_bytes),
                part.output.hex(),
                short_address(part.provider),
                part.audit or "-",
            )
            for part in detail.parts
        ),
        empty="\nNo part has been delivered yet.",
    )
