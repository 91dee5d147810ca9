"""`stoa provide`: selling this machine's time."""

from dataclasses import replace
from typing import Annotated, Any, Final

import typer
from rich.console import Group, RenderableType

from node.api.client import NodeClient
from node.api.errors import NodeNotRunning
from node.api.facade import NodeFacade
from node.api.views import CalibrationView, PricesView, ProvideOrder, ProvideView
from node.cli.failures import UsageMistake
from node.cli.lazy import StoaCommand
from node.cli.options import Options, options_of
from node.cli.output import dollars, facts, fuel, new_console, print_document, show, table
from node.cli.session import ask, call
from node.cli.terms import read_amount
from node.cli.toml_edit import change_settings
from protocol.units import Amount, format_amount

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)

GFUEL: Final = 10**9
HOUR_S: Final = 3_600


@app.command(cls=StoaCommand)
def provide(
    context: typer.Context,
    *,
    core_hour: Annotated[str | None, typer.Option(help="Dollars that an hour of one core shall earn: 0.05.")] = None,
    gfuel: Annotated[str | None, typer.Option(help="Dollars for 10^9 units of fuel.")] = None,
    start: Annotated[str | None, typer.Option(help="Dollars for beginning a part.")] = None,
    mib_gfuel: Annotated[str | None, typer.Option(help="Dollars for a MiB of memory during 10^9 fuel.")] = None,
    mib_in: Annotated[str | None, typer.Option(help="Dollars for a MiB of input.")] = None,
    mib_out: Annotated[str | None, typer.Option(help="Dollars for a MiB of output and logs.")] = None,
    measure: Annotated[bool, typer.Option("--measure", help="Measure the machine again.")] = False,
    show_only: Annotated[
        bool, typer.Option("--show", help="Only show what is sold, and why offers were passed.")
    ] = False,
    drain: Annotated[
        bool, typer.Option("--drain", help="Finish what was taken, take nothing new, stop selling.")
    ] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop bidding; what was taken is finished.")] = False,
) -> None:
    """Sell this machine's time: measure it, set prices, start bidding.

    The running node follows at once, and the configuration keeps it for the next start. Fuel is what the sandbox counts
    (about one unit for a WebAssembly instruction); the measurement says how much of it one core does in a second.

    Examples:
      stoa provide --core-hour 0.05
      stoa provide --gfuel 0.002 --start 0.001
      stoa provide --show
      stoa provide --drain
    """
    options = options_of(context)
    if show_only:
        _show(options)
        return
    if drain or stop:
        _end(options, drain=drain)
        return
    given = {"start": start, "gfuel": gfuel, "mib_gfuel": mib_gfuel, "mib_in": mib_in, "mib_out": mib_out}
    prices = {
        name: read_amount(f"--{name.replace('_', '-')}", text) for name, text in given.items() if text is not None
    }
    if core_hour is not None and gfuel is not None:
        raise UsageMistake("--core-hour and --gfuel set the same price", advice="Give one of them.")
    hourly = read_amount("--core-hour", core_hour) if core_hour is not None else None
    _begin(options, prices, hourly, measure=measure)


def _show(options: Options) -> None:
    view = call(options, NodeFacade.provide_show)
    show(options, view, lambda: _render(view))


def _end(options: Options, *, drain: bool) -> None:
    async def work(client: NodeClient) -> ProvideView:
        if drain:
            return await client.call(NodeFacade.provide_drain)
        return await client.call(NodeFacade.provide_set, order=ProvideOrder(enabled=False))

    if drain and not options.json_output:
        new_console().print("Finishing what was taken; nothing new is. Ctrl-C only stops the waiting.")
    _keep(options, {"provider.enabled": False})
    view = ask(options, work)
    show(options, view, lambda: _render(view))


