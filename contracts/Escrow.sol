// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";

import {EscrowLedger} from "./base/EscrowLedger.sol";
import {Treasury} from "./base/Treasury.sol";
import {IEscrow} from "./interfaces/IEscrow.sol";
import {
    Acceptance,
    Award,
    BASIS_POINTS,
    FINDING_REQUESTER_LOST,
    Receipt,
    Settlement,
    Start,
    Verdict
} from "./interfaces/MarketTypes.sol";
import {PackedAward} from "./libraries/PackedAward.sol";
import {pack, PackedRecord} from "./libraries/PackedRecord.sol";
import {StructHash} from "./libraries/StructHash.sol";

/// @title Escrow: locks one award's money until the award is accepted, claimed, judged or refunded
/// @dev States, rules and assumptions in `IEscrow` and docs/spec/contracts.md section 4. No owner, no upgrade.
contract Escrow is EscrowLedger {
    using MessageHashUtils for bytes32;
    using PackedAward for Award;
    using StructHash for *;

    /// @dev Token, then awards.
    uint256 private constant HEADER_SIZE = 20;
    /// @dev Award, part, due, receipt, signature.
    uint256 private constant RELEASE_SIZE = PackedAward.SIZE + 4 + 16 + 32 + 65;

    constructor(uint32 minPace_, address guardian_) EscrowLedger(minPace_) Treasury(guardian_) {}

    // ------------------------------------------------------------------------------------------------- new business

    /// @inheritdoc IEscrow
    function fund(Award memory award, bytes calldata signature)
        external
        nonReentrant
        newBusiness
        returns (bytes32 digest)
    {
        uint256 amount;
        (digest, amount) = _openReadable(award, signature);
        _take(award.token, amount);
    }

    /// @inheritdoc IEscrow
    function fundByAuthorization(
        Award memory award,
        bytes calldata signature,
        address funder,
        Authorization calldata authorization
    ) external nonReentrant newBusiness returns (bytes32 digest) {
        uint256 amount;
        (digest, amount) = _openReadable(award, signature);
        _takeAuthorized(award.token, amount, funder, digest, authorization);
    }

    /// @inheritdoc IEscrow
    function fundMany(bytes calldata batch) external nonReentrant newBusiness {
        (uint256 place, uint256 end, address token) = _items(batch, PackedAward.SIZE);
        Award memory award = PackedAward.room()[0];
        award.requester = msg.sender;
        award.token = token;
        uint256 total;
        unchecked {
            // Places in calldata, and fewer than 2^32 amounts below 2^96.
            for (; place < end; place += PackedAward.SIZE) {
                total += _open(_hashTypedDataV4(award.read(place, PackedAward.PROVIDER)), award);
            }
        }
        _take(token, total);
    }

    // ------------------------------------------------------------------------------------------------- agreement

    /// @inheritdoc IEscrow
    function release(Award memory award, Acceptance calldata acceptance, bytes calldata signature)
        external
        nonReentrant
    {
        bytes32 digest = _digest(award);
        PackedRecord record = _openRecord(digest);
        (uint32 part, uint128 due) = (acceptance.part, acceptance.due);
        if (acceptance.award != digest) revert WrongAward(digest, acceptance.award);
        _requirePart(digest, award, part);
        if (due > award.price) revert DueOutOfRange(digest, due, record.paid(), award.price);
        _requireConsent(award.requester, _hashTypedDataV4(acceptance.hash()), signature);
        bool closing = _isLast(award, record, part, due);
        if (due <= record.paid() && !closing) revert NothingDue(digest, due, record.paid());

        (uint256 payment, uint256 rest) = _accept(digest, record, part, due, closing);

        _pay(award.token, award.provider, payment);
        _pay(award.token, award.requester, rest);
    }

    /// @inheritdoc IEscrow
    function releaseMany(bytes calldata batch) external nonReentrant {
        (uint256 place, uint256 end, address token) = _items(batch, RELEASE_SIZE);
        Award memory award = PackedAward.room()[0];
        award.provider = msg.sender;
        award.token = token;
        uint256 total;
        unchecked {
            // Places in calldata, and fewer than 2^32 amounts below 2^96.
            for (; place < end; place += RELEASE_SIZE) {
                (uint256 payment, uint256 rest) = _releaseOne(award, place);
                total += payment;
                if (rest != 0) _pay(token, award.requester, rest);
            }
        }
        _pay(token, msg.sender, total);
    }

    /// @inheritdoc IEscrow
    function settle(
        Award memory award,
        Settlement calldata settlement,
        bytes calldata requesterSignature,
        bytes calldata providerSignature
    ) external nonReentrant {
        bytes32 digest = _digest(award);
        PackedRecord record = _openRecord(digest);
        bytes32 agreed = _requireSettlement(digest, record, settlement, award.price);
        _requireConsent(award.requester, agreed, requesterSignature);
        _requireConsent(award.provider, agreed, providerSignature);

        _settle(digest, award, record, settlement.due);
    }

    /// @inheritdoc IEscrow
    function settleWithArbiter(
        Award memory award,
        Settlement calldata settlement,
        address party,
        bytes calldata partySignature,
        bytes calldata arbiterSignature
    ) external nonReentrant {
        bytes32 digest = _digest(award);
        PackedRecord record = _records[digest];
        if (!record.isIn(State.Claimed) && !record.isIn(State.Disputed)) revert WrongState(digest, record.state());
        if (party != award.requester && party != award.provider) revert NotParty(digest, party);
        if (block.timestamp > record.time()) revert TooLate(digest, record.time());
        bytes32 agreed = _requireSettlement(digest, record, settlement, _claimed(digest, record));
        _requireConsent(party, agreed, partySignature);
        _requireConsent(award.arbiter, agreed, arbiterSignature);

        _settle(digest, award, record, settlement.due);
    }

    // ------------------------------------------------------------------------------------------------- one side alone

    /// @inheritdoc IEscrow
    function recall(Award memory award) external nonReentrant {
        bytes32 digest = _digest(award);
        PackedRecord record = _recordIn(State.Funded, digest);
        if (msg.sender != award.requester) revert NotParty(digest, msg.sender);
        if (block.timestamp <= award.startBy) revert TooEarly(digest, award.startBy);

        emit Recalled(digest, _await(digest, record, State.Recalled, award.pace));
    }

    /// @inheritdoc IEscrow
    function proveStart(Award memory award, Start calldata start, bytes calldata signature) external nonReentrant {
        bytes32 digest = _digest(award);
        PackedRecord record = _records[digest];
        if (!record.isIn(State.Funded)) _requireRecalledInTime(digest, record);
        _requireStart(digest, award, start, signature);

        _records[digest] = pack(record.amount(), record.paid(), 0, State.Started);
        emit Started(digest, start.startedAt);
    }

    /// @inheritdoc IEscrow
    function claim(
        Award memory award,
        Start calldata start,
        bytes calldata startSignature,
        Receipt calldata receipt,
        bytes calldata receiptSignature
    ) external nonReentrant {
        bytes32 digest = _digest(award);
        PackedRecord record = _records[digest];
        if (!record.isIn(State.Funded) && !record.isIn(State.Started)) _requireRecalledInTime(digest, record);
        if (msg.sender != award.provider) revert NotParty(digest, msg.sender);
        uint256 claimBy = _claimBy(award);
        if (block.timestamp > claimBy) revert TooLate(digest, claimBy);
        _requireStart(digest, award, start, startSignature);
        bytes32 receiptDigest = _requireReceipt(digest, award, receipt, receiptSignature);
        if (receipt.due > award.price) revert DueOutOfRange(digest, receipt.due, record.paid(), award.price);
        if (receipt.due <= record.paid()) revert NothingDue(digest, receipt.due, record.paid());

        uint64 disputeBy = _await(digest, record, State.Claimed, award.pace);
        _claims[digest] = ClaimRecord({due: receipt.due, part: receipt.part, receipt: receiptDigest});
        emit Claimed(digest, receipt.part, receipt.due, receiptDigest, disputeBy);
    }

    /// @inheritdoc IEscrow
    function payClaim(Award memory award) external nonReentrant {
        bytes32 digest = _digest(award);
        PackedRecord record = _recordIn(State.Claimed, digest);
        if (block.timestamp <= record.time()) revert TooEarly(digest, record.time());

        _close(digest, award, record, State.Paid, _claimed(digest, record), 0);
    }

    /// @inheritdoc IEscrow
    function refund(Award memory award) external nonReentrant {
        bytes32 digest = _digest(award);
        PackedRecord record = _records[digest];
        uint256 deadline = _claimBy(award);
        if (record.isIn(State.Recalled)) {
            if (record.time() < deadline) deadline = record.time();
        } else if (!record.isIn(State.Funded) && !record.isIn(State.Started)) {
            revert WrongState(digest, record.state());
        }
        if (block.timestamp <= deadline) revert TooEarly(digest, deadline);

        _close(digest, award, record, State.Refunded, record.paid(), 0);
    }

    // ------------------------------------------------------------------------------------------------- dispute

    /// @inheritdoc IEscrow
    function dispute(Award memory award) external nonReentrant {
        bytes32 digest = _digest(award);
        PackedRecord record = _recordIn(State.Claimed, digest);
        if (msg.sender != award.requester && msg.sender != award.arbiter) revert NotParty(digest, msg.sender);
        if (block.timestamp > record.time()) revert TooLate(digest, record.time());

        // Without an arbiter there is nobody to wait for: the split is open from the next second.
        uint256 wait = award.arbiter == address(0) ? 0 : award.resolveWithin;
        emit Disputed(digest, msg.sender, award.arbiter, _await(digest, record, State.Disputed, wait));
    }

    /// @inheritdoc IEscrow
    function applyVerdict(Award memory award, Verdict calldata verdict, bytes calldata signature)
        external
        nonReentrant
    {
        bytes32 digest = _digest(award);
        PackedRecord record = _recordIn(State.Disputed, digest);
        if (verdict.award != digest) revert WrongAward(digest, verdict.award);
        if (block.timestamp > record.time()) revert TooLate(digest, record.time());
        _requireConsent(award.arbiter, _hashTypedDataV4(verdict.hash()), signature);

        uint256 due = verdict.due;
        uint256 claimed = _claimed(digest, record);
        if (due > claimed) due = claimed;
        if (due < record.paid()) due = record.paid();
        emit Judged(digest, award.arbiter, verdict.finding, verdict.due);
        bool requesterLost = verdict.finding == FINDING_REQUESTER_LOST;
        _close(digest, award, record, State.Judged, due, requesterLost ? award.disputeFee : 0);
    }

    /// @inheritdoc IEscrow
    function split(Award memory award) external nonReentrant {
        bytes32 digest = _digest(award);
        PackedRecord record = _recordIn(State.Disputed, digest);
        if (block.timestamp <= record.time()) revert TooEarly(digest, record.time());

        uint256 rest = _claimed(digest, record) - record.paid();
        _close(digest, award, record, State.Split, record.paid() + rest * award.splitBps / BASIS_POINTS, 0);
    }

    // ------------------------------------------------------------------------------------------------- internals

    /// @dev Records an award that came by the ABI, with the requester's consent; what to take.
    function _openReadable(Award memory award, bytes calldata signature)
        private
        returns (bytes32 digest, uint256 amount)
    {
        digest = _digest(award);
        if (award.rail != address(this) || award.channel != 0) revert NotForEscrow(digest);
        amount = _open(digest, award);
        _requireConsent(award.requester, digest, signature);
    }

    /// @dev One item of a batch. What somebody else may have done meanwhile is reported and left out, so nobody can sink a
    /// batch; what only its sender can have got wrong reverts.
    function _releaseOne(Award memory award, uint256 place) private returns (uint256 payment, uint256 rest) {
        bytes32 separator = _domainSeparatorV4();
        bytes32 digest = separator.toTypedDataHash(award.read(place, PackedAward.REQUESTER));
        (uint256 part, uint256 due) = _partAndDue(place);
        PackedRecord record = _records[digest];
        if (!record.isOpen()) return _skip(digest, WrongState.selector);
        uint256 firstPart = award.firstPart;
        uint256 last;
        unchecked {
            last = firstPart + award.parts - 1; // a funded award has parts, and numbers of 32 bits for them
        }
        bool closing = part == last && !record.isIn(State.Disputed); // the provider calls (_isLast)
        if (due <= record.paid() && !closing) return _skip(digest, NothingDue.selector);
        if (part < firstPart || part > last) revert PartOutOfRange(digest, uint32(part));
        if (due > award.price) revert DueOutOfRange(digest, uint128(due), record.paid(), award.price);
        bytes32 structHash = StructHash.acceptanceHash(digest, part, _receiptAt(place), due);
        _requireSigned(award.requester, separator.toTypedDataHash(structHash), _signatureAt(place));
        return _accept(digest, record, part, due, closing);
    }

    function _skip(bytes32 digest, bytes4 reason) private returns (uint256 payment, uint256 rest) {
        emit ReleaseSkipped(digest, reason);
        return (0, 0);
    }

    /// @dev What follows the award in an item of `releaseMany`: part 4, due 16, receipt 32, signature 65.
    function _partAndDue(uint256 place) private pure returns (uint256 part, uint256 due) {
        assembly ("memory-safe") {
            place := add(place, 254) // PackedAward.SIZE
            part := shr(224, calldataload(place))
            due := shr(128, calldataload(add(place, 4)))
        }
    }

    function _receiptAt(uint256 place) private pure returns (bytes32 receipt) {
        assembly ("memory-safe") {
            receipt := calldataload(add(place, 274))
        }
    }

    function _signatureAt(uint256 place) private pure returns (bytes calldata signature) {
        assembly ("memory-safe") {
            signature.offset := add(place, 306)
            signature.length := 65
        }
    }

    function _requireSettlement(bytes32 digest, PackedRecord record, Settlement calldata settlement, uint256 most)
        private
        view
        returns (bytes32)
    {
        if (settlement.award != digest) revert WrongAward(digest, settlement.award);
        if (block.timestamp > settlement.settleBy) revert TooLate(digest, settlement.settleBy);
        if (settlement.due > most || settlement.due < record.paid()) {
            revert DueOutOfRange(digest, settlement.due, record.paid(), uint128(most));
        }
        return _hashTypedDataV4(settlement.hash());
    }

    function _settle(bytes32 digest, Award memory award, PackedRecord record, uint128 due) private {
        // An arbiter that is a contract takes its own precautions; a plain key has begun to work on trust.
        bool judged = record.isIn(State.Disputed) && award.arbiter != address(0) && award.arbiter.code.length == 0;
        _close(digest, award, record, State.Settled, due, judged ? award.disputeFee : 0);
    }

    /// @dev Where the items of a batch begin and end in calldata, and its token. A batch of nothing, or with a rest, is a mistake.
    function _items(bytes calldata batch, uint256 size)
        private
        pure
        returns (uint256 place, uint256 end, address token)
    {
        if (batch.length <= HEADER_SIZE || (batch.length - HEADER_SIZE) % size != 0) {
            revert BadBatch(batch.length, HEADER_SIZE, size);
        }
        assembly ("memory-safe") {
            token := shr(96, calldataload(batch.offset))
            place := add(batch.offset, HEADER_SIZE)
            end := add(batch.offset, batch.length)
        }
    }
}
