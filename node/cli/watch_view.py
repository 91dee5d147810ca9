"""A task as it happens, in words that need no knowledge of the protocol, with a bar for each copy that runs."""

from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Final, Self, assert_never

from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from node.api.views import (
    AuctionOpened,
    BidderCommitted,
    BidRevealed,
    PartDelivered,
    PartProgress,
    PartView,
    ProviderFailed,
    RailFunded,
    ReceiptRefuted,
    RollSigned,
    TaskEnded,
    TaskEvent,
    WinnerChosen,
    WorkStarted,
)
from node.cli.output import dollars, fuel, new_console, print_json, short_address
from protocol.identity import Address

SUCCESS: Final = 0


class WatchView:
    """Prints events as they are handed in. Use as a context manager.

    Attributes:
        ended: The last event, once it came.
        unsuccessful: Parts whose program did not end with success.
    """

    def __init__(self, *, json_output: bool, names: Mapping[Address, str] | None = None) -> None:
        """Show events as JSON lines, or in words that call those addresses by `names` that have one."""
        self._names = names or {}
        self.ended: TaskEnded | None = None
        self.unsuccessful: list[PartView] = []
        self._json = json_output
        self._parts = self._copies = 1
        self._console = new_console()
        self._progress = Progress(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[detail]}"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=json_output or not self._console.is_terminal,
        )
        self._bars: dict[Address, tuple[int, TaskID]] = {}
        """By provider: the part that it is at, and its bar."""

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, event: TaskEvent) -> None:
        """Print one event."""
        if isinstance(event, AuctionOpened):
            self._parts, self._copies = event.parts, event.copies
        elif isinstance(event, PartDelivered) and event.part.outcome != SUCCESS:
            self.unsuccessful.append(event.part)
        elif isinstance(event, TaskEnded):
            self.ended = event
        if self._json:
            print_json(event, hint=TaskEvent)
            return
        if isinstance(event, PartProgress):
            self._advance(event)
            return
        for provider in self._finished_by(event):
            self._clear_bar(provider)
        for line in describe(event, self._parts, self._name):
            self.say(line)

    def say(self, line: str) -> None:
        """Print a line of rich markup between the events."""
        self._console.print(line, soft_wrap=True)

    def refresh(self) -> None:
        """Draw the bars now, and not at the next tick."""
        self._progress.refresh()

    def _name(self, address: Address) -> str:
        return self._names.get(address) or short_address(address)

    def _advance(self, event: PartProgress) -> None:
        at, bar = self._bars.get(event.provider, (None, None))
        if bar is None or at != event.part:
            self._clear_bar(event.provider)
            bar = self._progress.add_task(self._title(event), total=event.fuel_limit, detail="")
            self._bars[event.provider] = (event.part, bar)
        detail = f"fuel {fuel(event.fuel)} of at most {fuel(event.fuel_limit)}"
        self._progress.update(bar, completed=event.fuel, detail=detail)

    def _title(self, event: PartProgress) -> str:
        part = f"part {event.part} ({event.part + 1} of {self._parts})" if self._parts > 1 else "running"
        return f"{self._name(event.provider)}: {part}" if self._copies > 1 else part

    def _finished_by(self, event: TaskEvent) -> Iterable[Address]:
        """Return whose bars an event ends. A copy that waits to be compared keeps its bar until something is told."""
        match event:
            case PartDelivered(part=part):
                return (part.provider,)
            case ProviderFailed(provider=provider):
                return (provider,)
            case ReceiptRefuted(refuted=refuted):
                return (refuted.provider,)
            case TaskEnded():
                return tuple(self._bars)
            case _:
                return ()

    def _clear_bar(self, provider: Address) -> None:
        _, bar = self._bars.pop(provider, (None, None))
        if bar is not None:
            self._progress.remove_task(bar)


