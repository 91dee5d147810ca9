// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Bench} from "../../../contracts/Bench.sol";
import {DisputeArbiter} from "../../../contracts/DisputeArbiter.sol";
import {IBench} from "../../../contracts/interfaces/IBench.sol";
import {IDisputeArbiter} from "../../../contracts/interfaces/IDisputeArbiter.sol";
import {Award, Offer} from "../../../contracts/interfaces/MarketTypes.sol";
import {StructHashHarness} from "../../../contracts/mocks/StructHashHarness.sol";
import {Symbolic} from "./Symbolic.sol";

/// @dev As in `EscrowProofs`: any first round of a case, one call by anybody. The committee has five seats, of five arbiters.
contract CourtProofs is Symbolic {
    /// @dev Where the compiler puts the mappings; `setUp` checks it against real ones.
    uint256 private constant ROUNDS = 4;
    uint256 private constant HEADS = 5;
    uint256 private constant SEALS = 6;
    uint256 private constant CURRENT = type(uint256).max;
    uint256 private constant SEAT = 2;
    address private constant POOL = address(0x9001);
    address private constant RAIL = address(0xE5C);
    address private constant CHANNELS = address(0xC4A);

    DisputeArbiter private court;
    Bench private bench;
    StructHashHarness private hashes;

    function setUp() public override {
        super.setUp();
        court = new DisputeArbiter(
            DisputeArbiter.Contracts(RAIL, CHANNELS, address(0x5EB), address(token), POOL),
            DisputeArbiter.Terms(900, 100, 100, 60, 1200, IBench.Randomness.BlockHash),
            GUARDIAN
        );
        bench = Bench(court.bench());
        hashes = new StructHashHarness();
        IDisputeArbiter.Round memory round;
        (round.began, round.time, round.endedAfter, round.drawBlock, round.places) = (1, 2, 3, 4, 5);
        (round.sealedSeats, round.openedSeats, round.seatFee, round.number) = (6, 7, 8, 9);
        (round.stage, round.byProvider) = (IDisputeArbiter.Stage.Agreed, true);
        bytes32 id = keccak256("some award");
        _write(id, round);
        assert(keccak256(abi.encode(court.caseOf(id))) == keccak256(abi.encode(round)));
        _writeHead(id, "head");
        assert(court.headOf(id, 0) == "head");
    }

    /// @dev Nothing moves a case that is closed, or was never opened: so it is closed once.
    function check_a_closed_case_stays_closed(
        Award memory award,
        Offer memory offer,
        IDisputeArbiter.Vote memory vote,
        bytes32 word
    ) external {
        bytes32 id = _id(award);
        IDisputeArbiter.Round memory round = _anyRound();
        vm.assume(round.stage == IDisputeArbiter.Stage.Closed || round.stage == IDisputeArbiter.Stage.None);
        _write(id, round);
        _writeHead(id, word);
        _anyTime();
        IDisputeArbiter.Quorum memory quorum;
        bytes[] memory calls = new bytes[](6);
        calls[0] = abi.encodeCall(court.draw, (id, ""));
        calls[1] = abi.encodeCall(court.sealVote, (id, _committee(), SEAT, word));
        calls[2] = abi.encodeCall(court.openVote, (id, _committee(), SEAT, vote, word));
        calls[3] = abi.encodeCall(court.settleByQuorum, (id, vote, quorum));
        calls[4] = abi.encodeCall(court.appeal, (award, offer));
        calls[5] = abi.encodeCall(court.close, (award, _one(_committee()), _one(vote)));
        for (uint256 i = 0; i < calls.length; ++i) {
            assert(!_anybodyCalls(address(court), calls[i]));
        }
    }

    /// @dev A seal is of one vote, one arbiter and one secret.
    function check_a_seal_is_of_one_arbiter(
        bytes32 vote,
        address arbiter,
        bytes32 secret,
        bytes32 vote2,
        address arbiter2,
        bytes32 secret2
    ) external view {
        bytes32 seal = court.sealOf(vote, arbiter, secret);
        assert(seal == keccak256(abi.encode(vote, arbiter, secret)));
        if (seal != court.sealOf(vote2, arbiter2, secret2)) return;
        assert(vote == vote2 && arbiter == arbiter2 && secret == secret2);
    }

    /// @dev Only who sits there seals, once, in time.
    function check_seal(bytes32 id, bytes32 seal, address caller) external {
        IDisputeArbiter.Round memory round = _sitting(id);
        _anyTime();
        vm.prank(caller);
        court.sealVote(id, _committee(), SEAT, seal);

        assert(caller == _committee()[SEAT] && seal != 0 && round.sealedSeats & 4 == 0 && round.endedAfter == 0);
        assert(block.timestamp <= uint256(round.began) + uint256(round.time / 2) * 4 / 6);
        assert(court.caseOf(id).sealedSeats == round.sealedSeats | 4);
    }

    /// @dev What is opened was sealed there, by the arbiter of this seat, as this vote; once, and in time.
    function check_open(bytes32 id, IDisputeArbiter.Vote memory vote, bytes32 secret, bytes32 seal) external {
        IDisputeArbiter.Round memory round = _sitting(id);
        vm.store(address(court), _place(bytes32(SEAT), uint256(_place(0, uint256(_place(id, SEALS))))), seal);
        _anyTime();
        if (!_anybodyCalls(address(court), abi.encodeCall(court.openVote, (id, _committee(), SEAT, vote, secret)))) {
            return;
        }

        assert(seal == keccak256(abi.encode(keccak256(abi.encode(vote)), _committee()[SEAT], secret)));
        assert(vote.finding != IDisputeArbiter.Finding.None && round.openedSeats & 4 == 0 && round.endedAfter == 0);
        assert(block.timestamp <= uint256(round.began) + uint256(round.time / 2) * 5 / 6);
        IDisputeArbiter.Round memory next = court.caseOf(id);
        assert(next.openedSeats == round.openedSeats | 4 && next.stage == round.stage);
    }

    /// @dev Two of five are no quorum, whatever bits and signatures they bring.
    /// @custom:halmos --loop 6
    function check_a_minority_is_no_quorum(bytes32 id, IDisputeArbiter.Vote memory vote) external {
        _sitting(id);
        _anyTime();
        assert(!_anybodyCalls(address(court), _quorumCall(id, vote, 2)));
    }

    /// @dev Three of five are one if the bits are three, no vote was opened before, and it is time. Each earns its fee, nobody else.
    /// @custom:halmos --loop 6
    function check_a_majority_is_paid_once(bytes32 id, IDisputeArbiter.Vote memory vote) external {
        IDisputeArbiter.Round memory round = _sitting(id);
        _anyTime();
        if (!_anybodyCalls(address(court), _quorumCall(id, vote, 3))) return;

        IDisputeArbiter.Round memory next = court.caseOf(id);
        assert(round.openedSeats == 0 && next.stage == IDisputeArbiter.Stage.Agreed);
        assert(vote.finding != IDisputeArbiter.Finding.None);
        uint256 paid = 0;
        for (uint256 seat = 0; seat < 5; ++seat) {
            uint256 balance = bench.accountOf(_committee()[seat]).balance;
            assert(balance == (next.openedSeats >> seat & 1 != 0 ? round.seatFee : 0));
            paid += balance;
        }
        assert(next.openedSeats < 32 && paid == 3 * uint256(round.seatFee));
    }

    // ------------------------------------------------------------------------------------------------- any state

    /// @dev Any round that has a committee and isn't closed.
    function _sitting(bytes32 id) private returns (IDisputeArbiter.Round memory round) {
        round = _anyRound();
        vm.assume(round.stage > IDisputeArbiter.Stage.Drawing && round.stage < IDisputeArbiter.Stage.Agreed);
        vm.assume(round.number == 0 && round.sealedSeats < 32 && round.openedSeats < 32 && round.began < 1 << 39);
        _write(id, round);
        _writeHead(id, keccak256(abi.encodePacked(_committee())));
    }

    function _anyRound() private returns (IDisputeArbiter.Round memory round) {
        round.began = uint40(svm.createUint(40, "began"));
        round.time = uint24(svm.createUint(24, "time of the case"));
        round.endedAfter = uint24(svm.createUint(24, "endedAfter"));
        round.sealedSeats = uint24(svm.createUint(24, "sealed"));
        round.openedSeats = uint24(svm.createUint(24, "opened"));
        round.seatFee = uint40(svm.createUint(40, "seatFee"));
        round.number = uint8(svm.createUint(8, "number"));
        uint256 stage = svm.createUint(8, "stage");
        vm.assume(stage <= uint256(type(IDisputeArbiter.Stage).max));
        round.stage = IDisputeArbiter.Stage(stage);
        round.byProvider = svm.createUint(1, "byProvider") != 0;
    }

    function _write(bytes32 id, IDisputeArbiter.Round memory round) private {
        uint256 word = uint256(round.began) | uint256(round.time) << 40 | uint256(round.endedAfter) << 64;
        word |= uint256(round.drawBlock) << 88 | uint256(round.places) << 120 | uint256(round.sealedSeats) << 144;
        word |= uint256(round.openedSeats) << 168 | uint256(round.seatFee) << 192 | uint256(round.number) << 232;
        word |= uint256(uint8(round.stage)) << 240;
        if (round.byProvider) word |= 1 << 248;
        vm.store(address(court), _place(bytes32(CURRENT), uint256(_place(id, ROUNDS))), bytes32(word));
    }

    function _writeHead(bytes32 id, bytes32 head) private {
        vm.store(address(court), _place(0, uint256(_place(id, HEADS))), head);
    }

    /// @dev `count` secrets and signatures, for any seats.
    function _quorumCall(bytes32 id, IDisputeArbiter.Vote memory vote, uint256 count) private returns (bytes memory) {
        IDisputeArbiter.Quorum memory quorum;
        quorum.committee = _committee();
        quorum.seats = svm.createUint(256, "seats");
        quorum.secrets = new bytes32[](count);
        quorum.others = new bytes32[](5 - count);
        for (uint256 seat = 0; seat < 5; ++seat) {
            bytes32 word = bytes32(svm.createUint(256, "secret or seal"));
            if (seat < count) quorum.secrets[seat] = word;
            else quorum.others[seat - count] = word;
        }
        quorum.signatures = svm.createBytes(65 * count, "signatures");
        return abi.encodeCall(court.settleByQuorum, (id, vote, quorum));
    }

    function _committee() private pure returns (address[] memory committee) {
        committee = new address[](5);
        for (uint256 seat = 0; seat < 5; ++seat) {
            committee[seat] = address(uint160(0xA1 + seat));
        }
    }

    function _one(address[] memory committee) private pure returns (address[][] memory committees) {
        committees = new address[][](1);
        committees[0] = committee;
    }

    function _one(IDisputeArbiter.Vote memory vote) private pure returns (IDisputeArbiter.Vote[] memory votes) {
        votes = new IDisputeArbiter.Vote[](1);
        votes[0] = vote;
    }

    function _id(Award memory award) private view returns (bytes32) {
        return hashes.digest(block.chainid, RAIL, hashes.hashAward(award));
    }
}
