"""Where this node's journal lies, and which rooms keep tables of their own beside it."""

from typing import Final

from node.chain.event_store import CHAIN_SCHEMA
from node.config.settings import Settings
from node.networking.peers.store import NETWORK_SCHEMA
from node.payments.watch.store import WATCH_SCHEMA
from node.storage.postgres.address import PostgresAddress, read_address
from node.storage.schema import SchemaPart

SCHEMA_PARTS: Final[tuple[SchemaPart, ...]] = (CHAIN_SCHEMA, NETWORK_SCHEMA, WATCH_SCHEMA)


def database_address(settings: Settings) -> PostgresAddress | None:
    """Return the PostgreSQL database of the settings; None for SQLite in the data folder.

    Raises:
        DatabaseUnusable: The address can't be read, its password file neither, or the driver is missing.
    """
    url = settings.storage.url
    return read_address(url, settings.storage.password_file) if url is not None else None
