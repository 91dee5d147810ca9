// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Bench} from "../../../contracts/Bench.sol";
import {DisputeArbiter} from "../../../contracts/DisputeArbiter.sol";
import {IBench} from "../../../contracts/interfaces/IBench.sol";
import {IDisputeArbiter} from "../../../contracts/interfaces/IDisputeArbiter.sol";
import {ITreasury} from "../../../contracts/interfaces/ITreasury.sol";
import {Award, ChannelKey, Offer, Voucher} from "../../../contracts/interfaces/MarketTypes.sol";
import {RefusingToken} from "../../../contracts/mocks/HostileTokens.sol";
import {TestToken} from "../../../contracts/mocks/TestToken.sol";
import {CourtFixture} from "./CourtFixture.sol";
import {Driven} from "./Driven.sol";

/// @dev Drives bench and court through every entry, in any order: cases on escrows and on channels, votes of every kind, on
/// the chain and by quorum, appeals, closings, and a token that refuses to pay whom it likes.
contract CourtHandler is CourtFixture {
    uint256 private constant LIVE = 2;
    uint256 private constant JURORS = 8;
    uint32 private constant TICKETS = 6;

    mapping(bytes32 name => uint256) public done;
    Award[] private _awards;
    mapping(bytes32 id => mapping(uint256 round => address[] committee)) private _committees;
    mapping(bytes32 id => mapping(uint256 round => IDisputeArbiter.Vote vote)) private _votes;
    uint32[] private _resigned;
    uint64 private _channels;

    function setUp() public override {
        super.setUp();
        token = TestToken(new RefusingToken());
        _enrich(REQUESTER);
        _enrich(PROVIDER);
        _raise();
        _raiseCourt(IBench.Randomness.BlockHash);
        _enlist(JURORS, TICKETS);
        begin(0);
        begin(1);
    }

    function awards() external view returns (Award[] memory) {
        return _awards;
    }

    function world() external view returns (DisputeArbiter, Bench, TestToken) {
        return (court, bench, token);
    }

    function idOf(Award memory award) external view returns (bytes32) {
        return _id(award);
    }

    function parties() external view returns (address[] memory all) {
        all = new address[](JURORS + 4);
        for (uint256 i = 0; i < JURORS; ++i) {
            all[i] = vm.addr(0xA0000 + i);
        }
        (all[JURORS], all[JURORS + 1], all[JURORS + 2]) = (REQUESTER, PROVIDER, POOL);
        all[JURORS + 3] = address(court);
    }

    // The bench

    function enlist(uint256 who, bool again) external {
        address juror = _arbiter(who % JURORS);
        again = again && _resigned.length != 0;
        uint32[] memory places = new uint32[](again ? 1 : 0);
        if (again) places[0] = _resigned[who % _resigned.length];
        vm.prank(juror);
        try bench.enlist(ENGINE, 2, places) {
            _count(again ? bytes32("enlist again") : bytes32("enlist"));
        } catch {}
    }

    /// @dev Often the last place, so that there is something to prune.
    function resign(uint256 which) external {
        uint256 places = bench.placesOf(ENGINE);
        uint32[] memory indices = new uint32[](1);
        indices[0] = uint32(which % 3 == 0 ? places - 1 : which % places);
        vm.prank(bench.ticketOf(ENGINE, indices[0]).owner);
        try bench.resign(ENGINE, indices) {
            _resigned.push(indices[0]);
            _count("resign");
        } catch {}
    }

    function prune(uint32 count) external {
        IBench.Ticket memory last = bench.ticketOf(ENGINE, uint32(bench.placesOf(ENGINE) - 1));
        if (last.until <= block.number) vm.roll(block.number + 8300);
        try bench.prune(ENGINE, count % 3 + 1) {
            _count("prune");
        } catch {}
    }

    function collect(uint256 who) external {
        address juror = _arbiter(who % JURORS);
        uint256 owed = bench.accountOf(juror).balance;
        vm.prank(juror);
        try bench.collect() returns (uint256 amount) {
            IBench.Account memory left = bench.accountOf(juror);
            require(amount + left.balance == owed, "collected what it didn't have");
            require(left.balance >= uint256(left.tickets) * SEAT_STAKE, "a ticket has no stake");
            _count("collect");
        } catch {}
    }

    // The court

    function begin(uint256 terms) public {
        if (_awards.length >= 60) return;
        vm.warp(block.timestamp + 1);
        Award memory award = _claimed(terms % 3 != 1);
        _awards.push(award);
        if (terms % 5 == 4 && award.rail == address(escrow)) _dispute(award);
    }

    function open(uint256 which, bool byProvider) external {
        (Award memory award, bytes32 id) = _pick(which);
        try this.openAs(award, byProvider ? PROVIDER : REQUESTER) {
            require(court.caseOf(id).stage == IDisputeArbiter.Stage.Drawing, "opened, and no case");
            _count(award.rail == address(escrow) ? bytes32("open") : bytes32("open on a channel"));
        } catch {}
    }

    function openAs(Award memory award, address opener) external {
        _open(award, opener);
    }

    function draw(uint256 which) external {
        (, bytes32 id) = _pick(which);
        uint8 number = court.caseOf(id).number;
        try court.draw(id, "") returns (address[] memory committee) {
            if (committee.length != 0) _committees[id][number] = committee;
            _count(committee.length == 0 ? bytes32("draw anew") : bytes32("draw"));
        } catch {}
    }

    function seal(uint256 which, uint256 seats, uint256 kind) external {
        (, bytes32 id) = _pick(which);
        address[] memory committee = _committees[id][court.caseOf(id).number];
        for (uint256 seat = 0; seat < committee.length; ++seat) {
            if (seats & (1 << seat) == 0) continue;
            bytes32 sealed_ = court.sealOf(_hash(_ballot(seat, kind)), committee[seat], _secret(seat));
            vm.prank(committee[seat]);
            try court.sealVote(id, committee, seat, sealed_) {
                _count("seal");
            } catch {}
        }
    }

    function openVotes(uint256 which, uint256 seats, uint256 kind) external {
        (, bytes32 id) = _pick(which);
        IDisputeArbiter.Round memory before = court.caseOf(id);
        address[] memory committee = _committees[id][before.number];
        for (uint256 seat = 0; seat < committee.length; ++seat) {
            if (seats & (1 << seat) == 0) continue;
            IDisputeArbiter.Stage stage = court.caseOf(id).stage;
            IDisputeArbiter.Vote memory vote = _ballot(seat, kind);
            try court.openVote(id, committee, seat, vote, _secret(seat)) {
                _count("open a vote");
                if (court.caseOf(id).stage != stage) {
                    _votes[id][before.number] = vote;
                    _count("majority");
                }
            } catch {}
        }
    }

    function quorum(uint256 which, uint256 kind, uint256 size) external {
        (Award memory award, bytes32 id) = _pick(which);
        IDisputeArbiter.Round memory round = court.caseOf(id);
        if (round.stage == IDisputeArbiter.Stage.None || round.stage == IDisputeArbiter.Stage.Closed) return;
        bool drawn = _isDrawn(award);
        address[] memory committee = drawn ? _committees[id][round.number] : _predict(id, round);
        IDisputeArbiter.Vote memory vote = _ballot(0, kind);
        uint256 seats = committee.length;
        IDisputeArbiter.Quorum memory all = _quorum(award, committee, vote, seats / 2 + 1 + size % (seats - seats / 2));
        try court.settleByQuorum(id, vote, all) {
            _committees[id][round.number] = committee;
            _votes[id][round.number] = vote;
            _count(drawn ? bytes32("quorum") : bytes32("quorum that draws"));
        } catch {}
    }

    function appeal(uint256 which, bool byProvider) external {
        (Award memory award,) = _pick(which);
        Offer memory offer = _courtOffer();
        vm.prank(byProvider ? PROVIDER : REQUESTER);
        try court.appeal(award, offer) {
            _count("appeal");
        } catch {}
    }

    function close(uint256 which) external {
        (Award memory award, bytes32 id) = _pick(which);
        uint256 rounds = uint256(court.caseOf(id).number) + 1;
        address[][] memory committees = new address[][](rounds);
        IDisputeArbiter.Vote[] memory votes = new IDisputeArbiter.Vote[](rounds);
        bool decided = false;
        for (uint256 i = 0; i < rounds; ++i) {
            (committees[i], votes[i]) = (_committees[id][i], _votes[id][i]);
            decided = decided || votes[i].finding != IDisputeArbiter.Finding.None;
        }
        try court.close(award, committees, votes) {
            _count(decided ? rounds == 1 ? bytes32("close") : bytes32("close appealed") : bytes32("close undecided"));
        } catch {}
    }

    function enforce(uint256 which) external {
        (Award memory award, bytes32 id) = _pick(which);
        if (award.rail == address(escrow) || court.caseOf(id).stage != IDisputeArbiter.Stage.Closed) return;
        vm.prank(REQUESTER);
        channels.open(REQUESTER, PROVIDER, address(token), 2 * PRICE);
        ChannelKey memory key = _key(++_channels);
        uint128 amount = PRICE + FEE;
        Voucher memory voucher =
            Voucher(channels.channelId(key), 1, 0, amount, hashes.holdLeaf(id, address(court), amount));
        bytes memory signature = _signVoucher(REQUESTER_KEY, voucher);
        vm.prank(PROVIDER);
        channels.present(key, voucher, signature, "");
        IDisputeArbiter.Vote memory vote = _votes[id][court.caseOf(id).number];
        try court.enforce(award, vote, key, amount, new bytes32[](0)) {
            _count("enforce");
        } catch {}
    }

    // The world

    function wait(uint256 time, uint256 blocks) external {
        uint256[7] memory steps = [uint256(0), 0, 1, 7, RESOLVE_WITHIN / 12, RESOLVE_WITHIN / 6, RESOLVE_WITHIN / 3];
        vm.warp(block.timestamp + (time % 41 == 0 ? COOLDOWN : steps[time % 7]));
        vm.roll(block.number + (blocks % 29 == 0 ? 300 : blocks % 97 == 1 ? 8300 : 3));
    }

    function refuse(uint256 who, bool refused) external {
        address party = [REQUESTER, PROVIDER, POOL, _arbiter(0)][who % 4];
        RefusingToken(address(token)).setRefused(party, refused && who % 2 == 0);
    }

    function withdrawCredit(uint256 who, bool ofBench) external {
        address party = [REQUESTER, PROVIDER, POOL, _arbiter(0)][who % 4];
        vm.prank(party);
        try ITreasury(ofBench ? address(bench) : address(court)).withdrawCredit(address(token), party) {
            _count("withdrawCredit");
        } catch {}
    }

    /// @dev One seat in eight votes otherwise than the rest.
    function _ballot(uint256 seat, uint256 kind) private pure returns (IDisputeArbiter.Vote memory) {
        uint256 choice = uint256(keccak256(abi.encode(seat, kind % 4))) % 8 == 0 ? kind + 1 : kind;
        if (choice % 3 == 0) return _vote(IDisputeArbiter.Finding.WrongResult, 0);
        if (choice % 3 == 1) return _vote(IDisputeArbiter.Finding.Upheld, PRICE);
        return _vote(IDisputeArbiter.Finding.Overbilled, PRICE / 2);
    }

    function _pick(uint256 which) private view returns (Award memory award, bytes32 id) {
        award = _awards[_awards.length - 1 - which % LIVE];
        id = _id(award);
    }

    function _count(bytes32 name) private {
        ++done[name];
    }
}

