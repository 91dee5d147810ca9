// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDisputeArbiter} from "../../../contracts/interfaces/IDisputeArbiter.sol";
import {IEscrow} from "../../../contracts/interfaces/IEscrow.sol";
import {Award, Settlement} from "../../../contracts/interfaces/MarketTypes.sol";
import {CourtFixture} from "./CourtFixture.sol";

/// @dev What each decision does to everybody's money.
contract CourtTest is CourtFixture {
    IDisputeArbiter.Finding private constant UPHELD = IDisputeArbiter.Finding.Upheld;
    IDisputeArbiter.Finding private constant WRONG = IDisputeArbiter.Finding.WrongResult;

    uint256 private _requester;
    uint256 private _provider;

    function setUp() public override {
        super.setUp();
        _enlist(ARBITERS, 2);
    }

    function test_a_wrong_result_refunds_the_requester_and_slashes_the_provider() external {
        Award memory award = _claimed(true);
        _note();
        _open(award, REQUESTER);
        address[] memory committee = _drawn(award);
        IDisputeArbiter.Vote memory vote = _vote(WRONG, 0);
        _settle(award, committee, vote, 5);
        _close(award, committee, vote);

        require(escrow.recordOf(_id(award)).state == IEscrow.State.Judged, "the escrow wasn't judged");
        _assertEq(token.balanceOf(REQUESTER) - _requester, PRICE + FEE + MAX_BOUNTY, "requester: refund and bounty");
        _assertEq(_provider - token.balanceOf(PROVIDER), 0, "provider: nothing paid, nothing taken from its wallet");
        _assertEq(reputation.accountOf(PROVIDER).stake, 0, "provider's stake");
        _assertEq(token.balanceOf(POOL), LIABILITY - FEE - MAX_BOUNTY, "pool");
        for (uint256 seat = 0; seat < 5; ++seat) {
            require(bench.accountOf(committee[seat]).balance > 2 * SEAT_STAKE, "a seat wasn't paid");
        }
        _assertNothingIsLeft();
    }

    function test_an_upheld_receipt_pays_the_provider_and_costs_the_requester_its_fee_alone() external {
        Award memory award = _claimed(true);
        _note();
        _open(award, REQUESTER);
        address[] memory committee = _drawn(award);
        IDisputeArbiter.Vote memory vote = _vote(UPHELD, PRICE);
        _voteOnChain(award, committee, 5, vote, 0, vote);
        _close(award, committee, vote);

        _assertEq(token.balanceOf(REQUESTER), _requester, "requester: the bond is back, the fee was locked before");
        _assertEq(token.balanceOf(PROVIDER) - _provider, PRICE, "provider");
        reputation.free(award);
        _assertEq(reputation.freeStakeOf(PROVIDER), LIABILITY, "stake");
        _assertNothingIsLeft();
    }

    function test_a_provider_whose_claim_is_disputed_goes_to_court_itself_and_gets_its_bond_back() external {
        Award memory award = _claimed(true);
        vm.prank(REQUESTER);
        escrow.dispute(award);
        _note();
        _open(award, PROVIDER);
        address[] memory committee = _drawn(award);
        IDisputeArbiter.Vote memory vote = _vote(UPHELD, PRICE);
        _settle(award, committee, vote, 5);
        _close(award, committee, vote);

        _assertEq(token.balanceOf(REQUESTER), _requester, "requester: its fee was locked before");
        _assertEq(token.balanceOf(PROVIDER) - _provider, PRICE, "provider: the price, and its bond out of that fee");
        reputation.free(award);
        _assertEq(reputation.freeStakeOf(PROVIDER), LIABILITY, "stake");
        _assertNothingIsLeft();
    }

    function test_a_provider_that_went_to_court_over_a_wrong_result_pays_the_committee_and_its_lock() external {
        Award memory award = _claimed(true);
        vm.prank(REQUESTER);
        escrow.dispute(award);
        _note();
        _open(award, PROVIDER);
        address[] memory committee = _drawn(award);
        IDisputeArbiter.Vote memory vote = _vote(WRONG, 0);
        _settle(award, committee, vote, 5);
        _close(award, committee, vote);

        _assertEq(token.balanceOf(REQUESTER) - _requester, PRICE + FEE + MAX_BOUNTY, "requester: refund and bounty");
        _assertEq(token.balanceOf(PROVIDER), _provider, "provider: its bond is spent, its fee comes out of its lock");
        _assertEq(reputation.accountOf(PROVIDER).stake, 0, "provider's stake");
        _assertEq(token.balanceOf(POOL), LIABILITY - FEE - MAX_BOUNTY, "pool");
        _assertNothingIsLeft();
    }

    function test_a_bribed_minority_loses_its_stake_and_changes_nothing() external {
        Award memory award = _claimed(true);
        _open(award, REQUESTER);
        address[] memory committee = _drawn(award);
        IDisputeArbiter.Vote memory vote = _vote(WRONG, 0);
        uint256 before = _balances(committee, 3, 5);
        _voteOnChain(award, committee, 3, vote, 2, _vote(UPHELD, PRICE));
        _close(award, committee, vote);
        _assertEq(before - _balances(committee, 3, 5), 2 * SEAT_STAKE, "the minority's loss");
        _assertEq(reputation.accountOf(PROVIDER).stake, 0, "provider's stake");
        // The two seats' fees and stakes go to the pool, with the provider's lock.
        _assertEq(token.balanceOf(POOL), LIABILITY - FEE - MAX_BOUNTY + 2 * SEAT_FEE + 2 * SEAT_STAKE, "pool");
        _assertNothingIsLeft();
    }

    function test_a_bribed_majority_is_overturned_and_pays_for_the_appeal() external {
        Award memory award = _claimed(true);
        _note();
        _open(award, REQUESTER);
        address[][] memory committees = new address[][](2);
        committees[0] = _drawn(award);
        IDisputeArbiter.Vote memory lie = _vote(UPHELD, PRICE);
        IDisputeArbiter.Vote memory vote = _vote(WRONG, 0);
        _voteOnChain(award, committees[0], 3, lie, 2, vote);
        uint256 honest = _balances(committees[0], 3, 5);
        _appeal(award, REQUESTER);
        committees[1] = _drawn(award);
        _settle(award, committees[1], vote, 11);
        IDisputeArbiter.Vote[] memory votes = new IDisputeArbiter.Vote[](2);
        (votes[0], votes[1]) = (lie, vote);
        _close(award, committees, votes);

        _assertEq(token.balanceOf(REQUESTER) - _requester, PRICE + FEE + MAX_BOUNTY, "requester: both bonds are back");
        require(_balances(committees[0], 3, 5) >= honest + 2 * SEAT_FEE, "the honest weren't paid");
        _assertEq(reputation.accountOf(PROVIDER).stake, 0, "provider's stake");
        _assertNothingIsLeft();
    }

    function test_an_appeal_that_is_lost_pays_its_committee() external {
        Award memory award = _claimed(true);
        _note();
        _open(award, REQUESTER);
        address[][] memory committees = new address[][](3);
        IDisputeArbiter.Vote memory vote = _vote(WRONG, 0);
        IDisputeArbiter.Vote[] memory votes = new IDisputeArbiter.Vote[](3);
        uint256[3] memory seats = [uint256(5), 11, 23];
        for (uint256 i = 0; i < 3; ++i) {
            if (i != 0) _appeal(award, PROVIDER);
            committees[i] = _drawn(award);
            _settle(award, committees[i], vote, seats[i]);
            votes[i] = vote;
        }
        _close(award, committees, votes);
        _assertEq(_provider - token.balanceOf(PROVIDER), 34 * SEAT_FEE, "provider: two bonds lost");
        _assertEq(token.balanceOf(REQUESTER) - _requester, PRICE + FEE + MAX_BOUNTY, "requester");
        _assertNothingIsLeft();
    }

    /// @dev The loser appeals, the second committee finds no majority, the loser appeals again: the first decision stood all the time.
    function test_an_appeal_against_a_decision_that_lasts_is_lost_though_the_round_between_found_nothing() external {
        Award memory award = _claimed(true);
        _note();
        _open(award, REQUESTER);
        address[][] memory committees = new address[][](3);
        IDisputeArbiter.Vote memory vote = _vote(WRONG, 0);
        IDisputeArbiter.Vote[] memory votes = new IDisputeArbiter.Vote[](3);
        committees[0] = _drawn(award);
        _settle(award, committees[0], vote, 5);
        _appeal(award, PROVIDER);
        committees[1] = _drawn(award);
        _voteOnChain(award, committees[1], 5, vote, 5, _vote(UPHELD, PRICE));
        vm.warp(_openBy(award) + 1);
        _appeal(award, PROVIDER);
        committees[2] = _drawn(award);
        _settle(award, committees[2], vote, 23);
        (votes[0], votes[2]) = (vote, vote);
        _close(award, committees, votes);
        _assertEq(_provider - token.balanceOf(PROVIDER), 34 * SEAT_FEE, "provider: two bonds lost");
        _assertEq(token.balanceOf(REQUESTER) - _requester, PRICE + FEE + MAX_BOUNTY, "requester");
        _assertNothingIsLeft();
    }

    /// @dev The same between two that differ: who appealed until the lie fell gets both bonds back.
    function test_appeals_until_a_decision_falls_are_both_right() external {
        Award memory award = _claimed(true);
        _note();
        _open(award, REQUESTER);
        address[][] memory committees = new address[][](3);
        IDisputeArbiter.Vote[] memory votes = new IDisputeArbiter.Vote[](3);
        (votes[0], votes[2]) = (_vote(UPHELD, PRICE), _vote(WRONG, 0));
        committees[0] = _drawn(award);
        _settle(award, committees[0], votes[0], 5);
        _appeal(award, REQUESTER);
        committees[1] = _drawn(award);
        _voteOnChain(award, committees[1], 3, votes[2], 5, votes[0]);
        vm.warp(_openBy(award) + 1);
        _appeal(award, REQUESTER);
        committees[2] = _drawn(award);
        _settle(award, committees[2], votes[2], 23);
        _close(award, committees, votes);
        _assertEq(token.balanceOf(REQUESTER) - _requester, PRICE + FEE + MAX_BOUNTY, "requester: all bonds are back");
        _assertNothingIsLeft();
    }

    function test_without_a_majority_the_escrow_splits_and_who_voted_is_paid() external {
        Award memory award = _claimed(true);
        _note();
        _open(award, REQUESTER);
        address[] memory committee = _drawn(award);
        IDisputeArbiter.Vote memory none;
        _voteOnChain(award, committee, 2, _vote(WRONG, 0), 2, _vote(UPHELD, PRICE));
        uint256 absent = bench.accountOf(committee[4]).balance;
        _close(award, committee, none);
        _assertEq(_requester - token.balanceOf(REQUESTER), FEE, "requester: the bond paid them");
        _assertEq(token.balanceOf(POOL), SEAT_FEE + SEAT_STAKE / 10, "pool");
        require(bench.accountOf(committee[4]).balance < absent + 4 * SEAT_FEE, "the absent seat wasn't slashed");
        vm.warp(escrow.recordOf(_id(award)).time + 1);
        escrow.split(award);
        _assertEq(token.balanceOf(PROVIDER) - _provider, PRICE / 2, "provider: half");
        _assertNothingIsLeft();
    }

    function test_who_agrees_during_a_case_leaves_the_committee_to_the_openers_bond() external {
        Award memory award = _claimed(true);
        _note();
        _open(award, REQUESTER);
        address[] memory committee = _drawn(award);
        Settlement memory agreed = Settlement({award: _id(award), due: PRICE / 4, settleBy: type(uint64).max});
        bytes32 digest = _marketDigest(hashes.hashSettlement(agreed));
        escrow.settle(award, agreed, _sign(REQUESTER_KEY, digest), _sign(PROVIDER_KEY, digest));
        IDisputeArbiter.Vote memory vote = _vote(UPHELD, PRICE);
        _settle(award, committee, vote, 5);
        _close(award, committee, vote);
        _assertEq(token.balanceOf(PROVIDER) - _provider, PRICE / 4, "provider: what they agreed on");
        _assertEq(token.balanceOf(REQUESTER) - _requester, PRICE - PRICE / 4, "requester: its bond paid, not its fee");
        _assertNothingIsLeft();
    }

    function test_a_case_that_nobody_drew_gives_the_bond_back() external {
        Award memory award = _claimed(true);
        _note();
        _open(award, REQUESTER);
        IDisputeArbiter.Vote memory none;
        _close(award, new address[](0), none);
        _assertEq(token.balanceOf(REQUESTER), _requester, "requester");
        _assertNothingIsLeft();
    }

    function _note() private {
        (_requester, _provider) = (token.balanceOf(REQUESTER), token.balanceOf(PROVIDER));
    }

    function _balances(address[] memory committee, uint256 from, uint256 to) private view returns (uint256 sum) {
        for (uint256 seat = from; seat < to; ++seat) {
            bool again = false;
            for (uint256 other = from; other < seat; ++other) {
                again = again || committee[other] == committee[seat];
            }
            if (!again) sum += bench.accountOf(committee[seat]).balance;
        }
    }

    /// @dev The court has nothing left, and the bench what its arbiters have.
    function _assertNothingIsLeft() private {
        uint256 owed = 0;
        for (uint256 i = 0; i < ARBITERS; ++i) {
            owed += bench.accountOf(_arbiter(i)).balance;
        }
        _assertEq(token.balanceOf(address(bench)), owed, "bench");
        _assertEq(token.balanceOf(address(court)), 0, "court");
    }
}
