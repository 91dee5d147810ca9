"""How far a backup has come."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupProgress:
    """A step of a backup.

    Attributes:
        stage: database, journal, files, done.
        done: Pages, records or bytes so far.
        total: Of how many; 0 while that is not known.
    """

    stage: str
    done: int
    total: int
