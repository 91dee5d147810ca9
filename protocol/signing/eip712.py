"""EIP-712 digests of flat structs (https://eips.ethereum.org/EIPS/eip-712).

Every object that may be judged is a frozen dataclass whose fields are all of fixed size, so its encoding is one
32-byte word a field and needs no general ABI coder. The Solidity type string follows from the Python annotations:
`Offer.w_price: BasisPoints` becomes `uint16 wPrice`. Where camel case of the Python name is not the Solidity name, the
field's metadata says it under "solidity".
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from operator import attrgetter
from typing import Any, Final, get_type_hints

from protocol.identity import Address, Digest
from protocol.scalars import Scalar, scalar_of
from protocol.signing.keccak import keccak256
from protocol.units import Bits

DOMAIN_TYPE: Final = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
_WORD: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """What binds a digest to one chain and one contract (docs/spec, C2)."""

    chain_id: int
    verifying_contract: Address
    name: str = "Stoa"
    version: str = "1"


@cache
def domain_separator(domain: Domain) -> bytes:
    """Return the hash of the domain, 32 bytes."""
    return keccak256(
        keccak256(DOMAIN_TYPE)
        + keccak256(domain.name.encode())
        + keccak256(domain.version.encode())
        + domain.chain_id.to_bytes(_WORD)
        + domain.verifying_contract.rjust(_WORD, b"\0")
    )


@dataclass(frozen=True, slots=True)
class _Layout:
    type_hash: bytes
    words: Callable[[Any], bytes]


@cache
def type_string(cls: type) -> str:
    """Return the canonical Solidity type of a struct class, e.g. `Bid(bytes32 offer,...)`."""
    spelling = {field.name: field.metadata.get("solidity", _camel(field.name)) for field in fields(cls)}
    members = ",".join(f"{scalar.solidity} {spelling[name]}" for name, scalar in _members(cls))
    return f"{cls.__name__}({members})"


def struct_hash(value: object) -> Digest:
    """Return hashStruct(value): the type hash, then one word a field."""
    layout = _layout(type(value))
    return keccak256(layout.type_hash + layout.words(value))


def digest(domain: Domain, value: object) -> Digest:
    """Return what gets signed, which is also the id of `value` (docs/spec, C3)."""
    return keccak256(b"\x19\x01" + domain_separator(domain) + struct_hash(value))


def encode_words(value: object) -> bytes:
    """Return `abi.encode` of the fields of `value`, without a type hash: a Merkle leaf, a commitment."""
    return _layout(type(value)).words(value)


@cache
def _layout(cls: type) -> _Layout:
    members = _members(cls)
    get = attrgetter(*(name for name, _ in members))
    encoders = tuple(_word_encoder(scalar) for _, scalar in members)
    if len(members) == 1:
        only = encoders[0]
        return _Layout(keccak256(type_string(cls).encode()), lambda value: only(get(value)))

    def words(value: object) -> bytes:
        return b"".join([encode(item) for encode, item in zip(encoders, get(value), strict=True)])

    return _Layout(keccak256(type_string(cls).encode()), words)


def _members(cls: type) -> list[tuple[str, Scalar]]:
    hints = get_type_hints(cls, include_extras=True)
    return [(field.name, scalar_of(hints[field.name])) for field in fields(cls)]


def _word_encoder(scalar: Scalar) -> Callable[[Any], bytes]:
    if isinstance(scalar.shape, Bits):
        limit = 1 << scalar.shape.width

        def encode_uint(value: int) -> bytes:
            # An out-of-range value here is our own bug: what peers send was bounded when it was decoded.
            assert 0 <= value < limit
            return value.to_bytes(_WORD)

        return encode_uint
    size = scalar.shape

    def encode_bytes(value: bytes) -> bytes:
        assert len(value) == size
        return value if size == _WORD else value.rjust(_WORD, b"\0")

    return encode_bytes


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(word.capitalize() for word in tail)
