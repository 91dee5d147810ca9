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
/// reached every entry. Beside the contract it keeps books of its own, by the rules as they are written in
/// docs/spec/contracts.md, section 3: each total, each fee and the end of each exit must be what they say.
contract ChannelHandler is Fixture {
    /// @dev What the rules say of a channel. `best`: the greatest total that one signed thing, with its verdicts, gives the payee.
    struct Books {
        uint256 deposit;
        uint256 claimed;
        uint256 base;
        uint256 best;
        uint64 exitsAt;
        uint64 sequence;
    }

    uint256 private constant CHANNELS = 3;
    uint128 private constant FEE = 50;

    mapping(bytes32 name => uint256) public done;
    mapping(bytes32 channel => Books) public books;
    mapping(bytes32 channel => bool) public isJudged;
    ChannelKey[] private _keys;
    mapping(bytes32 channel => Award[2]) private _awards;
    mapping(bytes32 channel => uint128[2]) private _amounts;
    mapping(bytes32 channel => mapping(bytes32 award => uint64 sequence)) private _enforcedOn;

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
            books[channels.channelId(key)].deposit += amount % 1000;
        } catch {}
    }

    function claim(uint256 which, uint256 amount, bool batch) external {
        ChannelKey memory key = _pick(which);
        Voucher memory voucher = Voucher(channels.channelId(key), 1, _around(key, amount), 0, 0);
        if (batch) {
            bytes memory item = _packClaim(key, voucher, _signVoucher(REQUESTER_KEY, voucher));
            channels.claimMany(PROVIDER, address(token), bytes.concat(item, item));
            _count("claimMany");
        } else {
            try channels.claim(key, voucher, _signVoucher(REQUESTER_KEY, voucher)) {
                _count("claim");
            } catch {}
        }
        uint256 before = books[voucher.channel].claimed;
        _paid(voucher.channel, voucher.cumulative);
        if (isJudged[voucher.channel] && books[voucher.channel].claimed > before) _count("claim after a verdict");
    }

    function present(uint256 which, uint256 amount, uint256 first, uint256 second) external {
        ChannelKey memory key = _pick(which);
        bytes32 id = channels.channelId(key);
        (uint128 a, uint128 b) = (uint128(first % 700), uint128(second % 700));
        Award[2] memory awards = [_award(a + 1, FEE), _award(b + 2, FEE)];
        uint128[2] memory amounts = [a + FEE, b + FEE];
        uint128 cumulative = amount % 2 == 0 ? uint128(amount % 300) : _around(key, amount);
        if (second % 3 != 0 && books[id].sequence != 0) {
            // A newer voucher of a payer that goes on: it moves a part of a hold to the total, or all but the fee.
            awards = _awards[id];
            amounts = _amounts[id];
            uint128 moved = uint128(first % (uint256(amounts[0]) - FEE + 1));
            if (first % 5 == 0) moved = amounts[0] - FEE;
            amounts[0] -= moved;
            cumulative = _saturating(books[id].base, moved + (second % 2 == 0 ? 0 : b % 100));
        }
        _present(key, awards, amounts, cumulative, uint64(first % 2));
    }

    function startExit(uint256 which) external {
        ChannelKey memory key = _pick(which);
        vm.prank(REQUESTER);
        try channels.startExit(key) {
            _count("startExit");
            books[channels.channelId(key)].exitsAt = uint64(block.timestamp) + CHALLENGE;
        } catch {}
    }

    function withdraw(uint256 which) external {
        ChannelKey memory key = _pick(which);
        bytes32 id = channels.channelId(key);
        try channels.withdraw(key) returns (uint128 amount) {
            _count("withdraw");
            require(books[id].exitsAt != 0 && block.timestamp > books[id].exitsAt, "before the exit's end");
            books[id].deposit -= amount;
            if (books[id].deposit == books[id].claimed) delete books[id];
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
            delete books[agreed.channel];
        } catch {}
    }

    function enforce(uint256 which, bool second, uint256 due, bool requesterLost) external {
        ChannelKey memory key = _pick(which);
        bytes32 id = channels.channelId(key);
        uint256 i = second ? 1 : 0;
        Award memory award = _awards[id][i];
        if (award.price == 0) return;
        Verdict memory verdict;
        verdict.award = _marketDigest(hashes.hashAward(award));
        verdict.due = uint128(due % (uint256(award.price) + 2)); // one above the price must be refused
        verdict.finding = requesterLost ? 1 : 2;
        bytes32[] memory proof = _single(_leaf(_awards[id][1 - i], _amounts[id][1 - i]));
        uint256 before = _wealth(ARBITER);
        vm.prank(ARBITER);
        try channels.enforce(key, award, _amounts[id][i], proof, verdict, "") {
            _count("enforce");
            require(verdict.due <= award.price, "above the price");
            _judged(id, verdict, award, _amounts[id][i], _wealth(ARBITER) - before);
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
        books[channels.channelId(key)].deposit = amount;
    }

    function _present(
        ChannelKey memory key,
        Award[2] memory awards,
        uint128[2] memory amounts,
        uint128 cumulative,
        uint64 newer
    ) private {
        bytes32 id = channels.channelId(key);
        uint64 sequence = books[id].sequence + newer;
        Voucher memory voucher = Voucher(id, sequence, cumulative, amounts[0] + amounts[1], _root(awards, amounts));
        bytes memory signature = _signVoucher(REQUESTER_KEY, voucher);
        bytes memory consent = _signVoucher(PROVIDER_KEY, voucher);
        try channels.present(key, voucher, signature, consent) {
            _count("present");
            if (isJudged[id]) _count("present after a verdict");
            (_awards[id][0], _awards[id][1]) = (awards[0], awards[1]);
            _amounts[id] = amounts;
            (books[id].base, books[id].sequence) = (cumulative, sequence);
            _paid(id, cumulative);
        } catch {}
    }

    /// @dev P1: a voucher pays up to its total, and never takes back.
    function _paid(bytes32 id, uint256 total) private {
        Books storage own = books[id];
        if (total > own.best) own.best = total;
        if (total > own.deposit) total = own.deposit;
        if (total > own.claimed) own.claimed = total;
    }

    /// @dev P5, P8: what a verdict on a hold of the presented voucher does.
    function _judged(bytes32 id, Verdict memory verdict, Award memory award, uint128 amount, uint256 got) private {
        Books storage own = books[id];
        uint256 paid = uint256(award.price) + FEE - amount;
        own.base = _saturating(own.base, verdict.due > paid ? verdict.due - uint128(paid) : 0);
        _paid(id, own.base);
        bool isAgain = _enforcedOn[id][verdict.award] != 0;
        require(_enforcedOn[id][verdict.award] != own.sequence, "twice on one voucher");
        _enforcedOn[id][verdict.award] = own.sequence;
        uint256 fee = verdict.finding != 1 || isAgain ? 0 : FEE;
        if (fee > own.deposit - own.claimed) fee = own.deposit - own.claimed;
        require(got == fee, "the arbiter's fee");
        own.deposit -= fee;
        isJudged[id] = true;
        if (isAgain) _count("enforce again");
        if (own.exitsAt == 0) own.exitsAt = uint64(block.timestamp) + CHALLENGE;
        if (own.deposit == own.claimed) delete books[id];
    }

    function _wealth(address who) private view returns (uint256) {
        return token.balanceOf(who) + channels.creditOf(who, address(token));
    }

    function _saturating(uint256 a, uint256 b) private pure returns (uint128) {
        return uint128(a + b > type(uint128).max ? type(uint128).max : a + b);
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

    function _root(Award[2] memory awards, uint128[2] memory amounts) private view returns (bytes32) {
        bytes32 right = _leaf(awards[1], amounts[1]);
        return MerkleProof.processProof(_single(right), _leaf(awards[0], amounts[0]));
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

    function invariant_every_channel_stands_where_the_rules_say() external view {
        (IPaymentChannel channels,,,,) = _handler.world();
        ChannelKey[] memory keys = _handler.keys();
        for (uint256 i = 0; i < keys.length; ++i) {
            bytes32 id = channels.channelId(keys[i]);
            IPaymentChannel.ChannelState memory state = channels.stateOf(id);
            (uint256 deposit, uint256 claimed, uint256 base, uint256 best, uint64 exitsAt, uint64 sequence) =
                _handler.books(id);
            require(state.deposit == deposit && state.claimed == claimed, "money");
            require(state.exitsAt == exitsAt && state.sequence == sequence && state.base == base, "times or vouchers");
            require(claimed <= best, "paid beyond what one voucher and its verdicts give");
        }
    }

    /// @dev An invariant that holds because nothing ever happened proves nothing.
    function test_the_handler_reaches_every_entry() external {
        for (uint256 i = 0; i < 600; ++i) {
            uint256 r = uint256(keccak256(abi.encode(i)));
            (uint256 a, uint256 b, uint256 c) = (uint64(r >> 64), uint64(r >> 128), uint64(r >> 192));
            uint256 step = r % 12;
            if (step == 0 && i % 4 == 0) _handler.openChannel(a);
            else if (step == 1) _handler.topUp(a, b);
            else if (step == 2) _handler.claim(a, b, c % 2 == 0);
            else if (step == 3 || step == 4) _handler.present(a, b, c, r % 997);
            else if (step == 5) _handler.startExit(a);
            else if (step == 6) _handler.withdraw(a);
            else if (step == 7) _handler.close(a, b);
            else if (step == 8 || step == 9) _handler.enforce(a, b % 2 == 0, c, a % 2 == 0);
            else if (step == 10) _handler.refuse(a, b % 2 == 0);
            else _handler.withdrawCredit(a);
            if (i % 11 == 0) _handler.wait(b);
            if (i % 50 == 0) {
                this.invariant_balance_equals_what_the_channels_and_credits_owe();
                this.invariant_nobody_loses_a_base_unit_in_all();
                this.invariant_every_channel_stands_where_the_rules_say();
            }
        }
        bytes32[15] memory names = [
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
            "withdrawCredit",
            "claim after a verdict",
            "present after a verdict",
            "enforce again"
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
