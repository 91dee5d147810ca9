// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IEscrow} from "../../../contracts/interfaces/IEscrow.sol";
import {IGuardian} from "../../../contracts/interfaces/IGuardian.sol";
import {IPaymentChannel} from "../../../contracts/interfaces/IPaymentChannel.sol";
import {ITreasury} from "../../../contracts/interfaces/ITreasury.sol";
import {Guardian} from "../../../contracts/Guardian.sol";
import {
    Acceptance,
    Award,
    ChannelKey,
    Receipt,
    Start,
    Verdict,
    Voucher,
    Close
} from "../../../contracts/interfaces/MarketTypes.sol";
import {RefusingToken} from "../../../contracts/mocks/HostileTokens.sol";
import {LawFixture} from "./LawFixture.sol";

/// @dev What escrows, channels and the guardian tell: nodes learn of the chain by these events alone, so each field counts.
contract RailEventsTest is LawFixture {
    uint128 private constant PRICE = 1000;
    uint128 private constant FEE = 50;

    /// @dev The next call emits what is emitted next.
    function _next() private {
        vm.expectEmit(true, true, true, true);
    }

    // Escrows

    function test_an_escrow_tells_how_it_was_funded_and_accepted() external {
        Award memory award = _award(PRICE, FEE);
        bytes32 id = _id(award);
        _next();
        emit IEscrow.Funded(id, REQUESTER, PROVIDER, address(token), PRICE + FEE);
        _fund(award);
        _accept(award, 0, 300);
        (Acceptance memory acceptance, bytes memory signature) = _acceptance(award, 1, 400);
        _next();
        emit IEscrow.Released(id, 1, 100, 400);
        escrow.release(award, acceptance, signature);
        (acceptance, signature) = _acceptance(award, 3, 900);
        _next();
        emit IEscrow.Closed(id, IEscrow.State.Accepted, 900, PRICE + FEE - 900, 0);
        vm.prank(PROVIDER);
        escrow.release(award, acceptance, signature);
    }

    function test_an_escrow_tells_of_each_step_alone() external {
        Award memory award = _award(PRICE, FEE);
        bytes32 id = _fund(award);
        vm.warp(award.startBy + 1);
        _next();
        emit IEscrow.Recalled(id, award.startBy + 1 + PACE);
        vm.prank(REQUESTER);
        escrow.recall(award);
        Start memory start = Start({award: id, startedAt: award.startBy - 2});
        bytes memory signature = _sign(PROVIDER_KEY, _marketDigest(hashes.hashStart(start)));
        _next();
        emit IEscrow.Started(id, award.startBy - 2);
        escrow.proveStart(award, start, signature);
        vm.warp(award.deliverBy + PACE + 1);
        _next();
        emit IEscrow.Closed(id, IEscrow.State.Refunded, 0, PRICE + FEE, 0);
        escrow.refund(award);
    }

    function test_an_escrow_tells_of_claims_disputes_and_verdicts() external {
        Award memory award = _award(PRICE, FEE);
        bytes32 id = _fund(award);
        Start memory start = Start({award: id, startedAt: award.startBy});
        Receipt memory receipt;
        (receipt.award, receipt.part, receipt.due) = (id, 3, 800);
        bytes32 receiptDigest = _marketDigest(hashes.hashReceipt(receipt));
        bytes memory started = _sign(PROVIDER_KEY, _marketDigest(hashes.hashStart(start)));
        bytes memory received = _sign(PROVIDER_KEY, receiptDigest);
        _next();
        emit IEscrow.Claimed(id, 3, 800, receiptDigest, uint64(block.timestamp) + PACE);
        vm.prank(PROVIDER);
        escrow.claim(award, start, started, receipt, received);
        _next();
        emit IEscrow.Disputed(id, REQUESTER, ARBITER, uint64(block.timestamp) + RESOLVE_WITHIN);
        _dispute(award);
        Verdict memory verdict;
        (verdict.award, verdict.finding, verdict.due) = (id, 1, 900);
        _next();
        emit IEscrow.Judged(id, ARBITER, 1, 900);
        _next();
        emit IEscrow.Closed(id, IEscrow.State.Judged, 800, PRICE - 800, FEE);
        vm.prank(ARBITER);
        escrow.applyVerdict(award, verdict, "");
    }

    function test_an_escrow_tells_that_a_claim_was_accepted() external {
        Award memory award = _award(PRICE, FEE);
        bytes32 id = _fund(award);
        _claimAll(award);
        (Acceptance memory acceptance, bytes memory signature) = _acceptance(award, 2, PRICE);
        _next();
        emit IEscrow.Released(id, 2, PRICE, PRICE);
        _next();
        emit IEscrow.ClaimAccepted(id, PRICE);
        escrow.release(award, acceptance, signature);
    }

    // Channels

    function test_a_channel_tells_of_its_money() external {
        _enrich(ARBITER);
        ChannelKey memory key = _key(1);
        bytes32 id = channels.channelId(key);
        _next();
        emit IPaymentChannel.ChannelOpened(id, REQUESTER, PROVIDER, REQUESTER, address(token), 1, 1000);
        vm.prank(REQUESTER);
        channels.open(REQUESTER, PROVIDER, address(token), 1000);
        _next();
        emit IPaymentChannel.ToppedUp(id, ARBITER, 500, 1500);
        vm.prank(ARBITER);
        channels.topUp(key, 500);
        Voucher memory voucher = Voucher(id, 1, 100, 0, 0);
        channels.claim(key, voucher, _signVoucher(REQUESTER_KEY, voucher));
        voucher = Voucher(id, 2, 400, 0, 0);
        bytes memory signature = _signVoucher(REQUESTER_KEY, voucher);
        _next();
        emit IPaymentChannel.Claimed(id, 400, 300);
        channels.claim(key, voucher, signature);
        _next();
        emit IPaymentChannel.ExitStarted(id, REQUESTER, uint64(block.timestamp) + CHALLENGE);
        vm.prank(REQUESTER);
        channels.startExit(key);
        vm.warp(block.timestamp + CHALLENGE + 1);
        _next();
        emit IPaymentChannel.Withdrawn(id, REQUESTER, 1100);
        _next();
        emit IPaymentChannel.ChannelClosed(id, 400);
        channels.withdraw(key);
    }

    function test_a_channel_tells_of_holds_and_its_close() external {
        ChannelKey memory key = _key(1);
        bytes32 id = channels.channelId(key);
        vm.prank(REQUESTER);
        channels.open(REQUESTER, PROVIDER, address(token), 1000);
        Award memory award = _award(200, FEE);
        bytes32 leaf = hashes.holdLeaf(_id(award), ARBITER, 200 + FEE);
        Voucher memory voucher = Voucher(id, 7, 100, 200 + FEE, leaf);
        bytes memory signature = _signVoucher(REQUESTER_KEY, voucher);
        _next();
        emit IPaymentChannel.HoldsPresented(id, 7, 100, 200 + FEE, leaf);
        _next();
        emit IPaymentChannel.Claimed(id, 100, 100);
        vm.prank(PROVIDER);
        channels.present(key, voucher, signature, "");
        Verdict memory verdict;
        (verdict.award, verdict.finding, verdict.due) = (_id(award), 1, 150);
        _next();
        emit IPaymentChannel.ExitStarted(id, REQUESTER, uint64(block.timestamp) + CHALLENGE);
        _next();
        emit IPaymentChannel.HoldEnforced(id, verdict.award, ARBITER, 150, FEE);
        vm.prank(ARBITER);
        channels.enforce(key, award, 200 + FEE, new bytes32[](0), verdict, "");
        Close memory agreed = Close({channel: id, cumulative: 300, closeBy: uint64(block.timestamp)});
        bytes memory payers = _signClose(REQUESTER_KEY, agreed);
        bytes memory payees = _signClose(PROVIDER_KEY, agreed);
        _next();
        emit IPaymentChannel.ChannelClosed(id, 300);
        channels.close(key, agreed, payers, payees);
    }

    function test_a_batch_of_claims_tells_why_it_skipped_one() external {
        ChannelKey memory key = _key(1);
        bytes32 id = channels.channelId(key);
        Voucher memory voucher = Voucher(id, 1, 100, 0, 0);
        bytes memory signature = _signVoucher(REQUESTER_KEY, voucher);
        bytes memory item = _packClaim(key, voucher, signature);
        _next();
        emit IPaymentChannel.ClaimSkipped(id, IPaymentChannel.ChannelUnknown.selector);
        channels.claimMany(PROVIDER, address(token), item);
        vm.prank(REQUESTER);
        channels.open(REQUESTER, PROVIDER, address(token), 1000);
        bytes memory forged = _packClaim(key, voucher, new bytes(65));
        _next();
        emit IPaymentChannel.ClaimSkipped(id, ITreasury.BadSignature.selector);
        channels.claimMany(PROVIDER, address(token), forged);
        channels.claimMany(PROVIDER, address(token), item);
        _next();
        emit IPaymentChannel.ClaimSkipped(id, IPaymentChannel.NothingToClaim.selector);
        channels.claimMany(PROVIDER, address(token), item);
    }

    // What all have in common

    function test_a_treasury_tells_of_credits_and_pauses() external {
        RefusingToken refusing = new RefusingToken();
        token = refusing;
        _enrich(REQUESTER);
        Award memory award = _award(PRICE, FEE);
        _fund(award);
        refusing.setRefused(PROVIDER, true);
        (Acceptance memory acceptance, bytes memory signature) = _acceptance(award, 0, 300);
        _next();
        emit ITreasury.Credited(PROVIDER, address(token), 300);
        escrow.release(award, acceptance, signature);
        _next();
        emit ITreasury.CreditWithdrawn(PROVIDER, address(token), STRANGER, 300);
        vm.prank(PROVIDER);
        escrow.withdrawCredit(address(token), STRANGER);
        _next();
        emit ITreasury.Paused(GUARDIAN);
        vm.prank(GUARDIAN);
        escrow.pause();
        _next();
        emit ITreasury.Resumed(GUARDIAN);
        vm.prank(GUARDIAN);
        escrow.resume();
    }

    function test_the_guardian_tells_who_holds_it() external {
        _next();
        emit IGuardian.HandedOver(address(0), REQUESTER);
        Guardian guardian = new Guardian(REQUESTER);
        _next();
        emit IGuardian.Offered(REQUESTER, PROVIDER);
        vm.prank(REQUESTER);
        guardian.offer(PROVIDER);
        _next();
        emit IGuardian.HandedOver(REQUESTER, PROVIDER);
        vm.prank(PROVIDER);
        guardian.accept();
    }

    function _accept(Award memory award, uint32 part, uint128 due) private {
        (Acceptance memory acceptance, bytes memory signature) = _acceptance(award, part, due);
        escrow.release(award, acceptance, signature);
    }
}
