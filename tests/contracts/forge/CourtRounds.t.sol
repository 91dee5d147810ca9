// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDisputeArbiter} from "../../../contracts/interfaces/IDisputeArbiter.sol";
import {Award, ChannelKey, Offer, Receipt} from "../../../contracts/interfaces/MarketTypes.sol";
import {CourtRefusals} from "./CourtRefusals.sol";
import {Vm} from "./Vm.sol";

/// @dev What a round leaves behind, by which a later call knows its committee and its decision. Each was a mutant that no other
/// test noticed.
contract CourtRoundsTest is CourtRefusals {
    /// @dev A round left out would not have happened; one too many would bring a bond that nobody put down.
    function test_a_case_is_closed_with_all_of_its_rounds_and_no_other() external {
        (Award memory award, address[] memory committee) = _sitting();
        IDisputeArbiter.Vote memory vote = _vote(WRONG, 0);
        address[][] memory committees = new address[][](2);
        IDisputeArbiter.Vote[] memory votes = new IDisputeArbiter.Vote[](2);
        (committees[0], committees[1], votes[0]) = (committee, committee, vote);
        _settle(award, committee, vote, 5);
        uint256 settled = vm.snapshotState();
        _awaitClose(award);
        _refuseClose(award, committees, votes, IDisputeArbiter.WrongCommittee.selector);
        _refuseClose(award, _one(committee), votes, IDisputeArbiter.WrongCommittee.selector);
        _refuseClose(award, committees, _one(vote), IDisputeArbiter.WrongCommittee.selector);

        vm.revertToState(settled);
        _appeal(award, PROVIDER);
        committees[1] = _drawn(award);
        votes[1] = _vote(UPHELD, PRICE);
        _settle(award, committees[1], votes[1], 11);
        _awaitClose(award);
        _refuseClose(award, _one(committee), _one(vote), IDisputeArbiter.WrongCommittee.selector);
        court.close(award, committees, votes);
        _assertEq(reputation.accountOf(PROVIDER).stake, LIABILITY, "stake");
    }

    /// @dev Before a draw the engine stands where the committee's hash will: whoever chose an engine by the hash of five names would sit.
    function test_an_engine_that_is_the_hash_of_a_committee_seats_nobody() external {
        address[] memory own = new address[](5);
        for (uint256 seat = 0; seat < 5; ++seat) {
            own[seat] = STRANGER;
        }
        Offer memory offer = _courtOffer();
        offer.engine = keccak256(abi.encodePacked(own));
        Award memory award = _claimed(false);
        award.offer = _offerId(offer);
        bytes32 id = _id(award);
        (Receipt memory receipt, bytes memory signature) = _receipt(award);
        vm.prank(REQUESTER);
        court.openOnChannel(award, offer, receipt, signature);
        require(court.headOf(id, 0) == offer.engine, "the engine isn't kept");
        IDisputeArbiter.Vote memory vote = _vote(WRONG, 0);
        bytes32 seal = court.sealOf(_hash(vote), STRANGER, _secret(0));
        _refuse(_sealCall(id, own, 0, seal), IDisputeArbiter.WrongCommittee.selector);
        vm.warp(_sealBy(award) + 1);
        _refuse(_openCall(id, own, 0, vote, _secret(0)), IDisputeArbiter.WrongCommittee.selector);
    }

    /// @dev Bits of seats begin at the first: a committee whose first seat alone kept silent.
    function test_the_first_seat_is_absent_like_any_other() external {
        (Award memory award, address[] memory committee) = _sitting();
        bytes32 id = _id(award);
        IDisputeArbiter.Vote memory vote = _vote(WRONG, 0);
        for (uint256 seat = 1; seat < 5; ++seat) {
            _seal(award, committee, seat, vote);
        }
        vm.warp(_sealBy(award) + 1);
        for (uint256 seat = 1; seat < 5; ++seat) {
            court.openVote(id, committee, seat, vote, _secret(seat));
        }
        uint256 before = _sum(committee, 5);
        _awaitClose(award);
        vm.expectEmit(true, true, true, true);
        emit IDisputeArbiter.SeatsEnded(id, 0, 30, 0, 1);
        court.close(award, _one(committee), _one(vote));
        _assertEq(_sum(committee, 5) + SEAT_STAKE / 10, before + 4 * SEAT_FEE, "four fees, and a tenth of a stake");
    }

    function test_a_majority_is_told_once_though_more_open_the_same() external {
        (Award memory award, address[] memory committee) = _sitting();
        IDisputeArbiter.Vote memory vote = _vote(WRONG, 0);
        for (uint256 seat = 0; seat < 4; ++seat) {
            _seal(award, committee, seat, vote);
        }
        vm.warp(_sealBy(award) + 1);
        for (uint256 seat = 0; seat < 3; ++seat) {
            court.openVote(_id(award), committee, seat, vote, _secret(seat));
        }
        require(_roundOf(award).stage == IDisputeArbiter.Stage.Decided, "no majority");
        vm.recordLogs();
        court.openVote(_id(award), committee, 3, vote, _secret(3));
        Vm.Log[] memory logs = vm.getRecordedLogs();
        require(logs.length == 1 && logs[0].topics[0] == IDisputeArbiter.VoteOpened.selector, "told of more");
        _assertEq(_roundOf(award).openedSeats, 15, "and counted");
    }

    /// @dev A seat can lose its stake until the last second that the case can have from its round on: all of it, half, a quarter.
    function test_the_seats_of_each_round_are_bound_as_long_as_the_case_can_last() external {
        (Award memory award, address[] memory committee) = _sitting();
        for (uint256 i = 0; i < 3; ++i) {
            if (i != 0) {
                vm.warp(block.timestamp + 10);
                _appeal(award, PROVIDER);
                committee = _drawn(award);
            }
            for (uint256 seat = 0; seat < committee.length; ++seat) {
                uint256 until = bench.accountOf(committee[seat]).servingUntil;
                require(until >= _roundOf(award).began + (RESOLVE_WITHIN >> i), "let go too early");
                require(until <= T0 + RESOLVE_WITHIN, "bound beyond the case");
            }
            _settle(award, committee, _vote(WRONG, 0), committee.length);
        }
    }

    /// @dev The fee of a hold repays the bond of who opened the case, and not of who appealed.
    function test_after_an_appeal_the_fee_of_a_hold_is_still_the_openers() external {
        Award memory award = _claimed(false);
        vm.prank(REQUESTER);
        channels.open(REQUESTER, PROVIDER, address(token), 10 * PRICE);
        ChannelKey memory key = _key(1);
        _presentHold(award, key, PRICE + FEE);
        _open(award, PROVIDER);
        address[][] memory committees = new address[][](2);
        IDisputeArbiter.Vote[] memory votes = new IDisputeArbiter.Vote[](2);
        (votes[0], votes[1]) = (_vote(UPHELD, PRICE), _vote(UPHELD, PRICE));
        committees[0] = _drawn(award);
        _settle(award, committees[0], votes[0], 5);
        _appeal(award, REQUESTER);
        committees[1] = _drawn(award);
        _settle(award, committees[1], votes[1], 11);
        _close(award, committees, votes);
        uint256 before = token.balanceOf(PROVIDER);
        court.enforce(award, votes[1], key, PRICE + FEE, new bytes32[](0));
        _assertEq(token.balanceOf(PROVIDER) - before, PRICE + FEE, "the price, and the opener's bond");
    }

    /// @dev A fee that five seats can't share evenly: what is left is one unit, and goes where all goes that is left.
    function test_a_single_unit_that_is_left_goes_to_the_pool() external {
        Award memory award = _claimed(false);
        award.disputeFee = 5 * SEAT_FEE + 1;
        _open(award, REQUESTER);
        address[] memory committee = _drawn(award);
        _settle(award, committee, _vote(UPHELD, PRICE), 5);
        _close(award, committee, _vote(UPHELD, PRICE));
        _assertEq(token.balanceOf(POOL), 1, "pool");
    }

    function test_a_seal_and_what_a_quorum_leaves_are_hashed_as_written_down() external {
        (Award memory award, address[] memory committee) = _sitting();
        IDisputeArbiter.Vote memory vote = _vote(WRONG, 0);
        bytes32 seal = court.sealOf(~bytes32(0), address(type(uint160).max), ~bytes32(0));
        require(seal == keccak256(abi.encode(~bytes32(0), type(uint160).max, ~bytes32(0))), "seal of all ones");
        seal = court.sealOf(_hash(vote), committee[0], _secret(0));
        require(seal == keccak256(abi.encode(_hash(vote), committee[0], _secret(0))), "seal");
        _settle(award, committee, vote, 4);
        bytes32 drawn = keccak256(abi.encodePacked(committee));
        require(_headOf(award) == keccak256(abi.encode(drawn, _hash(vote))), "committee and vote");
    }
}
