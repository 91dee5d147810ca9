"""Both stores for the same tests: `store.open` opens a folder on SQLite, or on a PostgreSQL database of its own."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final

from node.storage.postgres.address import PostgresAddress, read_address
from node.storage.storage import Storage, open_storage
from tests.postgres_lab import PostgresServer

SQLITE: Final = "sqlite"
POSTGRESQL: Final = "postgresql"


class Store:
    """One of the two. A folder keeps its database over all opens of a test."""

    def __init__(self, server: Callable[[], PostgresServer] | None) -> None:
        self._server = server
        self._databases: dict[Path, str] = {}

    @property
    def is_postgres(self) -> bool:
        """Whether journals lie on a server."""
        return self._server is not None

    @property
    def server(self) -> PostgresServer:
        """The server of PostgreSQL's half of the tests."""
        assert self._server is not None
        return self._server()

    def url(self, folder: Path) -> str:
        """Return what `storage.url` would be for this folder; empty for SQLite."""
        if self._server is None:
            return ""
        if folder not in self._databases:
            self._databases[folder] = self.server.new_database()
        return self.server.url(self._databases[folder])

    def address(self, folder: Path) -> PostgresAddress | None:
        """Return what `open_storage` takes for this folder."""
        url = self.url(folder)
        return read_address(url) if url else None

    def open(self, folder: Path, **arguments: Any) -> AbstractAsyncContextManager[Storage]:
        """Open the storage of this folder."""
        return open_storage(folder, address=self.address(folder), **arguments)

    def move(self, source: Path, target: Path) -> None:
        """Note that the folder of a database has another name now."""
        if source in self._databases:
            self._databases[target] = self._databases.pop(source)
