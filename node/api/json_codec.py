"""JSON of the typed values that the control socket carries, driven by their annotations; one function each way.

    dataclass                   object, every field always there
    Amount, Wei                 decimal string: JSON numbers lose digits above 2**53
    Address                     0x and 40 digits, with checksum
    Digest, ContentDigest       64 hexadecimal digits
    UnixTime, Seconds, uintN    number
    bytes                       base64
    tuple[X, ...]               array
    X | None                    null, or X
    union of dataclasses        told apart by their field `kind`, a Literal

Both ends of the socket use this, so a view can't be written that the other end can't read.
"""

import base64
import binascii
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, Literal, NewType, TypeAlias, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from protocol.errors import ProtocolError
from protocol.identity import Address, ContentDigest, Digest, InvalidAddress, PeerId, format_address, parse_address
from protocol.scalars import find_scalar
from protocol.units import MAX_AMOUNT, Amount, Bits

T = TypeVar("T")

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"
Wei = NewType("Wei", int)
"""Native money of the chain, uint256."""

MAX_WEI: Final = 2**256 - 1
MAX_INT: Final = 2**64 - 1
_DIGEST_BYTES: Final = 32
_LONGEST_INTEGER: Final = 78


class InvalidJson(ProtocolError):
    """A JSON value that is not of the expected shape.

    Attributes:
        where: Path to the value, such as `order.budget`; empty for the value itself.
    """

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"{where}: {problem}" if where else problem)
        self.where, self.problem = where, problem


@dataclass(frozen=True, slots=True)
class _Coder:
    write: Callable[[Any], Json]
    read: Callable[[str, Any], Any]


def to_json(value: object, hint: Any = None) -> Json:
    """Return what `json.dumps` takes for a value of type `hint` (its own class if not given). The value is trusted."""
    return _coder(hint or type(value)).write(value)


def from_json(hint: type[T], raw: Json, *, where: str = "") -> T:
    """Return the value of type `hint` that `raw` stands for.

    Raises:
        InvalidJson: It stands for none; says where.
    """
    return cast("T", from_json_as(hint, raw, where=where))


def from_json_as(hint: Any, raw: Json, *, where: str = "") -> Any:
    """Like `from_json`, for a `hint` that is no class (a union, a NewType)."""
    return _coder(hint).read(where, raw)


@cache
def _coder(hint: Any) -> _Coder:  # noqa: C901 - one line a kind of type
    if hint is Amount:
        return _big_integer("an amount in base units", MAX_AMOUNT)
    if hint is Wei:
        return _big_integer("an amount in wei", MAX_WEI)
    if hint is Address:
        return _Coder(format_address, _read_address)
    if hint in (Digest, ContentDigest):
        return _Coder(_hexed, _read_digest)
    scalar = find_scalar(hint)
    if scalar is not None and isinstance(scalar.shape, Bits):
        return _Coder(_same, _integer(0, 2**scalar.shape.width - 1))
    if hint in _PLAIN:
        return _PLAIN[hint]
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return _choice(args)
    if origin in (Union, UnionType):
        return _union(args)
    if origin is tuple:
        return _array(args)
    if isinstance(hint, type) and is_dataclass(hint):
        return _object(hint)
    raise TypeError(f"{hint} has no form in JSON")


def _same(value: Any) -> Json:
    return value


def _hexed(value: bytes) -> str:
    return value.hex()


def _encode_base64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _is_integer(raw: object) -> bool:
    return isinstance(raw, int) and not isinstance(raw, bool)


def _integer(least: int, most: int) -> Callable[[str, Any], int]:
    def read(where: str, raw: Any) -> int:
        if not _is_integer(raw) or not least <= raw <= most:
            raise InvalidJson(where, f"expected a whole number from {least} to {most}")
        return cast("int", raw)

    return read


def _big_integer(what: str, most: int) -> _Coder:
    def read(where: str, raw: Any) -> int:
        if not isinstance(raw, str) or not raw.isascii() or not raw.isdigit() or len(raw) > _LONGEST_INTEGER:
            raise InvalidJson(where, f"expected {what}, as a string of digits")
        value = int(raw)
        if value > most:
            raise InvalidJson(where, f"expected {what}, at most {most}")
        return value

    return _Coder(str, read)


def _read_address(where: str, raw: Any) -> Address:
    if not isinstance(raw, str):
        raise InvalidJson(where, "expected an address: 0x and 40 hexadecimal digits")
    try:
        return parse_address(raw)
    except InvalidAddress as error:
        raise InvalidJson(where, str(error)) from error


