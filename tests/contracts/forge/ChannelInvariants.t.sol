// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";

import {IPaymentChannel} from "../../../contracts/interfaces/IPaymentChannel.sol";
import {ITreasury} from "../../../contracts/interfaces/ITreasury.sol";
import {Award, ChannelKey, Close, Verdict, Voucher} from "../../../contracts/interfaces/MarketTypes.sol";
import {RefusingToken} from "../../../contracts/mocks/HostileTokens.sol";
import {TestToken} from "../../../contracts/mocks/TestToken.sol";
import {Driven} from "./Driven.sol";
import {Fixture} from "./Fixture.sol";

/// @dev Drives a handful of channels through every entry point, in any order, with amounts at and around the boundaries.
/// Calls that must fail do so inside `try`, so a sequence goes on; what it did is counted, so a test can see that it
/// reached every entry.
contract ChannelHandler is Fixture {
    uint256 private constant CHANNELS = 3;

    mapping(bytes32 name => uint256) public done;
    ChannelKey[] private _keys;
    mapping(bytes32 channel => Voucher) private _lastPresented;
    mapping(bytes32 channel => Award[2]) private _awards;

    /// @dev The greatest total that the payer has signed to this payee, and how it compares with what was paid, per channel.
    mapping(bytes32 channel => uint256) public signed;

    function setUp() public override {
        super.setUp();
        token = TestToken(new RefusingToken());
        _enrich(REQUESTER);
        for (uint256 i = 0; i < CHANNELS; ++i) {
            _openOne(1000);
        }
    }

    function keys() external view returns (ChannelKey[] memory) {
        return _keys;
    }

    function world()
        external
        view
        returns (IPaymentChannel channels_, TestToken token_, address payer, address payee, address arbiter)
    {
        return (channels, token, REQUESTER, PROVIDER, ARBITER);
    }

    function openChannel(uint256 amount) external {
        if (_keys.length < 30) _openOne(uint128(amount % 2000 + 1));
    }

    function topUp(uint256 which, uint256 amount) external {
        ChannelKey memory key = _pick(which);
        vm.prank(REQUESTER);
        try channels.topUp(key, uint128(amount % 1000)) {
            _count("topUp");
        } catch {}
    }

    function claim(uint256 which, uint256 amount, bool batch) external {
        ChannelKey memory key = _pick(which);
        Voucher memory voucher = _voucher(key, 1, _around(key, amount), 0, 0);
        if (batch) {
            bytes memory item = _packClaim(key, voucher, _signVoucher(REQUESTER_KEY, voucher));
            channels.claimMany(PROVIDER, address(token), bytes.concat(item, item));
            _count("claimMany");
        } else {
            try channels.claim(key, voucher, _signVoucher(REQUESTER_KEY, voucher)) {
                _count("claim");
            } catch {}
        }
    }

    function present(uint256 which, uint256 amount, uint256 first, uint256 second) external {
        ChannelKey memory key = _pick(which);
        bytes32 id = channels.channelId(key);
        (uint128 a, uint128 b) = (uint128(first % 700), uint128(second % 700));
        Award[2] memory awards = [_award(uint128(a) + 1, 50), _award(uint128(b) + 2, 50)];
        Voucher memory voucher = _voucher(key, 0, _around(key, amount), 0, 0);
        voucher.sequence = channels.stateOf(id).sequence + uint64(first % 2);
        voucher.held = a + b + 100;
        voucher.holds = _root(awards, a, b);
        bytes memory signature = _signVoucher(REQUESTER_KEY, voucher);
        bytes memory consent = _signVoucher(PROVIDER_KEY, voucher);
        try channels.present(key, voucher, signature, consent) {
            _count("present");
            _lastPresented[id] = voucher;
            _awards[id][0] = awards[0];
            _awards[id][1] = awards[1];
        } catch {}
    }

    function startExit(uint256 which) external {
        ChannelKey memory key = _pick(which);
        vm.prank(REQUESTER);
        try channels.startExit(key) {
            _count("startExit");
        } catch {}
    }

    function withdraw(uint256 which) external {
        try channels.withdraw(_pick(which)) {
            _count("withdraw");
        } catch {}
    }

    function close(uint256 which, uint256 amount) external {
        if (amount % 4 != 0) return; // closing ends a channel's story; keep it rare
        ChannelKey memory key = _pick(which);
        Close memory agreed = Close({
            channel: channels.channelId(key), cumulative: _around(key, amount), closeBy: uint64(block.timestamp)
        });
        bytes memory payer = _signClose(REQUESTER_KEY, agreed);
        bytes memory payee = _signClose(PROVIDER_KEY, agreed);
        try channels.close(key, agreed, payer, payee) {
            _count("close");
            if (agreed.cumulative > signed[agreed.channel]) signed[agreed.channel] = agreed.cumulative;
        } catch {}
    }

    function enforce(uint256 which, bool second, uint256 due, bool requesterLost) external {
        ChannelKey memory key = _pick(which);
        bytes32 id = channels.channelId(key);
        Award memory award = _awards[id][second ? 1 : 0];
        if (award.price == 0) return;
        Verdict memory verdict;
        verdict.award = _marketDigest(hashes.hashAward(award));
        verdict.due = uint128(due % (uint256(award.price) + 2)); // one above the price must be refused
        verdict.finding = requesterLost ? 1 : 2;
        uint128 amount = award.price + award.disputeFee - (second ? 2 : 1);
        bytes32[] memory proof = _proof(_awards[id], second);
        uint256 payeeBefore = channels.stateOf(id).claimed;
        vm.prank(ARBITER);
        try channels.enforce(key, award, amount, proof, verdict, "") {
            _count("enforce");
            // What an arbiter adds is at most one hold on top of what the presented voucher or the claims gave.
            uint256 most = payeeBefore > _lastPresented[id].cumulative ? payeeBefore : _lastPresented[id].cumulative;
            if (signed[id] < most + amount) signed[id] = most + amount;
            require(verdict.due <= award.price);
        } catch {}
    }

    function wait(uint256 time) external {
        uint256[5] memory steps = [uint256(1), CHALLENGE - 1, CHALLENGE + 1, HOLD_PERIOD, HOLD_PERIOD + 1];
        vm.warp(block.timestamp + steps[time % 5]);
    }

    function refuse(uint256 who, bool refused) external {
        address[3] memory parties = [REQUESTER, PROVIDER, ARBITER];
        RefusingToken(address(token)).setRefused(parties[who % 3], refused && who % 2 == 0);
    }

    function withdrawCredit(uint256 who) external {
        address[3] memory parties = [REQUESTER, PROVIDER, ARBITER];
        vm.prank(parties[who % 3]);
        try channels.withdrawCredit(address(token), parties[who % 3]) {
            _count("withdrawCredit");
        } catch {}
    }

    function _openOne(uint128 amount) private {
        ChannelKey memory key = _key(uint64(_keys.length + 1));
        bytes memory open = abi.encodeCall(IPaymentChannel.open, (REQUESTER, PROVIDER, address(token), amount));
        if (amount % 3 == 0) {
            bytes32 id = channels.channelId(key);
            ITreasury.Authorization memory paid = _authorize(REQUESTER_KEY, address(channels), amount, id);
            vm.prank(REQUESTER);
            channels.openByAuthorization(REQUESTER, PROVIDER, address(token), amount, REQUESTER, paid);
            _count("openByAuthorization");
        } else if (amount % 3 == 1) {
            bytes[] memory calls = new bytes[](2);
            calls[0] = _permitCall(REQUESTER_KEY, address(channels), type(uint256).max);
            calls[1] = open;
            vm.prank(REQUESTER);
            channels.multicall(calls);
            _count("multicall");
        } else {
            vm.prank(REQUESTER);
            (bool success,) = address(channels).call(open);
            require(success, "not opened");
            _count("open");
        }
        _keys.push(key);
    }

    function _voucher(ChannelKey memory key, uint64 sequence, uint128 cumulative, uint128 held, bytes32 holds)
        private
        returns (Voucher memory)
    {
        bytes32 id = channels.channelId(key);
        if (cumulative > signed[id]) signed[id] = cumulative;
        return Voucher({channel: id, sequence: sequence, cumulative: cumulative, held: held, holds: holds});
    }

    /// @dev Amounts where off-by-one errors live: around what is claimed and what is deposited; now and then an absurd one.
    function _around(ChannelKey memory key, uint256 pick) private view returns (uint128) {
        IPaymentChannel.ChannelState memory state = channels.stateOf(channels.channelId(key));
        uint256 spread = pick % 3;
        uint256 base = pick % 5 == 0 ? state.claimed : pick % 5 == 1 ? state.deposit : pick % 5 == 2 ? state.base : pick;
        if (pick % 101 == 7) return type(uint128).max;
        base = base % 3000 + spread;
        return uint128(base == 0 ? 0 : base - 1);
    }

    function _leaf(Award memory award, uint128 amount) private view returns (bytes32) {
        return hashes.holdLeaf(_marketDigest(hashes.hashAward(award)), ARBITER, amount);
    }

    function _root(Award[2] memory awards, uint128 a, uint128 b) private view returns (bytes32) {
        bytes32 left = _leaf(awards[0], a + 50);
        bytes32 right = _leaf(awards[1], b + 50);
        return MerkleProof.processProof(_single(right), left);
    }

    function _proof(Award[2] storage awards, bool second) private view returns (bytes32[] memory) {
        Award memory other = second ? awards[0] : awards[1];
        return _single(_leaf(other, other.price + other.disputeFee - (second ? 1 : 2)));
    }

    function _single(bytes32 value) private pure returns (bytes32[] memory list) {
        list = new bytes32[](1);
        list[0] = value;
    }

    function _pick(uint256 which) private view returns (ChannelKey memory) {
        // The newest three: older ones are closed by now, most likely.
        return _keys[_keys.length - 1 - which % CHANNELS];
    }

    function _count(bytes32 name) private {
        ++done[name];
    }
}

