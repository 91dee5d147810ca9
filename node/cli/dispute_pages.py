"""Cases, and what one would cost and bring, as people read them."""

from collections.abc import Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from node.api.views import DisputeEnd, DisputeQuote, DisputeView
from node.cli.output import change, dollars, due, facts, long_address, short_id, state, table

_ENDS: Final = {
    "upheld": "the receipt is right",
    "wrong result": "another result than the receipt's",
    "output missing": "the provider has no output to show",
    "overbilled": "the result is right, its bill isn't",
    "inputs missing": "nobody has the inputs: who opened loses",
    "not judged": "nobody can reproduce it",
    "no decision": "no decision",
}


def render_cases(found: Sequence[DisputeView]) -> RenderableType:
    """Return a table of cases."""
    return table(
        "",
        "award", "you are", "other side", "opened by", "state", ">round", "stage", "until", "found", ">worth", ">bonds",
        rows=(
            (
                short_id(each.award),
                each.role,
                long_address(each.peer),
                _opener(each),
                state(each.state),
                "" if each.round is None else str(each.round + 1),
                each.stage,
                due(each.next_by),
                each.finding,
                "" if each.due is None else dollars(each.due),
                dollars(each.bonds),
            )
            for each in found
        ),
        empty="No disputes.",
    )  # fmt: skip


def render_case(found: DisputeView) -> RenderableType:
    """Return a case with what happens next in it."""
    lines = [f"Why: {found.reason}"] if found.reason else []
    if found.part is not None:
        asks = "" if found.claimed is None else f", for which the provider asks {dollars(found.claimed)} in all"
        lines.append(f"It is about part {found.part}{asks}; the award is worth {dollars(found.price)} at most.")
    if found.liability:
        lines.append(f"The provider answers for it with {dollars(found.liability)} of its stake, if that was locked.")
    lines.append(f"{_who_pays(found)} the dispute fee, {dollars(found.fee)}; you have put down {dollars(found.bonds)}.")
    if found.seats is not None and found.votes is not None:
        lines.append(f"{found.votes} of {found.seats} arbiters have voted on the chain{_verdict(found)}.")
    elif found.finding:
        lines.append(f"The court found: {_ENDS[found.finding]}.")
    if found.next:
        until = f" Until {due(found.next_by)}." if found.next_by is not None else ""
        lines.append(f"Next: {found.next}.{until}")
    if found.problem:
        lines.append(f"In the way: {found.problem}")
    return Group(render_cases((found,)), *(Text(line) for line in lines))


def render_quote(quote: DisputeQuote) -> RenderableType:
    """Return what a case, or an appeal, is about, costs and brings."""
    what = "a case" if not quote.round else f"round {quote.round + 1} of the case"
    told: list[RenderableType] = [
        Text(f"This would be {what} about award {short_id(quote.award)}, in which you are the {quote.role}."),
        facts(
            ("other side", long_address(quote.peer)),
            ("about", f"part {quote.part}: the receipt asks for {dollars(quote.claimed)} in all, paid by {quote.rail}"),
            ("bond", f"{dollars(quote.bond)}, put down now, for {quote.seats} arbiters; and gas"),
            ("possible until", due(quote.until)),
            ("provider's stake", _stake(quote)),
            ("your node found", quote.found),
        ),
        table(
            "",
            "if the court finds", ">the provider is paid", ">its stake loses", ">you, bond included",
            rows=[_end_row(quote, end) for end in (*quote.ends, quote.otherwise)],
            empty="",
        ),
        Text(f"At best you end at {change(_best(quote))}, at worst at {change(_worst(quote))}."),
    ]  # fmt: skip
    told += [Text(f"Note: {note}.") for note in quote.notes]
    if quote.warning:
        told.append(Text(f"Warning: {quote.warning}.", style="bold red"))
    return Group(*told)


def _opener(found: DisputeView) -> str:
    if found.opened_by_us is None:
        return "you, soon" if found.ordered else "nobody yet"
    return "you" if found.opened_by_us else "the other side"


def _who_pays(found: DisputeView) -> str:
    match found.state:
        case "won":
            return "The other side pays"
        case "lost":
            return "You pay"
        case "undecided":
            return "Who opened pays"
        case _:
            return "Who loses pays"


def _verdict(found: DisputeView) -> str:
    return f": {found.finding}" if found.finding else ""


def _stake(quote: DisputeQuote) -> str:
    return f"{dollars(quote.liability)} are locked for it" if quote.liability else "nothing is locked for it"


def _end_row(quote: DisputeQuote, end: DisputeEnd) -> tuple[str | Text, ...]:
    if not end.finding:
        name = "(if you don't appeal)" if quote.round else "(if you open no case)"
    else:
        name = _ENDS[end.finding]
    most = "at most " if end.finding == "overbilled" and end.to_provider else ""
    style = "bold" if end.finding and end.finding == quote.expected else ""
    return (
        Text(name, style=style),
        f"{most}{dollars(end.to_provider)}",
        dollars(end.from_stake),
        Text(change(end.own), style=style or ("red" if end.own < 0 else "")),
    )


def _best(quote: DisputeQuote) -> int:
    return max(end.own for end in quote.ends)


def _worst(quote: DisputeQuote) -> int:
    return min(end.own for end in quote.ends)
