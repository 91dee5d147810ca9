// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IEscrow} from "../../../contracts/interfaces/IEscrow.sol";
import {Acceptance, Award, ChannelKey, Voucher} from "../../../contracts/interfaces/MarketTypes.sol";
import {Fixture} from "./Fixture.sol";

/// @dev Batches through the contracts that carry them, with no field at zero: what isn't read would be missed in the digest.
contract PackedTest is Fixture {
    function test_every_field_of_a_packed_award_counts() external {
        Award memory award = _award(1000, 5);
        (award.slot, award.attempt, award.firstPart, award.parts) = (3, 2, 6, 4);
        (award.liability, award.splitBps) = (77, 4999);
        bytes32 id = _marketDigest(hashes.hashAward(award));
        bytes memory batch = bytes.concat(bytes20(address(token)), _packFund(award));
        vm.prank(REQUESTER);
        escrow.fundMany(batch);
        require(escrow.recordOf(id).state == IEscrow.State.Funded, "another award was funded");

        Acceptance memory acceptance = Acceptance({award: id, part: 7, receipt: keccak256("receipt"), due: 400});
        bytes memory signature = _sign(REQUESTER_KEY, _marketDigest(hashes.hashAcceptance(acceptance)));
        batch = bytes.concat(bytes20(address(token)), _packRelease(award, acceptance, signature));
        vm.prank(PROVIDER);
        escrow.releaseMany(batch);
        _assertEq(token.balanceOf(PROVIDER), 400, "paid");
    }

    function test_every_field_of_a_packed_voucher_counts() external {
        ChannelKey memory key = _key(1);
        key.signer = ARBITER; // not the payer
        vm.prank(REQUESTER);
        channels.open(ARBITER, PROVIDER, address(token), 1000);
        Voucher memory voucher = Voucher(channels.channelId(key), 9, 400, 30, keccak256("holds"));
        bytes memory signature = _signVoucher(ARBITER_KEY, voucher);
        channels.claimMany(PROVIDER, address(token), _packClaim(key, voucher, signature));
        _assertEq(token.balanceOf(PROVIDER), 400, "paid");
    }
}
