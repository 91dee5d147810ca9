// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ITreasury} from "./ITreasury.sol";
import {Award, ChannelKey, Offer, Receipt} from "./MarketTypes.sol";

/// @title DisputeArbiter: committees of staked arbiters that run a disputed part again, and what follows from their vote
/// @notice Requester or provider opens a case about one signed receipt. Five arbiters are drawn by stake, seal their votes,
/// open them, and a majority of equal votes decides; two appeals lead to 11 and 23. The verdict moves escrow, hold and stake.
///
/// @dev Rules (SPEC L1-L7; docs/spec/law.md section 3, docs/adr/1603-1605):
///
///     Open -> (drawn) -> sealing -> opening -> decided -> Closed
///                                           -> undecided -> Closed
///             decided or undecided -> (appeal) -> the next round, two at most
///
/// All times are shares of the award's `resolveWithin`, or of what is left of it when the case is opened. In a round that
/// begins at t with length d (half of it, then a quarter, then a quarter), votes are sealed until t + 4d/6 and opened until
/// t + 5d/6; an appeal is possible for d/6 after the decision.
///
/// What it assumes of the parties:
/// - More than half of the seats of a committee run the part and say what they found. What a bribed one costs is in
///   docs/spec/law.md, section 4.
/// - Somebody draws, opens and closes in time; anybody may, and each transaction is in the interest of one party.
interface IDisputeArbiter is ITreasury {
    /// @notice What an arbiter found about the disputed part.
    /// @param finding See `Finding`.
    /// @param part The part that was disputed: `CaseOpened` names it.
    /// @param outcome How it ended, as in a receipt.
    /// @param output Digest of its output.
    /// @param fuel What it used.
    /// @param due What is due for all parts of the award up to this one.
    struct Vote {
        Finding finding;
        uint32 part;
        uint8 outcome;
        bytes32 output;
        uint64 fuel;
        uint128 due;
    }

    /// @notice Who was right. The numbers are those of `Verdict.finding`.
    /// @dev Upheld: the receipt says what happened. WrongResult: another output or outcome; the whole lock. Overbilled: the
    /// result holds, its bill doesn't; half of the lock. OutputMissing: the provider has no output to show; the whole
    /// lock. InputsMissing: neither side had the inputs; the opener loses. NotJudged: nobody can reproduce it (SPEC B3).
    enum Finding {
        None,
        Upheld,
        WrongResult,
        Overbilled,
        OutputMissing,
        InputsMissing,
        NotJudged
    }

    /// @notice How far a case is in its round. From `Voting` to `Agreed` it has a committee. `Decided`: more than half of the
    /// seats opened the same vote on the chain. `Agreed`: a quorum did, in one transaction.
    enum Stage {
        None,
        Drawing,
        Voting,
        Decided,
        Agreed,
        Closed
    }

    /// @notice One round of a case; the current one stands for the case. One storage slot.
    /// @param began When it began.
    /// @param time Seconds that all rounds together may take.
    /// @param endedAfter One more than the seconds from `began` to when all seats had opened their votes, or a quorum had; zero
    /// if only time ends it.
    /// @param drawBlock Block whose number decides the draw.
    /// @param places Places that may be drawn.
    /// @param sealedSeats Bit i: seat i has sealed its vote on the chain.
    /// @param openedSeats Bit i: seat i has opened its vote.
    /// @param seatFee What a seat earns: a fifth of the award's `disputeFee`.
    /// @param number 0, 1 or 2.
    /// @param stage How far it is.
    /// @param byProvider Whether the provider asked for this round, and put down its bond; else the requester did.
    struct Round {
        uint40 began;
        uint24 time;
        uint24 endedAfter;
        uint32 drawBlock;
        uint24 places;
        uint24 sealedSeats;
        uint24 openedSeats;
        uint40 seatFee;
        uint8 number;
        Stage stage;
        bool byProvider;
    }

