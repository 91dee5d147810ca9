"""From a task file to an order: hash what it names, build the manifest, bring the bytes to the node."""

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import trio
from blake3 import blake3

from node.api.client import NodeClient
from node.api.facade import NodeFacade
from node.api.lines import CHUNK_BYTES
from node.api.views import AuctionFormatName, JudgeOrder, TaskOrder, VerificationName
from node.cli.failures import UsageMistake
from node.cli.task_file import GuestFile, OfferSpec, TaskFile
from protocol.identity import ContentDigest
from protocol.task.engine import ENGINE_DIGEST
from protocol.task.manifest import MANIFEST_MAX_BYTES, Blob, InputFile, Manifest, Part
from protocol.wire.codec import encode

_HASH_CHUNK: Final = 1 << 20


class FileUnreadable(UsageMistake):
    """A file of the task can't be read."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"can't read {path}: {reason}", advice="Check its name and permissions.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedTask:
    """A manifest, what judges its outputs if anything does, and where on this machine the blobs of both are."""

    manifest: Manifest
    test: JudgeOrder | None
    sources: Mapping[Blob, Path]


def prepare(task: TaskFile) -> PreparedTask:
    """Hash every file of the task once and name them all in a manifest.

    Raises:
        FileUnreadable: A file went away since the task file was read.
        InvalidManifest: A rule that only the whole manifest can break.
        UsageMistake: The manifest is longer than an offer may carry.
    """
    known: dict[Path, Blob] = {}

    def blob(path: Path) -> Blob:
        if path not in known:
            known[path] = _hash(path)
        return known[path]

    def inputs(files: tuple[GuestFile, ...]) -> tuple[InputFile, ...]:
        return tuple(InputFile(path=file.path, blob=blob(file.source)) for file in files)

    def part_stdin(path: Path | None) -> Blob | None:
        chosen = path or task.stdin
        return blob(chosen) if chosen is not None else None

    manifest = Manifest(
        name=task.name,
        module=blob(task.module),
        engine=ENGINE_DIGEST,
        limits=task.limits,
        clock=task.clock,
        seed=task.seed,
        args=(task.name, *task.args),
        env=task.env,
        files=inputs(task.files),
        parts=tuple(
            Part(args=part.args, stdin=part_stdin(part.stdin), files=inputs(part.files)) for part in task.parts
        ),
    )
    size = len(encode(manifest))
    if size > MANIFEST_MAX_BYTES:
        raise UsageMistake(
            f"the task's manifest has {size} bytes, and may have {MANIFEST_MAX_BYTES}",
            advice="Use fewer parts, or put arguments into a file.",
        )
    test = _judge_of(task, blob)  # before `sources`, for it adds its file to them
    return PreparedTask(manifest=manifest, test=test, sources={found: path for path, found in known.items()})


def _judge_of(task: TaskFile, blob: Callable[[Path], Blob]) -> JudgeOrder | None:
    if task.test is None:
        return None
    module = blob(task.test.module)
    return JudgeOrder(
        module=module.digest, module_bytes=module.size, fuel=task.test.fuel, memory_mib=task.test.memory_mib
    )


def make_order(task: PreparedTask, offer: OfferSpec) -> TaskOrder:
    """Return the order of a task on these terms. A task that brings its test is tested unless they say otherwise.

    Raises:
        UsageMistake: Neither file nor options give a budget or the longest time, or they want a test that is not there.
    """
    if offer.budget is None:
        raise UsageMistake("no budget", advice='Add budget = "0.40" under [offer] in the task file, or --budget 0.40.')
    if offer.max_eta_s is None:
        raise UsageMistake("no longest time", advice="Add max_eta_s = 60 under [offer], or --max-eta 60.")
    price, reputation, speed = offer.weights or (None, None, None)
    verify = offer.verify
    kind: VerificationName | None = verify.kind if verify else "test" if task.test else None
    if kind == "test" and task.test is None:
        advice = "Name the module under [test] in the task file; docs/guide/buying.md shows how."
        raise UsageMistake("there is no test to check results with", advice=advice)
    return TaskOrder(
        manifest=encode(task.manifest),
        budget=offer.budget,
        max_eta_s=offer.max_eta_s,
        format=cast("AuctionFormatName | None", offer.format),
        commit_window_s=offer.commit_window_s,
        reveal_window_s=offer.reveal_window_s,
        weight_price=price,
        weight_reputation=reputation,
        weight_speed=speed,
        hire=offer.hire,
        verification=kind,
        audit_rate=verify.audit_rate if verify else None,
        copies=verify.copies if verify else None,
        test=task.test if kind == "test" else None,
    )


async def upload(client: NodeClient, task: PreparedTask, on_bytes: Callable[[int], None]) -> None:
    """Bring every blob that the node does not have to its store; `on_bytes` is told as they go.

    Raises:
        RemoteRefusal: A file changed since it was hashed.
        RemoteStorage: The node's disk or quota is full.
    """
    for blob, path in task.sources.items():
        if await client.call(NodeFacade.blob_has, digest=blob.digest):
            on_bytes(blob.size)
        else:
            await client.put_blob(blob.digest, blob.size, _read(path, on_bytes))


def _hash(path: Path) -> Blob:
    hasher, size = blake3(), 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(_HASH_CHUNK):
                hasher.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise FileUnreadable(path, error.strerror or str(error)) from error
    return Blob(digest=ContentDigest(hasher.digest()), size=size)


async def _read(path: Path, on_bytes: Callable[[int], None]) -> AsyncGenerator[bytes, None]:
    try:
        async with await trio.open_file(path, "rb") as file:
            while chunk := await file.read(CHUNK_BYTES):
                on_bytes(len(chunk))
                yield chunk
    except OSError as error:
        raise FileUnreadable(path, error.strerror or str(error)) from error
