// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDisputeArbiter} from "../../../contracts/interfaces/IDisputeArbiter.sol";
import {IEscrow} from "../../../contracts/interfaces/IEscrow.sol";
import {IReputation} from "../../../contracts/interfaces/IReputation.sol";
import {Acceptance, Award, Receipt, Settlement} from "../../../contracts/interfaces/MarketTypes.sol";
import {CourtRefusals} from "./CourtRefusals.sol";
import {Vm} from "./Vm.sol";

/// @dev What the court refuses by itself, where no other contract would refuse it in its place; and whose money it is when
/// opener and appellant are two.
contract CourtEdgesTest is CourtRefusals {
    /// @dev Over a channel: an escrow that doesn't know the award would be the one to refuse.
    function test_a_court_hears_awards_that_name_it_in_its_token_at_a_fee_within_its_bounds() external {
        (uint128 least, uint128 greatest) = court.feeBounds();
        Award memory award = _claimed(false);
        award.arbiter = ARBITER;
        _refuseReceipt(award, IDisputeArbiter.NotForThisCourt.selector);
        (award.arbiter, award.token) = (address(court), address(1));
        _refuseReceipt(award, IDisputeArbiter.NotForThisCourt.selector);
        (award.token, award.disputeFee) = (address(token), least - 1);
        _refuseReceipt(award, IDisputeArbiter.NotForThisCourt.selector);
        award.disputeFee = greatest + 1;
        _refuseReceipt(award, IDisputeArbiter.NotForThisCourt.selector);
        award.disputeFee = greatest;
        _open(award, REQUESTER);
    }

    function test_a_receipt_of_another_award_opens_no_case() external {
        Award memory award = _claimed(false);
        Award memory other = _copy(award);
        other.slot += 1;
        (Receipt memory receipt, bytes memory signature) = _receipt(other);
        _refuseReceipt(award, receipt, signature, IDisputeArbiter.WrongSubject.selector);
    }

    /// @dev A quorum was paid when it settled: nobody is told of its seats again.
    function test_a_quorum_that_stands_is_not_told_of_twice() external {
        (Award memory award, address[] memory committee) = _sitting();
        IDisputeArbiter.Vote memory vote = _vote(WRONG, 0);
        _settle(award, committee, vote, 4);
        _awaitClose(award);
        vm.recordLogs();
        court.close(award, _one(committee), _one(vote));
        Vm.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i = 0; i < logs.length; ++i) {
            require(logs[i].topics[0] != IDisputeArbiter.SeatsEnded.selector, "told of seats that were paid before");
        }
    }

    /// @dev The requester's acceptance frees the lock amid the case: there is nothing to slash, and the case ends all the same.
    function test_a_lock_that_an_acceptance_freed_stops_no_close() external {
        Award memory award = _claimed(false);
        _open(award, REQUESTER);
        address[] memory committee = _drawn(award);
        IDisputeArbiter.Vote memory vote = _vote(WRONG, 0);
        _settle(award, committee, vote, 5);
        (Acceptance memory acceptance, bytes memory signature) = _acceptance(award, 3, award.price);
        reputation.freeAccepted(award, acceptance, signature);
        _awaitClose(award);
        require(block.timestamp <= _lockedUntil(award), "the lock is over anyway");
        court.close(award, _one(committee), _one(vote));
        require(reputation.lockOf(_id(award)).state == IReputation.LockState.Freed, "lock");
        _assertEq(reputation.freeStakeOf(PROVIDER), LIABILITY, "stake");
    }

    /// @dev In a committee of one, one vote would be the majority.
    function test_a_vote_is_opened_before_the_whole_committee() external {
        (Award memory award, address[] memory committee) = _sitting();
        IDisputeArbiter.Vote memory vote = _vote(WRONG, 0);
        for (uint256 seat = 0; seat < 5; ++seat) {
            _seal(award, committee, seat, vote);
        }
        address[] memory alone = new address[](1);
        alone[0] = committee[0];
        _refuse(_openCall(_id(award), alone, 0, vote, _secret(0)), IDisputeArbiter.WrongCommittee.selector);
        court.openVote(_id(award), committee, 0, vote, _secret(0));
        require(_roundOf(award).stage == IDisputeArbiter.Stage.Voting, "decided by one");
    }

    /// @dev Four open; the fifth sealed the same vote and kept silent: a tenth of a stake, and no fee.
    function test_a_seat_that_sealed_and_never_opened_counts_as_absent() external {
        (Award memory award, address[] memory committee) = _sitting();
        IDisputeArbiter.Vote memory vote = _vote(WRONG, 0);
        for (uint256 seat = 0; seat < 5; ++seat) {
            _seal(award, committee, seat, vote);
        }
        for (uint256 seat = 0; seat < 4; ++seat) {
            court.openVote(_id(award), committee, seat, vote, _secret(seat));
        }
        address silent = committee[4];
        uint256 others = 0;
        for (uint256 seat = 0; seat < 4; ++seat) {
            if (committee[seat] == silent) ++others;
        }
        uint256 before = bench.accountOf(silent).balance;
        _close(award, committee, vote);
        _assertEq(bench.accountOf(silent).balance + SEAT_STAKE / 10, before + others * SEAT_FEE, "a tenth");
    }

    /// @dev The requester opens, nobody draws, and the provider appeals and is upheld. The requester's bond has come back to it as
    /// its own fee, so the bond itself is the appellant's, of whose own the second committee leaves nothing.
    function test_the_bond_of_a_round_that_nobody_drew_pays_who_was_right_and_not_its_opener() external {
        Award memory award = _claimed(true);
        uint256 requester = token.balanceOf(REQUESTER);
        uint256 provider = token.balanceOf(PROVIDER);
        _open(award, REQUESTER);
        vm.warp(_openBy(award) + 1);
        _appeal(award, PROVIDER);
        address[][] memory committees = new address[][](2);
        IDisputeArbiter.Vote[] memory votes = new IDisputeArbiter.Vote[](2);
        votes[1] = _vote(UPHELD, PRICE);
        committees[1] = _drawn(award);
        _settle(award, committees[1], votes[1], 11);
        _close(award, committees, votes);
        _assertEq(token.balanceOf(REQUESTER), requester, "requester");
        _assertEq(token.balanceOf(PROVIDER) + 11 * SEAT_FEE, provider + PRICE + FEE, "provider");
    }

    /// @dev The loser settles in the block of the close, before it. What is closed carries that second, and is not judged once more.
    function test_who_agrees_in_the_second_of_the_close_does_not_stop_it() external {
        (Award memory award, address[] memory committee) = _sitting();
        IDisputeArbiter.Vote memory vote = _vote(UPHELD, PRICE);
        _settle(award, committee, vote, 5);
        Settlement memory agreed = Settlement({award: _id(award), due: PRICE / 4, settleBy: type(uint64).max});
        bytes32 digest = _marketDigest(hashes.hashSettlement(agreed));
        _awaitClose(award);
        escrow.settle(award, agreed, _sign(REQUESTER_KEY, digest), _sign(PROVIDER_KEY, digest));
        _assertEq(escrow.recordOf(_id(award)).time, block.timestamp, "closed now");
        court.close(award, _one(committee), _one(vote));
        require(escrow.recordOf(_id(award)).state == IEscrow.State.Settled, "what they agreed on");
    }

    /// @dev Of the findings that free the lock, the escrow takes the requester's fee for two only: and for missing inputs only if
    /// the requester went to court. What it tells, and the money, of each finding and each opener.
    function test_each_finding_tells_the_escrow_who_pays_the_fee() external {
        uint8 lost = 1; // FINDING_REQUESTER_LOST
        uint8[7] memory byRequester = [0, lost, 2, 3, 4, lost, 6];
        uint8[7] memory byProvider = [0, lost, 2, 3, 4, 5, 6];
        for (uint8 finding = 1; finding <= 6; ++finding) {
            _judged(IDisputeArbiter.Finding(finding), REQUESTER, byRequester[finding]);
            _judged(IDisputeArbiter.Finding(finding), PROVIDER, byProvider[finding]);
        }
    }

    function _judged(IDisputeArbiter.Finding finding, address opener, uint8 told) private {
        vm.warp(block.timestamp + 10_000);
        vm.roll(block.number + 100);
        Award memory award = _claimed(true);
        _dispute(award);
        _open(award, opener);
        address[] memory committee = _drawn(award);
        IDisputeArbiter.Vote memory vote = _vote(finding, PRICE / 2);
        _settle(award, committee, vote, 5);
        _awaitClose(award);
        uint256 escrowed = token.balanceOf(address(escrow));
        uint256 provider = token.balanceOf(PROVIDER);
        bytes32 id = _id(award);
        vm.expectEmit(true, true, true, true);
        emit IEscrow.Judged(id, address(court), told, PRICE / 2);
        court.close(award, _one(committee), _one(vote));
        _assertEq(escrowed - token.balanceOf(address(escrow)), PRICE + FEE, "all that was locked is paid");
        // A provider that opened has its bond back: from the requester's fee, or from its own lock; not for what nobody can judge.
        bool isBack = opener == PROVIDER && finding != IDisputeArbiter.Finding.NotJudged;
        _assertEq(token.balanceOf(PROVIDER) - provider, PRICE / 2 + (isBack ? FEE : 0), "half the price, and its bond");
    }
}