contract ChannelInvariants is Driven {
    ChannelHandler private _handler;

    function setUp() public {
        _handler = new ChannelHandler();
        _handler.setUp();
    }

    function invariant_balance_equals_what_the_channels_and_credits_owe() external view {
        (IPaymentChannel channels,, address payer, address payee, address arbiter) = _handler.world();
        ChannelKey[] memory keys = _handler.keys();
        address token = keys[0].token;
        uint256 owed =
            channels.creditOf(payer, token) + channels.creditOf(payee, token) + channels.creditOf(arbiter, token);
        for (uint256 i = 0; i < keys.length; ++i) {
            IPaymentChannel.ChannelState memory state = channels.stateOf(channels.channelId(keys[i]));
            require(state.claimed <= state.deposit, "paid more than deposited");
            owed += state.deposit - state.claimed;
        }
        (, ERC20Like asToken,,,) = _asToken();
        require(asToken.balanceOf(address(channels)) == owed, "balance differs from what is owed");
    }

    function invariant_nobody_loses_a_base_unit_in_all() external view {
        (IPaymentChannel channels, ERC20Like token, address payer, address payee, address arbiter) = _asToken();
        uint256 all = token.balanceOf(payer) + token.balanceOf(payee) + token.balanceOf(arbiter)
            + token.balanceOf(address(channels));
        require(all == token.totalSupply(), "money appeared or vanished");
    }

    function invariant_a_payee_never_gets_more_than_was_signed_or_judged() external view {
        (IPaymentChannel channels,,,,) = _handler.world();
        ChannelKey[] memory keys = _handler.keys();
        for (uint256 i = 0; i < keys.length; ++i) {
            bytes32 id = channels.channelId(keys[i]);
            require(channels.stateOf(id).claimed <= _handler.signed(id), "paid beyond every signature");
        }
    }

    /// @dev An invariant that holds because nothing ever happened proves nothing.
    function test_the_handler_reaches_every_entry() external {
        for (uint256 i = 0; i < 600; ++i) {
            uint256 r = uint256(keccak256(abi.encode(i)));
            (uint256 a, uint256 b, uint256 c) = (uint64(r >> 64), uint64(r >> 128), uint64(r >> 192));
            uint256 step = r % 12;
            if (step == 0) _handler.openChannel(a);
            else if (step == 1) _handler.topUp(a, b);
            else if (step == 2) _handler.claim(a, b, c % 2 == 0);
            else if (step == 3 || step == 4) _handler.present(a, b, c, r % 997);
            else if (step == 5) _handler.startExit(a);
            else if (step == 6) _handler.withdraw(a);
            else if (step == 7) _handler.close(a, b);
            else if (step == 8 || step == 9) _handler.enforce(a, b % 2 == 0, c, a % 2 == 0);
            else if (step == 10) _handler.refuse(a, b % 2 == 0);
            else _handler.withdrawCredit(a);
            if (i % 7 == 0) _handler.wait(b);
            if (i % 50 == 0) {
                this.invariant_balance_equals_what_the_channels_and_credits_owe();
                this.invariant_nobody_loses_a_base_unit_in_all();
                this.invariant_a_payee_never_gets_more_than_was_signed_or_judged();
            }
        }
        bytes32[12] memory names = [
            bytes32("open"),
            "openByAuthorization",
            "multicall",
            "topUp",
            "claim",
            "claimMany",
            "present",
            "startExit",
            "withdraw",
            "close",
            "enforce",
            "withdrawCredit"
        ];
        for (uint256 i = 0; i < names.length; ++i) {
            require(_handler.done(names[i]) != 0, string(abi.encodePacked("never did ", names[i])));
        }
    }

    function _asToken() private view returns (IPaymentChannel, ERC20Like, address, address, address) {
        (IPaymentChannel channels,, address payer, address payee, address arbiter) = _handler.world();
        return (channels, ERC20Like(_handler.keys()[0].token), payer, payee, arbiter);
    }

    function _driven() internal view override returns (address) {
        return address(_handler);
    }
}

interface ERC20Like {
    function balanceOf(address account) external view returns (uint256);
    function totalSupply() external view returns (uint256);
}
