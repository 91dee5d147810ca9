"""The file of a backup: a tar of plain files whose last one says what all others must be (docs/spec/storage.md, S17).

Writing is tarfile's work. Reading is not: a backup may have come through other hands, so nothing but regular files
under the names below is taken, and no extension of the format is looked at.
"""

import json
import os
import re
import tarfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from blake3 import blake3

from node.storage.anchor import ANCHOR_NAME
from node.storage.chain import Head
from node.storage.engine import DATABASE_NAME
from node.storage.errors import BackupBroken
from protocol.units import UnixTime

MANIFEST_NAME: Final = "MANIFEST.json"
FORMAT: Final = "stoa backup 1"
CONFIG_NAME: Final = "stoa.toml"
WALLET_NAME: Final = "wallet.json"
HOST_KEY_NAME: Final = "host.json"
DEPLOYMENTS_NAME: Final = "deployments.json"

MAX_MANIFEST_BYTES: Final = 2**28
CHUNK_BYTES: Final = 2**20
_NAMED: Final = (DATABASE_NAME, ANCHOR_NAME, CONFIG_NAME, WALLET_NAME, HOST_KEY_NAME, DEPLOYMENTS_NAME)
_ALLOWED: Final = re.compile("|".join([*map(re.escape, _NAMED), r"blobs/([0-9a-f]{2})/\1[0-9a-f]{62}"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One file. `digest` is the BLAKE3-256 of its bytes."""

    name: str
    size: int
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a backup holds.

    Attributes:
        made_at: When the snapshot was taken.
        head: The last record of the journal in it.
        members: Every file but this one, in order.
    """

    made_at: UnixTime
    head: Head
    members: tuple[Member, ...]


class BackupWriter:
    """Adds files to a backup under way. Made by `open_backup_writer`."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive
        self._members: list[Member] = []

    def add(self, name: str, source: Path, *, on_bytes: Callable[[int], None] = lambda _count: None) -> Member | None:
        """Add a file; one that is not there is left out, and None returned.

        Args:
            name: One of those that a backup may hold.
            source: Must not change meanwhile.
            on_bytes: Told how many bytes went by.

        Raises:
            OSError: It can't be read, or the backup not written.
        """
        assert _ALLOWED.fullmatch(name), name
        try:
            file = source.open("rb")
        except FileNotFoundError:
            return None
        with file:
            size = os.fstat(file.fileno()).st_size
            reader = _Hashing(file, on_bytes)
            self._archive.addfile(_header(name, size), cast("BinaryIO", reader))
        member = Member(name=name, size=size, digest=reader.digest())
        self._members.append(member)
        return member

    def finish(self, made_at: UnixTime, head: Head) -> Manifest:
        """Write the manifest, which is the last thing."""
        manifest = Manifest(made_at=made_at, head=head, members=tuple(self._members))
        data = _encode(manifest)
        self._archive.addfile(_header(MANIFEST_NAME, len(data)), BytesIO(data))
        return manifest


@contextmanager
def open_backup_writer(file: BinaryIO) -> Generator[BackupWriter]:
    """Write a backup to `file`, which is left open and not flushed to disk."""
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as archive:
        yield BackupWriter(archive)


def unpack(source: Path, folder: Path, *, on_bytes: Callable[[int], None] = lambda _count: None) -> Manifest:
    """Write all files of a backup below `folder`, flushed, and check each against the manifest.

    Args:
        source: The backup.
        folder: Empty; what is written there when this raises is worth nothing.
        on_bytes: Told how many bytes went by.

    Raises:
        BackupBroken: It is no backup, was cut off, or a byte of it changed.
        OSError: It can't be read, or `folder` not written.
    """
    found: list[Member] = []
    with source.open("rb") as file:
        while True:
            name, size = _read_header(file, source)
            if name == MANIFEST_NAME:
                break
            if _ALLOWED.fullmatch(name) is None:
                raise BackupBroken(source, f"it holds {name!r}, which no backup does")
            found.append(_unpack_member(file, source, name, size, folder / name, on_bytes))
        if size > MAX_MANIFEST_BYTES:
            raise BackupBroken(source, "its manifest is too long")
        manifest = _decode(_exactly(file, size, source), source)
    _compare(manifest, found, source)
    return manifest


def _compare(manifest: Manifest, found: list[Member], source: Path) -> None:
    for expected, got in zip(manifest.members, found, strict=False):
        if expected != got:
            raise BackupBroken(source, f"{got.name} is not what was backed up")
    if len(manifest.members) != len(found):
        raise BackupBroken(source, f"it holds {len(found)} files, its manifest names {len(manifest.members)}")
    if not {DATABASE_NAME, ANCHOR_NAME} <= {member.name for member in found}:
        raise BackupBroken(source, "it holds no journal")


def _unpack_member(
    file: BinaryIO, source: Path, name: str, size: int, target: Path, on_bytes: Callable[[int], None]
) -> Member:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    hasher, left = blake3(), size
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise BackupBroken(source, f"it holds {name} twice") from error
    with os.fdopen(descriptor, "wb") as out:
        while left:
            data = _exactly(file, min(left, CHUNK_BYTES), source)
            hasher.update(data)
            out.write(data)
            left -= len(data)
            on_bytes(len(data))
        out.flush()
        os.fsync(out.fileno())
    _exactly(file, -size % tarfile.BLOCKSIZE, source)
    return Member(name=name, size=size, digest=hasher.digest())


def _read_header(file: BinaryIO, source: Path) -> tuple[str, int]:
    block = _exactly(file, tarfile.BLOCKSIZE, source)
    try:
        info = tarfile.TarInfo.frombuf(block, "ascii", "strict")
    except (tarfile.HeaderError, ValueError) as error:
        raise BackupBroken(source, "a header in it is damaged") from error
    if info.type != tarfile.REGTYPE or info.size < 0:
        raise BackupBroken(source, f"{info.name!r} in it is no plain file")
    return info.name, info.size


def _exactly(file: BinaryIO, count: int, source: Path) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise BackupBroken(source, "it is cut off")
    return data


def _header(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info


def _encode(manifest: Manifest) -> bytes:
    document = {
        "format": FORMAT,
        "made_at": manifest.made_at,
        "head": {"seq": manifest.head.seq, "hash": manifest.head.hash.hex()},
        "files": [{"name": each.name, "size": each.size, "blake3": each.digest.hex()} for each in manifest.members],
    }
    body = json.dumps(document, indent=1).encode()
    return blake3(body).hexdigest().encode() + b"\n" + body


def _decode(data: bytes, source: Path) -> Manifest:
    check, _, body = data.partition(b"\n")
    if blake3(body).hexdigest().encode() != check:
        raise BackupBroken(source, "its manifest is damaged")
    try:
        document: Any = json.loads(body)
        if document["format"] != FORMAT:
            raise BackupBroken(source, f"its format is {str(document['format'])[:64]!r}, this release reads {FORMAT!r}")
        return Manifest(
            made_at=UnixTime(int(document["made_at"])),
            head=Head(int(document["head"]["seq"]), bytes.fromhex(document["head"]["hash"])),
            members=tuple(
                Member(name=str(each["name"]), size=int(each["size"]), digest=bytes.fromhex(each["blake3"]))
                for each in document["files"]
            ),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise BackupBroken(source, "its manifest is no manifest") from error


class _Hashing:
    """A file that is hashed as it is read."""

    def __init__(self, file: BinaryIO, on_bytes: Callable[[int], None]) -> None:
        self._file, self._on_bytes, self._hasher = file, on_bytes, blake3()

    def read(self, count: int) -> bytes:
        data = self._file.read(count)
        self._hasher.update(data)
        self._on_bytes(len(data))
        return data

    def digest(self) -> bytes:
        return self._hasher.digest()
