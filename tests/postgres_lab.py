"""A PostgreSQL server of its own for tests: thrown away afterwards, flushing as a real one does, on a local socket.

PostgreSQL refuses to run as root, so a test run of root's starts it as `nobody`.
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql

ROOT: Final = Path(__file__).resolve().parents[1]
INSTALLED: Final = Path("/usr/lib/postgresql")
UNPACKED: Final = ROOT / ".cache" / "postgresql"
SUPERUSER: Final = "stoa"
START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 60.0
POLL_S: Final = 0.02
SETTINGS: Final = {
    "listen_addresses": "",
    "shared_buffers": "16MB",
    "max_connections": "60",
    "jit": "off",  # its library is 100 MB, and none of our queries is long
    "fsync": "on",
    "recovery_init_sync_method": "syncfs",  # one call, where a busy disk takes a minute for a file after another
    "timezone": "GMT",
    "log_timezone": "GMT",
    "log_min_messages": "warning",
}
# The server ends with whoever started it, however that ends: the shell waits for its standard input to close.
KEEPER: Final = '"$@" & server=$!; read -r _; kill -QUIT "$server" 2>/dev/null; wait "$server"'


class PostgresServer:
    """A server on `sockets`. Made by `run_postgres`."""

    def __init__(self, programs: Path, folder: Path, user: str | None, environment: dict[str, str]) -> None:
        self._programs, self._folder, self._user, self._environment = programs, folder, user, environment
        self.data, self.sockets = folder / "data", folder / "sockets"
        self._keeper: subprocess.Popen[Any] | None = None

    def make(self, *arguments: str) -> None:
        """Make the cluster."""
        self.sockets.mkdir()
        if self._user is not None:
            shutil.chown(self.sockets, self._user)
            shutil.chown(self._folder, self._user)
        command = [str(self._programs / "initdb"), "-D", str(self.data), "-U", SUPERUSER, "-E", "UTF8"]
        command += ["--locale=C", "--auth=trust", "--no-sync", "--data-checksums", *arguments]
        made = subprocess.run(command, capture_output=True, text=True, check=False, **self._as_user())
        assert made.returncode == 0, made.stderr

    def start(self, **settings: str) -> None:
        """Start it and wait until it answers."""
        options = [f"-c{name}={value}" for name, value in {**SETTINGS, **settings}.items()]
        command = [str(self._programs / "postgres"), "-D", str(self.data), "-k", str(self.sockets), *options]
        log = (self._folder / "log").open("ab")
        with log:
            self._keeper = subprocess.Popen(
                ["/bin/sh", "-c", KEEPER, "sh", *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                **self._as_user(),
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                psycopg.connect(self.url("postgres")).close()
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, (self._folder / "log").read_text()
                time.sleep(POLL_S)
            else:
                return

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT in order, SIGQUIT at once (as `pg_ctl stop -m immediate`), SIGKILL with all its processes."""
        if self._keeper is None:
            return
        if number is signal.SIGKILL:  # all at once, or those that live on would hold the cluster
            children = subprocess.run(["pgrep", "-P", str(self.pid)], capture_output=True, text=True, check=False)
            processes = [self.pid, *map(int, children.stdout.split())]
        else:
            processes = [self.pid]
        for each in processes:
            with suppress(ProcessLookupError):
                os.kill(each, number)
        # In order takes a moment, and closing standard input ends it at once: then the next start would recover.
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while Path(f"/proc/{processes[0]}").exists() and not _is_zombie(processes[0]):
            assert time.monotonic() < deadline, (self._folder / "log").read_text()
            time.sleep(POLL_S)
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()
        self._keeper.wait(STOP_TIMEOUT_S)
        self._keeper = None

    @property
    def pid(self) -> int:
        """Of the server's first process."""
        return int((self.data / "postmaster.pid").read_text().splitlines()[0])

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.sockets / ".s.PGSQL.5432"

    def url(self, database: str, *, user: str = SUPERUSER, sockets: Path | None = None) -> str:
        """Return an address as an operator would write it."""
        return f"postgresql://{user}@/{database}?host={sockets or self.sockets}"

    def connect(self, database: str = "postgres") -> "psycopg.Connection[Any]":
        """Connect as the superuser, without transactions."""
        return psycopg.connect(self.url(database), autocommit=True)

    def new_database(self, options: str = "") -> str:
        """Make an empty database and return its name."""
        name = f"t{secrets.token_hex(8)}"
        with self.connect() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {} {}").format(sql.Identifier(name), sql.SQL(options)))  # type: ignore[arg-type]
        return name

    def _as_user(self) -> dict[str, Any]:
        environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", **self._environment}
        if self._user is None:
            return {"env": environment}
        record = pwd.getpwnam(self._user)
        return {"env": environment, "user": record.pw_uid, "group": record.pw_gid, "extra_groups": [], "cwd": "/"}


@contextmanager
def run_postgres(**settings: str) -> Generator[PostgresServer]:
    """Run a server until the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="stoa-pg-"))
    folder.chmod(0o755)
    user = "nobody" if os.geteuid() == 0 else None
    try:
        programs, environment = _find_programs(folder, user)
        server = PostgresServer(programs, folder, user, environment)
        server.make()
        server.start(**settings)
        try:
            yield server
        finally:
            server.stop(signal.SIGQUIT)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _find_programs(folder: Path, user: str | None) -> tuple[Path, dict[str, str]]:
    """Return the folder of the server's programs, and what their environment needs."""
    for found in (*sorted(INSTALLED.glob("*/bin"), reverse=True), _on_path()):
        if found is not None and (found / "initdb").exists() and (found / "postgres").exists():
            return found, {}
    unpacked = UNPACKED
    if user is not None and not _is_open(unpacked):  # a checkout in somebody's closed home
        unpacked = folder / "programs"
        shutil.copytree(UNPACKED, unpacked, symlinks=True)
    for found in sorted(unpacked.glob("usr/lib/postgresql/*/bin"), reverse=True):
        libraries = [str(each) for each in unpacked.glob("**/lib/*-linux-*")]
        return found, {"LD_LIBRARY_PATH": ":".join(libraries)}
    raise AssertionError("PostgreSQL's server is missing: run `scripts/setup test`")


def _is_zombie(pid: int) -> bool:
    """Whether a process has ended and its parent, the keeper's shell, has not looked yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def _on_path() -> Path | None:
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


def _is_open(folder: Path) -> bool:
    return all(each.stat().st_mode & 0o005 == 0o005 for each in (folder, *folder.parents) if each.exists())
