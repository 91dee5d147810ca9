"""Signatures and digests, held against eth_account, which nobody here wrote."""

from contextlib import suppress
from dataclasses import fields, replace
from typing import Any, cast, get_type_hints

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_utils.crypto import keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.channel.objects import Close, Hold, Voucher
from protocol.dispute.objects import Verdict
from protocol.escrow.objects import Settlement
from protocol.identity import Address, Digest
from protocol.market.objects import Award, Bid, Commitment, Offer, Roll
from protocol.scalars import scalar_of
from protocol.signing.ecdsa import BadSignature, Signature, address_of, recover, sign
from protocol.signing.eip712 import Domain, digest, domain_separator, struct_hash, type_string
from protocol.signing.keccak import keccak256
from protocol.signing.merkle import leaf_hash, merkle_proof, merkle_root, verify_proof
from protocol.signing.signed import Signed, sign_struct, signer_of, verify_signer
from protocol.task.objects import Acceptance, Receipt, Start
from protocol.units import Bits, UnixTime

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
KEY = bytes(31) + b"\1"
KEYS = st.sampled_from([1, 2, ORDER - 1]).map(lambda n: n.to_bytes(32)) | st.integers(1, ORDER - 1).map(
    lambda n: n.to_bytes(32)
)
DIGESTS = st.sampled_from([bytes(32), b"\xff" * 32]) | st.binary(min_size=32, max_size=32)
DOMAIN = Domain(chain_id=31337, verifying_contract=Address(b"\x11" * 20))

# Word for word from the specification, not from the code.
TYPES = {
    Offer: "Offer(address requester,address token,address rail,address arbiter,bytes32 manifest,bytes32 engine,"
    "bytes32 rates,bytes32 verification,uint8 format,uint32 parts,uint16 copies,uint16 wPrice,uint16 wReputation,"
    "uint16 wSpeed,uint16 maxBidders,uint16 splitBps,uint128 budget,uint128 bond,uint128 minStake,uint128 liability,"
    "uint128 disputeFee,uint32 maxEta,uint32 startWithin,uint32 pace,uint32 resolveWithin,uint64 commitBy,"
    "uint64 revealBy,uint64 expires,bytes32 salt)",
    Commitment: "Commitment(bytes32 offer,address bidder,bytes32 hash)",
    Roll: "Roll(bytes32 offer,bytes32 root,uint16 count)",
    Bid: "Bid(bytes32 offer,bytes32 roll,address bidder,uint128 price,uint32 eta,bytes32 salt)",
    Award: "Award(bytes32 offer,bytes32 roll,bytes32 bids,address requester,address provider,address token,"
    "address rail,bytes32 channel,address arbiter,uint16 slot,uint16 attempt,uint32 firstPart,uint32 parts,"
    "uint128 price,uint128 liability,uint128 disputeFee,uint16 splitBps,uint64 startBy,uint64 deliverBy,uint32 pace,"
    "uint32 resolveWithin,bytes32 auditSeal)",
    Start: "Start(bytes32 award,uint64 at)",
    Voucher: "Voucher(bytes32 channel,uint64 sequence,uint128 cumulative,uint128 held,bytes32 holds)",
    Receipt: "Receipt(bytes32 award,uint32 part,uint8 outcome,bytes32 output,bytes32 logs,uint64 fuel,uint32 peakMiB,"
    "uint64 bytesIn,uint64 bytesOut,uint128 due,bytes32 notes)",
    Acceptance: "Acceptance(bytes32 award,uint32 part,bytes32 receipt,uint128 due)",
    Verdict: "Verdict(bytes32 award,uint32 part,uint8 round,uint8 finding,bytes32 output,uint64 fuel,uint128 due,"
    "uint16 severity)",
    Close: "Close(bytes32 channel,uint128 cumulative,uint64 closeBy)",
    Settlement: "Settlement(bytes32 award,uint128 due,uint64 settleBy)",
}


