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
} from "../../../contracts/interfaces/MarketTypes.sol";
import {StructHash} from "../../../contracts/libraries/StructHash.sol";

/// @dev The copying hash of `StructHash` is what EIP-712 asks for, `keccak256(abi.encode(typehash, object))`, for every object.
contract StructHashProofs {
    function check_offer(Offer calldata value) external pure {
        assert(StructHash.hash(value) == keccak256(abi.encode(StructHash.OFFER_TYPEHASH, value)));
    }

    function check_award(Award calldata value) external pure {
        assert(StructHash.hash(value) == keccak256(abi.encode(StructHash.AWARD_TYPEHASH, value)));
    }

    function check_receipt(Receipt calldata value) external pure {
        assert(StructHash.hash(value) == keccak256(abi.encode(StructHash.RECEIPT_TYPEHASH, value)));
    }

    function check_verdict(Verdict calldata value) external pure {
        assert(StructHash.hash(value) == keccak256(abi.encode(StructHash.VERDICT_TYPEHASH, value)));
    }

    function check_voucher(Voucher calldata value) external pure {
        assert(StructHash.hash(value) == keccak256(abi.encode(StructHash.VOUCHER_TYPEHASH, value)));
    }

    function check_small_objects(
        Commitment calldata commitment,
        Roll calldata roll,
        Start calldata start,
        Acceptance calldata acceptance,
        Settlement calldata settlement,
        Close calldata agreed
    ) external pure {
        assert(StructHash.hash(commitment) == keccak256(abi.encode(StructHash.COMMITMENT_TYPEHASH, commitment)));
        assert(StructHash.hash(roll) == keccak256(abi.encode(StructHash.ROLL_TYPEHASH, roll)));
        assert(StructHash.hash(start) == keccak256(abi.encode(StructHash.START_TYPEHASH, start)));
        assert(StructHash.hash(acceptance) == keccak256(abi.encode(StructHash.ACCEPTANCE_TYPEHASH, acceptance)));
        assert(StructHash.hash(settlement) == keccak256(abi.encode(StructHash.SETTLEMENT_TYPEHASH, settlement)));
        assert(StructHash.hash(agreed) == keccak256(abi.encode(StructHash.CLOSE_TYPEHASH, agreed)));
    }
}
