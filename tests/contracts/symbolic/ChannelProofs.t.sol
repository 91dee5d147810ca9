// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {PaymentChannel} from "../../../contracts/PaymentChannel.sol";
import {IPaymentChannel} from "../../../contracts/interfaces/IPaymentChannel.sol";
import {ChannelKey, Close, Voucher} from "../../../contracts/interfaces/MarketTypes.sol";
import {StructHashHarness} from "../../../contracts/mocks/StructHashHarness.sol";
import {Fact, fact, requireFact} from "./Fact.sol";
import {Symbolic} from "./Symbolic.sol";

/// @dev As in `EscrowProofs`: any channel, enforced or not, in any state of its exit, one call by
/// anybody. `claimed <= deposit`; what leaves is what the channel has lost.
contract ChannelProofs is Symbolic {
    /// @dev Where the compiler puts the mappings; `setUp` checks it against real ones.
    uint256 private constant FUNDS = 6;
    uint256 private constant EXITS = 7;
    uint256 private constant PRESENTED = 8;
    uint32 private constant CHALLENGE = 100;
    uint32 private constant HOLD_PERIOD = 1000;

    PaymentChannel private channels;
    StructHashHarness private hashes;

    function setUp() public override {
        super.setUp();
        channels = new PaymentChannel(address(0xE5C), CHALLENGE, HOLD_PERIOD, GUARDIAN);
        hashes = new StructHashHarness();
        bytes32 id = keccak256("some channel");
        _write(id, 9, 4, 3, 2, 1, 5);
        IPaymentChannel.ChannelState memory state = channels.stateOf(id);
        assert(state.deposit == 9 && state.claimed == 4 && state.exitsAt == 3 && state.sequence == 2);
        assert(state.held == 1 && state.base == 5);
    }

    /// @dev A claim pays what the voucher says beyond what was paid, never beyond the deposit, and never takes back.
    function check_claim(uint64 counter, Voucher memory voucher) external {
        ChannelKey memory key = _key(counter);
        (bytes32 id, IPaymentChannel.ChannelState memory before) = _anyChannel(key);
        _anyTime();
        bytes memory data = abi.encodeCall(channels.claim, (key, voucher, _signature()));
        if (!_anybodyCalls(address(channels), data)) return;

        IPaymentChannel.ChannelState memory state = channels.stateOf(id);
        assert(state.deposit == before.deposit && state.claimed <= state.deposit && state.claimed > before.claimed);
        assert(state.claimed <= voucher.cumulative && voucher.channel == id);
        assert(_got(PROVIDER) == state.claimed - before.claimed && _got(REQUESTER) == 0);
    }

    /// @dev Presenting is claiming, with a sequence that only grows; the exit's time stays where it is.
    function check_present(uint64 counter, Voucher memory voucher) external {
        ChannelKey memory key = _key(counter);
        (bytes32 id, IPaymentChannel.ChannelState memory before) = _anyChannel(key);
        _anyTime();
        bytes memory data = abi.encodeCall(channels.present, (key, voucher, _signature(), _signature()));
        if (!_anybodyCalls(address(channels), data)) return;

        IPaymentChannel.ChannelState memory state = channels.stateOf(id);
        assert(state.sequence > before.sequence && state.exitsAt == before.exitsAt && state.held == voucher.held);
        assert(state.deposit == before.deposit && state.claimed <= state.deposit && state.claimed >= before.claimed);
        assert(_got(PROVIDER) == state.claimed - before.claimed && _got(REQUESTER) == 0);
    }

    /// @dev An agreed close pays what both signed, or called for: to the payee up to the total, to the payer all the rest.
    /// @custom:halmos --solver-timeout-branching 100ms
    function check_close(uint64 counter, Close memory agreed) external {
        ChannelKey memory key = _key(counter);
        (bytes32 id, IPaymentChannel.ChannelState memory before) = _anyChannel(key);
        _anyTime();
        address caller = svm.createAddress("caller");
        (bytes memory one, bytes memory other) = (_signature(), _signature());
        if (!_calls(caller, address(channels), abi.encodeCall(channels.close, (key, agreed, one, other)))) return;

        requireFact(_isClosed(id, before, agreed));
        bytes32 digest = hashes.digest(block.chainid, address(channels), hashes.hashClose(agreed));
        Fact byPayer = fact(caller == REQUESTER) | fact(caller == key.signer) | fact(_signer(digest, one) == key.signer);
        requireFact(byPayer & (fact(caller == PROVIDER) | fact(_signer(digest, other) == PROVIDER)));
    }

    /// @dev More money comes from who calls, adds to the deposit alone, and not once the payer leaves.
    function check_top_up(uint64 counter, uint128 amount) external {
        ChannelKey memory key = _key(counter);
        (bytes32 id, IPaymentChannel.ChannelState memory before) = _anyChannel(key);
        address caller = svm.createAddress("caller");
        vm.assume(caller != address(channels));
        token.mint(caller, amount);
        if (!_calls(caller, address(channels), abi.encodeCall(channels.topUp, (key, amount)))) return;

        IPaymentChannel.ChannelState memory state = channels.stateOf(id);
        unchecked {
            requireFact(
                fact(uint256(state.deposit) - before.deposit == amount) & fact(state.claimed == before.claimed)
                    & fact(before.exitsAt == 0) & fact(_got(caller) == 0) & fact(_got(address(channels)) == amount)
            );
        }
    }

    /// @dev The payer's exit leaves what was claimed and, while holds last, all of the presented reserve.
    function check_exit_leaves_what_is_held(uint64 counter) external {
        ChannelKey memory key = _key(counter);
        (bytes32 id, IPaymentChannel.ChannelState memory before) = _anyChannel(key);
        _anyTime();
        if (!_anybodyCalls(address(channels), abi.encodeCall(channels.withdraw, (key)))) return;

        assert(before.exitsAt != 0 && block.timestamp > before.exitsAt);
        assert(_got(REQUESTER) <= before.deposit - before.claimed && _got(PROVIDER) == 0);
        uint256 left = before.deposit - _got(REQUESTER);
        if (before.held != 0 && block.timestamp <= uint256(before.exitsAt) + HOLD_PERIOD) {
            uint256 reserve = uint256(before.base) + before.held;
            assert(left >= reserve || left == before.deposit);
        } else {
            assert(left == before.claimed);
        }
        IPaymentChannel.ChannelState memory state = channels.stateOf(id);
        assert(state.deposit == 0 ? left == before.claimed : state.deposit == left && state.claimed == before.claimed);
    }

    /// @dev An exit begins once: nobody, the payer included, begins it anew or moves its time.
    function check_exit_begins_once(uint64 counter) external {
        ChannelKey memory key = _key(counter);
        (bytes32 id, IPaymentChannel.ChannelState memory before) = _anyChannel(key);
        _anyTime();
        if (!_anybodyCalls(address(channels), abi.encodeCall(channels.startExit, (key)))) return;
        assert(before.exitsAt == 0 && channels.stateOf(id).exitsAt == block.timestamp + CHALLENGE);
    }

    function _isClosed(bytes32 id, IPaymentChannel.ChannelState memory before, Close memory agreed)
        private
        view
        returns (Fact)
    {
        IPaymentChannel.ChannelState memory state = channels.stateOf(id);
        Fact gone = fact(state.deposit == 0) & fact(state.claimed == 0) & fact(state.exitsAt == 0)
            & fact(state.sequence == 0) & fact(state.held == 0);
        unchecked {
            return gone & fact(agreed.channel == id) & fact(block.timestamp <= agreed.closeBy)
                & fact(agreed.cumulative >= before.claimed) & fact(agreed.cumulative <= before.deposit)
                & fact(_got(PROVIDER) == uint256(agreed.cumulative) - before.claimed)
                & fact(_got(REQUESTER) == uint256(before.deposit) - agreed.cumulative);
        }
    }

    // ------------------------------------------------------------------------------------------------- any state

    function _key(uint64 counter) private view returns (ChannelKey memory) {
        return ChannelKey({
            payer: REQUESTER,
            signer: svm.createAddress("signer"),
            payee: PROVIDER,
            token: address(token),
            counter: counter
        });
    }

    function _anyChannel(ChannelKey memory key)
        private
        returns (bytes32 id, IPaymentChannel.ChannelState memory state)
    {
        id = keccak256(abi.encode(key));
        uint128 deposit = _any128("deposit");
        uint128 claimed = _any128("claimed");
        uint64 exitsAt = uint64(svm.createUint(40, "exitsAt"));
        uint64 sequence = uint64(svm.createUint(64, "sequence"));
        uint128 held = _any128("held");
        uint128 base = _any128("base");
        vm.assume(deposit > 0 && claimed <= deposit);
        vm.assume(sequence != 0 || (held == 0 && base == 0));
        _write(id, deposit, claimed, exitsAt, sequence, held, base);
        state = channels.stateOf(id);
    }

    function _write(
        bytes32 id,
        uint128 deposit,
        uint128 claimed,
        uint64 exitsAt,
        uint64 sequence,
        uint128 held,
        uint128 base
    ) private {
        vm.store(address(channels), _place(id, FUNDS), bytes32(uint256(deposit) | uint256(claimed) << 128));
        uint256 exit = uint256(exitsAt) | uint256(sequence) << 64 | uint256(held) << 128;
        vm.store(address(channels), _place(id, EXITS), bytes32(exit));
        vm.store(address(channels), _place(id, PRESENTED), bytes32(uint256(base)));
    }
}