def values_of(cls: type) -> st.SearchStrategy[Any]:
    """Build instances of a struct with every field at the edges of its type."""
    hints = get_type_hints(cls, include_extras=True)
    parts: dict[str, st.SearchStrategy[Any]] = {}
    for field in fields(cls):
        shape = scalar_of(hints[field.name]).shape
        if isinstance(shape, Bits):
            most = (1 << shape.width) - 1
            parts[field.name] = st.sampled_from([0, 1, most - 1, most]) | st.integers(0, most)
        else:
            parts[field.name] = st.sampled_from([bytes(shape), b"\xff" * shape]) | st.binary(
                min_size=shape, max_size=shape
            )
    return st.builds(cls, **parts)


@pytest.mark.parametrize("cls", TYPES, ids=lambda cls: cls.__name__)
def test_type_strings_are_those_of_the_specification(cls: type) -> None:
    assert type_string(cls) == TYPES[cls]


@pytest.mark.parametrize("cls", TYPES, ids=lambda cls: cls.__name__)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_digest_and_signature_equal_those_of_eth_account(cls: type, data: st.DataObject) -> None:
    value = data.draw(values_of(cls))
    members = [each.split(" ") for each in TYPES[cls][len(cls.__name__) + 1 : -1].split(",")]
    raw = [getattr(value, field.name) for field in fields(cls)]
    message = {
        "types": {
            "EIP712Domain": [
                {"name": "name", "type": "string"},
                {"name": "version", "type": "string"},
                {"name": "chainId", "type": "uint256"},
                {"name": "verifyingContract", "type": "address"},
            ],
            cls.__name__: [{"name": name, "type": kind} for kind, name in members],
        },
        "primaryType": cls.__name__,
        "domain": {
            "name": "Stoa",
            "version": "1",
            "chainId": DOMAIN.chain_id,
            "verifyingContract": "0x" + DOMAIN.verifying_contract.hex(),
        },
        "message": {
            name: "0x" + item.hex() if isinstance(item, bytes) else item
            for (_, name), item in zip(members, raw, strict=True)
        },
    }
    signable = encode_typed_data(full_message=message)
    assert signable.header == domain_separator(DOMAIN)
    assert signable.body == struct_hash(value)
    assert digest(DOMAIN, value) == keccak(b"\x19\x01" + signable.header + signable.body)
    ours = sign_struct(KEY, DOMAIN, value)
    account = cast("Any", Account)
    assert bytes(account.sign_message(signable, KEY).signature) == ours.signature
    assert account.recover_message(signable, signature=ours.signature) == account.from_key(KEY).address
    assert verify_signer(DOMAIN, ours, address_of(KEY)) == digest(DOMAIN, value)


@given(KEYS, DIGESTS)
def test_a_signature_recovers_to_its_signer_and_its_twin_is_refused(key: bytes, message: bytes) -> None:
    name = Digest(message)
    signature = sign(key, name)
    assert sign(key, name) == signature
    assert recover(name, signature) == address_of(key)
    r, s, v = signature[:32], int.from_bytes(signature[32:64]), signature[64]
    assert s <= ORDER // 2
    twin = r + (ORDER - s).to_bytes(32) + bytes([55 - v])
    with pytest.raises(BadSignature, match="twin"):
        recover(name, twin)
    for wrong_v in (0, 1, 26, 29, 255):
        with pytest.raises(BadSignature, match="v is"):
            recover(name, signature[:64] + bytes([wrong_v]))
    flipped = signature[:64] + bytes([55 - v])
    assert_not_by(address_of(key), name, flipped)


def assert_not_by(signer: Address, name: Digest, signature: bytes) -> None:
    with suppress(BadSignature):
        assert recover(name, signature) != signer


@pytest.mark.parametrize("length", [0, 1, 64, 66, 130])
def test_a_signature_has_65_bytes(length: int) -> None:
    with pytest.raises(BadSignature, match="65 bytes"):
        recover(Digest(bytes(32)), bytes(length))


@pytest.mark.parametrize("r", [0, ORDER, 2**256 - 1])
@pytest.mark.parametrize("s", [0, ORDER, 2**256 - 1])
def test_r_and_s_are_in_range(r: int, s: int) -> None:
    good = sign(KEY, Digest(bytes(32)))
    for bad in (
        r.to_bytes(32) + good[32:],
        good[:32] + s.to_bytes(32) + good[64:],
        r.to_bytes(32) + s.to_bytes(32) + good[64:],
    ):
        with pytest.raises(BadSignature, match="range"):
            recover(Digest(bytes(32)), bad)


