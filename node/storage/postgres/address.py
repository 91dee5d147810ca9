"""Where a PostgreSQL database is and how to get in. The password stays in here."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from node.storage.errors import DatabaseUnusable

APPLICATION_NAME: Final = "stoa"
# What libpq would otherwise wait for minutes or hours: a server that vanished with its machine or its network.
PATIENCE: Final = {
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
    "application_name": APPLICATION_NAME,
    "client_encoding": "UTF8",
}
MAX_PASSWORD_BYTES: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresAddress:
    """A database of a server.

    Attributes:
        place: For people: database and server, without user and password.
        parameters: libpq's, a password among them if one was given; not shown.
    """

    place: str
    parameters: dict[str, Any] = field(repr=False)


def read_address(url: str, password_file: Path | None = None) -> PostgresAddress:
    """Return the address that a libpq URL names.

    A password may stand in the URL, or in `password_file` (its first line), or where libpq looks: PGPASSWORD,
    PGPASSFILE, ~/.pgpass.

    Raises:
        DatabaseUnusable: It names none, two passwords are given, the file can't be read, or the driver is missing.
    """
    parse = _driver_parser()
    try:
        given: dict[str, Any] = dict(parse(url))
    except Exception:  # noqa: BLE001 - the driver quotes what it could not read, which may be the password
        given = {}
    if not given:
        raise DatabaseUnusable(
            "storage.url is no address of PostgreSQL",
            advice="Write postgresql://user@host:5432/database; write special characters of a password as %XX.",
        )
    if password_file is not None:
        if "password" in given:
            raise DatabaseUnusable(
                "storage.url holds a password, and storage.password_file is set", advice="Keep one of the two."
            )
        given["password"] = _read_password(password_file)
    database = given.get("dbname") or given.get("user") or "the user's"
    host = given.get("host") or given.get("hostaddr") or "the local socket"
    port = f":{given['port']}" if "port" in given else ""
    return PostgresAddress(place=f"database {database} at {host}{port}", parameters={**PATIENCE, **given})


def _driver_parser() -> Any:
    try:
        from psycopg import conninfo  # noqa: PLC0415 - an optional package
    except ImportError as error:
        raise DatabaseUnusable(
            "storage.url names PostgreSQL, and its driver is not installed",
            advice="Install it: pip install 'stoa[postgresql]'.",
        ) from error
    return conninfo.conninfo_to_dict


def _read_password(path: Path) -> str:
    try:
        with path.open("rb") as file:
            line = file.readline(MAX_PASSWORD_BYTES)
        password = line.rstrip(b"\r\n").decode()
    except OSError as error:
        raise DatabaseUnusable(
            f"the password file {path} can't be read: {error.strerror}", advice="Correct storage.password_file."
        ) from error
    except UnicodeDecodeError:
        password = ""
    if not password:
        raise DatabaseUnusable(
            f"the first line of {path} is no password", advice="Write the password of the database user there."
        )
    return password
