"""The tree inside BLAKE3, so that a blob can be checked piece by piece while it arrives.

A BLAKE3 digest is the root of a binary tree over chunks of 1,024 bytes (the BLAKE3 paper, section 2.1). Pieces of
`GROUP_BYTES` are complete subtrees of it, so each has a *chaining value* of its own, and the chaining values of all
pieces give the digest. A receiver that first gets these (32 bytes per MiB) can check them against the digest, and then
each piece against its chaining value when it comes: a wrong byte is found at the end of its piece.

The `blake3` package has no access to the tree, so it is computed here, with one lane of numpy per chunk. Pieces that
are a whole blob by themselves don't need any of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from protocol.identity import ContentDigest

CHUNK_BYTES: Final = 1024
GROUP_BYTES: Final = 1024 * 1024
CV_BYTES: Final = 32
_BLOCK_BYTES: Final = 64
_BLOCKS: Final = CHUNK_BYTES // _BLOCK_BYTES
_CHUNK_START, _CHUNK_END, _PARENT, _ROOT = 1, 2, 4, 8

Words: TypeAlias = npt.NDArray[np.uint32]

_IV: Final = np.array(
    [0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19], dtype=np.uint32
)
_PERMUTATION: Final = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)


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
        if groups > 1 and root_of([cvs[at : at + CV_BYTES] for at in range(0, len(cvs), CV_BYTES)]) != digest:
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
    first = index * (GROUP_BYTES // CHUNK_BYTES)
    whole = len(data) // CHUNK_BYTES
    cvs = _whole_chunks(data[: whole * CHUNK_BYTES], first)
    if whole * CHUNK_BYTES < len(data):
        cvs = np.concatenate([cvs, _last_chunk(data[whole * CHUNK_BYTES :], first + whole)], axis=1)
    while cvs.shape[1] > 1:
        cvs = _merge_level(cvs)
    return _to_bytes(cvs)


def root_of(cvs: Sequence[bytes]) -> bytes:
    """Return the digest of the blob whose groups have these chaining values; at least two."""
    assert len(cvs) >= 2
    level = np.frombuffer(b"".join(cvs), dtype="<u4").reshape(len(cvs), 8).T.astype(np.uint32)
    while level.shape[1] > 2:
        level = _merge_level(level)
    return _to_bytes(_parents(level, _ROOT))


def _merge_level(cvs: Words) -> Words:
    """Merge neighbours; an odd one out goes up as it is, which gives the left-complete tree of the paper."""
    pairs = cvs.shape[1] // 2 * 2
    merged = _parents(cvs[:, :pairs], 0)
    return np.concatenate([merged, cvs[:, pairs:]], axis=1)


def _parents(cvs: Words, flag: int) -> Words:
    message = np.concatenate([cvs[:, 0::2], cvs[:, 1::2]])
    lanes = message.shape[1]
    zeros = np.zeros(lanes, dtype=np.uint64)
    return _compress(np.repeat(_IV[:, None], lanes, axis=1), message, zeros, _BLOCK_BYTES, _PARENT | flag)


def _whole_chunks(data: bytes, first: int) -> Words:
    chunks = len(data) // CHUNK_BYTES
    words = np.frombuffer(data, dtype="<u4").reshape(chunks, _BLOCKS, 16).transpose(1, 2, 0)
    blocks = np.ascontiguousarray(words, dtype=np.uint32)
    counters = np.arange(first, first + chunks, dtype=np.uint64)
    cvs = np.repeat(_IV[:, None], chunks, axis=1)
    for index in range(_BLOCKS):
        flags = (_CHUNK_START if index == 0 else 0) | (_CHUNK_END if index == _BLOCKS - 1 else 0)
        cvs = _compress(cvs, blocks[index], counters, _BLOCK_BYTES, flags)
    return cvs


def _last_chunk(data: bytes, number: int) -> Words:
    """Return the chaining value of a chunk of 1 to 1,023 bytes."""
    counter = np.array([number], dtype=np.uint64)
    cv = _IV[:, None].copy()
    for start in range(0, len(data), _BLOCK_BYTES):
        block = data[start : start + _BLOCK_BYTES]
        flags = (_CHUNK_START if start == 0 else 0) | (_CHUNK_END if start + _BLOCK_BYTES >= len(data) else 0)
        words = np.frombuffer(block.ljust(_BLOCK_BYTES, b"\0"), dtype="<u4").astype(np.uint32)[:, None]
        cv = _compress(cv, words, counter, len(block), flags)
    return cv


def _compress(cv: Words, message: Words, counters: npt.NDArray[np.uint64], length: int, flags: int) -> Words:
    """The compression function, once per lane (column); returns the chaining values. Paper, section 2.2."""
    a, b, c = cv[:4].copy(), cv[4:].copy(), np.repeat(_IV[:4, None], cv.shape[1], axis=1)
    d = np.empty_like(a)
    d[0], d[1] = counters & np.uint64(0xFFFFFFFF), counters >> np.uint64(32)
    d[2], d[3] = length, flags
    order = list(range(16))
    for _ in range(7):
        _half_round(a, b, c, d, message[order[0:8:2]], message[order[1:8:2]])
        b, c, d = b[[1, 2, 3, 0]], c[[2, 3, 0, 1]], d[[3, 0, 1, 2]]  # diagonals become columns
        _half_round(a, b, c, d, message[order[8::2]], message[order[9::2]])
        b, c, d = b[[3, 0, 1, 2]], c[[2, 3, 0, 1]], d[[1, 2, 3, 0]]
        order = [order[place] for place in _PERMUTATION]
    return np.concatenate([a ^ c, b ^ d])


def _half_round(a: Words, b: Words, c: Words, d: Words, x: Words, y: Words) -> None:
    """Four quarter-rounds at once, in place."""
    scratch = np.empty_like(a)
    for message, by_d, by_b in ((x, 16, 12), (y, 8, 7)):
        a += b
        a += message
        d ^= a
        _rotate_right(d, by_d, scratch)
        c += d
        b ^= c
        _rotate_right(b, by_b, scratch)


def _rotate_right(words: Words, by: int, scratch: Words) -> None:
    np.left_shift(words, np.uint32(32 - by), out=scratch)
    np.right_shift(words, np.uint32(by), out=words)
    np.bitwise_or(words, scratch, out=words)


def _to_bytes(cv: Words) -> bytes:
    return cv[:, 0].astype("<u4").tobytes()