def test_the_greatest_low_s_passes_the_check_and_the_next_does_not() -> None:
    good = sign(KEY, Digest(bytes(32)))
    edge = good[:32] + (ORDER // 2).to_bytes(32) + good[64:]
    assert_not_by(address_of(KEY), Digest(bytes(32)), edge)
    with pytest.raises(BadSignature, match="twin"):
        recover(Digest(bytes(32)), good[:32] + (ORDER // 2 + 1).to_bytes(32) + good[64:])


def test_an_r_without_a_point_is_refused() -> None:
    # 5 is the x of no point on the curve: 5**3 + 7 is no square.
    with pytest.raises(BadSignature, match="no public key"):
        recover(Digest(bytes(32)), (5).to_bytes(32) + (1).to_bytes(32) + b"\x1b")


@given(st.binary(min_size=65, max_size=65))
def test_garbage_is_a_bad_signature_or_a_stranger(garbage: bytes) -> None:
    assert_not_by(address_of(KEY), Digest(bytes(32)), garbage)


START = Start(award=Digest(b"\7" * 32), at=UnixTime(5))


@pytest.mark.parametrize(
    "other",
    [
        replace(DOMAIN, chain_id=1),
        replace(DOMAIN, verifying_contract=Address(b"\x12" * 20)),
        replace(DOMAIN, name="Stoa2"),
        replace(DOMAIN, version="2"),
    ],
)
def test_a_signature_for_another_chain_or_contract_is_nobodys(other: Domain) -> None:
    signed = sign_struct(KEY, other, START)
    assert signer_of(other, signed) == address_of(KEY)
    with pytest.raises(BadSignature, match="expected"):
        verify_signer(DOMAIN, signed, address_of(KEY))


def test_a_signed_value_cannot_be_changed() -> None:
    signed = sign_struct(KEY, DOMAIN, START)
    with pytest.raises(BadSignature):
        verify_signer(DOMAIN, Signed(replace(START, at=UnixTime(6)), signed.signature), address_of(KEY))
    with pytest.raises(BadSignature):
        verify_signer(DOMAIN, Signed(START, Signature(signed.signature[:64])), address_of(KEY))


@given(st.binary(max_size=300))
def test_keccak_is_ethereums(data: bytes) -> None:
    assert keccak256(data) == keccak(data)


def test_a_type_without_fixed_size_is_a_bug_that_shows_at_once() -> None:
    with pytest.raises(TypeError):
        scalar_of(str)
    assert scalar_of(Address).solidity == "address"
    assert type_string(Hold) == "Hold(bytes32 award,address arbiter,uint128 amount)"


@given(st.lists(st.binary(min_size=1, max_size=64), min_size=1, max_size=17, unique=True))
def test_every_leaf_is_proved_and_nothing_else(items: list[bytes]) -> None:
    leaves = [leaf_hash(item) for item in items]
    root = merkle_root(leaves)
    assert leaves[0] == keccak(keccak(items[0]))
    for index, leaf in enumerate(leaves):
        proof = merkle_proof(leaves, index)
        assert verify_proof(root, leaf, proof)
        assert not verify_proof(root, leaf_hash(items[index] + b"!"), proof)
        assert not verify_proof(root, leaf, (*proof, root))
        if proof:
            assert not verify_proof(root, leaf, proof[:-1])
            assert not verify_proof(root, leaf, (Digest(bytes(32)), *proof[1:]))


def test_a_tree_pairs_in_sorted_order_and_carries_the_odd_leaf_up() -> None:
    a, b, c = sorted(leaf_hash(bytes([n])) for n in range(3))
    pair = keccak(a + b)
    assert merkle_root([a, b]) == merkle_root([b, a]) == pair
    assert merkle_root([a, b, c]) == keccak(min(pair, c) + max(pair, c))
    assert merkle_root([a]) == a
    assert merkle_root([]) == bytes(32)
    # An inner node is no leaf: leaves are hashed twice, nodes once.
    assert leaf_hash(a + b) != pair
