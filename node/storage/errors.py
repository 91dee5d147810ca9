"""What can be wrong with the data folder, and who acts.

ConfigError     DataFolderInUse, DataFolderUnusable, DatabaseTooNew, DatabaseInUse, DatabaseUnusable, DatabaseMismatch,
                DatabaseNotEmpty, BackupUnusable, BackupBroken, FolderNotEmpty
TransientError  DiskFull, DatabaseBusy, DatabaseUnreachable, ConcurrentAppend
StorageError    JournalBroken, JournalRolledBack, DatabaseDamaged, DatabaseFailed, DatabaseTaken, BlobMissing,
                BlobDamaged, BlobQuotaExceeded
ProtocolError   BlobMismatch, BlobTooLarge  (bytes that someone else chose)
"""

import errno
from pathlib import Path
from typing import Final

from protocol.errors import ConfigError, ProtocolError, StorageError, TransientError

# EFBIG: a file size limit (ulimit -f) looks to the node just like a disk without room.
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class DataFolderInUse(ConfigError):
    """Another process works on this data folder."""

    def __init__(self, folder: Path, pid: int | None) -> None:
        holder = f"process {pid}" if pid is not None else "another process"
        super().__init__(
            f"{folder} is in use by {holder}",
            advice="Stop that node first, or give this one a folder of its own (node.data_dir).",
        )
        self.folder, self.pid = folder, pid


class DataFolderUnusable(ConfigError):
    """The data folder can't be created or written."""

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(
            f"{folder} can't be used as data folder: {reason}",
            advice="Choose a folder that this user may write (node.data_dir), or correct its owner and permissions.",
        )
        self.folder = folder


class DatabaseTooNew(ConfigError):
    """The database was written by a later release, whose schema this one doesn't know."""

    def __init__(self, part: str, revision: str) -> None:
        super().__init__(
            f"the database has {part!r} at schema revision {revision}, which this release doesn't know",
            advice="Run the newer release of Stoa that last used this data folder.",
        )


class DatabaseInUse(ConfigError):
    """Another node works on this database."""

    def __init__(self, place: str, holder: str) -> None:
        super().__init__(
            f"{place} is in use by another node ({holder})",
            advice="Stop that node first, or give this one a database of its own (storage.url). A node whose machine "
            "died lets go within a minute.",
        )


class DatabaseUnusable(ConfigError):
    """The database in `storage.url` is not one that a node may work with."""

    def __init__(self, reason: str, *, advice: str) -> None:
        super().__init__(f"the database can't be used: {reason}", advice=advice)


class DatabaseMismatch(ConfigError):
    """Data folder and database don't belong together: the journal of another node, or of another place."""


class DatabaseNotEmpty(ConfigError):
    """A backup is restored into a new database only."""

    def __init__(self, place: str) -> None:
        super().__init__(
            f"{place} holds a journal already",
            advice="Make a new database for it (createdb) and name that one with --url.",
        )


class DiskFull(TransientError):
    """Nothing of this write was kept; what was acknowledged before is safe."""

    advice = "Free space on the disk of the data folder, or move the folder to a larger one."

    def __init__(self, what: str, *, advice: str = "") -> None:
        super().__init__(f"no room on the disk: {what} was not written", advice=advice)


class DatabaseBusy(TransientError):
    """The database stayed locked by another connection."""

    advice = "Close other programs that hold this database open (a backup, an SQL shell)."


class DatabaseUnreachable(TransientError):
    """The database server can't be reached, or takes no changes now; nothing of this write was kept."""

    advice = "See that the PostgreSQL server runs and can be reached: psql with the address in storage.url."

    def __init__(self, reason: str) -> None:
        super().__init__(f"the database can't be reached: {reason}")
        self.reason = reason


class ConcurrentAppend(TransientError):
    """A stream was not at the version that the writer had seen: nothing was written. Replay it and decide again."""

    def __init__(self, *, stream: str, expected: int, found: int) -> None:
        super().__init__(f"journal stream {stream!r} is at version {found}, not at {expected}")
        self.stream, self.expected, self.found = stream, expected, found


