// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";

import {ChannelLedger} from "./base/ChannelLedger.sol";
import {Treasury} from "./base/Treasury.sol";
import {IPaymentChannel} from "./interfaces/IPaymentChannel.sol";
import {Award, ChannelKey, Close, FINDING_REQUESTER_LOST, Verdict, Voucher} from "./interfaces/MarketTypes.sol";
import {PackedClaim} from "./libraries/PackedClaim.sol";
import {StructHash} from "./libraries/StructHash.sol";

/// @title One-way payment channels: a payer's deposit that one payee is paid from by vouchers
/// @dev Rules and assumptions in `IPaymentChannel` and docs/spec/contracts.md section 3. No owner, no upgrade.
contract PaymentChannel is ChannelLedger {
    using MessageHashUtils for bytes32;
    using StructHash for *;

    /// @param escrow_ Verifying contract of the market's EIP-712 domain.
    constructor(address escrow_, uint32 challenge_, uint32 holdPeriod_, address guardian_)
        ChannelLedger(escrow_, challenge_, holdPeriod_)
        Treasury(guardian_)
    {}

    // ------------------------------------------------------------------------------------------------- new business

    /// @inheritdoc IPaymentChannel
    function open(address signer, address payee, address token, uint128 amount)
        external
        nonReentrant
        newBusiness
        returns (bytes32 channel)
    {
        channel = _open(signer, payee, token, amount);
        _take(token, amount);
    }

    /// @inheritdoc IPaymentChannel
    function openByAuthorization(
        address signer,
        address payee,
        address token,
        uint128 amount,
        address funder,
        Authorization calldata authorization
    ) external nonReentrant newBusiness returns (bytes32 channel) {
        channel = _open(signer, payee, token, amount);
        _takeAuthorized(token, amount, funder, channel, authorization);
    }

    /// @inheritdoc IPaymentChannel
    function topUp(ChannelKey calldata key, uint128 amount) external nonReentrant newBusiness {
        bytes32 channel = _id(key);
        Funds memory funds = _openFunds(channel);
        uint64 exitsAt = _exits[channel].exitsAt;
        if (exitsAt != 0) revert ExitPending(channel, exitsAt);
        if (amount == 0) revert ZeroAmount();

        funds.deposit += amount;
        _funds[channel].deposit = funds.deposit;
        emit ToppedUp(channel, msg.sender, amount, funds.deposit);

        _take(key.token, amount);
    }

    // ------------------------------------------------------------------------------------------------- payee

    /// @inheritdoc IPaymentChannel
    function claim(ChannelKey calldata key, Voucher calldata voucher, bytes calldata signature)
        external
        nonReentrant
        returns (uint128 paid)
    {
        bytes32 channel = _id(key);
        Funds memory funds = _openFunds(channel);
        _requireVoucher(channel, key.signer, voucher, signature);

        paid = _claim(channel, funds.deposit, funds.claimed, voucher.cumulative);
        if (paid == 0) revert NothingToClaim(channel, voucher.cumulative, funds.claimed);
        _pay(key.token, key.payee, paid);
    }

    /// @inheritdoc IPaymentChannel
    function claimMany(address payee, address token, bytes calldata claims)
        external
        nonReentrant
        returns (uint256 paid)
    {
        if (claims.length == 0 || claims.length % PackedClaim.SIZE != 0) {
            revert BadBatch(claims.length, 0, PackedClaim.SIZE);
        }
        (uint256 place, uint256 end) = _bounds(claims);
        bytes32 separator = _domainSeparatorV4();
        unchecked {
            // Places in calldata, and payments that are in one token.
            for (; place < end; place += PackedClaim.SIZE) {
                paid += _claimOne(payee, token, place, separator);
            }
        }
        _pay(token, payee, paid);
    }

    /// @inheritdoc IPaymentChannel
    function present(
        ChannelKey calldata key,
        Voucher calldata voucher,
        bytes calldata signature,
        bytes calldata payeeSignature
    ) external nonReentrant {
        bytes32 channel = _id(key);
        Funds memory funds = _openFunds(channel);
        Exit memory exit = _exits[channel];
        if (voucher.sequence <= exit.sequence) revert StaleVoucher(channel, voucher.sequence, exit.sequence);
        bytes32 digest = _requireVoucher(channel, key.signer, voucher, signature);
        _requireConsent(key.payee, digest, payeeSignature);

        _exits[channel] = Exit({exitsAt: exit.exitsAt, sequence: voucher.sequence, held: voucher.held});
        _presented[channel] = Presented({base: voucher.cumulative, holds: voucher.holds});
        emit HoldsPresented(channel, voucher.sequence, voucher.cumulative, voucher.held, voucher.holds);
        uint128 paid = _claim(channel, funds.deposit, funds.claimed, voucher.cumulative);

        _pay(key.token, key.payee, paid);
    }

    // ------------------------------------------------------------------------------------------------- payer's exit

    /// @inheritdoc IPaymentChannel
    function startExit(ChannelKey calldata key) external nonReentrant {
        bytes32 channel = _id(key);
        _openFunds(channel);
        if (msg.sender != key.payer) revert NotPayer(channel, msg.sender);
        uint64 exitsAt = _exits[channel].exitsAt;
        if (exitsAt != 0) revert ExitPending(channel, exitsAt);

        _exits[channel].exitsAt = _startExit(channel, msg.sender);
    }

    /// @inheritdoc IPaymentChannel
    function withdraw(ChannelKey calldata key) external nonReentrant returns (uint128 amount) {
        bytes32 channel = _id(key);
        Funds memory funds = _openFunds(channel);
        Exit memory exit = _exits[channel];
        if (exit.exitsAt == 0 || block.timestamp <= exit.exitsAt) revert ExitNotOver(channel, exit.exitsAt);

        uint128 held = block.timestamp > uint256(exit.exitsAt) + holdPeriod ? 0 : exit.held;
        uint128 kept = _reserved(funds.claimed, _presented[channel].base, held, funds.deposit);
        amount = funds.deposit - kept;
        // The payee's reserve takes all that is left; only time frees it.
        if (amount == 0 && kept != funds.claimed) revert ExitNotOver(channel, exit.exitsAt + holdPeriod);
        emit Withdrawn(channel, key.payer, amount);
        if (kept == funds.claimed) _end(channel, exit, kept);
        else _funds[channel].deposit = kept;

        _pay(key.token, key.payer, amount);
    }

    // ------------------------------------------------------------------------------------------------- both

    /// @inheritdoc IPaymentChannel
    function close(
        ChannelKey calldata key,
        Close calldata agreed,
        bytes calldata signerSignature,
        bytes calldata payeeSignature
    ) external nonReentrant {
        bytes32 channel = _id(key);
        Funds memory funds = _openFunds(channel);
        Exit memory exit = _exits[channel];
        if (agreed.channel != channel) revert WrongChannel(channel, agreed.channel);
        if (block.timestamp > agreed.closeBy) revert CloseExpired(channel, agreed.closeBy);
        if (agreed.cumulative < funds.claimed || agreed.cumulative > funds.deposit) {
            revert CloseOutOfRange(channel, agreed.cumulative, funds.claimed, funds.deposit);
        }
        bytes32 digest = _hashTypedDataV4(agreed.hash());
        if (msg.sender != key.payer) _requireConsent(key.signer, digest, signerSignature);
        _requireConsent(key.payee, digest, payeeSignature);

        _end(channel, exit, agreed.cumulative);

        _pay(key.token, key.payee, agreed.cumulative - funds.claimed);
        _pay(key.token, key.payer, funds.deposit - agreed.cumulative);
    }

    // ------------------------------------------------------------------------------------------------- arbiter

    /// @inheritdoc IPaymentChannel
    function enforce(
        ChannelKey calldata key,
        Award calldata award,
        uint128 amount,
        bytes32[] calldata proof,
        Verdict calldata verdict,
        bytes calldata signature
    ) external nonReentrant {
        bytes32 channel = _id(key);
        _requireVerdict(award, verdict, signature);
        bool isAgain = _useHold(channel, verdict.award, award.arbiter, amount, proof);
        if (_exits[channel].exitsAt == 0) _exits[channel].exitsAt = _startExit(channel, key.payer);
        (uint128 toPayee, uint128 toArbiter) = _grant(channel, award, amount, verdict, isAgain);

        _pay(key.token, key.payee, toPayee);
        _pay(key.token, award.arbiter, toArbiter);
    }

    // ------------------------------------------------------------------------------------------------- internals

    /// @dev One claim of a batch. Whatever is wrong with it is reported and left out, so it can't sink the others.
    function _claimOne(address payee, address token, uint256 place, bytes32 separator) private returns (uint128 paid) {
        (bytes32 channel, bytes32 structHash, address signer, uint128 cumulative, bytes calldata signature) =
            PackedClaim.read(place, payee, token);
        (uint128 deposit, uint128 claimed) = _money(channel);
        if (deposit == 0) {
            emit ClaimSkipped(channel, ChannelUnknown.selector);
            return 0;
        }
        // `signer` isn't zero, since the channel exists; a malformed signature recovers to zero.
        if (_recover(separator.toTypedDataHash(structHash), signature) != signer) {
            emit ClaimSkipped(channel, BadSignature.selector);
            return 0;
        }
        paid = _claim(channel, deposit, claimed, cumulative);
        if (paid == 0) emit ClaimSkipped(channel, NothingToClaim.selector);
    }

    /// @dev The arbiter calls or has signed, and speaks of this award.
    function _requireVerdict(Award calldata award, Verdict calldata verdict, bytes calldata signature) private view {
        bytes32 awardDigest = _marketDigest(award.hash());
        if (verdict.award != awardDigest) revert VerdictMismatch(awardDigest, verdict.award);
        if (verdict.due > award.price) revert VerdictAbovePrice(awardDigest, verdict.due, award.price);
        _requireConsent(award.arbiter, _marketDigest(verdict.hash()), signature);
    }

    /// @dev Check that the hold is a leaf of the presented voucher, and take it out of the reserve.
    /// @return isAgain Whether it was enforced before, on a voucher presented earlier: then the arbiter has had its fee.
    function _useHold(bytes32 channel, bytes32 award, address arbiter, uint128 amount, bytes32[] calldata proof)
        private
        returns (bool isAgain)
    {
        _openFunds(channel);
        Exit memory exit = _exits[channel];
        bytes32 leaf = StructHash.holdLeaf(award, arbiter, amount);
        // No voucher presented: the root is zero, which no proof reaches.
        if (!MerkleProof.verifyCalldata(proof, _presented[channel].holds, leaf)) revert HoldUnknown(channel, award);
        uint64 before = _enforcedOn[channel][award];
        if (before == exit.sequence) revert HoldAlreadyEnforced(channel, award);
        // The signer may have put leaves under the root that add up to more than `held`.
        if (amount > exit.held) revert HoldOutOfRange(channel, award, amount);
        _enforcedOn[channel][award] = exit.sequence;
        _exits[channel].held = exit.held - amount;
        return before != 0;
    }

    /// @dev Let the payee's total be at least what the presented voucher pays with all verdicts on its holds, this one included,
    /// and give the arbiter as much of its fee as is left then.
    function _grant(bytes32 channel, Award calldata award, uint128 amount, Verdict calldata verdict, bool isAgain)
        private
        returns (uint128 toPayee, uint128 toArbiter)
    {
        (uint128 due, uint128 fee) = _ruling(channel, award, amount, verdict);
        if (isAgain) fee = 0;
        Funds memory funds = _funds[channel];
        uint128 base = _saturatingAdd(_presented[channel].base, due);
        _presented[channel].base = base;

        uint128 total = base < funds.deposit ? base : funds.deposit;
        if (total < funds.claimed) total = funds.claimed;
        toPayee = total - funds.claimed;
        toArbiter = fee < funds.deposit - total ? fee : funds.deposit - total;
        funds = Funds({deposit: funds.deposit - toArbiter, claimed: total});
        _funds[channel] = funds;
        emit HoldEnforced(channel, verdict.award, award.arbiter, toPayee, toArbiter);
        if (funds.deposit == total) _end(channel, _exits[channel], total);
    }

    /// @dev Split a hold of `amount` as the verdict says: what the payee is still due, and the arbiter's fee.
    function _ruling(bytes32 channel, Award calldata award, uint128 amount, Verdict calldata verdict)
        private
        pure
        returns (uint128 due, uint128 fee)
    {
        uint256 whole = uint256(award.price) + award.disputeFee;
        if (amount > whole) revert HoldOutOfRange(channel, verdict.award, amount);
        // Vouchers move what is paid from the hold to `cumulative`, so the hold's amount tells what was paid.
        uint256 paid = whole - amount;
        // Fits: verdict.due <= price, so due <= price - paid = amount - disputeFee.
        due = verdict.due > paid ? uint128(verdict.due - paid) : 0;
        fee = verdict.finding == FINDING_REQUESTER_LOST ? award.disputeFee : 0;
        if (fee > amount - due) fee = amount - due;
    }

    /// @dev An absurd `cumulative` means "everything", so it must not stop an enforcement by overflowing.
    function _saturatingAdd(uint128 a, uint128 b) private pure returns (uint128) {
        uint256 sum = uint256(a) + b;
        return sum > type(uint128).max ? type(uint128).max : uint128(sum);
    }

    /// @dev What must stay in the channel: the payee's total if every hold in `held` were enforced in full.
    function _reserved(uint128 claimed, uint128 base, uint128 held, uint128 deposit) private pure returns (uint128) {
        uint256 reserve = held == 0 ? claimed : uint256(base) + held;
        if (reserve < claimed) reserve = claimed;
        return reserve < deposit ? uint128(reserve) : deposit;
    }
}
