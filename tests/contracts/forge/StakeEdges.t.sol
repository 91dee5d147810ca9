// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IReputation} from "../../../contracts/interfaces/IReputation.sol";
import {Award} from "../../../contracts/interfaces/MarketTypes.sol";
import {LawFixture} from "./LawFixture.sol";

/// @dev What no other suite of stakes looks at.
contract StakeEdgesTest is LawFixture {
    /// @dev Asked for once, taken once: the rest stays, though the time to wait is over.
    function test_a_withdrawal_is_taken_once() external {
        _stake(1000);
        vm.prank(PROVIDER);
        reputation.unstake(400);
        vm.warp(block.timestamp + COOLDOWN + 1);
        vm.prank(PROVIDER);
        _assertEq(reputation.withdraw(), 400, "withdrawn");
        _expectRevert(abi.encodeCall(reputation.withdraw, ()), PROVIDER, IReputation.NotReady.selector);
        _assertEq(reputation.leavingOf(PROVIDER).amount, 0, "leaving");
        _assertStake(600, 0);
        vm.prank(PROVIDER);
        reputation.unstake(600);
    }

    function test_a_bonus_is_for_an_award_that_a_lock_could_be_for() external {
        Award memory award = _liable(100_000, 700);
        bytes4 bad = IReputation.BadTerms.selector;
        award.token = address(1);
        _refuseBonus(award, IReputation.WrongToken.selector);
        (award.token, award.provider) = (address(token), address(0));
        _refuseBonus(award, bad);
        (award.provider, award.requester) = (PROVIDER, address(0));
        _refuseBonus(award, bad);
        (award.requester, award.startBy) = (REQUESTER, award.deliverBy);
        _refuseBonus(award, bad);
        award.startBy = uint64(block.timestamp) - 1;
        _refuseBonus(award, IReputation.TooLate.selector);
    }

    function _refuseBonus(Award memory award, bytes4 reason) private {
        _expectRevert(abi.encodeCall(reputation.depositBonus, (award)), REQUESTER, reason);
    }
}
