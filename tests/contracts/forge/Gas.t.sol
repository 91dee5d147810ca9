// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IPaymentChannel} from "../../../contracts/interfaces/IPaymentChannel.sol";
import {Acceptance, Award, ChannelKey, Close, Voucher} from "../../../contracts/interfaces/MarketTypes.sol";
import {Fixture} from "./Fixture.sol";

/// @dev What a user pays in gas before refunds: whole transactions with calldata, in the steady state (the balances that
/// move aren't new, the payer has opened a channel before, allowances are unlimited). The bounds guard what
/// docs/spec/contracts.md, section 6, says; -vv prints the figures.
/// forge-config: default.isolate = true
contract GasTest is Fixture {
    /// @dev Where forge listens for what a test prints (-vv).
    address private constant CONSOLE = 0x000000000000000000636F6e736F6c652e6c6f67;

    uint128 private constant PRICE = 25_000_000;

    function setUp() public override {
        super.setUp();
        _enrich(PROVIDER);
        _enrich(address(escrow));
        _enrich(address(channels));
    }

    function test_open_and_cooperative_close_cost_less_than_138000() public {
        _open();
        uint256 opening = _measure(
            REQUESTER,
            address(channels),
            abi.encodeCall(IPaymentChannel.open, (REQUESTER, PROVIDER, address(token), 10_000_000))
        );
        ChannelKey memory key = _key(2);
        Close memory agreed =
            Close({channel: channels.channelId(key), cumulative: 4_000_000, closeBy: uint64(block.timestamp + 60)});
        uint256 closing = _measure(
            PROVIDER,
            address(channels),
            abi.encodeCall(IPaymentChannel.close, (key, agreed, _signClose(REQUESTER_KEY, agreed), ""))
        );
        _print("open", opening);
        _print("cooperative close", closing);
        _print("open + cooperative close", opening + closing);
        require(opening + closing < 138_000);
    }

    function test_another_channel_in_a_batch_costs_less_than_13500() public {
        uint256 ten = _claimBatch(10);
        uint256 fifty = _claimBatch(50);
        _print("claim of 10", ten);
        _print("claim of 50", fifty);
        _print("one more channel in a batch", (fifty - ten) / 40);
        require((fifty - ten) / 40 < 13_500);
    }

    function test_fund_and_release_of_an_escrow_cost_less_than_130000() public {
        (Award memory award, Acceptance memory acceptance, bytes memory signature) = _accepted(1);
        bytes memory funds = bytes.concat(bytes20(address(token)), _packFund(award));
        uint256 funding = _measure(REQUESTER, address(escrow), abi.encodeCall(escrow.fundMany, (funds)));
        bytes memory items = bytes.concat(bytes20(address(token)), _packRelease(award, acceptance, signature));
        uint256 releasing = _measure(PROVIDER, address(escrow), abi.encodeCall(escrow.releaseMany, (items)));
        _print("fund", funding);
        _print("release, all of it", releasing);
        _print("fund + release", funding + releasing);
        require(funding + releasing < 130_000);
    }

    function test_the_same_by_the_readable_entries_costs_less_than_138000() public {
        (Award memory award, Acceptance memory acceptance, bytes memory signature) = _accepted(1);
        uint256 funding = _measure(REQUESTER, address(escrow), abi.encodeCall(escrow.fund, (award, "")));
        uint256 releasing =
            _measure(PROVIDER, address(escrow), abi.encodeCall(escrow.release, (award, acceptance, signature)));
        _print("fund, readable", funding);
        _print("release, readable", releasing);
        _print("fund + release, readable", funding + releasing);
        require(funding + releasing < 138_000);
    }

    function _accepted(uint16 slot)
        private
        view
        returns (Award memory award, Acceptance memory acceptance, bytes memory signature)
    {
        award = _award(PRICE, 0);
        award.slot = slot;
        acceptance = Acceptance({award: escrow.digestOf(award), part: 3, receipt: keccak256("receipt"), due: PRICE});
        signature = _sign(REQUESTER_KEY, _marketDigest(hashes.hashAcceptance(acceptance)));
    }

    function _print(string memory what, uint256 amount) private view {
        (bool success,) = CONSOLE.staticcall(abi.encodeWithSignature("log(string,uint256)", what, amount));
        require(success);
    }

    function _claimBatch(uint256 count) private returns (uint256) {
        bytes memory claims;
        for (uint256 i = 0; i < count; ++i) {
            bytes32 id = _open();
            Voucher memory voucher = Voucher({channel: id, sequence: 7, cumulative: 400_000, held: 0, holds: 0});
            ChannelKey memory key = _key(channels.counterOf(REQUESTER));
            claims = bytes.concat(claims, _packClaim(key, voucher, _signVoucher(REQUESTER_KEY, voucher)));
        }
        return _measure(
            PROVIDER, address(channels), abi.encodeCall(IPaymentChannel.claimMany, (PROVIDER, address(token), claims))
        );
    }

    function _open() private returns (bytes32) {
        vm.prank(REQUESTER);
        return channels.open(REQUESTER, PROVIDER, address(token), 10_000_000);
    }

    /// @dev Gas of a transaction of its own (isolate): base cost, calldata, cold accounts and slots.
    function _measure(address sender, address target, bytes memory data) private returns (uint256) {
        vm.prank(sender);
        (bool success, bytes memory answer) = target.call(data);
        if (!success) {
            assembly ("memory-safe") {
                revert(add(answer, 32), mload(answer))
            }
        }
        return uint256(vm.lastCallGas().gasTotalUsed);
    }
}
