"""The door to a backup of the running node."""

from collections.abc import AsyncGenerator, Generator
from contextlib import closing
from pathlib import Path

import trio

from node.api import views
from node.app.node import Node
from node.app.tables import SCHEMA_PARTS
from node.config.backup_files import files_of
from node.storage.backup import backup_steps
from node.storage.progress import Progress


class BackupDoors:
    """See `NodeFacade`."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def node_backup(self, path: str, config: str, *, blobs: bool) -> AsyncGenerator[views.BackupProgress, None]:
        """See `NodeFacade`."""
        node = self._node
        steps = backup_steps(
            node.storage.folder,
            Path(path),
            files=files_of(node.settings, Path(config) if config else None),
            with_blobs=blobs,
            now=node.clock.now(),
            database=node.storage.database,
            parts=SCHEMA_PARTS,
        )
        with closing(steps):
            while (step := await trio.to_thread.run_sync(_next, steps)) is not None:
                yield views.BackupProgress(stage=step.stage, done=step.done, total=step.total)


def _next(steps: Generator[Progress, None, None]) -> Progress | None:
    return next(steps, None)
