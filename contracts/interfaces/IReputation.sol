// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ITreasury} from "./ITreasury.sol";
import {Acceptance, Award, Commitment, Offer, Roll, Start} from "./MarketTypes.sol";

/// @title Reputation: the stakes behind bids and awards, the bonus for success, and published scores
/// @notice A provider stakes the market's token once. Out of that, an award's liability is locked while the award runs; a
/// verdict against the provider slashes the lock, anything else frees it. What isn't locked backs the bonds of bids.
///
/// @dev Rules (docs/spec/law.md section 1, docs/adr/1602):
///
///     lock:  None -> Locked -> Freed       by the end of its escrow, the last acceptance, or its time
///                    Locked -> Slashed     by the award's arbiter, within its time
///     bonus: None -> Deposited -> paid to the provider or back to the requester, when the award ends
///
/// What it assumes of the parties:
/// - The arbiter of an award is trusted with the provider's lock for that award, and with nothing more. The provider
///   consents by locking; who doesn't trust the arbiter doesn't lock.
/// - A requester looks up the lock before it lets work begin, and shows no acceptance that it may regret.
/// - Stakers are plain keys (C4): they sign commitments. Whoever pays a stake in may be a contract.
interface IReputation is ITreasury {
    /// @notice Where a lock stands.
    enum LockState {
        None,
        Locked,
        Freed,
        Slashed
    }

    /// @notice What one provider has here. One storage slot.
    /// @param stake All that is its own, in base units, with what is locked and what is leaving.
    /// @param locked The sum of its locks.
    struct Account {
        uint128 stake;
        uint128 locked;
    }

    /// @notice A withdrawal under way. One storage slot; `amount` is zero if there is none.
    struct Leaving {
        uint128 amount;
        uint64 readyAt;
    }

    /// @notice The liability and the bonus of one award. One storage slot.
    /// @param amount Base units locked.
    /// @param bonus Base units deposited for success; zero once paid.
    /// @param state Where the lock stands.
    struct Lock {
        uint120 amount;
        uint120 bonus;
        LockState state;
        bool hadBonus;
    }

    /// @notice The token of the award or offer isn't the one that is staked here.
    error WrongToken(address token);
    /// @notice The free part of the stake is smaller than what is needed.
    error StakeTooSmall(address owner, uint256 free, uint256 needed);
    /// @notice A withdrawal is under way already, until `readyAt`.
    error AlreadyLeaving(address owner, uint64 readyAt);
    /// @notice Nothing is leaving, or its cooldown lasts until `readyAt`.
    error NotReady(address owner, uint64 readyAt);
    /// @notice The lock is in another state than the call needs.
    error WrongLockState(bytes32 award, LockState state);
    /// @notice The award has nothing to lock, an amount above 2^120 - 1, or deadlines out of order.
    error BadTerms(bytes32 award);
    /// @notice The act counted until `deadline`.
    error TooLate(bytes32 award, uint256 deadline);
    /// @notice The award isn't over: its escrow is open, or its time lasts until `deadline`.
    error NotOver(bytes32 award, uint256 deadline);
    /// @notice Only this party may call.
    error NotParty(bytes32 award, address caller);
    /// @notice The signed object is about another award or offer.
    error WrongSubject(bytes32 expected, bytes32 actual);
    /// @notice Not the last part of the award.
    error NotLastPart(bytes32 award, uint32 part);
    /// @notice The award has had its bonus, or the price is too small for one.
    error NoBonus(bytes32 award);
    /// @notice A severity above one whole.
    error SeverityOutOfRange(uint16 severity);
    /// @notice The two signatures don't exclude each other: same content, or another subject.
    error NoContradiction();
    /// @notice The whole bond was taken before.
    error AlreadyPunished(bytes32 offer, address offender);
    /// @notice There is nothing to slash: no bond in the offer, or no free stake now.
    error NothingToSlash(address offender);
    /// @notice A publisher anchors each epoch once, in order.
    error EpochOutOfOrder(address publisher, uint64 epoch, uint64 last);
    /// @notice A constructor argument that must not be zero.
    error ZeroAddress();

    /// @notice `payer` added `amount` to the stake of `owner`.
    event Staked(address indexed owner, address indexed payer, uint128 amount);
    /// @notice `owner` asked for `amount`; it may take it after `readyAt`.
    event LeaveRequested(address indexed owner, uint128 amount, uint64 readyAt);
    /// @notice `owner` took `amount` out.
    event Withdrawn(address indexed owner, uint128 amount);
    /// @notice `amount` of the provider's stake answers for `award` until `until`.
    event LiabilityLocked(bytes32 indexed award, address indexed provider, uint128 amount, uint64 until);
    /// @notice The lock is free again.
    event LiabilityFreed(bytes32 indexed award, address indexed provider, uint128 amount);
    /// @notice The arbiter's verdict took `fee + bounty + penalty` from the lock; the rest is free.
    event LiabilitySlashed(
        bytes32 indexed award,
        address indexed provider,
        address indexed arbiter,
        uint128 fee,
        uint128 bounty,
        uint128 penalty
    );
    /// @notice `payer` deposited the bonus for `award`.
    event BonusDeposited(bytes32 indexed award, address indexed payer, uint128 amount);
    /// @notice The bonus went to the provider (`earned`) or back to the requester.
    event BonusPaid(bytes32 indexed award, address indexed receiver, uint128 amount, bool earned);
    /// @notice Two signatures of `offender` exclude each other; it lost `amount`, of which `accuser` got `bounty`. What is missing to the
    /// offer's bond was locked, and may be taken later.
    event ContradictionPunished(
        bytes32 indexed offer, address indexed offender, address indexed accuser, uint128 amount, uint128 bounty
    );
    /// @notice `publisher` holds the scores under `root` for `epoch`. An opinion, not a fact.
    event ScoresAnchored(address indexed publisher, uint64 indexed epoch, bytes32 root);

