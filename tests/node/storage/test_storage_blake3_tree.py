# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportUnknownVariableType=false
import random

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
    assert root_of([group_cv(group, index) for index, group in enumerate(groups)]) == blake3(data).digest()


@pytest.mark.parametrize(("size", "count"), [(0, 1), (1, 1), (GROUP_BYTES, 1), (GROUP_BYTES + 1, 2)])
def test_groups_are_counted_as_they_are_cut(size: int, count: int) -> None:
    assert group_count(size) == count


def test_a_chaining_value_knows_its_place() -> None:
    data = bytes(GROUP_BYTES)
    assert group_cv(data, 0) != group_cv(data, 1)


def test_two_groups_that_change_places_give_another_digest() -> None:
    cvs = [group_cv(bytes([index]) * GROUP_BYTES, index) for index in range(3)]
    assert root_of(cvs) != root_of([cvs[1], cvs[0], cvs[2]])


@pytest.mark.parametrize("place", [0, 1_023, 1_024, GROUP_BYTES - 1])
def test_any_wrong_byte_changes_the_chaining_value(place: int) -> None:
    data = bytearray(GROUP_BYTES)
    honest = group_cv(bytes(data), 4)
    data[place] ^= 1
    assert group_cv(bytes(data), 4) != honest
