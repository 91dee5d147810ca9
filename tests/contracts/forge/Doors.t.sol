// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {IDisputeArbiter} from "../../../contracts/interfaces/IDisputeArbiter.sol";
import {ITreasury} from "../../../contracts/interfaces/ITreasury.sol";
import {
    Acceptance,
    Award,
    ChannelKey,
    Close,
    Commitment,
    Offer,
    Receipt,
    Roll,
    Settlement,
    Start,
    Verdict,
    Voucher
} from "../../../contracts/interfaces/MarketTypes.sol";
import {ReentrantToken} from "../../../contracts/mocks/HostileTokens.sol";
import {TestToken} from "../../../contracts/mocks/TestToken.sol";
import {CourtFixture} from "./CourtFixture.sol";

/// @dev Every entry of every contract, tried from within a transfer of a token that calls back. The guard speaks first,
/// so what the call carries doesn't matter: it is the guard's answer that is asked for, and no other.
contract DoorsTest is CourtFixture {
    ReentrantToken private hostile;
    bytes[] private doors;

    Acceptance private acceptance;
    Award private award;
    ChannelKey private key;
    Offer private offer;
    Receipt private receipt;
    Start private start;
    Verdict private verdict;
    IDisputeArbiter.Vote private vote;
    ITreasury.Authorization private authorization;

    function setUp() public override {
        super.setUp();
        hostile = new ReentrantToken();
        token = TestToken(address(hostile));
        _enrich(REQUESTER);
        _enrich(PROVIDER);
        _raise();
        _raiseCourt(bench.randomness());
        _moneysDoors();
    }

    function test_no_door_of_a_channel_is_open_while_money_comes_in() external {
        Close memory close;
        Voucher memory voucher;
        bytes32[] memory proof;
        doors.push(abi.encodeCall(channels.open, (REQUESTER, PROVIDER, address(token), 1)));
        doors.push(
            abi.encodeCall(
                channels.openByAuthorization, (REQUESTER, PROVIDER, address(token), 1, REQUESTER, authorization)
            )
        );
        doors.push(abi.encodeCall(channels.topUp, (key, 1)));
        doors.push(abi.encodeCall(channels.claim, (key, voucher, "")));
        doors.push(abi.encodeCall(channels.claimMany, (PROVIDER, address(token), "")));
        doors.push(abi.encodeCall(channels.present, (key, voucher, "", "")));
        doors.push(abi.encodeCall(channels.startExit, (key)));
        doors.push(abi.encodeCall(channels.withdraw, (key)));
        doors.push(abi.encodeCall(channels.close, (key, close, "", "")));
        doors.push(abi.encodeCall(channels.enforce, (key, award, 1, proof, verdict, "")));
        for (uint256 i = 0; i < doors.length; ++i) {
            hostile.arm(address(channels), doors[i]);
            vm.prank(REQUESTER);
            channels.open(REQUESTER, PROVIDER, address(token), 1);
            _wasShut(i);
        }
    }

    function test_no_door_of_the_escrow_is_open_while_money_comes_in() external {
        Settlement memory settlement;
        doors.push(abi.encodeCall(escrow.fund, (award, "")));
        doors.push(abi.encodeCall(escrow.fundByAuthorization, (award, "", REQUESTER, authorization)));
        doors.push(abi.encodeCall(escrow.fundMany, ("")));
        doors.push(abi.encodeCall(escrow.release, (award, acceptance, "")));
        doors.push(abi.encodeCall(escrow.releaseMany, ("")));
        doors.push(abi.encodeCall(escrow.settle, (award, settlement, "", "")));
        doors.push(abi.encodeCall(escrow.settleWithArbiter, (award, settlement, REQUESTER, "", "")));
        doors.push(abi.encodeCall(escrow.recall, (award)));
        doors.push(abi.encodeCall(escrow.proveStart, (award, start, "")));
        doors.push(abi.encodeCall(escrow.claim, (award, start, "", receipt, "")));
        doors.push(abi.encodeCall(escrow.payClaim, (award)));
        doors.push(abi.encodeCall(escrow.refund, (award)));
        doors.push(abi.encodeCall(escrow.dispute, (award)));
        doors.push(abi.encodeCall(escrow.applyVerdict, (award, verdict, "")));
        doors.push(abi.encodeCall(escrow.split, (award)));
        Award memory funded = _award(1000, 5);
        for (uint16 i = 0; i < doors.length; ++i) {
            hostile.arm(address(escrow), doors[i]);
            funded.slot = i;
            _fund(funded);
            _wasShut(i);
        }
    }

    function test_no_door_of_the_stakes_is_open_while_money_comes_in() external {
        Commitment memory commitment;
        Roll memory roll;
        doors.push(abi.encodeCall(reputation.stake, (PROVIDER, 1)));
        doors.push(abi.encodeCall(reputation.unstake, (1)));
        doors.push(abi.encodeCall(reputation.withdraw, ()));
        doors.push(abi.encodeCall(reputation.lock, (award, start, "")));
        doors.push(abi.encodeCall(reputation.free, (award)));
        doors.push(abi.encodeCall(reputation.freeAccepted, (award, acceptance, "")));
        doors.push(abi.encodeCall(reputation.slash, (award, 1, REQUESTER)));
        doors.push(abi.encodeCall(reputation.depositBonus, (award)));
        doors.push(abi.encodeCall(reputation.punishCommitments, (offer, commitment, "", commitment, "")));
        doors.push(abi.encodeCall(reputation.punishRolls, (offer, roll, "", roll, "")));
        doors.push(abi.encodeCall(reputation.punishAwards, (offer, award, "", award, "")));
        for (uint256 i = 0; i < doors.length; ++i) {
            hostile.arm(address(reputation), doors[i]);
            _stake(1);
            _wasShut(i);
        }
    }

    function test_no_door_of_the_bench_is_open_while_money_comes_in() external {
        doors.push(abi.encodeCall(bench.enlist, (ENGINE, 1, new uint32[](0))));
        doors.push(abi.encodeCall(bench.resign, (ENGINE, new uint32[](1))));
        doors.push(abi.encodeCall(bench.collect, ()));
        doors.push(abi.encodeCall(bench.prune, (ENGINE, 1)));
        for (uint256 i = 0; i < doors.length; ++i) {
            hostile.arm(address(bench), doors[i]);
            vm.prank(PROVIDER);
            bench.enlist(ENGINE, 1, new uint32[](0));
            _wasShut(i);
        }
    }

    function test_no_door_of_the_court_is_open_while_money_comes_in() external {
        IDisputeArbiter.Quorum memory quorum;
        doors.push(abi.encodeCall(court.open, (award, offer)));
        doors.push(abi.encodeCall(court.openOnChannel, (award, offer, receipt, "")));
        doors.push(abi.encodeCall(court.appeal, (award, offer)));
        doors.push(abi.encodeCall(court.draw, ("", "")));
        doors.push(abi.encodeCall(court.sealVote, ("", new address[](5), 0, "")));
        doors.push(abi.encodeCall(court.openVote, ("", new address[](5), 0, vote, "")));
        doors.push(abi.encodeCall(court.settleByQuorum, ("", vote, quorum)));
        doors.push(abi.encodeCall(court.close, (award, new address[][](0), new IDisputeArbiter.Vote[](0))));
        doors.push(abi.encodeCall(court.enforce, (award, vote, key, 1, new bytes32[](0))));
        doors.push(abi.encodeCall(court.sweep, (address(escrow))));
        _enlist(5, 1);
        for (uint256 i = 0; i < doors.length; ++i) {
            vm.warp(block.timestamp + 1);
            Award memory named = _claimed(false);
            hostile.arm(address(court), doors[i]);
            _open(named, REQUESTER);
            _wasShut(i);
        }
    }

    /// @dev The entries that all of them have.
    function _moneysDoors() private {
        bytes[] memory calls = new bytes[](1);
        calls[0] = abi.encodeCall(ITreasury.withdrawCredit, (address(token), REQUESTER));
        doors.push(calls[0]);
        doors.push(abi.encodeCall(ITreasury.permit, (address(token), 1, block.timestamp, 27, 0, 0)));
        doors.push(abi.encodeCall(channels.multicall, (calls)));
    }

    function _wasShut(uint256 door) private {
        bytes4 answer = bytes4(hostile.answer());
        bool shut = !hostile.reentered() && answer == ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector;
        _assertEq(shut ? door : type(uint256).max, door, "the guard did not answer at door");
        hostile.arm(address(0), "");
    }
}
