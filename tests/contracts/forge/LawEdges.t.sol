// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IBench} from "../../../contracts/interfaces/IBench.sol";
import {IDisputeArbiter} from "../../../contracts/interfaces/IDisputeArbiter.sol";
import {IEscrow} from "../../../contracts/interfaces/IEscrow.sol";
import {IReputation} from "../../../contracts/interfaces/IReputation.sol";
import {Award, ChannelKey, Start} from "../../../contracts/interfaces/MarketTypes.sol";
import {CourtRefusals} from "./CourtRefusals.sol";

/// @dev The last second, the least and the greatest that still count. Each was a mutant that no other test noticed.
contract LawEdgesTest is CourtRefusals {
    // The court

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

    // The bench

    function test_a_ticket_that_left_in_the_block_before_the_request_is_not_drawn() external {
        for (uint32 place = 2; place < 2 * ARBITERS; ++place) {
            _resign(place, 1);
            vm.warp(block.timestamp + COOLDOWN + 1);
        }
        vm.roll(block.number + 1);
        (, address[] memory committee) = _drawnFrom(_claimed(true));
        _assertEq(committee.length, 0, "two tickets are left, and who left was drawn");
    }

    function test_a_shorter_case_does_not_let_go_of_a_stake_that_a_longer_one_binds() external {
        Award memory long = _claimed(false);
        _open(long, REQUESTER);
        address[] memory committee = _drawn(long);
        uint256 until = bench.accountOf(committee[0]).servingUntil;
        Award memory short = _copy(long);
        short.resolveWithin = 60;
        _open(short, REQUESTER);
        address[] memory other = _drawn(short);
        for (uint256 seat = 0; seat < 5; ++seat) {
            bool both = false;
            for (uint256 i = 0; i < 5; ++i) {
                both = both || committee[i] == other[seat];
            }
            uint256 bound = both ? until : block.timestamp + 60;
            _assertEq(bench.accountOf(other[seat]).servingUntil, bound, "until");
        }
    }

    function test_a_ticket_is_given_up_once_and_the_next_after_the_last_second() external {
        address who = _arbiter(0);
        uint32[] memory same = new uint32[](2);
        _refuseBench(abi.encodeCall(bench.resign, (ENGINE, same)), who, IBench.NotYourTicket.selector);
        _resign(0, 1);
        uint32[] memory next = new uint32[](1);
        next[0] = 1;
        vm.warp(block.timestamp + COOLDOWN);
        _refuseBench(abi.encodeCall(bench.resign, (ENGINE, next)), who, IBench.AlreadyLeaving.selector);
        vm.warp(block.timestamp + 1);
        next[0] = 0;
        _refuseBench(abi.encodeCall(bench.resign, (ENGINE, next)), who, IBench.NotYourTicket.selector);
        _resign(1, 1);
    }

    // Stakes

    function test_a_lock_is_made_in_the_last_second_and_as_large_as_its_field() external {
        Award memory award = _liable(PRICE, FEE);
        award.liability = type(uint120).max;
        token.mint(PROVIDER, 4 * uint256(award.liability));
        _stake(award.liability);
        vm.warp(award.startBy);
        Start memory none;
        vm.prank(PROVIDER);
        reputation.lock(award, none, "");
        _assertEq(reputation.lockOf(_id(award)).amount, type(uint120).max, "lock");
    }

    function test_a_bonus_is_given_in_the_last_second_and_as_large_as_its_field() external {
        Award memory award = _award(20 * uint128(type(uint120).max), FEE);
        token.mint(REQUESTER, type(uint120).max);
        vm.warp(award.startBy);
        _bonus(award);
        _assertEq(reputation.lockOf(_id(award)).bonus, type(uint120).max, "bonus");
    }

    // Helpers

    /// @dev Places 2i and 2i+1 are arbiter i's.
    function _resign(uint32 first, uint32 count) private {
        uint32[] memory places = new uint32[](count);
        for (uint32 i = 0; i < count; ++i) {
            places[i] = first + i;
        }
        vm.prank(_arbiter(first / 2));
        bench.resign(ENGINE, places);
    }

    /// @dev The committee of a case, or nobody.
    function _drawnFrom(Award memory award) private returns (Award memory, address[] memory) {
        _open(award, REQUESTER);
        vm.roll(_roundOf(award).drawBlock + 1);
        return (award, court.draw(_id(award), ""));
    }

    function _refuseBench(bytes memory data, address caller, bytes4 reason) private {
        _refused(address(bench), caller, data, reason);
    }
}
