"""A data folder made from a backup, with a configuration that names it. Apart from the command, since it loads much."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from node.app.tables import SCHEMA_PARTS
from node.cli.options import CONFIG_NAME
from node.cli.toml_edit import change_settings, drop_settings
from node.config.lines import find_lines
from node.operations.clock import SystemClock
from node.storage.backup_file import DEPLOYMENTS_NAME, WALLET_NAME, Manifest
from node.storage.postgres.address import PostgresAddress
from node.storage.progress import Progress
from node.storage.restore import restore_backup


async def restore_folder(
    source: Path,
    folder: Path,
    address: PostgresAddress | None,
    values: dict[str, Any],
    tell: Callable[[Progress], None],
) -> Manifest:
    """Make `folder` from the backup `source`, all of it or nothing.

    Args:
        source: The backup.
        folder: Missing or empty.
        address: A new database for the journal; None for SQLite in the folder.
        values: What of the configuration says where that database is, by its dotted names.
        tell: Shown how far it is.
    """
    return await restore_backup(
        source,
        folder,
        clock=SystemClock(),
        address=address,
        parts=SCHEMA_PARTS,
        adjust=lambda staging: _correct(staging, folder, values),
        tell=tell,
    )


def _correct(staging: Path, folder: Path, given: dict[str, Any]) -> None:
    """Let the configuration name the files, and the database, where they will be."""
    config = staging / CONFIG_NAME
    if not config.exists():
        return
    found = find_lines(config.read_text(encoding="utf-8"))
    values: dict[str, Any] = {"node.data_dir": str(folder), **given}
    for key, name in (("wallet.keystore", WALLET_NAME), ("chain.deployments", DEPLOYMENTS_NAME)):
        if tuple(key.split(".")) in found and (staging / name).exists():
            values[key] = str(folder / name)
    stale = [key for key in ("storage.url", "storage.password_file") if tuple(key.split(".")) in found]
    drop_settings(config, [key for key in stale if key not in values])
    change_settings(config, values)
