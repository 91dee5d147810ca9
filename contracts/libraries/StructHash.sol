// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

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

/// @title EIP-712 struct hashes of the objects that the contracts read (docs/spec/contracts.md section 2)
/// @dev Every field is an atomic type, so EIP-712's encodeData is `abi.encode` of the type hash and the struct. The type
/// strings are the protocol: `tests/vectors/eip712.json` holds what Python, Solidity and TypeScript must agree on.
library StructHash {
    bytes32 internal constant OFFER_TYPEHASH = keccak256(
        "Offer(address requester,address token,address rail,address arbiter,bytes32 manifest,bytes32 engine,bytes32 rates,"
        "bytes32 verification,uint8 format,uint32 parts,uint16 copies,uint16 wPrice,uint16 wReputation,uint16 wSpeed,"
        "uint16 maxBidders,uint16 splitBps,uint128 budget,uint128 bond,uint128 minStake,uint128 liability,"
        "uint128 disputeFee,uint32 maxEta,uint32 startWithin,uint32 pace,uint32 resolveWithin,uint64 commitBy,"
        "uint64 revealBy,uint64 expires,bytes32 salt)"
    );
    bytes32 internal constant COMMITMENT_TYPEHASH = keccak256("Commitment(bytes32 offer,address bidder,bytes32 hash)");
    bytes32 internal constant ROLL_TYPEHASH = keccak256("Roll(bytes32 offer,bytes32 root,uint16 count)");
    bytes32 internal constant AWARD_TYPEHASH = keccak256(
        "Award(bytes32 offer,bytes32 roll,bytes32 bids,address requester,address provider,address token,address rail,"
        "bytes32 channel,address arbiter,uint16 slot,uint16 attempt,uint32 firstPart,uint32 parts,uint128 price,"
        "uint128 liability,uint128 disputeFee,uint16 splitBps,uint64 startBy,uint64 deliverBy,uint32 pace,"
        "uint32 resolveWithin,bytes32 auditSeal)"
    );
    bytes32 internal constant START_TYPEHASH = keccak256("Start(bytes32 award,uint64 at)");
    bytes32 internal constant RECEIPT_TYPEHASH = keccak256(
        "Receipt(bytes32 award,uint32 part,uint8 outcome,bytes32 output,bytes32 logs,uint64 fuel,uint32 peakMiB,"
        "uint64 bytesIn,uint64 bytesOut,uint128 due,bytes32 notes)"
    );
    bytes32 internal constant ACCEPTANCE_TYPEHASH =
        keccak256("Acceptance(bytes32 award,uint32 part,bytes32 receipt,uint128 due)");
    bytes32 internal constant VERDICT_TYPEHASH = keccak256(
        "Verdict(bytes32 award,uint32 part,uint8 round,uint8 finding,bytes32 output,uint64 fuel,uint128 due,"
        "uint16 severity)"
    );
    bytes32 internal constant SETTLEMENT_TYPEHASH = keccak256("Settlement(bytes32 award,uint128 due,uint64 settleBy)");
    bytes32 internal constant VOUCHER_TYPEHASH =
        keccak256("Voucher(bytes32 channel,uint64 sequence,uint128 cumulative,uint128 held,bytes32 holds)");
    bytes32 internal constant CLOSE_TYPEHASH = keccak256("Close(bytes32 channel,uint128 cumulative,uint64 closeBy)");
    bytes32 internal constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");

    function hash(Offer calldata offer) internal pure returns (bytes32) {
        uint256 place;
        assembly ("memory-safe") {
            place := offer
        }
        return _hash(OFFER_TYPEHASH, place, 29);
    }

    function hash(Commitment calldata commitment) internal pure returns (bytes32) {
        uint256 place;
        assembly ("memory-safe") {
            place := commitment
        }
        return _hash(COMMITMENT_TYPEHASH, place, 3);
    }

    function hash(Roll calldata roll) internal pure returns (bytes32) {
        uint256 place;
        assembly ("memory-safe") {
            place := roll
        }
        return _hash(ROLL_TYPEHASH, place, 3);
    }

    function hash(Award calldata award) internal pure returns (bytes32) {
        uint256 place;
        assembly ("memory-safe") {
            place := award
        }
        return _hash(AWARD_TYPEHASH, place, 22);
    }

    function hash(Start calldata start) internal pure returns (bytes32) {
        uint256 place;
        assembly ("memory-safe") {
            place := start
        }
        return _hash(START_TYPEHASH, place, 2);
    }

    function hash(Receipt calldata receipt) internal pure returns (bytes32) {
        uint256 place;
        assembly ("memory-safe") {
            place := receipt
        }
        return _hash(RECEIPT_TYPEHASH, place, 11);
    }

    function hash(Acceptance calldata acceptance) internal pure returns (bytes32) {
        uint256 place;
        assembly ("memory-safe") {
            place := acceptance
        }
        return _hash(ACCEPTANCE_TYPEHASH, place, 4);
    }

    function hash(Verdict calldata verdict) internal pure returns (bytes32) {
        uint256 place;
        assembly ("memory-safe") {
            place := verdict
        }
        return _hash(VERDICT_TYPEHASH, place, 8);
    }

    function hash(Settlement calldata settlement) internal pure returns (bytes32) {
        uint256 place;
        assembly ("memory-safe") {
            place := settlement
        }
        return _hash(SETTLEMENT_TYPEHASH, place, 3);
    }

    function hash(Close calldata agreed) internal pure returns (bytes32) {
        uint256 place;
        assembly ("memory-safe") {
            place := agreed
        }
        return _hash(CLOSE_TYPEHASH, place, 3);
    }

    function hash(Voucher calldata voucher) internal pure returns (bytes32) {
        uint256 place;
        assembly ("memory-safe") {
            place := voucher
        }
        return _hash(VOUCHER_TYPEHASH, place, 5);
    }

    /// @dev The same of an award in memory, whose words lie there as the ABI would have them.
    function hashInMemory(Award memory award) internal pure returns (bytes32 result) {
        bytes32 typehash = AWARD_TYPEHASH;
        assembly ("memory-safe") {
            let free := mload(0x40) // scratch, as below
            mstore(free, typehash)
            mcopy(add(free, 0x20), award, 0x2c0)
            result := keccak256(free, 0x2e0)
        }
    }

    /// @dev An acceptance's hash from its fields, which the caller has bounded by their types.
    function acceptanceHash(bytes32 award, uint256 part, bytes32 receipt, uint256 due)
        internal
        pure
        returns (bytes32 result)
    {
        bytes32 typehash = ACCEPTANCE_TYPEHASH;
        assembly ("memory-safe") {
            let free := mload(0x40) // scratch, as below
            mstore(free, typehash)
            mstore(add(free, 0x20), award)
            mstore(add(free, 0x40), part)
            mstore(add(free, 0x60), receipt)
            mstore(add(free, 0x80), due)
            result := keccak256(free, 0xa0)
        }
    }

    /// @dev Leaf of `Voucher.holds`, hashed twice so that no inner node of the tree can pass for a leaf.
    function holdLeaf(bytes32 award, address arbiter, uint128 amount) internal pure returns (bytes32) {
        return keccak256(abi.encode(keccak256(abi.encode(award, arbiter, amount))));
    }

    /// @dev Leaf of a tree of published scores, hashed twice likewise.
    function scoreLeaf(address subject, uint16 score) internal pure returns (bytes32) {
        return keccak256(abi.encode(keccak256(abi.encode(subject, score))));
    }

    /// @dev Separator of the domain ("Stoa", "1", this chain, `verifyingContract`).
    function domainSeparator(address verifyingContract) internal view returns (bytes32) {
        return
            keccak256(abi.encode(DOMAIN_TYPEHASH, keccak256("Stoa"), keccak256("1"), block.chainid, verifyingContract));
    }

    /// @dev Hash `words` words of calldata after their type hash: what `abi.encode` would give, in one piece, at a third of the
    /// gas. Copying doesn't check that narrow fields fit their types; a word that doesn't is part of the digest, so it can
    /// only name an object that nobody else can sign, and reading the field reverts.
    function _hash(bytes32 typehash, uint256 place, uint256 words) private pure returns (bytes32 result) {
        assembly ("memory-safe") {
            let free := mload(0x40) // scratch beyond the free pointer: used at once, never kept
            mstore(free, typehash)
            calldatacopy(add(free, 0x20), place, mul(words, 0x20))
            result := keccak256(free, add(mul(words, 0x20), 0x20))
        }
    }
}
