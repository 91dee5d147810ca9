"""Canonical msgpack of frozen dataclasses, driven by their type annotations (docs/spec/wire.md).

A value has exactly one encoding, and a decoder that is handed any other bytes rejects them. So equal values have
equal bytes, a message id can't be varied by a relay, and a journal compares by content.

    dataclass            array of its fields, in order; `@tagged(n)` puts the number n in front
    uint8 … uint64       msgpack integer, shortest form
    uint128              bin, big-endian, no leading zero byte (msgpack integers end at 64 bits)
    address, digests     bin of exactly their length
    str, bytes, tuple    str, bin, array; each with `MaxLen`
    X | None             nil, or X
    tagged unions        told apart by their number
    IntEnum              its value

Nothing here trusts its input: every length is bounded by the annotation before it is used.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from enum import IntEnum
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Final, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import msgpack

from protocol.errors import ProtocolError
from protocol.identity import PeerId
from protocol.scalars import Scalar, find_scalar
from protocol.signing.ecdsa import SIGNATURE_BYTES, Signature
from protocol.units import Bits

T = TypeVar("T")
C = TypeVar("C", bound=type)

# msgpack ships no types
_pack = cast("Callable[[Any], bytes]", msgpack.packb)  # pyright: ignore[reportUnknownMemberType]
_unpack = cast("Callable[..., Any]", msgpack.unpackb)  # pyright: ignore[reportUnknownMemberType]

DEFAULT_MAX_BYTES: Final = 64 * 1024
PEER_ID_MAX: Final = 64


class DecodeError(ProtocolError):
    """Bytes that are not the one encoding of a value of the expected type."""


class TooLarge(DecodeError):
    """More bytes than this kind of message may have."""


class UnknownKind(DecodeError):
    """A tag that this version does not know: a newer peer, or garbage."""


@dataclass(frozen=True, slots=True)
class MaxLen:
    """Annotation of a str (bytes of UTF-8), bytes or tuple (items): the most it may hold."""

    limit: int


@dataclass(frozen=True, slots=True)
class _Coder:
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


_TAG: Final = "__wire_tag__"


def tagged(number: int) -> Callable[[C], C]:
    """Give a dataclass the number that tells it from the others of its union. Never reuse one."""

    def mark(cls: C) -> C:
        setattr(cls, _TAG, number)
        return cls

    return mark


def encode(value: object, hint: Any = None) -> bytes:
    """Return the canonical bytes of a dataclass, or of anything that `hint` describes.

    The value is trusted: it is ours, or was decoded. A value that breaks its annotation is a bug and asserts.
    """
    return _pack(_coder(hint or type(value)).encode(value))


def decode(hint: type[T], data: bytes, *, max_bytes: int = DEFAULT_MAX_BYTES) -> T:
    """Return the value of type `hint` whose canonical encoding is `data`.

    Raises:
        TooLarge: `data` is longer than `max_bytes`.
        UnknownKind: A union member that this version does not know.
        DecodeError: Anything else that is not exactly what `encode` would write.
    """
    return cast("T", decode_as(hint, data, max_bytes=max_bytes))


def decode_as(hint: Any, data: bytes, *, max_bytes: int = DEFAULT_MAX_BYTES) -> Any:
    """Like `decode`, for a `hint` that is no class (a union, an `Annotated`)."""
    if len(data) > max_bytes:
        raise TooLarge(f"{len(data)} bytes, at most {max_bytes} are allowed here")
    try:
        raw = _unpack(data, raw=False, use_list=True, max_map_len=0, max_ext_len=0)
    except (ValueError, RecursionError) as error:  # msgpack's own errors and UnicodeDecodeError are ValueErrors
        raise DecodeError(f"not msgpack: {error or type(error).__name__}") from error
    coder = _coder(hint)
    value = coder.decode(raw)
    # Each coder takes exactly one raw form of a value; so only msgpack's own freedom is left to rule out.
    if _pack(raw) != data:
        raise DecodeError("not canonical: the same value has a shorter or other encoding")
    return value


@cache
def _coder(hint: Any) -> _Coder:  # noqa: C901 - one line a kind of type
    scalar = find_scalar(hint)
    if scalar is not None:
        return _scalar(scalar)
    if hint is Signature:
        return _fixed_bytes(SIGNATURE_BYTES)
    if hint is PeerId:
        return _text(PEER_ID_MAX)
    if hint is bool:
        return _Coder(_same, _expect(bool))
    if hint is NoneType:
        return _Coder(_same, _expect(NoneType))
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _bounded(args[0], next(extra.limit for extra in args[1:] if isinstance(extra, MaxLen)))
    if origin in (Union, UnionType):
        return _union(args)
    if origin is tuple and Ellipsis not in args:
        return _sequence([_coder(arg) for arg in args], tuple)
    if isinstance(hint, type) and issubclass(hint, IntEnum):
        return _enum(hint)
    cls = cast("Any", origin or hint)
    if isinstance(cls, type) and is_dataclass(cls):
        return _dataclass(cls, args)
    raise TypeError(f"{hint} can't be encoded: give it a fixed size or a MaxLen")


def _same(value: Any) -> Any:
    return value


def _expect(kind: type) -> Callable[[Any], Any]:
    def check(raw: Any) -> Any:
        if type(raw) is not kind:
            raise DecodeError(f"expected {kind.__name__}, got {type(raw).__name__}")
        return raw

    return check


def _scalar(scalar: Scalar) -> _Coder:
    if not isinstance(scalar.shape, Bits):
        return _fixed_bytes(scalar.shape)
    width = scalar.shape.width
    return _big_uint(width) if width > 64 else _uint(width)


def _uint(width: int) -> _Coder:
    limit = 1 << width

    def encode_(value: int) -> int:
        assert 0 <= value < limit, f"{value} is no uint{width}"
        return value

    def decode_(raw: Any) -> int:
        if type(raw) is not int:  # a bool is an int to isinstance
            raise DecodeError(f"expected an unsigned integer, got {type(raw).__name__}")
        if not 0 <= raw < limit:
            raise DecodeError(f"{raw} does not fit uint{width}")
        return raw

    return _Coder(encode_, decode_)


def _big_uint(width: int) -> _Coder:
    size = width // 8

    def encode_(value: int) -> bytes:
        assert 0 <= value < 1 << width, f"{value} is no uint{width}"
        return value.to_bytes((value.bit_length() + 7) // 8)

    def decode_(raw: Any) -> int:
        if type(raw) is not bytes or len(raw) > size:
            raise DecodeError(f"expected at most {size} bytes of a uint{width}")
        if raw[:1] == b"\0":
            raise DecodeError(f"not canonical: a uint{width} with a leading zero byte")
        return int.from_bytes(raw)

    return _Coder(encode_, decode_)


def _fixed_bytes(size: int) -> _Coder:
    def encode_(value: bytes) -> bytes:
        assert len(value) == size, f"{len(value)} bytes, expected {size}"
        return bytes(value)

    def decode_(raw: Any) -> bytes:
        if type(raw) is not bytes or len(raw) != size:
            raise DecodeError(f"expected {size} bytes")
        return raw

    return _Coder(encode_, decode_)


def _text(limit: int) -> _Coder:
    def decode_(raw: Any) -> str:
        if type(raw) is not str:
            raise DecodeError(f"expected text, got {type(raw).__name__}")
        if len(raw.encode()) > limit:
            raise DecodeError(f"text of more than {limit} bytes")
        return raw

    def encode_(value: str) -> str:
        assert len(value.encode()) <= limit, f"text of more than {limit} bytes"
        return value

    return _Coder(encode_, decode_)


def _bounded(base: Any, limit: int) -> _Coder:
    if base is str:
        return _text(limit)
    if base is bytes:

        def decode_bytes(raw: Any) -> bytes:
            if type(raw) is not bytes or len(raw) > limit:
                raise DecodeError(f"expected at most {limit} bytes")
            return raw

        def encode_bytes(value: bytes) -> bytes:
            assert len(value) <= limit, f"{len(value)} bytes, at most {limit}"
            return bytes(value)

        return _Coder(encode_bytes, decode_bytes)
    args = get_args(base)
    if get_origin(base) is tuple and len(args) == 2 and args[1] is Ellipsis:
        return _variadic(_coder(args[0]), limit)
    raise TypeError(f"MaxLen does not apply to {base}")


def _variadic(item: _Coder, limit: int) -> _Coder:
    encode_item, decode_item = item.encode, item.decode

    def encode_(value: tuple[Any, ...]) -> list[Any]:
        assert len(value) <= limit, f"{len(value)} items, at most {limit}"
        return [encode_item(each) for each in value]

    def decode_(raw: Any) -> tuple[Any, ...]:
        if type(raw) is not list or len(cast("list[Any]", raw)) > limit:
            raise DecodeError(f"expected an array of at most {limit} items")
        return tuple([decode_item(each) for each in cast("list[Any]", raw)])

    return _Coder(encode_, decode_)


def _sequence(items: list[_Coder], build: Callable[[Any], Any]) -> _Coder:
    decoders = [coder.decode for coder in items]

    def encode_(value: tuple[Any, ...]) -> list[Any]:
        return [coder.encode(each) for coder, each in zip(items, value, strict=True)]

    def decode_(raw: Any) -> Any:
        if type(raw) is not list or len(cast("list[Any]", raw)) != len(decoders):
            raise DecodeError(f"expected an array of {len(items)} items")
        return build([decode_item(each) for decode_item, each in zip(decoders, cast("list[Any]", raw), strict=True)])

    return _Coder(encode_, decode_)


def _enum(cls: type[IntEnum]) -> _Coder:
    def decode_(raw: Any) -> IntEnum:
        if type(raw) is not int:
            raise DecodeError(f"expected an integer, got {type(raw).__name__}")
        try:
            return cls(raw)
        except ValueError as error:
            raise UnknownKind(f"{raw} is no {cls.__name__} that this version knows") from error

    return _Coder(int, decode_)


def _dataclass(cls: type, args: tuple[Any, ...]) -> _Coder:
    hints = get_type_hints(cls, include_extras=True)
    bound = dict(zip(getattr(cls, "__parameters__", ()), args, strict=True))
    names = [field.name for field in fields(cls)]
    tag: int | None = getattr(cls, _TAG, None)
    inner = [_coder(_substitute(hints[name], bound)) for name in names]

    encoders = [(name, coder.encode) for name, coder in zip(names, inner, strict=True)]

    def build(values: list[Any]) -> Any:
        return cls(**dict(zip(names, values, strict=True)))

    body = _sequence(inner, build)

    def encode_(value: Any) -> list[Any]:
        assert type(value) is cls, f"expected {cls.__name__}, got {type(value).__name__}"
        packed = [encode_field(getattr(value, name)) for name, encode_field in encoders]
        return packed if tag is None else [tag, *packed]

    def decode_(raw: Any) -> Any:
        if tag is None:
            return body.decode(raw)
        if _tag_of(raw) != tag:
            raise UnknownKind(f"expected {cls.__name__} (kind {tag})")
        return body.decode(raw[1:])

    return _Coder(encode_, decode_)


def _substitute(hint: Any, bound: dict[Any, Any]) -> Any:
    if hint in bound:
        return bound[hint]
    parameters = getattr(hint, "__parameters__", ())
    return hint[tuple(bound[parameter] for parameter in parameters)] if parameters else hint


def _tag_of(raw: Any) -> int:
    if type(raw) is not list or not raw or type(cast("list[Any]", raw)[0]) is not int:
        raise DecodeError("expected an array that starts with its kind")
    return cast("list[int]", raw)[0]


def _union(members: tuple[Any, ...]) -> _Coder:
    classes = [member for member in members if member is not NoneType]
    optional = len(classes) != len(members)
    if len(classes) == 1:
        return _optional(_coder(classes[0]))
    by_tag: dict[int, _Coder] = {}
    by_class: dict[type, _Coder] = {}
    for member in classes:
        cls = get_origin(member) or member
        number: int | None = getattr(cls, _TAG, None)
        if number is None or number in by_tag:
            raise TypeError(f"{member} needs a @tagged number of its own to stand in a union")
        by_tag[number] = by_class[cls] = _coder(member)

    def decode_(raw: Any) -> Any:
        number = _tag_of(raw)
        if number not in by_tag:
            raise UnknownKind(f"kind {number} is not known here")
        return by_tag[number].decode(raw)

    union = _Coder(lambda value: by_class[type(value)].encode(value), decode_)
    return _optional(union) if optional else union


def _optional(coder: _Coder) -> _Coder:
    return _Coder(
        lambda value: None if value is None else coder.encode(value),
        lambda raw: None if raw is None else coder.decode(raw),
    )