    /// @notice More than half of the seats, with the same vote, in one transaction.
    /// @param committee Who sits; empty if it has to be drawn first.
    /// @param header For that, as for `draw`; else empty.
    /// @param seats Those that open their votes, as bits.
    /// @param secrets What they sealed them with, in the order of the seats.
    /// @param signatures Theirs, 65 bytes each, over `Opening(bytes32 award,uint8 round,bytes32 vote,bytes32 seals)` in this
    /// contract's domain; `seals` is the keccak of those of all seats, in order.
    /// @param others The seals of the other seats, in order; zero for one that sent none.
    struct Quorum {
        address[] committee;
        bytes header;
        uint256 seats;
        bytes32[] secrets;
        bytes signatures;
        bytes32[] others;
    }

    /// @notice The award has no court here: another arbiter or token, a fee or a time out of bounds, or no escrow in order.
    error NotForThisCourt(bytes32 award);
    /// @notice The award has had its case.
    error CaseExists(bytes32 award);
    /// @notice There is no such case, or it is closed.
    error NoOpenCase(bytes32 award);
    /// @notice The case is still open, or ended without a decision.
    error NotDecided(bytes32 award);
    /// @notice Only requester and provider.
    error NotParty(bytes32 award, address caller);
    /// @notice The signed object is about another award or offer, or names a part that isn't one.
    error WrongSubject(bytes32 expected, bytes32 actual);
    /// @notice The committee is drawn already.
    error AlreadyDrawn(bytes32 award);
    /// @notice The committee isn't drawn yet, or isn't this one.
    error WrongCommittee(bytes32 award);
    /// @notice The number of the draw comes with block `drawBlock`.
    error DrawTooEarly(bytes32 award, uint256 drawBlock);
    /// @notice The act counted until `deadline`, or was done.
    error TooLate(bytes32 award, uint256 deadline);
    /// @notice The others still have until `deadline`.
    error TooEarly(bytes32 award, uint256 deadline);
    /// @notice This seat isn't the caller's, or has voted.
    error WrongSeat(bytes32 award, uint256 seat);
    /// @notice The vote and secret aren't those that this seat sealed.
    error WrongSeal(bytes32 award, uint256 seat);
    /// @notice Fewer than half of the seats.
    error NoQuorum(bytes32 award, uint256 seats);
    /// @notice A constructor argument that must not be zero.
    error ZeroAddress();
    /// @notice A vote must name a finding.
    error NoFinding();
    /// @notice The vote isn't the one that was decided.
    error WrongVote(bytes32 award);

    /// @notice A case is open. The digests say what the arbiters have to ask for.
    event CaseOpened(
        bytes32 indexed award, address indexed opener, bytes32 indexed engine, uint32 part, bytes32 receipt
    );
    /// @notice A committee will be drawn by block `drawBlock` out of the first `places`.
    event DrawRequested(bytes32 indexed award, uint8 round, uint256 drawBlock, uint256 places);
    /// @notice These hold the seats of this round.
    event CommitteeDrawn(bytes32 indexed award, uint8 round, address[] committee);
    /// @notice A seat sealed its vote.
    event VoteSealed(bytes32 indexed award, uint8 round, uint256 seat, bytes32 seal);
    /// @notice A seat opened its vote.
    event VoteOpened(bytes32 indexed award, uint8 round, uint256 seat, Vote vote);
    /// @notice More than half of the seats gave this vote.
    /// @param seats Those that had opened it by then, as bits. A quorum's have been paid.
    event RoundDecided(bytes32 indexed award, uint8 round, uint256 seats, Vote vote);
    /// @notice What became of the seats of a round, as bits; those of a quorum that stands were paid when it decided.
    event SeatsEnded(bytes32 indexed award, uint8 round, uint256 paid, uint256 wrong, uint256 absent);
    /// @notice `appellant` wants another round.
    event Appealed(bytes32 indexed award, uint8 round, address indexed appellant, uint256 bond);
    /// @notice All is paid. Without a decision, `finding` is None and the rails' own time decides.
    event CaseClosed(bytes32 indexed award, Finding finding, uint128 due, uint16 severity);
    /// @notice Open a case about the claim on an escrow, with a bond of `award.disputeFee`. The requester, or the provider of a claim
    /// that is disputed: one that nobody disputes is paid. Never paused: the award was agreed on before.
    /// @dev The requester's call disputes the claim, if that hasn't been done before.
    function open(Award calldata award, Offer calldata offer) external;

