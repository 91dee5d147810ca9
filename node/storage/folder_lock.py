"""One node per data folder: two would sign from one journal without seeing each other's promises."""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from node.storage.errors import DataFolderInUse, DataFolderUnusable

LOCK_NAME: Final = "stoa.lock"
_PID_BYTES: Final = 20


@contextmanager
def hold_folder(folder: Path) -> Generator[None]:
    """Create `folder` if need be and hold it until the block ends.

    The lock is `flock`, which the kernel drops when the process dies, however it dies, so no stale lock can remain.
    Children don't inherit it: Python opens files close-on-exec.

    Raises:
        DataFolderInUse: Another node, in this process or another, holds it.
        DataFolderUnusable: It can't be created or written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise DataFolderUnusable(folder, error.strerror or str(error)) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataFolderInUse(folder, _read_pid(descriptor)) from error
        except OSError as error:  # some network file systems know no locks
            raise DataFolderUnusable(folder, f"it can't be locked: {error.strerror}") from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _read_pid(descriptor: int) -> int | None:
    text = os.pread(descriptor, _PID_BYTES, 0).decode("ascii", "replace").strip()
    return int(text) if text.isdigit() else None