def _begin(options: Options, prices: dict[str, Amount], hourly: Amount | None, *, measure: bool) -> None:
    async def work(client: NodeClient) -> tuple[ProvideView, CalibrationView | None]:
        before = await client.call(NodeFacade.provide_show)
        speed: CalibrationView | None = None
        if measure or hourly is not None or not before.fuel_per_s:
            if not options.json_output:
                new_console().print("Measuring this machine, some seconds of one core...")
            speed = await client.call(NodeFacade.provide_calibrate)
        changed: dict[str, Amount] = dict(prices)
        if hourly is not None and speed is not None:
            changed["gfuel"] = price_of_gfuel(hourly, speed.fuel_per_s)
        wanted: PricesView = replace(before.prices, **changed)
        promised = speed.slowest_fuel_per_s if speed else None
        order = ProvideOrder(enabled=True, prices=wanted, fuel_per_s=promised)
        return await client.call(NodeFacade.provide_set, order=order), speed

    try:
        view, speed = ask(options, work)
    except NodeNotRunning:
        if hourly is not None or measure:
            raise  # only the node can measure
        _keep_for_next_start(options, prices)
        return
    names = {f"provider.prices.{name}": _plain(getattr(view.prices, name)) for name in PricesView.__slots__}
    _keep(options, {"provider.enabled": True, **names})
    show(options, view, lambda: Group(_render_speed(speed), _render(view)) if speed else _render(view))


def price_of_gfuel(hourly: Amount, fuel_per_s: int) -> Amount:
    """Return the price of 10**9 fuel at which an hour of a core earns `hourly`, rounded up, at least one base unit.

    Raises:
        UsageMistake: The machine's speed is not known.
    """
    if fuel_per_s <= 0:
        raise UsageMistake("the machine's speed is not known", advice="Run stoa provide --measure.")
    return Amount(max(1, -(-hourly * GFUEL // (fuel_per_s * HOUR_S))))


def _keep(options: Options, values: dict[str, Any]) -> None:
    """Write into the configuration, if there is one."""
    path = options.find_config()
    if path is not None and path.exists():
        change_settings(path, values)


def _keep_for_next_start(options: Options, prices: dict[str, Amount]) -> None:
    path = options.find_config()
    if path is None or not path.exists():
        raise NodeNotRunning(options.find_socket())
    named = {f"provider.prices.{name}": _plain(amount) for name, amount in prices.items()}
    change_settings(path, {"provider.enabled": True, **named})
    if options.json_output:
        print_document({"configured": str(path)})
    else:
        new_console().print(f"{path} now says so. The node measures the machine and sells when you start it: stoa run")


def _plain(amount: Amount) -> str:
    return format_amount(amount).removeprefix("$").replace(",", "")


def _render_speed(speed: CalibrationView) -> RenderableType:
    return table(
        "Speed of one core",
        "kind of work", ">fuel a second",
        rows=(
            *((kernel.name, fuel(kernel.fuel_per_s)) for kernel in speed.kernels),
            ("median", fuel(speed.fuel_per_s)),
        ),
        empty="",
    )  # fmt: skip


def _render(view: ProvideView) -> RenderableType:
    sells = "finishing what was taken" if view.draining else "yes" if view.enabled else "no"
    prices = view.prices
    refusals = table(
        "\nOffers that were passed over",
        ">times", "why",
        rows=((str(refusal.count), refusal.text) for refusal in view.refusals),
        empty="\nNo offer was passed over.",
    )  # fmt: skip
    return Group(
        facts(
            ("selling", sells),
            ("workers", f"{view.busy} of {view.workers} busy, {view.memory_mib} MiB a task"),
            ("promises", f"{fuel(view.fuel_per_s)} fuel a second" if view.fuel_per_s else "not measured yet"),
            ("prices", f"{dollars(prices.gfuel)} per Gfuel, {dollars(prices.start)} per part"),
            ("", f"{dollars(prices.mib_gfuel)} per MiB and Gfuel of memory"),
            ("", f"{dollars(prices.mib_in)} per MiB in, {dollars(prices.mib_out)} per MiB out"),
        ),
        refusals,
    )
