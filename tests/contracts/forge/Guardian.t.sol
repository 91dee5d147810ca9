// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Escrow} from "../../../contracts/Escrow.sol";
import {Guardian} from "../../../contracts/Guardian.sol";
import {PaymentChannel} from "../../../contracts/PaymentChannel.sol";
import {IGuardian} from "../../../contracts/interfaces/IGuardian.sol";
import {ITreasury} from "../../../contracts/interfaces/ITreasury.sol";
import {Fixture} from "./Fixture.sol";

/// @dev The place of the guardian: who may pause through it, and how it is handed on.
contract GuardianTest is Fixture {
    address private constant HOLDER = address(0x401DE2);
    address private constant HEIR = address(0x4E12);

    Guardian private place;
    ITreasury[] private contracts;

    function setUp() public override {
        super.setUp();
        place = new Guardian(HOLDER);
        escrow = new Escrow(1, address(place));
        channels = new PaymentChannel(address(escrow), CHALLENGE, HOLD_PERIOD, address(place));
        contracts.push(escrow);
        contracts.push(channels);
    }

    function test_the_holder_pauses_and_resumes_all_in_one_transaction() external {
        vm.prank(HOLDER);
        place.pause(contracts);
        require(escrow.paused() && channels.paused(), "paused");
        vm.prank(HOLDER);
        place.resume(contracts);
        require(!escrow.paused() && !channels.paused(), "resumed");
    }

    function test_nobody_else_does(address caller) external {
        vm.assume(caller != HOLDER && caller != address(0)); // nobody has the key of zero
        _refused(caller, abi.encodeCall(place.pause, (contracts)), IGuardian.NotHolder.selector);
        _refused(caller, abi.encodeCall(place.resume, (contracts)), IGuardian.NotHolder.selector);
        _refused(caller, abi.encodeCall(place.offer, (caller)), IGuardian.NotHolder.selector);
        _refused(caller, abi.encodeCall(place.accept, ()), IGuardian.NotOffered.selector);
        require(place.holder() == HOLDER && place.offeredTo() == address(0), "unchanged");
        require(!escrow.paused() && !channels.paused(), "not paused");
    }

    function test_the_place_is_offered_and_taken() external {
        vm.prank(HOLDER);
        place.offer(HEIR);
        require(place.holder() == HOLDER && place.offeredTo() == HEIR, "offered, not taken");
        _refused(HEIR, abi.encodeCall(place.pause, (contracts)), IGuardian.NotHolder.selector);
        _refused(HOLDER, abi.encodeCall(place.accept, ()), IGuardian.NotOffered.selector);

        vm.prank(HEIR);
        place.accept();
        require(place.holder() == HEIR && place.offeredTo() == address(0), "taken");
        _refused(HOLDER, abi.encodeCall(place.pause, (contracts)), IGuardian.NotHolder.selector);
        _refused(HEIR, abi.encodeCall(place.accept, ()), IGuardian.NotOffered.selector);
        vm.prank(HEIR);
        place.pause(contracts);
        require(escrow.paused(), "the heir pauses");
    }

    function test_an_offer_is_taken_back_or_replaced() external {
        vm.prank(HOLDER);
        place.offer(HEIR);
        vm.prank(HOLDER);
        place.offer(address(0));
        _refused(HEIR, abi.encodeCall(place.accept, ()), IGuardian.NotOffered.selector);
        vm.prank(HOLDER);
        place.offer(HEIR);
        vm.prank(HOLDER);
        place.offer(REQUESTER);
        _refused(HEIR, abi.encodeCall(place.accept, ()), IGuardian.NotOffered.selector);
    }

    function test_a_contract_of_another_guardian_lets_all_fail() external {
        contracts.push(new Escrow(1, GUARDIAN));
        _refused(HOLDER, abi.encodeCall(place.pause, (contracts)), ITreasury.NotGuardian.selector);
        require(!escrow.paused(), "none is paused");
    }

    /// @dev By a call of our own: of a deployment that forge links, a cheat code, an expected revert may stay away unnoticed.
    function test_a_place_needs_a_holder() external {
        this.deploy(address(1));
        (bool success, bytes memory answer) = address(this).call(abi.encodeCall(this.deploy, (address(0))));
        require(!success && bytes4(answer) == IGuardian.NoHolder.selector, "a place without a holder");
    }

    function deploy(address holder) external returns (Guardian) {
        return new Guardian(holder);
    }

    function _refused(address caller, bytes memory call, bytes4 selector) private {
        vm.prank(caller);
        (bool done, bytes memory answer) = address(place).call(call);
        require(!done && bytes4(answer) == selector, "refused");
    }
}
