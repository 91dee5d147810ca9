"""The anchor: the last acknowledged record, noted outside the database.

A chain proves that nothing in the middle changed; it can't show that its end was cut off. A cut-off journal is
dangerous: the node would sign again what it has already promised. So after each commit the writer notes the head in a
file of two slots, written in turn. The note isn't flushed: it may fall behind the database after a power cut, but it is
never ahead of what was durable.
"""

import os
import struct
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from blake3 import blake3

from node.storage.chain import EMPTY, Head
from node.storage.errors import DataFolderUnusable

ANCHOR_NAME: Final = "journal.anchor"
_SLOTS: Final = 2
_SLOT_BYTES: Final = 512  # one sector each, so that a torn write spoils only the slot that was being written
_HEAD: Final = struct.Struct(">Q32s")
_CHECK_BYTES: Final = 8


class Anchor:
    """The open anchor file."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._next_slot = 0

    def read(self) -> Head:
        """Return the highest head noted, `EMPTY` if there is none that can be read."""
        heads = [self._read_slot(slot) for slot in range(_SLOTS)]
        best = max(heads, key=lambda head: head.seq)
        self._next_slot = (heads.index(best) + 1) % _SLOTS
        return best

    def write(self, head: Head) -> None:
        """Note `head`, which must be durable already."""
        packed = _HEAD.pack(head.seq, head.hash)
        os.pwrite(self._descriptor, packed + _check(packed), self._next_slot * _SLOT_BYTES)
        self._next_slot = (self._next_slot + 1) % _SLOTS

    def reset(self, head: Head) -> None:
        """Forget every head noted but `head`."""
        for _ in range(_SLOTS):
            self.write(head)

    def _read_slot(self, slot: int) -> Head:
        data = os.pread(self._descriptor, _HEAD.size + _CHECK_BYTES, slot * _SLOT_BYTES)
        packed, check = data[: _HEAD.size], data[_HEAD.size :]
        if len(packed) < _HEAD.size or check != _check(packed):
            return EMPTY
        return Head(*_HEAD.unpack(packed))


@contextmanager
def open_anchor(folder: Path) -> Generator[Anchor]:
    """Open the anchor of `folder`, creating it at its full size, so that later writes need no room.

    Raises:
        DataFolderUnusable: It can't be created or written.
    """
    try:
        descriptor = os.open(folder / ANCHOR_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise DataFolderUnusable(folder, error.strerror or str(error)) from error
    try:
        if os.fstat(descriptor).st_size < _SLOTS * _SLOT_BYTES:
            _fill(folder, descriptor)
        yield Anchor(descriptor)
    finally:
        os.close(descriptor)


def _fill(folder: Path, descriptor: int) -> None:
    try:
        os.pwrite(descriptor, bytes(_SLOTS * _SLOT_BYTES), 0)
        os.fsync(descriptor)
    except OSError as error:
        raise DataFolderUnusable(folder, error.strerror or str(error)) from error


def _check(packed: bytes) -> bytes:
    return blake3(packed).digest(_CHECK_BYTES)
