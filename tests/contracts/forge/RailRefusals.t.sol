// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IEscrow} from "../../../contracts/interfaces/IEscrow.sol";
import {IPaymentChannel} from "../../../contracts/interfaces/IPaymentChannel.sol";
import {ITreasury} from "../../../contracts/interfaces/ITreasury.sol";
import {
    Acceptance,
    Award,
    ChannelKey,
    Close,
    Receipt,
    Settlement,
    Start,
    Verdict,
    Voucher
} from "../../../contracts/interfaces/MarketTypes.sol";
import {PaymentChannel} from "../../../contracts/PaymentChannel.sol";
import {RefusingToken} from "../../../contracts/mocks/HostileTokens.sol";
import {Fixture} from "./Fixture.sol";

/// @dev Each refusal of both rails, by name: each last second, and who may not.
contract RailRefusalsTest is Fixture {
    uint128 private constant PRICE = 1000;

    function test_an_escrow_refuses_what_is_not_signed_not_open_or_out_of_range() external {
        Award memory award = _funded(0);
        Acceptance memory acceptance = Acceptance({award: _id(award), part: 0, receipt: 0, due: 10});
        _escrow(abi.encodeCall(escrow.release, (award, acceptance, "")), GUARDIAN, ITreasury.BadSignature.selector);
        acceptance.award = 0;
        _escrow(abi.encodeCall(escrow.release, (award, acceptance, "")), REQUESTER, IEscrow.WrongAward.selector);
        acceptance = Acceptance({award: _id(award), part: 4, receipt: 0, due: 10});
        _escrow(abi.encodeCall(escrow.release, (award, acceptance, "")), REQUESTER, IEscrow.PartOutOfRange.selector);
        acceptance = Acceptance({award: _id(award), part: 3, receipt: 0, due: PRICE + 1});
        _escrow(abi.encodeCall(escrow.release, (award, acceptance, "")), REQUESTER, IEscrow.DueOutOfRange.selector);
        acceptance = Acceptance({award: _id(award), part: 3, receipt: 0, due: 0});
        _escrow(abi.encodeCall(escrow.release, (award, acceptance, "")), REQUESTER, IEscrow.NothingDue.selector);
        _escrow(abi.encodeCall(escrow.release, (_award(1, 1), acceptance, "")), REQUESTER, IEscrow.WrongState.selector);
        acceptance.due = PRICE;
        vm.prank(REQUESTER);
        escrow.release(award, acceptance, "");
        require(escrow.recordOf(_id(award)).state == IEscrow.State.Accepted, "not closed in full");
        _escrow(abi.encodeCall(escrow.fund, (award, "")), REQUESTER, IEscrow.WrongState.selector);
    }

    function test_an_escrow_keeps_recall_start_and_refund_to_their_times() external {
        Award memory award = _funded(0);
        bytes memory recall = abi.encodeCall(escrow.recall, (award));
        _escrow(recall, REQUESTER, IEscrow.TooEarly.selector);
        _escrow(recall, PROVIDER, IEscrow.NotParty.selector);
        _escrow(abi.encodeCall(escrow.refund, (award)), REQUESTER, IEscrow.TooEarly.selector);
        Start memory start = Start({award: _id(award), startedAt: award.startBy + 1});
        bytes memory none;
        _escrow(abi.encodeCall(escrow.proveStart, (award, start, none)), PROVIDER, IEscrow.StartedTooLate.selector);
        start = Start({award: 0, startedAt: award.startBy});
        _escrow(abi.encodeCall(escrow.proveStart, (award, start, none)), PROVIDER, IEscrow.WrongAward.selector);
        vm.warp(T0 + 11);
        vm.prank(REQUESTER);
        escrow.recall(award);
        _escrow(recall, REQUESTER, IEscrow.WrongState.selector);
        vm.warp(T0 + 11 + PACE + 1);
        _escrow(abi.encodeCall(escrow.proveStart, (award, start, none)), PROVIDER, IEscrow.TooLate.selector);
        escrow.refund(award);
        _escrow(abi.encodeCall(escrow.refund, (award)), REQUESTER, IEscrow.WrongState.selector);
        _escrow(abi.encodeCall(escrow.proveStart, (award, start, none)), PROVIDER, IEscrow.WrongState.selector);
    }

    function test_an_escrow_keeps_claims_to_the_provider_its_evidence_and_its_time() external {
        Award memory award = _funded(0);
        _escrow(_claim(award, 0, 600), REQUESTER, IEscrow.NotParty.selector);
        _escrow(_claim(award, 4, 600), PROVIDER, IEscrow.PartOutOfRange.selector);
        _escrow(_claim(award, 0, PRICE + 1), PROVIDER, IEscrow.DueOutOfRange.selector);
        _escrow(_claim(award, 0, 0), PROVIDER, IEscrow.NothingDue.selector);
        (Start memory start, bytes memory signed) = _start(award);
        Receipt memory receipt; // of no award
        bytes memory foreign = abi.encodeCall(escrow.claim, (award, start, signed, receipt, ""));
        _escrow(foreign, PROVIDER, IEscrow.WrongAward.selector);
        _escrow(abi.encodeCall(escrow.payClaim, (award)), PROVIDER, IEscrow.WrongState.selector);
        vm.warp(T0 + 100 + PACE + 1);
        _escrow(_claim(award, 0, 600), PROVIDER, IEscrow.TooLate.selector);
    }

    function test_a_claim_answers_a_recall_and_nothing_answers_a_claim_twice() external {
        Award memory award = _funded(0);
        vm.warp(T0 + 11);
        _act(abi.encodeCall(escrow.recall, (award)), REQUESTER);
        _act(_claim(award, 0, 600), PROVIDER);
        require(escrow.recordOf(_id(award)).state == IEscrow.State.Claimed, "not claimed");
        _escrow(_claim(award, 0, 700), PROVIDER, IEscrow.WrongState.selector);
    }

    function test_an_escrow_keeps_disputes_and_verdicts_to_theirs() external {
        Award memory award = _funded(0);
        Award memory late = _funded(1);
        _act(_claim(award, 0, 600), PROVIDER);
        _act(_claim(late, 0, 600), PROVIDER);
        bytes memory dispute = abi.encodeCall(escrow.dispute, (award));
        _escrow(dispute, PROVIDER, IEscrow.NotParty.selector);
        _escrow(abi.encodeCall(escrow.payClaim, (award)), PROVIDER, IEscrow.TooEarly.selector);
        _escrow(abi.encodeCall(escrow.split, (award)), PROVIDER, IEscrow.WrongState.selector);
        _act(dispute, ARBITER);
        _escrow(abi.encodeCall(escrow.split, (award)), PROVIDER, IEscrow.TooEarly.selector);
        Verdict memory verdict;
        _escrow(abi.encodeCall(escrow.applyVerdict, (award, verdict, "")), ARBITER, IEscrow.WrongAward.selector);
        (verdict.award, verdict.due) = (_id(award), PRICE);
        _escrow(abi.encodeCall(escrow.applyVerdict, (award, verdict, "")), GUARDIAN, ITreasury.BadSignature.selector);
        vm.warp(T0 + PACE + 1);
        _escrow(abi.encodeCall(escrow.dispute, (late)), REQUESTER, IEscrow.TooLate.selector);
        Acceptance memory acceptance = Acceptance({award: _id(late), part: 0, receipt: 0, due: 600});
        vm.prank(REQUESTER);
        escrow.release(late, acceptance, ""); // answers the claim
        require(escrow.recordOf(_id(late)).state == IEscrow.State.Started, "the claim is still open");
        vm.warp(T0 + RESOLVE_WITHIN + 1);
        _escrow(abi.encodeCall(escrow.applyVerdict, (award, verdict, "")), ARBITER, IEscrow.TooLate.selector);
        escrow.split(award);
        _assertEq(token.balanceOf(PROVIDER), 600 + 300, "half of the claim, and the accepted one");
    }

    function test_a_verdict_is_cut_to_what_was_paid_and_what_was_claimed() external {
        for (uint16 i = 0; i < 2; ++i) {
            Award memory award = _funded(i);
            Acceptance memory acceptance = Acceptance({award: _id(award), part: 0, receipt: 0, due: 100});
            vm.prank(REQUESTER);
            escrow.release(award, acceptance, "");
            _act(_claim(award, 1, 600), PROVIDER);
            _act(abi.encodeCall(escrow.dispute, (award)), REQUESTER);
            Verdict memory verdict;
            (verdict.award, verdict.due, verdict.finding) = (_id(award), i == 0 ? 0 : PRICE, uint8(i));
            uint256 before = token.balanceOf(PROVIDER);
            _act(abi.encodeCall(escrow.applyVerdict, (award, verdict, "")), ARBITER);
            _assertEq(token.balanceOf(PROVIDER) - before, i == 0 ? 0 : 500, "by verdict");
        }
        _assertEq(token.balanceOf(ARBITER), 5, "the fee, where the requester lost");
    }

    function test_both_sides_settle_within_bounds() external {
        Award memory award = _funded(0);
        Settlement memory agreed = Settlement({award: _id(award), due: PRICE + 1, settleBy: uint64(T0)});
        bytes memory none;
        bytes memory call = abi.encodeCall(escrow.settle, (award, agreed, none, none));
        _escrow(call, REQUESTER, IEscrow.DueOutOfRange.selector);
        agreed.due = 10;
        bytes32 digest = _marketDigest(hashes.hashSettlement(agreed));
        bytes memory byRequester = _sign(REQUESTER_KEY, digest);
        bytes memory byProvider = _sign(PROVIDER_KEY, digest);
        call = abi.encodeCall(escrow.settle, (award, agreed, byRequester, byRequester));
        _escrow(call, GUARDIAN, ITreasury.BadSignature.selector);
        escrow.settle(award, agreed, byRequester, byProvider);
        _assertEq(token.balanceOf(PROVIDER), 10, "agreed");
    }

    function test_a_channel_refuses_what_is_nothing_nobodys_or_unknown() external {
        bytes4 zero = IPaymentChannel.ZeroAddress.selector;
        _channel(abi.encodeCall(channels.open, (address(0), PROVIDER, address(token), 1)), REQUESTER, zero);
        _channel(abi.encodeCall(channels.open, (REQUESTER, address(0), address(token), 1)), REQUESTER, zero);
        bytes4 nothing = ITreasury.ZeroAmount.selector;
        _channel(abi.encodeCall(channels.open, (REQUESTER, PROVIDER, address(token), 0)), REQUESTER, nothing);
        ChannelKey memory key = _opened();
        _channel(abi.encodeCall(channels.topUp, (key, 0)), REQUESTER, nothing);
        vm.expectRevert(abi.encodeWithSelector(zero));
        new PaymentChannel(address(0), 1, 1, GUARDIAN);
        require(channels.marketDomainSeparator() != 0, "no domain");
        vm.warp(T0 + CHALLENGE + 1);
        bytes memory withdraw = abi.encodeCall(channels.withdraw, (key));
        _channel(withdraw, REQUESTER, IPaymentChannel.ExitNotOver.selector);
    }

    function test_a_channel_closes_as_both_said_and_in_no_other_way() external {
        ChannelKey memory key = _opened();
        bytes32 id = channels.channelId(key);
        Close memory agreed = Close({channel: 0, cumulative: 10, closeBy: uint64(T0)});
        bytes memory none;
        bytes memory call = abi.encodeCall(channels.close, (key, agreed, none, none));
        _channel(call, REQUESTER, IPaymentChannel.WrongChannel.selector);
        agreed = Close({channel: id, cumulative: 10, closeBy: uint64(T0 - 1)});
        call = abi.encodeCall(channels.close, (key, agreed, none, none));
        _channel(call, REQUESTER, IPaymentChannel.CloseExpired.selector);
        agreed = Close({channel: id, cumulative: 1001, closeBy: uint64(T0)});
        call = abi.encodeCall(channels.close, (key, agreed, none, none));
        _channel(call, REQUESTER, IPaymentChannel.CloseOutOfRange.selector);
        agreed.cumulative = 10;
        call = abi.encodeCall(channels.close, (key, agreed, none, none));
        _channel(call, PROVIDER, ITreasury.BadSignature.selector);
        _channel(call, REQUESTER, ITreasury.BadSignature.selector);
    }

    function test_a_hold_is_enforced_once_and_within_its_award() external {
        ChannelKey memory key = _opened();
        (Award memory award,) = _held(key, 110, 300);
        Verdict memory verdict;
        (verdict.award, verdict.due, verdict.finding) = (_id(award), 101, 1);
        _channel(_enforce(key, award, verdict), ARBITER, IPaymentChannel.VerdictAbovePrice.selector);
        (verdict.award, verdict.due) = (0, 100);
        _channel(_enforce(key, award, verdict), ARBITER, IPaymentChannel.VerdictMismatch.selector);
        verdict.award = _id(award);
        _settle(key, award);
        _assertEq(channels.stateOf(channels.channelId(key)).exitsAt, T0 + CHALLENGE, "the exit that it begins");
        _assertEq(token.balanceOf(ARBITER), 10, "fee");
        _channel(_enforce(key, award, verdict), ARBITER, IPaymentChannel.HoldAlreadyEnforced.selector);
    }

    function test_a_judged_channel_keeps_the_other_hold_and_closes_as_both_say() external {
        ChannelKey memory key = _opened();
        bytes32 id = channels.channelId(key);
        (Award memory award,) = _held(key, 110, 300);
        _settle(key, award);
        vm.warp(T0 + CHALLENGE + 1);
        channels.withdraw(key);
        _assertEq(channels.stateOf(id).held, 190, "the other hold");
        bytes memory withdraw = abi.encodeCall(channels.withdraw, (key));
        _channel(withdraw, REQUESTER, IPaymentChannel.ExitNotOver.selector);
        Close memory agreed = Close({channel: id, cumulative: 150, closeBy: uint64(T0 + CHALLENGE + 1)});
        channels.close(key, agreed, _signClose(REQUESTER_KEY, agreed), _signClose(PROVIDER_KEY, agreed));
        _assertEq(token.balanceOf(PROVIDER), 150, "as both said");
        _assertEq(token.balanceOf(address(channels)), 0, "left");
    }

    function test_what_was_claimed_before_a_hold_is_enforced_stays_claimed() external {
        ChannelKey memory key = _opened();
        (Award memory award,) = _held(key, 110, 300);
        Voucher memory later = Voucher(channels.channelId(key), 2, 500, 0, 0);
        channels.claim(key, later, _signVoucher(REQUESTER_KEY, later));
        _settle(key, award);
        _assertEq(token.balanceOf(PROVIDER), 500, "claimed by a voucher that was never presented");
    }

    function test_a_hold_that_is_less_than_the_fee_pays_what_it_has() external {
        ChannelKey memory key = _opened();
        (Award memory award,) = _held(key, 5, 5);
        Verdict memory verdict;
        (verdict.award, verdict.due, verdict.finding) = (_id(award), 100, 1);
        bytes memory enforce = abi.encodeCall(channels.enforce, (key, award, 5, new bytes32[](0), verdict, ""));
        vm.prank(ARBITER);
        (bool success,) = address(channels).call(enforce);
        require(success, "refused");
        _assertEq(token.balanceOf(ARBITER), 5, "fee");
    }

    function test_a_batch_passes_over_a_channel_that_nobody_opened() external {
        ChannelKey memory key = _opened();
        Voucher memory voucher = Voucher(channels.channelId(key), 1, 400, 0, 0);
        bytes memory good = _packClaim(key, voucher, _signVoucher(REQUESTER_KEY, voucher));
        key.counter += 1;
        voucher.channel = channels.channelId(key);
        bytes memory unknown = _packClaim(key, voucher, _signVoucher(REQUESTER_KEY, voucher));
        channels.claimMany(PROVIDER, address(token), bytes.concat(unknown, good));
        _assertEq(token.balanceOf(PROVIDER), 400, "the other one");
    }

    function test_leaves_beyond_the_sum_or_beyond_their_award_are_refused() external {
        ChannelKey memory key = _opened();
        (Award memory award,) = _held(key, 110, 109);
        Verdict memory verdict;
        (verdict.award, verdict.due) = (_id(award), 100);
        bytes32[] memory none = new bytes32[](0);
        bytes memory enforce = abi.encodeCall(channels.enforce, (key, award, 110, none, verdict, ""));
        _channel(enforce, ARBITER, IPaymentChannel.HoldOutOfRange.selector);
        key = _opened();
        (award,) = _held(key, 111, 111);
        enforce = abi.encodeCall(channels.enforce, (key, award, 111, none, verdict, ""));
        _channel(enforce, ARBITER, IPaymentChannel.HoldOutOfRange.selector);
    }

    function test_a_refused_payout_waits_as_a_credit() external {
        RefusingToken moody = new RefusingToken();
        token = moody;
        _enrich(REQUESTER);
        ChannelKey memory key = _opened();
        moody.setRefused(PROVIDER, true);
        Voucher memory voucher = Voucher(channels.channelId(key), 1, 400, 0, 0);
        channels.claim(key, voucher, _signVoucher(REQUESTER_KEY, voucher));
        _assertEq(channels.creditOf(PROVIDER, address(token)), 400, "credit");
        bytes memory take = abi.encodeCall(channels.withdrawCredit, (address(token), GUARDIAN));
        _channel(take, REQUESTER, ITreasury.NoCredit.selector);
        vm.prank(PROVIDER);
        _assertEq(channels.withdrawCredit(address(token), GUARDIAN), 400, "taken elsewhere");
        _channel(abi.encodeCall(channels.pause, ()), PROVIDER, ITreasury.NotGuardian.selector);
        vm.startPrank(GUARDIAN);
        channels.pause();
        channels.resume();
        vm.stopPrank();
        require(!channels.paused(), "still paused");
    }

    // ---------------------------------------------------------------------------------------------- helpers

    function _funded(uint16 slot) private returns (Award memory award) {
        award = _award(PRICE, 5);
        award.slot = slot;
        vm.prank(REQUESTER);
        escrow.fund(award, "");
    }

    function _opened() private returns (ChannelKey memory key) {
        vm.prank(REQUESTER);
        channels.open(REQUESTER, PROVIDER, address(token), 1000);
        key = _key(channels.counterOf(REQUESTER));
    }

    /// @dev An award of 100 and a fee of 10, and a presented voucher that holds `held`, with one leaf of `amount` for it.
    function _held(ChannelKey memory key, uint128 amount, uint128 held)
        private
        returns (Award memory award, Voucher memory voucher)
    {
        award = _award(100, 10);
        bytes32 leaf = hashes.holdLeaf(_id(award), ARBITER, amount);
        voucher = Voucher(channels.channelId(key), 1, 0, held, leaf);
        bytes memory signed = _signVoucher(REQUESTER_KEY, voucher);
        vm.prank(PROVIDER);
        channels.present(key, voucher, signed, "");
    }

    /// @dev Enforce the one hold of `_held`: the requester lost, all of the price is due.
    function _settle(ChannelKey memory key, Award memory award) private {
        Verdict memory verdict;
        (verdict.award, verdict.due, verdict.finding) = (_id(award), 100, 1);
        bytes memory enforce = _enforce(key, award, verdict);
        vm.prank(ARBITER);
        (bool success,) = address(channels).call(enforce);
        require(success, "refused");
    }

    function _enforce(ChannelKey memory key, Award memory award, Verdict memory verdict)
        private
        view
        returns (bytes memory)
    {
        return abi.encodeCall(channels.enforce, (key, award, 110, new bytes32[](0), verdict, ""));
    }

    function _start(Award memory award) private view returns (Start memory start, bytes memory signature) {
        start = Start({award: _id(award), startedAt: award.startBy});
        signature = _sign(PROVIDER_KEY, _marketDigest(hashes.hashStart(start)));
    }

    function _claim(Award memory award, uint32 part, uint128 due) private view returns (bytes memory) {
        (Start memory start, bytes memory signed) = _start(award);
        Receipt memory receipt;
        (receipt.award, receipt.part, receipt.due) = (_id(award), part, due);
        bytes memory signature = _sign(PROVIDER_KEY, _marketDigest(hashes.hashReceipt(receipt)));
        return abi.encodeCall(escrow.claim, (award, start, signed, receipt, signature));
    }

    function _act(bytes memory data, address caller) private {
        vm.prank(caller);
        (bool success,) = address(escrow).call(data);
        require(success, "refused");
    }

    function _escrow(bytes memory data, address caller, bytes4 reason) private {
        _refused(address(escrow), caller, data, reason);
    }

    function _channel(bytes memory data, address caller, bytes4 reason) private {
        _refused(address(channels), caller, data, reason);
    }

    function _id(Award memory award) private view returns (bytes32) {
        return _marketDigest(hashes.hashAward(award));
    }
}
