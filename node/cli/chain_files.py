"""The local chain's files in a data folder, and whether it runs."""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from protocol.errors import ConfigError

_MODE: Final = 0o600
_PID_BYTES: Final = 20


class AlreadyRunning(ConfigError):
    """The local chain of this folder runs already."""

    advice = "End it with `stoa chain stop`, or use it as it is."

    def __init__(self, pid: int | None) -> None:
        super().__init__(f"the local chain of this data folder runs already (process {pid})")


class NotRunning(ConfigError):
    """There is no local chain to stop."""

    advice = "Start one with `stoa chain start`."

    def __init__(self, lock: Path) -> None:
        super().__init__(f"no local chain of {lock.parent} is running")


class ChainFolderUnusable(ConfigError):
    """The folder can't be written."""

    advice = "Choose another folder with --data-dir."

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(f"can't keep a local chain in {folder}: {reason}")


@dataclass(frozen=True, slots=True)
class LocalChainFiles:
    """Where a data folder keeps its local chain."""

    folder: Path

    @property
    def state(self) -> Path:
        """Blocks and accounts, between runs."""
        return self.folder / "chain.json"

    @property
    def deployments(self) -> Path:
        """Addresses of the contracts; where the node looks by default."""
        return self.folder / "deployments.json"

    @property
    def lock(self) -> Path:
        """Held while the chain runs; holds its process id."""
        return self.folder / "chain.lock"


@contextmanager
def hold_chain(files: LocalChainFiles) -> Generator[None]:
    """Be the one local chain of the folder until the block ends. The kernel drops the lock when the process dies.

    Raises:
        AlreadyRunning: Another process is.
        ChainFolderUnusable: The folder can't be made or written.
    """
    try:
        files.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(files.lock, os.O_RDWR | os.O_CREAT, _MODE)
    except OSError as error:
        raise ChainFolderUnusable(files.folder, error.strerror or str(error)) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyRunning(_read_pid(descriptor)) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def running_chain(files: LocalChainFiles) -> int | None:
    """Return the process that runs the chain, or None: a process id in a lock that nobody holds means nothing."""
    try:
        descriptor = os.open(files.lock, os.O_RDWR)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read_pid(descriptor)
    else:
        return None
    finally:
        os.close(descriptor)


def _read_pid(descriptor: int) -> int | None:
    text = os.pread(descriptor, _PID_BYTES, 0).decode("ascii", "replace").strip()
    return int(text) if text.isdigit() else None
