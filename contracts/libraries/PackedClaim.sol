// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {StructHash} from "./StructHash.sol";

/// @title Vouchers in the fewest bytes: what a batch of claims carries (docs/spec/contracts.md, section 3)
/// @dev 185 bytes a voucher: payer 20, signer 20, counter 8, sequence 8, cumulative 16, held 16, holds 32, signature 65. The
/// payee and the token are the batch's.
library PackedClaim {
    uint256 internal constant SIZE = 185;

    /// @dev What the voucher at `place` in calldata says, its channel's id and its struct hash. The caller has checked that `SIZE`
    /// bytes are there. Whoever packed another key or other fields gets an id or a hash that nobody opened or signed.
    function read(uint256 place, address payee, address token)
        internal
        pure
        returns (bytes32 channel, bytes32 structHash, address signer, uint128 cumulative, bytes calldata signature)
    {
        bytes32 typehash = StructHash.VOUCHER_TYPEHASH;
        assembly ("memory-safe") {
            let free := mload(0x40) // scratch beyond the free pointer: used at once, never kept
            signer := shr(96, calldataload(add(place, 20)))
            cumulative := shr(128, calldataload(add(place, 56)))
            signature.offset := add(place, 120)
            signature.length := 65
            mstore(free, shr(96, calldataload(place))) // payer
            mstore(add(free, 0x20), signer)
            mstore(add(free, 0x40), payee)
            mstore(add(free, 0x60), token)
            mstore(add(free, 0x80), shr(192, calldataload(add(place, 40)))) // counter
            channel := keccak256(free, 0xa0)
            mstore(free, typehash)
            mstore(add(free, 0x20), channel)
            mstore(add(free, 0x40), shr(192, calldataload(add(place, 48)))) // sequence
            mstore(add(free, 0x60), cumulative)
            mstore(add(free, 0x80), shr(128, calldataload(add(place, 72)))) // held
            mstore(add(free, 0xa0), calldataload(add(place, 88))) // holds
            structHash := keccak256(free, 0xc0)
        }
    }
}
