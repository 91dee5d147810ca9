"""Compiled modules on disk, and the proof that they are those which this node wrote.

wasmtime runs whatever it is told to deserialize: a flipped byte is machine code like any other. So each artifact has a
seal beside it: its BLAKE3, authenticated with a key that only this cache has, and bound to module, engine and
processor. The seal is checked here; that the bytes still match it is checked by the worker on the very bytes it loads.

    <cache>/key                     32 random bytes
    <cache>/<module>.<engine>       the artifact
    <cache>/<module>.<engine>.seal  its digest, its size, and the authentication of both

All of this blocks: call it from a thread.
"""

import contextlib
import hmac
import os
import platform
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from blake3 import blake3

from protocol.identity import ContentDigest
from protocol.signing.keccak import Digest

KEY_BYTES: Final = 32
SEAL_BYTES: Final = 32 + 8 + 32
ABANDONED_S: Final = 3600
"""A temporary file older than this belongs to a process that is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A compiled module whose seal holds."""

    path: Path
    digest: ContentDigest
    size: int


class ArtifactCache:
    """The artifacts of one engine in one folder."""

    def __init__(self, folder: Path, *, engine: Digest, max_bytes: int) -> None:
        """Open the cache in `folder`, which is made if it is missing."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._max_bytes = max_bytes
        self._context = engine + platform.machine().encode()
        self._suffix = f".{engine.hex()[:16]}-{platform.machine()}"
        self._key = _load_key(folder / "key")
        self._remove_abandoned()

    def find(self, module: ContentDigest) -> Artifact | None:
        """Return a module's artifact, or None if there is none whose seal holds. Marks it as used."""
        path = self._path(module)
        try:
            seal = _seal_path(path).read_bytes()
            size = path.stat().st_size
        except FileNotFoundError:
            return None
        expected = self._seal(module, ContentDigest(seal[:32]), size)
        if len(seal) != SEAL_BYTES or not hmac.compare_digest(seal, expected):
            self.discard(module)
            return None
        with contextlib.suppress(FileNotFoundError):
            os.utime(path)
        return Artifact(path=path, digest=ContentDigest(seal[:32]), size=size)

    def temporary(self, module: ContentDigest) -> Path:
        """Return a fresh name in the cache for an artifact that is being written."""
        return self._folder / f"{module.hex()}.{secrets.token_hex(8)}.tmp"

    def keep(self, module: ContentDigest, temporary: Path, digest: ContentDigest) -> Artifact:
        """Seal a freshly written artifact and move it to its place, the seal last."""
        path = self._path(module)
        size = temporary.stat().st_size
        _seal_path(path).unlink(missing_ok=True)
        temporary.replace(path)
        draft = _seal_path(temporary)
        draft.write_bytes(self._seal(module, digest, size))
        draft.replace(_seal_path(path))
        self._evict(keep=path)
        return Artifact(path=path, digest=digest, size=size)

    def discard(self, module: ContentDigest) -> None:
        """Forget a module's artifact."""
        path = self._path(module)
        _seal_path(path).unlink(missing_ok=True)
        path.unlink(missing_ok=True)

    def _path(self, module: ContentDigest) -> Path:
        return self._folder / (module.hex() + self._suffix)

    def _seal(self, module: ContentDigest, digest: ContentDigest, size: int) -> bytes:
        body = digest + size.to_bytes(8, "little")
        return body + blake3(module + body + self._context, key=self._key).digest()

    def _evict(self, *, keep: Path) -> None:
        found = sorted(
            (entry.stat().st_mtime_ns, entry.stat().st_size, entry)
            for entry in self._folder.iterdir()
            if entry.name.endswith(self._suffix)
        )
        total = sum(size for _, size, _ in found)
        for _, size, path in found:
            if total <= self._max_bytes:
                return
            if path != keep:
                _seal_path(path).unlink(missing_ok=True)
                path.unlink(missing_ok=True)
                total -= size

    def _remove_abandoned(self) -> None:
        for entry in self._folder.glob("*.tmp*"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - entry.stat().st_mtime > ABANDONED_S:
                    entry.unlink()


def _seal_path(path: Path) -> Path:
    return path.with_name(path.name + ".seal")


def _load_key(path: Path) -> bytes:
    with contextlib.suppress(FileExistsError):
        draft = path.with_name(f"key.{secrets.token_hex(8)}.tmp")
        draft.touch(mode=0o600)
        draft.write_bytes(secrets.token_bytes(KEY_BYTES))
        try:
            os.link(draft, path)  # appears whole, and never replaces another's
        finally:
            draft.unlink()
    key = path.read_bytes()
    if len(key) != KEY_BYTES:  # a damaged key fits no seal: start over with an empty cache
        path.unlink()
        return _load_key(path)
    return key
