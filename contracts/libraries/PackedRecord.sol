// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IEscrow} from "../interfaces/IEscrow.sol";

/// @dev `IEscrow.Record` as the word that it is in storage: from the low end, amount (96 bits), paid (96), time (40), state (8). The
/// struct would be taken apart into memory and put together again at each call, for 700 gas a release.
type PackedRecord is uint256;

using {amount, paid, time, state, isIn, isOpen} for PackedRecord global;

function pack(uint256 amount_, uint256 paid_, uint256 time_, IEscrow.State state_) pure returns (PackedRecord) {
    return PackedRecord.wrap(amount_ | paid_ << 96 | time_ << 192 | uint256(state_) << 232);
}

function amount(PackedRecord record) pure returns (uint128) {
    return uint96(PackedRecord.unwrap(record));
}

function paid(PackedRecord record) pure returns (uint128) {
    return uint96(PackedRecord.unwrap(record) >> 96);
}

function time(PackedRecord record) pure returns (uint64) {
    return uint40(PackedRecord.unwrap(record) >> 192);
}

function state(PackedRecord record) pure returns (IEscrow.State) {
    return IEscrow.State(PackedRecord.unwrap(record) >> 232);
}

function isIn(PackedRecord record, IEscrow.State state_) pure returns (bool) {
    return PackedRecord.unwrap(record) >> 232 == uint256(state_);
}

/// @dev Whether it holds money: funded, and not closed.
function isOpen(PackedRecord record) pure returns (bool) {
    unchecked {
        return (PackedRecord.unwrap(record) >> 232) - 1 < uint256(IEscrow.State.Accepted) - 1; // None wraps around
    }
}
