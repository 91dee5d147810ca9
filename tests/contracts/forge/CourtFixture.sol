// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Bench} from "../../../contracts/Bench.sol";
import {DisputeArbiter} from "../../../contracts/DisputeArbiter.sol";
import {IBench} from "../../../contracts/interfaces/IBench.sol";
import {IDisputeArbiter} from "../../../contracts/interfaces/IDisputeArbiter.sol";
import {Award, Offer, Receipt, Start} from "../../../contracts/interfaces/MarketTypes.sol";
import {LawFixture} from "./LawFixture.sol";

/// @dev A court with thirty arbiters, and the shortest way from a claim to each stage of a case.
abstract contract CourtFixture is LawFixture {
    uint128 internal constant PRICE = 100_000;
    uint128 internal constant FEE = 1000;
    uint128 internal constant SEAT_FEE = FEE / 5;
    uint96 internal constant SEAT_STAKE = 900;
    bytes32 internal constant ENGINE = keccak256("engine");
    uint256 internal constant ARBITERS = 30;
    uint24 internal constant MAX_TIME = 2 * 600;
    uint256 private constant FIRST_KEY = 0xA0000;
    bytes32 private constant OPENING_TYPEHASH =
        keccak256("Opening(bytes32 award,uint8 round,bytes32 vote,bytes32 seals)");

    DisputeArbiter internal court;
    Bench internal bench;
    mapping(address arbiter => uint256 key) internal keyOf;

    function setUp() public virtual override {
        super.setUp();
        vm.roll(1000);
        _raiseCourt(IBench.Randomness.BlockHash);
    }

    function _raiseCourt(IBench.Randomness randomness) internal {
        court = new DisputeArbiter(
            DisputeArbiter.Contracts({
                escrow: address(escrow),
                channels: address(channels),
                reputation: address(reputation),
                token: address(token),
                pool: POOL
            }),
            DisputeArbiter.Terms({
                seatStake: SEAT_STAKE,
                leastFee: 100,
                cooldown: COOLDOWN,
                minResolveWithin: 60,
                maxTime: MAX_TIME,
                randomness: randomness
            }),
            GUARDIAN
        );
        bench = Bench(court.bench());
        _approve(REQUESTER);
        _approve(PROVIDER);
    }

    function _approve(address who) internal {
        vm.startPrank(who);
        token.approve(address(court), type(uint256).max);
        token.approve(address(bench), type(uint256).max);
        vm.stopPrank();
    }

    function _arbiter(uint256 number) internal returns (address who) {
        who = vm.addr(FIRST_KEY + number);
        keyOf[who] = FIRST_KEY + number;
    }

    /// @dev Arbiters that buy `tickets` each.
    function _enlist(uint256 count, uint32 tickets) internal {
        for (uint256 i = 0; i < count; ++i) {
            address who = _arbiter(i);
            token.mint(who, 1e12);
            _approve(who);
            vm.prank(who);
            bench.enlist(ENGINE, tickets, new uint32[](0));
        }
    }

    function _courtOffer() internal view returns (Offer memory offer) {
        offer = _offer(0);
        offer.engine = ENGINE;
    }

    /// @dev An award that names the court, of an escrow that is funded and claimed, or of a channel.
    function _claimed(bool onEscrow) internal returns (Award memory award) {
        award = _liable(PRICE, FEE);
        award.offer = _offerId(_courtOffer());
        award.slot = uint16(block.timestamp);
        award.arbiter = address(court);
        if (!onEscrow) award.rail = address(channels);
        _stake(LIABILITY);
        Start memory none;
        vm.prank(PROVIDER);
        reputation.lock(award, none, "");
        if (!onEscrow) return award;
        _fund(award);
        _claimAll(award);
    }

    /// @dev The receipt that `_claimAll` claims.
    function _receipt(Award memory award) internal view returns (Receipt memory receipt, bytes memory signature) {
        receipt.award = _id(award);
        receipt.part = 3;
        receipt.due = award.price;
        signature = _sign(PROVIDER_KEY, _marketDigest(hashes.hashReceipt(receipt)));
    }

    function _open(Award memory award, address opener) internal {
        (Receipt memory receipt, bytes memory signature) = _receipt(award);
        Offer memory offer = _courtOffer();
        vm.prank(opener);
        if (award.rail == address(escrow)) court.open(award, offer);
        else court.openOnChannel(award, offer, receipt, signature);
    }

    function _roundOf(Award memory award) internal view returns (IDisputeArbiter.Round memory) {
        return court.caseOf(_id(award));
    }

    function _isDrawn(Award memory award) internal view returns (bool) {
        return _roundOf(award).stage > IDisputeArbiter.Stage.Drawing;
    }

    function _headOf(Award memory award) internal view returns (bytes32) {
        return court.headOf(_id(award), _roundOf(award).number);
    }

    /// @dev Draw, and check who was drawn against the rule written a second time.
    function _drawn(Award memory award) internal returns (address[] memory committee) {
        IDisputeArbiter.Round memory round = _roundOf(award);
        vm.roll(round.drawBlock + 1);
        committee = _predict(_id(award), round);
        court.draw(_id(award), "");
        require(_headOf(award) == keccak256(abi.encodePacked(committee)), "another committee was drawn");
    }

    /// @dev Open a case over a channel and draw for it: were there five seats with a stake?
    function _isSeated() internal returns (bool) {
        vm.warp(block.timestamp + 1);
        Award memory award = _claimed(false);
        _open(award, REQUESTER);
        vm.roll(_roundOf(award).drawBlock + 1);
        court.draw(_id(award), "");
        return _isDrawn(award);
    }

    /// @dev The rule of docs/spec/law.md, section 2, a second time: tickets by number, those that count and have stake.
    function _predict(bytes32 id, IDisputeArbiter.Round memory round)
        internal
        view
        returns (address[] memory committee)
    {
        uint256 seats = [uint256(5), 11, 23][round.number];
        bytes32 seed = keccak256(abi.encode(blockhash(round.drawBlock), keccak256(abi.encode(id, round.number))));
        committee = new address[](seats);
        uint256 found = 0;
        for (uint256 i = 0; found < seats && i < 512; ++i) {
            uint256 index = uint256(keccak256(abi.encode(seed, i))) % round.places;
            if (index >= bench.placesOf(ENGINE)) continue;
            IBench.Ticket memory ticket = bench.ticketOf(ENGINE, uint32(index));
            if (round.drawBlock - 2 < ticket.since || round.drawBlock - 2 >= ticket.until) continue;
            IBench.Account memory account = bench.accountOf(ticket.owner);
            uint256 elsewhere = block.timestamp > account.servingUntil ? 0 : account.serving;
            uint256 here = 1;
            for (uint256 j = 0; j < found; ++j) {
                if (committee[j] == ticket.owner) ++here;
            }
            uint256 stakes = account.balance / SEAT_STAKE;
            if (stakes >= here && account.balance * 4 >= (elsewhere + here) * SEAT_STAKE) {
                committee[found++] = ticket.owner;
            }
        }
    }

    function _vote(IDisputeArbiter.Finding finding, uint128 due)
        internal
        pure
        returns (IDisputeArbiter.Vote memory vote)
    {
        vote.finding = finding;
        vote.part = 3;
        vote.output = keccak256("output");
        vote.fuel = 12;
        vote.due = due;
    }

    function _secret(uint256 seat) internal pure returns (bytes32) {
        return keccak256(abi.encode("secret", seat));
    }

    function _hash(IDisputeArbiter.Vote memory vote) internal pure returns (bytes32) {
        return keccak256(abi.encode(vote));
    }

    function _seal(Award memory award, address[] memory committee, uint256 seat, IDisputeArbiter.Vote memory vote)
        internal
    {
        bytes32 id = _id(award);
        bytes32 seal = court.sealOf(_hash(vote), committee[seat], _secret(seat));
        vm.prank(committee[seat]);
        court.sealVote(id, committee, seat, seal);
    }

    /// @dev Seats 0 to `right - 1` vote one way, the next `wrong` the other, the rest not at all. All on the chain.
    function _voteOnChain(
        Award memory award,
        address[] memory committee,
        uint256 right,
        IDisputeArbiter.Vote memory vote,
        uint256 wrong,
        IDisputeArbiter.Vote memory other
    ) internal {
        for (uint256 seat = 0; seat < right + wrong; ++seat) {
            _seal(award, committee, seat, seat < right ? vote : other);
        }
        if (right + wrong < committee.length) vm.warp(_sealBy(award) + 1);
        for (uint256 seat = 0; seat < right + wrong; ++seat) {
            court.openVote(_id(award), committee, seat, seat < right ? vote : other, _secret(seat));
        }
    }

    /// @dev What the first `count` seats sign off the chain, with the seals of all.
    function _quorum(Award memory award, address[] memory committee, IDisputeArbiter.Vote memory vote, uint256 count)
        internal
        view
        returns (IDisputeArbiter.Quorum memory quorum)
    {
        bytes32[] memory seals = new bytes32[](committee.length);
        quorum.seats = 2 ** count - 1;
        quorum.secrets = new bytes32[](count);
        quorum.others = new bytes32[](committee.length - count);
        for (uint256 seat = 0; seat < committee.length; ++seat) {
            seals[seat] = court.sealOf(_hash(vote), committee[seat], _secret(seat));
            if (seat < count) quorum.secrets[seat] = _secret(seat);
            else quorum.others[seat - count] = seals[seat];
        }
        bytes32 signed = _opening(award, vote, seals);
        for (uint256 seat = 0; seat < count; ++seat) {
            quorum.signatures = bytes.concat(quorum.signatures, _sign(keyOf[committee[seat]], signed));
        }
        if (_isDrawn(award)) quorum.committee = committee;
    }

    function _opening(Award memory award, IDisputeArbiter.Vote memory vote, bytes32[] memory seals)
        private
        view
        returns (bytes32)
    {
        bytes32 all = keccak256(abi.encodePacked(seals));
        uint8 number = _roundOf(award).number;
        return hashes.digest(
            block.chainid, address(court), keccak256(abi.encode(OPENING_TYPEHASH, _id(award), number, _hash(vote), all))
        );
    }

    function _settle(Award memory award, address[] memory committee, IDisputeArbiter.Vote memory vote, uint256 count)
        internal
    {
        court.settleByQuorum(_id(award), vote, _quorum(award, committee, vote, count));
    }

    function _appeal(Award memory award, address who) internal {
        Offer memory offer = _courtOffer();
        vm.prank(who);
        court.appeal(award, offer);
    }

    function _length(Award memory award) internal view returns (uint256) {
        IDisputeArbiter.Round memory round = _roundOf(award);
        return round.number == 0 ? round.time / 2 : round.time / 4;
    }

    function _sealBy(Award memory award) internal view returns (uint256) {
        return _roundOf(award).began + _length(award) * 4 / 6;
    }

    function _openBy(Award memory award) internal view returns (uint256) {
        return _roundOf(award).began + _length(award) * 5 / 6;
    }

    /// @dev Close after the time for an appeal, with the committees of all rounds and what each decided.
    function _close(Award memory award, address[][] memory committees, IDisputeArbiter.Vote[] memory votes) internal {
        _awaitClose(award);
        court.close(award, committees, votes);
    }

    function _awaitClose(Award memory award) internal {
        IDisputeArbiter.Round memory round = _roundOf(award);
        uint256 end = round.endedAfter == 0 ? _openBy(award) : round.began + round.endedAfter - 1;
        vm.warp(end + _length(award) / 6 + 1);
    }

    /// @dev The same, of a case with one round.
    function _close(Award memory award, address[] memory committee, IDisputeArbiter.Vote memory vote) internal {
        _close(award, _one(committee), _one(vote));
    }

    function _one(address[] memory committee) internal pure returns (address[][] memory committees) {
        committees = new address[][](1);
        committees[0] = committee;
    }

    function _one(IDisputeArbiter.Vote memory vote) internal pure returns (IDisputeArbiter.Vote[] memory votes) {
        votes = new IDisputeArbiter.Vote[](1);
        votes[0] = vote;
    }
}