def describe(  # noqa: C901, PLR0912 - one case a kind of event
    event: TaskEvent, parts: int, name: Callable[[Address], str]
) -> tuple[str, ...]:
    """Return an event as lines of rich markup; `parts` is the task's number of them, `name` calls addresses."""
    match event:
        case AuctionOpened():
            work = f"{event.parts} parts" if event.parts > 1 else "the task"
            opened = f"Auction opened: at most {dollars(event.budget)} for {work} within {event.max_eta_s} s"
            return (opened, f"[yellow]Cheating pays[/]: {escape(event.warning)}") if event.warning else (opened,)
        case BidderCommitted():
            return (f"  {name(event.bidder)} sealed a bid ({event.count} so far)",)
        case RollSigned():
            return (f"  {event.bidders} bidders take part and reveal their bids" if event.bidders else "  nobody bid",)
        case BidRevealed():
            return (f"  {name(event.bidder)} asks {dollars(event.price)}, promises {event.eta_s} s",)
        case WinnerChosen():
            return (_describe_winner(event, name),)
        case RailFunded(rail="escrow"):
            return (f"{dollars(event.amount)} is locked in the escrow contract",)
        case RailFunded():
            return (f"{dollars(event.amount)} is held in the payment channel",)
        case WorkStarted():
            return (f"{name(event.provider)} has all inputs and starts",)
        case PartProgress():
            return ()
        case PartDelivered():
            return (_describe_part(event, parts),)
        case ProviderFailed():
            missing = f"{event.missing_parts} parts are" if event.missing_parts > 1 else "1 part is"
            reason = escape(event.reason)
            return (f"[yellow]{name(event.provider)} failed[/]: {reason}; {missing} missing",)
        case ReceiptRefuted(refuted=refuted):
            reason = escape(refuted.reason)
            return (f"[red]{name(refuted.provider)} is not paid for part {refuted.part}[/]: {reason}",)
        case TaskEnded():
            return _describe_end(event, parts)
        case _:
            assert_never(event)


def _describe_winner(event: WinnerChosen, name: Callable[[Address], str]) -> str:
    who = f"[bold]{name(event.provider)}[/]"
    reason = f": {escape(event.reason)}" if event.reason else ""
    if not event.attempt:
        return f"{who} wins, for at most {dollars(event.price)}{reason}"
    last = event.first_part + event.parts - 1
    span = f"parts {event.first_part} to {last}" if event.parts > 1 else f"part {last}"
    return f"Standby {who} takes over {span} for at most {dollars(event.price)}{reason}"


def _describe_part(event: PartDelivered, parts: int) -> str:
    part = event.part
    name = f"Part {part.part} ({part.part + 1} of {parts})" if parts > 1 else "Result"
    outcome = "ok" if part.outcome == SUCCESS else f"[red]{escape(part.outcome_text)}[/]"
    audit = f", {'tested' if part.audit == 'passed' else 'audited'}: {part.audit}" if part.audit else ""
    use = f"fuel {fuel(part.fuel)}, {part.peak_mib} MiB"
    return f"{name}: {outcome}, {use}, costs {dollars(part.cost)} ({dollars(event.spent)} in all){audit}"


def _describe_end(event: TaskEnded, parts: int) -> tuple[str, ...]:
    if event.state == "done":
        return (f"[green]Done[/], {dollars(event.spent)} paid",)
    style = "yellow" if event.state == "cancelled" else "bold red"
    reason = f": {escape(event.reason)}" if event.reason else ""
    paid = f" {event.paid_parts} of {parts} parts were delivered, {dollars(event.spent)} paid."
    lines = [f"[{style}]{event.state.capitalize()}[/]{reason}." + paid]
    if event.state == "failed" and not event.paid_parts:
        lines.append(f"  {event.sellers_heard} providers bid.")
        lines += [f"  {refusal.count} x not bid: {escape(refusal.text)}" for refusal in event.refusals]
    if event.advice:
        lines.append(f"[bold]What to do:[/] {escape(event.advice)}")
    return tuple(lines)
