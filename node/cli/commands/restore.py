"""`stoa restore`."""

from pathlib import Path
from typing import Annotated, Any

import trio
import typer

from node.app.tables import SCHEMA_PARTS
from node.cli.commands.backup import Bar
from node.cli.lazy import StoaCommand
from node.cli.options import CONFIG_NAME, options_of
from node.cli.output import moment, new_console, print_document
from node.cli.toml_edit import change_settings, drop_settings
from node.config.lines import find_lines
from node.operations.clock import SystemClock
from node.storage.backup_file import DEPLOYMENTS_NAME, WALLET_NAME, Manifest
from node.storage.postgres.address import read_address
from node.storage.progress import Progress
from node.storage.restore import restore_backup

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


@app.command(cls=StoaCommand)
def restore(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The backup.", show_default=False)],
    *,
    to: Annotated[Path, typer.Option(help="The data folder to make; missing or empty.", show_default=False)],
    url: Annotated[
        str, typer.Option(help="A new PostgreSQL database for the journal. Default: SQLite in the folder.")
    ] = "",
    password_file: Annotated[
        Path | None, typer.Option(help="File with the password of the database's user.", show_default=False)
    ] = None,
) -> None:
    """Make a data folder from a backup. Everything is checked first: either the whole folder appears, or nothing.

    [bold]Never run the old folder again afterwards[/]: two nodes would sign from one wallet. The new node knows that
    it has forgotten what was signed since the backup. It asks the provider of each open channel for the newest
    voucher, checks its own signature on it, and goes on from there; a channel whose provider does not answer stays
    closed to payments ("in doubt" in [bold]stoa channels list[/]). Tasks that were open are not awarded again.

    A backup of a node with SQLite can go to PostgreSQL (--url), and the other way.

    Examples:
      stoa restore /srv/backups/stoa-2026-11-20.tar --to /srv/stoa-new
      stoa restore /srv/backups/stoa.tar --to /srv/stoa-new --url postgresql://stoa@db.example/stoa
    """
    options = options_of(context)
    secret = password_file.expanduser().absolute() if password_file is not None else None
    address = read_address(url, secret) if url else None
    source, folder = file.expanduser().absolute(), to.expanduser().absolute()

    async def run(bar: Bar) -> Manifest:
        def tell(step: Progress) -> None:
            bar.show(step.stage, step.done, step.total)

        return await restore_backup(
            source,
            folder,
            clock=SystemClock(),
            address=address,
            parts=SCHEMA_PARTS,
            adjust=lambda staging: _correct(staging, folder, url, secret),
            tell=tell,
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
    if address is not None:
        console.print(f"Its journal is in {address.place}: storage.url must name that.", soft_wrap=True)
    console.print("Do not run the old folder again: two nodes must not sign from one wallet.")


def _correct(staging: Path, folder: Path, url: str, password_file: Path | None) -> None:
    """Let the configuration name the files, and the database, where they will be."""
    config = staging / CONFIG_NAME
    if not config.exists():
        return
    found = find_lines(config.read_text(encoding="utf-8"))
    values: dict[str, Any] = {"node.data_dir": str(folder)}
    for key, name in (("wallet.keystore", WALLET_NAME), ("chain.deployments", DEPLOYMENTS_NAME)):
        if tuple(key.split(".")) in found and (staging / name).exists():
            values[key] = str(folder / name)
    if url:
        values["storage.url"] = url
    if password_file is not None:
        values["storage.password_file"] = str(password_file)
    stale = [key for key in ("storage.url", "storage.password_file") if tuple(key.split(".")) in found]
    drop_settings(config, [key for key in stale if key not in values])
    change_settings(config, values)
