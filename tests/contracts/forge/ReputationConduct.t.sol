// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IReputation} from "../../../contracts/interfaces/IReputation.sol";
import {ITreasury} from "../../../contracts/interfaces/ITreasury.sol";
import {Acceptance, Award, Commitment, Offer, Roll} from "../../../contracts/interfaces/MarketTypes.sol";
import {LawFixture} from "./LawFixture.sol";

/// @dev What one may lose or show without any award: contradicting signatures (SPEC A7), and published scores.
contract ReputationConductTest is LawFixture {
    uint128 private constant PRICE = 100_000;
    uint128 private constant FEE = 700;

    // Contradictions

    function test_two_commitments_to_one_offer_cost_the_bond_once() external {
        _stake(10_000);
        Offer memory offer = _offer(4000);
        (Commitment memory one, bytes memory by) = _commit(offer, "one");
        (Commitment memory other, bytes memory otherBy) = _commit(offer, "other");
        vm.prank(STRANGER);
        reputation.punishCommitments(offer, one, by, other, otherBy);
        _assertStake(6000, 0);
        _assertEq(token.balanceOf(STRANGER), MAX_BOUNTY, "bounty");
        _assertEq(token.balanceOf(POOL), 4000 - MAX_BOUNTY, "pool");
        vm.expectPartialRevert(IReputation.AlreadyPunished.selector);
        reputation.punishCommitments(offer, other, otherBy, one, by);
    }

    function test_commitments_that_exclude_nothing_are_no_contradiction() external {
        _stake(10_000);
        Offer memory offer = _offer(4000);
        (Commitment memory one, bytes memory by) = _commit(offer, "one");
        _expectNoContradiction(offer, one, by, one, by);
        (Commitment memory other, bytes memory otherBy) = _commit(_offer(4001), "other");
        _expectNoContradiction(offer, one, by, other, otherBy);
        _expectNoContradiction(offer, other, otherBy, one, by);
        other = Commitment({offer: one.offer, bidder: REQUESTER, seal: "other"});
        _expectNoContradiction(offer, one, by, other, otherBy);
        other.bidder = PROVIDER;
        vm.expectPartialRevert(ITreasury.BadSignature.selector);
        reputation.punishCommitments(offer, one, by, other, otherBy);
        vm.expectPartialRevert(ITreasury.BadSignature.selector);
        reputation.punishCommitments(offer, other, otherBy, one, by);
    }

    function test_two_rolls_cost_the_requester_its_bond() external {
        vm.prank(REQUESTER);
        reputation.stake(REQUESTER, 10_000);
        Offer memory offer = _offer(1000);
        (Roll memory one, bytes memory by) = _roll(offer, "root", 3);
        (Roll memory other, bytes memory otherBy) = _roll(offer, "root", 4);
        (Roll memory elsewhere, bytes memory elsewhereBy) = _roll(_offer(999), "root", 4);
        vm.expectPartialRevert(IReputation.NoContradiction.selector);
        reputation.punishRolls(offer, one, by, one, by);
        vm.expectPartialRevert(IReputation.NoContradiction.selector);
        reputation.punishRolls(offer, one, by, elsewhere, elsewhereBy);
        vm.expectPartialRevert(IReputation.NoContradiction.selector);
        reputation.punishRolls(offer, elsewhere, elsewhereBy, one, by);
        vm.prank(STRANGER);
        reputation.punishRolls(offer, one, by, other, otherBy);
        _assertEq(reputation.accountOf(REQUESTER).stake, 9000, "stake");
        _assertEq(token.balanceOf(STRANGER), 500, "half of a small bond");
        (other, otherBy) = _roll(offer, "another root", 3);
        vm.expectPartialRevert(IReputation.AlreadyPunished.selector);
        reputation.punishRolls(offer, one, by, other, otherBy);
    }

    function test_two_awards_of_one_attempt_cost_the_requester_its_bond() external {
        vm.prank(REQUESTER);
        reputation.stake(REQUESTER, 10_000);
        Offer memory offer = _offer(1000);
        Award memory one = _award(PRICE, FEE);
        one.offer = _offerId(offer);
        Award[5] memory others;
        for (uint256 i = 0; i < 5; ++i) {
            others[i] = _award(PRICE + 1, FEE);
            others[i].offer = one.offer;
        }
        others[0].offer = keccak256("another");
        others[1].slot = 1;
        others[2].attempt = 1;
        others[3].price = PRICE;
        bytes memory by = _sign(REQUESTER_KEY, _id(one));
        for (uint256 i = 0; i < 4; ++i) {
            bytes memory otherBy = _sign(REQUESTER_KEY, _id(others[i]));
            vm.expectPartialRevert(IReputation.NoContradiction.selector);
            reputation.punishAwards(offer, one, by, others[i], otherBy);
        }
        bytes memory elsewhereBy = _sign(REQUESTER_KEY, _id(others[0]));
        vm.expectPartialRevert(IReputation.NoContradiction.selector);
        reputation.punishAwards(offer, others[0], elsewhereBy, one, by);
        reputation.punishAwards(offer, one, by, others[4], _sign(REQUESTER_KEY, _id(others[4])));
        _assertEq(reputation.accountOf(REQUESTER).stake, 9000, "stake");
    }

    function test_a_bond_is_taken_from_what_isnt_locked_though_it_leaves() external {
        _stake(LIABILITY + 300);
        vm.prank(PROVIDER);
        reputation.unstake(250);
        _lock(_liable(PRICE, FEE));
        Offer memory offer = _offer(200);
        _contradict(offer);
        _assertStake(LIABILITY + 100, LIABILITY);
        vm.warp(T0 + COOLDOWN + 1);
        vm.prank(PROVIDER);
        _assertEq(reputation.withdraw(), 100, "what is left of what was leaving");
        _assertStake(LIABILITY, LIABILITY);

        (Commitment memory one, bytes memory by) = _commit(_offer(201), "one");
        (Commitment memory other, bytes memory otherBy) = _commit(_offer(201), "other");
        offer = _offer(201);
        vm.expectPartialRevert(IReputation.NothingToSlash.selector);
        reputation.punishCommitments(offer, one, by, other, otherBy);
        offer.token = address(0xBAD);
        (one, by) = _commit(offer, "one");
        (other, otherBy) = _commit(offer, "other");
        vm.expectPartialRevert(IReputation.WrongToken.selector);
        reputation.punishCommitments(offer, one, by, other, otherBy);
    }

    function test_a_bond_of_nothing_costs_nothing_and_one_of_a_unit_that_unit() external {
        _stake(10_000);
        _expectRefused(_offer(0), IReputation.NothingToSlash.selector);
        _contradict(_offer(1));
        _assertStake(9999, 0);
        _expectRefused(_offer(1), IReputation.AlreadyPunished.selector);
    }

    /// @dev In one transaction: lock all but one unit for an award of one's own, accuse oneself, and be free again.
    function test_who_locks_its_stake_and_accuses_itself_still_owes_the_bond() external {
        _stake(10_000);
        Offer memory offer = _offer(4000);
        Award memory sham = _liable(PRICE, FEE);
        sham.liability = 9999;
        _lock(sham);
        _contradict(offer);
        _assertStake(9999, 9999);
        _accept(sham);
        _assertStake(9999, 0);
        _contradict(offer);
        _assertStake(6000, 0);
    }

    function test_a_bond_that_is_taken_piece_by_piece_has_one_bounty() external {
        _stake(10_000);
        Offer memory offer = _offer(4000);
        uint256 before = token.balanceOf(address(this));
        uint128[3] memory pieces = [uint128(1001), 1500, 1499];
        uint128 taken = 0;
        for (uint256 i = 0; i < 3; ++i) {
            Award memory sham = _liable(PRICE, FEE);
            sham.slot = uint16(i);
            sham.liability = 10_000 - taken - pieces[i];
            if (i < 2) _lock(sham);
            _contradict(offer);
            taken += pieces[i];
            _assertStake(10_000 - taken, i < 2 ? sham.liability : 0);
            _assertEq(
                token.balanceOf(address(this)) - before, taken / 2 < MAX_BOUNTY ? taken / 2 : MAX_BOUNTY, "bounty"
            );
            if (i < 2) _accept(sham);
        }
        _assertEq(token.balanceOf(POOL), 4000 - MAX_BOUNTY, "pool");
        _expectRefused(offer, IReputation.AlreadyPunished.selector);
    }

    // Scores

    function test_scores_are_anchored_once_an_epoch_and_proved() external {
        bytes32 leaf = hashes.scoreLeaf(PROVIDER, 9000);
        bytes32 other = keccak256("another leaf");
        bytes32 root = leaf < other ? keccak256(abi.encode(leaf, other)) : keccak256(abi.encode(other, leaf));
        vm.prank(REQUESTER);
        reputation.anchor(7, root);
        bytes32[] memory proof = new bytes32[](1);
        proof[0] = other;
        require(reputation.isScore(REQUESTER, 7, PROVIDER, 9000, proof));
        require(!reputation.isScore(REQUESTER, 7, PROVIDER, 9001, proof));
        require(!reputation.isScore(PROVIDER, 7, PROVIDER, 9000, proof));
        require(!reputation.isScore(REQUESTER, 8, PROVIDER, 9000, proof));
        _expectRevert(abi.encodeCall(reputation.anchor, (7, root)), REQUESTER, IReputation.EpochOutOfOrder.selector);
        vm.prank(PROVIDER);
        reputation.anchor(1, root);
        _assertEq(reputation.epochOf(REQUESTER), 7, "epoch");
    }

    /// @dev The requester's last acceptance, which frees the lock.
    function _accept(Award memory award) private {
        (Acceptance memory acceptance, bytes memory by) = _acceptance(award, 3, PRICE);
        reputation.freeAccepted(award, acceptance, by);
    }

    function _contradict(Offer memory offer) private {
        (Commitment memory one, bytes memory by) = _commit(offer, "one");
        (Commitment memory other, bytes memory otherBy) = _commit(offer, "other");
        reputation.punishCommitments(offer, one, by, other, otherBy);
    }

    function _expectRefused(Offer memory offer, bytes4 reason) private {
        (Commitment memory one, bytes memory by) = _commit(offer, "one");
        (Commitment memory other, bytes memory otherBy) = _commit(offer, "other");
        vm.expectPartialRevert(reason);
        reputation.punishCommitments(offer, one, by, other, otherBy);
    }

    function _expectNoContradiction(
        Offer memory offer,
        Commitment memory one,
        bytes memory by,
        Commitment memory other,
        bytes memory otherBy
    ) private {
        vm.expectPartialRevert(IReputation.NoContradiction.selector);
        reputation.punishCommitments(offer, one, by, other, otherBy);
    }
}
