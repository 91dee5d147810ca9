"""JSON of typed values: what goes in comes out, and nothing else gets in."""

import dataclasses
import inspect
import json
from dataclasses import dataclass
from typing import Any, Literal, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.api import views
from node.api.facade import NodeFacade
from node.api.json_codec import MAX_WEI, InvalidJson, Wei, from_json, from_json_as, to_json
from node.api.methods import methods
from node.api.views import TaskEvent
from protocol.identity import Address, ContentDigest, Digest
from protocol.units import MAX_AMOUNT, Amount, BasisPoints, Seconds, Uint8, Uint64, UnixTime
from tests.node.api.fake_node import FakeNode


@dataclass(frozen=True, slots=True, kw_only=True)
class Everything:
    amount: Amount
    wei: Wei
    at: UnixTime
    lasting: Seconds
    share: BasisPoints
    small: Uint8
    big: Uint64
    address: Address
    digest: Digest
    content: ContentDigest
    data: bytes
    text: str
    truth: bool
    number: float
    choice: Literal["a", "b"]
    maybe: Amount | None
    many: tuple[Digest, ...]


def edges(most: int) -> st.SearchStrategy[int]:
    return st.sampled_from([0, 1, most - 1, most]) | st.integers(0, most)


EVERYTHING = st.builds(
    Everything,
    amount=edges(MAX_AMOUNT),
    wei=edges(MAX_WEI),
    at=edges(2**64 - 1),
    lasting=edges(2**32 - 1),
    share=edges(2**16 - 1),
    small=edges(255),
    big=edges(2**64 - 1),
    address=st.binary(min_size=20, max_size=20),
    digest=st.binary(min_size=32, max_size=32),
    content=st.binary(min_size=32, max_size=32),
    data=st.binary(max_size=40),
    text=st.text(max_size=20),
    truth=st.booleans(),
    number=st.floats(allow_nan=False, allow_infinity=False),
    choice=st.sampled_from(["a", "b"]),
    maybe=st.none() | edges(MAX_AMOUNT),
    many=st.lists(st.binary(min_size=32, max_size=32), max_size=3).map(tuple),
)


@given(EVERYTHING)
def test_every_kind_of_value_survives_the_wire(value: Everything) -> None:
    line = json.dumps(to_json(value), allow_nan=False)
    assert from_json(Everything, json.loads(line)) == value


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    ),
    st.sampled_from([field.name for field in dataclasses.fields(Everything)]),
    EVERYTHING,
)
def test_any_json_in_place_of_a_value_is_read_or_refused(raw: Any, name: str, value: Everything) -> None:
    document: Any = to_json(value)
    document[name] = raw
    try:
        read = from_json(Everything, document)
    except InvalidJson:
        return
    assert from_json(Everything, to_json(read)) == read


@pytest.mark.parametrize(
    ("hint", "raw"),
    [
        (Amount, 1),
        (Amount, "-1"),
        (Amount, "1.0"),
        (Amount, ""),
        (Amount, "²"),
        (Amount, str(MAX_AMOUNT + 1)),
        (Amount, "9" * 5000),
        (Wei, str(MAX_WEI + 1)),
        (UnixTime, 2**64),
        (UnixTime, -1),
        (UnixTime, True),
        (Seconds, 2**32),
        (Address, "0x" + "1" * 39),
        (Digest, "zz" * 32),
        (Digest, "00" * 31),
        (bytes, "not base64!"),
        (bytes, "AAA"),
        (float, "1"),
        (float, True),
        (bool, 1),
        (str, None),
        (Literal["a", "b"], "c"),
        (Literal["a", "b"], []),
        (tuple[int, ...], {}),
    ],
)
def test_a_value_of_another_shape_is_refused(hint: Any, raw: Any) -> None:
    with pytest.raises(InvalidJson):
        from_json_as(hint, raw)


def test_missing_and_unknown_fields_are_both_named() -> None:
    with pytest.raises(InvalidJson) as caught:
        from_json(views.CapView, {"name": "x", "limit": "1", "lef": "1"})
    assert "no field left" in str(caught.value)
    assert "unknown field lef" in str(caught.value)


def test_the_kinds_of_events_are_all_different_and_told_apart() -> None:
    members = get_args(TaskEvent)
    kinds = {member.__dataclass_fields__["kind"].default for member in members}
    assert len(kinds) == len(members)
    with pytest.raises(InvalidJson, match="kind"):
        from_json_as(TaskEvent, {"kind": "task-exploded"})
    with pytest.raises(InvalidJson, match="kind"):
        from_json_as(TaskEvent, {"kind": ["task-ended"]})


def test_every_door_can_be_described_and_the_fake_has_them_all() -> None:
    described = methods()
    names = {name for name, _ in inspect.getmembers(NodeFacade, inspect.isfunction) if not name.startswith("_")}
    assert {method.name for method in described.values()} == names
    assert {name for name in names if hasattr(FakeNode, name)} == names
    streams = {name for name, method in described.items() if method.is_stream}
    assert streams == {"task.watch", "blob.read", "node.backup"}
    assert described["blob.put"].chunks == "chunks"
    for method in described.values():
        for hint in method.params.values():
            with pytest.raises(InvalidJson):
                from_json_as(hint, {"nonsense": []})
