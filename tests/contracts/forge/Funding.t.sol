// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IEscrow} from "../../../contracts/interfaces/IEscrow.sol";
import {IPaymentChannel} from "../../../contracts/interfaces/IPaymentChannel.sol";
import {ITreasury} from "../../../contracts/interfaces/ITreasury.sol";
import {Award, ChannelKey, Voucher} from "../../../contracts/interfaces/MarketTypes.sol";
import {AuthorizedToken, ContractWallet} from "../../../contracts/mocks/Funders.sol";
import {Fixture} from "./Fixture.sol";

/// @dev Money that comes by permit, by authorization, and from contracts. docs/spec/contracts.md K20, K21.
contract FundingTest is Fixture {
    uint256 private constant FUNDER_KEY = 0xF00D;

    address private immutable FUNDER = vm.addr(FUNDER_KEY);
    AuthorizedToken private _authorized;

    function setUp() public override {
        super.setUp();
        _authorized = new AuthorizedToken();
        token = _authorized;
        token.mint(REQUESTER, 1e12);
        token.mint(FUNDER, 1e12);
    }

    // ---------------------------------------------------------------------------------------------- permit

    function test_a_permit_and_what_needs_it_are_one_transaction() external {
        bytes[] memory calls = new bytes[](3);
        calls[0] = _permitCall(REQUESTER_KEY, address(channels), 3000);
        calls[1] = abi.encodeCall(IPaymentChannel.open, (REQUESTER, PROVIDER, address(token), 1000));
        calls[2] = abi.encodeCall(IPaymentChannel.open, (REQUESTER, ARBITER, address(token), 2000));
        vm.prank(REQUESTER);
        channels.multicall(calls);
        _assertEq(token.balanceOf(address(channels)), 3000, "deposited");
        _assertEq(channels.stateOf(channels.channelId(_key(1))).deposit, 1000, "first channel");
    }

    function test_a_permit_that_somebody_sent_first_does_not_stop_the_call() external {
        Award memory award = _award(1000, 5);
        bytes[] memory calls = new bytes[](2);
        calls[0] = _permitCall(REQUESTER_KEY, address(escrow), 1005);
        calls[1] = abi.encodeCall(escrow.fundMany, (bytes.concat(bytes20(address(token)), _packFund(award))));
        vm.prank(REQUESTER);
        (bool first,) = address(escrow).call(calls[0]); // whoever sends it: the token has used it up
        require(first && token.nonces(REQUESTER) == 1, "the permit was not used");
        vm.prank(REQUESTER);
        escrow.multicall(calls);
        _assertEq(escrow.recordOf(_id(award)).amount, 1005, "locked");
    }

    function test_a_bad_permit_gives_nothing_and_the_rest_fails_for_want_of_an_allowance() external {
        bytes[] memory calls = new bytes[](2);
        calls[0] = abi.encodeCall(ITreasury.permit, (address(token), 1000, block.timestamp, 27, "r", "s"));
        calls[1] = abi.encodeCall(IPaymentChannel.open, (REQUESTER, PROVIDER, address(token), 1000));
        vm.prank(REQUESTER);
        (bool success,) = address(channels).call(abi.encodeCall(channels.multicall, (calls)));
        require(!success, "opened without an allowance");
        vm.prank(REQUESTER);
        channels.permit(address(token), 1000, block.timestamp, 27, "r", "s"); // alone: harmless
        _assertEq(token.allowance(REQUESTER, address(channels)), 0, "allowance");
    }

    /// @dev The caller of `permit` is the owner of the money: another's permit is worth nothing in our mouth.
    function test_nobody_spends_by_the_permit_of_another() external {
        bytes[] memory calls = new bytes[](2);
        calls[0] = _permitCall(REQUESTER_KEY, address(channels), 1000);
        calls[1] = abi.encodeCall(IPaymentChannel.open, (PROVIDER, PROVIDER, address(token), 1000));
        vm.prank(PROVIDER);
        (bool success,) = address(channels).call(abi.encodeCall(channels.multicall, (calls)));
        require(!success, "spent another's money");
    }

    function test_a_pause_holds_inside_a_multicall() external {
        vm.prank(GUARDIAN);
        channels.pause();
        bytes[] memory calls = new bytes[](1);
        calls[0] = abi.encodeCall(IPaymentChannel.open, (REQUESTER, PROVIDER, address(token), 1000));
        _refused(
            address(channels),
            REQUESTER,
            abi.encodeCall(channels.multicall, (calls)),
            ITreasury.NewBusinessPaused.selector
        );
    }

    function test_a_pause_holds_for_awards_one_by_one_and_in_batches() external {
        vm.prank(GUARDIAN);
        escrow.pause();
        Award memory award = _award(1000, 5);
        bytes memory batch = bytes.concat(bytes20(address(token)), _packFund(award));
        bytes4 paused = ITreasury.NewBusinessPaused.selector;
        _refused(address(escrow), REQUESTER, abi.encodeCall(escrow.fund, (award, "")), paused);
        _refused(address(escrow), REQUESTER, abi.encodeCall(escrow.fundMany, (batch)), paused);
    }

    // ---------------------------------------------------------------------------------------------- authorization

    function test_an_authorization_funds_one_award_whoever_relays_it() external {
        Award memory award = _award(1000, 5);
        bytes32 id = _id(award);
        ITreasury.Authorization memory authorization = _authorize(FUNDER_KEY, address(escrow), 1005, id);
        bytes memory consent = _sign(REQUESTER_KEY, id);
        vm.prank(GUARDIAN);
        _assertSame(escrow.fundByAuthorization(award, consent, FUNDER, authorization), id);
        _assertEq(token.balanceOf(FUNDER), 1e12 - 1005, "paid by the funder");
        vm.warp(uint256(award.deliverBy) + award.pace + 1);
        escrow.refund(award);
        _assertEq(token.balanceOf(REQUESTER), 1e12 + 1005, "back to the requester");
    }

    function test_an_authorization_for_one_award_funds_no_other() external {
        Award memory award = _award(1000, 5);
        Award memory other = _award(1000, 5);
        other.slot = 1;
        ITreasury.Authorization memory authorization = _authorize(FUNDER_KEY, address(escrow), 1005, _id(award));
        bytes memory data = abi.encodeCall(
            escrow.fundByAuthorization, (other, _sign(REQUESTER_KEY, _id(other)), FUNDER, authorization)
        );
        _refused(address(escrow), GUARDIAN, data, AuthorizedToken.AuthorizationInvalid.selector);
        authorization = _authorize(FUNDER_KEY, address(escrow), 1004, _id(award));
        data = abi.encodeCall(
            escrow.fundByAuthorization, (award, _sign(REQUESTER_KEY, _id(award)), FUNDER, authorization)
        );
        _refused(address(escrow), GUARDIAN, data, AuthorizedToken.AuthorizationInvalid.selector);
    }

    /// @dev Anybody can write a token that says yes. It must not record awards in the name of others.
    function test_an_authorization_is_not_the_requesters_consent() external {
        Award memory award = _award(1000, 5);
        ITreasury.Authorization memory authorization = _authorize(REQUESTER_KEY, address(escrow), 1005, _id(award));
        bytes memory data = abi.encodeCall(escrow.fundByAuthorization, (award, "", REQUESTER, authorization));
        _refused(address(escrow), GUARDIAN, data, ITreasury.BadSignature.selector);
        award.rail = address(channels);
        data = abi.encodeCall(
            escrow.fundByAuthorization, (award, _sign(REQUESTER_KEY, _id(award)), REQUESTER, authorization)
        );
        _refused(address(escrow), GUARDIAN, data, IEscrow.NotForEscrow.selector);
    }

    function test_an_authorization_opens_one_channel_for_the_caller() external {
        bytes32 id = channels.channelId(_key(1));
        ITreasury.Authorization memory authorization = _authorize(FUNDER_KEY, address(channels), 1000, id);
        bytes memory data = abi.encodeCall(
            IPaymentChannel.openByAuthorization, (REQUESTER, PROVIDER, address(token), 1000, FUNDER, authorization)
        );
        _refused(address(channels), ARBITER, data, AuthorizedToken.AuthorizationInvalid.selector);
        vm.prank(REQUESTER);
        (bool success,) = address(channels).call(data);
        require(success, "refused");
        _assertEq(channels.stateOf(id).deposit, 1000, "deposited");
        // The same again would be the second channel, which nobody authorized.
        _refused(address(channels), REQUESTER, data, AuthorizedToken.AuthorizationInvalid.selector);
        vm.prank(REQUESTER);
        channels.startExit(_key(1));
        vm.warp(block.timestamp + CHALLENGE + 1);
        channels.withdraw(_key(1));
        _assertEq(token.balanceOf(REQUESTER), 1e12 + 1000, "back to the payer, not to the funder");
    }

    function test_authorized_money_that_does_not_arrive_in_full_is_refused() external {
        _authorized.setShortfall(1);
        bytes32 id = channels.channelId(_key(1));
        ITreasury.Authorization memory authorization = _authorize(FUNDER_KEY, address(channels), 1000, id);
        bytes memory data = abi.encodeCall(
            IPaymentChannel.openByAuthorization, (REQUESTER, PROVIDER, address(token), 1000, FUNDER, authorization)
        );
        _refused(address(channels), REQUESTER, data, ITreasury.InexactDeposit.selector);
    }

    function test_a_pause_holds_for_authorizations() external {
        vm.prank(GUARDIAN);
        channels.pause();
        vm.prank(GUARDIAN);
        escrow.pause();
        ITreasury.Authorization memory none;
        bytes memory data =
            abi.encodeCall(IPaymentChannel.openByAuthorization, (REQUESTER, PROVIDER, address(token), 1, FUNDER, none));
        _refused(address(channels), REQUESTER, data, ITreasury.NewBusinessPaused.selector);
        data = abi.encodeCall(escrow.fundByAuthorization, (_award(1, 0), "", FUNDER, none));
        _refused(address(escrow), REQUESTER, data, ITreasury.NewBusinessPaused.selector);
    }

    // ---------------------------------------------------------------------------------------------- terms

    /// @dev `EscrowLedger` joins the terms in one number: each must show in it by itself.
    function test_each_term_is_good_up_to_its_bound_and_not_beyond() external {
        for (uint256 term = 0; term < 8; ++term) {
            Award memory award = _bounded(term, 1);
            _refused(address(escrow), REQUESTER, abi.encodeCall(escrow.fund, (award, "")), IEscrow.BadTerms.selector);
            award = _bounded(term, 0);
            token.mint(REQUESTER, uint256(award.price) + award.disputeFee);
            vm.prank(REQUESTER);
            token.approve(address(escrow), type(uint256).max);
            vm.prank(REQUESTER);
            escrow.fund(award, "");
            _assertEq(escrow.recordOf(_id(award)).amount, uint256(award.price) + award.disputeFee, "locked");
        }
    }

    /// @dev An award one of whose terms is at its bound, or `beyond` it.
    function _bounded(uint256 term, uint8 beyond) private view returns (Award memory award) {
        award = _award(1000, 5);
        award.slot = uint16(term);
        if (term == 0) award.provider = beyond == 0 ? address(1) : address(0);
        else if (term == 1) award.price = 1 - beyond;
        else if (term == 2) award.parts = 1 - beyond;
        else if (term == 3) award.splitBps = 10_000 + beyond;
        else if (term == 4) award.deliverBy = award.startBy + 1 - beyond;
        else if (term == 5) award.pace = 1 - beyond;
        else if (term == 6) award.price = type(uint96).max - 5 + beyond;
        else (award.firstPart, award.parts) = (type(uint32).max, 1 + beyond);
    }

    // ---------------------------------------------------------------------------------------------- contracts

    function test_a_contract_funds_an_award_with_the_requesters_signature_and_gets_nothing_back() external {
        ContractWallet wallet = _wallet(address(escrow));
        Award memory award = _award(1000, 5);
        wallet.execute(address(escrow), abi.encodeCall(escrow.fund, (award, _sign(REQUESTER_KEY, _id(award)))));
        vm.warp(uint256(award.deliverBy) + award.pace + 1);
        escrow.refund(award);
        _assertEq(token.balanceOf(REQUESTER), 1e12 + 1005, "the requester's");
        _assertEq(token.balanceOf(address(wallet)), 1e12 - 1005, "the funder's");
    }

    function test_a_contract_as_payer_names_a_signer_and_leaves_by_its_own_call() external {
        ContractWallet wallet = _wallet(address(channels));
        wallet.execute(
            address(channels), abi.encodeCall(IPaymentChannel.open, (REQUESTER, PROVIDER, address(token), 1000))
        );
        ChannelKey memory key = ChannelKey(address(wallet), REQUESTER, PROVIDER, address(token), 1);
        Voucher memory voucher = Voucher(channels.channelId(key), 1, 400, 0, 0);
        channels.claim(key, voucher, _signVoucher(REQUESTER_KEY, voucher));
        bytes memory exit = abi.encodeCall(channels.startExit, (key));
        _refused(address(channels), REQUESTER, exit, IPaymentChannel.NotPayer.selector); // the signer isn't the payer
        wallet.execute(address(channels), exit);
        vm.warp(block.timestamp + CHALLENGE + 1);
        channels.withdraw(key);
        _assertEq(token.balanceOf(address(wallet)), 1e12 - 400, "back to the contract");
    }

    /// @dev C4: a wallet that says yes to every signature (ERC-1271) is asked by nobody.
    function test_a_contract_never_signs() external {
        ContractWallet wallet = _wallet(address(escrow));
        Award memory award = _award(1000, 5);
        award.requester = address(wallet);
        bytes memory data = abi.encodeCall(escrow.fund, (award, new bytes(65)));
        _refused(address(escrow), GUARDIAN, data, ITreasury.BadSignature.selector);
        ChannelKey memory key = ChannelKey(REQUESTER, address(wallet), PROVIDER, address(token), 1);
        vm.startPrank(REQUESTER);
        token.approve(address(channels), 1000);
        channels.open(address(wallet), PROVIDER, address(token), 1000);
        vm.stopPrank();
        Voucher memory voucher = Voucher(channels.channelId(key), 1, 400, 0, 0);
        data = abi.encodeCall(channels.claim, (key, voucher, new bytes(65)));
        _refused(address(channels), PROVIDER, data, ITreasury.BadSignature.selector);
    }

    // ---------------------------------------------------------------------------------------------- helpers

    function _wallet(address spender) private returns (ContractWallet wallet) {
        wallet = new ContractWallet();
        token.mint(address(wallet), 1e12);
        wallet.execute(address(token), abi.encodeCall(token.approve, (spender, type(uint256).max)));
    }

    function _id(Award memory award) private view returns (bytes32) {
        return _marketDigest(hashes.hashAward(award));
    }

    function _assertSame(bytes32 actual, bytes32 expected) private pure {
        require(actual == expected, "another digest");
    }
}
