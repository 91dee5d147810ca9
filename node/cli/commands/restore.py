"""`stoa restore`."""

from pathlib import Path
from typing import Annotated

import trio
import typer

from node.cli.commands.backup import Bar
from node.cli.lazy import StoaCommand
from node.cli.options import options_of
from node.cli.output import moment, new_console, print_document
from node.storage.postgres.address import read_address
from node.storage.progress import Progress

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

    given = {"storage.url": url, "storage.password_file": str(secret or "")}
    values = {key: value for key, value in given.items() if value}
    from node.cli.restoring import restore_folder  # noqa: PLC0415 - the database and all of its parts: not for `--help`

    with Bar(options) as bar:

        def tell(step: Progress) -> None:
            bar.show(step.stage, step.done, step.total)

        manifest = trio.run(restore_folder, source, folder, address, values, tell)
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
