// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IEscrow} from "../../../contracts/interfaces/IEscrow.sol";
import {ITreasury} from "../../../contracts/interfaces/ITreasury.sol";
import {Acceptance, Award, Receipt, Settlement, Start, Verdict} from "../../../contracts/interfaces/MarketTypes.sol";
import {ContractWallet} from "../../../contracts/mocks/Funders.sol";
import {Fixture} from "./Fixture.sol";

/// @dev The arbiter's hand for that of one party, where its verdict could come, and nowhere else. docs/spec/contracts.md E12.
contract TwoOfThreeTest is Fixture {
    uint128 private constant PRICE = 1000;
    uint128 private constant FEE = 50;
    uint128 private constant CLAIMED = 600;

    function test_arbiter_and_either_party_end_an_open_claim_whoever_relays() external {
        for (uint16 i = 0; i < 2; ++i) {
            Award memory award = _claimedAward(i);
            uint256 provider = token.balanceOf(PROVIDER);
            uint256 requester = token.balanceOf(REQUESTER);
            _settle(award, _agreed(award, 200), i == 0 ? REQUESTER : PROVIDER);
            _assertEq(uint256(_stateOf(award)), uint256(IEscrow.State.Settled), "state");
            _assertEq(token.balanceOf(PROVIDER) - provider, 200, "to the provider");
            _assertEq(token.balanceOf(REQUESTER) - requester, PRICE + FEE - 200, "back");
            _assertEq(token.balanceOf(ARBITER), 0, "nobody asked the arbiter to work");
        }
    }

    function test_in_a_dispute_an_arbiter_that_is_a_plain_key_has_its_fee() external {
        Award memory award = _claimedAward(0);
        vm.prank(REQUESTER);
        escrow.dispute(award);
        _settle(award, _agreed(award, CLAIMED), PROVIDER);
        _assertEq(token.balanceOf(PROVIDER), CLAIMED, "to the provider");
        _assertEq(token.balanceOf(ARBITER), FEE, "fee");
        _assertEq(token.balanceOf(address(escrow)), 0, "left");
    }

    /// @dev Before a claim the provider may be at work, or hold an acceptance that it hasn't shown.
    function test_without_a_claim_the_arbiters_hand_counts_for_nothing() external {
        Award memory award = _funded(0);
        _refuseBoth(award, 0, IEscrow.WrongState.selector); // Funded
        _prove(award);
        _refuseBoth(award, 0, IEscrow.WrongState.selector); // Started
        Award memory recalled = _funded(1);
        vm.warp(recalled.startBy + 1);
        vm.prank(REQUESTER);
        escrow.recall(recalled);
        _refuseBoth(recalled, 0, IEscrow.WrongState.selector); // Recalled
        _refuseBoth(_award(PRICE, FEE), 0, IEscrow.WrongState.selector); // never funded
    }

    function test_after_the_last_second_for_a_dispute_or_a_verdict_it_counts_no_more() external {
        Award memory award = _claimedAward(0);
        Award memory disputed = _claimedAward(1);
        vm.prank(REQUESTER);
        escrow.dispute(disputed);
        vm.warp(block.timestamp + PACE);
        Award memory last = _claimedAward(2);
        vm.warp(block.timestamp + PACE); // the last second of `last`
        _settle(last, _agreed(last, 1), REQUESTER);
        _refuseBoth(award, 0, IEscrow.TooLate.selector);
        escrow.payClaim(award);
        _refuseBoth(award, CLAIMED, IEscrow.WrongState.selector); // closed
        vm.warp(uint256(T0) + RESOLVE_WITHIN);
        _settle(disputed, _agreed(disputed, 1), REQUESTER);
        Award memory late = _claimedAward(3);
        vm.prank(REQUESTER);
        escrow.dispute(late);
        vm.warp(block.timestamp + RESOLVE_WITHIN + 1);
        _refuseBoth(late, 0, IEscrow.TooLate.selector);
    }

    function test_two_of_three_move_no_more_than_a_verdict_could() external {
        Award memory award = _claimedAward(0);
        Acceptance memory acceptance = Acceptance({award: _id(award), part: 0, receipt: 0, due: 300});
        vm.prank(REQUESTER);
        escrow.release(award, acceptance, "");
        _refuseBoth(award, 299, IEscrow.DueOutOfRange.selector); // what was accepted stays paid
        _refuseBoth(award, CLAIMED + 1, IEscrow.DueOutOfRange.selector); // no more than was claimed
        _settle(award, _agreed(award, 300), REQUESTER);
        _assertEq(token.balanceOf(PROVIDER), 300, "to the provider");
    }

    /// @dev The two signatures give the provider what dispute and verdict give it, for each amount.
    function testFuzz_two_of_three_are_dispute_and_verdict_in_one(uint128 due) external {
        Award memory one = _claimedAward(0);
        Award memory other = _claimedAward(1);
        due = due % (CLAIMED + 1);
        _settle(one, _agreed(one, due), REQUESTER);
        uint256 given = token.balanceOf(PROVIDER);
        vm.prank(REQUESTER);
        escrow.dispute(other);
        Verdict memory verdict;
        (verdict.award, verdict.due) = (_id(other), due);
        vm.prank(ARBITER);
        escrow.applyVerdict(other, verdict, "");
        _assertEq(token.balanceOf(PROVIDER) - given, given, "by verdict");
    }

    function test_two_hands_are_needed_and_no_stranger_is_one_of_three() external {
        Award memory award = _claimedAward(0);
        Settlement memory agreed = _agreed(award, 100);
        bytes32 digest = _marketDigest(hashes.hashSettlement(agreed));
        bytes memory byRequester = _sign(REQUESTER_KEY, digest);
        bytes memory byArbiter = _sign(ARBITER_KEY, digest);
        bytes4 bad = ITreasury.BadSignature.selector;
        _refuse(award, agreed, REQUESTER, byRequester, byRequester, bad);
        _refuse(award, agreed, REQUESTER, byArbiter, byArbiter, bad);
        _refuse(award, agreed, PROVIDER, byRequester, byArbiter, bad);
        _refuse(award, agreed, REQUESTER, byRequester, _sign(0xBAD, digest), bad);
        _refuse(award, agreed, ARBITER, byArbiter, byArbiter, IEscrow.NotParty.selector);
        _refuse(award, agreed, vm.addr(0xBAD), _sign(0xBAD, digest), byArbiter, IEscrow.NotParty.selector);
        agreed.due = 101; // another object than was signed
        _refuse(award, agreed, REQUESTER, byRequester, byArbiter, bad);
    }

    function test_an_agreement_dies_at_its_hour_and_belongs_to_one_award() external {
        Award memory award = _claimedAward(0);
        Settlement memory agreed = _agreed(award, 100);
        agreed.settleBy = uint64(block.timestamp - 1);
        _refuseSigned(award, agreed, IEscrow.TooLate.selector);
        _refuseSigned(_claimedAward(1), _agreed(award, 100), IEscrow.WrongAward.selector);
    }

    function test_without_an_arbiter_there_are_only_two() external {
        Award memory award = _award(PRICE, FEE);
        award.arbiter = address(0);
        _claim(award);
        Settlement memory agreed = _agreed(award, 100);
        bytes memory byRequester = _sign(REQUESTER_KEY, _marketDigest(hashes.hashSettlement(agreed)));
        _refuse(award, agreed, REQUESTER, byRequester, new bytes(65), ITreasury.BadSignature.selector);
    }

    function test_an_arbiter_contract_consents_by_calling_and_has_no_fee() external {
        ContractWallet court = new ContractWallet();
        Award memory award = _award(PRICE, FEE);
        award.arbiter = address(court);
        _claim(award);
        vm.prank(REQUESTER);
        escrow.dispute(award);
        Settlement memory agreed = _agreed(award, 100);
        bytes memory byProvider = _sign(PROVIDER_KEY, _marketDigest(hashes.hashSettlement(agreed)));
        bytes memory data = abi.encodeCall(escrow.settleWithArbiter, (award, agreed, PROVIDER, byProvider, ""));
        _refused(address(escrow), GUARDIAN, data, ITreasury.BadSignature.selector);
        court.execute(address(escrow), data);
        _assertEq(token.balanceOf(PROVIDER), 100, "to the provider");
        _assertEq(token.balanceOf(address(court)), 0, "fee");
    }

    // ---------------------------------------------------------------------------------------------- helpers

    function _funded(uint16 slot) private returns (Award memory award) {
        award = _award(PRICE, FEE);
        award.slot = slot;
        vm.prank(REQUESTER);
        escrow.fund(award, "");
    }

    function _claimedAward(uint16 slot) private returns (Award memory award) {
        award = _award(PRICE, FEE);
        award.slot = slot;
        _claim(award);
    }

    function _claim(Award memory award) private {
        vm.prank(REQUESTER);
        escrow.fund(award, "");
        (Start memory start, bytes memory startSignature) = _start(award);
        Receipt memory receipt;
        (receipt.award, receipt.due) = (_id(award), CLAIMED);
        bytes memory signature = _sign(PROVIDER_KEY, _marketDigest(hashes.hashReceipt(receipt)));
        vm.prank(PROVIDER);
        escrow.claim(award, start, startSignature, receipt, signature);
    }

    function _prove(Award memory award) private {
        (Start memory start, bytes memory signature) = _start(award);
        escrow.proveStart(award, start, signature);
    }

    function _start(Award memory award) private view returns (Start memory start, bytes memory signature) {
        start = Start({award: _id(award), startedAt: award.startBy});
        signature = _sign(PROVIDER_KEY, _marketDigest(hashes.hashStart(start)));
    }

    function _agreed(Award memory award, uint128 due) private view returns (Settlement memory) {
        return Settlement({award: _id(award), due: due, settleBy: uint64(block.timestamp)});
    }

    function _settle(Award memory award, Settlement memory agreed, address party) private {
        bytes32 digest = _marketDigest(hashes.hashSettlement(agreed));
        bytes memory byParty = _sign(party == REQUESTER ? REQUESTER_KEY : PROVIDER_KEY, digest);
        vm.prank(GUARDIAN); // anyone relays
        escrow.settleWithArbiter(award, agreed, party, byParty, _sign(ARBITER_KEY, digest));
    }

    function _refuseBoth(Award memory award, uint128 due, bytes4 reason) private {
        _refuseSigned(award, _agreed(award, due), reason);
    }

    /// @dev Refused for either party, though all three have signed.
    function _refuseSigned(Award memory award, Settlement memory agreed, bytes4 reason) private {
        bytes32 digest = _marketDigest(hashes.hashSettlement(agreed));
        bytes memory byArbiter = _sign(ARBITER_KEY, digest);
        _refuse(award, agreed, REQUESTER, _sign(REQUESTER_KEY, digest), byArbiter, reason);
        _refuse(award, agreed, PROVIDER, _sign(PROVIDER_KEY, digest), byArbiter, reason);
    }

    function _refuse(
        Award memory award,
        Settlement memory agreed,
        address party,
        bytes memory byParty,
        bytes memory byArbiter,
        bytes4 reason
    ) private {
        bytes memory data = abi.encodeCall(escrow.settleWithArbiter, (award, agreed, party, byParty, byArbiter));
        _refused(address(escrow), GUARDIAN, data, reason);
    }

    function _stateOf(Award memory award) private view returns (IEscrow.State) {
        return escrow.recordOf(_id(award)).state;
    }

    function _id(Award memory award) private view returns (bytes32) {
        return _marketDigest(hashes.hashAward(award));
    }
}
