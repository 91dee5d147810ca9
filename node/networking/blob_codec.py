"""Compression of groups, where it pays (docs/adr/1334), and against an earlier blob where there is one (docs/adr/1561).

It pays when packing takes less time than the bytes that it saves would take on the way, so a server measures both: how
fast this blob packs, and how fast this peer takes bytes. What is compressed already is noticed at its first group.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import trio
import zstandard

from node.networking.blob_bases import pack_against, read_window, unpacker_against
from node.networking.blob_frames import Accepts, Encoding
from node.networking.blob_source import BlobReader, Hashing
from protocol.errors import StorageError

LEVEL: Final = 1
MIN_BYTES: Final = 512
"""Below, the head of a frame eats what is saved."""
MIN_SAVED: Final = 0.05
"""A group that gets smaller by less than this is sent as it is: the other side is spared the unpacking."""
MEASURED_BYTES: Final = 64 * 1024
"""Less than this says little about the rest."""
MAX_PAUSE: Final = 64
"""Groups after which a blob that did not pack is tried again; at first the next one is."""
KEPT: Final = 0.5
"""Weight of what was measured before, against the last group."""
RETRY: Final = 16
"""Plain groups after which packing is measured again: the last measure may have met a busy moment."""
FITS: Final = 0.25
"""A base against which a group shrinks to no less than this has ended, or was another blob. Then all are tried again,
ever more rarely."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A group as it goes over the wire: see `GroupHead`."""

    encoding: Encoding
    base: int
    data: bytes


class Packer:
    """Decides for one stream, group by group."""

    def __init__(self, accepts: Accepts, hashing: Hashing, bases: Sequence[BlobReader | None] = ()) -> None:
        """Decide for an asker that has `bases`; None stands for one that we have not, or not for it."""
        self._is_accepted = bool(accepts & Accepts.ZSTD)
        self._hashing = hashing
        self._bases = {number: base for number, base in enumerate(bases) if base is not None and base.size}
        self._fitting: int | None = None
        self._base_pause = self._base_pauses = 0
        self._pause = self._pauses = 0
        self._saved = 1.0
        self._pack_s_per_byte = 0.0
        self._plain = 0
        self._wire_s = self._wire_bytes = 0.0

    def wants(self, size: int) -> bool:
        """Tell whether the next group, of `size` bytes, should be packed."""
        if not self._is_accepted or size < MIN_BYTES:
            return False
        if self._pause:
            self._pause -= 1
            return False
        if not self._pack_s_per_byte or not self._wire_bytes or self._plain >= RETRY:
            return True
        return self._pack_s_per_byte < self._saved * self._wire_s / self._wire_bytes

    async def pack(self, index: int, data: bytes) -> Packed | None:
        """Return group `index` packed, or None if that saves too little."""
        packed, took_s = await self._pack(index, data)
        saved = 1 - len(packed.data) / len(data)
        self._plain = 0
        if saved < MIN_SAVED:
            self._pauses = min(MAX_PAUSE, 2 * self._pauses + 1)
            self._pause = self._pauses
            return None
        self._pauses = 0
        if len(data) >= MEASURED_BYTES:
            self._saved, self._pack_s_per_byte = saved, took_s / len(data)
        return packed

    def sent(self, size: int, seconds: float, *, is_packed: bool) -> None:
        """Count a group that went over the wire in `size` bytes, which took `seconds` to be taken.

        Sums are kept and not rates, so that what went into a buffer at once does not hide what came after it.
        """
        self._plain += not is_packed
        self._wire_s = KEPT * self._wire_s + seconds
        self._wire_bytes = KEPT * self._wire_bytes + size

    async def _pack(self, index: int, data: bytes) -> tuple[Packed, float]:
        """Pack against the base that fitted the last group; if none did, in all ways, and take the shortest.

        Returns:
            What came out, and how many seconds this way took: the next group goes the same way.
        """
        if self._fitting is not None:
            start = trio.current_time()
            delta = await self._pack_against(self._fitting, index, data)
            if delta is not None:
                return delta, trio.current_time() - start
            self._fitting = None
        start = trio.current_time()
        best = Packed(Encoding.ZSTD, 0, await self._hashing.run(_pack, data))
        took_s = trio.current_time() - start
        if self._base_pause:
            self._base_pause -= 1
            return best, took_s
        for number in tuple(self._bases):
            start = trio.current_time()
            delta = await self._pack_against(number, index, data)
            if delta is not None and len(delta.data) < len(best.data):
                best, self._fitting, took_s = delta, number, trio.current_time() - start
        # Each try reads 3 MiB and takes three times as long as packing alone: no asker may make us do that for nothing.
        self._base_pauses = 0 if self._fitting is not None else min(MAX_PAUSE, 2 * self._base_pauses + 1)
        self._base_pause = self._base_pauses
        return best, took_s

    async def _pack_against(self, number: int, index: int, data: bytes) -> Packed | None:
        """Pack against one base; None if it does not fit, or is shorter on disk than it should be."""
        # One at a time in all: each holds a window of 3 MiB and as much again, and streams are many.
        async with self._hashing.one_window:
            try:
                window = await read_window(self._bases[number], index)
            except StorageError:
                del self._bases[number]
                return None
            packed = await self._hashing.run(pack_against, data, window)
        return Packed(Encoding.DELTA, number, packed) if len(packed) <= FITS * len(data) else None


def _pack(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=LEVEL).compress(data)


def unpack(data: bytes, size: int, window: bytes | None = None) -> bytes | None:
    """Return the `size` bytes that `data` stands for, beside the `window` of a base if given, or None if it does not.

    Never allocates more: the length that the frame declares is checked first. (`max_output_size` does not do it: the
    library prefers what the frame declares.)
    """
    try:
        declared = zstandard.get_frame_parameters(data).content_size
        if declared != size:
            return None
        unpacker = zstandard.ZstdDecompressor() if window is None else unpacker_against(window)
        plain = unpacker.decompress(data, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError:
        return None
    return plain if len(plain) == size else None
