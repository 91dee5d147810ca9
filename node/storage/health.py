"""Whether the data folder has room, and the database answers."""

import shutil
from pathlib import Path
from typing import Final

import trio

from node.operations.health import OK, Report, Status
from node.storage.blobs import BlobStore
from node.storage.writer import Writer

SCARCE_BYTES: Final = 2**30
GONE_BYTES: Final = 64 * 2**20
NEARLY_FULL: Final = 0.9


async def check_room(folder: Path, blobs: BlobStore) -> Report:
    """Report on the disk under `folder` and the quota of `blobs`: a check for the health registry."""
    free = (await trio.to_thread.run_sync(shutil.disk_usage, folder)).free
    if free < SCARCE_BYTES:
        status = Status.FAILED if free < GONE_BYTES else Status.DEGRADED
        advice = "Free space: a node that can't write its journal takes no work and makes no payment."
        return Report(status=status, reason=f"{free // 2**20} MiB left on the disk of {folder}", advice=advice)
    if blobs.used_bytes > NEARLY_FULL * blobs.quota_bytes:
        reason = f"blobs take {blobs.used_bytes // 2**20} of {blobs.quota_bytes // 2**20} MiB"
        return Report(status=Status.DEGRADED, reason=reason, advice="Raise storage.blob_quota_mib.")
    return OK


async def check_database(writer: Writer) -> Report:
    """Report whether the writer has its connection: a check for the health registry."""
    await trio.lowlevel.checkpoint()
    if writer.trouble is None:
        return OK
    return Report(status=Status.FAILED, reason=str(writer.trouble), advice=writer.trouble.advice)
