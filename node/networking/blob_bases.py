"""Earlier blobs against which a group is packed, when asker and holder have one in common (docs/adr/1561).

What a group is packed against is a window of the base: the MiB at the group's own place, the one before, and the one
after. Both sides cut it by the same rule, so nothing is said about it but the base's number.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import zstandard

from node.networking.blob_source import BlobReader, read_fully
from node.storage.blake3_tree import GROUP_BYTES
from protocol.identity import ContentDigest, PeerId

MAX_BASES: Final = 4
WINDOW_BYTES: Final = 3 * GROUP_BYTES
_PARAMETERS: Final = zstandard.ZstdCompressionParameters(compression_level=1, window_log=22, hash_log=20)
"""The window must reach over base and group, and the hash table must hold the base: at the level's own sizes next to
nothing of it is found."""


@dataclass(frozen=True, slots=True)
class Base:
    """A blob that the asker has, open for reading."""

    digest: ContentDigest
    reader: BlobReader


BasesOf: TypeAlias = Callable[[PeerId], Sequence[Base]]
"""Which bases a peer may be told of. A digest tells who knows it what we have, so only those that came from it."""


def no_bases(_peer: PeerId) -> Sequence[Base]:
    """Tell nobody of any."""
    return ()


async def read_window(base: BlobReader, index: int) -> bytes:
    """Return the part of `base` against which group `index` is packed.

    Raises:
        StorageError: The blob is shorter on disk than it should be.
    """
    begin = max(0, min((index - 1) * GROUP_BYTES, base.size - WINDOW_BYTES))
    return await read_fully(base, begin, min(WINDOW_BYTES, base.size - begin))


def pack_against(data: bytes, window: bytes) -> bytes:
    """Return `data` as a zstd frame that means something only beside `window`."""
    return zstandard.ZstdCompressor(dict_data=_raw(window), compression_params=_PARAMETERS).compress(data)


def unpacker_against(window: bytes) -> zstandard.ZstdDecompressor:
    """Return what reads such a frame."""
    return zstandard.ZstdDecompressor(dict_data=_raw(window))


def _raw(window: bytes) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(window, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
