// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {RLP} from "@openzeppelin/contracts/utils/RLP.sol";

import {IBench} from "../../../contracts/interfaces/IBench.sol";
import {IDisputeArbiter} from "../../../contracts/interfaces/IDisputeArbiter.sol";
import {DisputeArbiter} from "../../../contracts/DisputeArbiter.sol";
import {ITreasury} from "../../../contracts/interfaces/ITreasury.sol";
import {Award} from "../../../contracts/interfaces/MarketTypes.sol";
import {CourtFixture} from "./CourtFixture.sol";

/// @dev Tickets, stakes, and what can and can't change a draw.
contract BenchTest is CourtFixture {
    uint32[] private _none;

    function test_a_ticket_costs_its_stake_and_gives_it_back_after_the_cooldown() external {
        _enlist(1, 3);
        address who = _arbiter(0);
        _assertEq(bench.accountOf(who).balance, 3 * SEAT_STAKE, "balance");
        _assertEq(bench.placesOf(ENGINE), 3, "places");
        _refuse(abi.encodeCall(bench.collect, ()), who, IBench.NothingToCollect.selector);

        _resign(who, 1);
        _assertEq(bench.ticketOf(ENGINE, 1).until, block.number + 1, "it counts to the end of this block");
        vm.warp(block.timestamp + COOLDOWN);
        _refuse(abi.encodeCall(bench.collect, ()), who, IBench.NothingToCollect.selector);
        vm.warp(block.timestamp + 1);
        uint256 before = token.balanceOf(who);
        vm.prank(who);
        _assertEq(bench.collect(), SEAT_STAKE, "collected");
        _assertEq(token.balanceOf(who) - before, SEAT_STAKE, "paid");
        _assertEq(bench.accountOf(who).balance, 2 * SEAT_STAKE, "left");
    }

    function test_tickets_that_are_leaving_are_not_begun_anew_and_what_left_before_is_kept() external {
        _enlist(1, 3);
        address who = _arbiter(0);
        _resign(who, 0);
        uint32[] memory more = new uint32[](1);
        more[0] = 1;
        _refuse(abi.encodeCall(bench.resign, (ENGINE, more)), who, IBench.AlreadyLeaving.selector);
        vm.warp(block.timestamp + COOLDOWN + 1);
        _resign(who, 1);
        vm.prank(who);
        _assertEq(bench.collect(), SEAT_STAKE, "the first is free, the second waits");
    }

    function test_what_is_refused_of_tickets() external {
        _enlist(2, 1);
        address who = _arbiter(0);
        uint32[] memory two = new uint32[](2);
        uint32[] memory other = new uint32[](1);
        other[0] = 1;
        _refuse(abi.encodeCall(bench.enlist, (ENGINE, 0, _none)), who, IBench.NoTickets.selector);
        _refuse(abi.encodeCall(bench.enlist, (ENGINE, 1, two)), who, IBench.NoTickets.selector);
        _refuse(abi.encodeCall(bench.resign, (ENGINE, _none)), who, IBench.NoTickets.selector);
        _refuse(abi.encodeCall(bench.resign, (ENGINE, other)), who, IBench.NotYourTicket.selector);
        _refuse(abi.encodeCall(bench.enlist, (ENGINE, 1, other)), who, IBench.PlaceTaken.selector);
        _resign(who, 0);
        vm.warp(block.timestamp + COOLDOWN + 1);
        other[0] = 0;
        _refuse(abi.encodeCall(bench.resign, (ENGINE, other)), who, bytes4(0x4e487b71)); // no ticket is left to give up
        vm.prank(GUARDIAN);
        bench.pause();
        _refuse(abi.encodeCall(bench.enlist, (ENGINE, 1, _none)), who, ITreasury.NewBusinessPaused.selector);
    }

    function test_a_place_is_used_again_when_no_draw_can_name_it() external {
        _enlist(2, 1);
        _resign(_arbiter(0), 0);
        uint256 freeAfter = block.number + 1 + 2 + 8191;
        uint32[] memory places = new uint32[](1);
        address who = _arbiter(1);
        vm.roll(freeAfter);
        _refuse(abi.encodeCall(bench.enlist, (ENGINE, 1, places)), who, IBench.PlaceTaken.selector);
        vm.roll(freeAfter + 1);
        vm.prank(who);
        bench.enlist(ENGINE, 2, places);
        _assertEq(bench.placesOf(ENGINE), 3, "one place used again, one new");
        require(bench.ticketOf(ENGINE, 0).owner == who, "owner");
    }

    function test_empty_places_at_the_end_are_pruned_when_no_draw_can_name_them() external {
        _enlist(2, 3);
        _resignAll(_arbiter(1), 3, 3);
        vm.roll(block.number + 1 + 2 + 8191);
        _refuse(abi.encodeCall(bench.prune, (ENGINE, 1)), STRANGER, IBench.PlaceTaken.selector);
        vm.roll(block.number + 1);
        _refuse(abi.encodeCall(bench.prune, (ENGINE, 4)), STRANGER, IBench.PlaceTaken.selector);
        vm.prank(STRANGER);
        bench.prune(ENGINE, 2);
        _assertEq(bench.placesOf(ENGINE), 4, "places");
    }

    function test_a_draw_that_was_requested_before_places_were_pruned_passes_them_over() external {
        _enlist(6, 2);
        for (uint256 i = 3; i < 6; ++i) {
            _resignAll(_arbiter(i), uint32(2 * i), 2);
        }
        vm.roll(block.number + 1 + 2 + 8191 + 1);
        Award memory award = _claimed(true);
        _open(award, REQUESTER);
        bench.prune(ENGINE, 6);
        address[] memory committee = _drawn(award);
        for (uint256 seat = 0; seat < 5; ++seat) {
            require(
                committee[seat] == _arbiter(0) || committee[seat] == _arbiter(1) || committee[seat] == _arbiter(2),
                "who had left was drawn"
            );
        }
    }

    function test_an_address_of_zero_is_no_deployment() external {
        for (uint256 i = 0; i < 5; ++i) {
            DisputeArbiter.Contracts memory known = DisputeArbiter.Contracts({
                escrow: i == 0 ? address(0) : address(escrow),
                channels: i == 1 ? address(0) : address(channels),
                reputation: i == 2 ? address(0) : address(reputation),
                token: i == 3 ? address(0) : address(token),
                pool: i == 4 ? address(0) : POOL
            });
            DisputeArbiter.Terms memory terms;
            vm.expectPartialRevert(IBench.ZeroAddress.selector); // the same error in both interfaces
            this.deploy(known, terms);
        }
    }

    /// @dev In a call of its own: where suites are linked dynamically, `new` is a cheat code, which none expects to revert.
    function deploy(DisputeArbiter.Contracts calldata known, DisputeArbiter.Terms calldata terms) external {
        new DisputeArbiter(known, terms, GUARDIAN);
    }

    function test_only_the_court_draws_ends_seats_and_sends() external {
        IBench.Request memory request;
        _refuse(abi.encodeCall(bench.draw, (request, "")), STRANGER, IBench.NotCourt.selector);
        _refuse(abi.encodeCall(bench.endSeats, (new address[](0), 0, 0, 0, 0)), STRANGER, IBench.NotCourt.selector);
        _refuse(abi.encodeCall(bench.send, (STRANGER, 1)), STRANGER, IBench.NotCourt.selector);
    }

    // Draws

    function test_who_joins_or_leaves_after_the_request_changes_nothing() external {
        _enlist(6, 1);
        Award memory award = _claimed(true);
        _open(award, REQUESTER);
        IDisputeArbiter.Round memory round = _roundOf(award);
        vm.roll(round.drawBlock + 1);
        address[] memory expected = _predict(_id(award), round);
        for (uint256 i = 0; i < 3; ++i) {
            _resign(_arbiter(i), uint32(i));
        }
        for (uint256 i = 10; i < 20; ++i) {
            address who = _arbiter(i);
            token.mint(who, 1e12);
            _approve(who);
            vm.prank(who);
            bench.enlist(ENGINE, 1, _none);
        }
        court.draw(_id(award), "");
        require(_headOf(award) == keccak256(abi.encodePacked(expected)), "the draw was changed");
    }

    function test_a_ticket_that_left_before_the_request_is_passed_over() external {
        _enlist(6, 1);
        _resign(_arbiter(0), 0);
        vm.roll(block.number + 2);
        Award memory award = _claimed(true);
        _open(award, REQUESTER);
        _assertEq(_roundOf(award).places, 6, "its place is still there");
        address[] memory committee = _drawn(award);
        for (uint256 seat = 0; seat < 5; ++seat) {
            require(committee[seat] != _arbiter(0), "who had left was drawn");
        }
    }

    function test_an_arbiter_sits_on_as_many_seats_as_it_has_stakes() external {
        _enlist(1, 5);
        Award memory award = _claimed(true);
        _open(award, REQUESTER);
        address[] memory committee = _drawn(award);
        for (uint256 seat = 0; seat < 5; ++seat) {
            require(committee[seat] == _arbiter(0), "another arbiter");
        }
        _assertEq(bench.accountOf(_arbiter(0)).serving, 5, "serving");
        _assertEq(bench.accountOf(_arbiter(0)).servingUntil, _roundOf(award).began + RESOLVE_WITHIN, "until");
        _resignAll(_arbiter(0), 0, 5);
        vm.warp(bench.accountOf(_arbiter(0)).servingUntil);
        _refuse(abi.encodeCall(bench.collect, ()), _arbiter(0), IBench.NothingToCollect.selector);
    }

    /// @dev Five stakes of five arbiters: each backs a seat of four cases at once, and no fifth.
    function test_a_stake_backs_four_seats_in_as_many_cases() external {
        _enlist(5, 1);
        for (uint256 i = 0; i < 5; ++i) {
            require(_isSeated() == (i < 4), "four cases, and no fifth");
        }
        for (uint256 i = 0; i < 5; ++i) {
            _assertEq(bench.accountOf(_arbiter(i)).serving, 4, "serving");
        }
    }

    /// @dev It may lose one for each of its seats, so none of them leaves before the last case is over.
    function test_nobody_collects_a_stake_that_backs_more_seats_than_one() external {
        _enlist(5, 1);
        address who = _arbiter(0);
        for (uint256 i = 0; i < 2; ++i) {
            vm.warp(block.timestamp + 1);
            Award memory award = _claimed(false);
            _open(award, REQUESTER);
            address[] memory committee = _drawn(award);
            _settle(award, committee, _vote(IDisputeArbiter.Finding.WrongResult, 0), 5);
        }
        _assertEq(bench.accountOf(who).balance, SEAT_STAKE + 2 * SEAT_FEE, "a stake, and what two seats earned");
        _refuse(abi.encodeCall(bench.collect, ()), who, IBench.NothingToCollect.selector);
        vm.warp(bench.accountOf(who).servingUntil + 1);
        vm.prank(who);
        _assertEq(bench.collect(), 2 * SEAT_FEE, "collected");
    }

    function test_too_few_stakes_for_a_committee_leave_nobody_drawn() external {
        _enlist(1, 4);
        Award memory award = _claimed(true);
        _open(award, REQUESTER);
        IDisputeArbiter.Round memory round = _roundOf(award);
        vm.roll(round.drawBlock + 1);
        court.draw(_id(award), "");
        require(!_isDrawn(award), "a committee of four was drawn");
        _assertEq(bench.accountOf(_arbiter(0)).serving, 0, "serving");
        _assertEq(_roundOf(award).drawBlock, block.number + 2, "requested anew");
        address newcomer = _arbiter(1);
        token.mint(newcomer, 1e12);
        _approve(newcomer);
        vm.prank(newcomer);
        bench.enlist(ENGINE, 1, _none);
        vm.roll(block.number + 3);
        court.draw(_id(award), ""); // the newcomer's place came after the request
        require(!_isDrawn(award), "a ticket counted before it was there");
        _drawn(award);
    }

    /// @dev Cases that nobody can sit on cost their opener nothing: a row of them must not keep the stake of another case bound.
    function test_a_draw_that_finds_too_few_binds_nobody_longer() external {
        _enlist(1, 6);
        address who = _arbiter(0);
        for (uint256 i = 0; i < 4; ++i) {
            require(_isSeated(), "no stakes for five seats");
        }
        IBench.Account memory before = bench.accountOf(who);
        _assertEq(before.serving, 20, "serving");

        vm.warp(block.timestamp + 100);
        Award memory award = _claimed(false);
        _open(award, REQUESTER);
        vm.roll(_roundOf(award).drawBlock + 1);
        court.draw(_id(award), "");
        require(!_isDrawn(award), "a committee of four was drawn");
        require(keccak256(abi.encode(bench.accountOf(who))) == keccak256(abi.encode(before)), "its account has changed");
    }

    function test_a_quorum_can_not_fill_seats_for_which_there_is_no_stake() external {
        _enlist(1, 4);
        Award memory award = _claimed(true);
        _open(award, REQUESTER);
        IDisputeArbiter.Round memory round = _roundOf(award);
        vm.roll(round.drawBlock + 1);
        address[] memory five = new address[](5);
        for (uint256 seat = 0; seat < 5; ++seat) {
            five[seat] = _arbiter(0);
        }
        IDisputeArbiter.Vote memory vote = _vote(IDisputeArbiter.Finding.WrongResult, 0);
        IDisputeArbiter.Quorum memory quorum = _quorum(award, five, vote, 3);
        bytes32 id = _id(award);
        vm.expectPartialRevert(IBench.TooFewSeats.selector);
        court.settleByQuorum(id, vote, quorum);
    }

    function test_a_case_that_is_closed_too_late_takes_what_is_left_of_a_stake() external {
        _enlist(5, 1);
        Award memory award = _claimed(true);
        _open(award, REQUESTER);
        address[] memory committee = _drawn(award);
        IDisputeArbiter.Vote memory vote = _vote(IDisputeArbiter.Finding.WrongResult, 0);
        _voteOnChain(award, committee, 4, vote, 1, _vote(IDisputeArbiter.Finding.Upheld, PRICE));
        address wrong = committee[4];
        for (uint32 i = 0; i < 5; ++i) {
            if (_arbiter(i) == wrong) _resign(wrong, i);
        }
        vm.warp(block.timestamp + COOLDOWN + 1);
        vm.prank(wrong);
        bench.collect();
        court.close(award, _one(committee), _one(vote));
        _assertEq(bench.accountOf(wrong).balance, 0, "nothing was left");
    }

    function test_a_number_that_the_chain_has_forgotten_is_drawn_anew() external {
        _enlist(6, 1);
        Award memory award = _claimed(true);
        _open(award, REQUESTER);
        vm.roll(_roundOf(award).drawBlock + 300);
        court.draw(_id(award), "");
        require(!_isDrawn(award), "drawn without a number");
        _drawn(award);
    }

    function test_the_beacons_number_comes_from_the_blocks_header() external {
        _raiseCourt(IBench.Randomness.PrevRandao);
        _enlist(6, 1);
        Award memory award = _claimed(true);
        _open(award, REQUESTER);
        bytes32 id = _id(award);
        uint256 number = _roundOf(award).drawBlock;
        bytes memory header = _header(number, keccak256("beacon"));
        vm.roll(number + 1);
        vm.setBlockhash(number, keccak256(header));
        bytes memory another = _header(number, keccak256("another"));
        vm.expectPartialRevert(IBench.WrongHeader.selector);
        court.draw(id, another);
        court.draw(id, header);
        require(_isDrawn(award), "not drawn");
    }

    function test_every_ticket_has_the_same_chance() external {
        // Of 30 arbiters, the first has ten tickets of 39: its share of many seats is close to that.
        _enlist(ARBITERS, 1);
        address whale = _arbiter(0);
        vm.prank(whale);
        bench.enlist(ENGINE, 9, _none);
        uint256 hits = 0;
        for (uint256 i = 0; i < 40; ++i) {
            vm.warp(T0 + i * 7919);
            vm.roll(2000 + i * 10);
            Award memory award = _claimed(false);
            _open(award, REQUESTER);
            vm.roll(_roundOf(award).drawBlock + 1);
            vm.setBlockhash(_roundOf(award).drawBlock, keccak256(abi.encode(i)));
            address[] memory committee = _drawn(award);
            for (uint256 seat = 0; seat < 5; ++seat) {
                if (committee[seat] == whale) ++hits;
            }
            IDisputeArbiter.Vote memory vote = _vote(IDisputeArbiter.Finding.Upheld, PRICE);
            _settle(award, committee, vote, 5);
            _close(award, committee, vote);
        }
        // 200 seats, 51 expected, deviation 6.2: five of them.
        require(hits > 20 && hits < 82, "the draw is not by stake");
    }

    function _resign(address who, uint32 index) private {
        uint32[] memory indices = new uint32[](1);
        indices[0] = index;
        vm.prank(who);
        bench.resign(ENGINE, indices);
    }

    function _resignAll(address who, uint32 first, uint32 count) private {
        uint32[] memory indices = new uint32[](count);
        for (uint32 i = 0; i < count; ++i) {
            indices[i] = first + i;
        }
        vm.prank(who);
        bench.resign(ENGINE, indices);
    }

    function _header(uint256 number, bytes32 random) private pure returns (bytes memory) {
        bytes[] memory fields = new bytes[](20);
        for (uint256 i = 0; i < 20; ++i) {
            fields[i] = RLP.encode(uint256(0));
        }
        fields[8] = RLP.encode(number);
        fields[13] = RLP.encode(abi.encodePacked(random));
        return RLP.encode(fields);
    }

    function _refuse(bytes memory data, address caller, bytes4 reason) private {
        vm.prank(caller);
        (bool success, bytes memory answer) = address(bench).call(data);
        require(!success, "it should have reverted");
        require(bytes4(answer) == reason, "reverted with another error");
    }
}
