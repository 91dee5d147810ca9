// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Award} from "../interfaces/MarketTypes.sol";
import {StructHash} from "./StructHash.sol";

/// @title Awards in the fewest bytes: what batches carry (docs/spec/contracts.md, section 4)
/// @dev The fields of `Award` in their order, each as wide as its type, without what the batch says once or the contract knows:
/// `token`, `rail`, `channel` (zero in an escrow), and the party that calls. 254 bytes where the ABI takes 704: the zeros
/// between narrow fields cost as much as a cold storage slot.
library PackedAward {
    uint256 internal constant SIZE = 254;

    /// @dev Places of the parties in an `Award` in memory.
    uint256 internal constant REQUESTER = 0x60;
    uint256 internal constant PROVIDER = 0x80;

    /// @dev Room for one award, for `read`, with the word of the type hash before it; as a list of one, since Solidity fills a
    /// declared `Award memory` with zeros first, for 400 gas, but not a list.
    function room() internal pure returns (Award[] memory list) {
        bytes32 typehash = StructHash.AWARD_TYPEHASH;
        assembly ("memory-safe") {
            list := mload(0x40)
            mstore(list, 1)
            mstore(add(list, 0x20), add(list, 0x60))
            mstore(add(list, 0x40), typehash)
            mstore(0x40, add(list, 0x320))
        }
    }

    /// @dev Read the award at `place` in calldata into `award`, and hash it. The caller has checked that `SIZE` bytes are there; a
    /// word read at the end reaches beyond, and what is beyond is shifted away. No field can be out of its type's range.
    /// @param award From `room`. Its token and the party that isn't read are the caller's to set.
    /// @param party The party that is read: `REQUESTER` or `PROVIDER`.
    function read(Award memory award, uint256 place, uint256 party) internal view returns (bytes32 structHash) {
        assembly ("memory-safe") {
            calldatacopy(award, place, 0x60) // offer, roll, bids
            mstore(add(award, party), shr(96, calldataload(add(place, 96))))
            mstore(add(award, 0x0c0), address()) // rail
            mstore(add(award, 0x0e0), 0) // channel
            mstore(add(award, 0x100), shr(96, calldataload(add(place, 116)))) // arbiter
            mstore(add(award, 0x120), shr(240, calldataload(add(place, 136)))) // slot
            mstore(add(award, 0x140), shr(240, calldataload(add(place, 138)))) // attempt
            mstore(add(award, 0x160), shr(224, calldataload(add(place, 140)))) // firstPart
            mstore(add(award, 0x180), shr(224, calldataload(add(place, 144)))) // parts
            mstore(add(award, 0x1a0), shr(128, calldataload(add(place, 148)))) // price
            mstore(add(award, 0x1c0), shr(128, calldataload(add(place, 164)))) // liability
            mstore(add(award, 0x1e0), shr(128, calldataload(add(place, 180)))) // disputeFee
            mstore(add(award, 0x200), shr(240, calldataload(add(place, 196)))) // splitBps
            mstore(add(award, 0x220), shr(192, calldataload(add(place, 198)))) // startBy
            mstore(add(award, 0x240), shr(192, calldataload(add(place, 206)))) // deliverBy
            mstore(add(award, 0x260), shr(224, calldataload(add(place, 214)))) // pace
            mstore(add(award, 0x280), shr(224, calldataload(add(place, 218)))) // resolveWithin
            mstore(add(award, 0x2a0), calldataload(add(place, 222))) // auditSeal
            structHash := keccak256(sub(award, 0x20), 0x2e0) // the word before is the type hash
        }
    }
}
