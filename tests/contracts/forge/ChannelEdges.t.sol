// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IPaymentChannel} from "../../../contracts/interfaces/IPaymentChannel.sol";
import {ITreasury} from "../../../contracts/interfaces/ITreasury.sol";
import {Award, ChannelKey, Close, Verdict, Voucher} from "../../../contracts/interfaces/MarketTypes.sol";
import {Fixture} from "./Fixture.sol";
import {Vm} from "./Vm.sol";

/// @dev Who may not, at which amount exactly, and what is not told: what no other suite of channels looks at.
contract ChannelEdgesTest is Fixture {
    uint128 private constant DEPOSIT = 1000;

    ChannelKey private key;
    bytes32 private id;

    function setUp() public override {
        super.setUp();
        _openWith(DEPOSIT);
    }

    function test_nobody_adds_money_while_new_business_is_paused() external {
        vm.prank(GUARDIAN);
        channels.pause();
        _fails(REQUESTER, abi.encodeCall(channels.topUp, (key, 1)), ITreasury.NewBusinessPaused.selector);
    }

    function test_only_the_guardian_pauses_and_resumes() external {
        bytes4 reason = ITreasury.NotGuardian.selector;
        _fails(REQUESTER, abi.encodeCall(channels.pause, ()), reason);
        vm.prank(GUARDIAN);
        channels.pause();
        _fails(REQUESTER, abi.encodeCall(channels.resume, ()), reason);
        require(channels.paused(), "resumed");
        vm.prank(GUARDIAN);
        channels.resume();
        require(!channels.paused(), "not resumed");
    }

    function test_a_deposit_never_wraps_around() external {
        token.mint(REQUESTER, type(uint128).max);
        _openWith(type(uint128).max);
        vm.prank(REQUESTER);
        (bool success,) = address(channels).call(abi.encodeCall(channels.topUp, (key, 1)));
        require(!success, "2^128 was taken for 0");
        _assertEq(channels.stateOf(id).deposit, type(uint128).max, "deposit");
    }

    /// @dev A batch of one pays once and tells of it once; nothing is read beyond its last claim.
    function test_a_batch_tells_of_its_claims_and_of_nothing_else() external {
        Voucher memory voucher = Voucher(id, 1, 400, 0, 0);
        bytes memory batch = _packClaim(key, voucher, _signVoucher(REQUESTER_KEY, voucher));
        vm.recordLogs();
        channels.claimMany(PROVIDER, address(token), batch);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        _assertEq(logs.length, 2, "events");
        require(logs[0].topics[0] == IPaymentChannel.Claimed.selector, "not the claim first");
        require(logs[1].emitter == address(token), "not the transfer last");
    }

    /// @dev Who presents a voucher chooses the holds that count, so it takes the payee.
    function test_nobody_presents_for_the_payee() external {
        Voucher memory voucher = Voucher(id, 1, 0, 0, 0);
        bytes memory signed = _signVoucher(REQUESTER_KEY, voucher);
        bytes memory present = abi.encodeCall(channels.present, (key, voucher, signed, signed));
        _fails(REQUESTER, present, ITreasury.BadSignature.selector);
        _fails(GUARDIAN, present, ITreasury.BadSignature.selector);
    }

    function test_nobody_leaves_a_channel_that_is_not_open() external {
        key = _key(2);
        _fails(REQUESTER, abi.encodeCall(channels.startExit, (key)), IPaymentChannel.ChannelUnknown.selector);
        _assertEq(channels.stateOf(channels.channelId(key)).exitsAt, 0, "exit");
    }

    /// @dev P5: without a hold it is for the payee to claim what a voucher gives of money that came after it was presented.
    function test_a_presented_voucher_that_holds_nothing_reserves_nothing() external {
        Voucher memory voucher = Voucher(id, 1, 2 * DEPOSIT, 0, 0);
        bytes memory signed = _signVoucher(REQUESTER_KEY, voucher);
        channels.present(key, voucher, signed, _signVoucher(PROVIDER_KEY, voucher));
        vm.startPrank(REQUESTER);
        channels.topUp(key, 500);
        channels.startExit(key);
        vm.stopPrank();
        vm.warp(block.timestamp + CHALLENGE + 1);
        _assertEq(channels.withdraw(key), 500, "what came after");
        _assertEq(token.balanceOf(PROVIDER), DEPOSIT, "what was there");
    }

    function test_an_agreed_close_gives_the_payee_between_what_it_has_and_everything() external {
        Voucher memory voucher = Voucher(id, 1, 400, 0, 0);
        channels.claim(key, voucher, _signVoucher(REQUESTER_KEY, voucher));
        _fails(PROVIDER, _closing(399), IPaymentChannel.CloseOutOfRange.selector);
        _fails(PROVIDER, _closing(DEPOSIT + 1), IPaymentChannel.CloseOutOfRange.selector);
        _closes(400);
        _assertEq(token.balanceOf(PROVIDER), 400, "what it had");
        _openWith(DEPOSIT);
        _closes(DEPOSIT);
        _assertEq(token.balanceOf(PROVIDER), 400 + DEPOSIT, "everything");
    }

    /// @dev Neither side speaks for the arbiter, nor does its signature of another verdict.
    function test_nobody_enforces_what_the_arbiter_has_not_ruled() external {
        (Award memory award, Verdict memory verdict) = _held();
        bytes memory own = _signVerdict(PROVIDER_KEY, verdict);
        _fails(PROVIDER, _enforcing(award, verdict, own), ITreasury.BadSignature.selector);
        _fails(PROVIDER, _enforcing(award, verdict, ""), ITreasury.BadSignature.selector);
        verdict.due = 50;
        bytes memory other = _signVerdict(ARBITER_KEY, verdict);
        verdict.due = 100;
        _fails(PROVIDER, _enforcing(award, verdict, other), ITreasury.BadSignature.selector);
        bytes memory good = _signVerdict(ARBITER_KEY, verdict);
        vm.prank(PROVIDER);
        channels.enforce(key, award, 110, new bytes32[](0), verdict, good);
        _assertEq(token.balanceOf(PROVIDER), 100, "by the arbiter's signature");
    }

    function test_nothing_is_enforced_on_a_channel_that_was_closed() external {
        (Award memory award, Verdict memory verdict) = _held();
        _closes(0);
        bytes memory good = _signVerdict(ARBITER_KEY, verdict);
        _fails(PROVIDER, _enforcing(award, verdict, good), IPaymentChannel.ChannelUnknown.selector);
    }

    /// @dev A deposit of a unit is a channel, and what was presented or left is cleared with it, each alone and both.
    function test_a_closed_channel_leaves_nothing_behind() external {
        for (uint256 way = 0; way < 4; ++way) {
            _openWith(1);
            Voucher memory voucher = Voucher(id, 1, 1, 1, keccak256("holds"));
            bytes memory signed = _signVoucher(REQUESTER_KEY, voucher);
            if (way & 1 != 0) channels.present(key, voucher, signed, _signVoucher(PROVIDER_KEY, voucher));
            if (way & 2 != 0) {
                vm.prank(REQUESTER);
                channels.startExit(key);
            }
            _closes(1);
            IPaymentChannel.ChannelState memory nothing;
            bytes32 left = keccak256(abi.encode(channels.stateOf(id)));
            require(left == keccak256(abi.encode(nothing)), "something is left");
        }
    }

    /// @dev A voucher that pays nothing new may still bring holds; of a claim nothing is told, nor in a batch.
    function test_a_voucher_that_pays_nothing_new_tells_of_no_claim() external {
        Voucher memory voucher = Voucher(id, 1, 400, 0, 0);
        bytes memory signed = _signVoucher(REQUESTER_KEY, voucher);
        channels.claim(key, voucher, signed);
        vm.recordLogs();
        channels.present(key, voucher, signed, _signVoucher(PROVIDER_KEY, voucher));
        channels.claimMany(PROVIDER, address(token), _packClaim(key, voucher, signed));
        Vm.Log[] memory logs = vm.getRecordedLogs();
        _assertEq(logs.length, 2, "events");
        require(logs[0].topics[0] == IPaymentChannel.HoldsPresented.selector, "not the presentation first");
        require(logs[1].topics[0] == IPaymentChannel.ClaimSkipped.selector, "not the skipped claim last");
    }

    /// @dev A hold of 110 for an award of price 100 and fee 10, presented; and a verdict for all of it.
    function _held() private returns (Award memory award, Verdict memory verdict) {
        award = _award(100, 10);
        bytes32 digest = _marketDigest(hashes.hashAward(award));
        (verdict.award, verdict.due) = (digest, 100);
        Voucher memory voucher = Voucher(id, 1, 0, 110, hashes.holdLeaf(digest, ARBITER, 110));
        channels.present(key, voucher, _signVoucher(REQUESTER_KEY, voucher), _signVoucher(PROVIDER_KEY, voucher));
    }

    function _openWith(uint128 amount) private {
        vm.prank(REQUESTER);
        id = channels.open(REQUESTER, PROVIDER, address(token), amount);
        key = _key(channels.counterOf(REQUESTER));
    }

    function _enforcing(Award memory award, Verdict memory verdict, bytes memory signature)
        private
        view
        returns (bytes memory)
    {
        return abi.encodeCall(channels.enforce, (key, award, 110, new bytes32[](0), verdict, signature));
    }

    function _closing(uint128 cumulative) private view returns (bytes memory) {
        Close memory agreed = Close({channel: id, cumulative: cumulative, closeBy: uint64(block.timestamp)});
        bytes memory signer = _signClose(REQUESTER_KEY, agreed);
        return abi.encodeCall(channels.close, (key, agreed, signer, _signClose(PROVIDER_KEY, agreed)));
    }

    function _closes(uint128 cumulative) private {
        (bool success,) = address(channels).call(_closing(cumulative));
        require(success, "not closed");
    }

    function _signVerdict(uint256 by, Verdict memory verdict) private view returns (bytes memory) {
        return _sign(by, _marketDigest(hashes.hashVerdict(verdict)));
    }

    function _fails(address caller, bytes memory data, bytes4 reason) private {
        _refused(address(channels), caller, data, reason);
    }
}