    // Stake

    /// @notice Add `amount` to the stake of `owner`, paid by the caller. New business: the guardian may pause it.
    function stake(address owner, uint128 amount) external;

    /// @notice Ask for `amount` of the free stake back. It may be withdrawn after `cooldown`, and can be slashed until then.
    function unstake(uint128 amount) external;

    /// @notice Take out what is leaving, as far as it is still there. Only its owner can.
    function withdraw() external returns (uint128 amount);

    // Liability

    /// @notice Lock the award's liability out of its provider's free stake, until `startBy`. New business.
    /// @param start The provider's; may be empty if the provider calls.
    /// @param signature The provider's over the start; may be empty if the provider calls.
    function lock(Award calldata award, Start calldata start, bytes calldata signature) external;

    /// @notice Free the lock, and send the bonus where it belongs, because the award is over: its escrow is closed, or
    /// the time of its last dispute has passed. Anyone may call.
    function free(Award calldata award) external;

    /// @notice The same, because the requester accepted the last part. Anyone may call.
    /// @param signature The requester's, over the acceptance; may be empty if the requester calls.
    function freeAccepted(Award calldata award, Acceptance calldata acceptance, bytes calldata signature) external;

    /// @notice The arbiter's entry: take `severity` of the lock, and first the arbiter's fee.
    /// @dev Only `award.arbiter`, until the lock's time is over. The fee is at most `award.disputeFee`, the bounty at most
    /// `maxBounty` and the penalty; what the lock doesn't hold isn't paid.
    /// @param severity Basis points of the lock.
    /// @param feeTo Whom the arbiter sends the provider's dispute fee: zero if none is due.
    /// @return fee Base units that `feeTo` got.
    function slash(Award calldata award, uint16 severity, address feeTo) external returns (uint128 fee);

    // Bonus

    /// @notice Deposit the bonus of an award: `BONUS_BPS` of its price, paid by the caller, until `startBy`. New business.
    function depositBonus(Award calldata award) external;

    // Contradictions (SPEC A7)

    /// @notice Two commitments of one bidder to one offer. It loses the offer's bond; what is locked now, by another call when it
    /// is free.
    function punishCommitments(
        Offer calldata offer,
        Commitment calldata one,
        bytes calldata oneSignature,
        Commitment calldata other,
        bytes calldata otherSignature
    ) external;

    /// @notice Two rolls of one offer. Its requester loses the offer's bond.
    function punishRolls(
        Offer calldata offer,
        Roll calldata one,
        bytes calldata oneSignature,
        Roll calldata other,
        bytes calldata otherSignature
    ) external;

    /// @notice Two awards of one offer, slot and attempt. Its requester loses the offer's bond.
    function punishAwards(
        Offer calldata offer,
        Award calldata one,
        bytes calldata oneSignature,
        Award calldata other,
        bytes calldata otherSignature
    ) external;

    // Scores

    /// @notice Anchor the caller's scores for `epoch`, later than its last.
    function anchor(uint64 epoch, bytes32 root) external;

    /// @notice Whether `publisher` gave `subject` this score in `epoch`. The leaf is
    /// `keccak256(keccak256(abi.encode(subject, score)))`; pairs are hashed in sorted order.
    function isScore(address publisher, uint64 epoch, address subject, uint16 score, bytes32[] calldata proof)
        external
        view
        returns (bool);

    // Views

    /// @notice Stake and locks of `owner`.
    function accountOf(address owner) external view returns (Account memory);

    /// @notice What of the stake of `owner` is neither locked nor leaving: what bids and awards may count on.
    function freeStakeOf(address owner) external view returns (uint256);

    /// @notice The withdrawal of `owner` that is under way.
    function leavingOf(address owner) external view returns (Leaving memory);

    /// @notice The lock and bonus of the award with this digest.
    function lockOf(bytes32 award) external view returns (Lock memory);

    /// @notice The root that `publisher` anchored for `epoch`; zero if none.
    function rootOf(address publisher, uint64 epoch) external view returns (bytes32);

    /// @notice The last epoch that `publisher` anchored.
    function epochOf(address publisher) external view returns (uint64);

    /// @notice Verifying contract of the market's EIP-712 domain, and the rail whose records count here.
    function escrow() external view returns (address);

    /// @notice The token that is staked.
    function token() external view returns (address);

    /// @notice Where slashed money goes beyond fees and bounties. It has no other right.
    function pool() external view returns (address);

    /// @notice Seconds from asking for stake to taking it.
    function cooldown() external view returns (uint32);

    /// @notice The most that an accuser gets, in base units.
    function maxBounty() external view returns (uint128);
}
