"""Open the host files that a run reads and writes, and hand out nothing but their descriptors. All of this blocks."""

import os
import stat
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from blake3 import blake3

from node.execution.artifacts import Artifact
from node.execution.errors import InvalidJob
from node.execution.job import Job
from node.execution.messages import GuestFile
from protocol.errors import StorageError
from protocol.identity import ContentDigest

OUTPUT_NAME: Final = "output"
LOGS_NAME: Final = "logs"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenJob:
    """A run's artifact, its descriptors in the order in which a worker expects them, and the sizes of its inputs."""

    artifact: Artifact
    fds: tuple[int, ...]
    stdin_bytes: int
    files: tuple[GuestFile, ...]

    def close(self) -> None:
        """Close all of them; what a worker was handed stays open there."""
        for fd in self.fds:
            os.close(fd)

    @property
    def bytes_in(self) -> int:
        """Standard input and files together."""
        return self.stdin_bytes + sum(file.size for file in self.files)


def open_input(path: Path) -> tuple[int, int]:
    """Open a regular file for reading and return its descriptor and size.

    Raises:
        InvalidJob: It can't be opened, or is a pipe, a device, a link or a folder.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise InvalidJob(f"{path} can't be opened: {error.strerror}") from error
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise InvalidJob(f"{path} is not a regular file")
    return fd, status.st_size


def open_run(job: Job, artifact: Artifact, folder: Path) -> OpenJob:
    """Open everything that a run of `job` touches, its output in `folder`. The caller closes it.

    Raises:
        InvalidJob: As in `open_input`.
        StorageError: The output can't be created.
    """
    with ExitStack() as stack:

        def keep(fd: int) -> int:
            stack.callback(os.close, fd)
            return fd

        fds = [keep(open_input(artifact.path)[0])]
        fds += [keep(_create(folder / name)) for name in (OUTPUT_NAME, LOGS_NAME)]
        if job.stdin is None:
            stdin_fd, stdin_bytes = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), 0
        else:
            stdin_fd, stdin_bytes = open_input(job.stdin)
        fds.append(keep(stdin_fd))
        files: list[GuestFile] = []
        for path, host in job.files:
            fd, size = open_input(host)
            fds.append(keep(fd))
            files.append(GuestFile(path=path, size=size))
        stack.pop_all()
    return OpenJob(artifact=artifact, fds=tuple(fds), stdin_bytes=stdin_bytes, files=tuple(files))


def _create(path: Path) -> int:
    # O_TRUNC: a second attempt after a damaged artifact finds what the first one made.
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StorageError(f"{path} can't be created: {error.strerror}") from error


def digest_of(path: Path) -> tuple[ContentDigest, int]:
    """Return a file's BLAKE3 and size."""
    return ContentDigest(blake3().update_mmap(path).digest()), path.stat().st_size
