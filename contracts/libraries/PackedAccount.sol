// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IBench} from "../interfaces/IBench.sol";

/// @dev `IBench.Account` as the word that it is in storage: from the low end, balance (96 bits), tickets (24), leaving (24), serving
/// (24), readyAt (40), servingUntil (40). A draw writes one for each seat, and the struct would be written field by field.
type PackedAccount is uint256;

using {balance, serving, servingUntil, withBalance, withSeats, unpack} for PackedAccount global;

uint256 constant SERVING_AND_UNTIL = uint256(type(uint24).max) << 144 | uint256(type(uint40).max) << 208;

function pack(IBench.Account memory account) pure returns (PackedAccount) {
    return PackedAccount.wrap(
        account.balance | uint256(account.tickets) << 96 | uint256(account.leaving) << 120 | uint256(account.serving)
            << 144 | uint256(account.readyAt) << 168 | uint256(account.servingUntil) << 208
    );
}

function unpack(PackedAccount account) pure returns (IBench.Account memory) {
    uint256 word = PackedAccount.unwrap(account);
    return IBench.Account({
        balance: uint96(word),
        tickets: uint24(word >> 96),
        leaving: uint24(word >> 120),
        serving: uint24(word >> 144),
        readyAt: uint40(word >> 168),
        servingUntil: uint40(word >> 208)
    });
}

function balance(PackedAccount account) pure returns (uint256) {
    return uint96(PackedAccount.unwrap(account));
}

function serving(PackedAccount account) pure returns (uint256) {
    return uint24(PackedAccount.unwrap(account) >> 144);
}

function servingUntil(PackedAccount account) pure returns (uint256) {
    return uint40(PackedAccount.unwrap(account) >> 208);
}

/// @param amount At most 96 bits.
function withBalance(PackedAccount account, uint256 amount) pure returns (PackedAccount) {
    return PackedAccount.wrap((PackedAccount.unwrap(account) & ~uint256(type(uint96).max)) | amount);
}

/// @param seats At most 24 bits.
/// @param until At most 40 bits.
function withSeats(PackedAccount account, uint256 seats, uint256 until) pure returns (PackedAccount) {
    return PackedAccount.wrap((PackedAccount.unwrap(account) & ~SERVING_AND_UNTIL) | seats << 144 | until << 208);
}
