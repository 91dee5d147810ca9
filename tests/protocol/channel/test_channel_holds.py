"""Holds and vouchers: one canonical list for each promise, provable to OpenZeppelin's MerkleProof."""

from dataclasses import replace

import pytest
from eth_abi.abi import encode as abi_encode
from hypothesis import given
from hypothesis import strategies as st

from protocol.channel.errors import HoldMissing, HoldsMismatch
from protocol.channel.holds import MAX_HOLDS, build_voucher, hold_leaf, hold_proof, holds_root, verify_holds
from protocol.channel.objects import ChannelKey, Hold, channel_id
from protocol.identity import ZERO_DIGEST, Address, Digest
from protocol.signing.keccak import keccak256
from protocol.signing.merkle import verify_proof
from protocol.units import MAX_AMOUNT, Amount

CHANNEL = Digest(b"\1" * 32)


def hold(award: int, amount: int = 5, arbiter: int = 3) -> Hold:
    return Hold(award=Digest(award.to_bytes(32)), arbiter=Address(arbiter.to_bytes(20)), amount=Amount(amount))


HOLDS = st.dictionaries(
    st.integers(0, 2**256 - 2), st.sampled_from([1, MAX_AMOUNT]) | st.integers(1, 10**9), max_size=9
).map(lambda each: tuple(hold(award, amount) for award, amount in sorted(each.items())))


def test_a_leaf_is_hashed_twice_over_its_abi_encoding() -> None:
    one = hold(7, 11, 13)
    encoded = abi_encode(["bytes32", "address", "uint128"], [one.award, one.arbiter, one.amount])
    assert hold_leaf(one) == keccak256(keccak256(encoded))
    assert holds_root([one]) == hold_leaf(one)


def test_a_channel_id_is_the_keccak_of_its_key() -> None:
    a, b, c, d = (Address(bytes([n]) * 20) for n in range(1, 5))
    key = ChannelKey(payer=a, signer=b, payee=c, token=d, counter=9)
    encoded = abi_encode(["address", "address", "address", "address", "uint64"], [a, b, c, d, 9])
    assert channel_id(key) == keccak256(encoded)


@given(HOLDS)
def test_every_hold_is_provable_and_no_other_is(holds: tuple[Hold, ...]) -> None:
    root = holds_root(holds)
    for each in holds:
        proof = hold_proof(holds, each.award)
        assert verify_proof(root, hold_leaf(each), proof)
        assert not verify_proof(root, hold_leaf(replace(each, amount=Amount(each.amount - 1))), proof)
    if not holds:
        assert root == ZERO_DIGEST
    with pytest.raises(HoldMissing):
        hold_proof(holds, Digest(b"\xff" * 32))


@given(HOLDS)
def test_a_voucher_fits_its_own_holds(holds: tuple[Hold, ...]) -> None:
    if sum(each.amount for each in holds) <= MAX_AMOUNT:
        verify_holds(build_voucher(CHANNEL, 1, Amount(0), holds), holds)


@pytest.mark.parametrize(
    "shown",
    [
        (),
        (hold(1),),
        (hold(2), hold(1)),
        (hold(1), hold(1)),
        (hold(1), hold(2, 6)),
        (hold(1, 4), hold(2, 6)),
        (hold(1), hold(2), hold(3, 0)),
        (hold(1), hold(2, arbiter=4)),
        tuple(hold(award) for award in range(MAX_HOLDS + 1)),
    ],
)
def test_other_holds_than_the_vouchers_are_refused(shown: tuple[Hold, ...]) -> None:
    voucher = build_voucher(CHANNEL, 1, Amount(0), (hold(1), hold(2)))
    with pytest.raises(HoldsMismatch):
        verify_holds(voucher, shown)


def test_a_sum_other_than_the_leaves_is_refused() -> None:
    holds = (hold(1), hold(2))
    voucher = build_voucher(CHANNEL, 1, Amount(0), holds)
    for held in (9, 11):
        with pytest.raises(HoldsMismatch):
            verify_holds(replace(voucher, held=Amount(held)), holds)


def test_a_list_that_is_not_canonical_is_refused_even_under_its_own_root() -> None:
    for bad in ((hold(2), hold(1)), (hold(1), hold(1)), (hold(1), hold(2, 0))):
        with pytest.raises(HoldsMismatch):
            verify_holds(build_voucher(CHANNEL, 1, Amount(0), bad), bad)


def test_as_many_holds_as_allowed_fit_and_one_more_does_not() -> None:
    most = tuple(hold(award) for award in range(MAX_HOLDS))
    verify_holds(build_voucher(CHANNEL, 1, Amount(0), most), most)
    more = tuple(hold(award) for award in range(MAX_HOLDS + 1))
    with pytest.raises(HoldsMismatch):
        verify_holds(build_voucher(CHANNEL, 1, Amount(0), more), more)