def _read_digest(where: str, raw: Any) -> bytes:
    try:
        value = bytes.fromhex(raw.removeprefix("0x")) if isinstance(raw, str) else b""
    except ValueError:
        value = b""
    if len(value) != _DIGEST_BYTES:
        raise InvalidJson(where, "expected a digest: 64 hexadecimal digits")
    return value


def _read_bytes(where: str, raw: Any) -> bytes:
    try:
        if isinstance(raw, str):
            return base64.b64decode(raw, validate=True)
    except (binascii.Error, ValueError):
        pass
    raise InvalidJson(where, "expected base64")


def _read_text(where: str, raw: Any) -> str:
    if not isinstance(raw, str):
        raise InvalidJson(where, "expected a text")
    return raw


def _read_truth(where: str, raw: Any) -> bool:
    if not isinstance(raw, bool):
        raise InvalidJson(where, "expected true or false")
    return raw


def _read_number(where: str, raw: Any) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not math.isfinite(raw):
        raise InvalidJson(where, "expected a number")
    return float(raw)


def _read_nothing(where: str, raw: Any) -> None:
    if raw is not None:
        raise InvalidJson(where, "expected null")


_PLAIN: Final[Mapping[Any, _Coder]] = {
    int: _Coder(_same, _integer(-MAX_INT, MAX_INT)),
    float: _Coder(_same, _read_number),
    str: _Coder(_same, _read_text),
    PeerId: _Coder(_same, _read_text),
    bool: _Coder(_same, _read_truth),
    bytes: _Coder(_encode_base64, _read_bytes),
    NoneType: _Coder(_same, _read_nothing),
}


def _choice(choices: tuple[Any, ...]) -> _Coder:
    def read(where: str, raw: Any) -> Any:
        if raw not in choices:
            raise InvalidJson(where, f"expected one of {', '.join(map(str, choices))}")
        return raw

    return _Coder(_same, read)


def _array(args: tuple[Any, ...]) -> _Coder:
    if len(args) != 2 or args[1] is not Ellipsis:
        raise TypeError(f"only tuple[X, ...] has a form in JSON, not tuple{list(args)}")
    item = _coder(args[0])

    def read(where: str, raw: Any) -> tuple[Any, ...]:
        if not isinstance(raw, list):
            raise InvalidJson(where, "expected an array")
        items = cast("Sequence[Any]", raw)
        return tuple(item.read(f"{where}[{index}]", each) for index, each in enumerate(items))

    return _Coder(lambda value: [item.write(each) for each in value], read)


def _union(args: tuple[Any, ...]) -> _Coder:
    if NoneType in args:
        others = tuple(arg for arg in args if arg is not NoneType)
        inner = _coder(others[0]) if len(others) == 1 else _union(others)
        return _Coder(
            lambda value: None if value is None else inner.write(value),
            lambda where, raw: None if raw is None else inner.read(where, raw),
        )
    members = {_kind_of(member): _coder(member) for member in args}
    if len(members) != len(args):
        raise TypeError("two members of a union have the same kind")

    def read(where: str, raw: Any) -> Any:
        kind = cast("Mapping[str, Any]", raw).get("kind") if isinstance(raw, dict) else None
        member = members.get(kind) if isinstance(kind, str) else None
        if member is None:
            raise InvalidJson(where, f"expected an object whose kind is one of {', '.join(members)}")
        return member.read(where, raw)

    return _Coder(lambda value: members[value.kind].write(value), read)


def _kind_of(member: Any) -> str:
    hint = get_type_hints(member)["kind"]
    (kind,) = get_args(hint)
    assert isinstance(kind, str)
    return kind


def _object(cls: Any) -> _Coder:
    hints = get_type_hints(cls, include_extras=True)
    coders = {field.name: _coder(hints[field.name]) for field in fields(cls)}
    required = {field.name for field in fields(cls) if field.default is MISSING and field.default_factory is MISSING}

    def write(value: Any) -> Json:
        return {name: coder.write(getattr(value, name)) for name, coder in coders.items()}

    def read(where: str, raw: Any) -> Any:
        if not isinstance(raw, dict):
            raise InvalidJson(where, "expected an object")
        given = cast("Mapping[str, Any]", raw)
        unknown = sorted(given.keys() - coders.keys())
        missing = sorted(required - given.keys())
        if unknown or missing:
            wrong = [*(f"no field {name}" for name in missing), *(f"unknown field {name}" for name in unknown)]
            raise InvalidJson(where, "; ".join(wrong))
        prefix = f"{where}." if where else ""
        return cls(**{name: coders[name].read(f"{prefix}{name}", each) for name, each in given.items()})

    return _Coder(write, read)
