"""`stoa devnet`: a whole network of nodes on this machine."""

import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Final

import trio
import typer
from rich.console import Console

from node.cli.failures import ExitCode, UsageMistake
from node.cli.lazy import StoaCommand, new_app
from protocol.dispute.schedule import SEATS
from protocol.units import ONE_TOKEN, Amount

app = new_app("A whole network of nodes on this machine: local chain, contracts, requester, providers.")

STAKE: Final = Amount(20 * ONE_TOKEN)
EXAMPLES: Final = "examples"

Folder = Annotated[Path | None, typer.Option(help="Keep everything here.", show_default="a temporary folder")]


Checkout = Annotated[Path, typer.Option(help="Where examples/ is.")]


@app.command(cls=StoaCommand)
def up(
    *,
    folder: Folder = None,
    providers: Annotated[int, typer.Option(min=1, max=8, help="How many nodes sell.")] = 3,
    arbiters: Annotated[
        int,
        typer.Option(
            min=0, max=8, help="How many nodes judge disputes: none, or 5 and more. Providers stake $20 then."
        ),
    ] = 0,
) -> None:
    """Start a network and keep it running until Ctrl-C.

    Examples:
      stoa devnet up
      stoa devnet up --providers 5 --folder /tmp/devnet
      stoa devnet up --arbiters 5
    """
    from node.devnet.devnet import open_devnet  # noqa: PLC0415 - all that speaks to chains: not for `--help`
    from node.devnet.law import seat_arbiters, stake_providers  # noqa: PLC0415 - likewise

    if 0 < arbiters < SEATS[0]:
        raise UsageMistake(
            f"--arbiters {arbiters}: a committee has {SEATS[0]} seats, and each arbiter here fills one",
            advice=f"Give {SEATS[0]} or more, or leave it out.",
        )
    console = Console(highlight=False)
    place = _make_folder(folder)

    async def run() -> None:
        async with open_devnet(place, providers=providers, arbiters=arbiters) as devnet:
            if arbiters:
                await stake_providers(devnet, STAKE)
                await seat_arbiters(devnet)
            judged = f", {arbiters} arbiters" if arbiters else ""
            console.print(
                f"A chain at {devnet.rpc_url}, {providers} providers{judged}, a requester with $100.00 of test money."
            )
            console.print("Buy something, in another terminal:\n")
            command = f"stoa --config {devnet.requester.config} task submit examples/word-statistics"
            console.print(f"    {command}\n", soft_wrap=True)
            for node in devnet.places:
                console.print(f"{node.name:12} {node.config}", soft_wrap=True)
            console.print("\nCtrl-C ends it.")
            await trio.sleep_forever()

    try:
        trio.run(run)
    except* KeyboardInterrupt:
        console.print(f"\nStopped. Data and logs are in {place}", soft_wrap=True)


@app.command(cls=StoaCommand)
def demo(
    *,
    folder: Folder = None,
    checkout: Checkout = Path(),
) -> None:
    """Show what Stoa does: three tasks between four processes, one of them killed half-way, and the books at the end.

    Ends with status 0 only if every result is right and all money adds up to the base unit.

    Examples:
      stoa devnet demo
    """
    from node.cli.demo import run_demo  # noqa: PLC0415 - more than `devnet up` needs

    _tell("demo", run_demo, folder, checkout)


@app.command(cls=StoaCommand)
def trial(
    *,
    folder: Folder = None,
    checkout: Checkout = Path(),
) -> None:
    """Show what happens to a cheat: a provider forges a result, five arbiters run it again, its stake is lost.

    Ends with status 0 only if the cheat lost what it answers for, another provider's result is right, and all money
    adds up to the base unit. It takes about a minute.

    Examples:
      stoa devnet trial
    """
    from node.cli.trial import run_trial  # noqa: PLC0415 - likewise

    _tell("trial", run_trial, folder, checkout)


def _tell(
    name: str, story: Callable[[Path, Path, Console], Awaitable[None]], folder: Path | None, checkout: Path
) -> None:
    from node.cli.stage import StoryFailed  # noqa: PLC0415 - likewise

    if not (checkout / EXAMPLES).is_dir():
        raise UsageMistake(f"there is no {EXAMPLES}/ in {checkout}", advice="Name Stoa's own folder with --checkout.")
    console = Console(highlight=False)
    place = _make_folder(folder)
    try:
        trio.run(story, place, checkout.resolve(), console)
    except* StoryFailed as group:
        console.print(f"[red]The {name} failed[/]: {group.exceptions[0]}")
        console.print(f"Logs are in {place}", soft_wrap=True)
        raise typer.Exit(ExitCode.TASK_FAILED) from None


def _make_folder(folder: Path | None) -> Path:
    """Return an empty folder. Nothing of the user's is ever deleted for it."""
    if folder is None:
        return Path(tempfile.mkdtemp(prefix="stoa-"))
    advice = "Name a new folder, or leave --folder out."
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageMistake(f"{folder} is not empty", advice=advice)
    except OSError as error:
        raise UsageMistake(f"can't make {folder}: {error.strerror}", advice=advice) from error
    return folder
