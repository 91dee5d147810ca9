"""Compression of groups, where it pays (docs/adr/1334).

It pays when packing takes less time than the bytes that it saves would take on the way, so a server measures both: how
fast this blob packs, and how fast this peer takes bytes. What is compressed already is noticed at its first group.
"""

from typing import Final

import trio
import zstandard

from node.networking.blob_frames import Accepts
from node.networking.blob_source import Hashing

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


class Packer:
    """Decides for one stream, group by group."""

    def __init__(self, accepts: Accepts, hashing: Hashing) -> None:
        self._is_accepted = bool(accepts & Accepts.ZSTD)
        self._hashing = hashing
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
        if not self._wire_bytes or self._plain >= RETRY:
            return True
        return self._pack_s_per_byte < self._saved * self._wire_s / self._wire_bytes

    async def pack(self, data: bytes) -> bytes | None:
        """Return `data` packed, or None if that saves too little."""
        start = trio.current_time()
        packed = await self._hashing.run(_pack, data)
        saved = 1 - len(packed) / len(data)
        self._plain = 0
        if saved < MIN_SAVED:
            self._pauses = min(MAX_PAUSE, 2 * self._pauses + 1)
            self._pause = self._pauses
            return None
        self._pauses = 0
        if len(data) >= MEASURED_BYTES:
            self._saved, self._pack_s_per_byte = saved, (trio.current_time() - start) / len(data)
        return packed

    def sent(self, size: int, seconds: float, *, is_packed: bool) -> None:
        """Count a group that went over the wire in `size` bytes, which took `seconds` to be taken.

        Sums are kept and not rates, so that what went into a buffer at once does not hide what came after it.
        """
        self._plain += not is_packed
        self._wire_s = KEPT * self._wire_s + seconds
        self._wire_bytes = KEPT * self._wire_bytes + size


def _pack(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=LEVEL).compress(data)


def unpack(data: bytes, size: int) -> bytes | None:
    """Return the `size` bytes that `data` stands for, or None if it does not.

    Never allocates more: the length that the frame declares is checked first. (`max_output_size` does not do it: the
    library prefers what the frame declares.)
    """
    try:
        declared = zstandard.get_frame_parameters(data).content_size
        if declared != size:
            return None
        plain = zstandard.ZstdDecompressor().decompress(data, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError:
        return None
    return plain if len(plain) == size else None
