// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";

import {
    Acceptance,
    Award,
    Close,
    Commitment,
    Offer,
    Receipt,
    Roll,
    Settlement,
    Start,
    Verdict,
    Voucher
} from "../interfaces/MarketTypes.sol";
import {StructHash} from "../libraries/StructHash.sol";

/// @title Opens `StructHash` to tests that compare it with the other languages' digests (tests/vectors/)
contract StructHashHarness {
    function hashOffer(Offer calldata value) external pure returns (bytes32) {
        return StructHash.hash(value);
    }

    function hashCommitment(Commitment calldata value) external pure returns (bytes32) {
        return StructHash.hash(value);
    }

    function hashRoll(Roll calldata value) external pure returns (bytes32) {
        return StructHash.hash(value);
    }

    function hashAward(Award calldata value) external pure returns (bytes32) {
        return StructHash.hash(value);
    }

    function hashStart(Start calldata value) external pure returns (bytes32) {
        return StructHash.hash(value);
    }

    function hashReceipt(Receipt calldata value) external pure returns (bytes32) {
        return StructHash.hash(value);
    }

    function hashAcceptance(Acceptance calldata value) external pure returns (bytes32) {
        return StructHash.hash(value);
    }

    function hashVerdict(Verdict calldata value) external pure returns (bytes32) {
        return StructHash.hash(value);
    }

    function hashSettlement(Settlement calldata value) external pure returns (bytes32) {
        return StructHash.hash(value);
    }

    function hashVoucher(Voucher calldata value) external pure returns (bytes32) {
        return StructHash.hash(value);
    }

    function hashClose(Close calldata value) external pure returns (bytes32) {
        return StructHash.hash(value);
    }

    function holdLeaf(bytes32 award, address arbiter, uint128 amount) external pure returns (bytes32) {
        return StructHash.holdLeaf(award, arbiter, amount);
    }

    function scoreLeaf(address subject, uint16 score) external pure returns (bytes32) {
        return StructHash.scoreLeaf(subject, score);
    }

    function verifyHold(bytes32[] calldata proof, bytes32 root, bytes32 leaf) external pure returns (bool) {
        return MerkleProof.verifyCalldata(proof, root, leaf);
    }

    /// @notice Digest of a struct hash in the domain ("Stoa", "1", `chainId`, `verifyingContract`).
    function digest(uint256 chainId, address verifyingContract, bytes32 structHash) external pure returns (bytes32) {
        bytes32 separator = keccak256(
            abi.encode(StructHash.DOMAIN_TYPEHASH, keccak256("Stoa"), keccak256("1"), chainId, verifyingContract)
        );
        return MessageHashUtils.toTypedDataHash(separator, structHash);
    }
}
