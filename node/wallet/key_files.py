"""Key files on disk: private to their owner, written whole or not at all, never overwritten by accident.

Blocking; `keystore` and `host_key` call it on a thread.
"""

import os
import secrets
import stat
from pathlib import Path
from typing import Final

from node.wallet.errors import (
    KeyFileDamaged,
    KeyFileExists,
    KeyFileExposed,
    KeyFileMissing,
    KeyFileUnwritable,
    WrongPassword,
)
from node.wallet.keystore_v3 import (
    MAX_FILE_BYTES,
    KeyFile,
    MalformedKeystore,
    PasswordMismatch,
    decrypt,
    parse,
)
from node.wallet.secret import Secret

PRIVATE: Final = 0o600
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def read(path: Path, *, must_be_private: bool) -> KeyFile:
    """Read and parse a key file.

    Args:
        path: The file.
        must_be_private: Refuse a file that other users of the machine can open. False only for files to import.

    Raises:
        KeyFileMissing: No such file.
        KeyFileExposed: Permissions beyond 0600, or another owner.
        KeyFileDamaged: Unreadable, or no Keystore V3 file.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if must_be_private:
                _check_private(path, status)
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise KeyFileMissing(path) from None
    except OSError as error:
        raise KeyFileDamaged(path, error.strerror or type(error).__name__) from error
    try:
        return parse(data)
    except MalformedKeystore as error:
        raise KeyFileDamaged(path, str(error)) from None


def open_secret(path: Path, file: KeyFile, password: str) -> Secret:
    """Decrypt what was read from `path`.

    Raises:
        WrongPassword: It does not open the file.
        KeyFileDamaged: The file asks for more memory than the machine gives.
    """
    try:
        return Secret(decrypt(file, password))
    except PasswordMismatch:
        raise WrongPassword(path) from None
    except (MemoryError, ValueError) as error:
        raise KeyFileDamaged(path, f"key derivation failed: {error}") from None


def write_new(path: Path, data: bytes) -> None:
    """Write a file that must not exist yet.

    Raises:
        KeyFileExists: It does.
        KeyFileUnwritable: The folder is missing, forbidden or full.
    """
    try:
        temporary = _write_temporary(path, data)
        try:
            os.link(temporary, path)  # unlike rename, fails if the name is taken
            _sync_folder(path)
        finally:
            temporary.unlink()
    except FileExistsError:
        raise KeyFileExists(path) from None
    except OSError as error:
        raise KeyFileUnwritable(path, error.strerror or type(error).__name__) from error


def overwrite(path: Path, data: bytes) -> None:
    """Replace a file: after a crash there is either the old one or the new one.

    Raises:
        KeyFileUnwritable: The folder is missing, forbidden or full; the old file is untouched.
    """
    try:
        temporary = _write_temporary(path, data)
        try:
            temporary.replace(path)
            _sync_folder(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise KeyFileUnwritable(path, error.strerror or type(error).__name__) from error


def _check_private(path: Path, status: os.stat_result) -> None:
    if status.st_mode & _OTHERS:
        raise KeyFileExposed(path, f"mode {stat.S_IMODE(status.st_mode):04o}, must be 0600")
    if status.st_uid not in (os.geteuid(), 0):
        raise KeyFileExposed(path, f"it belongs to user {status.st_uid}, this process is user {os.geteuid()}")


def _write_temporary(path: Path, data: bytes) -> Path:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        temporary.unlink()
        raise
    return temporary


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
