// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Escrow} from "../../../contracts/Escrow.sol";
import {PaymentChannel} from "../../../contracts/PaymentChannel.sol";
import {ITreasury} from "../../../contracts/interfaces/ITreasury.sol";
import {Acceptance, Award, ChannelKey, Close, Voucher} from "../../../contracts/interfaces/MarketTypes.sol";
import {AuthorizedToken} from "../../../contracts/mocks/Funders.sol";
import {StructHashHarness} from "../../../contracts/mocks/StructHashHarness.sol";
import {TestToken} from "../../../contracts/mocks/TestToken.sol";
import {Vm} from "./Vm.sol";

/// @dev Contracts, parties with keys, and signed objects for the forge tests.
abstract contract Fixture {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    uint32 internal constant PACE = 60;
    uint32 internal constant RESOLVE_WITHIN = 600;
    uint32 internal constant CHALLENGE = 100;
    uint32 internal constant HOLD_PERIOD = 1000;
    uint256 internal constant REQUESTER_KEY = 0xA11CE;
    uint256 internal constant PROVIDER_KEY = 0xB0B;
    uint256 internal constant ARBITER_KEY = 0xCA5E;
    uint256 internal constant T0 = 1_800_000_000;

    address internal immutable REQUESTER = vm.addr(REQUESTER_KEY);
    address internal immutable PROVIDER = vm.addr(PROVIDER_KEY);
    address internal immutable ARBITER = vm.addr(ARBITER_KEY);
    address internal constant GUARDIAN = address(0x6A4D);

    TestToken internal token;
    Escrow internal escrow;
    PaymentChannel internal channels;
    StructHashHarness internal hashes;

    error AssertionFailed(string what, uint256 expected, uint256 actual);

    function setUp() public virtual {
        vm.warp(T0);
        token = new TestToken();
        hashes = new StructHashHarness();
        escrow = new Escrow(1, GUARDIAN);
        channels = new PaymentChannel(address(escrow), CHALLENGE, HOLD_PERIOD, GUARDIAN);
        _enrich(REQUESTER);
    }

    function _enrich(address who) internal {
        token.mint(who, 1e30);
        vm.startPrank(who);
        token.approve(address(escrow), type(uint256).max);
        token.approve(address(channels), type(uint256).max);
        vm.stopPrank();
    }

    function _assertEq(uint256 actual, uint256 expected, string memory what) internal pure {
        if (actual != expected) revert AssertionFailed(what, expected, actual);
    }

    /// @dev The call must revert with this error.
    function _refused(address target, address caller, bytes memory data, bytes4 reason) internal {
        vm.prank(caller);
        (bool success, bytes memory answer) = target.call(data);
        require(!success, "it should have reverted");
        require(bytes4(answer) == reason, "reverted with another error");
    }

    function _sign(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function _marketDigest(bytes32 structHash) internal view returns (bytes32) {
        return hashes.digest(block.chainid, address(escrow), structHash);
    }

    function _channelDigest(bytes32 structHash) internal view returns (bytes32) {
        return hashes.digest(block.chainid, address(channels), structHash);
    }

    function _signVoucher(uint256 key, Voucher memory voucher) internal view returns (bytes memory) {
        return _sign(key, _channelDigest(hashes.hashVoucher(voucher)));
    }

    function _signClose(uint256 key, Close memory agreed) internal view returns (bytes memory) {
        return _sign(key, _channelDigest(hashes.hashClose(agreed)));
    }

    /// @dev The owner's ERC-3009 authorization to `to`, for as long as this block.
    function _authorize(uint256 key, address to, uint256 amount, bytes32 nonce)
        internal
        view
        returns (ITreasury.Authorization memory authorization)
    {
        authorization.validBefore = block.timestamp + 1;
        bytes32 digest = AuthorizedToken(address(token))
            .authorizationDigest(vm.addr(key), to, amount, 0, authorization.validBefore, nonce);
        (authorization.v, authorization.r, authorization.s) = vm.sign(key, digest);
    }

    /// @dev A call of `permit` with the owner's ERC-2612 permit for `spender`.
    function _permitCall(uint256 key, address spender, uint256 amount) internal view returns (bytes memory) {
        address owner = vm.addr(key);
        bytes32 typehash =
            keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
        bytes32 structHash =
            keccak256(abi.encode(typehash, owner, spender, amount, token.nonces(owner), block.timestamp));
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(key, keccak256(abi.encodePacked("\x19\x01", token.DOMAIN_SEPARATOR(), structHash)));
        return abi.encodeCall(ITreasury.permit, (address(token), amount, block.timestamp, v, r, s));
    }

    function _key(uint64 counter) internal view returns (ChannelKey memory) {
        return
            ChannelKey({payer: REQUESTER, signer: REQUESTER, payee: PROVIDER, token: address(token), counter: counter});
    }

    /// @dev An award as batches carry it, written from docs/spec/contracts.md and not from `PackedAward`.
    function _pack(Award memory a, address party) internal pure returns (bytes memory) {
        bytes memory who = abi.encodePacked(a.offer, a.roll, a.bids, party, a.arbiter, a.slot, a.attempt);
        bytes memory what = abi.encodePacked(a.firstPart, a.parts, a.price, a.liability, a.disputeFee, a.splitBps);
        bytes memory when = abi.encodePacked(a.startBy, a.deliverBy, a.pace, a.resolveWithin, a.auditSeal);
        return bytes.concat(who, what, when);
    }

    function _packFund(Award memory award) internal pure returns (bytes memory) {
        return _pack(award, award.provider);
    }

    function _packRelease(Award memory award, Acceptance memory acceptance, bytes memory signature)
        internal
        pure
        returns (bytes memory)
    {
        bytes memory tail = abi.encodePacked(acceptance.part, acceptance.due, acceptance.receipt, signature);
        return bytes.concat(_pack(award, award.requester), tail);
    }

    /// @dev A voucher as `claimMany` takes it.
    function _packClaim(ChannelKey memory key, Voucher memory voucher, bytes memory signature)
        internal
        pure
        returns (bytes memory)
    {
        bytes memory names = abi.encodePacked(key.payer, key.signer, key.counter);
        bytes memory fields = abi.encodePacked(voucher.sequence, voucher.cumulative, voucher.held, voucher.holds);
        return bytes.concat(names, fields, signature);
    }

    function _award(uint128 price, uint128 disputeFee) internal view returns (Award memory award) {
        award.offer = keccak256("offer");
        award.roll = keccak256("roll");
        award.bids = keccak256("bids");
        award.requester = REQUESTER;
        award.provider = PROVIDER;
        award.token = address(token);
        award.rail = address(escrow);
        award.arbiter = ARBITER;
        award.parts = 4;
        award.price = price;
        award.disputeFee = disputeFee;
        award.splitBps = 5000;
        award.startBy = uint64(block.timestamp + 10);
        award.deliverBy = uint64(block.timestamp + 100);
        award.pace = PACE;
        award.resolveWithin = RESOLVE_WITHIN;
        award.auditSeal = keccak256("seal");
    }
}
