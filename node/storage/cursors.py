"""Small named values that are not history: how far the event index has read, when a sweep last ran."""

from typing import Final

from sqlalchemy import Connection, delete, insert, select, update

from node.storage.read_model import ReadModel
from node.storage.tables import cursor_value
from node.storage.writer import Writer

MAX_VALUE_BYTES: Final = 65_536


def get_cursor(connection: Connection, name: str) -> bytes | None:
    """Return the value of `name`, `None` if it was never set."""
    return connection.execute(select(cursor_value.c.value).where(cursor_value.c.name == name)).scalar_one_or_none()


def set_cursor(connection: Connection, name: str, value: bytes | None) -> None:
    """Set `name`, or forget it with `None`."""
    if value is None:
        connection.execute(delete(cursor_value).where(cursor_value.c.name == name))
        return
    if len(value) > MAX_VALUE_BYTES:
        raise ValueError(f"cursor {name!r}: {len(value)} bytes; a cursor is not a table, at most {MAX_VALUE_BYTES}")
    changed = connection.execute(update(cursor_value).where(cursor_value.c.name == name).values(value=value))
    if changed.rowcount == 0:
        connection.execute(insert(cursor_value).values(name=name, value=value))


class Cursors:
    """Cursors on their own; to change one together with other rows, use `Transaction.set_cursor`."""

    def __init__(self, writer: Writer, reader: ReadModel) -> None:
        self._writer, self._reader = writer, reader

    async def get(self, name: str) -> bytes | None:
        """Return the value of `name`, `None` if it was never set."""
        return await self._reader.query(lambda connection: get_cursor(connection, name))

    async def set(self, name: str, value: bytes | None) -> None:
        """Set `name` durably, or forget it with `None`."""
        await self._writer.submit(lambda connection: set_cursor(connection, name, value))
