"""Contract ABIs: calls, results, custom errors and event logs as Python values.

Names, types, selectors and bytes are web3's and eth-abi's; this module knows which go where. Values come out as the
protocol's plain types: an address is 20 bytes, `bytes32` is bytes, integers are int, a struct is a tuple in the order
of its fields. Frozen dataclasses whose fields stand in that order go in as they are.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final, TypeVar, cast

from eth_abi.codec import ABIDecoder
from eth_abi.decoding import AddressDecoder
from eth_abi.exceptions import DecodingError
from eth_abi.registry import BaseEquals
from eth_abi.registry import registry as standard_types
from eth_typing import ABI, ABIError, ABIEvent, ABIFunction
from eth_utils.abi import (
    abi_to_signature,
    event_signature_to_log_topic,
    filter_abi_by_type,
    get_abi_input_names,
    get_abi_input_types,
    get_abi_output_types,
)

from node.chain.errors import Reverted
from node.chain.web3_library import AsyncBaseProvider, AsyncWeb3
from protocol.identity import Digest
from protocol.signing.keccak import keccak256

T = TypeVar("T")

_PANICS: Final = {
    0x01: "assertion failed",
    0x11: "arithmetic overflow",
    0x12: "division by zero",
    0x21: "no such enum value",
    0x31: "pop of an empty array",
    0x32: "index out of bounds",
    0x41: "out of memory",
}
_ERROR_SELECTOR: Final = bytes.fromhex("08c379a0")
_PANIC_SELECTOR: Final = bytes.fromhex("4e487b71")


class _PlainAddressDecoder(AddressDecoder):
    """Gives an address as its 20 bytes; eth-abi's own gives text."""

    decoder_fn = staticmethod(bytes)


def _decoder() -> ABIDecoder:
    types = standard_types.copy()
    types.unregister_decoder("address")
    types.register_decoder(BaseEquals("address"), _PlainAddressDecoder, label="address")
    return ABIDecoder(types)


_DECODER: Final = _decoder()
_ENCODER: Final = AsyncWeb3(AsyncBaseProvider(), middleware=[]).codec
"""web3's strict one: `bytes32` takes 32 bytes and nothing else. Taken from an instance that never reaches a chain."""


@dataclass(frozen=True, slots=True)
class Item:
    """A function, an error or an event: its inputs by name and canonical type."""

    name: str
    inputs: tuple[tuple[str, str], ...]
    outputs: tuple[str, ...]
    indexed: tuple[bool, ...]
    hash: Digest
    """Keccak of the signature: a topic; its first four bytes are a selector."""


class UndecodableLog(Exception):
    """A log that claims to be one of our events and is not built like it. Our own contracts never emit one."""


