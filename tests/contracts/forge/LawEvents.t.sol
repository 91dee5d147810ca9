// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IBench} from "../../../contracts/interfaces/IBench.sol";
import {IDisputeArbiter} from "../../../contracts/interfaces/IDisputeArbiter.sol";
import {IReputation} from "../../../contracts/interfaces/IReputation.sol";
import {Acceptance, Award, Commitment, Offer, Receipt, Start} from "../../../contracts/interfaces/MarketTypes.sol";
import {CourtRefusals} from "./CourtRefusals.sol";
import {Vm} from "./Vm.sol";

/// @dev What stakes, court and bench tell: nodes learn of the chain by these events alone, so each field counts.
contract LawEventsTest is CourtRefusals {
    uint128 private constant BONUS = PRICE / 20;

    /// @dev The next call emits what is emitted next.
    function _next() private {
        vm.expectEmit(true, true, true, true);
    }

    // Stakes

    function test_a_stake_tells_of_its_way_in_and_out() external {
        _next();
        emit IReputation.Staked(STRANGER, PROVIDER, 700);
        vm.prank(PROVIDER);
        reputation.stake(STRANGER, 700);
        _next();
        emit IReputation.LeaveRequested(STRANGER, 400, uint64(block.timestamp) + COOLDOWN);
        vm.prank(STRANGER);
        reputation.unstake(400);
        vm.warp(block.timestamp + COOLDOWN + 1);
        _next();
        emit IReputation.Withdrawn(STRANGER, 400);
        vm.prank(STRANGER);
        reputation.withdraw();
        _next();
        emit IReputation.ScoresAnchored(STRANGER, 3, "root");
        vm.prank(STRANGER);
        reputation.anchor(3, "root");
    }

    function test_a_lock_tells_of_its_beginning_its_bonus_and_its_end() external {
        Award memory award = _liable(PRICE, FEE);
        bytes32 id = _id(award);
        _stake(LIABILITY);
        Start memory none;
        _next();
        emit IReputation.LiabilityLocked(id, PROVIDER, LIABILITY, uint64(_lockedUntil(award)));
        vm.prank(PROVIDER);
        reputation.lock(award, none, "");
        _next();
        emit IReputation.BonusDeposited(id, REQUESTER, BONUS);
        _bonus(award);
        (Acceptance memory acceptance, bytes memory signature) = _acceptance(award, 3, PRICE);
        _next();
        emit IReputation.LiabilityFreed(id, PROVIDER, LIABILITY);
        _next();
        emit IReputation.BonusPaid(id, PROVIDER, BONUS, true);
        reputation.freeAccepted(award, acceptance, signature);
    }

    /// @dev No two of the amounts are equal, so none can stand for another.
    function test_a_slash_tells_who_got_what() external {
        Award memory award = _liable(PRICE, FEE - 1);
        _stake(LIABILITY);
        bytes32 id = _lock(award);
        _bonus(award);
        _next();
        emit IReputation.LiabilitySlashed(id, PROVIDER, ARBITER, FEE - 1, MAX_BOUNTY, LIABILITY / 2 - MAX_BOUNTY);
        _next();
        emit IReputation.BonusPaid(id, REQUESTER, BONUS, false);
        vm.prank(ARBITER);
        reputation.slash(award, 5000, STRANGER);
    }

    function test_a_contradiction_tells_what_it_cost() external {
        _stake(LIABILITY);
        Offer memory offer = _offer(600);
        bytes32 id = _offerId(offer);
        (Commitment memory one, bytes memory by) = _commit(offer, "one");
        (Commitment memory other, bytes memory otherBy) = _commit(offer, "other");
        _next();
        emit IReputation.ContradictionPunished(id, PROVIDER, STRANGER, 600, 300);
        vm.prank(STRANGER);
        reputation.punishCommitments(offer, one, by, other, otherBy);
    }

    // The bench

    function test_the_bench_tells_of_its_tickets() external {
        address who = _arbiter(ARBITERS);
        token.mint(who, 1e12);
        _approve(who);
        uint32 place = uint32(2 * ARBITERS);
        _next();
        emit IBench.Enlisted(ENGINE, who, place);
        _next();
        emit IBench.Enlisted(ENGINE, who, place + 1);
        vm.prank(who);
        bench.enlist(ENGINE, 2, new uint32[](0));
        uint32[] memory places = new uint32[](1);
        places[0] = place + 1;
        _next();
        emit IBench.Resigned(ENGINE, who, place + 1);
        vm.prank(who);
        bench.resign(ENGINE, places);
        vm.warp(block.timestamp + COOLDOWN + 1);
        _next();
        emit IBench.Collected(who, SEAT_STAKE);
        vm.prank(who);
        bench.collect();
        vm.roll(block.number + 8300);
        _next();
        emit IBench.Pruned(ENGINE, place + 1);
        bench.prune(ENGINE, 1);
    }

    // The court

    function test_a_case_tells_of_its_opening_its_draw_and_its_quorum() external {
        Award memory award = _claimed(false);
        bytes32 id = _id(award);
        Offer memory offer = _courtOffer();
        (Receipt memory receipt, bytes memory signature) = _receipt(award);
        bytes32 receiptDigest = _marketDigest(hashes.hashReceipt(receipt));
        uint256 places = bench.placesOf(ENGINE);
        _next();
        emit IDisputeArbiter.CaseOpened(id, PROVIDER, ENGINE, 3, receiptDigest);
        _next();
        emit IDisputeArbiter.DrawRequested(id, 0, block.number + 2, places);
        vm.prank(PROVIDER);
        court.openOnChannel(award, offer, receipt, signature);
        IDisputeArbiter.Round memory round = _roundOf(award);
        vm.roll(round.drawBlock + 1);
        address[] memory committee = _predict(id, round);
        _next();
        emit IDisputeArbiter.CommitteeDrawn(id, 0, committee);
        court.draw(id, "");
        IDisputeArbiter.Vote memory vote = _vote(WRONG, 0);
        IDisputeArbiter.Quorum memory quorum = _quorum(award, committee, vote, 3);
        _next();
        emit IDisputeArbiter.RoundDecided(id, 0, 7, vote);
        court.settleByQuorum(id, vote, quorum);
    }

    function test_a_case_tells_of_its_votes_and_its_end() external {
        (Award memory award, address[] memory committee) = _sitting();
        bytes32 id = _id(award);
        IDisputeArbiter.Vote memory vote = _vote(IDisputeArbiter.Finding.Overbilled, 77);
        bytes32 seal = court.sealOf(_hash(vote), committee[0], _secret(0));
        _next();
        emit IDisputeArbiter.VoteSealed(id, 0, 0, seal);
        vm.prank(committee[0]);
        court.sealVote(id, committee, 0, seal);
        for (uint256 seat = 1; seat < 4; ++seat) {
            _seal(award, committee, seat, seat == 3 ? _vote(UPHELD, PRICE) : vote);
        }
        vm.warp(_sealBy(award) + 1);
        court.openVote(id, committee, 3, _vote(UPHELD, PRICE), _secret(3));
        court.openVote(id, committee, 0, vote, _secret(0));
        court.openVote(id, committee, 1, vote, _secret(1));
        _next();
        emit IDisputeArbiter.VoteOpened(id, 0, 2, vote);
        _next();
        emit IDisputeArbiter.RoundDecided(id, 0, 7, vote);
        court.openVote(id, committee, 2, vote, _secret(2));
        _awaitClose(award);
        _next();
        emit IDisputeArbiter.SeatsEnded(id, 0, 7, 8, 16);
        _next();
        emit IDisputeArbiter.CaseClosed(id, IDisputeArbiter.Finding.Overbilled, 77, 5000);
        court.close(award, _one(committee), _one(vote));
    }

    function test_of_a_bonus_that_nobody_gave_nothing_is_told() external {
        Award memory award = _claimed(false);
        (Acceptance memory acceptance, bytes memory signature) = _acceptance(award, 3, award.price);
        vm.recordLogs();
        reputation.freeAccepted(award, acceptance, signature);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        require(logs.length == 1 && logs[0].topics[0] == IReputation.LiabilityFreed.selector, "more than the lock");
    }

    function test_an_appeal_and_a_case_without_a_decision_are_told() external {
        (Award memory award, address[] memory committee) = _sitting();
        bytes32 id = _id(award);
        Offer memory offer = _courtOffer();
        vm.warp(_openBy(award) + 1);
        uint256 places = bench.placesOf(ENGINE);
        _next();
        emit IDisputeArbiter.Appealed(id, 1, PROVIDER, 11 * SEAT_FEE);
        _next();
        emit IDisputeArbiter.DrawRequested(id, 1, block.number + 2, places);
        vm.prank(PROVIDER);
        court.appeal(award, offer);
        address[][] memory committees = new address[][](2);
        committees[0] = committee;
        _awaitClose(award);
        _next();
        emit IDisputeArbiter.CaseClosed(id, IDisputeArbiter.Finding.None, 0, 0);
        court.close(award, committees, new IDisputeArbiter.Vote[](2));
    }
}
