// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {Treasury} from "./base/Treasury.sol";
import {IEscrow} from "./interfaces/IEscrow.sol";
import {IReputation} from "./interfaces/IReputation.sol";
import {Acceptance, Award, BASIS_POINTS, Commitment, Offer, Roll, Start} from "./interfaces/MarketTypes.sol";
import {StructHash} from "./libraries/StructHash.sol";

/// @title Reputation: the stakes behind bids and awards, the bonus for success, and published scores
/// @dev Rules and assumptions in `IReputation` and docs/spec/law.md section 1. No owner, no upgrade.
contract Reputation is IReputation, Treasury {
    using SafeCast for uint256;
    using StructHash for *;

    /// @dev 5 % of the price (SPEC L6).
    uint256 public constant BONUS_BPS = 500;

    /// @inheritdoc IReputation
    address public immutable escrow;
    /// @inheritdoc IReputation
    address public immutable token;
    /// @inheritdoc IReputation
    address public immutable pool;
    /// @inheritdoc IReputation
    uint32 public immutable cooldown;
    /// @inheritdoc IReputation
    uint128 public immutable maxBounty;

    /// @inheritdoc IReputation
    mapping(address publisher => uint64 epoch) public epochOf;
    /// @inheritdoc IReputation
    mapping(address publisher => mapping(uint64 epoch => bytes32 root)) public rootOf;

    mapping(address owner => Account account) private _accounts;
    mapping(address owner => Leaving leaving) private _leaving;
    mapping(bytes32 award => Lock lock) private _locks;
    mapping(bytes32 offer => mapping(address offender => uint128 taken)) private _punished;

    /// @param escrow_ Verifying contract of the market's domain.
    /// @param cooldown_ Seconds; longer than the longest dispute that the network's awards may have.
    constructor(address escrow_, address token_, address pool_, uint32 cooldown_, uint128 maxBounty_, address guardian_)
        Treasury(guardian_)
    {
        if (escrow_ == address(0) || token_ == address(0) || pool_ == address(0)) revert ZeroAddress();
        escrow = escrow_;
        token = token_;
        pool = pool_;
        cooldown = cooldown_;
        maxBounty = maxBounty_;
    }

    // ------------------------------------------------------------------------------------------------- stake

    /// @inheritdoc IReputation
    function stake(address owner, uint128 amount) external nonReentrant newBusiness {
        if (owner == address(0)) revert ZeroAddress();
        if (amount == 0) revert ZeroAmount();

        _accounts[owner].stake += amount;
        emit Staked(owner, msg.sender, amount);

        _take(token, amount);
    }

    /// @inheritdoc IReputation
    function unstake(uint128 amount) external nonReentrant {
        Leaving memory leaving = _leaving[msg.sender];
        if (leaving.amount != 0) revert AlreadyLeaving(msg.sender, leaving.readyAt);
        if (amount == 0) revert ZeroAmount();
        _requireFree(msg.sender, amount);

        uint64 readyAt = uint64(block.timestamp) + cooldown;
        _leaving[msg.sender] = Leaving({amount: amount, readyAt: readyAt});
        emit LeaveRequested(msg.sender, amount, readyAt);
    }

    /// @inheritdoc IReputation
    function withdraw() external nonReentrant returns (uint128 amount) {
        Leaving memory leaving = _leaving[msg.sender];
        if (leaving.amount == 0 || block.timestamp <= leaving.readyAt) revert NotReady(msg.sender, leaving.readyAt);

        // Less than was asked for if a contradiction was punished meanwhile.
        Account memory account = _accounts[msg.sender];
        uint128 unlocked = account.stake - account.locked;
        amount = leaving.amount < unlocked ? leaving.amount : unlocked;
        _accounts[msg.sender].stake = account.stake - amount;
        delete _leaving[msg.sender];
        emit Withdrawn(msg.sender, amount);

        _pay(token, msg.sender, amount);
    }

    // ------------------------------------------------------------------------------------------------- liability

    /// @inheritdoc IReputation
    function lock(Award calldata award, Start calldata start, bytes calldata signature)
        external
        nonReentrant
        newBusiness
    {
        bytes32 digest = _digest(award);
        Lock memory current = _locks[digest];
        if (current.state != LockState.None) revert WrongLockState(digest, current.state);
        _requireGoodTerms(digest, award);
        if (award.liability == 0 || award.liability > type(uint120).max) revert BadTerms(digest);
        if (msg.sender != award.provider) {
            if (start.award != digest) revert WrongSubject(digest, start.award);
            _requireSigned(award.provider, _marketDigest(start.hash()), signature);
        }
        _requireFree(award.provider, award.liability);

        current.amount = uint120(award.liability);
        current.state = LockState.Locked;
        _locks[digest] = current;
        _accounts[award.provider].locked += award.liability;
        emit LiabilityLocked(digest, award.provider, award.liability, _lockedUntil(award).toUint64());
    }

    /// @inheritdoc IReputation
    function free(Award calldata award) external nonReentrant {
        bytes32 digest = _digest(award);
        IEscrow.Record memory record;
        // The record of another rail is nobody's word here; a channel's award has none.
        if (award.rail == escrow) record = IEscrow(escrow).recordOf(digest);
        bool closed = record.state >= IEscrow.State.Accepted;
        (bool over, bool earned) = closed ? _outcomeOf(digest, award, record) : (false, false);
        if (!over && block.timestamp <= _lockedUntil(award)) revert NotOver(digest, _lockedUntil(award));

        // An escrow that nobody has closed yet still decides about the bonus, but no longer holds the stake.
        _end(digest, award, earned, closed || record.state == IEscrow.State.None);
    }

    /// @inheritdoc IReputation
    function freeAccepted(Award calldata award, Acceptance calldata acceptance, bytes calldata signature)
        external
        nonReentrant
    {
        bytes32 digest = _digest(award);
        if (acceptance.award != digest) revert WrongSubject(digest, acceptance.award);
        if (!_isLast(award, acceptance.part)) revert NotLastPart(digest, acceptance.part);
        _requireConsent(award.requester, _marketDigest(acceptance.hash()), signature);

        _end(digest, award, true, true);
    }

    /// @inheritdoc IReputation
    function slash(Award calldata award, uint16 severity, address feeTo) external nonReentrant returns (uint128 fee) {
        bytes32 digest = _digest(award);
        Lock memory current = _locks[digest];
        if (current.state != LockState.Locked) revert WrongLockState(digest, current.state);
        if (msg.sender != award.arbiter) revert NotParty(digest, msg.sender);
        if (severity > BASIS_POINTS) revert SeverityOutOfRange(severity);
        if (block.timestamp > _lockedUntil(award)) revert TooLate(digest, _lockedUntil(award));

        uint128 amount = current.amount;
        if (feeTo != address(0)) fee = award.disputeFee < amount ? award.disputeFee : amount;
        uint128 penalty = uint128(uint256(amount) * severity / BASIS_POINTS);
        if (penalty > amount - fee) penalty = amount - fee;
        uint128 bounty = penalty < maxBounty ? penalty : maxBounty;
        penalty -= bounty;

        Account memory account = _accounts[award.provider];
        account.locked -= amount;
        account.stake -= fee + bounty + penalty;
        _accounts[award.provider] = account;
        uint128 bonus = current.bonus;
        current.bonus = 0;
        current.state = LockState.Slashed;
        _locks[digest] = current;
        emit LiabilitySlashed(digest, award.provider, msg.sender, fee, bounty, penalty);
        if (bonus != 0) emit BonusPaid(digest, award.requester, bonus, false);

        uint256 toRequester = uint256(bounty) + bonus;
        if (feeTo == award.requester) toRequester += fee;
        else _pay(token, feeTo, fee);
        _pay(token, award.requester, toRequester);
        _pay(token, pool, penalty);
    }

    // ------------------------------------------------------------------------------------------------- bonus

    /// @inheritdoc IReputation
    function depositBonus(Award calldata award) external nonReentrant newBusiness {
        bytes32 digest = _digest(award);
        Lock memory current = _locks[digest];
        uint256 amount = uint256(award.price) * BONUS_BPS / BASIS_POINTS;
        if (current.hadBonus || amount == 0) revert NoBonus(digest);
        if (current.state > LockState.Locked) revert WrongLockState(digest, current.state);
        _requireGoodTerms(digest, award);
        if (amount > type(uint120).max) revert BadTerms(digest);

        current.bonus = uint120(amount);
        current.hadBonus = true;
        _locks[digest] = current;
        emit BonusDeposited(digest, msg.sender, uint128(amount));

        _take(token, amount);
    }

    // ------------------------------------------------------------------------------------------------- contradictions

    /// @inheritdoc IReputation
    function punishCommitments(
        Offer calldata offer,
        Commitment calldata one,
        bytes calldata oneSignature,
        Commitment calldata other,
        bytes calldata otherSignature
    ) external nonReentrant {
        bytes32 digest = _marketDigest(offer.hash());
        if (one.offer != digest || other.offer != digest || one.bidder != other.bidder || one.seal == other.seal) {
            revert NoContradiction();
        }
        _requireSigned(one.bidder, _marketDigest(one.hash()), oneSignature);
        _requireSigned(one.bidder, _marketDigest(other.hash()), otherSignature);
        _punish(digest, one.bidder, offer);
    }

    /// @inheritdoc IReputation
    function punishRolls(
        Offer calldata offer,
        Roll calldata one,
        bytes calldata oneSignature,
        Roll calldata other,
        bytes calldata otherSignature
    ) external nonReentrant {
        bytes32 digest = _marketDigest(offer.hash());
        if (one.offer != digest || other.offer != digest || (one.root == other.root && one.count == other.count)) {
            revert NoContradiction();
        }
        _requireSigned(offer.requester, _marketDigest(one.hash()), oneSignature);
        _requireSigned(offer.requester, _marketDigest(other.hash()), otherSignature);
        _punish(digest, offer.requester, offer);
    }

    /// @inheritdoc IReputation
    function punishAwards(
        Offer calldata offer,
        Award calldata one,
        bytes calldata oneSignature,
        Award calldata other,
        bytes calldata otherSignature
    ) external nonReentrant {
        bytes32 digest = _marketDigest(offer.hash());
        bytes32 oneDigest = _digest(one);
        bytes32 otherDigest = _digest(other);
        if (
            one.offer != digest || other.offer != digest || one.slot != other.slot || one.attempt != other.attempt
                || oneDigest == otherDigest
        ) revert NoContradiction();
        _requireSigned(offer.requester, oneDigest, oneSignature);
        _requireSigned(offer.requester, otherDigest, otherSignature);
        _punish(digest, offer.requester, offer);
    }

    // ------------------------------------------------------------------------------------------------- scores

    /// @inheritdoc IReputation
    function anchor(uint64 epoch, bytes32 root) external {
        uint64 last = epochOf[msg.sender];
        if (epoch <= last) revert EpochOutOfOrder(msg.sender, epoch, last);
        epochOf[msg.sender] = epoch;
        rootOf[msg.sender][epoch] = root;
        emit ScoresAnchored(msg.sender, epoch, root);
    }

    /// @inheritdoc IReputation
    function isScore(address publisher, uint64 epoch, address subject, uint16 score, bytes32[] calldata proof)
        external
        view
        returns (bool)
    {
        bytes32 root = rootOf[publisher][epoch];
        return root != 0 && MerkleProof.verifyCalldata(proof, root, StructHash.scoreLeaf(subject, score));
    }

    // ------------------------------------------------------------------------------------------------- views

    /// @inheritdoc IReputation
    function accountOf(address owner) external view returns (Account memory) {
        return _accounts[owner];
    }

    /// @inheritdoc IReputation
    function freeStakeOf(address owner) external view returns (uint256) {
        return _free(owner);
    }

    /// @inheritdoc IReputation
    function leavingOf(address owner) external view returns (Leaving memory) {
        return _leaving[owner];
    }

    /// @inheritdoc IReputation
    function lockOf(bytes32 award) external view returns (Lock memory) {
        return _locks[award];
    }

    // ------------------------------------------------------------------------------------------------- internals

    /// @dev Free what is locked, and pay the bonus if it is decided who gets it.
    function _end(bytes32 digest, Award calldata award, bool earned, bool decided) private {
        Lock memory current = _locks[digest];
        uint128 bonus = decided ? current.bonus : 0;
        if (current.state != LockState.Locked && bonus == 0) revert WrongLockState(digest, current.state);

        if (current.state == LockState.Locked) {
            current.state = LockState.Freed;
            _accounts[award.provider].locked -= current.amount;
            emit LiabilityFreed(digest, award.provider, current.amount);
        }
        if (bonus != 0) current.bonus = 0;
        _locks[digest] = current;
        if (bonus == 0) return;
        address receiver = earned ? award.provider : award.requester;
        emit BonusPaid(digest, receiver, bonus, earned);

        _pay(token, receiver, bonus);
    }

    /// @dev What a closed escrow means for the lock and for the bonus. What a verdict against the provider costs is the arbiter's to
    /// take, who need not do it in the same transaction. The bonus is for the last part: accepted, claimed without a dispute, or
    /// upheld by the verdict in full.
    function _outcomeOf(bytes32 digest, Award calldata award, IEscrow.Record memory record)
        private
        view
        returns (bool over, bool earned)
    {
        if (record.state == IEscrow.State.Accepted) return (true, true);
        if (record.state != IEscrow.State.Paid && record.state != IEscrow.State.Judged) return (true, false);
        IEscrow.ClaimRecord memory claim = IEscrow(escrow).claimOf(digest);
        over = record.paid >= claim.due; // so it is in Paid
        earned = over && _isLast(award, claim.part);
    }

    function _isLast(Award calldata award, uint32 part) private pure returns (bool) {
        return uint256(part) + 1 == uint256(award.firstPart) + award.parts;
    }

    /// @dev Take the bond out of what isn't locked: locks answer for their awards alone. What is locked now is taken when it is free,
    /// by another call: else an offender could lock all but one unit, accuse itself, and be done with it.
    function _punish(bytes32 digest, address offender, Offer calldata offer) private {
        if (offer.token != token) revert WrongToken(offer.token);
        uint128 taken = _punished[digest][offender];
        if (taken != 0 && taken == offer.bond) revert AlreadyPunished(digest, offender);
        Account memory account = _accounts[offender];
        uint128 unlocked = account.stake - account.locked;
        uint128 rest = offer.bond - taken;
        uint128 amount = rest < unlocked ? rest : unlocked;
        if (amount == 0) revert NothingToSlash(offender);
        uint128 bounty = _bountyOf(taken + amount) - _bountyOf(taken);

        _punished[digest][offender] = taken + amount;
        _accounts[offender].stake = account.stake - amount;
        emit ContradictionPunished(digest, offender, msg.sender, amount, bounty);

        _pay(token, msg.sender, bounty);
        _pay(token, pool, amount - bounty);
    }

    /// @dev What accusers get of a bond of which so much was taken, in however many calls: an offender that accuses itself loses more.
    function _bountyOf(uint128 taken) private view returns (uint128) {
        return taken / 2 < maxBounty ? taken / 2 : maxBounty;
    }

    function _requireGoodTerms(bytes32 digest, Award calldata award) private view {
        if (award.token != token) revert WrongToken(award.token);
        if (award.provider == address(0) || award.requester == address(0) || award.startBy >= award.deliverBy) {
            revert BadTerms(digest);
        }
        if (block.timestamp > award.startBy) revert TooLate(digest, award.startBy);
    }

    function _requireFree(address owner, uint256 needed) private view {
        uint256 available = _free(owner);
        if (available < needed) revert StakeTooSmall(owner, available, needed);
    }

    function _free(address owner) private view returns (uint256) {
        Account memory account = _accounts[owner];
        uint256 bound = uint256(account.locked) + _leaving[owner].amount;
        return account.stake > bound ? account.stake - bound : 0;
    }

    /// @dev The last second of the last dispute: a claim by `deliverBy + pace`, a dispute within `pace`, its answer.
    function _lockedUntil(Award calldata award) private pure returns (uint256) {
        return uint256(award.deliverBy) + 2 * uint256(award.pace) + award.resolveWithin;
    }

    function _digest(Award calldata award) private view returns (bytes32) {
        return _marketDigest(award.hash());
    }

    function _marketDigest(bytes32 structHash) private view returns (bytes32) {
        return MessageHashUtils.toTypedDataHash(StructHash.domainSeparator(escrow), structHash);
    }
}
