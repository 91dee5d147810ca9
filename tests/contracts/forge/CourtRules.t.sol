// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IBench} from "../../../contracts/interfaces/IBench.sol";
import {IDisputeArbiter} from "../../../contracts/interfaces/IDisputeArbiter.sol";
import {IEscrow} from "../../../contracts/interfaces/IEscrow.sol";
import {ITreasury} from "../../../contracts/interfaces/ITreasury.sol";
import {Award, ChannelKey, Receipt} from "../../../contracts/interfaces/MarketTypes.sol";
import {RefusingToken} from "../../../contracts/mocks/HostileTokens.sol";
import {TestToken} from "../../../contracts/mocks/TestToken.sol";
import {CourtRefusals} from "./CourtRefusals.sol";

/// @dev Who may open, draw, appeal, close and enforce, and until when: each refusal, each last second and the one after it.
contract CourtRulesTest is CourtRefusals {
    // Opening

    function test_what_is_refused_of_openings() external {
        Award memory award = _claimed(true);
        _refuseOpen(award, STRANGER, IDisputeArbiter.NotParty.selector);
        _refuseOpen(award, PROVIDER, IDisputeArbiter.NotForThisCourt.selector); // it is paid if nobody disputes
        Award memory other = _copy(award);
        other.arbiter = ARBITER;
        _refuseOpen(other, REQUESTER, IDisputeArbiter.NotForThisCourt.selector);
        other.arbiter = address(court);
        other.token = address(1);
        _refuseOpen(other, REQUESTER, IDisputeArbiter.NotForThisCourt.selector);
        (uint128 least, uint128 greatest) = court.feeBounds();
        _assertEq(greatest, uint256(SEAT_STAKE) * 5 / 4, "greatest fee");
        other = _copy(award);
        other.disputeFee = least - 1;
        _refuseOpen(other, REQUESTER, IDisputeArbiter.NotForThisCourt.selector);
        other.disputeFee = greatest + 1;
        _refuseOpen(other, REQUESTER, IDisputeArbiter.NotForThisCourt.selector);
        other = _copy(award);
        other.offer = keccak256("another");
        _refuseOpen(other, REQUESTER, IDisputeArbiter.WrongSubject.selector);
        other = _copy(award);
        other.slot += 1; // the escrow doesn't know it
        _refuseOpen(other, REQUESTER, IDisputeArbiter.NotForThisCourt.selector);
        _refuseReceipt(award, IDisputeArbiter.NotForThisCourt.selector); // no channel
        award.rail = address(channels);
        bytes memory call_ = abi.encodeCall(court.open, (award, _courtOffer()));
        _refuseBy(REQUESTER, call_, IDisputeArbiter.NotForThisCourt.selector);
    }

    function test_what_the_escrow_refuses_the_court_refuses_by_the_same_name() external {
        Award memory award = _claimed(true);
        bytes32 id = _id(award);
        uint256 disputeBy = escrow.recordOf(id).time;
        vm.warp(disputeBy + 1);
        vm.prank(REQUESTER);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.TooLate.selector, id, disputeBy));
        court.open(award, _courtOffer());
        vm.warp(disputeBy);
        _open(award, REQUESTER);
    }

    function test_what_is_refused_of_receipts() external {
        Award memory award = _claimed(false);
        (Receipt memory receipt, bytes memory signature) = _receipt(award);
        receipt.due -= 1;
        _refuseReceipt(award, receipt, signature, ITreasury.BadSignature.selector);
        receipt.part = 4;
        _refuseReceipt(award, receipt, signature, IDisputeArbiter.WrongSubject.selector);
        receipt.award = 0;
        _refuseReceipt(award, receipt, signature, IDisputeArbiter.WrongSubject.selector);
        Award memory other = _copy(award);
        other.firstPart = 5;
        _refuseReceipt(other, IDisputeArbiter.WrongSubject.selector);
        other = _copy(award);
        other.resolveWithin = 59;
        _refuseReceipt(other, IDisputeArbiter.NotForThisCourt.selector);
        _refuseBy(
            STRANGER,
            abi.encodeCall(court.openOnChannel, (award, _courtOffer(), receipt, signature)),
            IDisputeArbiter.NotParty.selector
        );
    }

    function test_a_case_is_opened_once() external {
        Award memory award = _claimed(true);
        _open(award, REQUESTER);
        _refuseOpen(award, REQUESTER, IDisputeArbiter.CaseExists.selector);
        require(escrow.recordOf(_id(award)).state == IEscrow.State.Disputed, "the claim isn't disputed");
    }

    /// @dev A guardian that could keep cases out would decide the awards that wait for one: half to a cheat, nothing to a payee.
    function test_a_pause_keeps_no_case_out_of_court() external {
        vm.startPrank(GUARDIAN);
        court.pause();
        bench.pause();
        escrow.pause();
        channels.pause();
        vm.stopPrank();
        // What was agreed on before is judged as if there were no pause.
        vm.prank(GUARDIAN);
        escrow.resume();
        Award memory award = _claimed(true);
        vm.prank(GUARDIAN);
        escrow.pause();
        _open(award, REQUESTER);
        vm.warp(block.timestamp + 1);
        _open(_claimed(false), PROVIDER);
    }

    function test_a_claim_that_was_disputed_before_leaves_what_time_there_is() external {
        Award memory award = _claimed(true);
        _dispute(award);
        vm.warp(block.timestamp + 100);
        _open(award, REQUESTER);
        _assertEq(court.caseOf(_id(award)).time, RESOLVE_WITHIN - 100, "time");

        vm.warp(block.timestamp + 1);
        award = _claimed(true);
        _dispute(award);
        vm.warp(block.timestamp + RESOLVE_WITHIN - 59);
        _refuseOpen(award, REQUESTER, IDisputeArbiter.NotForThisCourt.selector);
        vm.warp(block.timestamp + 60);
        _refuseOpen(award, REQUESTER, IDisputeArbiter.NotForThisCourt.selector);
        escrow.split(award);
        _refuseOpen(award, REQUESTER, IDisputeArbiter.NotForThisCourt.selector);
    }

    function test_a_case_takes_no_longer_than_the_court_binds_a_stake() external {
        Award memory award = _claimed(false);
        award.resolveWithin = 1_000_000;
        _open(award, REQUESTER);
        _assertEq(court.caseOf(_id(award)).time, MAX_TIME, "time");
    }

    function test_a_channels_case_is_opened_by_either_side_within_two_paces_of_the_delivery() external {
        Award memory award = _claimed(false);
        vm.warp(award.deliverBy + 2 * PACE + 1);
        _refuseOpen(award, PROVIDER, IDisputeArbiter.TooLate.selector);
        vm.warp(award.deliverBy + 2 * PACE);
        _open(award, PROVIDER);
    }

    // Draws

    function test_a_committee_is_drawn_once_after_its_block_and_in_time_to_vote() external {
        Award memory award = _claimed(true);
        bytes32 id = _id(award);
        _refuse(abi.encodeCall(court.draw, (id, "")), IDisputeArbiter.NoOpenCase.selector);
        _open(award, REQUESTER);
        vm.roll(_roundOf(award).drawBlock);
        _refuse(abi.encodeCall(court.draw, (id, "")), IDisputeArbiter.DrawTooEarly.selector);
        vm.roll(_roundOf(award).drawBlock + 1);
        vm.warp(block.timestamp + RESOLVE_WITHIN / 6 + 1);
        _refuse(abi.encodeCall(court.draw, (id, "")), IDisputeArbiter.TooLate.selector);
        vm.warp(block.timestamp - 1);
        court.draw(id, "");
        _refuse(abi.encodeCall(court.draw, (id, "")), IDisputeArbiter.AlreadyDrawn.selector);
    }

    // Appeals and the end

    function test_what_is_refused_of_appeals() external {
        (Award memory award, address[] memory committee) = _sitting();
        _refuseAppeal(award, _courtOffer(), STRANGER, IDisputeArbiter.NotParty.selector);
        _refuseAppeal(award, _offer(1), PROVIDER, IDisputeArbiter.WrongSubject.selector);
        vm.warp(_openBy(award));
        _refuseAppeal(award, _courtOffer(), PROVIDER, IDisputeArbiter.TooEarly.selector);
        vm.warp(_openBy(award) + _length(award) / 6 + 1);
        _refuseAppeal(award, _courtOffer(), PROVIDER, IDisputeArbiter.TooLate.selector);
        vm.warp(_openBy(award) + _length(award) / 6);
        _appeal(award, PROVIDER); // an undecided round may be appealed too
        committee = _drawn(award);
        _settle(award, committee, _vote(WRONG, 0), 11);
        _appeal(award, PROVIDER);
        _settle(award, _drawn(award), _vote(WRONG, 0), 23);
        _refuseAppeal(award, _courtOffer(), PROVIDER, IDisputeArbiter.TooLate.selector);
    }

    function test_what_is_refused_of_closings() external {
        (Award memory award, address[] memory committee) = _sitting();
        IDisputeArbiter.Vote memory vote = _vote(WRONG, 0);
        IDisputeArbiter.Vote memory none;
        _settle(award, committee, vote, 5);
        uint256 appealBy = block.timestamp + _length(award) / 6;
        vm.warp(appealBy);
        _refuseClose(award, _one(committee), _one(vote), IDisputeArbiter.TooEarly.selector);
        vm.warp(appealBy + 1);
        _refuseClose(award, new address[][](0), _one(vote), IDisputeArbiter.WrongCommittee.selector);
        _refuseClose(award, _one(committee), new IDisputeArbiter.Vote[](2), IDisputeArbiter.WrongCommittee.selector);
        _refuseClose(award, _one(new address[](5)), _one(vote), IDisputeArbiter.WrongCommittee.selector);
        _refuseClose(award, _one(committee), _one(_vote(UPHELD, 0)), IDisputeArbiter.WrongCommittee.selector);
        _refuseClose(award, _one(committee), _one(none), IDisputeArbiter.WrongCommittee.selector);
        court.close(award, _one(committee), _one(vote));
        _refuseClose(award, _one(committee), _one(vote), IDisputeArbiter.NoOpenCase.selector);
    }

    function test_a_vote_that_the_chain_did_not_decide_closes_nothing() external {
        (Award memory award, address[] memory committee) = _sitting();
        IDisputeArbiter.Vote memory vote = _vote(WRONG, 0);
        IDisputeArbiter.Vote memory none;
        _voteOnChain(award, committee, 3, vote, 2, _vote(UPHELD, PRICE));
        _awaitClose(award);
        _refuseClose(award, _one(committee), _one(_vote(UPHELD, PRICE)), IDisputeArbiter.WrongVote.selector);
        _refuseClose(award, _one(committee), _one(none), IDisputeArbiter.WrongVote.selector);
        court.close(award, _one(committee), _one(vote));
        vm.warp(block.timestamp + 1);

        (award, committee) = _sitting();
        _voteOnChain(award, committee, 2, vote, 2, _vote(UPHELD, PRICE));
        _awaitClose(award);
        _refuseClose(award, _one(committee), _one(vote), IDisputeArbiter.WrongVote.selector);
        court.close(award, _one(committee), _one(none));
    }

    function test_a_round_without_majority_overturns_nothing() external {
        (Award memory award, address[] memory committee) = _sitting();
        IDisputeArbiter.Vote memory vote = _vote(WRONG, 0);
        address[][] memory committees = new address[][](2);
        committees[0] = committee;
        _settle(award, committee, vote, 5);
        _appeal(award, PROVIDER);
        committees[1] = _drawn(award);
        _voteOnChain(award, committees[1], 5, vote, 5, _vote(UPHELD, PRICE));
        IDisputeArbiter.Vote[] memory votes = new IDisputeArbiter.Vote[](2);
        votes[0] = vote;
        _close(award, committees, votes);
        require(escrow.recordOf(_id(award)).state == IEscrow.State.Judged, "not judged");
        _assertEq(reputation.accountOf(PROVIDER).stake, 0, "stake");
    }

    function test_each_finding_has_its_severity_and_its_loser() external {
        uint256[7] memory slashed = [uint256(0), 0, LIABILITY, LIABILITY / 2 + FEE, LIABILITY, 0, 0];
        for (uint256 finding = 1; finding <= 6; ++finding) {
            vm.warp(block.timestamp + 10_000);
            vm.roll(block.number + 100);
            Award memory award = _claimed(true);
            uint256 before = reputation.accountOf(PROVIDER).stake;
            _open(award, REQUESTER);
            address[] memory committee = _drawn(award);
            IDisputeArbiter.Vote memory vote = _vote(IDisputeArbiter.Finding(finding), PRICE / 2);
            _settle(award, committee, vote, 5);
            uint256 requester = token.balanceOf(REQUESTER);
            _close(award, committee, vote);
            _assertEq(before - reputation.accountOf(PROVIDER).stake, slashed[finding], "slashed");
            uint256 back = token.balanceOf(REQUESTER) - requester - PRICE / 2;
            // Upheld and inputs missing: the escrowed fee pays, the bond is back. Not judged: nobody's fee, so the bond pays.
            uint256 bounty = slashed[finding] == 0 ? 0 : MAX_BOUNTY;
            _assertEq(back, (finding == 1 || finding >= 5 ? FEE : 2 * FEE) + bounty, "bond, fee and bounty");
        }
    }

    function test_inputs_that_a_provider_opener_does_not_have_cost_its_lock_only_the_fee() external {
        Award memory award = _claimed(false);
        _open(award, PROVIDER);
        address[] memory committee = _drawn(award);
        IDisputeArbiter.Vote memory vote = _vote(IDisputeArbiter.Finding.InputsMissing, 0);
        _settle(award, committee, vote, 5);
        uint256 before = token.balanceOf(PROVIDER);
        _close(award, committee, vote);
        _assertEq(token.balanceOf(PROVIDER) - before, FEE, "the bond is back");
        _assertEq(reputation.accountOf(PROVIDER).stake, LIABILITY - FEE, "the lock paid the fee");
    }

    function test_a_lock_that_is_gone_slashes_nothing_and_the_bond_pays() external {
        Award memory award = _claimed(false);
        _open(award, REQUESTER);
        address[] memory committee = _drawn(award);
        IDisputeArbiter.Vote memory vote = _vote(WRONG, 0);
        _settle(award, committee, vote, 5);
        vm.warp(_lockedUntil(award) + 1);
        uint256 before = token.balanceOf(REQUESTER);
        court.close(award, _one(committee), _one(vote));
        _assertEq(token.balanceOf(REQUESTER), before, "requester");
        reputation.free(award);
        _assertEq(reputation.freeStakeOf(PROVIDER), LIABILITY, "stake");
    }

    // Channels

    function test_a_hold_is_enforced_as_the_case_decided_and_its_fee_repays_the_openers_bond() external {
        Award memory award = _claimed(false);
        vm.prank(REQUESTER);
        channels.open(REQUESTER, PROVIDER, address(token), 10 * PRICE);
        ChannelKey memory key = _key(1);
        uint128 amount = PRICE + FEE;
        _presentHold(award, key, amount);
        _open(award, PROVIDER);
        address[] memory committee = _drawn(award);
        IDisputeArbiter.Vote memory vote = _vote(UPHELD, PRICE);
        _settle(award, committee, vote, 5);
        bytes32[] memory proof = new bytes32[](0);
        bytes memory call_ = abi.encodeCall(court.enforce, (award, vote, key, amount, proof));
        _refuse(call_, IDisputeArbiter.NotDecided.selector);
        _close(award, committee, vote);
        bytes memory lie = abi.encodeCall(court.enforce, (award, _vote(WRONG, 0), key, amount, proof));
        _refuse(lie, IDisputeArbiter.WrongVote.selector);
        uint256 before = token.balanceOf(PROVIDER);
        vm.prank(STRANGER);
        court.enforce(award, vote, key, amount, proof);
        _assertEq(token.balanceOf(PROVIDER) - before, PRICE + FEE, "price, and the bond by the requester's fee");
        _presentHold(award, key, amount, 2, PRICE); // it paid as much for other work
        court.enforce(award, vote, key, amount, proof);
        _assertEq(token.balanceOf(PROVIDER) - before, 2 * PRICE + FEE, "once more on a newer voucher, and one fee");
    }

    /// @dev A token that refuses the court for a while leaves the escrow's fee behind. The opener's bond is not paid back by it any more, so it is the pool's.
    function test_what_a_rail_could_not_pay_goes_to_the_pool() external {
        RefusingToken fickle = new RefusingToken();
        token = TestToken(fickle);
        _enrich(REQUESTER);
        _enrich(PROVIDER);
        _raise();
        _raiseCourt(IBench.Randomness.BlockHash);
        _enlist(ARBITERS, 2);
        vm.expectPartialRevert(ITreasury.NoCredit.selector);
        court.sweep(address(escrow));

        (Award memory award, address[] memory committee) = _sitting();
        _settle(award, committee, _vote(UPHELD, PRICE), 5);
        fickle.setRefused(address(court), true);
        _close(award, committee, _vote(UPHELD, PRICE));
        _assertEq(escrow.creditOf(address(court), address(token)), FEE, "owed to the court");
        fickle.setRefused(address(court), false);
        vm.prank(STRANGER);
        court.sweep(address(escrow));
        _assertEq(token.balanceOf(POOL), FEE, "the pool has it");
    }
}