contract CourtInvariants is Driven {
    CourtHandler private _handler;
    uint256 private constant FEE = 1000;

    function setUp() public {
        _handler = new CourtHandler();
        _handler.setUp();
    }

    function invariant_the_bench_holds_stakes_earnings_bonds_and_credits() external view {
        (DisputeArbiter court, Bench bench, TestToken token) = _handler.world();
        address[] memory parties = _handler.parties();
        uint256 owed;
        for (uint256 i = 0; i < parties.length; ++i) {
            owed += bench.accountOf(parties[i]).balance + bench.creditOf(parties[i], address(token));
        }
        Award[] memory awards = _handler.awards();
        for (uint256 i = 0; i < awards.length; ++i) {
            owed += _bondsOf(court, _handler.idOf(awards[i]));
        }
        require(token.balanceOf(address(bench)) == owed, "the bench's balance differs from what it owes");
    }

    function invariant_the_court_holds_credits_alone() external view {
        (DisputeArbiter court,, TestToken token) = _handler.world();
        address[] memory parties = _handler.parties();
        uint256 owed;
        for (uint256 i = 0; i < parties.length; ++i) {
            owed += court.creditOf(parties[i], address(token));
        }
        require(token.balanceOf(address(court)) == owed, "the court's balance differs from what it owes");
    }

    function test_the_handler_reaches_every_entry() external {
        for (uint256 i = 0; i < 6000; ++i) {
            uint256 r = uint256(keccak256(abi.encode(i)));
            (uint256 a, uint256 b, uint256 c) = (uint64(r >> 64), uint64(r >> 128), uint64(r >> 192));
            _step(r % 20, a, b, c);
            if (i % 100 == 0) {
                this.invariant_the_bench_holds_stakes_earnings_bonds_and_credits();
                this.invariant_the_court_holds_credits_alone();
            }
        }
        bytes32[20] memory names = [
            bytes32("enlist"),
            "enlist again",
            "resign",
            "prune",
            "collect",
            "open",
            "open on a channel",
            "draw",
            "draw anew",
            "seal",
            "open a vote",
            "majority",
            "quorum",
            "quorum that draws",
            "appeal",
            "close",
            "close appealed",
            "close undecided",
            "enforce",
            "withdrawCredit"
        ];
        for (uint256 i = 0; i < names.length; ++i) {
            require(_handler.done(names[i]) != 0, string(abi.encodePacked("never did ", names[i])));
        }
    }

    function _step(uint256 step, uint256 a, uint256 b, uint256 c) private {
        if (step == 0 && b % 3 == 0) _handler.begin(a);
        else if (step == 1) _handler.enlist(a, b % 2 == 0);
        else if (step == 2) _handler.resign(a);
        else if (step == 3 && b % 3 != 0) _handler.collect(a);
        else if (step == 3) _handler.prune(uint32(a));
        else if (step <= 5) _handler.open(a, b % 2 == 0);
        else if (step <= 7) _handler.draw(a);
        else if (step <= 9) _handler.seal(a, c, b);
        else if (step <= 11) _handler.openVotes(a, c, b);
        else if (step == 12) _handler.quorum(a, b, c);
        else if (step == 13) _handler.appeal(a, b % 2 == 0);
        else if (step <= 15) _handler.close(a);
        else if (step == 16) _handler.enforce(a);
        else if (step == 17) _handler.refuse(a, b % 2 == 0);
        else if (step == 18) _handler.withdrawCredit(a, b % 2 == 0);
        else _handler.wait(a, b);
    }

    /// @dev What open cases have paid in and not paid out yet.
    function _bondsOf(DisputeArbiter court, bytes32 id) private view returns (uint256 bonds) {
        IDisputeArbiter.Round memory current = court.caseOf(id);
        if (current.stage == IDisputeArbiter.Stage.None || current.stage == IDisputeArbiter.Stage.Closed) return 0;
        for (uint8 i = 0; i <= current.number; ++i) {
            IDisputeArbiter.Round memory round = i == current.number ? current : court.pastOf(id, i);
            bonds += [FEE, 11 * FEE / 5, 23 * FEE / 5][i];
            if (round.stage != IDisputeArbiter.Stage.Agreed) continue;
            for (uint256 seats = round.openedSeats; seats != 0; seats &= seats - 1) {
                bonds -= FEE / 5;
            }
        }
    }

    function _driven() internal view override returns (address) {
        return address(_handler);
    }

    function _leftAlone() internal pure override returns (bytes4[] memory selectors) {
        selectors = new bytes4[](2);
        selectors[0] = bytes4(keccak256("setUp()"));
        selectors[1] = CourtHandler.openAs.selector;
    }
}
