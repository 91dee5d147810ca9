// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {DRAW_DELAY, IBench} from "../interfaces/IBench.sol";
import {IDisputeArbiter} from "../interfaces/IDisputeArbiter.sol";
import {Treasury} from "./Treasury.sol";

/// @title Committees at work: draws, sealed votes, openings, majorities, and the times of a round
/// @dev Rules in `IDisputeArbiter` and docs/spec/law.md section 3. Of money it knows only what a seat earns.
abstract contract Panel is IDisputeArbiter, Treasury {
    using SafeCast for uint256;

    uint256 internal constant FIRST_SEATS = 5;
    uint256 internal constant CURRENT = type(uint256).max;
    uint256 private constant SIGNATURE_LENGTH = 65;
    bytes32 private constant OPENING_TYPEHASH =
        keccak256("Opening(bytes32 award,uint8 round,bytes32 vote,bytes32 seals)");

    /// @inheritdoc IDisputeArbiter
    address public immutable bench;

    /// @dev The current round under `CURRENT`, those that were appealed under their numbers.
    mapping(bytes32 award => mapping(uint256 number => Round round)) private _rounds;
    mapping(bytes32 award => mapping(uint256 round => bytes32 head)) private _heads;
    mapping(bytes32 award => mapping(uint256 round => mapping(uint256 seat => bytes32 seal))) private _seals;
    /// @dev The seats that gave a vote on the chain, as bits.
    mapping(bytes32 award => mapping(uint256 round => mapping(bytes32 vote => uint256 seats))) private _voters;

    constructor(address bench_) {
        bench = bench_;
    }

    // ------------------------------------------------------------------------------------------------- draws

    /// @inheritdoc IDisputeArbiter
    function draw(bytes32 award, bytes calldata header) external nonReentrant returns (address[] memory committee) {
        Round memory round = _openCase(award);
        if (round.stage != Stage.Drawing) revert AlreadyDrawn(award);
        uint256 drawBy = round.began + _length(round) / 3;
        if (block.timestamp > drawBy) revert TooLate(award, drawBy);

        committee = _drawCommittee(award, round, header, 0);
        if (committee.length == 0) {
            _requestDraw(award, round, _heads[award][round.number]);
        } else {
            _heads[award][round.number] = _hashOf(committee);
            round.stage = Stage.Voting;
        }
        _store(award, CURRENT, round);
    }

    // ------------------------------------------------------------------------------------------------- votes

    /// @inheritdoc IDisputeArbiter
    function sealVote(bytes32 award, address[] calldata committee, uint256 seat, bytes32 seal) external nonReentrant {
        Round memory round = _openCase(award);
        _requireCommittee(award, round, committee);
        uint256 sealBy = _sealBy(round);
        if (block.timestamp > sealBy || round.endedAfter != 0) revert TooLate(award, sealBy);
        if (seat >= committee.length || committee[seat] != msg.sender || seal == 0) revert WrongSeat(award, seat);
        uint24 bit = _bit(seat);
        if (round.sealedSeats & bit != 0) revert WrongSeat(award, seat);

        round.sealedSeats |= bit;
        _store(award, CURRENT, round);
        _seals[award][round.number][seat] = seal;
        emit VoteSealed(award, round.number, seat, seal);
    }

    /// @inheritdoc IDisputeArbiter
    function openVote(bytes32 award, address[] calldata committee, uint256 seat, Vote calldata vote, bytes32 secret)
        external
        nonReentrant
    {
        Round memory round = _openCase(award);
        _requireCommittee(award, round, committee);
        _requireTimeToOpen(award, round, committee.length);
        bytes32 voteHash = _requireVote(vote);
        if (seat >= committee.length || round.openedSeats & _bit(seat) != 0) revert WrongSeat(award, seat);
        if (_seals[award][round.number][seat] != sealOf(voteHash, committee[seat], secret)) {
            revert WrongSeal(award, seat);
        }

        emit VoteOpened(award, round.number, seat, vote);
        uint256 voters = _voters[award][round.number][voteHash] | _bit(seat);
        _voters[award][round.number][voteHash] = voters;
        round.openedSeats |= _bit(seat);
        if (round.openedSeats == _all(committee.length)) _end(round);
        if (round.stage == Stage.Voting && _isMajority(voters, committee.length)) {
            round.stage = Stage.Decided;
            emit RoundDecided(award, round.number, voters, vote);
        }
        _store(award, CURRENT, round);
    }

    /// @inheritdoc IDisputeArbiter
    function settleByQuorum(bytes32 award, Vote calldata vote, Quorum calldata quorum) external nonReentrant {
        Round memory round = _openCase(award);
        uint256 openBy = _openBy(round);
        // Once a vote was opened on the chain, all are counted there.
        if (block.timestamp > openBy || round.openedSeats != 0) revert TooLate(award, openBy);
        address[] memory committee;
        if (round.stage == Stage.Drawing) {
            // Who votes is paid as it is seated: one write for both.
            committee = _drawCommittee(award, round, quorum.header, quorum.seats.toUint24());
            if (committee.length == 0) revert WrongCommittee(award);
        } else {
            _requireCommittee(award, round, quorum.committee);
            committee = quorum.committee;
            IBench(bench).endSeats(committee, round.seatFee, quorum.seats, 0, 0);
        }
        bytes32 voteHash = _requireVote(vote);
        _requireQuorum(award, round.number, committee, voteHash, quorum);

        _heads[award][round.number] = _headOf(_hashOf(committee), voteHash);
        round.openedSeats = quorum.seats.toUint24();
        round.stage = Stage.Agreed;
        _end(round);
        _store(award, CURRENT, round);
        emit RoundDecided(award, round.number, quorum.seats, vote);
    }

    // ------------------------------------------------------------------------------------------------- views

    /// @inheritdoc IDisputeArbiter
    function caseOf(bytes32 award) external view returns (Round memory) {
        return _load(award, CURRENT);
    }

    /// @inheritdoc IDisputeArbiter
    function pastOf(bytes32 award, uint8 number) external view returns (Round memory) {
        return _load(award, number);
    }

    /// @inheritdoc IDisputeArbiter
    function headOf(bytes32 award, uint8 number) external view returns (bytes32) {
        return _heads[award][number];
    }

    /// @inheritdoc IDisputeArbiter
    function sealOf(bytes32 voteHash, address arbiter, bytes32 secret) public pure returns (bytes32 seal) {
        assembly ("memory-safe") {
            let free := mload(0x40) // scratch beyond the free pointer: used at once, never kept
            mstore(free, voteHash)
            mstore(add(free, 0x20), shr(96, shl(96, arbiter)))
            mstore(add(free, 0x40), secret)
            seal := keccak256(free, 0x60)
        }
    }

    // ------------------------------------------------------------------------------------------------- rounds

    function _openCase(bytes32 award) internal view returns (Round memory round) {
        round = _load(award, CURRENT);
        if (round.stage == Stage.None || round.stage == Stage.Closed) revert NoOpenCase(award);
    }

    /// @dev One place that reads, and one that writes, a whole slot: repeated inline, they would not fit.
    function _load(bytes32 award, uint256 number) internal view returns (Round memory) {
        return _rounds[award][number];
    }

    function _store(bytes32 award, uint256 number, Round memory round) internal {
        _rounds[award][number] = round;
    }

    /// @dev Begin the round that `round` names; the caller writes the round.
    function _beginRound(bytes32 award, Round memory round, bytes32 engine) internal {
        round.began = block.timestamp.toUint40();
        round.stage = Stage.Drawing;
        _heads[award][round.number] = engine;
        _requestDraw(award, round, engine);
    }

    /// @dev End the round before its time.
    function _end(Round memory round) private view {
        round.endedAfter = (block.timestamp - round.began + 1).toUint24();
    }

    function _requestDraw(bytes32 award, Round memory round, bytes32 engine) private {
        uint256 places = IBench(bench).placesOf(engine);
        round.drawBlock = (block.number + DRAW_DELAY).toUint32();
        round.places = places.toUint24();
        emit DrawRequested(award, round.number, round.drawBlock, places);
    }

    function _drawCommittee(bytes32 award, Round memory round, bytes calldata header, uint24 paid)
        private
        returns (address[] memory committee)
    {
        if (block.number <= round.drawBlock) revert DrawTooEarly(award, round.drawBlock);
        committee = IBench(bench)
            .draw(
                IBench.Request({
                engine: _heads[award][round.number],
                salt: keccak256(abi.encode(award, round.number)),
                drawBlock: round.drawBlock,
                places: round.places,
                seats: uint24(_seatsOf(round.number)),
                until: (round.began + (uint256(round.time) >> round.number)).toUint40(),
                paid: paid,
                fee: round.seatFee
            }),
                header
            );
        if (committee.length != 0) emit CommitteeDrawn(award, round.number, committee);
    }

    /// @dev `committee` sat in this round, and `vote` is the hash of what it decided; nobody and nothing if it wasn't drawn.
    function _requireRound(bytes32 award, Round memory round, address[] calldata committee, bytes32 vote)
        internal
        view
    {
        bytes32 head = _hashOfGiven(committee);
        bool isAgreed = round.stage == Stage.Agreed;
        if (isAgreed) head = _headOf(head, vote);
        if (round.stage != Stage.Drawing && head != _heads[award][round.number]) revert WrongCommittee(award);
        bool isDecided = round.stage == Stage.Decided;
        if ((isDecided || isAgreed) != (vote != 0)) revert WrongVote(award);
        if (isDecided && !_isMajority(_voters[award][round.number][vote], committee.length)) revert WrongVote(award);
    }

    /// @dev Who voted as was `decided` in the end; if nothing was, whoever voted. `vote` is what this round decided.
    function _rightSeats(bytes32 award, Round memory round, bytes32 vote, bytes32 decided)
        internal
        view
        returns (uint256)
    {
        if (decided == 0) return round.openedSeats;
        if (round.stage == Stage.Agreed) return vote == decided ? round.openedSeats : 0;
        return _voters[award][round.number][decided];
    }

    // ------------------------------------------------------------------------------------------------- checks

    function _requireCommittee(bytes32 award, Round memory round, address[] calldata committee) private view {
        bytes32 head = _hashOfGiven(committee);
        if (round.stage == Stage.Drawing || head != _heads[award][round.number]) revert WrongCommittee(award);
    }

    function _requireVote(Vote calldata vote) private pure returns (bytes32) {
        if (vote.finding == Finding.None) revert NoFinding();
        return _hashOf(vote);
    }

    /// @dev What `abi.encode` would give, copied in one piece: a word that doesn't fit its field is part of the hash, and reading
    /// the field, or telling the vote in an event, reverts.
    function _hashOf(Vote calldata vote) internal pure returns (bytes32 result) {
        assembly ("memory-safe") {
            let free := mload(0x40) // scratch, as above
            calldatacopy(free, vote, 0xc0)
            result := keccak256(free, 0xc0)
        }
    }

    /// @dev keccak of the addresses, or seals, as words.
    function _hashOf(address[] memory committee) private pure returns (bytes32 result) {
        assembly ("memory-safe") {
            result := keccak256(add(committee, 0x20), mul(mload(committee), 0x20))
        }
    }

    function _hashOf(bytes32[] memory seals) private pure returns (bytes32 result) {
        assembly ("memory-safe") {
            result := keccak256(add(seals, 0x20), mul(mload(seals), 0x20))
        }
    }

    /// @dev The same of a committee that the caller names. Words that aren't addresses hash to nothing that was drawn.
    function _hashOfGiven(address[] calldata committee) private pure returns (bytes32 result) {
        assembly ("memory-safe") {
            let free := mload(0x40) // scratch, as above
            let size := mul(committee.length, 0x20)
            calldatacopy(free, committee.offset, size)
            result := keccak256(free, size)
        }
    }

    /// @dev After the time for seals, or once all have come, and before the time for openings is over.
    function _requireTimeToOpen(bytes32 award, Round memory round, uint256 seats) private view {
        uint256 sealBy = _sealBy(round);
        if (block.timestamp <= sealBy && round.sealedSeats != _all(seats)) revert TooEarly(award, sealBy);
        uint256 openBy = _openBy(round);
        if (block.timestamp > openBy || round.endedAfter != 0) revert TooLate(award, openBy);
    }

    /// @dev Each seat of the quorum has sealed this vote, and signed it with the seals of all.
    function _requireQuorum(
        bytes32 award,
        uint8 number,
        address[] memory committee,
        bytes32 vote,
        Quorum calldata quorum
    ) private view {
        (uint256 bits, uint256 count, uint256 seats) = (quorum.seats, quorum.secrets.length, committee.length);
        bytes calldata signatures = quorum.signatures;
        if (
            bits > _all(seats) || _count(bits) != count || count * 2 <= seats
                || signatures.length != count * SIGNATURE_LENGTH || quorum.others.length + count != seats
        ) revert NoQuorum(award, count);

        bytes32 seals = _sealsOf(committee, vote, bits, quorum.secrets, quorum.others);
        bytes32 signed = _hashTypedDataV4(keccak256(abi.encode(OPENING_TYPEHASH, award, number, vote, seals)));
        uint256 place = 0;
        for (uint256 seat = 0; seat < seats; ++seat) {
            if (bits & _bit(seat) == 0) continue;
            _requireSigned(committee[seat], signed, signatures[place:place + SIGNATURE_LENGTH]);
            place += SIGNATURE_LENGTH;
        }
    }

    /// @dev keccak of the seals of all seats: those of `bits` made from their `secrets`, the `others` as they are.
    function _sealsOf(
        address[] memory committee,
        bytes32 vote,
        uint256 bits,
        bytes32[] calldata secrets,
        bytes32[] calldata others
    ) private pure returns (bytes32) {
        bytes32[] memory seals = new bytes32[](committee.length);
        uint256 opened = 0;
        for (uint256 seat = 0; seat < seals.length; ++seat) {
            seals[seat] =
                bits & _bit(seat) != 0 ? sealOf(vote, committee[seat], secrets[opened++]) : others[seat - opened];
        }
        return _hashOf(seals);
    }

    // ------------------------------------------------------------------------------------------------- times and seats

    /// @dev Seconds of the current round: half of the case's time, then twice a quarter.
    function _length(Round memory round) internal pure returns (uint256) {
        return round.number == 0 ? round.time / 2 : round.time / 4;
    }

    function _sealBy(Round memory round) private pure returns (uint256) {
        return round.began + _length(round) * 4 / 6;
    }

    function _openBy(Round memory round) private pure returns (uint256) {
        return round.began + _length(round) * 5 / 6;
    }

    /// @dev When the round is over but for an appeal.
    function _roundEnd(Round memory round) internal pure returns (uint256) {
        return round.endedAfter != 0 ? round.began + round.endedAfter - 1 : _openBy(round);
    }

    /// @dev 5, 11, 23.
    function _seatsOf(uint256 number) internal pure returns (uint256) {
        return ((FIRST_SEATS + 1) << number) - 1;
    }

    function _count(uint256 bits) internal pure returns (uint256 count) {
        for (; bits != 0; bits &= bits - 1) {
            ++count;
        }
    }

    function _isMajority(uint256 bits, uint256 seats) private pure returns (bool) {
        return _count(bits) * 2 > seats;
    }

    function _headOf(bytes32 committee, bytes32 vote) private pure returns (bytes32) {
        return keccak256(abi.encode(committee, vote));
    }

    function _bit(uint256 seat) private pure returns (uint24) {
        return uint24(1 << seat);
    }

    function _all(uint256 seats) private pure returns (uint256) {
        return (1 << seats) - 1;
    }
}
