// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Reputation} from "../../../contracts/Reputation.sol";
import {IReputation} from "../../../contracts/interfaces/IReputation.sol";
import {
    Acceptance,
    Award,
    Commitment,
    Offer,
    Receipt,
    Roll,
    Start
} from "../../../contracts/interfaces/MarketTypes.sol";
import {Fixture} from "./Fixture.sol";

/// @dev The stakes beside the money, and what moves an escrow to each of its ends.
abstract contract LawFixture is Fixture {
    uint32 internal constant COOLDOWN = 5000;
    uint128 internal constant MAX_BOUNTY = 1000;
    uint128 internal constant LIABILITY = 20_000;
    address internal constant POOL = address(0x9001);
    address internal constant STRANGER = address(0x57);

    Reputation internal reputation;

    function setUp() public virtual override {
        super.setUp();
        _enrich(PROVIDER);
        _raise();
    }

    /// @dev Deploys for the `token` of now.
    function _raise() internal {
        reputation = new Reputation(address(escrow), address(token), POOL, COOLDOWN, MAX_BOUNTY, GUARDIAN);
        _allow(REQUESTER);
        _allow(PROVIDER);
    }

    function _allow(address who) internal {
        vm.prank(who);
        token.approve(address(reputation), type(uint256).max);
    }

    function _stake(uint128 amount) internal {
        vm.prank(PROVIDER);
        reputation.stake(PROVIDER, amount);
    }

    function _liable(uint128 price, uint128 fee) internal view returns (Award memory award) {
        award = _award(price, fee);
        award.liability = LIABILITY;
    }

    function _lock(Award memory award) internal returns (bytes32 id) {
        Start memory none;
        vm.prank(award.provider);
        reputation.lock(award, none, "");
        return _id(award);
    }

    function _bonus(Award memory award) internal {
        vm.prank(REQUESTER);
        reputation.depositBonus(award);
    }

    function _fund(Award memory award) internal returns (bytes32 id) {
        vm.prank(REQUESTER);
        return escrow.fund(award, "");
    }

    function _claimAll(Award memory award) internal {
        _claimUpTo(award, 3, award.price);
    }

    function _claimUpTo(Award memory award, uint32 part, uint128 due) internal {
        bytes32 id = _id(award);
        Start memory start = Start({award: id, startedAt: award.startBy});
        Receipt memory receipt;
        receipt.award = id;
        receipt.part = part;
        receipt.due = due;
        bytes memory startSignature = _sign(PROVIDER_KEY, _marketDigest(hashes.hashStart(start)));
        bytes memory signature = _sign(PROVIDER_KEY, _marketDigest(hashes.hashReceipt(receipt)));
        vm.prank(PROVIDER);
        escrow.claim(award, start, startSignature, receipt, signature);
    }

    function _dispute(Award memory award) internal {
        vm.prank(REQUESTER);
        escrow.dispute(award);
    }

    function _acceptance(Award memory award, uint32 part, uint128 due)
        internal
        view
        returns (Acceptance memory acceptance, bytes memory signature)
    {
        acceptance = Acceptance({award: _id(award), part: part, receipt: 0, due: due});
        signature = _sign(REQUESTER_KEY, _marketDigest(hashes.hashAcceptance(acceptance)));
    }

    function _offer(uint128 bond) internal view returns (Offer memory offer) {
        offer.requester = REQUESTER;
        offer.token = address(token);
        offer.bond = bond;
    }

    function _offerId(Offer memory offer) internal view returns (bytes32) {
        return _marketDigest(hashes.hashOffer(offer));
    }

    function _commit(Offer memory offer, bytes32 seal) internal view returns (Commitment memory made, bytes memory by) {
        made = Commitment({offer: _offerId(offer), bidder: PROVIDER, seal: seal});
        by = _sign(PROVIDER_KEY, _marketDigest(hashes.hashCommitment(made)));
    }

    function _roll(Offer memory offer, bytes32 root, uint16 count)
        internal
        view
        returns (Roll memory made, bytes memory by)
    {
        made = Roll({offer: _offerId(offer), root: root, count: count});
        by = _sign(REQUESTER_KEY, _marketDigest(hashes.hashRoll(made)));
    }

    function _id(Award memory award) internal view returns (bytes32) {
        return _marketDigest(hashes.hashAward(award));
    }

    /// @dev The last second of the last dispute of an award.
    function _lockedUntil(Award memory award) internal pure returns (uint256) {
        return uint256(award.deliverBy) + 2 * uint256(award.pace) + award.resolveWithin;
    }

    function _expectRevert(bytes memory data, address caller, bytes4 reason) internal {
        vm.prank(caller);
        (bool success, bytes memory answer) = address(reputation).call(data);
        require(!success, "it should have reverted");
        require(bytes4(answer) == reason, "reverted with another error");
    }

    function _assertStake(uint128 stake, uint128 locked) internal view {
        IReputation.Account memory account = reputation.accountOf(PROVIDER);
        _assertEq(account.stake, stake, "stake");
        _assertEq(account.locked, locked, "locked");
    }
}
