// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Escrow} from "../../../contracts/Escrow.sol";
import {PaymentChannel} from "../../../contracts/PaymentChannel.sol";
import {IPaymentChannel} from "../../../contracts/interfaces/IPaymentChannel.sol";
import {ITreasury} from "../../../contracts/interfaces/ITreasury.sol";
import {Acceptance, Award, ChannelKey, Close, Verdict, Voucher} from "../../../contracts/interfaces/MarketTypes.sol";
import {PackedClaim} from "../../../contracts/libraries/PackedClaim.sol";
import {FalseToken, FeeToken, ReentrantToken} from "../../../contracts/mocks/HostileTokens.sol";
import {Fixture} from "./Fixture.sol";

/// @dev Known attacks on channels and escrows, replayed on ours.
contract RailAttacksTest is Fixture {
    /// @dev The test machine's chain. (`block.chainid` kept in a variable is read anew by the IR's code.)
    uint256 private constant HOME = 31_337;
    uint256 private constant ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;

    // ---------------------------------------------------------------------------------------------- the token calls back

    /// @dev In the middle of a deposit: a second deposit inside would be counted for both.
    function test_a_deposit_inside_a_deposit_is_refused() external {
        ReentrantToken hostile = _reentrant();
        Award memory award = _award(1000, 5);
        Award memory inner = _award(7, 0);
        inner.requester = address(hostile);
        hostile.mint(address(hostile), 1000);
        bytes[4] memory payloads = [
            abi.encodeCall(escrow.fund, (inner, "")),
            abi.encodeCall(escrow.fundMany, (bytes.concat(bytes20(address(hostile)), _packFund(inner)))),
            abi.encodeCall(escrow.withdrawCredit, (address(hostile), address(hostile))),
            abi.encodeCall(ITreasury.permit, (address(hostile), 1, block.timestamp, 27, 0, 0))
        ];
        for (uint16 i = 0; i < payloads.length; ++i) {
            award.slot = i;
            hostile.arm(address(escrow), payloads[i]);
            vm.prank(REQUESTER);
            escrow.fund(award, "");
            require(!hostile.reentered(), "a door was open");
        }
    }

    function test_a_multicall_is_no_way_around_the_lock() external {
        ReentrantToken hostile = _reentrant();
        ChannelKey memory key = _openFor(1000);
        bytes[] memory calls = new bytes[](1);
        (Voucher memory second, bytes memory signature) = _voucher(key, 2, 400);
        calls[0] = abi.encodeCall(channels.claim, (key, second, signature));
        hostile.arm(address(channels), abi.encodeCall(channels.multicall, (calls)));
        (Voucher memory first, bytes memory firstSignature) = _voucher(key, 1, 100);
        channels.claim(key, first, firstSignature);
        require(!hostile.reentered(), "the lock was open");
        _assertEq(hostile.balanceOf(PROVIDER), 100, "paid");
    }

    /// @dev From a payout, at every entry that pays: each finds every other closed.
    function test_no_entry_is_open_while_an_escrow_pays() external {
        ReentrantToken hostile = _reentrant();
        Award memory award = _award(1000, 5);
        vm.prank(REQUESTER);
        escrow.fund(award, "");
        Acceptance memory acceptance = Acceptance({award: _id(award), part: 0, receipt: 0, due: 400});
        bytes memory signature = _sign(REQUESTER_KEY, _marketDigest(hashes.hashAcceptance(acceptance)));
        bytes memory item = _packRelease(award, acceptance, signature);
        bytes[4] memory payloads = [
            abi.encodeCall(escrow.release, (award, acceptance, signature)),
            abi.encodeCall(escrow.releaseMany, (bytes.concat(bytes20(address(hostile)), item))),
            abi.encodeCall(escrow.refund, (award)),
            abi.encodeCall(escrow.payClaim, (award))
        ];
        for (uint128 i = 0; i < payloads.length; ++i) {
            hostile.arm(address(escrow), payloads[i]);
            Acceptance memory part = Acceptance({award: _id(award), part: 0, receipt: 0, due: 10 * (i + 1)});
            vm.prank(REQUESTER);
            escrow.release(award, part, "");
            require(!hostile.reentered(), "a door was open");
        }
        _assertEq(hostile.balanceOf(PROVIDER), 40, "paid");
    }

    // ---------------------------------------------------------------------------------------------- bad tokens

    function test_a_token_with_a_fee_is_refused_by_every_deposit() external {
        token = new FeeToken();
        _enrich(REQUESTER);
        _refuseDeposits(ITreasury.InexactDeposit.selector);
    }

    function test_a_token_that_answers_false_deposits_nothing() external {
        FalseToken liar = new FalseToken();
        token = liar;
        _enrich(REQUESTER);
        liar.setFailing(true);
        bytes memory data = abi.encodeCall(escrow.fundMany, (_funding(_award(1000, 5))));
        vm.prank(REQUESTER);
        (bool success,) = address(escrow).call(data);
        require(!success, "locked nothing, recorded something");
    }

    function test_an_address_without_a_token_is_named() external {
        Award memory award = _award(1000, 5);
        award.token = address(0x70C);
        bytes memory batch = bytes.concat(bytes20(award.token), _packFund(award));
        _refused(address(escrow), REQUESTER, abi.encodeCall(escrow.fund, (award, "")), ITreasury.NotAToken.selector);
        _refused(address(escrow), REQUESTER, abi.encodeCall(escrow.fundMany, (batch)), ITreasury.NotAToken.selector);
    }

    // ---------------------------------------------------------------------------------------------- signatures

    /// @dev Each signature has a twin with the other s, that the precompile would take as well.
    function test_the_twin_of_a_signature_is_refused_everywhere() external {
        ChannelKey memory key = _openFor(1000);
        (Voucher memory voucher, bytes memory good) = _voucher(key, 1, 400);
        bytes memory twin = _twin(good);
        _refused(
            address(channels),
            PROVIDER,
            abi.encodeCall(channels.claim, (key, voucher, twin)),
            ITreasury.BadSignature.selector
        );
        channels.claimMany(PROVIDER, address(token), _packClaim(key, voucher, twin));
        _assertEq(token.balanceOf(PROVIDER), 0, "paid");
        Award memory award = _award(1000, 5);
        vm.prank(REQUESTER);
        escrow.fundMany(_funding(award));
        Acceptance memory acceptance = Acceptance({award: _id(award), part: 3, receipt: 0, due: 1000});
        twin = _twin(_sign(REQUESTER_KEY, _marketDigest(hashes.hashAcceptance(acceptance))));
        bytes memory items = bytes.concat(bytes20(address(token)), _packRelease(award, acceptance, twin));
        _refused(
            address(escrow), PROVIDER, abi.encodeCall(escrow.releaseMany, (items)), ITreasury.BadSignature.selector
        );
    }

    /// @dev Whatever bytes stand where a signature should: nobody's, and never the zero address's.
    function testFuzz_no_garbage_is_a_signature(bytes calldata garbage, bytes32 r, bytes32 s, uint8 v) external {
        ChannelKey memory key = _openFor(1000);
        (Voucher memory voucher,) = _voucher(key, 1, 400);
        bytes4 bad = ITreasury.BadSignature.selector;
        _refused(address(channels), PROVIDER, abi.encodeCall(channels.claim, (key, voucher, garbage)), bad);
        bytes memory packed = abi.encodePacked(r, s, v);
        _refused(address(channels), PROVIDER, abi.encodeCall(channels.claim, (key, voucher, packed)), bad);
    }

    function test_what_was_signed_for_another_chain_or_contract_is_worth_nothing_here() external {
        ChannelKey memory key = _openFor(1000);
        (Voucher memory voucher, bytes memory signature) = _voucher(key, 1, 400);
        PaymentChannel twin = new PaymentChannel(address(escrow), CHALLENGE, HOLD_PERIOD, GUARDIAN);
        vm.startPrank(REQUESTER);
        token.approve(address(twin), 1000);
        twin.open(REQUESTER, PROVIDER, address(token), 1000); // the same key, so the same id
        vm.stopPrank();
        bytes memory claim = abi.encodeCall(channels.claim, (key, voucher, signature));
        _refused(address(twin), PROVIDER, claim, ITreasury.BadSignature.selector);

        Award memory award = _award(1000, 5);
        vm.prank(REQUESTER);
        escrow.fundMany(_funding(award));
        Acceptance memory acceptance = Acceptance({award: _id(award), part: 3, receipt: 0, due: 1000});
        bytes memory accepted = _sign(REQUESTER_KEY, _marketDigest(hashes.hashAcceptance(acceptance)));
        Escrow other = new Escrow(1, GUARDIAN);
        bytes memory release = abi.encodeCall(escrow.release, (award, acceptance, accepted));
        (bool success,) = address(other).call(release);
        require(!success, "released elsewhere");

        vm.chainId(HOME + 1); // the chain splits, and the state with it
        _refused(address(channels), PROVIDER, claim, ITreasury.BadSignature.selector);
        (success,) = address(escrow).call(release);
        require(!success, "released on the other branch");
        vm.chainId(HOME);
        channels.claim(key, voucher, signature);
        escrow.release(award, acceptance, accepted);
        _assertEq(token.balanceOf(PROVIDER), 1400, "here it counts");
    }

    // ---------------------------------------------------------------------------------------------- channels

    function test_a_closed_channels_id_never_comes_back() external {
        ChannelKey memory key = _openFor(1000);
        (Voucher memory voucher, bytes memory signature) = _voucher(key, 1, 400);
        Close memory agreed = Close({channel: voucher.channel, cumulative: 0, closeBy: uint64(block.timestamp)});
        channels.close(key, agreed, _signClose(REQUESTER_KEY, agreed), _signClose(PROVIDER_KEY, agreed));
        _openFor(1000); // the same parties and token
        bytes memory claim = abi.encodeCall(channels.claim, (key, voucher, signature));
        _refused(address(channels), PROVIDER, claim, IPaymentChannel.ChannelUnknown.selector);
        bytes memory top = abi.encodeCall(channels.topUp, (key, 1000));
        _refused(address(channels), REQUESTER, top, IPaymentChannel.ChannelUnknown.selector);
        claim = abi.encodeCall(channels.claim, (_key(2), voucher, signature));
        _refused(address(channels), PROVIDER, claim, IPaymentChannel.WrongChannel.selector);
    }

    /// @dev The payer signs two vouchers with one sequence, and holds in the worse one: the total decides what is paid, and the
    /// first presented stands.
    function test_equal_and_stale_sequences_pay_the_most_and_replace_nothing() external {
        ChannelKey memory key = _openFor(1000);
        (Voucher memory more, bytes memory signedMore) = _voucher(key, 5, 400);
        (Voucher memory less, bytes memory signedLess) = _voucher(key, 5, 300);
        (Voucher memory stale, bytes memory signedStale) = _voucher(key, 4, 500);
        channels.present(key, more, signedMore, _signVoucher(PROVIDER_KEY, more));
        bytes memory again = abi.encodeCall(channels.present, (key, less, signedLess, _signVoucher(PROVIDER_KEY, less)));
        _refused(address(channels), REQUESTER, again, IPaymentChannel.StaleVoucher.selector);
        again = abi.encodeCall(channels.present, (key, stale, signedStale, _signVoucher(PROVIDER_KEY, stale)));
        _refused(address(channels), REQUESTER, again, IPaymentChannel.StaleVoucher.selector);
        _refused(
            address(channels),
            PROVIDER,
            abi.encodeCall(channels.claim, (key, less, signedLess)),
            IPaymentChannel.NothingToClaim.selector
        );
        channels.claim(key, stale, signedStale); // totals count by their size, whatever their number
        _assertEq(token.balanceOf(PROVIDER), 500, "paid");
    }

    /// @dev Dust before a close, a claim or an exit changes nobody's share, and none can be thrown in while a payer leaves.
    function test_dust_thrown_in_first_changes_nobodys_share() external {
        _enrich(ARBITER);
        ChannelKey memory key = _openFor(1000);
        Close memory agreed =
            Close({channel: channels.channelId(key), cumulative: 1000, closeBy: uint64(block.timestamp)});
        vm.prank(ARBITER);
        channels.topUp(key, 1);
        uint256 before = token.balanceOf(REQUESTER);
        channels.close(key, agreed, _signClose(REQUESTER_KEY, agreed), _signClose(PROVIDER_KEY, agreed));
        _assertEq(token.balanceOf(PROVIDER), 1000, "to the payee");
        _assertEq(token.balanceOf(REQUESTER) - before, 1, "the dust is the payer's");

        key = _openFor(1000);
        vm.prank(REQUESTER);
        channels.startExit(key);
        bytes memory dust = abi.encodeCall(channels.topUp, (key, 1));
        _refused(address(channels), ARBITER, dust, IPaymentChannel.ExitPending.selector);
        vm.prank(ARBITER);
        require(token.transfer(address(channels), 1));
        vm.warp(block.timestamp + CHALLENGE + 1);
        _assertEq(channels.withdraw(key), 1000, "withdrawn");
    }

    /// @dev Nothing that anybody does moves the end of an exit back: not a second start, not a presentation, not a verdict.
    function test_an_exit_ends_when_it_said_whatever_anybody_does() external {
        ChannelKey memory key = _openFor(1000);
        vm.prank(REQUESTER);
        channels.startExit(key);
        bytes32 id = channels.channelId(key);
        uint64 end = channels.stateOf(id).exitsAt;
        vm.warp(end - 1);
        bytes memory again = abi.encodeCall(channels.startExit, (key));
        _refused(address(channels), REQUESTER, again, IPaymentChannel.ExitPending.selector);
        _refused(address(channels), PROVIDER, again, IPaymentChannel.NotPayer.selector);
        Award memory award = _award(100, 10);
        _presentHold(key, 7, 0, award);
        _assertEq(channels.stateOf(id).exitsAt, end, "after a presentation");
        _enforce(key, award, 50);
        _assertEq(channels.stateOf(id).exitsAt, end, "after a verdict");
        bytes memory withdraw = abi.encodeCall(channels.withdraw, (key));
        _refused(address(channels), REQUESTER, withdraw, IPaymentChannel.ExitNotOver.selector);
        vm.warp(end + 1);
        _assertEq(channels.withdraw(key), 950, "withdrawn");
    }

    /// @dev P8: a hold is enforced once on a voucher, and the payee has the greatest that one voucher gives, never a sum.
    function test_a_hold_pays_once_and_on_one_voucher() external {
        ChannelKey memory key = _openFor(1000);
        Award memory award = _award(100, 10);
        _presentHold(key, 1, 200, award);
        (Voucher memory newer, bytes memory signature) = _voucher(key, 2, 300); // pays for the same work
        channels.claim(key, newer, signature);
        _enforce(key, award, 100);
        _assertEq(token.balanceOf(PROVIDER), 300, "200 and 100 are in the 300 that were claimed");
        (Voucher memory later, bytes memory signedLater) = _voucher(key, 3, 900);
        _assertEq(channels.claim(key, later, signedLater), 600, "900 in all");
    }

    /// @dev The leaf names one arbiter, one award and one amount; with a node of the tree for a leaf, with another amount, or for
    /// another channel, a verdict enforces nothing.
    function test_a_verdict_reaches_one_leaf_of_one_channel() external {
        ChannelKey memory key = _openFor(1000);
        _openFor(1000);
        Award memory award = _award(100, 10);
        _presentHold(key, 1, 0, award);
        Verdict memory verdict;
        (verdict.award, verdict.due) = (_id(award), 100);
        bytes32[] memory none = new bytes32[](0);
        bytes memory elsewhere = abi.encodeCall(channels.enforce, (_key(2), award, 110, none, verdict, ""));
        _refused(address(channels), ARBITER, elsewhere, IPaymentChannel.HoldUnknown.selector);
        bytes memory bigger = abi.encodeCall(channels.enforce, (key, award, 109, none, verdict, ""));
        _refused(address(channels), ARBITER, bigger, IPaymentChannel.HoldUnknown.selector);
        award.arbiter = PROVIDER; // the payee judges in its own cause
        verdict.award = _id(award);
        bytes memory own = abi.encodeCall(channels.enforce, (key, award, 110, none, verdict, ""));
        _refused(address(channels), PROVIDER, own, IPaymentChannel.HoldUnknown.selector);
    }

    /// @dev The packed form is the voucher, whatever its fields.
    function testFuzz_a_packed_claim_is_the_voucher(ChannelKey calldata key, Voucher memory voucher) external view {
        voucher.channel = channels.channelId(key);
        bytes memory packed = _packClaim(key, voucher, new bytes(65));
        _assertEq(packed.length, PackedClaim.SIZE, "size");
        this.compareClaim(packed, key, voucher);
    }

    function compareClaim(bytes calldata packed, ChannelKey calldata key, Voucher calldata voucher) external view {
        uint256 place;
        assembly {
            place := packed.offset
        }
        (bytes32 channel, bytes32 structHash, address signer, uint128 cumulative, bytes calldata signature) =
            PackedClaim.read(place, key.payee, key.token);
        require(channel == voucher.channel && structHash == hashes.hashVoucher(voucher), "another voucher");
        require(signer == key.signer && cumulative == voucher.cumulative, "another signer or total");
        _assertEq(signature.length, 65, "signature");
    }

    function test_a_batch_of_claims_of_a_wrong_length_is_refused() external {
        bytes4 bad = ITreasury.BadBatch.selector;
        for (uint256 length = 0; length < 400; length += 37) {
            if (length == 185 || length == 370) continue;
            bytes memory data = abi.encodeCall(channels.claimMany, (PROVIDER, address(token), new bytes(length)));
            _refused(address(channels), PROVIDER, data, bad);
        }
    }

    // ---------------------------------------------------------------------------------------------- helpers

    function _reentrant() private returns (ReentrantToken hostile) {
        hostile = new ReentrantToken();
        token = hostile;
        _enrich(REQUESTER);
    }

    function _openFor(uint128 amount) private returns (ChannelKey memory key) {
        vm.prank(REQUESTER);
        channels.open(REQUESTER, PROVIDER, address(token), amount);
        key = _key(channels.counterOf(REQUESTER));
    }

    function _voucher(ChannelKey memory key, uint64 sequence, uint128 cumulative)
        private
        view
        returns (Voucher memory voucher, bytes memory signature)
    {
        voucher = Voucher(channels.channelId(key), sequence, cumulative, 0, 0);
        signature = _signVoucher(REQUESTER_KEY, voucher);
    }

    function _presentHold(ChannelKey memory key, uint64 sequence, uint128 cumulative, Award memory award) private {
        uint128 amount = award.price + award.disputeFee;
        bytes32 leaf = hashes.holdLeaf(_id(award), ARBITER, amount);
        Voucher memory voucher = Voucher(channels.channelId(key), sequence, cumulative, amount, leaf);
        channels.present(key, voucher, _signVoucher(REQUESTER_KEY, voucher), _signVoucher(PROVIDER_KEY, voucher));
    }

    function _enforce(ChannelKey memory key, Award memory award, uint128 due) private {
        Verdict memory verdict;
        (verdict.award, verdict.due) = (_id(award), due);
        vm.prank(ARBITER);
        channels.enforce(key, award, award.price + award.disputeFee, new bytes32[](0), verdict, "");
    }

    function _funding(Award memory award) private pure returns (bytes memory) {
        return bytes.concat(bytes20(award.token), _packFund(award));
    }

    function _refuseDeposits(bytes4 reason) private {
        Award memory award = _award(1000, 5);
        bytes memory open = abi.encodeCall(channels.open, (REQUESTER, PROVIDER, address(token), 1000));
        _refused(address(channels), REQUESTER, open, reason);
        _refused(address(escrow), REQUESTER, abi.encodeCall(escrow.fund, (award, "")), reason);
        _refused(address(escrow), REQUESTER, abi.encodeCall(escrow.fundMany, (_funding(award))), reason);
    }

    function _twin(bytes memory signature) private pure returns (bytes memory) {
        (bytes32 r, bytes32 s) = (bytes32(0), bytes32(0));
        assembly ("memory-safe") {
            r := mload(add(signature, 0x20))
            s := mload(add(signature, 0x40))
        }
        return abi.encodePacked(r, ORDER - uint256(s), uint8(55 - uint8(signature[64])));
    }

    function _id(Award memory award) private view returns (bytes32) {
        return _marketDigest(hashes.hashAward(award));
    }
}
