// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IEscrow} from "../../../contracts/interfaces/IEscrow.sol";
import {Award, Settlement, Start, Verdict} from "../../../contracts/interfaces/MarketTypes.sol";
import {LawFixture} from "./LawFixture.sol";

/// @dev Each of an escrow's deadlines: its last second, in which one side may still act and the other must wait, and the second
/// after it, in which it is the other way round. docs/spec/contracts.md E1 to E9.
contract EscrowTimesTest is LawFixture {
    Award private award;
    bytes32 private id;

    function setUp() public override {
        super.setUp();
        award = _award(1000, 5);
    }

    function test_an_award_is_funded_until_start_by() external {
        vm.warp(award.startBy + 1);
        _tooLate(REQUESTER, abi.encodeCall(escrow.fund, (award, "")));
        vm.warp(award.startBy);
        id = _fund(award);
        _assertEq(escrow.recordOf(id).time, 0, "a record that waits for nobody's act names no time");
    }

    function test_a_recall_comes_after_start_by_and_waits_a_pace() external {
        id = _fund(award);
        vm.warp(award.startBy);
        _tooEarly(REQUESTER, abi.encodeCall(escrow.recall, (award)));
        vm.warp(award.startBy + 1);
        vm.prank(REQUESTER);
        escrow.recall(award);
        Start memory start = Start({award: id, startedAt: award.startBy});
        bytes memory signature = _sign(PROVIDER_KEY, _marketDigest(hashes.hashStart(start)));
        vm.warp(award.startBy + 1 + PACE);
        _tooEarly(REQUESTER, abi.encodeCall(escrow.refund, (award)));
        uint256 snapshot = vm.snapshotState();
        escrow.proveStart(award, start, signature);
        vm.revertToState(snapshot);
        vm.warp(award.startBy + 1 + PACE + 1);
        _tooLate(PROVIDER, abi.encodeCall(escrow.proveStart, (award, start, signature)));
        escrow.refund(award);
    }

    /// @dev Who recalls so late that its pace ends after `claimBy` waits no longer than who doesn't recall.
    function test_a_late_recall_waits_no_longer_than_the_claim() external {
        id = _fund(award);
        vm.warp(_claimBy());
        vm.prank(REQUESTER);
        escrow.recall(award);
        _tooEarly(REQUESTER, abi.encodeCall(escrow.refund, (award)));
        vm.warp(_claimBy() + 1);
        escrow.refund(award);
    }

    function test_a_claim_comes_by_claim_by_and_a_refund_after_it() external {
        id = _fund(award);
        vm.warp(_claimBy());
        _tooEarly(REQUESTER, abi.encodeCall(escrow.refund, (award)));
        uint256 snapshot = vm.snapshotState();
        _claimAll(award);
        vm.revertToState(snapshot);
        vm.warp(_claimBy() + 1);
        escrow.refund(award);
        _assertEq(token.balanceOf(address(escrow)), 0, "left");
    }

    function test_a_claim_is_disputed_within_a_pace_and_paid_after_it() external {
        id = _fund(award);
        _claimAll(award);
        vm.warp(T0 + PACE);
        _tooEarly(PROVIDER, abi.encodeCall(escrow.payClaim, (award)));
        uint256 snapshot = vm.snapshotState();
        _dispute(award);
        vm.revertToState(snapshot);
        vm.warp(T0 + PACE + 1);
        _tooLate(REQUESTER, abi.encodeCall(escrow.dispute, (award)));
        escrow.payClaim(award);
    }

    function test_a_verdict_comes_by_resolve_by_and_a_split_after_it() external {
        id = _fund(award);
        _claimAll(award);
        _dispute(award);
        Verdict memory verdict;
        verdict.award = id;
        vm.warp(T0 + RESOLVE_WITHIN);
        _tooEarly(PROVIDER, abi.encodeCall(escrow.split, (award)));
        uint256 snapshot = vm.snapshotState();
        vm.prank(ARBITER);
        escrow.applyVerdict(award, verdict, "");
        vm.revertToState(snapshot);
        vm.warp(T0 + RESOLVE_WITHIN + 1);
        _tooLate(ARBITER, abi.encodeCall(escrow.applyVerdict, (award, verdict, "")));
        escrow.split(award);
    }

    function test_without_an_arbiter_nobody_is_waited_for() external {
        award.arbiter = address(0);
        id = _fund(award);
        _claimAll(award);
        _dispute(award);
        _tooEarly(PROVIDER, abi.encodeCall(escrow.split, (award)));
        vm.warp(T0 + 1);
        escrow.split(award);
        _assertEq(token.balanceOf(address(escrow)), 0, "left");
    }

    function test_a_settlement_counts_until_settle_by() external {
        id = _fund(award);
        Settlement memory agreed = Settlement({award: id, due: 10, settleBy: uint64(T0 + 5)});
        bytes memory signature = _sign(PROVIDER_KEY, _marketDigest(hashes.hashSettlement(agreed)));
        vm.warp(T0 + 6);
        _tooLate(REQUESTER, abi.encodeCall(escrow.settle, (award, agreed, "", signature)));
        vm.warp(T0 + 5);
        vm.prank(REQUESTER);
        escrow.settle(award, agreed, "", signature);
    }

    function _claimBy() private view returns (uint256) {
        return uint256(award.deliverBy) + award.pace;
    }

    function _tooEarly(address caller, bytes memory data) private {
        _refused(address(escrow), caller, data, IEscrow.TooEarly.selector);
    }

    function _tooLate(address caller, bytes memory data) private {
        _refused(address(escrow), caller, data, IEscrow.TooLate.selector);
    }
}
