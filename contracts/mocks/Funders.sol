// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

import {TestToken} from "./TestToken.sol";

/// @title A token with ERC-3009, as the large stablecoins have it
contract AuthorizedToken is TestToken {
    bytes32 private constant RECEIVE_TYPEHASH = keccak256(
        "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );

    mapping(address owner => mapping(bytes32 nonce => bool used)) public authorizationState;
    uint256 public shortfall;

    error AuthorizationInvalid();

    /// @notice Deliver so much less than was authorized from now on, as a fee would.
    function setShortfall(uint256 value) external {
        shortfall = value;
    }

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
    ) external {
        bytes32 digest = authorizationDigest(from, to, value, validAfter, validBefore, nonce);
        if (
            to != msg.sender || block.timestamp <= validAfter || block.timestamp >= validBefore
                || authorizationState[from][nonce] || ECDSA.recover(digest, v, r, s) != from
        ) revert AuthorizationInvalid();
        authorizationState[from][nonce] = true;
        _transfer(from, to, value - shortfall);
    }

    function authorizationDigest(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce
    ) public view returns (bytes32) {
        return _hashTypedDataV4(
            keccak256(abi.encode(RECEIVE_TYPEHASH, from, to, value, validAfter, validBefore, nonce))
        );
    }
}

/// @title A wallet that is a contract: it calls what it is told to, and says yes to every signature
contract ContractWallet {
    error CallFailed(bytes answer);

    function execute(address target, bytes calldata data) external returns (bytes memory answer) {
        bool success;
        (success, answer) = target.call(data);
        if (!success) revert CallFailed(answer);
    }

    /// @dev ERC-1271's "valid", which nobody of ours may ask for (C4).
    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes4) {
        return this.isValidSignature.selector;
    }
}
