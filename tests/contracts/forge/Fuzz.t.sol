// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Award, ChannelKey, Receipt, Start, Verdict, Voucher} from "../../../contracts/interfaces/MarketTypes.sol";
import {StructHash} from "../../../contracts/libraries/StructHash.sol";
import {Fixture} from "./Fixture.sol";

/// @dev Rules that hold for every amount. Each computes the answer a second time, in the words of docs/spec/contracts.md.
contract FuzzTest is Fixture {
    function testFuzz_the_copied_award_hash_is_the_encoded_one(Award calldata award) external view {
        bytes32 encoded = keccak256(abi.encode(StructHash.AWARD_TYPEHASH, award));
        require(hashes.hashAward(award) == encoded);
    }

    function testFuzz_a_claim_pays_the_lesser_of_voucher_and_deposit(
        uint128 deposit,
        uint128 first,
        uint128 second,
        bool batch
    ) external {
        deposit = uint128(_bound(deposit, 1, 1e30));
        (first, second) = (_near(first, deposit), _near(second, deposit));
        ChannelKey memory key = _open(deposit);
        _claim(key, first, batch);
        _claim(key, second, batch);
        uint256 best = first > second ? first : second;
        _assertEq(token.balanceOf(PROVIDER), best < deposit ? best : deposit, "paid to the payee");
    }

    function testFuzz_an_exit_leaves_the_larger_of_claimed_and_reserved(
        uint128 deposit,
        uint128 base,
        uint128 held,
        uint128 newer
    ) external {
        deposit = uint128(_bound(deposit, 1, 1e30));
        (base, held, newer) = (_near(base, deposit), _near(held, deposit), _near(newer, deposit));
        ChannelKey memory key = _open(deposit);
        _present(key, base, held, 0);
        _claim(key, newer, false);
        vm.prank(REQUESTER);
        channels.startExit(key);
        vm.warp(block.timestamp + CHALLENGE + 1);
        uint256 before = token.balanceOf(REQUESTER);
        try channels.withdraw(key) {} catch {}

        uint256 claimed = _min(base > newer ? base : newer, deposit);
        uint256 reserve = held == 0 ? claimed : _max(claimed, _min(uint256(base) + held, deposit));
        _assertEq(token.balanceOf(PROVIDER), claimed, "claimed");
        _assertEq(token.balanceOf(REQUESTER) - before, deposit - reserve, "withdrawn");
        _assertEq(token.balanceOf(address(channels)), reserve - claimed, "kept for the holds");

        vm.warp(block.timestamp + HOLD_PERIOD);
        try channels.withdraw(key) {} catch {}
        _assertEq(token.balanceOf(address(channels)), 0, "kept after the hold period");
    }

    struct Case {
        uint128 deposit;
        uint128 base;
        uint128 price;
        uint128 paid;
        uint128 due;
        bool requesterLost;
    }

    function testFuzz_a_verdict_moves_one_hold_and_no_more(Case memory c) external {
        c.deposit = uint128(_bound(c.deposit, 1000, 1e30));
        c.base = _near(c.base, c.deposit);
        c.price = uint128(_bound(c.price, 1, 1e30));
        c.paid = uint128(_bound(c.paid, 0, c.price));
        c.due = uint128(_bound(c.due, 0, c.price));
        ChannelKey memory key = _open(c.deposit);
        _judge(key, _award(c.price, 500), c);

        uint256 owed = c.due > c.paid ? c.due - c.paid : 0;
        uint256 payee = _min(uint256(c.base) + owed, c.deposit);
        uint256 fee = c.requesterLost ? _min(500, c.deposit - payee) : 0;
        _assertEq(token.balanceOf(PROVIDER), payee, "to the payee");
        _assertEq(token.balanceOf(ARBITER), fee, "to the arbiter");
        vm.warp(block.timestamp + CHALLENGE + 1);
        try channels.withdraw(key) {} catch {}
        _assertEq(token.balanceOf(address(channels)), 0, "left with no hold to wait for");
    }

    function testFuzz_a_split_rounds_down_and_keeps_every_base_unit(uint128 price, uint128 due, uint16 bps) external {
        price = uint128(_bound(price, 1, 1e28));
        due = uint128(_bound(due, 1, price));
        Award memory award = _award(price, 7);
        award.splitBps = uint16(_bound(bps, 0, 10_000));
        vm.prank(REQUESTER);
        escrow.fund(award, "");
        bytes32 id = escrow.digestOf(award);
        Start memory start = Start({award: id, startedAt: 0});
        Receipt memory receipt;
        receipt.award = id;
        receipt.due = due;
        bytes memory startSignature = _sign(PROVIDER_KEY, _marketDigest(hashes.hashStart(start)));
        bytes memory receiptSignature = _sign(PROVIDER_KEY, _marketDigest(hashes.hashReceipt(receipt)));
        vm.prank(PROVIDER);
        escrow.claim(award, start, startSignature, receipt, receiptSignature);
        vm.prank(REQUESTER);
        escrow.dispute(award);
        vm.warp(block.timestamp + RESOLVE_WITHIN + 1);
        escrow.split(award);

        _assertEq(token.balanceOf(PROVIDER), uint256(due) * award.splitBps / 10_000, "to the provider");
        _assertEq(token.balanceOf(PROVIDER) + token.balanceOf(REQUESTER), token.totalSupply(), "in all");
    }

    function _open(uint128 deposit) private returns (ChannelKey memory) {
        vm.prank(REQUESTER);
        channels.open(REQUESTER, PROVIDER, address(token), deposit);
        return _key(1);
    }

    function _judge(ChannelKey memory key, Award memory award, Case memory c) private {
        uint128 amount = award.price + award.disputeFee - c.paid;
        bytes32 id = _marketDigest(hashes.hashAward(award));
        _present(key, c.base, amount, hashes.holdLeaf(id, ARBITER, amount));
        Verdict memory verdict;
        verdict.award = id;
        verdict.due = c.due;
        verdict.finding = c.requesterLost ? 1 : 0;
        vm.prank(ARBITER);
        channels.enforce(key, award, amount, new bytes32[](0), verdict, "");
    }

    function _claim(ChannelKey memory key, uint128 cumulative, bool batch) private {
        bytes32 id = channels.channelId(key);
        Voucher memory voucher = Voucher(id, 9, cumulative, cumulative, keccak256("holds"));
        if (!batch) {
            try channels.claim(key, voucher, _signVoucher(REQUESTER_KEY, voucher)) {} catch {}
            return;
        }
        bytes memory item = _packClaim(key, voucher, _signVoucher(REQUESTER_KEY, voucher));
        channels.claimMany(PROVIDER, address(token), item);
    }

    function _present(ChannelKey memory key, uint128 base, uint128 held, bytes32 holds) private {
        Voucher memory voucher = Voucher(channels.channelId(key), 1, base, held, holds);
        bytes memory signature = _signVoucher(REQUESTER_KEY, voucher);
        vm.prank(PROVIDER);
        channels.present(key, voucher, signature, "");
    }

    /// @dev Half of the time within 2 of `pivot`, where the off-by-one errors are.
    function _near(uint128 value, uint128 pivot) private pure returns (uint128) {
        if (value % 2 == 0) return uint128(_bound(value, 0, 2 * uint256(pivot)));
        uint256 shifted = uint256(pivot) + value % 5;
        return uint128(shifted < 2 ? 0 : shifted - 2);
    }

    function _bound(uint256 value, uint256 low, uint256 high) private pure returns (uint256) {
        return low + value % (high - low + 1);
    }

    function _min(uint256 a, uint256 b) private pure returns (uint256) {
        return a < b ? a : b;
    }

    function _max(uint256 a, uint256 b) private pure returns (uint256) {
        return a > b ? a : b;
    }
}
