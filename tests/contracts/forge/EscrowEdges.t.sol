// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IEscrow} from "../../../contracts/interfaces/IEscrow.sol";
import {ITreasury} from "../../../contracts/interfaces/ITreasury.sol";
import {Acceptance, Award, Receipt, Settlement, Start} from "../../../contracts/interfaces/MarketTypes.sol";
import {LawFixture} from "./LawFixture.sol";
import {Vm} from "./Vm.sol";

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

    /// @dev Nothing is read beyond the last acceptance, and a unit that is left goes back.
    function test_a_batch_tells_of_its_awards_and_of_nothing_else() external {
        award = _award(1000, 1);
        id = _fund(award);
        (Acceptance memory acceptance, bytes memory signature) = _acceptance(award, 3, 1000);
        bytes memory batch = bytes.concat(bytes20(address(token)), _packRelease(award, acceptance, signature));
        uint256 before = token.balanceOf(REQUESTER);
        vm.recordLogs();
        vm.prank(PROVIDER);
        escrow.releaseMany(batch);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        _assertEq(logs.length, 3, "events");
        require(logs[0].topics[0] == IEscrow.Closed.selector, "not the end first");
        require(logs[1].emitter == address(token) && logs[2].emitter == address(token), "not two transfers");
        _assertEq(token.balanceOf(REQUESTER) - before, 1, "the fee");
    }

    /// @dev What was accepted before may be all there is: the last part closes though it pays nothing, one by one and in a batch.
    function test_a_last_part_that_pays_nothing_more_closes() external {
        for (uint16 i = 0; i < 2; ++i) {
            award.slot = i + 1;
            id = _fund(award);
            _release(PROVIDER, 1, 400, i == 0);
            _release(PROVIDER, 3, 400, i == 0);
            _assertState(IEscrow.State.Accepted, 400);
        }
        _assertEq(token.balanceOf(PROVIDER) - 1e30, 800, "paid");
    }

    function test_a_standby_award_has_its_own_first_and_last_part() external {
        (award.firstPart, award.parts) = (2, 3);
        id = _fund(award);
        (Acceptance memory acceptance, bytes memory signature) = _acceptance(award, 1, 10);
        bytes memory data = abi.encodeCall(escrow.release, (award, acceptance, signature));
        _fails(PROVIDER, data, IEscrow.PartOutOfRange.selector);
        (acceptance, signature) = _acceptance(award, 5, 10);
        data = abi.encodeCall(escrow.release, (award, acceptance, signature));
        _fails(PROVIDER, data, IEscrow.PartOutOfRange.selector);
        _release(PROVIDER, 2, 10, true);
        _release(PROVIDER, 3, 20, true);
        _assertState(IEscrow.State.Started, 20);
        _release(PROVIDER, 4, 30, true);
        _assertState(IEscrow.State.Accepted, 30);
    }

    /// @dev E4: who accepts has seen a start. No second is waited for any more, recalled or not.
    function test_an_accepted_part_proves_a_start() external {
        _release(REQUESTER, 0, 10, true);
        _assertState(IEscrow.State.Started, 10);
        _assertEq(escrow.recordOf(id).time, 0, "no deadline");
        award.slot = 1;
        id = _fund(award);
        vm.warp(award.startBy + 1);
        vm.prank(REQUESTER);
        escrow.recall(award);
        _release(REQUESTER, 0, 10, true);
        _assertState(IEscrow.State.Started, 10);
        _assertEq(escrow.recordOf(id).time, 0, "no deadline any more");
    }

    /// @dev E5: an acceptance of what was claimed answers the claim, and only that.
    function test_an_accepted_claim_has_no_deadline() external {
        _claimUpTo(award, 1, 600);
        uint64 disputeBy = escrow.recordOf(id).time;
        _release(REQUESTER, 1, 599, true);
        _assertState(IEscrow.State.Claimed, 599);
        _assertEq(escrow.recordOf(id).time, disputeBy, "the claim's deadline");
        _release(REQUESTER, 1, 600, true);
        _assertState(IEscrow.State.Started, 600);
        _assertEq(escrow.recordOf(id).time, 0, "no deadline any more");
    }

    /// @dev E10: the arbiter is at work. Even the whole price, and even the provider's own hand, leave the dispute open.
    function test_whoever_concedes_leaves_the_dispute_open() external {
        for (uint16 i = 0; i < 2; ++i) {
            award.slot = i + 1;
            id = _fund(award);
            _claimAll(award);
            _dispute(award);
            uint64 resolveBy = escrow.recordOf(id).time;
            _release(PROVIDER, 3, 1000, i == 0);
            _assertState(IEscrow.State.Disputed, 1000);
            _assertEq(escrow.recordOf(id).time, resolveBy, "the dispute's deadline");
        }
    }

    /// @dev E9: of what was claimed and not yet paid. What was accepted before is the provider's already.
    function test_what_was_accepted_before_a_split_is_not_split() external {
        uint256 before = token.balanceOf(PROVIDER);
        _release(REQUESTER, 0, 100, true);
        _claimUpTo(award, 1, 600);
        _dispute(award);
        vm.warp(block.timestamp + RESOLVE_WITHIN + 1);
        escrow.split(award);
        _assertState(IEscrow.State.Split, 350);
        _assertEq(token.balanceOf(PROVIDER) - before, 350, "100, and half of 500");
        _assertEq(token.balanceOf(address(escrow)), 0, "left");
    }

    function test_an_award_of_another_rail_is_not_funded() external {
        bytes4 foreign = IEscrow.NotForEscrow.selector;
        award.channel = keccak256("channel");
        _fails(REQUESTER, abi.encodeCall(escrow.fund, (award, "")), foreign);
        (award.channel, award.rail) = (0, address(channels));
        _fails(REQUESTER, abi.encodeCall(escrow.fund, (award, "")), foreign);
    }

    /// @dev E10: a dispute without an arbiter has nobody to pay.
    function test_who_settle_a_dispute_without_an_arbiter_keep_the_fee() external {
        award.arbiter = address(0);
        id = _fund(award);
        _claimAll(award);
        _dispute(award);
        Settlement memory settlement;
        (settlement.award, settlement.due, settlement.settleBy) = (id, 400, uint64(block.timestamp));
        bytes memory signature = _sign(PROVIDER_KEY, _marketDigest(hashes.hashSettlement(settlement)));
        uint256 before = token.balanceOf(REQUESTER);
        vm.prank(REQUESTER);
        escrow.settle(award, settlement, "", signature);
        _assertEq(token.balanceOf(REQUESTER) - before, 605, "back");
    }

    /// @dev An acceptance of the award, by itself or as a batch of one.
    function _release(address caller, uint32 part, uint128 due, bool alone) private {
        (Acceptance memory acceptance, bytes memory signature) = _acceptance(award, part, due);
        bytes memory batch = bytes.concat(bytes20(address(token)), _packRelease(award, acceptance, signature));
        vm.prank(caller);
        if (alone) escrow.release(award, acceptance, signature);
        else escrow.releaseMany(batch);
    }

    function _assertState(IEscrow.State state, uint256 paid) private view {
        IEscrow.Record memory record = escrow.recordOf(id);
        _assertEq(uint256(record.state), uint256(state), "state");
        _assertEq(record.paid, paid, "paid");
    }

    function _start(uint64 startedAt) private view returns (Start memory start, bytes memory signature) {
        start = Start({award: id, startedAt: startedAt});
        signature = _sign(PROVIDER_KEY, _marketDigest(hashes.hashStart(start)));
    }

    function _fails(address caller, bytes memory data, bytes4 reason) private {
        _refused(address(escrow), caller, data, reason);
    }
}
