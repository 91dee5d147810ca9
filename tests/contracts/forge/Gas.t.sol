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

    function test_open_and_cooperative_close_cost_less_than_145000() public {
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
        require(opening + closing < 145_000);
    }

    function test_another_channel_in_a_batch_costs_less_than_15000() public {
        uint256 ten = _claimBatch(10);
        uint256 fifty = _claimBatch(50);
        _print("claim of 10", ten);
        _print("claim of 50", fifty);
        _print("one more channel in a batch", (fifty - ten) / 40);
        require((fifty - ten) / 40 < 15_000);
    }

    function test_fund_and_release_of_an_escrow_cost_less_than_146000() public {
        Award memory award = _award(PRICE, 0);
        uint256 funding = _measure(REQUESTER, address(escrow), abi.encodeCall(escrow.fund, (award, "")));
        Acceptance memory acceptance =
            Acceptance({award: escrow.digestOf(award), part: 3, receipt: keccak256("receipt"), due: PRICE});
        bytes memory signature = _sign(REQUESTER_KEY, _marketDigest(hashes.hashAcceptance(acceptance)));
        uint256 releasing =
            _measure(PROVIDER, address(escrow), abi.encodeCall(escrow.release, (award, acceptance, signature)));
        _print("fund", funding);
        _print("release, all of it", releasing);
        _print("fund + release", funding + releasing);
        require(funding + releasing < 146_000);
    }

    function _print(string memory what, uint256 amount) private view {
        (bool success,) = CONSOLE.staticcall(abi.encodeWithSignature("log(string,uint256)", what, amount));
        require(success);
    }

    function _claimBatch(uint256 count) private returns (uint256) {
        IPaymentChannel.BatchClaim[] memory claims = new IPaymentChannel.BatchClaim[](count);
        for (uint256 i = 0; i < count; ++i) {
            bytes32 id = _open();
            claims[i].payer = REQUESTER;
            claims[i].signer = REQUESTER;
            claims[i].counter = channels.counterOf(REQUESTER);
            claims[i].sequence = 7;
            claims[i].cumulative = 400_000;
            bytes32 digest = _channelDigest(hashes.hashVoucherFields(id, 7, 400_000, 0, 0));
            (claims[i].v, claims[i].r, claims[i].s) = vm.sign(REQUESTER_KEY, digest);
        }
        return _measure(
            PROVIDER, address(channels), abi.encodeCall(IPaymentChannel.claimBatch, (PROVIDER, address(token), claims))
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
