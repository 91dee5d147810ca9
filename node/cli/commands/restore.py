"""`stoa restore`."""

from pathlib import Path
from typing import Annotated, Any

import trio
import typer

from node.cli.commands.backup import Bar
from node.cli.lazy import StoaCommand
from node.cli.options import CONFIG_NAME, options_of
from node.cli.output import moment, new_console, print_document
from node.cli.toml_edit import change_settings
from node.config.lines import find_lines
from node.operations.clock import SystemClock
from node.storage.backup import Progress
from node.storage.backup_file import DEPLOYMENTS_NAME, WALLET_NAME, Manifest
from node.storage.restore import restore_backup

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


@app.command(cls=StoaCommand)
def restore(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The backup.", show_default=False)],
    *,
    to: Annotated[Path, typer.Option(help="The data folder to make; missing or empty.", show_default=False)],
) -> None:
    """Make a data folder from a backup. Everything is checked first: either the whole folder appears, or nothing.

    [bold]Never run the old folder again afterwards[/]: two nodes would sign from one wallet. The new node knows that
    it has forgotten what was signed since the backup. It asks the provider of each open channel for the newest
    voucher, checks its own signature on it, and goes on from there; a channel whose provider does not answer stays
    closed to payments ("in doubt" in [bold]stoa channels list[/]). Tasks that were open are not awarded again.

    Example:
      stoa restore /srv/backups/stoa-2026-11-20.tar --to /srv/stoa-new
    """
    options = options_of(context)
    source, folder = file.expanduser().absolute(), to.expanduser().absolute()

    async def run(bar: Bar) -> Manifest:
        def tell(step: Progress) -> None:
            bar.show(step.stage, step.done, step.total)

        return await restore_backup(
            source, folder, clock=SystemClock(), adjust=lambda staging: _correct(staging, folder), tell=tell
        )

    with Bar(options) as bar:
        manifest = trio.run(run, bar)
    document = {
        "folder": str(folder),
        "made_at": manifest.made_at,
        "records": manifest.head.seq,
        "files": len(manifest.members),
    }
    if options.json_output:
        print_document(document)
        return
    console = new_console()
    console.print(
        f"Made {folder} from a backup of {moment(manifest.made_at)}: {manifest.head.seq} records, all checked."
    )
    console.print(f"Start it with: stoa --data-dir {folder} run", soft_wrap=True)
    console.print("Do not run the old folder again: two nodes must not sign from one wallet.")


def _correct(staging: Path, folder: Path) -> None:
    """Let the configuration name the files where they will be."""
    config = staging / CONFIG_NAME
    if not config.exists():
        return
    found = find_lines(config.read_text(encoding="utf-8"))
    values: dict[str, Any] = {"node.data_dir": str(folder)}
    for key, name in (("wallet.keystore", WALLET_NAME), ("chain.deployments", DEPLOYMENTS_NAME)):
        if tuple(key.split(".")) in found and (staging / name).exists():
            values[key] = str(folder / name)
    change_settings(config, values)
