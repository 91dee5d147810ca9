// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Award} from "../interfaces/MarketTypes.sol";

/// @title Calls that hand an award on as it came
/// @dev The ABI coder would take the 22 words of an award apart and put them together again at each call. They lie in calldata as
/// the callee wants them; a word that doesn't fit its field is refused there.
library AwardCall {
    /// @dev Words of an award in the ABI.
    uint256 internal constant WORDS = 22;

    /// @dev Call `target` with a selector, an award and the `rest` of its arguments, or revert as it does. Its answer isn't read.
    /// Nobody asks whether `target` has code: the caller has had an answer from it before.
    function send(address target, bytes4 selector, Award calldata award, bytes memory rest) internal {
        assembly ("memory-safe") {
            let free := mload(0x40) // scratch beyond the free pointer: used at once, never kept
            let size := mload(rest)
            mstore(free, selector)
            calldatacopy(add(free, 4), award, 0x2c0)
            mcopy(add(free, 0x2c4), add(rest, 0x20), size)
            if iszero(call(gas(), target, 0, free, add(0x2c4, size), 0, 0)) {
                returndatacopy(free, 0, returndatasize())
                revert(free, returndatasize())
            }
        }
    }
}
