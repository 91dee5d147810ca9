// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDisputeArbiter} from "../../../contracts/interfaces/IDisputeArbiter.sol";
import {Award, ChannelKey, Offer, Receipt, Voucher} from "../../../contracts/interfaces/MarketTypes.sol";
import {CourtFixture} from "./CourtFixture.sol";

/// @dev What the court's contracts do not prevent, and what it costs: docs/spec/law.md, section 4. A rule that ends one of these
/// makes its test fail, and takes its line from that page.
contract CourtLimitsTest is CourtFixture {
    IDisputeArbiter.Finding private constant UPHELD = IDisputeArbiter.Finding.Upheld;

    /// @dev Who binds all other stakes has the seats, but pays four seats' fees for each: at the greatest fee as much as the stakes are worth.
    function test_who_binds_all_other_stakes_pays_four_seats_for_each() external {
        _enlist(ARBITERS, 1);
        (, uint128 greatest) = court.feeBounds();
        _assertEq(4 * (greatest / 5), SEAT_STAKE, "four seats at the greatest fee");
        uint256 shams = 0;
        while (_isSeated()) ++shams;
        require(shams * 5 > ARBITERS * 4 - 5, "stakes were passed over that could back a seat");

        address briber = _arbiter(ARBITERS);
        token.mint(briber, 1e12);
        _approve(briber);
        vm.startPrank(briber);
        bench.enlist(ENGINE, 1, new uint32[](0));
        bench.enlist(keccak256("another engine"), 4, new uint32[](0));
        vm.stopPrank();
        vm.warp(block.timestamp + 1);
        Award memory award = _claimed(true);
        _open(award, REQUESTER);
        address[] memory committee = _drawn(award);
        uint256 bought = 0;
        for (uint256 seat = 0; seat < committee.length; ++seat) {
            if (committee[seat] == briber) ++bought;
        }
        require(bought >= 3, "no majority");
    }

    /// @dev Three parts of four are paid, the last is delivered. The requester goes to court about the first, where nothing is
    /// wrong. The provider's own case is refused, so it is the arbiters who go on to the last part (CJ11), and the hold pays it.
    function test_a_case_that_names_a_paid_part_can_decide_about_the_one_that_is_owed() external {
        _enlist(ARBITERS, 1);
        Award memory award = _claimed(false);
        vm.prank(REQUESTER);
        channels.open(REQUESTER, PROVIDER, address(token), 2 * PRICE);
        ChannelKey memory key = _key(1);
        uint128 unpaid = PRICE / 4;
        _presentHold(award, key, PRICE - unpaid, unpaid + FEE);

        (Receipt memory first, bytes memory signature) = _receiptOf(award, 0, unpaid);
        Offer memory offer = _courtOffer();
        vm.prank(REQUESTER);
        court.openOnChannel(award, offer, first, signature);
        (Receipt memory last, bytes memory bySame) = _receiptOf(award, 3, PRICE);
        bytes memory data = abi.encodeCall(court.openOnChannel, (award, offer, last, bySame));
        _refused(address(court), PROVIDER, data, IDisputeArbiter.CaseExists.selector);

        IDisputeArbiter.Vote memory vote = _vote(UPHELD, PRICE);
        _decide(award, vote);
        uint256 before = token.balanceOf(PROVIDER);
        uint256 payer = token.balanceOf(REQUESTER);
        court.enforce(award, vote, key, unpaid + FEE, new bytes32[](0));
        _assertEq(token.balanceOf(PROVIDER) - before, unpaid, "the provider has the last part's price");
        _assertEq(token.balanceOf(REQUESTER) - payer, FEE, "the opener has its bond back, out of its own hold");
    }

    /// @dev The payer paid in full by a newer voucher. The payee goes to court about it all the same, presents the older one, and the
    /// payer pays the committee. It is not paid twice (P8).
    function test_a_payee_can_have_its_payer_pay_for_a_case_about_what_was_paid() external {
        _enlist(ARBITERS, 1);
        Award memory award = _claimed(false);
        vm.prank(REQUESTER);
        channels.open(REQUESTER, PROVIDER, address(token), 2 * PRICE);
        ChannelKey memory key = _key(1);
        uint256 before = token.balanceOf(PROVIDER);
        _presentHold(award, key, 0, PRICE + FEE);
        _open(award, PROVIDER);
        _decide(award, _vote(UPHELD, PRICE));
        Voucher memory newer = Voucher(channels.channelId(key), 2, PRICE, 0, 0);
        channels.claim(key, newer, _signVoucher(REQUESTER_KEY, newer));
        court.enforce(award, _vote(UPHELD, PRICE), key, PRICE + FEE, new bytes32[](0));
        _assertEq(token.balanceOf(PROVIDER) - before, PRICE, "the price, once, and its bond");
        _assertEq(channels.stateOf(channels.channelId(key)).deposit, 2 * PRICE - FEE, "the payer's fee is gone");
    }

    // Helpers

    function _presentHold(Award memory award, ChannelKey memory key, uint128 cumulative, uint128 amount) private {
        bytes32 leaf = hashes.holdLeaf(_id(award), address(court), amount);
        Voucher memory voucher = Voucher(channels.channelId(key), 1, cumulative, amount, leaf);
        bytes memory signature = _signVoucher(REQUESTER_KEY, voucher);
        vm.prank(PROVIDER);
        channels.present(key, voucher, signature, "");
    }

    function _receiptOf(Award memory award, uint32 part, uint128 due)
        private
        view
        returns (Receipt memory receipt, bytes memory signature)
    {
        receipt.award = _id(award);
        receipt.part = part;
        receipt.due = due;
        signature = _sign(PROVIDER_KEY, _marketDigest(hashes.hashReceipt(receipt)));
    }

    function _decide(Award memory award, IDisputeArbiter.Vote memory vote) private {
        address[] memory committee = _drawn(award);
        _settle(award, committee, vote, 5);
        _close(award, committee, vote);
    }
}