    /// @notice Open a case about a receipt for a hold, with the same bond. Requester or provider. Never paused.
    /// @param signature The provider's, over the receipt.
    function openOnChannel(
        Award calldata award,
        Offer calldata offer,
        Receipt calldata receipt,
        bytes calldata signature
    ) external;

    /// @notice Draw the committee of the current round. Anyone, from the block after `drawBlock`, in the first third of the
    /// round. If its number isn't known any more, or too few arbiters have stake, the draw is requested anew.
    /// @dev Called without a transaction, it tells who will sit: arbiters that settle by quorum never need to send it.
    /// @param header RLP of the header of `drawBlock`; empty where `randomness` is BlockHash.
    /// @return committee Empty if the draw is requested anew.
    function draw(bytes32 award, bytes calldata header) external returns (address[] memory committee);

    /// @notice Seal the caller's vote: `sealOf(voteHash, caller, secret)`.
    function sealVote(bytes32 award, address[] calldata committee, uint256 seat, bytes32 seal) external;

    /// @notice Open the vote of a seat. Anyone who knows the secret.
    function openVote(bytes32 award, address[] calldata committee, uint256 seat, Vote calldata vote, bytes32 secret)
        external;

    /// @notice Decide the round by the openings of more than half of the seats, while none was opened on the chain, and pay
    /// them. Anyone.
    /// @dev An arbiter that sees no quorum coming seals on the chain, before the time for seals is over.
    function settleByQuorum(bytes32 award, Vote calldata vote, Quorum calldata quorum) external;

    /// @notice Ask for another round, twice as large. Requester or provider, with a bond of its fees.
    function appeal(Award calldata award, Offer calldata offer) external;

    /// @notice Pay everybody, and move escrow and stake as the last decision says. Anyone, once no appeal is possible.
    /// @param committees Of each round; empty for one that was not drawn.
    /// @param votes What each round decided; all zeros for one without a majority.
    function close(Award calldata award, address[][] calldata committees, Vote[] calldata votes) external;

    /// @notice Enforce a channel's hold as a closed case decided. Anyone; the voucher must have been presented.
    function enforce(
        Award calldata award,
        Vote calldata vote,
        ChannelKey calldata key,
        uint128 amount,
        bytes32[] calldata proof
    ) external;

    /// @notice Send to the pool what a rail couldn't pay to this contract, and kept as its credit. Anyone.
    function sweep(address rail) external;

    /// @notice The current round of the case about the award with this digest, and so the case.
    function caseOf(bytes32 award) external view returns (Round memory);

    /// @notice A round that was appealed.
    function pastOf(bytes32 award, uint8 round) external view returns (Round memory);

    /// @notice keccak of the drawn addresses; the engine until they are drawn; once a quorum decided, keccak of that and of its
    /// vote's hash.
    function headOf(bytes32 award, uint8 round) external view returns (bytes32);

    /// @notice What hides a vote until it is opened.
    function sealOf(bytes32 voteHash, address arbiter, bytes32 secret) external pure returns (bytes32);

    /// @notice Verifying contract of the market's EIP-712 domain, and the rail that verdicts move.
    function escrow() external view returns (address);

    /// @notice The channels whose holds are enforced.
    function channels() external view returns (address);

    /// @notice The stakes that are slashed.
    function reputation() external view returns (address);

    /// @notice The arbiters' stakes and tickets.
    function bench() external view returns (address);

    /// @notice The token of bonds and fees.
    function token() external view returns (address);

    /// @notice Where slashed money goes beyond what it pays for. It has no other right.
    function pool() external view returns (address);

    /// @notice Least and greatest `disputeFee` of an award that has a court.
    function feeBounds() external view returns (uint128 least, uint128 greatest);

    /// @notice Least `resolveWithin`, in seconds.
    function minResolveWithin() external view returns (uint32);

    /// @notice Seconds that a case takes at most, however long its award would wait: so long each seat binds a stake.
    function maxTime() external view returns (uint24);
}
