// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IEscrow} from "../interfaces/IEscrow.sol";
import {Award, BASIS_POINTS, Receipt, Start} from "../interfaces/MarketTypes.sol";
import {pack, PackedRecord} from "../libraries/PackedRecord.sol";
import {StructHash} from "../libraries/StructHash.sol";
import {Treasury} from "./Treasury.sol";

/// @title The escrow's records: what each entry of `Escrow` checks of an award, and how one is written and closed
/// @dev Split off by idea: `Escrow` says who may do what and when, this says what it does to the books.
abstract contract EscrowLedger is IEscrow, Treasury {
    using StructHash for *;

    /// @inheritdoc IEscrow
    uint32 public immutable minPace;

    mapping(bytes32 award => PackedRecord record) internal _records;
    mapping(bytes32 award => ClaimRecord record) internal _claims;

    constructor(uint32 minPace_) {
        minPace = minPace_;
    }

    /// @inheritdoc IEscrow
    function recordOf(bytes32 award) external view returns (Record memory) {
        PackedRecord record = _records[award];
        return Record({
            amount: uint96(record.amount()),
            paid: uint96(record.paid()),
            time: uint40(record.time()),
            state: record.state()
        });
    }

    /// @inheritdoc IEscrow
    function claimOf(bytes32 award) external view returns (ClaimRecord memory) {
        return _claims[award];
    }

    /// @inheritdoc IEscrow
    function digestOf(Award memory award) external view returns (bytes32) {
        return _digest(award);
    }

    // ------------------------------------------------------------------------------------------------- writing

    /// @dev Record that `award` is funded; the caller of this sees to the money and to the requester's consent.
    function _open(bytes32 digest, Award memory award) internal returns (uint256 amount) {
        PackedRecord record = _records[digest];
        if (PackedRecord.unwrap(record) != 0) revert WrongState(digest, record.state());
        unchecked {
            amount = uint256(award.price) + award.disputeFee; // two of 128 bits
        }
        _requireGoodTerms(digest, award, amount);
        if (block.timestamp > award.startBy) revert TooLate(digest, award.startBy);

        _records[digest] = pack(amount, 0, 0, State.Funded); // 96 bits, by _requireGoodTerms
        emit Funded(digest, award.requester, award.provider, award.token, uint128(amount));
    }

    /// @dev Effects of an acceptance that was checked: what to pay to the provider, and what back to the requester. `part` and `due`
    /// have 32 and 128 bits; wider variables need no masks.
    function _accept(bytes32 digest, PackedRecord record, uint256 part, uint256 due, bool closing)
        internal
        returns (uint256 payment, uint256 rest)
    {
        uint256 paid = record.paid();
        if (due > paid) {
            unchecked {
                payment = due - paid; // due > paid
            }
            paid = due; // bounded by the price, which is below 2^96 (_open)
        }
        if (closing) return (payment, _finish(digest, record, State.Accepted, paid, 0));

        emit Released(digest, uint32(part), uint128(payment), uint128(paid));
        (State state, uint256 time) = (record.state(), record.time());
        if (state == State.Claimed && due >= _claims[digest].due) {
            emit ClaimAccepted(digest, uint128(due));
            (state, time) = (State.Started, 0);
        } else if (state == State.Funded || state == State.Recalled) {
            // Who accepts a part has seen a start, and can't say otherwise later.
            (state, time) = (State.Started, 0);
        }
        _records[digest] = pack(record.amount(), paid, time, state);
    }

    /// @dev `due` in all to the provider, some of which was paid before; `toArbiter`; the rest back.
    function _close(
        bytes32 digest,
        Award memory award,
        PackedRecord record,
        State outcome,
        uint256 due,
        uint256 toArbiter
    ) internal {
        uint256 payment = due - record.paid();
        uint256 rest = _finish(digest, record, outcome, due, toArbiter);

        _pay(award.token, award.provider, payment);
        _pay(award.token, award.requester, rest);
        _pay(award.token, award.arbiter, toArbiter);
    }

    /// @dev Every way to the end. `paid + toArbiter <= amount`, since `paid <= price` and `toArbiter <= disputeFee`.
    function _finish(bytes32 digest, PackedRecord record, State outcome, uint256 paid, uint256 toArbiter)
        private
        returns (uint256 rest)
    {
        uint256 amount = record.amount();
        unchecked {
            rest = amount - paid - toArbiter;
        }
        _records[digest] = pack(amount, paid, block.timestamp, outcome); // seconds fit 40 bits for 34,000 years
        emit Closed(digest, outcome, uint128(paid), uint128(rest), uint128(toArbiter));
    }

    /// @dev Write the state that waits for an act of the other side, and return the last second of that act.
    function _await(bytes32 digest, PackedRecord record, State state, uint256 wait) internal returns (uint64 until) {
        until = uint64(block.timestamp + wait); // `wait` has 32 bits, so 40 are enough
        _records[digest] = pack(record.amount(), record.paid(), until, state);
    }

    // ------------------------------------------------------------------------------------------------- reading

    function _digest(Award memory award) internal view returns (bytes32) {
        return _hashTypedDataV4(award.hashInMemory());
    }

    function _openRecord(bytes32 digest) internal view returns (PackedRecord record) {
        record = _records[digest];
        if (!record.isOpen()) revert WrongState(digest, record.state());
    }

    function _recordIn(State state, bytes32 digest) internal view returns (PackedRecord record) {
        record = _records[digest];
        if (!record.isIn(state)) revert WrongState(digest, record.state());
    }

    /// @dev What the provider has claimed, or has been paid if acceptances went beyond the claim since.
    function _claimed(bytes32 digest, PackedRecord record) internal view returns (uint256) {
        uint256 due = _claims[digest].due;
        return due > record.paid() ? due : record.paid();
    }

    /// @dev Whether an acceptance of `part` for `due` ends the award. A requester could sign "last part, due 0" for itself; with
    /// the whole price nothing is left to be cheated of.
    function _isLast(Award memory award, PackedRecord record, uint32 part, uint128 due) internal view returns (bool) {
        unchecked {
            if (uint256(part) + 1 != uint256(award.firstPart) + award.parts) return false;
        }
        return (msg.sender == award.provider || due == award.price) && !record.isIn(State.Disputed);
    }

    function _claimBy(Award memory award) internal pure returns (uint256) {
        return uint256(award.deliverBy) + award.pace;
    }

    function _requireStart(bytes32 digest, Award memory award, Start calldata start, bytes calldata signature)
        internal
        view
    {
        if (start.award != digest) revert WrongAward(digest, start.award);
        if (start.startedAt > award.startBy) revert StartedTooLate(digest, start.startedAt, award.startBy);
        _requireSigned(award.provider, _hashTypedDataV4(start.hash()), signature);
    }

    function _requireReceipt(bytes32 digest, Award memory award, Receipt calldata receipt, bytes calldata signature)
        internal
        view
        returns (bytes32 receiptDigest)
    {
        if (receipt.award != digest) revert WrongAward(digest, receipt.award);
        _requirePart(digest, award, receipt.part);
        receiptDigest = _hashTypedDataV4(receipt.hash());
        _requireSigned(award.provider, receiptDigest, signature);
    }

    function _requireRecalledInTime(bytes32 digest, PackedRecord record) internal view {
        if (!record.isIn(State.Recalled)) revert WrongState(digest, record.state());
        if (block.timestamp > record.time()) revert TooLate(digest, record.time());
    }

    function _requirePart(bytes32 digest, Award memory award, uint32 part) internal pure {
        unchecked {
            if (part < award.firstPart || part >= uint256(award.firstPart) + award.parts) {
                revert PartOutOfRange(digest, part);
            }
        }
    }

    /// @dev Each term is a difference of numbers far below 2^255 that must not be negative: one that is has the highest bit, and one
    /// comparison finds it in any of them.
    function _requireGoodTerms(bytes32 digest, Award memory award, uint256 amount) private view {
        unchecked {
            uint256 any = uint256(uint160(award.provider)) - 1; // at least 1, as the price and the parts
            any |= uint256(award.price) - 1;
            any |= uint256(award.parts) - 1;
            any |= BASIS_POINTS - award.splitBps; // at most
            any |= uint256(award.deliverBy) - award.startBy - 1; // later
            any |= uint256(award.pace) - minPace;
            any |= type(uint96).max - amount;
            any |= uint256(type(uint32).max) + 1 - award.firstPart - award.parts;
            if (any >> 255 != 0) revert BadTerms(digest);
        }
    }
}
