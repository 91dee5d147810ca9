// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {Bench} from "./Bench.sol";
import {Panel} from "./base/Panel.sol";
import {Treasury} from "./base/Treasury.sol";
import {IBench} from "./interfaces/IBench.sol";
import {IDisputeArbiter} from "./interfaces/IDisputeArbiter.sol";
import {IEscrow} from "./interfaces/IEscrow.sol";
import {IPaymentChannel} from "./interfaces/IPaymentChannel.sol";
import {IReputation} from "./interfaces/IReputation.sol";
import {ITreasury} from "./interfaces/ITreasury.sol";
import {
    Award,
    BASIS_POINTS,
    ChannelKey,
    FINDING_REQUESTER_LOST,
    Offer,
    Receipt,
    Verdict
} from "./interfaces/MarketTypes.sol";
import {AwardCall} from "./libraries/AwardCall.sol";
import {StructHash} from "./libraries/StructHash.sol";

/// @title DisputeArbiter: committees of staked arbiters that run a disputed part again, and what follows from their vote
/// @dev Rules and assumptions in `IDisputeArbiter` and docs/spec/law.md section 3. No owner, no upgrade.
contract DisputeArbiter is Panel {
    using SafeCast for uint256;
    using SafeERC20 for IERC20;
    using StructHash for *;

    uint256 private constant LAST_ROUND = 2;
    uint256 private constant FEES_A_SEAT = 4;
    /// @dev Where the arguments of `applyVerdict` say that its signature, an empty one, lies: behind the award, the verdict and this.
    uint256 private constant SIGNATURE_PLACE = (AwardCall.WORDS + 8 + 1) * 32;

    /// @inheritdoc IDisputeArbiter
    address public immutable escrow;
    /// @inheritdoc IDisputeArbiter
    address public immutable channels;
    /// @inheritdoc IDisputeArbiter
    address public immutable reputation;
    /// @inheritdoc IDisputeArbiter
    uint32 public immutable minResolveWithin;
    /// @inheritdoc IDisputeArbiter
    uint24 public immutable maxTime;
    /// @inheritdoc IDisputeArbiter
    address public immutable token;
    /// @inheritdoc IDisputeArbiter
    address public immutable pool;
    /// @dev Hashes of the decisions on channels, whose holds are enforced after the close.
    mapping(bytes32 award => bytes32 vote) private _verdicts;
    uint128 private immutable _leastFee;
    uint128 private immutable _greatestFee;

    struct Contracts {
        address escrow;
        address channels;
        address reputation;
        address token;
        address pool;
    }

    /// @dev What all rounds of a case came to.
    struct Outcome {
        Round[] rounds;
        bytes32[] votes; // hashes; zero for a round without a majority
        bytes32 decided;
        uint256 last;
    }

    struct Terms {
        uint96 seatStake;
        uint128 leastFee;
        uint32 cooldown;
        uint32 minResolveWithin;
        uint24 maxTime;
        IBench.Randomness randomness;
    }

    constructor(Contracts memory known, Terms memory terms, address guardian_)
        Treasury(guardian_)
        Panel(address(new Bench(known.token, terms.seatStake, terms.cooldown, terms.randomness, guardian_)))
    {
        if (
            known.escrow == address(0) || known.channels == address(0) || known.reputation == address(0)
                || known.pool == address(0)
        ) revert ZeroAddress();
        escrow = known.escrow;
        channels = known.channels;
        reputation = known.reputation;
        token = known.token;
        pool = known.pool;
        minResolveWithin = terms.minResolveWithin;
        maxTime = terms.maxTime;
        _leastFee = terms.leastFee;
        // A wrong seat loses at least four fees, so that a lost majority of n pays the committee of 2n+1 that found it.
        _greatestFee = uint128(uint256(terms.seatStake) * FIRST_SEATS / FEES_A_SEAT);
    }

    // ------------------------------------------------------------------------------------------------- opening

    /// @inheritdoc IDisputeArbiter
    function open(Award calldata award, Offer calldata offer) external nonReentrant {
        bytes32 digest = _requireJurisdiction(award, offer);
        if (award.rail != escrow) revert NotForThisCourt(digest);
        if (msg.sender != award.requester && msg.sender != award.provider) revert NotParty(digest, msg.sender);
        IEscrow.ClaimRecord memory claim = IEscrow(escrow).claimOf(digest);
        _begin(digest, award, offer.engine, _disputeEscrow(digest, award), claim.part, claim.receipt);
    }

    /// @inheritdoc IDisputeArbiter
    function openOnChannel(
        Award calldata award,
        Offer calldata offer,
        Receipt calldata receipt,
        bytes calldata signature
    ) external nonReentrant {
        bytes32 digest = _requireJurisdiction(award, offer);
        if (award.rail != channels) revert NotForThisCourt(digest);
        if (msg.sender != award.requester && msg.sender != award.provider) revert NotParty(digest, msg.sender);
        // A hold waits for disputes that begin within two paces of the delivery (SPEC M5, section 7).
        uint256 openBy = uint256(award.deliverBy) + 2 * uint256(award.pace);
        if (block.timestamp > openBy) revert TooLate(digest, openBy);
        bytes32 receiptDigest = _requireReceipt(digest, award, receipt, signature);
        _begin(digest, award, offer.engine, award.resolveWithin, receipt.part, receiptDigest);
    }

    // ------------------------------------------------------------------------------------------------- decisions

    /// @inheritdoc IDisputeArbiter
    function appeal(Award calldata award, Offer calldata offer) external nonReentrant {
        bytes32 digest = _digest(award);
        Round memory round = _openCase(digest);
        if (msg.sender != award.requester && msg.sender != award.provider) revert NotParty(digest, msg.sender);
        _requireOffer(award, offer);
        uint256 end = _roundEnd(round);
        if (round.endedAfter == 0 && block.timestamp <= end) revert TooEarly(digest, end);
        uint256 appealBy = end + _length(round) / 6;
        if (block.timestamp > appealBy || round.number == LAST_ROUND) revert TooLate(digest, appealBy);

        _store(digest, round.number, round);
        Round memory next;
        next.time = round.time;
        next.seatFee = round.seatFee;
        next.byProvider = msg.sender != award.requester;
        next.number = round.number + 1;
        uint256 bond = _bond(award.disputeFee, next.number);
        emit Appealed(digest, next.number, msg.sender, bond);
        _beginRound(digest, next, offer.engine);
        _store(digest, CURRENT, next);

        _takeTo(token, bench, bond);
    }

    /// @inheritdoc IDisputeArbiter
    function close(Award calldata award, address[][] calldata committees, Vote[] calldata votes) external nonReentrant {
        bytes32 digest = _digest(award);
        Round memory round = _openCase(digest);
        uint256 closeAfter = _roundEnd(round) + (round.number == LAST_ROUND ? 0 : _length(round) / 6);
        if (block.timestamp <= closeAfter) revert TooEarly(digest, closeAfter);

        Outcome memory outcome = _outcomeOf(digest, round.number, committees, votes);
        round.stage = Stage.Closed;
        _store(digest, CURRENT, round);
        uint256 pot = _endSeats(digest, award.disputeFee, committees, outcome);
        _returnBonds(award, outcome, pot);
        if (outcome.decided == 0) emit CaseClosed(digest, Finding.None, 0, 0);
        else _apply(digest, award, outcome, votes[outcome.last]);
    }

    /// @inheritdoc IDisputeArbiter
    function enforce(
        Award calldata award,
        Vote calldata vote,
        ChannelKey calldata key,
        uint128 amount,
        bytes32[] calldata proof
    ) external nonReentrant {
        Verdict memory verdict = _closedVerdict(_digest(award), vote);
        uint256 before = _balance(token, address(this));
        IPaymentChannel(channels).enforce(key, award, amount, proof, verdict, "");
        // The committee has been paid by the opener's bond.
        _pay(token, _askedFor(award, _firstOf(verdict.award)), _balance(token, address(this)) - before);
    }

    /// @inheritdoc IDisputeArbiter
    function sweep(address rail) external nonReentrant {
        ITreasury(rail).withdrawCredit(token, pool);
    }

    // ------------------------------------------------------------------------------------------------- views

    /// @inheritdoc IDisputeArbiter
    function feeBounds() public view returns (uint128 least, uint128 greatest) {
        return (_leastFee, _greatestFee);
    }

    // ------------------------------------------------------------------------------------------------- jurisdiction

    /// @dev Open the first round, and take the bond.
    function _begin(bytes32 digest, Award calldata award, bytes32 engine, uint256 time, uint32 part, bytes32 receipt)
        private
    {
        if (time < minResolveWithin) revert NotForThisCourt(digest);
        Round memory round;
        round.time = time < maxTime ? uint24(time) : maxTime;
        round.seatFee = _seatFee(award.disputeFee).toUint40();
        round.byProvider = msg.sender != award.requester;
        emit CaseOpened(digest, msg.sender, engine, part, receipt);
        _beginRound(digest, round, engine);
        _store(digest, CURRENT, round);

        _takeTo(token, bench, award.disputeFee);
    }

    function _requireJurisdiction(Award calldata award, Offer calldata offer) private view returns (bytes32 digest) {
        digest = _digest(award);
        if (_load(digest, CURRENT).stage != Stage.None) revert CaseExists(digest);
        (uint128 least, uint128 greatest) = feeBounds();
        if (
            award.arbiter != address(this) || award.token != token || award.disputeFee < least
                || award.disputeFee > greatest
        ) revert NotForThisCourt(digest);
        _requireOffer(award, offer);
    }

    function _requireOffer(Award calldata award, Offer calldata offer) private view {
        bytes32 digest = _marketDigest(offer.hash());
        if (award.offer != digest) revert WrongSubject(award.offer, digest);
    }

    function _requireReceipt(bytes32 digest, Award calldata award, Receipt calldata receipt, bytes calldata signature)
        private
        view
        returns (bytes32 receiptDigest)
    {
        if (receipt.award != digest) revert WrongSubject(digest, receipt.award);
        if (receipt.part < award.firstPart || uint256(receipt.part) >= uint256(award.firstPart) + award.parts) {
            revert WrongSubject(digest, bytes32(uint256(receipt.part)));
        }
        receiptDigest = _marketDigest(receipt.hash());
        _requireSigned(award.provider, receiptDigest, signature);
    }

    /// @dev Dispute the claim for the requester, if it isn't yet; return the seconds until the escrow waits no more. A provider has
    /// nothing to ask for before that: it is paid if nobody disputes.
    function _disputeEscrow(bytes32 digest, Award calldata award) private returns (uint256) {
        IEscrow.Record memory record = IEscrow(escrow).recordOf(digest);
        if (record.state == IEscrow.State.Claimed && msg.sender == award.requester) {
            AwardCall.send(escrow, IEscrow.dispute.selector, award, "");
            return award.resolveWithin;
        }
        if (record.state != IEscrow.State.Disputed || record.time < block.timestamp) revert NotForThisCourt(digest);
        return record.time - block.timestamp;
    }

    // ------------------------------------------------------------------------------------------------- money

    /// @dev All rounds of a case, checked against what they left behind.
    function _outcomeOf(bytes32 digest, uint256 current, address[][] calldata committees, Vote[] calldata votes)
        private
        view
        returns (Outcome memory outcome)
    {
        if (committees.length != current + 1 || votes.length != committees.length) {
            revert WrongCommittee(digest);
        }
        outcome.rounds = new Round[](votes.length);
        outcome.votes = new bytes32[](votes.length);
        for (uint256 i = 0; i < votes.length; ++i) {
            Round memory round = _load(digest, i == current ? CURRENT : i);
            bytes32 vote = votes[i].finding == Finding.None ? bytes32(0) : _hashOf(votes[i]);
            _requireRound(digest, round, committees[i], vote);
            (outcome.rounds[i], outcome.votes[i]) = (round, vote);
            // A round without a majority overturns nothing.
            if (vote != 0) (outcome.decided, outcome.last) = (vote, i);
        }
    }

    /// @dev Pay and slash all seats. The pot is what they lost, and what is left of the bonds of drawn committees.
    function _endSeats(bytes32 digest, uint256 disputeFee, address[][] calldata committees, Outcome memory outcome)
        private
        returns (uint256 pot)
    {
        for (uint256 i = 0; i < committees.length; ++i) {
            Round memory round = outcome.rounds[i];
            if (round.stage == Stage.Drawing) continue;
            // A quorum's seats were paid at once, all or none were right, and who stands outside may have been left out by the others.
            bool isPaid = round.stage == Stage.Agreed;
            uint256 right = _rightSeats(digest, round, outcome.votes[i], outcome.decided);
            uint256 wrong = round.openedSeats & ~right;
            pot += _bond(disputeFee, i) - round.seatFee * _count(isPaid ? round.openedSeats : right);
            if (isPaid && wrong == 0) continue;
            uint256 absent = isPaid ? 0 : ~uint256(round.openedSeats) & ((1 << committees[i].length) - 1);
            emit SeatsEnded(digest, round.number, right, wrong, absent);
            pot += IBench(bench).endSeats(committees[i], round.seatFee, right, wrong, absent);
        }
    }

    /// @dev A bond whose committee was never drawn goes back, an appeal's that was right out of the pot; the rest of the pot to
    /// the pool. The opener's comes back as the loser's fee. Right is an appeal against a decision that did not last, or against none.
    function _returnBonds(Award calldata award, Outcome memory outcome, uint256 pot) private {
        bytes32 standing = 0;
        for (uint256 i = 0; i < outcome.rounds.length; ++i) {
            uint256 back = _bond(award.disputeFee, i);
            bool isDrawn = outcome.rounds[i].stage != Stage.Drawing;
            if (i == 0) {
                if (isDrawn) continue;
                // The loser's fee will make up for it; what it was for is free for the appeals.
                if (outcome.decided != 0) (pot, back) = (pot + back, 0);
            } else {
                if (outcome.votes[i - 1] != 0) standing = outcome.votes[i - 1];
                if (isDrawn) {
                    back = standing == outcome.decided ? 0 : back < pot ? back : pot;
                    pot -= back;
                }
            }
            _send(_askedFor(award, outcome.rounds[i]), back);
        }
        _send(pool, pot);
    }

    /// @dev Move stake and escrow as the vote says. The loser's dispute fee goes to the opener, whose bond paid the committee.
    function _apply(bytes32 digest, Award calldata award, Outcome memory outcome, Vote calldata vote) private {
        Round memory first = outcome.rounds[0];
        Verdict memory verdict = _verdict(digest, first.byProvider, uint8(outcome.last), vote);
        emit CaseClosed(digest, vote.finding, vote.due, verdict.severity);
        if (_providerLost(first.byProvider, vote.finding)) _slash(digest, award, verdict.severity, first);
        if (award.rail != escrow) {
            _verdicts[digest] = outcome.decided;
            return;
        }
        IEscrow.Record memory record = IEscrow(escrow).recordOf(digest);
        if (record.state != IEscrow.State.Disputed || block.timestamp > record.time) return;
        bool isLost = verdict.finding == FINDING_REQUESTER_LOST;
        uint256 before = isLost ? _balance(token, address(this)) : 0;
        AwardCall.send(escrow, IEscrow.applyVerdict.selector, award, abi.encode(verdict, SIGNATURE_PLACE, 0));
        if (isLost) _pay(token, _askedFor(award, first), _balance(token, address(this)) - before);
    }

    function _slash(bytes32 digest, Award calldata award, uint16 severity, Round memory first) private {
        if (IReputation(reputation).lockOf(digest).state != IReputation.LockState.Locked) return;
        uint256 until = uint256(award.deliverBy) + 2 * uint256(award.pace) + uint256(award.resolveWithin);
        if (block.timestamp > until) return;
        AwardCall.send(reputation, IReputation.slash.selector, award, abi.encode(severity, _askedFor(award, first)));
    }

    function _closedVerdict(bytes32 digest, Vote calldata vote) private view returns (Verdict memory) {
        bytes32 decided = _verdicts[digest];
        if (decided == 0) revert NotDecided(digest);
        if (decided != _hashOf(vote)) revert WrongVote(digest);
        return _verdict(digest, _firstOf(digest).byProvider, _load(digest, CURRENT).number, vote);
    }

    function _verdict(bytes32 digest, bool byProvider, uint8 number, Vote calldata vote)
        private
        pure
        returns (Verdict memory)
    {
        bool requesterLost =
            vote.finding == Finding.Upheld || (vote.finding == Finding.InputsMissing && !byProvider);
        return Verdict({
            award: digest,
            part: vote.part,
            round: number,
            finding: requesterLost ? FINDING_REQUESTER_LOST : uint8(vote.finding),
            output: vote.output,
            fuel: vote.fuel,
            due: vote.due,
            severity: _severityOf(vote.finding)
        });
    }

    /// @param byProvider Whether the provider opened the case: who did loses if nobody has the inputs.
    function _providerLost(bool byProvider, Finding finding) private pure returns (bool) {
        return finding == Finding.WrongResult || finding == Finding.Overbilled || finding == Finding.OutputMissing
            || (finding == Finding.InputsMissing && byProvider);
    }

    function _severityOf(Finding finding) private pure returns (uint16) {
        if (finding == Finding.WrongResult || finding == Finding.OutputMissing) return uint16(BASIS_POINTS);
        return finding == Finding.Overbilled ? uint16(BASIS_POINTS / 2) : 0;
    }

    function _seatFee(uint256 disputeFee) private pure returns (uint256) {
        return disputeFee / FIRST_SEATS;
    }

    /// @dev The fees of a round's committee: the bond of who asks for it.
    function _bond(uint256 disputeFee, uint256 round) private pure returns (uint256) {
        return round == 0 ? disputeFee : _seatFee(disputeFee) * _seatsOf(round);
    }

    function _askedFor(Award calldata award, Round memory round) private pure returns (address) {
        return round.byProvider ? award.provider : award.requester;
    }

    function _firstOf(bytes32 digest) private view returns (Round memory) {
        Round memory round = _load(digest, CURRENT);
        return round.number == 0 ? round : _load(digest, 0);
    }

    function _send(address to, uint256 amount) private {
        if (amount != 0) IBench(bench).send(to, amount);
    }

    function _digest(Award calldata award) private view returns (bytes32) {
        return _marketDigest(award.hash());
    }

    function _marketDigest(bytes32 structHash) private view returns (bytes32) {
        return MessageHashUtils.toTypedDataHash(StructHash.domainSeparator(escrow), structHash);
    }
}
