// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {Reputation} from "../../../contracts/Reputation.sol";
import {IReputation} from "../../../contracts/interfaces/IReputation.sol";
import {ITreasury} from "../../../contracts/interfaces/ITreasury.sol";
import {Acceptance, Award, Settlement, Start, Verdict} from "../../../contracts/interfaces/MarketTypes.sol";
import {FeeToken, ReentrantToken, RefusingToken} from "../../../contracts/mocks/HostileTokens.sol";
import {TestToken} from "../../../contracts/mocks/TestToken.sol";
import {LawFixture} from "./LawFixture.sol";

/// @dev Stake, locks and bonus: every entry, every refusal, every deadline's last second and the one after it.
contract ReputationTest is LawFixture {
    uint128 private constant PRICE = 100_000;
    uint128 private constant BONUS = 5000;
    uint128 private constant FEE = 700;

    // Stake

    function test_anybody_may_pay_a_stake_in_and_only_its_owner_takes_it_out() external {
        vm.prank(REQUESTER);
        reputation.stake(PROVIDER, 500);
        _assertStake(500, 0);
        _assertEq(reputation.freeStakeOf(PROVIDER), 500, "free");

        vm.prank(PROVIDER);
        reputation.unstake(300);
        _assertEq(reputation.freeStakeOf(PROVIDER), 200, "free while some leaves");
        _assertEq(reputation.leavingOf(PROVIDER).amount, 300, "leaving");
        vm.warp(T0 + COOLDOWN);
        _expectRevert(abi.encodeCall(reputation.withdraw, ()), PROVIDER, IReputation.NotReady.selector);
        vm.warp(T0 + COOLDOWN + 1);
        _expectRevert(abi.encodeCall(reputation.withdraw, ()), REQUESTER, IReputation.NotReady.selector);
        uint256 before = token.balanceOf(PROVIDER);
        vm.prank(PROVIDER);
        _assertEq(reputation.withdraw(), 300, "taken");
        _assertEq(token.balanceOf(PROVIDER) - before, 300, "paid");
        _assertStake(200, 0);
    }

    function test_a_withdrawal_under_way_is_not_begun_anew() external {
        _stake(500);
        vm.prank(PROVIDER);
        reputation.unstake(100);
        vm.warp(T0 + 10);
        _expectRevert(abi.encodeCall(reputation.unstake, (100)), PROVIDER, IReputation.AlreadyLeaving.selector);
        _assertEq(reputation.leavingOf(PROVIDER).readyAt, T0 + COOLDOWN, "the first one's time");
    }

    function test_what_is_refused_of_stakes() external {
        _expectRevert(abi.encodeCall(reputation.stake, (address(0), 1)), PROVIDER, IReputation.ZeroAddress.selector);
        _expectRevert(abi.encodeCall(reputation.stake, (PROVIDER, 0)), PROVIDER, ITreasury.ZeroAmount.selector);
        _expectRevert(abi.encodeCall(reputation.unstake, (0)), PROVIDER, ITreasury.ZeroAmount.selector);
        _stake(5);
        _expectRevert(abi.encodeCall(reputation.unstake, (6)), PROVIDER, IReputation.StakeTooSmall.selector);
        _expectRevert(abi.encodeCall(reputation.withdraw, ()), PROVIDER, IReputation.NotReady.selector);
    }

    function test_a_pause_stops_new_business_and_no_exit() external {
        Award memory award = _liable(PRICE, FEE);
        Start memory none;
        _stake(LIABILITY);
        _lock(award);
        vm.prank(GUARDIAN);
        reputation.pause();
        Award memory other = _liable(PRICE + 1, FEE);
        _expectRevert(abi.encodeCall(reputation.stake, (PROVIDER, 1)), PROVIDER, ITreasury.NewBusinessPaused.selector);
        _expectRevert(
            abi.encodeCall(reputation.lock, (other, none, "")), PROVIDER, ITreasury.NewBusinessPaused.selector
        );
        _expectRevert(abi.encodeCall(reputation.depositBonus, (other)), REQUESTER, ITreasury.NewBusinessPaused.selector);
        vm.warp(_lockedUntil(award) + 1);
        reputation.free(award);
        vm.prank(PROVIDER);
        reputation.unstake(LIABILITY);
        vm.warp(block.timestamp + COOLDOWN + 1);
        vm.prank(PROVIDER);
        _assertEq(reputation.withdraw(), LIABILITY, "taken while paused");
    }

    function test_an_address_of_zero_is_no_deployment() external {
        address[3] memory given = [address(escrow), address(token), POOL];
        for (uint256 i = 0; i < 3; ++i) {
            address kept = given[i];
            given[i] = address(0);
            vm.expectPartialRevert(IReputation.ZeroAddress.selector);
            new Reputation(given[0], given[1], given[2], COOLDOWN, MAX_BOUNTY, GUARDIAN);
            given[i] = kept;
        }
    }

    // Locks

    function test_a_liability_is_locked_once_by_the_provider_or_with_its_start() external {
        _stake(2 * LIABILITY);
        Award memory award = _liable(PRICE, FEE);
        bytes32 id = _lock(award);
        _assertStake(2 * LIABILITY, LIABILITY);
        _assertLock(id, IReputation.LockState.Locked);

        Award memory other = _liable(PRICE + 1, FEE);
        Start memory start = Start({award: _id(other), startedAt: other.startBy});
        bytes memory signature = _sign(PROVIDER_KEY, _marketDigest(hashes.hashStart(start)));
        vm.prank(STRANGER);
        reputation.lock(other, start, signature);
        _assertStake(2 * LIABILITY, 2 * LIABILITY);
        _expectRevert(
            abi.encodeCall(reputation.lock, (other, start, signature)), STRANGER, IReputation.WrongLockState.selector
        );
    }

    function test_what_is_refused_of_locks() external {
        _stake(LIABILITY);
        Award memory award = _liable(PRICE, FEE);
        Start memory start = Start({award: keccak256("another"), startedAt: award.startBy});
        bytes memory signature = _sign(PROVIDER_KEY, _marketDigest(hashes.hashStart(start)));
        _expectLockRevert(award, start, signature, STRANGER, IReputation.WrongSubject.selector);
        start.award = _id(award);
        _expectLockRevert(award, start, signature, STRANGER, ITreasury.BadSignature.selector);
        _expectLockRevert(_terms(award, 0), start, "", PROVIDER, IReputation.BadTerms.selector);
        _expectLockRevert(_terms(award, 1), start, "", PROVIDER, IReputation.BadTerms.selector);
        _expectLockRevert(_terms(award, 2), start, "", PROVIDER, IReputation.WrongToken.selector);
        _expectLockRevert(_terms(award, 3), start, "", PROVIDER, IReputation.BadTerms.selector);
        _expectLockRevert(_terms(award, 4), start, "", PROVIDER, IReputation.BadTerms.selector);
        _expectLockRevert(_terms(award, 5), start, "", address(0), IReputation.BadTerms.selector);
        vm.prank(PROVIDER);
        reputation.unstake(1);
        _expectLockRevert(award, start, "", PROVIDER, IReputation.StakeTooSmall.selector);
        vm.warp(award.startBy + 1);
        _expectLockRevert(award, start, "", PROVIDER, IReputation.TooLate.selector);
    }

    function test_what_is_locked_cant_leave() external {
        _stake(LIABILITY + 10);
        _lock(_liable(PRICE, FEE));
        _expectRevert(abi.encodeCall(reputation.unstake, (11)), PROVIDER, IReputation.StakeTooSmall.selector);
        vm.prank(PROVIDER);
        reputation.unstake(10);
    }

    // Ends

    function test_an_accepted_escrow_frees_the_lock_and_pays_the_bonus() external {
        Award memory award = _begun(true);
        (Acceptance memory acceptance, bytes memory signature) = _acceptance(award, 3, PRICE);
        escrow.release(award, acceptance, signature);
        _assertFreed(award, PROVIDER);
    }

    function test_a_claim_that_nobody_disputed_does_too() external {
        Award memory award = _begun(true);
        _claimAll(award);
        vm.warp(block.timestamp + PACE + 1);
        escrow.payClaim(award);
        _assertFreed(award, PROVIDER);
    }

    function test_a_verdict_that_upholds_the_claim_does_too() external {
        Award memory award = _begun(true);
        _judge(award, PRICE);
        _assertFreed(award, PROVIDER);
    }

    /// @dev The bonus is of the whole price: one part in four, claimed and then nothing more, has not earned it.
    function test_a_claim_of_an_earlier_part_frees_the_lock_and_earns_no_bonus() external {
        Award memory award = _begun(true);
        _claimUpTo(award, 0, 1);
        vm.warp(block.timestamp + PACE + 1);
        escrow.payClaim(award);
        _assertFreed(award, REQUESTER);

        award = _begun(true);
        _claimUpTo(award, 2, PRICE);
        _judgeClaim(award, PRICE);
        _assertFreed(award, REQUESTER);
    }

    function test_a_split_or_a_settlement_frees_the_lock_and_gives_the_bonus_back() external {
        Award memory award = _begun(true);
        _claimAll(award);
        _dispute(award);
        vm.warp(escrow.recordOf(_id(award)).time + 1);
        escrow.split(award);
        _assertFreed(award, REQUESTER);

        award = _begun(true);
        _claimAll(award);
        Settlement memory agreed = Settlement({award: _id(award), due: PRICE, settleBy: uint64(block.timestamp)});
        bytes memory by = _sign(PROVIDER_KEY, _marketDigest(hashes.hashSettlement(agreed)));
        vm.prank(REQUESTER);
        escrow.settle(award, agreed, "", by);
        _assertFreed(award, REQUESTER);
    }

    function test_a_refund_frees_the_lock_and_gives_the_bonus_back() external {
        Award memory award = _begun(true);
        vm.warp(uint256(award.deliverBy) + PACE + 1);
        escrow.refund(award);
        _assertFreed(award, REQUESTER);
    }

    function test_after_a_verdict_against_the_provider_the_lock_waits_for_the_arbiter_until_its_time_is_over()
        external
    {
        Award memory award = _begun(true);
        _judge(award, PRICE - 1);
        vm.warp(_lockedUntil(award));
        _expectRevert(abi.encodeCall(reputation.free, (award)), STRANGER, IReputation.NotOver.selector);
        vm.warp(_lockedUntil(award) + 1);
        _assertFreed(award, REQUESTER);
    }

    function test_a_lock_without_escrow_is_freed_by_time_or_by_the_last_acceptance() external {
        Award memory award = _begun(false);
        vm.warp(_lockedUntil(award));
        _expectRevert(abi.encodeCall(reputation.free, (award)), STRANGER, IReputation.NotOver.selector);
        vm.warp(_lockedUntil(award) + 1);
        _assertFreed(award, REQUESTER);
        _expectRevert(abi.encodeCall(reputation.free, (award)), STRANGER, IReputation.WrongLockState.selector);

        award = _begun(false);
        (Acceptance memory acceptance, bytes memory signature) = _acceptance(award, 3, 1);
        uint256 before = token.balanceOf(PROVIDER);
        vm.prank(STRANGER);
        reputation.freeAccepted(award, acceptance, signature);
        _assertEq(token.balanceOf(PROVIDER) - before, BONUS, "bonus");
        _assertLock(_id(award), IReputation.LockState.Freed);
    }

    function test_an_escrow_left_open_still_decides_about_the_bonus() external {
        Award memory award = _begun(true);
        _claimAll(award);
        vm.warp(_lockedUntil(award) + 1);
        reputation.free(award);
        _assertLock(_id(award), IReputation.LockState.Freed);
        _assertEq(reputation.lockOf(_id(award)).bonus, BONUS, "the bonus waits");
        _expectRevert(abi.encodeCall(reputation.free, (award)), STRANGER, IReputation.WrongLockState.selector);
        escrow.payClaim(award);
        uint256 before = token.balanceOf(PROVIDER);
        reputation.free(award);
        _assertEq(token.balanceOf(PROVIDER) - before, BONUS, "bonus");
    }

    function test_another_rails_award_has_no_escrow_to_end_it() external {
        _stake(LIABILITY);
        Award memory award = _liable(PRICE, FEE);
        award.rail = address(channels);
        _lock(award);
        _expectRevert(abi.encodeCall(reputation.free, (award)), STRANGER, IReputation.NotOver.selector);
        vm.warp(_lockedUntil(award) + 1);
        reputation.free(award);
        _assertStake(LIABILITY, 0);
    }

    function test_what_is_refused_of_acceptances() external {
        Award memory award = _begun(false);
        (Acceptance memory acceptance, bytes memory signature) = _acceptance(award, 2, PRICE);
        _expectAcceptRevert(award, acceptance, signature, IReputation.NotLastPart.selector);
        acceptance.part = 3;
        _expectAcceptRevert(award, acceptance, signature, ITreasury.BadSignature.selector);
        acceptance.award = keccak256("another");
        _expectAcceptRevert(award, acceptance, signature, IReputation.WrongSubject.selector);
    }

    // Slashes

    function test_a_slash_pays_the_arbiter_then_the_requester_then_the_pool() external {
        Award memory award = _begun(false);
        uint256 before = token.balanceOf(REQUESTER);
        vm.prank(ARBITER);
        _assertEq(reputation.slash(award, 2500, ARBITER), FEE, "fee");
        _assertEq(token.balanceOf(ARBITER), FEE, "to the arbiter");
        _assertEq(token.balanceOf(REQUESTER) - before, MAX_BOUNTY + BONUS, "to the requester");
        _assertEq(token.balanceOf(POOL), LIABILITY / 4 - MAX_BOUNTY, "to the pool");
        _assertStake(LIABILITY - LIABILITY / 4 - FEE, 0);
        _assertLock(_id(award), IReputation.LockState.Slashed);
        _expectRevert(abi.encodeCall(reputation.depositBonus, (award)), REQUESTER, IReputation.NoBonus.selector);
        vm.warp(_lockedUntil(award) + 1);
        _expectRevert(abi.encodeCall(reputation.free, (award)), STRANGER, IReputation.WrongLockState.selector);
    }

    function testFuzz_a_slash_never_takes_more_than_the_lock(uint16 severity, uint128 fee, bool withFee) external {
        Award memory award = _liable(PRICE, fee % (2 * LIABILITY));
        _stake(2 * LIABILITY);
        _lock(award);
        severity = severity % 10_001;
        uint256 requester = token.balanceOf(REQUESTER);
        vm.prank(ARBITER);
        reputation.slash(award, severity, withFee ? ARBITER : address(0));
        uint256 bounty = token.balanceOf(REQUESTER) - requester;
        uint256 taken = token.balanceOf(ARBITER) + bounty + token.balanceOf(POOL);
        uint256 expectedFee = withFee ? (award.disputeFee < LIABILITY ? award.disputeFee : LIABILITY) : 0;
        uint256 share = uint256(LIABILITY) * severity / 10_000;
        uint256 penalty = share < LIABILITY - expectedFee ? share : LIABILITY - expectedFee;
        _assertEq(token.balanceOf(ARBITER), expectedFee, "fee");
        _assertEq(bounty, penalty < MAX_BOUNTY ? penalty : MAX_BOUNTY, "bounty");
        _assertEq(taken, expectedFee + penalty, "in all");
        _assertStake(2 * LIABILITY - uint128(taken), 0);
    }

    function test_what_is_refused_of_slashes() external {
        Award memory award = _liable(PRICE, FEE);
        _expectSlashRevert(award, 1, ARBITER, IReputation.WrongLockState.selector);
        award = _begun(false);
        _expectSlashRevert(award, 1, PROVIDER, IReputation.NotParty.selector);
        _expectSlashRevert(award, 10_001, ARBITER, IReputation.SeverityOutOfRange.selector);
        vm.warp(_lockedUntil(award) + 1);
        _expectSlashRevert(award, 1, ARBITER, IReputation.TooLate.selector);
    }

    // Bonus

    function test_what_is_refused_of_bonuses() external {
        Award memory award = _begun(false);
        _expectRevert(abi.encodeCall(reputation.depositBonus, (award)), REQUESTER, IReputation.NoBonus.selector);
        Award memory cheap = _liable(19, FEE);
        _expectRevert(abi.encodeCall(reputation.depositBonus, (cheap)), REQUESTER, IReputation.NoBonus.selector);
        Award memory dear = _liable(type(uint128).max, FEE);
        _expectRevert(abi.encodeCall(reputation.depositBonus, (dear)), REQUESTER, IReputation.BadTerms.selector);

        _stake(LIABILITY);
        Award memory ended = _liable(PRICE + 2, FEE);
        _lock(ended);
        (Acceptance memory acceptance, bytes memory signature) = _acceptance(ended, 3, PRICE);
        reputation.freeAccepted(ended, acceptance, signature);
        _expectRevert(abi.encodeCall(reputation.depositBonus, (ended)), REQUESTER, IReputation.WrongLockState.selector);
    }

    function test_a_bonus_without_a_lock_finds_its_end() external {
        Award memory award = _award(PRICE, 0);
        _bonus(award);
        vm.warp(_lockedUntil(award) + 1);
        uint256 before = token.balanceOf(REQUESTER);
        reputation.free(award);
        _assertEq(token.balanceOf(REQUESTER) - before, BONUS, "back");
    }

    // Hostile tokens

    function test_a_token_that_takes_a_fee_is_refused() external {
        token = TestToken(new FeeToken());
        _enrich(PROVIDER);
        _raise();
        _expectRevert(abi.encodeCall(reputation.stake, (PROVIDER, 1000)), PROVIDER, ITreasury.InexactDeposit.selector);
    }

    function test_a_token_that_calls_back_finds_the_door_closed() external {
        ReentrantToken hostile = new ReentrantToken();
        token = TestToken(hostile);
        _enrich(PROVIDER);
        _raise();
        _stake(1000);
        Award memory award = _liable(PRICE, FEE);
        Start memory none;
        bytes[5] memory entries = [
            abi.encodeCall(reputation.stake, (PROVIDER, 1)),
            abi.encodeCall(reputation.unstake, (1)),
            abi.encodeCall(reputation.withdraw, ()),
            abi.encodeCall(reputation.free, (award)),
            abi.encodeCall(reputation.lock, (award, none, ""))
        ];
        for (uint256 i = 0; i < entries.length; ++i) {
            hostile.arm(address(reputation), entries[i]);
            _stake(1);
            require(!hostile.reentered(), "it came in again");
            require(bytes4(hostile.answer()) == ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
        }
    }

    function test_a_refused_payout_becomes_a_credit_and_stops_nobody() external {
        RefusingToken refusing = new RefusingToken();
        token = TestToken(refusing);
        _enrich(REQUESTER);
        _enrich(PROVIDER);
        _raise();
        Award memory award = _begun(false);
        refusing.setRefused(REQUESTER, true);
        refusing.setRefused(POOL, true);
        vm.prank(ARBITER);
        reputation.slash(award, 10_000, ARBITER);
        _assertEq(token.balanceOf(ARBITER), FEE, "to the arbiter");
        _assertEq(reputation.creditOf(REQUESTER, address(token)), MAX_BOUNTY + BONUS, "the requester's credit");
        _assertEq(reputation.creditOf(POOL, address(token)), LIABILITY - FEE - MAX_BOUNTY, "the pool's credit");
    }

    // Helpers

    /// @dev An award with lock and bonus, and an escrow if asked for.
    function _begun(bool funded) private returns (Award memory award) {
        _stake(LIABILITY);
        award = _liable(PRICE, FEE);
        award.offer = keccak256(abi.encode(block.timestamp, funded));
        _lock(award);
        _bonus(award);
        if (funded) _fund(award);
    }

    function _judge(Award memory award, uint128 due) private {
        _claimAll(award);
        _judgeClaim(award, due);
    }

    function _judgeClaim(Award memory award, uint128 due) private {
        _dispute(award);
        Verdict memory verdict;
        verdict.award = _id(award);
        verdict.due = due;
        vm.prank(ARBITER);
        escrow.applyVerdict(award, verdict, "");
    }

    function _assertFreed(Award memory award, address bonusTo) private {
        uint256 before = token.balanceOf(bonusTo);
        vm.prank(STRANGER);
        reputation.free(award);
        _assertEq(token.balanceOf(bonusTo) - before, BONUS, "bonus");
        _assertEq(reputation.accountOf(PROVIDER).locked, 0, "locked");
        _assertLock(_id(award), IReputation.LockState.Freed);
    }

    /// @dev Six ways to make the terms bad.
    function _terms(Award memory award, uint256 way) private pure returns (Award memory bad) {
        bad = abi.decode(abi.encode(award), (Award));
        if (way == 0) bad.liability = 0;
        else if (way == 1) bad.liability = 1 << 120;
        else if (way == 2) bad.token = address(0xBAD);
        else if (way == 3) bad.requester = address(0);
        else if (way == 4) bad.deliverBy = bad.startBy;
        else bad.provider = address(0);
    }

    function _expectLockRevert(
        Award memory award,
        Start memory start,
        bytes memory signature,
        address caller,
        bytes4 reason
    ) private {
        _expectRevert(abi.encodeCall(reputation.lock, (award, start, signature)), caller, reason);
    }

    function _expectAcceptRevert(
        Award memory award,
        Acceptance memory acceptance,
        bytes memory signature,
        bytes4 reason
    ) private {
        _expectRevert(abi.encodeCall(reputation.freeAccepted, (award, acceptance, signature)), STRANGER, reason);
    }

    function _expectSlashRevert(Award memory award, uint16 severity, address caller, bytes4 reason) private {
        _expectRevert(abi.encodeCall(reputation.slash, (award, severity, address(this))), caller, reason);
    }

    function _assertLock(bytes32 id, IReputation.LockState state) private view {
        require(reputation.lockOf(id).state == state, "the lock is in another state");
    }
}
