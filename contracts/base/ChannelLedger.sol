// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";

import {IPaymentChannel} from "../interfaces/IPaymentChannel.sol";
import {ChannelKey, Voucher} from "../interfaces/MarketTypes.sol";
import {StructHash} from "../libraries/StructHash.sol";
import {Treasury} from "./Treasury.sol";

/// @title The channels' books: what is stored of a channel, how it is read, opened, paid from and cleared
/// @dev Split off by idea: `PaymentChannel` says who may do what and when, this says what it does to the books.
abstract contract ChannelLedger is IPaymentChannel, Treasury {
    using MessageHashUtils for bytes32;
    using StructHash for *;

    /// @dev All that opening writes and claiming reads: one slot. Both zero if the channel isn't open.
    struct Funds {
        uint128 deposit;
        uint128 claimed;
    }

    /// @dev The payer's exit and the presented reserve: one slot, zero in a channel that nobody leaves or disputes.
    struct Exit {
        uint64 exitsAt;
        uint64 sequence;
        uint128 held;
    }

    /// @dev The presented voucher: what it pays, with what verdicts on its holds added to it, and their root.
    struct Presented {
        uint128 base;
        bytes32 holds;
    }

    /// @inheritdoc IPaymentChannel
    address public immutable escrow;
    /// @inheritdoc IPaymentChannel
    uint32 public immutable challenge;
    /// @inheritdoc IPaymentChannel
    uint32 public immutable holdPeriod;

    /// @inheritdoc IPaymentChannel
    mapping(address payer => uint64 counter) public counterOf;
    /// @dev Sequence of the voucher on which a hold was enforced last; 0 if never. Stays when the channel is closed.
    mapping(bytes32 channel => mapping(bytes32 award => uint64 sequence)) internal _enforcedOn;
    mapping(bytes32 channel => Funds funds) internal _funds;
    mapping(bytes32 channel => Exit exit) internal _exits;
    mapping(bytes32 channel => Presented presented) internal _presented;

    constructor(address escrow_, uint32 challenge_, uint32 holdPeriod_) {
        if (escrow_ == address(0)) revert ZeroAddress();
        escrow = escrow_;
        challenge = challenge_;
        holdPeriod = holdPeriod_;
    }

    // ------------------------------------------------------------------------------------------------- views

    /// @inheritdoc IPaymentChannel
    function stateOf(bytes32 channel) external view returns (ChannelState memory) {
        Funds memory funds = _funds[channel];
        Exit memory exit = _exits[channel];
        Presented memory presented = _presented[channel];
        return ChannelState({
            deposit: funds.deposit,
            claimed: funds.claimed,
            exitsAt: exit.exitsAt,
            sequence: exit.sequence,
            held: exit.held,
            base: presented.base,
            holds: presented.holds
        });
    }

    /// @inheritdoc IPaymentChannel
    function isEnforced(bytes32 channel, bytes32 award) external view returns (bool) {
        uint64 sequence = _enforcedOn[channel][award];
        return sequence != 0 && sequence >= _exits[channel].sequence;
    }

    /// @inheritdoc IPaymentChannel
    function marketDomainSeparator() public view returns (bytes32) {
        return StructHash.domainSeparator(escrow);
    }

    /// @inheritdoc IPaymentChannel
    function channelId(ChannelKey calldata key) external pure returns (bytes32) {
        return _id(key);
    }

    // ------------------------------------------------------------------------------------------------- books

    /// @dev The caller becomes the payer; the money comes after.
    function _open(address signer, address payee, address token, uint128 amount) internal returns (bytes32 channel) {
        if (signer == address(0) || payee == address(0)) revert ZeroAddress();
        if (amount == 0) revert ZeroAmount();

        uint64 counter = ++counterOf[msg.sender];
        channel = keccak256(abi.encode(msg.sender, signer, payee, token, counter));
        _funds[channel].deposit = amount;
        emit ChannelOpened(channel, msg.sender, payee, signer, token, counter, amount);
    }

    /// @dev Effects of a claim: `min(cumulative, deposit) - claimed`, or nothing. The caller pays.
    function _claim(bytes32 channel, uint128 deposit, uint128 claimed, uint128 cumulative)
        internal
        returns (uint128 paid)
    {
        uint128 total = cumulative < deposit ? cumulative : deposit;
        if (total <= claimed) return 0;
        unchecked {
            paid = total - claimed; // total > claimed
        }
        // Widened here, since in assembly a narrow variable may carry other bits.
        uint256 word = uint256(deposit) | uint256(total) << 128;
        Funds storage funds = _funds[channel];
        assembly ("memory-safe") {
            sstore(funds.slot, word) // both halves at once
        }
        emit Claimed(channel, total, paid);
    }

    /// @dev `Funds` of a channel in one read, without going through memory: a batch does it for each claim.
    function _money(bytes32 channel) internal view returns (uint128 deposit, uint128 claimed) {
        Funds storage funds = _funds[channel];
        uint256 word;
        assembly ("memory-safe") {
            word := sload(funds.slot)
        }
        return (uint128(word), uint128(word >> 128));
    }

    /// @dev Begin the payer's exit; the caller stores the second it returns.
    function _startExit(bytes32 channel, address payer) internal returns (uint64 exitsAt) {
        exitsAt = uint64(block.timestamp) + challenge;
        emit ExitStarted(channel, payer, exitsAt);
    }

    /// @dev Clear what was written. A channel that nobody left or disputed has one slot, and only that one is touched.
    function _end(bytes32 channel, Exit memory exit, uint128 toPayee) internal {
        delete _funds[channel];
        if (exit.exitsAt != 0 || exit.sequence != 0) delete _exits[channel];
        if (exit.sequence != 0) delete _presented[channel];
        emit ChannelClosed(channel, toPayee);
    }

    function _openFunds(bytes32 channel) internal view returns (Funds memory funds) {
        funds = _funds[channel];
        if (funds.deposit == 0) revert ChannelUnknown(channel);
    }

    function _requireVoucher(bytes32 channel, address signer, Voucher calldata voucher, bytes calldata signature)
        internal
        view
        returns (bytes32 digest)
    {
        if (voucher.channel != channel) revert WrongChannel(channel, voucher.channel);
        digest = _hashTypedDataV4(voucher.hash());
        _requireSigned(signer, digest, signature);
    }

    function _marketDigest(bytes32 structHash) internal view returns (bytes32) {
        return MessageHashUtils.toTypedDataHash(marketDomainSeparator(), structHash);
    }

    function _id(ChannelKey calldata key) internal pure returns (bytes32) {
        return keccak256(abi.encode(key));
    }
}
