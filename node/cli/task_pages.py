"""What the commands about tasks print: plans, lists and the parts of one task."""

from rich.console import Group, RenderableType
from rich.text import Text

from node.api.views import DisputeView, TaskDetail, TaskPlan, TaskView
from node.cli.output import dollars, facts, fuel, long_address, moment, short_address, short_id, size, state, table
from protocol.units import Amount, format_amount


def render_plan(plan: TaskPlan) -> RenderableType:
    """Return what a task would cost at most, how it would be paid and why."""
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


def render_tasks(tasks: tuple[TaskView, ...]) -> RenderableType:
    """Return a line for each task."""
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


def render_task(detail: TaskDetail) -> RenderableType:
    """Return a task with its awards, copies, parts and disputes."""
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
        render_parts(detail),
        *(
            Text(f"Part {each.part} of {short_address(each.provider)} was refuted: {each.reason}", style="yellow")
            for each in detail.refuted
        ),
        *(Text(_describe_dispute(each), style="yellow") for each in detail.disputes),
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


def render_parts(detail: TaskDetail) -> RenderableType:
    """Return a line for each delivered part."""
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


def _describe_dispute(found: DisputeView) -> str:
    """One line about a case over the task."""
    words = [f"Dispute over part {found.part}" if found.part is not None else "Dispute", found.state]
    if found.round is not None:
        words.append(f"round {found.round + 1}")
    if found.finding:
        words.append(found.finding)
    if found.due is not None:
        words.append(f"worth {dollars(found.due)} of {dollars(found.price)}")
    if found.problem:
        words.append(f"in the way: {found.problem}")
    return f"{words[0]}: {', '.join(words[1:])} (stoa disputes show {found.award.hex()[:8]})"
