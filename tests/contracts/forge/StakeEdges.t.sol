// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IReputation} from "../../../contracts/interfaces/IReputation.sol";
import {ITreasury} from "../../../contracts/interfaces/ITreasury.sol";
import {Award, Offer, Roll} from "../../../contracts/interfaces/MarketTypes.sol";
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

    /// @dev Whoever could sign one of the two for the requester could take its stake.
    function test_both_rolls_are_the_requesters() external {
        Offer memory offer = _offerOfTheStaked();
        (Roll memory one, bytes memory by) = _roll(offer, "root", 3);
        (Roll memory other, bytes memory otherBy) = _roll(offer, "root", 4);
        bytes memory forged = _sign(PROVIDER_KEY, _marketDigest(hashes.hashRoll(other)));
        bytes4 bad = ITreasury.BadSignature.selector;
        _expectRevert(abi.encodeCall(reputation.punishRolls, (offer, one, by, other, forged)), PROVIDER, bad);
        _expectRevert(abi.encodeCall(reputation.punishRolls, (offer, other, forged, one, by)), PROVIDER, bad);
        // Nobody's signature, after a good one: whom that was by is not remembered.
        forged = abi.encodePacked(bytes32(uint256(1)), bytes32(uint256(1)), uint8(0));
        _expectRevert(abi.encodeCall(reputation.punishRolls, (offer, one, by, other, forged)), PROVIDER, bad);
        reputation.punishRolls(offer, one, by, other, otherBy);
    }

    function test_both_awards_are_the_requesters() external {
        Offer memory offer = _offerOfTheStaked();
        Award memory one = _award(1000, 5);
        Award memory other = _award(1001, 5);
        one.offer = _offerId(offer);
        other.offer = one.offer;
        bytes memory by = _sign(REQUESTER_KEY, _id(one));
        bytes memory forged = _sign(PROVIDER_KEY, _id(other));
        bytes4 bad = ITreasury.BadSignature.selector;
        _expectRevert(abi.encodeCall(reputation.punishAwards, (offer, one, by, other, forged)), PROVIDER, bad);
        _expectRevert(abi.encodeCall(reputation.punishAwards, (offer, other, forged, one, by)), PROVIDER, bad);
        reputation.punishAwards(offer, one, by, other, _sign(REQUESTER_KEY, _id(other)));
    }

    function _offerOfTheStaked() private returns (Offer memory) {
        vm.prank(REQUESTER);
        reputation.stake(REQUESTER, 10_000);
        return _offer(1000);
    }

    function _refuseBonus(Award memory award, bytes4 reason) private {
        _expectRevert(abi.encodeCall(reputation.depositBonus, (award)), REQUESTER, reason);
    }
}
