// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title What we use of ERC-3009: transfers that the owner of the money has signed
/// @dev Not in OpenZeppelin. The token checks the signature over all arguments and takes each nonce of an owner once.
interface IERC3009 {
    /// @notice Move `value` from `from` to `to`, which must be the caller.
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;
}
