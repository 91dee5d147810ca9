// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Bench} from "../../../contracts/Bench.sol";
import {DisputeArbiter} from "../../../contracts/DisputeArbiter.sol";
import {IBench} from "../../../contracts/interfaces/IBench.sol";
import {IDisputeArbiter} from "../../../contracts/interfaces/IDisputeArbiter.sol";
import {Award} from "../../../contracts/interfaces/MarketTypes.sol";
import {CourtFixture} from "./CourtFixture.sol";
import {Vm} from "./Vm.sol";

/// @dev Where the bench's counts, seconds and fields end. Each was a mutant that no other test noticed.
contract BenchEdgesTest is CourtFixture {
    IDisputeArbiter.Finding private constant WRONG = IDisputeArbiter.Finding.WrongResult;
    bytes32 private constant SALT = "salt";
    uint40 private constant DRAW_BLOCK = 2000;

    // Draws

    /// @dev The court's own request: one seat, one ticket at place 0, and as many places as make the right try the first to name it.
    function test_a_draw_tries_512_numbers_and_no_more() external {
        _enlist(1, 1);
        vm.roll(DRAW_BLOCK + 1);
        vm.setBlockhash(DRAW_BLOCK, "number");
        for (uint256 earlier = 511; earlier <= 512; ++earlier) {
            IBench.Request memory request = IBench.Request({
                engine: ENGINE,
                salt: SALT,
                drawBlock: DRAW_BLOCK,
                places: _placesThatNameTheFirstAfter(earlier),
                seats: 1,
                until: uint40(block.timestamp),
                paid: 0,
                fee: 0
            });
            vm.prank(address(court));
            _assertEq(bench.draw(request, "").length, earlier == 511 ? 1 : 0, "seats");
        }
    }

    function test_an_engine_that_nobody_runs_has_its_draw_requested_anew() external {
        Award memory award = _claimed(false);
        _open(award, REQUESTER);
        _drawNobody(award, "");
    }

    /// @dev Where the number comes with a header, there is no header of a block that is forgotten: none is asked for.
    function test_a_beacons_number_that_is_forgotten_is_drawn_anew_without_a_header() external {
        _raiseCourt(IBench.Randomness.PrevRandao);
        _enlist(5, 1);
        Award memory award = _claimed(false);
        _open(award, REQUESTER);
        vm.roll(block.number + 300);
        _drawNobody(award, "");
    }

    /// @dev Who knows the number already must not slip into an empty place that the draw will name.
    function test_an_old_place_that_is_used_again_after_the_request_is_not_drawn() external {
        _enlist(10, 1);
        uint32[] memory old = new uint32[](5);
        for (uint32 i = 0; i < 5; ++i) {
            old[i] = 5 + i;
            vm.prank(_arbiter(old[i]));
            bench.resign(ENGINE, _alone(old[i]));
        }
        vm.roll(block.number + 8300);
        Award memory award = _claimed(false);
        _open(award, REQUESTER);
        IDisputeArbiter.Round memory round = _roundOf(award);
        vm.roll(round.drawBlock + 1);
        address[] memory expected = _predict(_id(award), round);
        address late = _newcomer();
        vm.prank(late);
        bench.enlist(ENGINE, 5, old);
        _assertEq(bench.placesOf(ENGINE), 10, "five used again, and none new");
        court.draw(_id(award), "");
        require(_headOf(award) == keccak256(abi.encodePacked(expected)), "who came after the request was drawn");
    }

    // Seats

    /// @dev Nine tenths of a stake are no stake, though four seats would take a quarter each.
    function test_who_has_lost_a_part_of_its_only_stake_is_not_seated_until_it_has_a_whole_one() external {
        _enlist(5, 1);
        Award memory award = _claimed(false);
        _open(award, REQUESTER);
        address[] memory committee = _drawn(award);
        IDisputeArbiter.Vote memory none;
        _close(award, committee, none);
        vm.warp(bench.accountOf(committee[0]).servingUntil + 1);
        for (uint256 seat = 0; seat < 5; ++seat) {
            _assertEq(bench.accountOf(committee[seat]).balance, SEAT_STAKE - SEAT_STAKE / 10, "who kept silent");
        }
        require(!_isSeated(), "seated with a part of a stake");
        _enlist(5, 1);
        vm.warp(block.timestamp + 1);
        award = _claimed(false);
        _open(award, REQUESTER);
        _drawn(award);
    }

    function test_seats_bind_their_stakes_to_their_last_second() external {
        _enlist(5, 1);
        address who = _arbiter(0);
        for (uint256 i = 0; i < 2; ++i) {
            vm.warp(block.timestamp + 1);
            Award memory award = _claimed(false);
            _open(award, REQUESTER);
            _settle(award, _drawn(award), _vote(WRONG, 0), 5);
        }
        uint256 until = bench.accountOf(who).servingUntil;
        vm.warp(until);
        _refused(address(bench), who, abi.encodeCall(bench.collect, ()), IBench.NothingToCollect.selector);
        vm.warp(until + 1);
        vm.prank(who);
        _assertEq(bench.collect(), 2 * SEAT_FEE, "collected");
    }

    // Fields

    /// @dev A token with so many units could pay a balance beyond its 96 bits. It is refused, and nothing of it is lost.
    function test_a_balance_that_does_not_fit_its_field_is_refused() external {
        DisputeArbiter dear = new DisputeArbiter(
            DisputeArbiter.Contracts({
                escrow: address(escrow),
                channels: address(channels),
                reputation: address(reputation),
                token: address(token),
                pool: POOL
            }),
            DisputeArbiter.Terms({
                seatStake: 2 ** 95,
                leastFee: 100,
                cooldown: COOLDOWN,
                minResolveWithin: 60,
                maxTime: MAX_TIME,
                randomness: IBench.Randomness.BlockHash
            }),
            GUARDIAN
        );
        address who = _newcomer();
        token.mint(who, 2 ** 96);
        vm.startPrank(who);
        token.approve(dear.bench(), type(uint256).max);
        Bench(dear.bench()).enlist(ENGINE, 1, new uint32[](0));
        vm.stopPrank();
        bytes memory again = abi.encodeCall(bench.enlist, (ENGINE, 1, new uint32[](0)));
        _refused(dear.bench(), who, again, bytes4(0x4e487b71)); // Panic
        _assertEq(Bench(dear.bench()).accountOf(who).balance, 2 ** 95, "balance");
    }

    /// @dev Seats and tickets share a word: buying, giving up and taking out leave what is bound, and until when, as it was.
    function test_what_an_arbiter_does_with_its_tickets_leaves_its_seats_as_they_are() external {
        _enlist(1, 6);
        address who = _arbiter(0);
        for (uint256 i = 1; i <= 2; ++i) {
            vm.warp(block.timestamp + 1); // to an odd second and to an even one, so that no bit stays by chance
            Award memory award = _claimed(false);
            _open(award, REQUESTER);
            _settle(award, _drawn(award), _vote(WRONG, 0), 5);
            _assertSeats(who, 5 * i, block.timestamp + RESOLVE_WITHIN);
        }
        uint256 until = block.timestamp + RESOLVE_WITHIN;
        vm.startPrank(who);
        bench.enlist(ENGINE, 5, new uint32[](0));
        _assertSeats(who, 10, until);
        bench.resign(ENGINE, _alone(0));
        _assertSeats(who, 10, until);
        _assertEq(bench.collect(), 10 * SEAT_FEE, "collected");
        vm.stopPrank();
        _assertSeats(who, 10, until);
    }

    // Helpers

    function _assertSeats(address who, uint256 serving, uint256 until) private view {
        IBench.Account memory account = bench.accountOf(who);
        _assertEq(account.serving, serving, "serving");
        _assertEq(account.servingUntil, until, "until");
    }

    function _newcomer() private returns (address who) {
        who = _arbiter(ARBITERS);
        token.mint(who, 1e12);
        _approve(who);
    }

    function _alone(uint32 place) private pure returns (uint32[] memory places) {
        places = new uint32[](1);
        places[0] = place;
    }

    /// @dev The draw is of nobody: nobody is told of a committee, and the number of another block is asked for.
    function _drawNobody(Award memory award, bytes memory header) private {
        vm.roll(block.number + 3);
        vm.recordLogs();
        _assertEq(court.draw(_id(award), header).length, 0, "seats");
        Vm.Log[] memory logs = vm.getRecordedLogs();
        require(logs.length == 1 && logs[0].topics[0] == IDisputeArbiter.DrawRequested.selector, "told of more");
        require(!_isDrawn(award), "drawn");
        _assertEq(_roundOf(award).drawBlock, block.number + 2, "requested anew");
    }

    /// @dev A number of places of which place 0 is named by the try after `earlier` others, and by none of them.
    function _placesThatNameTheFirstAfter(uint256 earlier) private pure returns (uint24 places) {
        bytes32 seed = keccak256(abi.encode(bytes32("number"), SALT));
        uint256[] memory numbers = new uint256[](earlier);
        for (uint256 i = 0; i < earlier; ++i) {
            numbers[i] = uint256(keccak256(abi.encode(seed, i)));
        }
        uint256 last = uint256(keccak256(abi.encode(seed, earlier)));
        for (places = 1000; places < type(uint24).max; ++places) {
            if (last % places != 0) continue;
            bool isFirst = true;
            for (uint256 i = 0; i < earlier; ++i) {
                isFirst = isFirst && numbers[i] % places != 0;
            }
            if (isFirst) return places;
        }
        revert("no such number of places");
    }
}
