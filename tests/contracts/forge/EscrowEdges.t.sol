// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IEscrow} from "../../../contracts/interfaces/IEscrow.sol";
import {ITreasury} from "../../../contracts/interfaces/ITreasury.sol";
import {Award, Receipt, Settlement, Start} from "../../../contracts/interfaces/MarketTypes.sol";
import {LawFixture} from "./LawFixture.sol";

/// @dev Whose word an escrow takes, and for what: what no other suite of escrows looks at.
contract EscrowEdgesTest is LawFixture {
    Award private award;
    bytes32 private id;

    function setUp() public override {
        super.setUp();
        award = _award(1000, 5);
        id = _fund(award);
    }

    function test_neither_side_settles_without_the_other() external {
        Settlement memory settlement;
        (settlement.award, settlement.due, settlement.settleBy) = (id, 400, uint64(block.timestamp));
        bytes32 digest = _marketDigest(hashes.hashSettlement(settlement));
        bytes memory requesters = _sign(REQUESTER_KEY, digest);
        bytes memory providers = _sign(PROVIDER_KEY, digest);
        bytes4 bad = ITreasury.BadSignature.selector;
        _fails(PROVIDER, abi.encodeCall(escrow.settle, (award, settlement, providers, providers)), bad);
        _fails(REQUESTER, abi.encodeCall(escrow.settle, (award, settlement, requesters, requesters)), bad);
        vm.prank(STRANGER);
        escrow.settle(award, settlement, requesters, providers);
        require(escrow.recordOf(id).state == IEscrow.State.Settled, "not by both");
    }

    /// @dev Once it is proved, nobody asks for the money back for want of a start.
    function test_a_start_that_was_proved_stays_proved() external {
        (Start memory start, bytes memory signature) = _start(award.startBy);
        vm.warp(award.startBy + 1);
        vm.prank(REQUESTER);
        escrow.recall(award);
        escrow.proveStart(award, start, signature);
        IEscrow.Record memory record = escrow.recordOf(id);
        require(record.state == IEscrow.State.Started && record.time == 0, "not started");
        _fails(REQUESTER, abi.encodeCall(escrow.recall, (award)), IEscrow.WrongState.selector);
        vm.warp(block.timestamp + PACE + 1);
        _fails(REQUESTER, abi.encodeCall(escrow.refund, (award)), IEscrow.TooEarly.selector);
    }

    /// @dev A claim carries its start: in time, and of this award.
    function test_a_claim_takes_a_start() external {
        Receipt memory receipt;
        (receipt.award, receipt.part, receipt.due) = (id, 3, 1000);
        bytes memory signature = _sign(PROVIDER_KEY, _marketDigest(hashes.hashReceipt(receipt)));
        (Start memory start, bytes memory signed) = _start(award.startBy + 1);
        bytes memory late = abi.encodeCall(escrow.claim, (award, start, signed, receipt, signature));
        _fails(PROVIDER, late, IEscrow.StartedTooLate.selector);
        start = Start({award: 0, startedAt: award.startBy});
        bytes memory foreign = abi.encodeCall(escrow.claim, (award, start, signed, receipt, signature));
        _fails(PROVIDER, foreign, IEscrow.WrongAward.selector);
    }

    /// @dev Start and receipt are what a dispute is judged by: signed, though it is the provider who calls.
    function test_a_start_and_a_receipt_are_the_providers() external {
        Receipt memory receipt;
        (receipt.award, receipt.part, receipt.due) = (id, 3, 1000);
        bytes32 digest = _marketDigest(hashes.hashReceipt(receipt));
        (bytes memory good, bytes memory forged) = (_sign(PROVIDER_KEY, digest), _sign(REQUESTER_KEY, digest));
        (Start memory start, bytes memory signed) = _start(award.startBy);
        bytes memory unsigned = _sign(REQUESTER_KEY, _marketDigest(hashes.hashStart(start)));
        bytes4 bad = ITreasury.BadSignature.selector;
        _fails(REQUESTER, abi.encodeCall(escrow.proveStart, (award, start, unsigned)), bad);
        _fails(PROVIDER, abi.encodeCall(escrow.claim, (award, start, unsigned, receipt, good)), bad);
        _fails(PROVIDER, abi.encodeCall(escrow.claim, (award, start, signed, receipt, forged)), bad);
        vm.prank(PROVIDER);
        escrow.claim(award, start, signed, receipt, good);
    }

    function _start(uint64 startedAt) private view returns (Start memory start, bytes memory signature) {
        start = Start({award: id, startedAt: startedAt});
        signature = _sign(PROVIDER_KEY, _marketDigest(hashes.hashStart(start)));
    }

    function _fails(address caller, bytes memory data, bytes4 reason) private {
        _refused(address(escrow), caller, data, reason);
    }
}
