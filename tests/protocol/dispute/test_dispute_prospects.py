"""What a case is said to bring is what the contracts pay (docs/spec/law.md, CT9 to CT12)."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.dispute.objects import Finding
from protocol.dispute.prospects import ENDS, Prospect, Stakes, is_gain, prospects_of, without
from protocol.units import Amount

ASKED, FEE, LOCK, BOUNTY = 1_000, 250, 400, 120
BUYER = Stakes(
    is_requester=True, by_provider=False, asked=Amount(ASKED), fee=Amount(FEE), bond=Amount(FEE), lock=Amount(LOCK),
    max_bounty=Amount(BOUNTY), without_bps=5_000, now_bps=10_000,
)  # fmt: skip
SELLER = replace(BUYER, is_requester=False, by_provider=True, now_bps=5_000)


def end(stakes: Stakes, finding: Finding) -> Prospect:
    return next(each for each in prospects_of(stakes) if each.finding is finding)


@pytest.mark.parametrize(
    ("finding", "paid", "slashed", "own"),
    [
        (Finding.UPHELD, ASKED, 0, -ASKED - FEE),
        (Finding.WRONG_RESULT, 0, LOCK, BOUNTY),  # the fee out of the lock gives the bond back
        (Finding.OUTPUT_MISSING, 0, LOCK, BOUNTY),
        (Finding.OVERBILLED, ASKED, LOCK, BOUNTY - ASKED),
        (Finding.INPUTS_MISSING, ASKED, 0, -ASKED - FEE),
        (Finding.NOT_JUDGED, 0, 0, -FEE),
        (Finding.NONE, ASKED // 2, 0, -ASKED // 2 - FEE),
    ],
)
def test_a_requester_is_told_what_each_finding_brings(finding: Finding, paid: int, slashed: int, own: int) -> None:
    assert end(BUYER, finding) == Prospect(
        finding=finding, to_provider=Amount(paid), from_stake=Amount(slashed), own=own
    )


@pytest.mark.parametrize(
    ("finding", "paid", "slashed", "own"),
    [
        (Finding.UPHELD, ASKED, 0, ASKED),  # the fee that the requester reserved gives the bond back
        (Finding.WRONG_RESULT, 0, LOCK, -LOCK),  # the fee goes from its stake to itself
        (Finding.OUTPUT_MISSING, 0, LOCK, -LOCK),
        (Finding.OVERBILLED, ASKED, LOCK, ASKED - LOCK),
        (Finding.INPUTS_MISSING, 0, FEE, -FEE),
        (Finding.NOT_JUDGED, 0, 0, -FEE),
        (Finding.NONE, ASKED // 2, 0, ASKED // 2 - FEE),
    ],
)
def test_a_provider_is_told_what_each_finding_brings(finding: Finding, paid: int, slashed: int, own: int) -> None:
    assert end(SELLER, finding) == Prospect(
        finding=finding, to_provider=Amount(paid), from_stake=Amount(slashed), own=own
    )


def test_who_leaves_it_at_that_is_told_what_comes_then() -> None:
    paid = Prospect(finding=None, to_provider=Amount(ASKED), from_stake=Amount(0), own=-ASKED)
    assert without(BUYER) == paid
    assert without(SELLER).own == ASKED // 2
    assert without(replace(BUYER, now_bps=0)).own == 0


def test_half_of_a_large_lock_is_lost_for_a_wrong_bill_after_the_fee() -> None:
    large = replace(BUYER, lock=Amount(10_000), max_bounty=Amount(9_000))
    assert end(large, Finding.OVERBILLED).from_stake == FEE + 5_000
    assert end(large, Finding.WRONG_RESULT) == Prospect(
        finding=Finding.WRONG_RESULT, to_provider=Amount(0), from_stake=Amount(10_000), own=9_000
    )


def test_over_a_channel_without_a_lock_a_requester_can_only_lose_its_bond() -> None:
    bare = replace(BUYER, lock=Amount(0), now_bps=0, without_bps=0)
    assert not is_gain(bare)
    assert max(each.own for each in prospects_of(bare)) == -FEE
    assert is_gain(replace(bare, lock=Amount(LOCK)))


def test_what_this_side_expects_decides_whether_there_is_anything_to_gain() -> None:
    assert is_gain(BUYER)
    assert is_gain(BUYER, Finding.WRONG_RESULT)
    assert not is_gain(BUYER, Finding.UPHELD)
    assert is_gain(SELLER, Finding.UPHELD)


def test_an_appeal_costs_its_bond_unless_it_changes_the_decision() -> None:
    bond = FEE // 5 * 11
    lost = replace(BUYER, bond=Amount(bond), appeals=True, standing=Finding.UPHELD)
    assert without(lost) == Prospect(finding=None, to_provider=Amount(ASKED), from_stake=Amount(0), own=-ASKED)
    assert end(lost, Finding.UPHELD).own == -ASKED - bond
    assert end(lost, Finding.WRONG_RESULT).own == BOUNTY + FEE, "the first bond was spent before, and is made good now"
    assert is_gain(lost)
    assert is_gain(lost, Finding.WRONG_RESULT)
    assert not is_gain(lost, Finding.UPHELD)
    other = replace(lost, is_requester=False)
    assert not is_gain(other), "who won has nothing to appeal for"


@given(
    asked=st.integers(0, 10_000), fee=st.integers(1, 1_000), lock=st.sampled_from([0, 1, 249, 250, 251, 5_000]),
    bounty=st.integers(0, 6_000), by_provider=st.booleans(),
)  # fmt: skip
def test_every_end_of_a_case_costs_both_sides_together_its_committee(
    asked: int, fee: int, lock: int, bounty: int, *, by_provider: bool
) -> None:
    """What one side gains comes from the other, and the committee's pay from both."""
    common = replace(
        BUYER,
        asked=Amount(asked),
        fee=Amount(fee),
        lock=Amount(lock),
        max_bounty=Amount(bounty),
        by_provider=by_provider,
    )
    buyer = replace(common, bond=Amount(0 if by_provider else fee))
    seller = replace(common, is_requester=False, bond=Amount(fee if by_provider else 0))
    for finding in ENDS:
        assert end(buyer, finding).own + end(seller, finding).own <= -fee, finding
