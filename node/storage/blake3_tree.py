"""The tree inside BLAKE3, so that a blob can be checked piece by piece while it arrives.

A BLAKE3 digest is the root of a binary tree over chunks of 1,024 bytes (the BLAKE3 paper, section 2.1). Pieces of
`GROUP_BYTES` are complete subtrees of it, so each has a *chaining value* of its own, and the chaining values of all
pieces give the digest. A receiver that first gets these (32 bytes per MiB) can check them against the digest, and then
each piece against its chaining value when it comes: a wrong byte is found at the end of its piece.

The `blake3` package has no access to the tree: node/storage/blake3_wasm.py computes it. Pieces that are a whole blob by
themselves don't need any of it.
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from blake3 import blake3

from node.storage.blake3_wasm import CHUNK_BYTES, CV_BYTES, INPUT_BYTES, Lanes
from protocol.identity import ContentDigest

GROUP_BYTES: Final = 1024 * 1024


def group_count(size: int) -> int:
    """Return how many groups a blob of `size` bytes has; an empty one has one."""
    return max(1, -(-size // GROUP_BYTES))


@dataclass(frozen=True, slots=True)
class BlobTree:
    """Size and chaining values of a blob, proven to belong to its digest: what its groups are checked against.

    The chaining values prove all but the length of the last group; that group proves it.

    Attributes:
        digest: Of the whole.
        size: Bytes in all.
        cvs: Chaining values of the groups, one after the other; none if there is but one group.
    """

    digest: ContentDigest
    size: int
    cvs: bytes = b""

    @classmethod
    def prove(cls, digest: ContentDigest, size: int, cvs: bytes) -> "BlobTree | None":
        """Return the tree if `cvs` give `digest` and are as many as `size` wants, else None."""
        groups = group_count(size)
        if len(cvs) != (groups * CV_BYTES if groups > 1 else 0):
            return None
        if groups > 1 and root_of(cvs) != digest:
            return None
        return cls(digest, size, cvs)

    @property
    def groups(self) -> int:
        """How many groups there are, at least one."""
        return group_count(self.size)

    def length_of(self, index: int) -> int:
        """Return the bytes of a group."""
        return min(GROUP_BYTES, self.size - index * GROUP_BYTES)

    def matches(self, index: int, data: bytes) -> bool:
        """Tell whether `data` is group `index`. Takes milliseconds for a MiB."""
        if self.groups == 1:
            return blake3(data).digest() == self.digest
        return group_cv(data, index) == self.cvs[index * CV_BYTES : (index + 1) * CV_BYTES]


def group_cv(data: bytes, index: int) -> bytes:
    """Return the chaining value of group `index` of a blob that has more than one.

    Args:
        data: All bytes of the group: `GROUP_BYTES`, and 1 to that many in the last group.
        index: Place of the group in the blob, from 0.
    """
    assert 1 <= len(data) <= GROUP_BYTES
    with _lanes() as lanes:
        return lanes.subtree(data, index * (GROUP_BYTES // CHUNK_BYTES))


def root_of(cvs: bytes) -> bytes:
    """Return the digest of the blob whose groups have these chaining values, one after the other; at least two."""
    assert 2 * CV_BYTES <= len(cvs) <= INPUT_BYTES
    with _lanes() as lanes:
        return lanes.root(cvs)


_idle: Final[list[Lanes]] = []


@contextmanager
def _lanes() -> Generator[Lanes]:
    """Lend an instance, on any thread: there are as many as were ever used at once."""
    try:
        lanes = _idle.pop()
    except IndexError:
        lanes = Lanes()
    yield lanes
    _idle.append(lanes)
