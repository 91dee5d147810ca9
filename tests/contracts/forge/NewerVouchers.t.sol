// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";

import {IPaymentChannel} from "../../../contracts/interfaces/IPaymentChannel.sol";
import {Award, ChannelKey, Verdict, Voucher} from "../../../contracts/interfaces/MarketTypes.sol";
import {Fixture} from "./Fixture.sol";

/// @dev P5, P8, P12: what the payer signed after the presented voucher is not lost when somebody enforces on that one, and
/// nothing of it is paid twice. Award X has price 500 and fee 50, award Z price 100 and fee 10; the deposit is 1000.
contract NewerVouchersTest is Fixture {
    uint128 private constant DEPOSIT = 1000;
    uint128 private constant X = 550;
    uint128 private constant Z = 110;

    ChannelKey private key;
    bytes32 private id;
    Award private x;
    Award private z;

    function setUp() public override {
        super.setUp();
        (x, z) = (_award(500, 50), _award(100, 10));
        _openOne();
    }

    /// @dev The attack: a verdict is out, newer vouchers are not on chain, and the payer (or a stranger) enforces first. 300 was
    /// paid for other work since, so 300 + 200 is owed.
    function test_whoever_enforces_first_the_payee_gets_the_newer_voucher_and_the_verdict() external {
        _present(1, 0, X);
        _enforceX(X, 200, 1);
        _assertEq(token.balanceOf(PROVIDER), 200, "by the verdict");
        _claim(2, 300);
        _assertEq(token.balanceOf(PROVIDER), 300, "the greater of the two, since 300 may be for the same work");
        _present(3, 300, X);
        _enforceX(X, 200, 1);
        _assertEq(token.balanceOf(PROVIDER), 500, "its hold tells that 300 was for other work");
        _assertEq(token.balanceOf(ARBITER), 50, "one fee");
        _endByTime();
        _assertEq(_refund(), DEPOSIT - 550, "back");
    }

    function test_all_orders_of_claiming_presenting_and_enforcing_come_to_the_same() external {
        for (uint256 order = 0; order < 6; ++order) {
            _openOne();
            uint256 payee = token.balanceOf(PROVIDER);
            uint256 arbiter = token.balanceOf(ARBITER);
            _present(1, 100, X);
            if (order == 0 || order == 1 || order == 5) _enforceX(X, 200, 1);
            if (order == 0 || order == 2) _claim(2, 500);
            _present(2, 500, X);
            if (order == 1 || order == 3) _fails(_claiming(2, 500), IPaymentChannel.NothingToClaim.selector);
            _enforceX(X, 200, 1);
            if (order == 4 || order == 5) _fails(_claiming(2, 500), IPaymentChannel.NothingToClaim.selector);
            _assertEq(token.balanceOf(PROVIDER) - payee, 700, "payee");
            _assertEq(token.balanceOf(ARBITER) - arbiter, 50, "arbiter");
            _endByTime();
        }
        _assertEq(
            token.balanceOf(REQUESTER), token.totalSupply() - 6 * 750 - DEPOSIT, "payer, with one more channel open"
        );
    }

    /// @dev A newer voucher that has paid for the judged work: nothing is paid for it again, in part or in whole.
    function test_what_a_newer_voucher_paid_for_the_same_award_is_not_paid_again() external {
        uint128[4] memory paid = [uint128(100), 400, 450, 500];
        for (uint256 i = 0; i < paid.length; ++i) {
            _openOne();
            uint256 before = token.balanceOf(PROVIDER);
            _present(1, 0, X);
            _enforceX(X, 400, 1);
            _present(2, paid[i], X - paid[i]); // M3: from the hold to `cumulative`
            _enforceX(X - paid[i], 400, 1);
            _assertEq(token.balanceOf(PROVIDER) - before, paid[i] > 400 ? paid[i] : 400, "in all");
        }
        _assertEq(token.balanceOf(ARBITER), 4 * 50, "fees");
    }

    function test_the_rest_waits_for_the_end_of_the_exit_that_an_enforcement_begins() external {
        _present(1, 0, X);
        vm.warp(T0 + 7);
        _enforceX(X, 200, 0);
        _assertEq(channels.stateOf(id).exitsAt, T0 + 7 + CHALLENGE, "a whole challenge");
        bytes memory withdraw = abi.encodeCall(channels.withdraw, (key));
        _fails(withdraw, IPaymentChannel.ExitNotOver.selector);
        vm.warp(T0 + 7 + CHALLENGE);
        _fails(withdraw, IPaymentChannel.ExitNotOver.selector);
        _claim(2, 900); // the last second
        vm.warp(T0 + 8 + CHALLENGE);
        _assertEq(channels.withdraw(key), 100, "withdrawn");
        _assertEq(token.balanceOf(PROVIDER), 900, "the payee");
    }

    function test_an_enforcement_moves_no_exit_that_runs_or_is_over() external {
        vm.prank(REQUESTER);
        channels.startExit(key);
        _presentBoth(1, 0);
        vm.warp(T0 + CHALLENGE - 1);
        _enforce(x, X, 200, 0, _leaf(z, Z));
        _assertEq(channels.stateOf(id).exitsAt, T0 + CHALLENGE, "running");
        vm.warp(T0 + CHALLENGE + 1);
        _assertEq(channels.withdraw(key), DEPOSIT - 200 - Z, "all but the other hold");
        _enforce(z, Z, 100, 1, _leaf(x, X));
        _assertEq(token.balanceOf(PROVIDER) + token.balanceOf(ARBITER), 310, "the other hold");
        _assertEq(channels.stateOf(id).exitsAt, 0, "empty, so closed");
    }

    function test_the_other_holds_wait_their_full_time() external {
        _presentBoth(1, 0);
        _enforce(x, X, 500, 0, _leaf(z, Z));
        _assertEq(channels.stateOf(id).held, Z, "held");
        vm.warp(T0 + CHALLENGE + 1);
        _assertEq(channels.withdraw(key), DEPOSIT - 500 - Z, "free");
        bytes memory withdraw = abi.encodeCall(channels.withdraw, (key));
        vm.warp(T0 + CHALLENGE + HOLD_PERIOD);
        _fails(withdraw, IPaymentChannel.ExitNotOver.selector);
        uint256 before = vm.snapshotState();
        _enforce(z, Z, 60, 1, _leaf(x, X));
        _assertEq(token.balanceOf(PROVIDER), 560, "in the last second");
        vm.revertToState(before);
        vm.warp(T0 + CHALLENGE + HOLD_PERIOD + 1);
        _assertEq(channels.withdraw(key), Z, "never judged");
    }

    function test_no_older_voucher_is_presented_after_an_enforcement_and_newer_ones_are() external {
        _present(5, 0, X);
        _enforceX(X, 200, 1);
        for (uint64 sequence = 0; sequence < 6; ++sequence) {
            _fails(_presenting(sequence, 900, X), IPaymentChannel.StaleVoucher.selector);
        }
        _fails(_enforcing(x, X, 200, 1, 0), IPaymentChannel.HoldAlreadyEnforced.selector);
        _present(6, 100, X); // as a tower with an old order would
        _present(7, 400, X);
        _enforceX(X, 200, 1);
        _fails(_enforcing(x, X, 200, 1, 0), IPaymentChannel.HoldAlreadyEnforced.selector);
        _assertEq(token.balanceOf(PROVIDER), 600, "the newest, and the verdict");
    }

    /// @dev Holds of work that began after the presented voucher are not lost either.
    function test_a_hold_that_only_a_newer_voucher_has_is_enforced_after_the_first_enforcement() external {
        _present(1, 0, X);
        _enforceX(X, 200, 1);
        _fails(_enforcing(z, Z, 100, 1, _leaf(x, X)), IPaymentChannel.HoldUnknown.selector);
        _presentBoth(2, 0);
        _enforce(z, Z, 100, 1, _leaf(x, X));
        _enforce(x, X, 200, 1, _leaf(z, Z));
        _assertEq(token.balanceOf(PROVIDER), 300, "payee");
        _assertEq(token.balanceOf(ARBITER), 60, "a fee for each");
    }

    /// @dev The fee is taken from what the payee's total leaves when the verdict is enforced. A payer that signed everything away
    /// first has paid everything away; afterwards the fee is gone from what newer vouchers find.
    function test_a_fee_is_starved_only_by_giving_the_deposit_to_the_payee_first() external {
        _present(1, 0, X);
        uint256 before = vm.snapshotState();
        _claim(2, DEPOSIT);
        _enforceX(X, 0, 1);
        _assertEq(token.balanceOf(ARBITER), 0, "nothing is left");
        _assertEq(token.balanceOf(PROVIDER), DEPOSIT, "the payee has all");
        _fails(abi.encodeCall(channels.withdraw, (key)), IPaymentChannel.ChannelUnknown.selector);

        vm.revertToState(before);
        _enforceX(X, 0, 1);
        _claim(2, DEPOSIT);
        _assertEq(token.balanceOf(ARBITER), 50, "first come");
        _assertEq(token.balanceOf(PROVIDER), DEPOSIT - 50, "what is there");
    }

    /// @dev A voucher that promises the whole deposit, and keeps the hold: fee, total and verdict all fit, in whatever order.
    function test_where_the_hold_is_kept_the_fee_takes_nothing_from_the_payee() external {
        _present(1, 0, X);
        _enforceX(X, 500, 1);
        _present(2, DEPOSIT - X, X);
        _enforceX(X, 500, 1);
        _assertEq(token.balanceOf(PROVIDER), DEPOSIT - 50, "payee");
        _assertEq(token.balanceOf(ARBITER), 50, "arbiter");
        _assertEq(channels.stateOf(id).deposit, 0, "closed");
    }

    function test_all_this_goes_on_while_new_business_is_paused() external {
        vm.prank(GUARDIAN);
        channels.pause();
        _present(1, 0, X);
        _enforceX(X, 200, 1);
        _claim(2, 300);
        _present(3, 300, X);
        _enforceX(X, 200, 1);
        _endByTime();
        _assertEq(token.balanceOf(address(channels)), 0, "left");
    }

    function test_absurd_totals_and_verdicts_on_them_overflow_nothing() external {
        _present(1, 0, X);
        _enforceX(X, 200, 1);
        _present(2, type(uint128).max, X);
        _enforceX(X, 500, 1);
        _assertEq(token.balanceOf(PROVIDER), DEPOSIT - 50, "everything that the fee left");
        _assertEq(channels.stateOf(id).deposit, 0, "closed");
    }

    function test_a_hold_counts_as_enforced_on_the_voucher_presented_last_and_for_ever_in_the_end() external {
        bytes32 award = _id(x);
        require(!channels.isEnforced(id, award), "before");
        _present(1, 0, X);
        _enforceX(X, 200, 1);
        require(channels.isEnforced(id, award), "enforced");
        _present(2, 10, X);
        require(!channels.isEnforced(id, award), "not on this one");
        _enforceX(X, 200, 1);
        require(channels.isEnforced(id, award), "on this one");
        _endByTime();
        require(channels.isEnforced(id, award), "closed");
    }

    function test_an_enforcement_tells_of_the_exit_that_it_begins() external {
        _present(1, 0, X);
        bytes memory enforce = _enforcing(x, X, 200, 1, 0);
        bytes32 award = _id(x);
        vm.expectEmit(true, true, true, true);
        emit IPaymentChannel.ExitStarted(id, REQUESTER, uint64(T0) + CHALLENGE);
        vm.expectEmit(true, true, true, true);
        emit IPaymentChannel.HoldEnforced(id, award, ARBITER, 200, 50);
        _do(enforce);
    }

    /// @dev Two vouchers, one award, any verdict, any order: each side gets what one voucher gives, and the fee is paid once.
    function testFuzz_the_payees_total_is_the_greatest_that_one_voucher_gives(
        uint128 old,
        uint128 grown,
        uint128 paid,
        uint128 due,
        uint8 order
    ) external {
        (old, paid, due) = (old % 400, paid % 501, due % 501);
        uint128 newer = old + paid + grown % 300;
        _present(1, old, X);
        bool enforcesFirst = order & 1 != 0;
        bool presents = order & 2 != 0;
        bool enforcesLast = !enforcesFirst || order & 4 != 0;
        if (enforcesFirst) _enforceX(X, due, 1);
        if (order & 8 != 0) _try(_claiming(2, newer));
        if (presents) _try(_presenting(2, newer, X - paid));
        bool known = presents && channels.stateOf(id).sequence == 2;
        if (enforcesLast) _try(_enforcing(x, known ? X - paid : X, due, 1, 0));
        _try(_claiming(2, newer));

        uint256 byOld = uint256(old) + (enforcesFirst || !known ? due : 0);
        uint256 byNew = uint256(newer) + (known && enforcesLast && due > paid ? due - paid : 0);
        uint256 best = byOld > byNew ? byOld : byNew;
        uint256 got = token.balanceOf(PROVIDER);
        // The fee goes out with the first verdict; only what is promised beyond the deposit runs short by it.
        require(got == best || (best > DEPOSIT - 50 && got >= DEPOSIT - 50 && got <= DEPOSIT), "payee");
        require(token.balanceOf(ARBITER) <= 50, "a second fee");
        if (best <= DEPOSIT - 50) _assertEq(token.balanceOf(ARBITER), 50, "fee");
        if (channels.stateOf(id).deposit != 0) _endByTime();
        _assertEq(token.balanceOf(address(channels)), 0, "left");
    }

    // ---------------------------------------------------------------------------------------------- helpers

    function _openOne() private {
        vm.prank(REQUESTER);
        channels.open(REQUESTER, PROVIDER, address(token), DEPOSIT);
        key = _key(channels.counterOf(REQUESTER));
        id = channels.channelId(key);
    }

    /// @dev Present a voucher with one hold of `amount` for X.
    function _present(uint64 sequence, uint128 cumulative, uint128 amount) private {
        _do(_presenting(sequence, cumulative, amount));
    }

    function _presenting(uint64 sequence, uint128 cumulative, uint128 amount) private view returns (bytes memory) {
        return _presentation(Voucher(id, sequence, cumulative, amount, _leaf(x, amount)));
    }

    function _presentBoth(uint64 sequence, uint128 cumulative) private {
        bytes32 root = MerkleProof.processProof(_single(_leaf(z, Z)), _leaf(x, X));
        _do(_presentation(Voucher(id, sequence, cumulative, X + Z, root)));
    }

    function _presentation(Voucher memory voucher) private view returns (bytes memory) {
        bytes memory payer = _signVoucher(REQUESTER_KEY, voucher);
        bytes memory payee = _signVoucher(PROVIDER_KEY, voucher);
        return abi.encodeCall(channels.present, (key, voucher, payer, payee));
    }

    function _claim(uint64 sequence, uint128 cumulative) private {
        _do(_claiming(sequence, cumulative));
    }

    function _claiming(uint64 sequence, uint128 cumulative) private view returns (bytes memory) {
        Voucher memory voucher = Voucher(id, sequence, cumulative, 0, 0);
        return abi.encodeCall(channels.claim, (key, voucher, _signVoucher(REQUESTER_KEY, voucher)));
    }

    function _enforceX(uint128 amount, uint128 due, uint8 finding) private {
        _enforce(x, amount, due, finding, 0);
    }

    function _enforce(Award memory award, uint128 amount, uint128 due, uint8 finding, bytes32 sibling) private {
        _do(_enforcing(award, amount, due, finding, sibling));
    }

    /// @dev By anybody, with the arbiter's signature.
    function _enforcing(Award memory award, uint128 amount, uint128 due, uint8 finding, bytes32 sibling)
        private
        view
        returns (bytes memory)
    {
        Verdict memory verdict;
        (verdict.award, verdict.due, verdict.finding) = (_id(award), due, finding);
        bytes memory signature = _sign(ARBITER_KEY, _marketDigest(hashes.hashVerdict(verdict)));
        bytes32[] memory proof = sibling == 0 ? new bytes32[](0) : _single(sibling);
        return abi.encodeCall(channels.enforce, (key, award, amount, proof, verdict, signature));
    }

    /// @dev No party does anything any more: a stranger ends the channel when its times are over.
    function _endByTime() private {
        vm.warp(block.timestamp + CHALLENGE + HOLD_PERIOD + 1);
        channels.withdraw(key);
        _assertEq(channels.stateOf(id).deposit, 0, "not ended by time alone");
    }

    function _refund() private view returns (uint256) {
        return token.balanceOf(REQUESTER) + DEPOSIT - token.totalSupply();
    }

    function _do(bytes memory data) private {
        (bool success, bytes memory answer) = address(channels).call(data);
        if (!success) {
            assembly ("memory-safe") {
                revert(add(answer, 0x20), mload(answer))
            }
        }
    }

    function _try(bytes memory data) private {
        (bool success,) = address(channels).call(data);
        success;
    }

    function _fails(bytes memory data, bytes4 reason) private {
        _refused(address(channels), GUARDIAN, data, reason);
    }

    function _leaf(Award memory award, uint128 amount) private view returns (bytes32) {
        return hashes.holdLeaf(_id(award), ARBITER, amount);
    }

    function _single(bytes32 value) private pure returns (bytes32[] memory list) {
        list = new bytes32[](1);
        list[0] = value;
    }

    function _id(Award memory award) private view returns (bytes32) {
        return _marketDigest(hashes.hashAward(award));
    }
}