class Abi:
    """The interface of one contract."""

    def __init__(self, name: str, entries: Sequence[Mapping[str, Any]]) -> None:
        self.name: Final = name
        elements = cast("ABI", entries)
        functions = filter_abi_by_type("function", elements)
        self.functions: Final = {item.name: item for item in map(_item, functions)}
        self.events: Final = {item.hash: item for item in map(_item, filter_abi_by_type("event", elements))}
        self.errors: Final = {item.hash[:4]: item for item in map(_item, filter_abi_by_type("error", elements))}
        self.constructor: Final = tuple(
            kind for element in filter_abi_by_type("constructor", elements) for kind in get_abi_input_types(element)
        )
        assert len(self.functions) == len(functions), f"{name} overloads a function"

    def encode_call(self, function: str, *arguments: object) -> bytes:
        """Return the call data of `function`."""
        item = self.functions[function]
        return item.hash[:4] + _ENCODER.encode(
            [kind for _, kind in item.inputs], [_plain(value) for value in arguments]
        )

    def encode_constructor(self, *arguments: object) -> bytes:
        """Return what follows the creation code in a deployment."""
        return _ENCODER.encode(self.constructor, [_plain(value) for value in arguments])

    def decode_result(self, function: str, data: bytes) -> tuple[object, ...]:
        """Read what a call of `function` returned.

        Raises:
            UndecodableLog: It is not what the function returns.
        """
        return _decode(self.functions[function].outputs, data, function)

    def decode_error(self, data: bytes) -> Reverted:
        """Name a revert and its arguments, if it is one of this contract's or of those that it calls."""
        try:
            if data[:4] == _ERROR_SELECTOR:
                (reason,) = _decode(("string",), data[4:], "Error")
                return Reverted("Error", {"reason": reason}, data, contract=self.name)
            if data[:4] == _PANIC_SELECTOR:
                (code,) = _decode(("uint256",), data[4:], "Panic")
                reason = _PANICS.get(cast("int", code), f"code {code}")
                return Reverted("Panic", {"reason": reason}, data, contract=self.name)
            item = self.errors.get(data[:4]) or _errors_of_all().get(data[:4])
            if item is not None:
                values = _decode(tuple(kind for _, kind in item.inputs), data[4:], item.name)
                names = [name for name, _ in item.inputs]
                return Reverted(item.name, dict(zip(names, values, strict=True)), data, contract=self.name)
        except UndecodableLog:
            pass  # bytes chosen by a foreign contract: shown raw
        return Reverted("", {}, data, contract=self.name)

    def decode_event(self, topics: Sequence[bytes], data: bytes) -> tuple[str, dict[str, object]] | None:
        """Read a log; None if it is no event of this contract.

        Raises:
            UndecodableLog: It has the topic of an event and another shape.
        """
        item = self.events.get(Digest(topics[0])) if topics else None
        if item is None:
            return None
        indexed = [kind for (_, kind), is_indexed in zip(item.inputs, item.indexed, strict=True) if is_indexed]
        plain = [kind for (_, kind), is_indexed in zip(item.inputs, item.indexed, strict=True) if not is_indexed]
        if len(indexed) != len(topics) - 1:
            raise UndecodableLog(f"{item.name} with {len(topics)} topics")
        from_topics = iter(_decode(tuple(indexed), b"".join(topics[1:]), item.name))
        from_data = iter(_decode(tuple(plain), data, item.name))
        return item.name, {
            name: next(from_topics if is_indexed else from_data)
            for (name, _), is_indexed in zip(item.inputs, item.indexed, strict=True)
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """What the compiler made of one contract (written by scripts/toolchain/export_abi.py).

    Attributes:
        abi: Its interface.
        bytecode: Creation code, to which the encoded constructor arguments are appended.
        code_hash: Keccak of the runtime code with every immutable zeroed.
        runtime_length: Bytes of the runtime code.
        immutables: Start and length of each immutable in it.
    """

    abi: Abi
    bytecode: bytes
    code_hash: Digest
    runtime_length: int
    immutables: tuple[tuple[int, int], ...]

    def masked_hash(self, code: bytes) -> Digest:
        """Return the hash of `code` as found on a chain, comparable with `code_hash`."""
        if len(code) != self.runtime_length:
            return keccak256(code)
        masked = bytearray(code)
        for start, length in self.immutables:
            masked[start : start + length] = bytes(length)
        return keccak256(bytes(masked))


@cache
def load_artifact(name: str) -> Artifact:
    """Read a contract's artifact, which comes with this package."""
    document: Any = json.loads(files("node.chain").joinpath("artifacts", f"{name}.json").read_text())
    return Artifact(
        abi=Abi(name, document["abi"]),
        bytecode=bytes.fromhex(document["bytecode"][2:]),
        code_hash=Digest(bytes.fromhex(document["codeHash"][2:])),
        runtime_length=document["runtimeLength"],
        immutables=tuple((start, length) for start, length in document["immutables"]),
    )


@cache
def _errors_of_all() -> Mapping[bytes, Item]:
    """Errors that pass through: the token's come out of the contracts that move tokens, the rails' out of the court."""
    return {
        selector: item
        for name in ("TestToken", "Escrow", "PaymentChannel", "Reputation", "Bench")
        for selector, item in load_artifact(name).abi.errors.items()
    }


def build(cls: type[T], values: Sequence[object]) -> T:
    """Make a dataclass of decoded values that stand in the order of its fields."""
    names = [field.name for field in fields(cast("Any", cls))]
    return cls(**dict(zip(names, values, strict=True)))


def _item(element: ABIFunction | ABIEvent | ABIError) -> Item:
    names = cast("list[str]", get_abi_input_names(element))
    return Item(
        name=element["name"],
        inputs=tuple(zip(names, get_abi_input_types(element), strict=True)),
        outputs=tuple(get_abi_output_types(element)) if element["type"] == "function" else (),
        indexed=tuple(bool(item.get("indexed")) for item in element.get("inputs", ())),
        hash=Digest(event_signature_to_log_topic(abi_to_signature(element))),
    )


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return tuple(_plain(getattr(value, field.name)) for field in fields(value))
    if isinstance(value, list | tuple):
        return tuple(_plain(item) for item in cast("Sequence[object]", value))
    return value


def _decode(types: tuple[str, ...], data: bytes, what: str) -> tuple[object, ...]:
    try:
        return cast("tuple[object, ...]", _DECODER.decode(types, data))
    except (DecodingError, ValueError, OverflowError) as error:
        raise UndecodableLog(f"{what}: {error}") from error
