// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDisputeArbiter} from "../../../contracts/interfaces/IDisputeArbiter.sol";
import {ITreasury} from "../../../contracts/interfaces/ITreasury.sol";
import {Award} from "../../../contracts/interfaces/MarketTypes.sol";
import {CourtRefusals} from "./CourtRefusals.sol";

/// @dev Seals, openings and quorums: each refusal, each last second and the one after it.
contract CourtVotesTest is CourtRefusals {
    // Votes

    function test_what_is_refused_of_seals() external {
        (Award memory award, address[] memory committee) = _sitting();
        bytes32 id = _id(award);
        bytes32 seal = keccak256("seal");
        address[] memory other = new address[](5);
        _refuseBy(committee[0], _sealCall(id, other, 0, seal), IDisputeArbiter.WrongCommittee.selector);
        _refuseBy(committee[0], _sealCall(id, committee, 5, seal), IDisputeArbiter.WrongSeat.selector);
        _refuseBy(STRANGER, _sealCall(id, committee, 0, seal), IDisputeArbiter.WrongSeat.selector);
        _refuseBy(committee[0], _sealCall(id, committee, 0, 0), IDisputeArbiter.WrongSeat.selector);
        vm.warp(_sealBy(award));
        _seal(award, committee, 0, _vote(WRONG, 0));
        _refuseBy(committee[0], _sealCall(id, committee, 0, seal), IDisputeArbiter.WrongSeat.selector);
        vm.warp(_sealBy(award) + 1);
        _refuseBy(committee[1], _sealCall(id, committee, 1, seal), IDisputeArbiter.TooLate.selector);
    }

    function test_a_seal_that_was_copied_opens_for_nobody_else() external {
        (Award memory award, address[] memory committee) = _sitting();
        bytes32 id = _id(award);
        IDisputeArbiter.Vote memory vote = _vote(WRONG, 0);
        bytes32 seal = court.sealOf(_hash(vote), committee[0], _secret(0));
        uint256 copier = 1;
        while (committee[copier] == committee[0]) ++copier;
        vm.prank(committee[0]);
        court.sealVote(id, committee, 0, seal);
        vm.prank(committee[copier]);
        court.sealVote(id, committee, copier, seal);
        vm.warp(_sealBy(award) + 1);
        court.openVote(id, committee, 0, vote, _secret(0));
        _refuse(_openCall(id, committee, copier, vote, _secret(0)), IDisputeArbiter.WrongSeal.selector);
    }

    function test_what_is_refused_of_openings_of_votes() external {
        (Award memory award, address[] memory committee) = _sitting();
        bytes32 id = _id(award);
        IDisputeArbiter.Vote memory vote = _vote(WRONG, 0);
        IDisputeArbiter.Vote memory none;
        for (uint256 seat = 0; seat < 4; ++seat) {
            _seal(award, committee, seat, vote);
        }
        vm.warp(_sealBy(award));
        _refuse(_openCall(id, committee, 0, vote, _secret(0)), IDisputeArbiter.TooEarly.selector);
        vm.warp(_sealBy(award) + 1);
        _refuse(_openCall(id, committee, 0, none, _secret(0)), IDisputeArbiter.NoFinding.selector);
        _refuse(_openCall(id, committee, 5, vote, _secret(0)), IDisputeArbiter.WrongSeat.selector);
        _refuse(_openCall(id, committee, 4, vote, _secret(4)), IDisputeArbiter.WrongSeal.selector);
        _refuse(_openCall(id, committee, 0, vote, _secret(1)), IDisputeArbiter.WrongSeal.selector);
        court.openVote(id, committee, 0, vote, _secret(0));
        _refuse(_openCall(id, committee, 0, vote, _secret(0)), IDisputeArbiter.WrongSeat.selector);
        vm.warp(_openBy(award));
        court.openVote(id, committee, 1, vote, _secret(1));
        vm.warp(_openBy(award) + 1);
        _refuse(_openCall(id, committee, 2, vote, _secret(2)), IDisputeArbiter.TooLate.selector);
    }

    /// @dev Hashes of votes and committees are made of the words as they came: one that doesn't fit its field opens nothing.
    function test_a_vote_with_bits_beyond_a_field_can_be_sealed_and_never_opened() external {
        (Award memory award, address[] memory committee) = _sitting();
        bytes32 id = _id(award);
        bytes memory vote = abi.encode(_vote(WRONG, 0));
        vote[32] = 0x01; // of `part`, above its 32 bits
        bytes32 seal = court.sealOf(keccak256(vote), committee[0], _secret(0));
        vm.prank(committee[0]);
        court.sealVote(id, committee, 0, seal);
        vm.warp(_sealBy(award) + 1);
        bytes memory call = _openCall(id, committee, 0, _vote(WRONG, 0), _secret(0));
        _refuse(call, IDisputeArbiter.WrongSeal.selector);
        call[4 + 3 * 32 + 32] = 0x01; // behind the award, the place of the committee and the seat
        (bool success, bytes memory answer) = address(court).call(call);
        require(!success && answer.length == 0, "no field has more bits than its type");
    }

    function test_when_all_have_sealed_and_opened_the_round_is_over_at_once() external {
        (Award memory award, address[] memory committee) = _sitting();
        IDisputeArbiter.Vote memory vote = _vote(WRONG, 0);
        _voteOnChain(award, committee, 5, vote, 0, vote);
        _assertEq(_roundOf(award).began + _roundOf(award).endedAfter - 1, block.timestamp, "decided");
        _refuse(_openCall(_id(award), committee, 0, vote, _secret(0)), IDisputeArbiter.TooLate.selector);
        address seat = committee[0];
        _refuseBy(seat, _sealCall(_id(award), committee, 0, "seal"), IDisputeArbiter.TooLate.selector);
    }

    // Quorums

    function test_what_is_refused_of_quorums() external {
        (Award memory award, address[] memory committee) = _sitting();
        IDisputeArbiter.Vote memory vote = _vote(WRONG, 0);
        _refuseQuorum(award, vote, _quorum(award, committee, vote, 2), IDisputeArbiter.NoQuorum.selector);
        IDisputeArbiter.Quorum memory quorum = _quorum(award, committee, vote, 3);
        IDisputeArbiter.Vote memory none;
        _refuseQuorum(award, none, quorum, IDisputeArbiter.NoFinding.selector);
        _refuseQuorum(award, _vote(UPHELD, 0), quorum, ITreasury.BadSignature.selector);

        quorum.seats = 15; // four seats, three secrets
        _refuseQuorum(award, vote, quorum, IDisputeArbiter.NoQuorum.selector);
        quorum.seats = 35; // a sixth seat
        _refuseQuorum(award, vote, quorum, IDisputeArbiter.NoQuorum.selector);
        quorum.seats = 11; // the fourth seat's opening isn't the third's
        _refuseQuorum(award, vote, quorum, ITreasury.BadSignature.selector);
        quorum.seats = 7;
        bytes32 last = quorum.others[1];
        quorum.others[1] = 0; // signed over other seals than these
        _refuseQuorum(award, vote, quorum, ITreasury.BadSignature.selector);
        quorum.others[1] = last;
        bytes memory signatures = quorum.signatures;
        quorum.signatures = bytes.concat(signatures, "1");
        _refuseQuorum(award, vote, quorum, IDisputeArbiter.NoQuorum.selector);
        quorum.signatures = signatures;
        quorum.others = new bytes32[](3);
        _refuseQuorum(award, vote, quorum, IDisputeArbiter.NoQuorum.selector);
        quorum = _quorum(award, committee, vote, 3);
        quorum.committee = new address[](5);
        _refuseQuorum(award, vote, quorum, IDisputeArbiter.WrongCommittee.selector);
        quorum.committee = committee;
        vm.warp(_openBy(award) + 1);
        _refuseQuorum(award, vote, quorum, IDisputeArbiter.TooLate.selector);
        vm.warp(_openBy(award));
        court.settleByQuorum(_id(award), vote, quorum);
        _refuseQuorum(award, vote, quorum, IDisputeArbiter.TooLate.selector);
    }

    function test_a_quorum_draws_its_committee_itself_if_nobody_has() external {
        Award memory award = _claimed(true);
        IDisputeArbiter.Vote memory vote = _vote(WRONG, 0);
        _open(award, REQUESTER);
        IDisputeArbiter.Round memory round = _roundOf(award);
        vm.roll(round.drawBlock + 1);
        address[] memory committee = _predict(_id(award), round);
        IDisputeArbiter.Quorum memory quorum = _quorum(award, committee, vote, 3);
        vm.roll(round.drawBlock);
        _refuseQuorum(award, vote, quorum, IDisputeArbiter.DrawTooEarly.selector);
        vm.roll(round.drawBlock + 300); // the number is forgotten: it takes a draw to have a new one
        _refuseQuorum(award, vote, quorum, IDisputeArbiter.WrongCommittee.selector);
        vm.roll(round.drawBlock + 1);
        uint256 before = _sum(committee, 5);
        court.settleByQuorum(_id(award), vote, quorum);
        _assertEq(_sum(committee, 5) - before, 3 * SEAT_FEE, "who opened is paid as it is seated");
        for (uint256 seat = 0; seat < 5; ++seat) {
            require(bench.accountOf(committee[seat]).serving != 0, "a seat is bound, whether it opened or not");
        }
        _close(award, committee, vote);
    }

    function test_a_seal_on_the_chain_stops_no_quorum_but_an_opened_vote_does() external {
        (Award memory award, address[] memory committee) = _sitting();
        IDisputeArbiter.Vote memory vote = _vote(WRONG, 0);
        _seal(award, committee, 4, vote);
        IDisputeArbiter.Quorum memory quorum = _quorum(award, committee, vote, 3);
        vm.warp(_sealBy(award) + 1);
        court.openVote(_id(award), committee, 4, vote, _secret(4));
        _refuseQuorum(award, vote, quorum, IDisputeArbiter.TooLate.selector);
    }

    function test_who_stands_outside_a_quorum_is_neither_paid_nor_slashed() external {
        (Award memory award, address[] memory committee) = _sitting();
        IDisputeArbiter.Vote memory vote = _vote(WRONG, 0);
        _seal(award, committee, 4, vote);
        uint256 before = _sum(committee, 5);
        _settle(award, committee, vote, 3);
        _assertEq(_sum(committee, 5) - before, 3 * SEAT_FEE, "who opened is paid at once");
        _close(award, committee, vote);
        _assertEq(_sum(committee, 5) - before, 3 * SEAT_FEE, "and that is all");
        _assertEq(token.balanceOf(POOL), LIABILITY - FEE - MAX_BOUNTY + 2 * SEAT_FEE, "their fees go to the pool");
    }

    function test_an_overturned_quorum_loses_its_stakes() external {
        (Award memory award, address[] memory committee) = _sitting();
        address[][] memory committees = new address[][](2);
        IDisputeArbiter.Vote[] memory votes = new IDisputeArbiter.Vote[](2);
        (committees[0], votes[0], votes[1]) = (committee, _vote(UPHELD, PRICE), _vote(WRONG, 0));
        _settle(award, committee, votes[0], 3);
        uint256 before = _sum(committee, 5);
        _appeal(award, REQUESTER);
        require(court.pastOf(_id(award), 0).openedSeats == 7, "the appealed round isn't kept");
        committees[1] = _drawn(award);
        _settle(award, committees[1], votes[1], 11);
        uint256 fees = _sum(committee, 5) - before;
        uint256 requester = token.balanceOf(REQUESTER);
        bytes32 id = _id(award);
        _awaitClose(award);
        vm.expectEmit(true, true, true, true);
        emit IDisputeArbiter.SeatsEnded(id, 0, 0, 7, 0); // nobody is absent where only a quorum was asked
        court.close(award, committees, votes);
        _assertEq(before + fees - _sum(committee, 5), 3 * SEAT_STAKE, "three stakes");
        uint256 bonds = FEE + 11 * SEAT_FEE;
        _assertEq(token.balanceOf(REQUESTER) - requester, PRICE + FEE + bonds + MAX_BOUNTY, "both bonds are back");
    }

    function test_who_asks_for_a_round_that_nobody_draws_has_its_bond_back() external {
        (Award memory award, address[] memory committee) = _sitting();
        IDisputeArbiter.Vote memory vote = _vote(WRONG, 0);
        _settle(award, committee, vote, 5);
        uint256 before = token.balanceOf(PROVIDER);
        _appeal(award, PROVIDER);
        address[][] memory committees = new address[][](2);
        committees[0] = committee;
        IDisputeArbiter.Vote[] memory votes = new IDisputeArbiter.Vote[](2);
        votes[0] = vote;
        _close(award, committees, votes);
        _assertEq(token.balanceOf(PROVIDER), before, "provider");
        _assertEq(reputation.accountOf(PROVIDER).stake, 0, "the round before stands");
    }

    function test_a_first_round_that_nobody_drew_leaves_its_bond_to_an_appeal_that_was_right() external {
        Award memory award = _claimed(true);
        uint256 before = token.balanceOf(REQUESTER);
        _open(award, REQUESTER);
        vm.warp(_openBy(award) + 1);
        _appeal(award, REQUESTER);
        address[][] memory committees = new address[][](2);
        IDisputeArbiter.Vote[] memory votes = new IDisputeArbiter.Vote[](2);
        votes[1] = _vote(WRONG, 0);
        committees[1] = _drawn(award);
        _settle(award, committees[1], votes[1], 11);
        _close(award, committees, votes);
        // Its first bond is back as the provider's fee, and of the second what nobody was paid for.
        uint256 cost = 11 * SEAT_FEE - FEE;
        _assertEq(token.balanceOf(REQUESTER) + cost, before + PRICE + FEE + MAX_BOUNTY, "requester");
    }
}
