"""Signed transactions, byte for byte those that other programs make."""

from collections.abc import Sequence
from typing import TypeAlias

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from node.wallet.envelope import Call, sign_call
from protocol.identity import Address
from protocol.signing.ecdsa import sign
from protocol.signing.keccak import keccak256

KEY = bytes.fromhex("4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318")
EDGES = [0, 1, 127, 128, 255, 256, 2**64 - 1, 2**96]
UINTS = st.sampled_from(EDGES) | st.integers(0, 2**96)
SIZES = [0, 1, 2, 31, 32, 55, 56, 57, 255, 256, 70_000]

RlpItem: TypeAlias = "bytes | Sequence[RlpItem]"


def encode_rlp(item: RlpItem) -> bytes:
    """RLP from its specification alone, to hold the library against."""
    if isinstance(item, bytes):
        return item if len(item) == 1 and item[0] < 0x80 else prefixed(0x80, item)
    return prefixed(0xC0, b"".join(encode_rlp(inner) for inner in item))


def prefixed(base: int, body: bytes) -> bytes:
    if len(body) <= 55:
        return bytes([base + len(body)]) + body
    size = integer(len(body))
    return bytes([base + 55 + len(size)]) + size + body


def integer(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8)


def signed_by_the_specification(call: Call) -> bytes:
    numbers = (call.chain_id, call.nonce, call.max_priority_fee, call.max_fee, call.gas)
    fields: list[RlpItem] = [*map(integer, numbers), call.to or b"", integer(call.value), call.data, []]
    signature = sign(KEY, keccak256(b"\x02" + encode_rlp(fields)))
    r, s, parity = (int.from_bytes(part) for part in (signature[:32], signature[32:64], signature[64:]))
    return b"\x02" + encode_rlp([*fields, integer(parity - 27), integer(r), integer(s)])


@settings(max_examples=60, deadline=None)
@given(
    chain=st.sampled_from([1, 137, 31337, 11155111]),
    numbers=st.tuples(UINTS, UINTS, UINTS, UINTS, UINTS),
    to=st.none() | st.sampled_from([bytes(20), b"\x01" * 20]),
    data=st.sampled_from(SIZES).map(lambda size: b"\x7f" * size) | st.binary(max_size=60),
)
def test_a_transaction_is_what_the_specification_says(
    chain: int, numbers: tuple[int, int, int, int, int], to: bytes | None, data: bytes
) -> None:
    nonce, priority, fee, gas, value = numbers
    call = Call(
        chain_id=chain,
        nonce=nonce,
        max_priority_fee=priority,
        max_fee=fee,
        gas=gas,
        to=None if to is None else Address(to),
        value=value,
        data=data,
    )
    assert sign_call(KEY, call) == signed_by_the_specification(call)


# Made by `cast mktx` 1.7.1 with this key.
BY_CAST = [
    (
        Call(
            chain_id=31337,
            nonce=0,
            max_priority_fee=0,
            max_fee=0,
            gas=21_000,
            to=Address(b"\x01" * 20),
            value=0,
            data=b"",
        ),
        (
            "02f864827a698080808252089401010101010101010101010101010101010101018080c080a05832ea679559e055cf899cf8af6960753dd3"
            "3daaf1ad8d51b9776376d0f25ff2a05216378004ef60d59d6a8f85d8751ce407940b54bd9ab58713f9dcea659249a0"
        ),
    ),
    (
        Call(
            chain_id=137,
            nonce=128,
            max_priority_fee=30 * 10**9,
            max_fee=200 * 10**9,
            gas=1_000_000,
            to=None,
            value=10**18,
            data=b"\x60\x80" * 30,
        ),
        "02f89f818981808506fc23ac00852e90edd000830f424080880de0b6b3a7640000b83c"
        + "6080" * 30
        + "c080a03f8fa188d40db6ef"
        "0aed957dc8571f098b96957ddebfd836d451a0acb3bc9cd69f57d1b6affdf865efdb8fa63429960ab1c8f20a30763372a0c57311729f0f7a",
    ),
]


@pytest.mark.parametrize(("call", "raw"), BY_CAST)
def test_a_transaction_is_what_cast_makes(call: Call, raw: str) -> None:
    assert sign_call(KEY, call).hex() == raw


EXAMPLES: list[tuple[RlpItem, bytes]] = [
    (b"dog", b"\x83dog"),
    ([b"cat", b"dog"], b"\xc8\x83cat\x83dog"),
    (b"", b"\x80"),
    ([], b"\xc0"),
    (b"\x00", b"\x00"),
    (b"\x0f", b"\x0f"),
    (b"\x04\x00", b"\x82\x04\x00"),
    ([[], [[]], [[], [[]]]], bytes.fromhex("c7c0c1c0c3c0c1c0")),
]


@pytest.mark.parametrize(("item", "encoded"), EXAMPLES)
def test_the_measure_itself_agrees_with_the_examples_of_the_specification(item: RlpItem, encoded: bytes) -> None:
    assert encode_rlp(item) == encoded
