"""Bring outputs and logs from the node to files, checking each against the digest that its provider signed."""

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import IO, Final

import trio
from blake3 import blake3

from node.api.client import NodeClient
from node.api.facade import NodeFacade
from node.api.views import PartView, TaskDetail
from node.cli.failures import FoundWrong, UsageMistake
from protocol.identity import ContentDigest

STDOUT: Final = Path("-")


class ResultDamaged(FoundWrong):
    """The bytes that the node gave are not those that the provider signed."""

    def __init__(self, part: int) -> None:
        super().__init__(
            f"part {part}: the bytes have another digest than the receipt",
            advice="Nothing was saved. Look at the node's log and its disk; the provider can send the output again.",
        )


class NoResult(UsageMistake):
    """There is nothing to save yet."""

    def __init__(self, detail: TaskDetail) -> None:
        super().__init__(
            f"the task is {detail.task.state}, and no part of it has been delivered",
            advice=f"Follow it with: stoa task watch {detail.task.task.hex()[:10]}",
        )


async def save_results(client: NodeClient, detail: TaskDetail, destination: Path, name: str) -> list[Path]:
    """Save the output of each delivered part and return the files.

    Args:
        client: The node.
        detail: The task.
        destination: A folder that is there, a file, or "-" for standard output. With several parts, part k goes to
            <stem>.<k><suffix>.
        name: Of the file, in a folder.

    Raises:
        NoResult: Nothing was delivered yet.
        ResultDamaged: Nothing of that part was written.
    """
    if not detail.parts:
        raise NoResult(detail)
    base = destination / name if await trio.Path(destination).is_dir() else destination
    saved: list[Path] = []
    for part in detail.parts:
        if destination == STDOUT:
            with tempfile.TemporaryFile() as file:  # checked whole before its first byte is shown
                await _copy(client, part.output, part.part, file)
                file.seek(0)
                shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()
            continue
        path = base if detail.task.parts == 1 else base.with_name(f"{base.stem}.{part.part}{base.suffix}")
        await _save(client, part, path)
        saved.append(path)
    return saved


def prepare_destination(text: str) -> Path:
    """Return where `-o` points, and make the folder if it is written as one, with a slash at its end.

    Raises:
        UsageMistake: It can't be made.
    """
    path = Path(text)
    try:
        if text.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
        elif path != STDOUT:
            path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageMistake(f"can't make {path}: {error.strerror}", advice="Name another folder with -o.") from error
    return path


async def read_logs(client: NodeClient, part: PartView) -> bytes:
    """Return what the program wrote on standard error.

    Raises:
        ResultDamaged: The bytes are others.
    """
    with tempfile.TemporaryFile() as file:
        await _copy(client, part.logs, part.part, file)
        file.seek(0)
        return file.read()


async def _save(client: NodeClient, part: PartView, path: Path) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            await _copy(client, part.output, part.part, file)
        temporary.replace(path)
    except OSError as error:
        raise UsageMistake(f"can't write {path}: {error.strerror}", advice="Name another place with -o.") from error
    finally:
        temporary.unlink(missing_ok=True)


async def _copy(client: NodeClient, digest: ContentDigest, part: int, file: IO[bytes]) -> None:
    hasher = blake3()
    async with client.stream(NodeFacade.blob_read, digest=digest) as chunks:
        async for chunk in chunks:
            hasher.update(chunk)
            file.write(chunk)
    if hasher.digest() != digest:
        raise ResultDamaged(part)