class JournalBroken(StorageError):
    """A record of the journal is not what was written."""

    advice = (
        "Keep a copy of the data folder, and restore the newest backup into a new one: "
        "stoa restore BACKUP --to NEW_FOLDER. Until then use no channel of this wallet from elsewhere. The disk may be "
        "failing: check it (smartctl, fsck)."
    )

    def __init__(self, seq: int, reason: str) -> None:
        super().__init__(f"journal broken at record {seq}: {reason}")
        self.seq = seq


class JournalRolledBack(StorageError):
    """The newest records, which were acknowledged, are gone: a lost WAL file, an old backup, a disk that lied."""

    advice = (
        "Put back the newest copy of the data folder, the file ending in -wal included. If the records are lost for "
        "good, go on by way of a backup, so that the node knows what it has forgotten and asks before it signs: "
        "stoa backup FILE --accept-lost-tail, then stoa restore FILE --to NEW_FOLDER."
    )

    def __init__(self, *, found: int, acknowledged: int) -> None:
        super().__init__(
            f"the journal ends at record {found}, but record {acknowledged} had been acknowledged: the newest "
            f"{acknowledged - found} are missing"
            if found < acknowledged
            else f"record {acknowledged} of the journal is not the one that had been acknowledged"
        )
        self.found, self.acknowledged = found, acknowledged


class DatabaseDamaged(StorageError):
    """SQLite or PostgreSQL found its own files malformed."""

    advice = JournalBroken.advice


class DatabaseTaken(StorageError):
    """While the connection was lost another node took the database: this one must not write again."""

    advice = "Find out which node it is, and let only one of them run: two would sign from one journal."

    def __init__(self, place: str, holder: str) -> None:
        super().__init__(f"{place} was taken by another node ({holder}) while the connection was lost")


class DatabaseFailed(StorageError):
    """The operating system refused a read or a write of the database."""

    advice = "Check the disk and the permissions of the data folder, then start the node again."


class BackupUnusable(ConfigError):
    """A backup can't be written or read where it was asked for."""

    def __init__(self, path: Path, reason: str, *, advice: str = "Choose another place for the backup.") -> None:
        super().__init__(f"the backup {path} can't be used: {reason}", advice=advice)
        self.path = path


class BackupBroken(ConfigError):
    """A backup is not what was written; nothing of it was put in place."""

    advice = "Take another copy of the backup, or an older one. Nothing was changed."

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} is no whole backup: {reason}")
        self.path = path


class FolderNotEmpty(ConfigError):
    """A backup is restored into a new folder only: it must not mix with what is there."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"{folder} is not empty",
            advice="Name a folder that is missing or empty with --to, and keep the old one until the new node runs.",
        )
        self.folder = folder


class BlobMissing(StorageError):
    """No complete blob of this digest is here."""

    def __init__(self, digest: bytes) -> None:
        super().__init__(f"blob {digest.hex()} is not in the store")
        self.digest = digest


class BlobDamaged(StorageError):
    """The bytes on disk no longer hash to their name; the file was removed."""

    advice = "Fetch the blob again from a peer that holds it. If this repeats, check the disk."

    def __init__(self, digest: bytes) -> None:
        super().__init__(f"blob {digest.hex()} was damaged on disk and has been removed")
        self.digest = digest


class BlobQuotaExceeded(StorageError):
    """The write would take the blob store over its quota; nothing of it was kept."""

    advice = "Raise storage.blob_quota_mib, or let finished tasks' files expire sooner (storage.keep_results_h)."

    def __init__(self, *, used: int, wanted: int, quota: int) -> None:
        super().__init__(f"blob store holds {used} bytes of at most {quota}; {wanted} more don't fit")
        self.used, self.wanted, self.quota = used, wanted, quota


class BlobMismatch(ProtocolError):
    """The bytes received don't hash to the digest that was asked for."""

    def __init__(self, *, expected: bytes, found: bytes) -> None:
        super().__init__(f"expected blob {expected.hex()}, got bytes of {found.hex()}")
        self.expected, self.found = expected, found


class BlobTooLarge(ProtocolError):
    """More bytes than the writer was opened for."""

    def __init__(self, *, limit: int) -> None:
        super().__init__(f"blob exceeds its limit of {limit} bytes")
        self.limit = limit


def is_no_room(error: OSError) -> bool:
    """Tell whether `error` says that disk, quota or file size limit is exhausted."""
    return error.errno in _NO_ROOM
