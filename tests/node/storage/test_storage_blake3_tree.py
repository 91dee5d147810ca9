# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportUnknownVariableType=false
import random
import struct
from concurrent.futures import ThreadPoolExecutor

import pytest
from blake3 import blake3

from node.storage.blake3_tree import GROUP_BYTES, group_count, group_cv, root_of

SIZES = [
    GROUP_BYTES + 1,
    GROUP_BYTES + 63,
    GROUP_BYTES + 64,
    GROUP_BYTES + 65,
    GROUP_BYTES + 1023,
    GROUP_BYTES + 1024,
    GROUP_BYTES + 1025,
    2 * GROUP_BYTES - 1,
    2 * GROUP_BYTES,
    2 * GROUP_BYTES + 1,
    3 * GROUP_BYTES,
    5 * GROUP_BYTES + 4_097,
    7 * GROUP_BYTES,
]


def groups_of(data: bytes) -> list[bytes]:
    return [data[start : start + GROUP_BYTES] for start in range(0, len(data), GROUP_BYTES)]


@pytest.mark.parametrize("size", SIZES)
def test_the_groups_of_a_blob_give_its_digest(size: int) -> None:
    data = random.Random(size).randbytes(size)
    groups = groups_of(data)
    assert len(groups) == group_count(size)
    assert root_of(b"".join(group_cv(group, index) for index, group in enumerate(groups))) == blake3(data).digest()


@pytest.mark.parametrize(("size", "count"), [(0, 1), (1, 1), (GROUP_BYTES, 1), (GROUP_BYTES + 1, 2)])
def test_groups_are_counted_as_they_are_cut(size: int, count: int) -> None:
    assert group_count(size) == count


def test_a_chaining_value_knows_its_place() -> None:
    data = bytes(GROUP_BYTES)
    assert group_cv(data, 0) != group_cv(data, 1)


def test_two_groups_that_change_places_give_another_digest() -> None:
    cvs = [group_cv(bytes([index]) * GROUP_BYTES, index) for index in range(3)]
    assert root_of(b"".join(cvs)) != root_of(cvs[1] + cvs[0] + cvs[2])


@pytest.mark.parametrize("place", [0, 1_023, 1_024, GROUP_BYTES - 1])
def test_any_wrong_byte_changes_the_chaining_value(place: int) -> None:
    data = bytearray(GROUP_BYTES)
    honest = group_cv(bytes(data), 4)
    data[place] ^= 1
    assert group_cv(bytes(data), 4) != honest


def test_groups_are_hashed_on_several_threads_at_once() -> None:
    data = random.Random(9).randbytes(16 * GROUP_BYTES)
    with ThreadPoolExecutor(8) as pool:
        cvs = b"".join(pool.map(group_cv, groups_of(data), range(16)))
    assert root_of(cvs) == blake3(data).digest()


IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)


def compress(cv: tuple[int, ...], block: bytes, counter: int, flags: int) -> tuple[int, ...]:
    """The compression function as the paper writes it, for one block."""
    m = list(struct.unpack("<16I", block.ljust(64, b"\0")))
    v = [*cv, *IV[:4], counter & 0xFFFFFFFF, counter >> 32, len(block), flags]

    def quarter(a: int, b: int, c: int, d: int, x: int, y: int) -> None:
        for word, by_d, by_b in ((x, 16, 12), (y, 8, 7)):
            v[a] = (v[a] + v[b] + word) & 0xFFFFFFFF
            v[d] = rotate(v[d] ^ v[a], by_d)
            v[c] = (v[c] + v[d]) & 0xFFFFFFFF
            v[b] = rotate(v[b] ^ v[c], by_b)

    for _ in range(7):
        for index in range(4):
            quarter(index, index + 4, index + 8, index + 12, m[2 * index], m[2 * index + 1])
        for index in range(4):
            down, left, up = (index + 1) % 4 + 4, (index + 2) % 4 + 8, (index + 3) % 4 + 12
            quarter(index, down, left, up, m[2 * index + 8], m[2 * index + 9])
        m = [m[place] for place in PERMUTATION]
    return tuple(low ^ high for low, high in zip(v[:8], v[8:], strict=True))


def rotate(word: int, by: int) -> int:
    return (word >> by | word << 32 - by) & 0xFFFFFFFF


@pytest.mark.parametrize("index", [0, 1, 2**22 - 1, 2**22, 2**22 + 5])
@pytest.mark.parametrize("size", [1, 63, 64, 65, 1_024])
def test_a_chunk_far_into_a_blob_is_hashed_as_the_paper_says(index: int, size: int) -> None:
    data = random.Random(size).randbytes(size)  # 2**22 MiB is where the number of the chunk outgrows 32 bits
    cv: tuple[int, ...] = IV
    for at in range(0, size, 64):
        flags = (1 if at == 0 else 0) | (2 if at + 64 >= size else 0)
        cv = compress(cv, data[at : at + 64], index * 1024, flags)
    assert group_cv(data, index) == struct.pack("<8I", *cv)


@pytest.mark.parametrize("groups", [2, 3, 4, 5, 6, 7, 8, 9, 31, 32, 33, 1_000])
def test_any_number_of_chaining_values_makes_the_tree_of_the_paper(groups: int) -> None:
    cvs = [struct.pack("<8I", *range(number, number + 8)) for number in range(groups)]
    level = cvs
    while len(level) > 2:
        pairs = [level[at : at + 2] for at in range(0, len(level), 2)]
        parents = [struct.pack("<8I", *compress(IV, b"".join(pair), 0, 4)) for pair in pairs if len(pair) == 2]
        level = [*parents, *pairs[-1][: len(level) % 2]]
    assert root_of(b"".join(cvs)) == struct.pack("<8I", *compress(IV, b"".join(level), 0, 4 | 8))


def test_the_largest_blob_that_may_be_has_a_tree() -> None:
    cvs = random.Random(4).randbytes(65_536 * 32)
    half = len(cvs) // 2
    assert root_of(cvs) != root_of(cvs[half:] + cvs[:half])
