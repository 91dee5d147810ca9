// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IEscrow} from "../../../contracts/interfaces/IEscrow.sol";
import {ITreasury} from "../../../contracts/interfaces/ITreasury.sol";
import {Acceptance, Award} from "../../../contracts/interfaces/MarketTypes.sol";
import {PackedAward} from "../../../contracts/libraries/PackedAward.sol";
import {StructHash} from "../../../contracts/libraries/StructHash.sol";
import {Fixture} from "./Fixture.sol";

/// @dev Many awards in one call: funded all or none, released as far as nobody was faster. docs/spec/contracts.md E12, E13.
contract EscrowBatchTest is Fixture {
    event ReleaseSkipped(bytes32 indexed award, bytes4 reason);

    /// @dev The packed form is the award, whatever its fields: read back and hashed, it is what the ABI's form hashes to.
    function testFuzz_a_packed_award_is_the_award(Award calldata award, bool byRequester) external view {
        Award memory asked = award;
        (asked.rail, asked.channel) = (address(this), 0);
        bytes memory packed = _pack(asked, byRequester ? asked.provider : asked.requester);
        _assertEq(packed.length, PackedAward.SIZE, "size");
        bytes32 structHash = this.readPacked(packed, asked.token, byRequester, asked);
        require(structHash == keccak256(abi.encode(StructHash.AWARD_TYPEHASH, asked)), "another award");
    }

    function readPacked(bytes calldata packed, address token_, bool byRequester, Award calldata asked)
        external
        view
        returns (bytes32)
    {
        uint256 place;
        assembly {
            place := packed.offset
        }
        Award memory award = PackedAward.room()[0];
        award.token = token_;
        if (byRequester) award.requester = asked.requester;
        else award.provider = asked.provider;
        return PackedAward.read(award, place, byRequester ? PackedAward.PROVIDER : PackedAward.REQUESTER);
    }

    function test_many_awards_are_funded_with_one_transfer() external {
        Award[] memory awards = _awards(3);
        _fundMany(awards);
        for (uint256 i = 0; i < 3; ++i) {
            IEscrow.Record memory record = escrow.recordOf(_id(awards[i]));
            _assertEq(uint256(record.state), uint256(IEscrow.State.Funded), "state");
            _assertEq(record.amount, 1000 + 10 * i + 5, "amount");
        }
        _assertEq(token.balanceOf(address(escrow)), 3045, "locked");
    }

    function test_a_batch_that_has_a_bad_award_funds_none() external {
        Award[] memory awards = _awards(3);
        awards[2].pace = 0;
        _refuseFunding(_header(_packed(awards)), IEscrow.BadTerms.selector);
        awards = _awards(3);
        awards[1] = awards[0];
        _refuseFunding(_header(_packed(awards)), IEscrow.WrongState.selector);
        awards = _awards(1);
        vm.warp(awards[0].startBy + 1);
        _refuseFunding(_header(_packed(awards)), IEscrow.TooLate.selector);
        _assertEq(token.balanceOf(address(escrow)), 0, "locked");
    }

    /// @dev Who calls is who wants: the packed form has no requester, so nobody's money can be asked for but the caller's own.
    function test_an_award_funded_by_another_is_another_award() external {
        Award[] memory awards = _awards(1);
        _enrich(PROVIDER);
        bytes memory batch = _header(_packed(awards));
        vm.prank(PROVIDER);
        escrow.fundMany(batch);
        _assertEq(uint256(escrow.recordOf(_id(awards[0])).state), 0, "the requester's award");
        awards[0].requester = PROVIDER;
        _assertEq(escrow.recordOf(_id(awards[0])).amount, 1005, "the caller's own");
    }

    function test_a_batch_of_a_wrong_length_is_refused() external {
        bytes memory good = _header(_packed(_awards(2)));
        for (uint256 length = 0; length < good.length; length += 100) {
            bytes memory bad = new bytes(length);
            for (uint256 i = 0; i < length; ++i) {
                bad[i] = good[i];
            }
            _refuseFunding(bad, ITreasury.BadBatch.selector);
            _refuse(PROVIDER, abi.encodeCall(escrow.releaseMany, (bad)), ITreasury.BadBatch.selector);
        }
        bytes memory header = new bytes(20);
        _refuseFunding(header, ITreasury.BadBatch.selector);
        _refuseFunding(bytes.concat(good, "x"), ITreasury.BadBatch.selector);
    }

    function test_a_paused_escrow_takes_no_batch_and_releases_one() external {
        Award[] memory awards = _awards(2);
        _fundMany(awards);
        vm.prank(GUARDIAN);
        escrow.pause();
        _refuseFunding(_header(_packed(_awards(1))), ITreasury.NewBusinessPaused.selector);
        _releaseMany(bytes.concat(_item(awards[0], 3, 1000), _item(awards[1], 3, 1010)));
        _assertEq(token.balanceOf(PROVIDER), 2010, "released");
    }

    function test_many_acceptances_are_released_with_one_transfer_and_the_rests_go_back() external {
        Award[] memory awards = _awards(3);
        _fundMany(awards);
        uint256 before = token.balanceOf(REQUESTER);
        // In full, in part, and the last part for less than the price: the provider calls, so it closes.
        _releaseMany(bytes.concat(_item(awards[0], 3, 1000), _item(awards[1], 1, 400), _item(awards[2], 3, 7)));
        _assertEq(token.balanceOf(PROVIDER), 1407, "to the provider");
        _assertEq(token.balanceOf(REQUESTER) - before, 5 + (1025 - 7), "back");
        _assertEq(uint256(escrow.recordOf(_id(awards[0])).state), uint256(IEscrow.State.Accepted), "in full");
        _assertEq(uint256(escrow.recordOf(_id(awards[1])).state), uint256(IEscrow.State.Started), "in part");
        _assertEq(uint256(escrow.recordOf(_id(awards[2])).state), uint256(IEscrow.State.Accepted), "for less");
        _assertEq(token.balanceOf(address(escrow)), 615, "left for the second");
    }

    /// @dev A requester that releases one of the batch itself, just before, must not sink the others.
    function test_what_somebody_else_was_faster_with_is_skipped_and_reported() external {
        Award[] memory awards = _awards(4);
        _fundMany(awards);
        Acceptance memory first = _acceptance(awards[0], 3, 1000);
        Acceptance memory second = _acceptance(awards[1], 1, 400);
        vm.startPrank(REQUESTER);
        escrow.release(awards[0], first, "");
        escrow.release(awards[1], second, "");
        vm.stopPrank();
        bytes memory batch = bytes.concat(_item(awards[0], 3, 1000), _item(awards[1], 1, 400));
        Award[] memory more = _awards(5);
        batch = bytes.concat(batch, _item(more[4], 3, 1000), _item(awards[3], 0, 30));

        vm.expectEmit(true, false, false, true);
        emit ReleaseSkipped(_id(awards[0]), IEscrow.WrongState.selector);
        vm.expectEmit(true, false, false, true);
        emit ReleaseSkipped(_id(awards[1]), IEscrow.NothingDue.selector);
        vm.expectEmit(true, false, false, true);
        emit ReleaseSkipped(_id(more[4]), IEscrow.WrongState.selector);
        _releaseMany(batch);

        _assertEq(token.balanceOf(PROVIDER), 1430, "paid once each");
    }

    function test_what_only_the_sender_can_have_got_wrong_reverts() external {
        Award[] memory awards = _awards(2);
        _fundMany(awards);
        bytes memory good = _item(awards[0], 3, 1000);
        bytes memory forged = _packRelease(awards[1], _acceptance(awards[1], 3, 1010), new bytes(65));
        _refuseRelease(bytes.concat(good, forged), ITreasury.BadSignature.selector);
        _refuseRelease(bytes.concat(good, _item(awards[1], 4, 10)), IEscrow.PartOutOfRange.selector);
        _refuseRelease(bytes.concat(good, _item(awards[1], 3, 1011)), IEscrow.DueOutOfRange.selector);
        _assertEq(token.balanceOf(PROVIDER), 0, "paid");
    }

    function test_a_standby_award_closes_at_its_own_last_part() external {
        Award[] memory awards = _awards(1);
        (awards[0].firstPart, awards[0].parts) = (2, 2);
        _fundMany(awards);
        _refuseRelease(_item(awards[0], 1, 10), IEscrow.PartOutOfRange.selector);
        _releaseMany(_item(awards[0], 2, 10));
        _releaseMany(_item(awards[0], 3, 20));
        _assertEq(uint256(escrow.recordOf(_id(awards[0])).state), uint256(IEscrow.State.Accepted), "state");
    }

    function test_nobody_but_the_provider_takes_by_a_batch() external {
        Award[] memory awards = _awards(1);
        _fundMany(awards);
        bytes memory batch = _header(_item(awards[0], 3, 1000));
        vm.prank(ARBITER);
        escrow.releaseMany(batch); // another award, which nobody funded
        _assertEq(token.balanceOf(ARBITER), 0, "stolen");
        _assertEq(uint256(escrow.recordOf(_id(awards[0])).state), uint256(IEscrow.State.Funded), "state");
    }

    function _awards(uint256 count) private view returns (Award[] memory awards) {
        awards = new Award[](count);
        for (uint256 i = 0; i < count; ++i) {
            awards[i] = _award(uint128(1000 + 10 * i), 5);
            awards[i].slot = uint16(i);
        }
    }

    function _packed(Award[] memory awards) private pure returns (bytes memory packed) {
        for (uint256 i = 0; i < awards.length; ++i) {
            packed = bytes.concat(packed, _packFund(awards[i]));
        }
    }

    function _header(bytes memory items) private view returns (bytes memory) {
        return bytes.concat(bytes20(address(token)), items);
    }

    function _item(Award memory award, uint32 part, uint128 due) private view returns (bytes memory) {
        Acceptance memory acceptance = _acceptance(award, part, due);
        return _packRelease(award, acceptance, _sign(REQUESTER_KEY, _marketDigest(hashes.hashAcceptance(acceptance))));
    }

    function _acceptance(Award memory award, uint32 part, uint128 due) private view returns (Acceptance memory) {
        return Acceptance({award: _id(award), part: part, receipt: keccak256("receipt"), due: due});
    }

    function _id(Award memory award) private view returns (bytes32) {
        return _marketDigest(hashes.hashAward(award));
    }

    function _fundMany(Award[] memory awards) private {
        bytes memory batch = _header(_packed(awards));
        vm.prank(REQUESTER);
        escrow.fundMany(batch);
    }

    function _releaseMany(bytes memory items) private {
        bytes memory batch = _header(items);
        vm.prank(PROVIDER);
        escrow.releaseMany(batch);
    }

    function _refuseFunding(bytes memory batch, bytes4 reason) private {
        _refuse(REQUESTER, abi.encodeCall(escrow.fundMany, (batch)), reason);
    }

    function _refuseRelease(bytes memory items, bytes4 reason) private {
        _refuse(PROVIDER, abi.encodeCall(escrow.releaseMany, (_header(items))), reason);
    }

    function _refuse(address caller, bytes memory data, bytes4 reason) private {
        _refused(address(escrow), caller, data, reason);
    }
}
