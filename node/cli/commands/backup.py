"""`stoa backup`."""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Final, Self

import trio
import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from node.api.client import open_client
from node.api.errors import NodeNotRunning
from node.api.facade import NodeFacade
from node.cli.lazy import StoaCommand
from node.cli.options import Options, options_of
from node.cli.output import new_console, print_document
from node.cli.setup import settings_of
from protocol.errors import ConfigError

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
WORDS: Final = {"database": "copying the database", "journal": "checking the journal", "files": "writing the backup"}


class NothingToBackUp(ConfigError):
    """There is no data folder of a node."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"{folder} holds no journal",
            advice="Name the node's folder with --data-dir, or its configuration with --config.",
        )


@app.command(cls=StoaCommand)
def backup(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The backup to write; must not exist.", show_default=False)],
    *,
    blobs: Annotated[bool, typer.Option(help="Take modules, inputs and outputs that are still kept.")] = True,
    accept_lost_tail: Annotated[
        bool, typer.Option("--accept-lost-tail", help="Back up a folder whose newest records are lost for good.")
    ] = False,
) -> None:
    """Copy everything that a node keeps into one file, while it runs or not: journal, keys, configuration, blobs.

    The keys in it are encrypted with the wallet's password, as they are on disk; keep the password elsewhere. The whole
    journal is checked while it is written. A backup grows old with each payment that is signed: a node restored from
    one asks the chain and its peers before it signs again (see [bold]stoa restore[/]).

    Examples:
      stoa backup /srv/backups/stoa-2026-11-20.tar
      stoa backup --no-blobs /media/key/stoa.tar
    """
    options = options_of(context)
    target = file.expanduser().absolute()
    with Bar(options) as bar:
        trio.run(_back_up, options, target, blobs, accept_lost_tail, bar)
    size = target.stat().st_size
    if options.json_output:
        print_document({"backup": str(target), "bytes": size})
    else:
        new_console().print(f"Wrote {target}: {size / 2**20:.1f} MiB, checked.")


async def _back_up(options: Options, target: Path, blobs: bool, accept_lost_tail: bool, bar: "Bar") -> None:  # noqa: FBT001
    config = options.find_config()
    try:
        async with open_client(options.find_socket()) as client:
            named = str(config.absolute()) if config is not None else ""
            async with client.stream(NodeFacade.node_backup, path=str(target), config=named, blobs=blobs) as steps:
                async for step in steps:
                    bar.show(step.stage, step.done, step.total)
            return
    except NodeNotRunning:
        pass
    from node.app.tables import SCHEMA_PARTS, database_address  # noqa: PLC0415 - a running node needs none of this here
    from node.config.backup_files import files_of  # noqa: PLC0415
    from node.operations.clock import SystemClock  # noqa: PLC0415
    from node.storage.backup import backup_steps  # noqa: PLC0415
    from node.storage.binding import ID_NAME  # noqa: PLC0415
    from node.storage.engine import DATABASE_NAME  # noqa: PLC0415
    from node.storage.folder_lock import hold_folder  # noqa: PLC0415
    from node.storage.storage import open_database, open_storage  # noqa: PLC0415

    settings, clock = settings_of(options), SystemClock()
    folder = settings.node.data_dir
    address = database_address(settings)
    if not await trio.Path(folder / (DATABASE_NAME if address is None else ID_NAME)).exists():
        raise NothingToBackUp(folder)
    async with AsyncExitStack() as stack:
        if accept_lost_tail:  # opening would note the shorter journal as the whole one, and nobody would see the loss
            stack.enter_context(hold_folder(folder))
            database = open_database(folder, address)
            stack.callback(database.dispose)
        else:
            storage = await stack.enter_async_context(
                open_storage(folder, clock=clock, address=address, schema_parts=SCHEMA_PARTS)
            )
            database = storage.database
        steps = backup_steps(
            folder,
            target,
            files=files_of(settings, config),
            with_blobs=blobs,
            now=clock.now(),
            database=database,
            parts=SCHEMA_PARTS,
        )
        for step in steps:
            bar.show(step.stage, step.done, step.total)


class Bar:
    """A progress bar on a terminal, nothing elsewhere."""

    def __init__(self, options: Options) -> None:
        console = new_console()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            console=console,
            transient=True,
            disable=options.json_output or not console.is_terminal,
        )
        self._task = self._progress.add_task("")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._progress.stop()

    def show(self, stage: str, done: int, total: int) -> None:
        """Show a step."""
        self._progress.update(self._task, description=WORDS.get(stage, ""), completed=done, total=total or None)
