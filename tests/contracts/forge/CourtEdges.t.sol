// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDisputeArbiter} from "../../../contracts/interfaces/IDisputeArbiter.sol";
import {IEscrow} from "../../../contracts/interfaces/IEscrow.sol";
import {IReputation} from "../../../contracts/interfaces/IReputation.sol";
import {Award, ChannelKey} from "../../../contracts/interfaces/MarketTypes.sol";
import {CourtRefusals} from "./CourtRefusals.sol";

/// @dev The last second, the least and the greatest that still count. Each was a mutant that no other test noticed.
contract CourtEdgesTest is CourtRefusals {
    function test_fees_and_times_at_their_limits_are_heard() external {
        (uint128 least, uint128 greatest) = court.feeBounds();
        uint128[3] memory fees = [least, greatest, FEE];
        for (uint16 i = 0; i < 3; ++i) {
            Award memory award = _award(PRICE, fees[i]);
            award.offer = _offerId(_courtOffer());
            award.slot = i;
            award.arbiter = address(court);
            award.rail = address(channels);
            if (i == 2) award.resolveWithin = court.minResolveWithin();
            _open(award, REQUESTER);
            _assertEq(_roundOf(award).seatFee, fees[i] / 5, "seat fee");
        }
    }

    /// @dev What lies on the court's address is not the opener's fee, and stays.
    function test_what_was_given_to_the_court_pays_nobody() external {
        vm.prank(REQUESTER);
        require(token.transfer(address(court), 7));
        Award memory award = _claimed(true);
        uint256 before = token.balanceOf(REQUESTER);
        _open(award, REQUESTER);
        address[] memory committee = _drawn(award);
        _settle(award, committee, _vote(UPHELD, PRICE), 5);
        _close(award, committee, _vote(UPHELD, PRICE));
        _assertEq(token.balanceOf(REQUESTER), before, "the bond is back, and no more");

        award = _claimed(false);
        vm.prank(REQUESTER);
        channels.open(REQUESTER, PROVIDER, address(token), 10 * PRICE);
        ChannelKey memory key = _key(1);
        _presentHold(award, key, PRICE + FEE);
        _open(award, PROVIDER);
        committee = _drawn(award);
        _settle(award, committee, _vote(UPHELD, PRICE), 5);
        _close(award, committee, _vote(UPHELD, PRICE));
        before = token.balanceOf(PROVIDER);
        court.enforce(award, _vote(UPHELD, PRICE), key, PRICE + FEE, new bytes32[](0));
        _assertEq(token.balanceOf(PROVIDER) - before, PRICE + FEE, "price and bond, and no more");
        _assertEq(token.balanceOf(address(court)), 7, "what was given");
    }

    function test_after_the_third_round_nobody_waits_for_an_appeal() external {
        (Award memory award, address[] memory committee) = _sitting();
        IDisputeArbiter.Vote memory vote = _vote(WRONG, 0);
        address[][] memory committees = new address[][](3);
        IDisputeArbiter.Vote[] memory votes = new IDisputeArbiter.Vote[](3);
        (committees[0], votes[0], votes[1], votes[2]) = (committee, vote, vote, vote);
        _settle(award, committee, vote, 5);
        _appeal(award, PROVIDER);
        committees[1] = _drawn(award);
        _settle(award, committees[1], vote, 11);
        _appeal(award, PROVIDER);
        committees[2] = _drawn(award);
        _settle(award, committees[2], vote, 23);
        _refuseClose(award, committees, votes, IDisputeArbiter.TooEarly.selector);
        vm.warp(block.timestamp + 1);
        court.close(award, committees, votes);
    }

    function test_a_verdict_counts_to_the_last_second_of_escrow_and_lock() external {
        IDisputeArbiter.Vote memory vote = _vote(WRONG, 0);
        for (uint256 late = 0; late < 2; ++late) {
            vm.warp(block.timestamp + 10_000);
            (Award memory award, address[] memory committee) = _sitting();
            _settle(award, committee, vote, 5);
            vm.warp(escrow.recordOf(_id(award)).time + late);
            court.close(award, _one(committee), _one(vote));
            IEscrow.State state = escrow.recordOf(_id(award)).state;
            require(state == (late == 0 ? IEscrow.State.Judged : IEscrow.State.Disputed), "escrow");
            require(reputation.lockOf(_id(award)).state == IReputation.LockState.Slashed, "lock");
        }
        vm.warp(block.timestamp + 10_000);
        (Award memory last, address[] memory seats) = _sitting();
        _settle(last, seats, vote, 5);
        vm.warp(_lockedUntil(last));
        court.close(last, _one(seats), _one(vote));
        require(reputation.lockOf(_id(last)).state == IReputation.LockState.Slashed, "the lock's last second");
    }
}
