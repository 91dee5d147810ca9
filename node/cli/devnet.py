"""`stoa devnet`: a whole network of nodes on this machine."""

import tempfile
from pathlib import Path
from typing import Annotated

import trio
import typer
from rich.console import Console

from node.cli.failures import ExitCode, UsageMistake
from node.cli.lazy import StoaCommand, new_app

app = new_app("A whole network of nodes on this machine: local chain, contracts, requester, providers.")

Folder = Annotated[Path | None, typer.Option(help="Keep everything here.", show_default="a temporary folder")]


@app.command(cls=StoaCommand)
def up(
    *,
    folder: Folder = None,
    providers: Annotated[int, typer.Option(min=1, max=8, help="How many nodes sell.")] = 3,
) -> None:
    """Start a network and keep it running until Ctrl-C.

    Examples:
      stoa devnet up
      stoa devnet up --providers 5 --folder /tmp/devnet
    """
    from node.devnet.devnet import open_devnet  # noqa: PLC0415 - all that speaks to chains: not for `--help`

    console = Console(highlight=False)
    place = _make_folder(folder)

    async def run() -> None:
        async with open_devnet(place, providers=providers) as devnet:
            console.print(
                f"A chain at {devnet.rpc_url}, {providers} providers, a requester with $100.00 of test money."
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
    checkout: Annotated[Path, typer.Option(help="Where examples/ is.")] = Path(),
) -> None:
    """Show what Stoa does: three tasks between four processes, one of them killed half-way, and the books at the end.

    Ends with status 0 only if every result is right and all money adds up to the base unit.

    Examples:
      stoa devnet demo
    """
    from node.cli.demo import DemoFailed, run_demo  # noqa: PLC0415 - more than `devnet up` needs

    console = Console(highlight=False)
    place = _make_folder(folder)
    try:
        trio.run(run_demo, place, checkout.resolve(), console)
    except* DemoFailed as group:
        console.print(f"[red]The demo failed[/]: {group.exceptions[0]}")
        console.print(f"Logs are in {place}", soft_wrap=True)
        raise typer.Exit(ExitCode.TASK_FAILED) from None


def _make_folder(folder: Path | None) -> Path:
    """Return an empty folder. Nothing of the user's is ever deleted for it."""
    if folder is None:
        return Path(tempfile.mkdtemp(prefix="stoa-"))
    if folder.exists() and any(folder.iterdir()):
        raise UsageMistake(f"{folder} is not empty", advice="Name a new folder, or leave --folder out.")
    return folder
