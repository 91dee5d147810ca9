"""The wire: one encoding for each value, and nothing that a stranger sends gets further than a DecodeError."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Any, Generic, TypeVar, cast

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.channel.chain import BlockSeen, OpenConfirmed
from protocol.channel.holds import MAX_HOLDS
from protocol.channel.objects import ChannelKey, Hold, Voucher
from protocol.channel.paying import HoldRequested, PayerEvent
from protocol.channel.receiving import PayeeEvent, VoucherReceived
from protocol.escrow.provider import AcceptanceReceived, ProviderEvent
from protocol.escrow.record import CloseConfirmed, Outcome
from protocol.escrow.requester import AcceptanceSigned, RequesterEvent
from protocol.identity import Address, ContentDigest, Digest, PeerId
from protocol.settlement.credit import Credited, CreditEvent, CreditKey
from protocol.signing.ecdsa import Signature
from protocol.signing.signed import Signed
from protocol.task.manifest import Manifest
from protocol.task.objects import Acceptance
from protocol.units import MAX_AMOUNT, Amount, Uint8, Uint64, Uint128, UnixTime
from protocol.wire.codec import DecodeError, MaxLen, TooLarge, UnknownKind, decode, decode_as, encode, tagged

T = TypeVar("T")
pack = cast("Callable[[Any], bytes]", msgpack.packb)  # pyright: ignore[reportUnknownMemberType]


class Colour(IntEnum):
    RED = 0
    BLUE = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Box(Generic[T]):
    inner: T


@tagged(3)
@dataclass(frozen=True, slots=True, kw_only=True)
class Three:
    small: Uint8


@tagged(200)
@dataclass(frozen=True, slots=True, kw_only=True)
class Big:
    large: Uint128


@dataclass(frozen=True, slots=True, kw_only=True)
class Everything:
    flag: bool
    small: Uint8
    wide: Uint64
    amount: Amount
    address: Address
    peer: PeerId
    signature: Signature
    text: Annotated[str, MaxLen(4)]
    data: Annotated[bytes, MaxLen(3)]
    many: Annotated[tuple[Uint8, ...], MaxLen(2)]
    pair: tuple[Uint8, Annotated[str, MaxLen(1)]]
    maybe: ContentDigest | None
    colour: Colour
    box: Box[Digest]
    union: Three | Big
    maybe_union: Three | Big | None


def uint(width: int) -> st.SearchStrategy[int]:
    most = (1 << width) - 1
    edges = [0, 1, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**64 - 1, 2**64, most - 1, most]
    return st.sampled_from([edge for edge in edges if edge <= most]) | st.integers(0, most)


def raw(size: int) -> st.SearchStrategy[bytes]:
    return st.sampled_from([bytes(size), b"\xff" * size]) | st.binary(min_size=size, max_size=size)


UNIONS = st.builds(Three, small=uint(8)) | st.builds(Big, large=uint(128))
VALUES = st.builds(
    Everything,
    flag=st.booleans(),
    small=uint(8),
    wide=uint(64),
    amount=uint(128).map(Amount),
    address=raw(20).map(Address),
    peer=st.text("abc", max_size=64).map(PeerId),
    signature=raw(65).map(Signature),
    text=st.sampled_from(["", "abcd", "\u00e9\u00e9", "\U0001f600", "a\0"]),
    data=st.binary(max_size=3),
    many=st.lists(uint(8), max_size=2).map(tuple),
    pair=st.tuples(uint(8), st.sampled_from(["", "x"])),
    maybe=st.none() | raw(32).map(ContentDigest),
    colour=st.sampled_from(Colour),
    box=st.builds(Box, inner=raw(32).map(Digest)),
    union=UNIONS,
    maybe_union=st.none() | UNIONS,
)


@given(VALUES)
def test_every_value_survives_and_has_one_encoding(value: Everything) -> None:
    data = encode(value)
    assert decode(Everything, data) == value
    assert encode(decode(Everything, data)) == data


@given(VALUES, st.data())
def test_one_changed_byte_gives_another_value_or_an_error(value: Everything, data: st.DataObject) -> None:
    good = encode(value)
    index = data.draw(st.integers(0, len(good) - 1))
    bad = good[:index] + bytes([good[index] ^ data.draw(st.integers(1, 255))]) + good[index + 1 :]
    try:
        other = decode(Everything, bad)
    except DecodeError:
        return
    assert other != value
    assert encode(other) == bad


@given(VALUES, st.data())
def test_a_torn_or_lengthened_message_is_refused(value: Everything, data: st.DataObject) -> None:
    good = encode(value)
    cut = data.draw(st.integers(0, len(good) - 1))
    for bad in (good[:cut], good + b"\0", good + good, b"\0" + good):
        with pytest.raises(DecodeError):
            decode(Everything, bad)


HINTS: list[Any] = [Everything, Three, Three | Big, Manifest, Signed[Voucher], PayerEvent, PayeeEvent, Uint128]


@settings(max_examples=400)
@given(st.binary(max_size=200), st.sampled_from(HINTS))
def test_garbage_gives_a_decode_error_and_nothing_else(garbage: bytes, hint: Any) -> None:
    try:
        value = decode_as(hint, garbage)
    except DecodeError:
        return
    assert encode(value, hint) == garbage


JSONISH = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=70),
    lambda inner: st.lists(inner, max_size=17) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=25,
)


@settings(max_examples=400)
@given(JSONISH, st.sampled_from(HINTS))
def test_well_formed_msgpack_of_another_shape_is_refused(tree: Any, hint: Any) -> None:
    data = pack(tree)
    try:
        value = decode_as(hint, data)
    except DecodeError:
        return
    assert encode(value, hint) == data


@pytest.mark.parametrize(
    ("hint", "data"),
    [
        (Uint8, b"\xcc\x05"),  # 5 in two bytes
        (Uint8, b"\xcd\x00\x05"),
        (Uint64, b"\xcf" + bytes(7) + b"\x05"),
        (Uint64, b"\xd0\x05"),  # a signed 5
        (Uint8, b"\xc3"),  # true is no 1
        (Uint8, b"\xff"),  # -1
        (Uint8, b"\xcd\x01\x00"),  # 256
        (Uint8, b"\xcb\x3f\xf0" + bytes(6)),  # 1.0
        (Uint128, b"\x05"),  # an integer where bytes belong
        (Uint128, b"\xc4\x01\x00"),  # a leading zero
        (Uint128, b"\xc4\x02\x00\x05"),
        (Uint128, b"\xc4\x11\x01" + bytes(16)),  # 2**128
        (Uint128, b"\xc5\x00\x01\x05"),  # bin 16 for one byte
        (bool, b"\x01"),
        (Address, b"\xc4\x13" + bytes(19)),
        (Address, b"\xc4\x15" + bytes(21)),
        (Annotated[str, MaxLen(4)], b"\xa5abcde"),
        (Annotated[str, MaxLen(4)], b"\xa5\xe2\x82\xac\xc3\xa9"),  # 2 characters, 5 bytes
        (Annotated[str, MaxLen(4)], b"\xa1\xff"),  # no UTF-8
        (Annotated[str, MaxLen(4)], b"\xa3\xed\xa0\x80"),  # a surrogate
        (Annotated[str, MaxLen(4)], b"\xd9\x01a"),  # str 8 for one byte
        (Annotated[str, MaxLen(4)], b"\xc4\x01a"),
        (Annotated[bytes, MaxLen(3)], b"\xa1a"),
        (Annotated[bytes, MaxLen(3)], b"\xc4\x04abcd"),
        (Annotated[tuple[Uint8, ...], MaxLen(2)], b"\x93\x01\x02\x03"),
        (Annotated[tuple[Uint8, ...], MaxLen(2)], b"\xdc\x00\x01\x01"),
        (tuple[Uint8, Uint8], b"\x91\x01"),
        (Three, b"\x92\x03\x80"),  # a map
        (Three, b"\x92\xc3\x01"),  # the kind is true
        (Three, b"\xd4\x01\x00"),  # an extension
        (Three, b""),
        (Three, b"\xc1"),
        (Three, b"\xdd\xff\xff\xff\xff"),  # announces 4 G items
        (Three, b"\xc6\xff\xff\xff\xff"),  # announces 4 GB
        (Colour, b"\xc2"),
    ],
)
def test_any_other_spelling_of_a_value_is_refused(hint: Any, data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_as(hint, data)


@pytest.mark.parametrize("value", [0, 1, 255, 256, 2**64 - 1, 2**64, MAX_AMOUNT])
def test_a_uint128_is_its_bytes_without_leading_zeros(value: int) -> None:
    size = (value.bit_length() + 7) // 8
    assert encode(value, Uint128) == b"\xc4" + bytes([size]) + value.to_bytes(size)
    assert decode_as(Uint128, encode(value, Uint128)) == value


@pytest.mark.parametrize("depth", [30, 500, 1_023, 1_025, 60_000])
@pytest.mark.parametrize("opener", [b"\x91", b"\x81\xa0", b"\xdc\x00\x01"])
def test_deep_nesting_is_refused(depth: int, opener: bytes) -> None:
    bomb = (opener * depth)[:65_000]
    for data in (bomb, bomb + b"\xc0"):
        with pytest.raises(DecodeError):
            decode(Manifest, data)


def test_unknown_kinds_are_told_from_garbage() -> None:
    for data in (b"\x92\x04\x01", b"\x91\xcd\xff\xff"):
        with pytest.raises(UnknownKind):
            decode_as(Three | Big, data)
    with pytest.raises(UnknownKind):
        decode(Three, b"\x92\xcc\xc8\xc4\x00")
    with pytest.raises(UnknownKind):
        decode(Colour, b"\x01")


def test_size_is_checked_before_anything_is_read() -> None:
    data = encode(Big(large=5))
    assert decode(Big, data, max_bytes=len(data)) == Big(large=5)
    with pytest.raises(TooLarge):
        decode(Big, data, max_bytes=len(data) - 1)
    with pytest.raises(TooLarge):
        decode(Big, bytes(64 * 1024 + 1))


@pytest.mark.parametrize("value", [Three(small=256), Three(small=-1), Big(large=2**128), Big(large=-1)])
def test_our_own_value_out_of_range_is_a_bug(value: object) -> None:
    with pytest.raises(AssertionError):
        encode(value)


def test_types_without_bounds_cannot_be_encoded() -> None:
    @tagged(3)
    @dataclass(frozen=True)
    class AlsoThree:
        small: Uint8

    for hint in (str, bytes, int, list[int], tuple[Uint8, ...], Three | AlsoThree, Three | Box[Digest]):
        with pytest.raises(TypeError):
            decode_as(hint, b"\x01")


KEY = ChannelKey(
    payer=Address(bytes(20)), signer=Address(bytes(20)), payee=Address(bytes(20)), token=Address(bytes(20)), counter=1
)
SIGNATURE = Signature(bytes(65))
ZERO = Digest(bytes(32))
HOLD = Hold(award=ZERO, arbiter=Address(bytes(20)), amount=Amount(1))
VOUCHER = Voucher(channel=ZERO, sequence=1, cumulative=Amount(0), held=Amount(1), holds=ZERO)
ACCEPTED = Signed(Acceptance(award=ZERO, part=0, receipt=ZERO, due=Amount(1)), SIGNATURE)


@pytest.mark.parametrize(
    ("hint", "event"),
    [
        (PayerEvent, OpenConfirmed(key=KEY, deposit=Amount(1))),
        (PayerEvent, HoldRequested(award=ZERO, arbiter=KEY.payer, price=Amount(1), dispute_fee=Amount(0))),
        (PayeeEvent, BlockSeen(time=UnixTime(1))),
        (PayeeEvent, VoucherReceived(signed=Signed(VOUCHER, SIGNATURE), holds=(HOLD,) * MAX_HOLDS)),
        (RequesterEvent, AcceptanceSigned(signed=ACCEPTED)),
        (ProviderEvent, AcceptanceReceived(signed=ACCEPTED)),
        (
            ProviderEvent,
            CloseConfirmed(outcome=Outcome.SPLIT, to_provider=Amount(1), to_requester=Amount(2), to_arbiter=Amount(3)),
        ),
        (CreditEvent, Credited(key=CreditKey(contract=KEY.payer, token=KEY.token), amount=Amount(5))),
    ],
)
def test_the_events_of_the_money_can_be_journaled(hint: Any, event: object) -> None:
    assert decode_as(hint, encode(event, hint)) == event
