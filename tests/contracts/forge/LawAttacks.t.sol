// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {IBench} from "../../../contracts/interfaces/IBench.sol";
import {IDisputeArbiter} from "../../../contracts/interfaces/IDisputeArbiter.sol";
import {ITreasury} from "../../../contracts/interfaces/ITreasury.sol";
import {Award} from "../../../contracts/interfaces/MarketTypes.sol";
import {FalseToken, FeeToken, ReentrantToken} from "../../../contracts/mocks/HostileTokens.sol";
import {TestToken} from "../../../contracts/mocks/TestToken.sol";
import {CourtRefusals} from "./CourtRefusals.sol";

/// @dev Known attacks on stakes and courts, replayed on ours. (Those on rails are in RailAttacks.)
contract LawAttacksTest is CourtRefusals {
    bytes32 private constant OPENING = keccak256("Opening(bytes32 award,uint8 round,bytes32 vote,bytes32 seals)");

    // ---------------------------------------------------------------------------------------------- the token calls back

    /// @dev While an opener's bond is on its way, every entry of the court is closed.
    function test_no_entry_of_the_court_is_open_while_it_takes_a_bond() external {
        ReentrantToken hostile = new ReentrantToken();
        _on(hostile);
        _enlist(ARBITERS, 2);
        Award memory decided = _claimed(false);
        _open(decided, REQUESTER);
        address[] memory committee = _drawn(decided);
        IDisputeArbiter.Vote memory vote = _vote(WRONG, 0);
        IDisputeArbiter.Quorum memory quorum = _quorum(decided, committee, vote, 5);
        bytes[6] memory payloads = [
            abi.encodeCall(court.draw, (_id(decided), "")),
            abi.encodeCall(court.settleByQuorum, (_id(decided), vote, quorum)),
            abi.encodeCall(court.sealVote, (_id(decided), committee, 0, bytes32("seal"))),
            abi.encodeCall(court.appeal, (decided, _courtOffer())),
            abi.encodeCall(court.close, (decided, _one(committee), _one(vote))),
            abi.encodeCall(court.sweep, (address(escrow)))
        ];
        for (uint256 i = 0; i < payloads.length; ++i) {
            vm.warp(block.timestamp + 1);
            Award memory award = _claimed(false);
            hostile.arm(address(court), payloads[i]);
            _open(award, REQUESTER);
            require(!hostile.reentered(), "a door was open");
            require(
                bytes4(hostile.answer()) == ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector,
                "closed by chance"
            );
            hostile.arm(address(0), "");
        }
    }

    /// @dev The bench takes what its court is paid, behind a lock of its own: a ticket bought in the middle of a bond would be
    /// counted for both, so the bond is refused.
    function test_a_ticket_bought_inside_a_bond_pays_for_one_of_them() external {
        ReentrantToken hostile = new ReentrantToken();
        _on(hostile);
        Award memory award = _claimed(false);
        hostile.mint(address(hostile), SEAT_STAKE);
        vm.prank(address(hostile));
        hostile.approve(address(bench), SEAT_STAKE);
        hostile.arm(address(bench), abi.encodeCall(bench.enlist, (ENGINE, 1, new uint32[](0))));
        _refuseReceipt(award, ITreasury.InexactDeposit.selector);
        _assertEq(bench.placesOf(ENGINE), 0, "tickets");
        _assertEq(hostile.balanceOf(address(bench)), 0, "money");
    }

    // ---------------------------------------------------------------------------------------------- bad tokens

    function test_a_token_with_a_fee_buys_no_ticket_and_opens_no_case() external {
        _on(new FeeToken());
        address who = _arbiter(0);
        token.mint(who, 1e12);
        _approve(who);
        vm.prank(who);
        vm.expectPartialRevert(ITreasury.InexactDeposit.selector);
        bench.enlist(ENGINE, 1, new uint32[](0));
        Award memory award = _awardOnChannel();
        _refuseReceipt(award, ITreasury.InexactDeposit.selector);
    }

    /// @dev A payout that is answered with "false" is owed, and paid when the token comes to its senses.
    function test_a_token_that_answers_false_owes_what_it_did_not_pay() external {
        FalseToken liar = new FalseToken();
        _on(liar);
        _enlist(ARBITERS, 2);
        Award memory award = _claimed(false);
        _open(award, REQUESTER);
        address[] memory committee = _drawn(award);
        IDisputeArbiter.Vote memory vote = _vote(WRONG, 0);
        _settle(award, committee, vote, 5);
        liar.setFailing(true);
        _close(award, committee, vote);
        // Its bond by the fee that the lock paid, and the bounty; the committee keeps the bond.
        _assertEq(reputation.creditOf(REQUESTER, address(liar)), uint256(FEE) + MAX_BOUNTY, "owed to the requester");
        _assertEq(reputation.creditOf(POOL, address(liar)), LIABILITY - FEE - MAX_BOUNTY, "owed to the pool");
        vm.warp(block.timestamp + COOLDOWN);
        vm.prank(committee[0]);
        uint256 amount = bench.collect();
        _assertEq(bench.creditOf(committee[0], address(liar)), amount, "owed to the arbiter");
        address refused = _arbiter(ARBITERS);
        vm.prank(refused);
        (bool enlisted,) = address(bench).call(abi.encodeCall(bench.enlist, (ENGINE, 1, new uint32[](0))));
        (bool staked,) = address(reputation).call(abi.encodeCall(reputation.stake, (PROVIDER, 1)));
        require(!enlisted && !staked, "a deposit of nothing");
        liar.setFailing(false);
        uint256 before = liar.balanceOf(committee[0]);
        vm.prank(committee[0]);
        bench.withdrawCredit(address(liar), committee[0]);
        _assertEq(liar.balanceOf(committee[0]) - before, amount, "paid");
    }

    // ---------------------------------------------------------------------------------------------- signatures

    /// @dev The opening of a quorum is for one court, chain, case, round, vote and set of seals.
    function test_an_opening_for_anything_else_is_worth_nothing_here() external {
        (Award memory award, address[] memory committee) = _sitting();
        IDisputeArbiter.Vote memory vote = _vote(WRONG, 0);
        IDisputeArbiter.Quorum memory good = _quorum(award, committee, vote, 5);
        bytes32[] memory seals = new bytes32[](5);
        for (uint256 seat = 0; seat < 5; ++seat) {
            seals[seat] = court.sealOf(_hash(vote), committee[seat], _secret(seat));
        }
        bytes32 all = keccak256(abi.encodePacked(seals));
        bytes32 id = _id(award);
        bytes32 voted = _hash(vote);
        bytes32[5] memory wrong = [
            hashes.digest(block.chainid, address(bench), keccak256(abi.encode(OPENING, id, 0, voted, all))),
            hashes.digest(block.chainid, address(court), keccak256(abi.encode(OPENING, ~id, 0, voted, all))),
            hashes.digest(block.chainid, address(court), keccak256(abi.encode(OPENING, id, 1, voted, all))),
            hashes.digest(block.chainid, address(court), keccak256(abi.encode(OPENING, id, 0, ~voted, all))),
            hashes.digest(block.chainid, address(court), keccak256(abi.encode(OPENING, id, 0, voted, ~all)))
        ];
        for (uint256 i = 0; i < wrong.length; ++i) {
            IDisputeArbiter.Quorum memory bad = good;
            bad.signatures = _signedBy(committee, wrong[i]);
            _refuseQuorum(award, vote, bad, ITreasury.BadSignature.selector);
        }
        good = _quorum(award, committee, vote, 5);
        bytes memory call_ = abi.encodeCall(court.settleByQuorum, (id, vote, good));
        uint256 home = 31_337; // the test machine's chain
        vm.chainId(home + 1); // it splits, and the case with it
        _refuse(call_, ITreasury.BadSignature.selector);
        vm.chainId(home);
        (bool success,) = address(court).call(call_);
        require(success, "here it counts");
        // Nor does what was said count a second time: the round is over.
        _refuse(call_, IDisputeArbiter.TooLate.selector);
    }

    // ---------------------------------------------------------------------------------------------- helpers

    function _signedBy(address[] memory committee, bytes32 digest) private view returns (bytes memory signatures) {
        for (uint256 seat = 0; seat < committee.length; ++seat) {
            signatures = bytes.concat(signatures, _sign(keyOf[committee[seat]], digest));
        }
    }

    /// @dev Stakes and court for another token.
    function _on(TestToken other) private {
        token = other;
        _enrich(REQUESTER);
        _enrich(PROVIDER);
        _raise();
        _raiseCourt(IBench.Randomness.BlockHash);
    }

    function _awardOnChannel() private view returns (Award memory award) {
        award = _award(PRICE, FEE);
        award.offer = _offerId(_courtOffer());
        award.arbiter = address(court);
        award.rail = address(channels);
    }
}
