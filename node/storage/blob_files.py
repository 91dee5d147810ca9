"""What all that writes blobs has in common: counted room, noted retention, and a name only for what is whole."""

import os
from pathlib import Path
from typing import Protocol

from protocol.identity import ContentDigest
from protocol.units import UnixTime


class Space(Protocol):
    """Who counts the bytes of the store."""

    def reserve(self, count: int) -> None:
        """Take `count` bytes of the quota or raise `BlobQuotaExceeded`."""
        ...

    def release(self, count: int) -> None:
        """Give `count` bytes back."""
        ...


class Keep(Protocol):
    """Makes a retention durable."""

    async def __call__(self, digest: ContentDigest, keep_until: UnixTime) -> None:
        """Make it durable that `digest` is kept until `keep_until`."""
        ...


def publish(descriptor: int, temporary: Path, final: Path, time: UnixTime) -> bool:
    """Flush a file, move it to its final name, and return whether that was there already.

    Args:
        descriptor: The file, open.
        temporary: Its name so far, on the same file system.
        final: Its name from now on; durable when this returns.
        time: Stamped on the file.
    """
    os.fsync(descriptor)
    os.utime(descriptor, (time, time))
    if not final.parent.exists():
        final.parent.mkdir(mode=0o700, exist_ok=True)
        _sync_folder(final.parent.parent)
    try:
        os.link(temporary, final)
        existed = False
        temporary.unlink()
    except FileExistsError:
        existed = True
        temporary.replace(final)  # the same bytes: harmless, and it heals damage
    _sync_folder(final.parent)
    return existed


def _sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
