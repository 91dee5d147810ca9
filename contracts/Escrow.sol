// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

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
import {StructHash} from "./libraries/StructHash.sol";

/// @title Escrow: locks one award's money until the award is accepted, claimed, judged or refunded
/// @dev States, rules and assumptions in `IEscrow` and docs/spec/contracts.md section 4. No owner, no upgrade.
contract Escrow is IEscrow, Treasury {
    using SafeCast for uint256;
    using StructHash for *;

    /// @inheritdoc IEscrow
    uint32 public immutable minPace;

    mapping(bytes32 award => Record record) private _records;
    mapping(bytes32 award => ClaimRecord record) private _claims;

    constructor(uint32 minPace_, address guardian_) Treasury(guardian_) {
        minPace = minPace_;
    }

    // ------------------------------------------------------------------------------------------------- new business

    /// @inheritdoc IEscrow
    function fund(Award calldata award, bytes calldata signature)
        external
        nonReentrant
        newBusiness
        returns (bytes32 digest)
    {
        digest = _digest(award);
        if (_records[digest].state != State.None) revert WrongState(digest, _records[digest].state);
        if (award.rail != address(this) || award.channel != 0) revert NotForEscrow(digest);
        uint256 amount = uint256(award.price) + award.disputeFee;
        _requireGoodTerms(digest, award, amount);
        if (block.timestamp > award.startBy) revert TooLate(digest, award.startBy);
        _requireConsent(award.requester, digest, signature);

        // _requireGoodTerms has bounded `amount` by 2^96 - 1.
        _records[digest] = Record({amount: uint96(amount), paid: 0, time: 0, state: State.Funded});
        emit Funded(digest, award.requester, award.provider, award.token, uint128(amount));

        _take(award.token, amount);
    }

    // ------------------------------------------------------------------------------------------------- agreement

    /// @inheritdoc IEscrow
    function release(Award calldata award, Acceptance calldata acceptance, bytes calldata signature)
        external
        nonReentrant
    {
        bytes32 digest = _digest(award);
        Record memory record = _openRecord(digest);
        if (acceptance.award != digest) revert WrongAward(digest, acceptance.award);
        _requirePart(digest, award, acceptance.part);
        if (acceptance.due > award.price) revert DueOutOfRange(digest, acceptance.due, record.paid, award.price);
        _requireConsent(award.requester, _hashTypedDataV4(acceptance.hash()), signature);

        // Bounded by the price, which is below 2^96 (fund).
        uint96 due = uint96(acceptance.due);
        uint96 payment = due > record.paid ? due - record.paid : 0;
        // A requester could sign "last part, due 0" for itself; with the whole price nothing is left to be cheated of.
        bool closing = (msg.sender == award.provider || due == award.price) && record.state != State.Disputed;
        closing = closing && _isLastPart(award, acceptance.part);
        if (payment == 0 && !closing) revert NothingDue(digest, acceptance.due, record.paid);

        record.paid += payment;
        if (closing) {
            _close(digest, award, record, State.Accepted, record.paid, 0, payment);
            return;
        }
        emit Released(digest, acceptance.part, payment, record.paid);
        if (record.state == State.Claimed && due >= _claims[digest].due) {
            emit ClaimAccepted(digest, acceptance.due);
            record.state = State.Started;
            record.time = 0;
        } else if (record.state == State.Funded || record.state == State.Recalled) {
            // Who accepts a part has seen a start, and can't say otherwise later.
            record.state = State.Started;
            record.time = 0;
        }
        _records[digest] = record;
        _pay(award.token, award.provider, payment);
    }

    /// @inheritdoc IEscrow
    function settle(
        Award calldata award,
        Settlement calldata settlement,
        bytes calldata requesterSignature,
        bytes calldata providerSignature
    ) external nonReentrant {
        bytes32 digest = _digest(award);
        Record memory record = _openRecord(digest);
        if (settlement.award != digest) revert WrongAward(digest, settlement.award);
        if (block.timestamp > settlement.settleBy) revert TooLate(digest, settlement.settleBy);
        if (settlement.due > award.price || settlement.due < record.paid) {
            revert DueOutOfRange(digest, settlement.due, record.paid, award.price);
        }
        bytes32 settlementDigest = _hashTypedDataV4(settlement.hash());
        _requireConsent(award.requester, settlementDigest, requesterSignature);
        _requireConsent(award.provider, settlementDigest, providerSignature);

        // An arbiter that is a contract takes its own precautions; a plain key has begun to work on trust.
        bool judged = record.state == State.Disputed && award.arbiter != address(0) && award.arbiter.code.length == 0;
        _closeAs(digest, award, record, State.Settled, settlement.due, judged ? award.disputeFee : 0);
    }

    // ------------------------------------------------------------------------------------------------- one side alone

    /// @inheritdoc IEscrow
    function recall(Award calldata award) external nonReentrant {
        bytes32 digest = _digest(award);
        Record memory record = _records[digest];
        if (record.state != State.Funded) revert WrongState(digest, record.state);
        if (msg.sender != award.requester) revert NotParty(digest, msg.sender);
        if (block.timestamp <= award.startBy) revert TooEarly(digest, award.startBy);

        record.state = State.Recalled;
        record.time = (block.timestamp + award.pace).toUint40();
        _records[digest] = record;
        emit Recalled(digest, record.time);
    }

    /// @inheritdoc IEscrow
    function proveStart(Award calldata award, Start calldata start, bytes calldata signature) external nonReentrant {
        bytes32 digest = _digest(award);
        Record memory record = _records[digest];
        if (record.state != State.Funded) _requireRecalledInTime(digest, record);
        _requireStart(digest, award, start, signature);

        record.state = State.Started;
        record.time = 0;
        _records[digest] = record;
        emit Started(digest, start.startedAt);
    }

    /// @inheritdoc IEscrow
    function claim(
        Award calldata award,
        Start calldata start,
        bytes calldata startSignature,
        Receipt calldata receipt,
        bytes calldata receiptSignature
    ) external nonReentrant {
        bytes32 digest = _digest(award);
        Record memory record = _records[digest];
        if (record.state != State.Funded && record.state != State.Started) _requireRecalledInTime(digest, record);
        if (msg.sender != award.provider) revert NotParty(digest, msg.sender);
        uint256 claimBy = _claimBy(award);
        if (block.timestamp > claimBy) revert TooLate(digest, claimBy);
        _requireStart(digest, award, start, startSignature);
        bytes32 receiptDigest = _requireReceipt(digest, award, receipt, receiptSignature);
        if (receipt.due > award.price) revert DueOutOfRange(digest, receipt.due, record.paid, award.price);
        if (receipt.due <= record.paid) revert NothingDue(digest, receipt.due, record.paid);

        record.state = State.Claimed;
        record.time = (block.timestamp + award.pace).toUint40();
        _records[digest] = record;
        _claims[digest] = ClaimRecord({due: receipt.due, part: receipt.part, receipt: receiptDigest});
        emit Claimed(digest, receipt.part, receipt.due, receiptDigest, record.time);
    }

    /// @inheritdoc IEscrow
    function payClaim(Award calldata award) external nonReentrant {
        bytes32 digest = _digest(award);
        Record memory record = _records[digest];
        if (record.state != State.Claimed) revert WrongState(digest, record.state);
        if (block.timestamp <= record.time) revert TooEarly(digest, record.time);

        _closeAs(digest, award, record, State.Paid, _claimed(digest, record), 0);
    }

    /// @inheritdoc IEscrow
    function refund(Award calldata award) external nonReentrant {
        bytes32 digest = _digest(award);
        Record memory record = _records[digest];
        uint256 deadline = _claimBy(award);
        if (record.state == State.Recalled) {
            if (record.time < deadline) deadline = record.time;
        } else if (record.state != State.Funded && record.state != State.Started) {
            revert WrongState(digest, record.state);
        }
        if (block.timestamp <= deadline) revert TooEarly(digest, deadline);

        _closeAs(digest, award, record, State.Refunded, record.paid, 0);
    }

    // ------------------------------------------------------------------------------------------------- dispute

    /// @inheritdoc IEscrow
    function dispute(Award calldata award) external nonReentrant {
        bytes32 digest = _digest(award);
        Record memory record = _records[digest];
        if (record.state != State.Claimed) revert WrongState(digest, record.state);
        if (msg.sender != award.requester && msg.sender != award.arbiter) revert NotParty(digest, msg.sender);
        if (block.timestamp > record.time) revert TooLate(digest, record.time);

        // Without an arbiter there is nobody to wait for: the split is open from the next second.
        uint256 wait = award.arbiter == address(0) ? 0 : award.resolveWithin;
        record.state = State.Disputed;
        record.time = (block.timestamp + wait).toUint40();
        _records[digest] = record;
        emit Disputed(digest, msg.sender, award.arbiter, record.time);
    }

    /// @inheritdoc IEscrow
    function applyVerdict(Award calldata award, Verdict calldata verdict, bytes calldata signature)
        external
        nonReentrant
    {
        bytes32 digest = _digest(award);
        Record memory record = _records[digest];
        if (record.state != State.Disputed) revert WrongState(digest, record.state);
        if (verdict.award != digest) revert WrongAward(digest, verdict.award);
        if (block.timestamp > record.time) revert TooLate(digest, record.time);
        _requireConsent(award.arbiter, _hashTypedDataV4(verdict.hash()), signature);

        uint256 due = verdict.due;
        uint256 claimed = _claimed(digest, record);
        if (due > claimed) due = claimed;
        if (due < record.paid) due = record.paid;
        emit Judged(digest, award.arbiter, verdict.finding, verdict.due);
        bool requesterLost = verdict.finding == FINDING_REQUESTER_LOST;
        _closeAs(digest, award, record, State.Judged, due, requesterLost ? award.disputeFee : 0);
    }

    /// @inheritdoc IEscrow
    function split(Award calldata award) external nonReentrant {
        bytes32 digest = _digest(award);
        Record memory record = _records[digest];
        if (record.state != State.Disputed) revert WrongState(digest, record.state);
        if (block.timestamp <= record.time) revert TooEarly(digest, record.time);

        uint256 rest = _claimed(digest, record) - record.paid;
        _closeAs(digest, award, record, State.Split, record.paid + rest * award.splitBps / BASIS_POINTS, 0);
    }

    // ------------------------------------------------------------------------------------------------- views

    /// @inheritdoc IEscrow
    function recordOf(bytes32 award) external view returns (Record memory) {
        return _records[award];
    }

    /// @inheritdoc IEscrow
    function claimOf(bytes32 award) external view returns (ClaimRecord memory) {
        return _claims[award];
    }

    /// @inheritdoc IEscrow
    function digestOf(Award calldata award) external view returns (bytes32) {
        return _digest(award);
    }

    // ------------------------------------------------------------------------------------------------- internals

    /// @dev `due` in all to the provider, of which `record.paid` was paid before; `toArbiter`; the rest back.
    function _closeAs(
        bytes32 digest,
        Award calldata award,
        Record memory record,
        State outcome,
        uint256 due,
        uint256 toArbiter
    ) private {
        uint256 payment = due - record.paid;
        record.paid = uint96(due);
        _close(digest, award, record, outcome, due, toArbiter, payment);
    }

    /// @dev Every way to the end. `due + toArbiter <= amount`, since `due <= price` and `toArbiter <= disputeFee`.
    function _close(
        bytes32 digest,
        Award calldata award,
        Record memory record,
        State outcome,
        uint256 due,
        uint256 toArbiter,
        uint256 payment
    ) private {
        uint256 toRequester = record.amount - due - toArbiter;
        record.state = outcome;
        record.time = block.timestamp.toUint40();
        _records[digest] = record;
        emit Closed(digest, outcome, uint128(due), uint128(toRequester), uint128(toArbiter));

        _pay(award.token, award.provider, payment);
        _pay(award.token, award.requester, toRequester);
        _pay(award.token, award.arbiter, toArbiter);
    }

    function _digest(Award calldata award) private view returns (bytes32) {
        return _hashTypedDataV4(award.hash());
    }

    function _openRecord(bytes32 digest) private view returns (Record memory record) {
        record = _records[digest];
        if (record.state == State.None || record.state >= State.Accepted) revert WrongState(digest, record.state);
    }

    /// @dev What the provider has claimed, or has been paid if acceptances went beyond the claim since.
    function _claimed(bytes32 digest, Record memory record) private view returns (uint256) {
        uint256 due = _claims[digest].due;
        return due > record.paid ? due : record.paid;
    }

    function _requireGoodTerms(bytes32 digest, Award calldata award, uint256 amount) private view {
        if (
            award.provider == address(0) || award.price == 0 || award.parts == 0 || award.splitBps > BASIS_POINTS
                || award.startBy >= award.deliverBy || award.pace < minPace || amount > type(uint96).max
                || uint256(award.firstPart) + award.parts - 1 > type(uint32).max
        ) revert BadTerms(digest);
    }

    function _requireRecalledInTime(bytes32 digest, Record memory record) private view {
        if (record.state != State.Recalled) revert WrongState(digest, record.state);
        if (block.timestamp > record.time) revert TooLate(digest, record.time);
    }

    function _requireStart(bytes32 digest, Award calldata award, Start calldata start, bytes calldata signature)
        private
        view
    {
        if (start.award != digest) revert WrongAward(digest, start.award);
        if (start.startedAt > award.startBy) revert StartedTooLate(digest, start.startedAt, award.startBy);
        _requireSigned(award.provider, _hashTypedDataV4(start.hash()), signature);
    }

    function _requireReceipt(bytes32 digest, Award calldata award, Receipt calldata receipt, bytes calldata signature)
        private
        view
        returns (bytes32 receiptDigest)
    {
        if (receipt.award != digest) revert WrongAward(digest, receipt.award);
        _requirePart(digest, award, receipt.part);
        receiptDigest = _hashTypedDataV4(receipt.hash());
        _requireSigned(award.provider, receiptDigest, signature);
    }

    function _requirePart(bytes32 digest, Award calldata award, uint32 part) private pure {
        if (part < award.firstPart || uint256(part) >= uint256(award.firstPart) + award.parts) {
            revert PartOutOfRange(digest, part);
        }
    }

    function _isLastPart(Award calldata award, uint32 part) private pure returns (bool) {
        return uint256(part) + 1 == uint256(award.firstPart) + award.parts;
    }

    function _claimBy(Award calldata award) private pure returns (uint256) {
        return uint256(award.deliverBy) + award.pace;
    }
}
