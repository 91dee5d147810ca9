// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Reputation} from "../../../contracts/Reputation.sol";
import {IReputation} from "../../../contracts/interfaces/IReputation.sol";
import {ITreasury} from "../../../contracts/interfaces/ITreasury.sol";
import {Award, Offer, Roll} from "../../../contracts/interfaces/MarketTypes.sol";
import {LawFixture} from "./LawFixture.sol";

/// @dev What no other suite of stakes looks at.
contract StakeEdgesTest is LawFixture {
    /// @dev By a call of our own: of a deployment that forge links, a cheat code, an expected revert may stay away unnoticed.
    function test_no_deployment_has_an_address_of_zero() external {
        address[3] memory given = [address(escrow), address(token), POOL];
        this.deploy(given);
        for (uint256 i = 0; i < 3; ++i) {
            address kept = given[i];
            given[i] = address(0);
            (bool success,) = address(this).call(abi.encodeCall(this.deploy, (given)));
            require(!success, "deployed");
            given[i] = kept;
        }
    }

    function deploy(address[3] calldata given) external returns (Reputation) {
        return new Reputation(given[0], given[1], given[2], COOLDOWN, MAX_BOUNTY, GUARDIAN);
    }

    function test_a_stake_never_wraps_around() external {
        token.mint(PROVIDER, type(uint128).max);
        _stake(type(uint128).max);
        vm.prank(PROVIDER);
        (bool success,) = address(reputation).call(abi.encodeCall(reputation.stake, (PROVIDER, 1)));
        require(!success, "2^128 was taken for 0");
        _assertStake(type(uint128).max, 0);
    }

    /// @dev A unit is staked, locked, freed and withdrawn, and a bonus of a unit is paid once.
    function test_a_unit_counts_everywhere() external {
        _stake(1);
        _assertEq(reputation.freeStakeOf(PROVIDER), 1, "free");
        Award memory award = _award(20, 0);
        award.liability = 1;
        bytes32 id = _lock(award);
        _assertEq(reputation.freeStakeOf(PROVIDER), 0, "free while all is locked");
        _bonus(award);
        vm.warp(_lockedUntil(award) + 1);
        uint256 before = token.balanceOf(REQUESTER);
        reputation.free(award);
        _assertEq(token.balanceOf(REQUESTER) - before, 1, "the bonus");
        _assertEq(reputation.lockOf(id).bonus, 0, "what is left of it");
        _expectRevert(abi.encodeCall(reputation.free, (award)), STRANGER, IReputation.WrongLockState.selector);
        vm.prank(PROVIDER);
        reputation.unstake(1);
        vm.warp(block.timestamp + COOLDOWN + 1);
        vm.prank(PROVIDER);
        _assertEq(reputation.withdraw(), 1, "withdrawn");
        _assertStake(0, 0);
    }

    /// @dev A slash of everything, with a bonus of a unit, which goes back.
    function test_a_slash_returns_a_bonus_of_a_unit() external {
        _stake(1);
        Award memory award = _award(20, 0);
        award.liability = 1;
        bytes32 id = _lock(award);
        _bonus(award);
        vm.expectEmit(true, true, true, true);
        emit IReputation.BonusPaid(id, REQUESTER, 1, false);
        uint256 before = token.balanceOf(REQUESTER);
        vm.prank(ARBITER);
        reputation.slash(award, 10_000, address(0));
        _assertEq(token.balanceOf(REQUESTER) - before, 2, "bounty and bonus");
        _assertStake(0, 0);
    }

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
