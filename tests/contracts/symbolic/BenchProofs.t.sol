// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Bench} from "../../../contracts/Bench.sol";
import {IBench} from "../../../contracts/interfaces/IBench.sol";
import {Symbolic} from "./Symbolic.sol";

/// @dev As in `EscrowProofs`: any account of an arbiter, one call. Here the court is this contract. Stakes are of 1,024 units: the
/// solver finds an end for multiples of a power of two.
///
///     what an account loses is paid out or lost to the court; what is bound stays; nobody but its owner and the court moves it.
contract BenchProofs is Symbolic {
    /// @dev Where the compiler puts the mappings; `setUp` checks it against real ones.
    uint256 private constant TICKETS = 4;
    uint256 private constant ACCOUNTS = 5;
    uint96 private constant SEAT_STAKE = 1024;
    bytes32 private constant ENGINE = keccak256("engine");
    address private constant ONE = address(0xA1);
    address private constant TWO = address(0xA2);

    Bench private bench;

    function setUp() public override {
        super.setUp();
        bench = new Bench(address(token), SEAT_STAKE, 100, IBench.Randomness.BlockHash, GUARDIAN);
        _write(ONE, IBench.Account({balance: 1, tickets: 2, leaving: 3, serving: 4, readyAt: 5, servingUntil: 6}));
        IBench.Account memory account = bench.accountOf(ONE);
        assert(account.balance == 1 && account.tickets == 2 && account.leaving == 3);
        assert(account.serving == 4 && account.readyAt == 5 && account.servingUntil == 6);
        _writeTicket(TWO, 7, 8);
        IBench.Ticket memory ticket = bench.ticketOf(ENGINE, 0);
        assert(ticket.owner == TWO && ticket.since == 7 && ticket.until == 8);
    }

    /// @dev What is collected leaves the account, and no stake that is bound: of tickets, of seats, of tickets that still wait.
    function check_collect() external {
        IBench.Account memory before = _anyAccount(ONE);
        _anyTime();
        vm.prank(ONE);
        bench.collect();

        IBench.Account memory left = bench.accountOf(ONE);
        assert(_got(ONE) == before.balance - left.balance);
        uint256 waiting = block.timestamp > before.readyAt ? 0 : before.leaving;
        assert(left.balance >= (before.tickets + waiting) * SEAT_STAKE);
        if (block.timestamp <= before.servingUntil) assert(left.balance >= uint256(before.serving) * SEAT_STAKE);
        assert(left.tickets == before.tickets && left.leaving == waiting && left.serving == before.serving);
        assert(left.servingUntil == before.servingUntil && left.readyAt == before.readyAt);
    }

    /// @dev What a seat earns and loses adds up; it loses at most its stake, or a tenth. Nothing else changes.
    function check_end_a_seat(uint40 fee, bool isPaid, bool isWrong, bool isAbsent) external {
        address[] memory committee = new address[](1);
        committee[0] = ONE;
        IBench.Account memory before = _anyAccount(ONE);
        uint256 lost = bench.endSeats(committee, fee, isPaid ? 1 : 0, isWrong ? 1 : 0, isAbsent ? 1 : 0);

        IBench.Account memory left = bench.accountOf(ONE);
        assert(left.balance + lost == uint256(before.balance) + (isPaid ? fee : 0));
        assert(lost <= (isWrong ? SEAT_STAKE : isAbsent ? SEAT_STAKE / 10 : 0));
        assert(left.tickets == before.tickets && left.leaving == before.leaving && left.serving == before.serving);
        assert(left.readyAt == before.readyAt && left.servingUntil == before.servingUntil);
    }

    /// @dev Nobody but the court draws, ends seats or sends.
    function check_only_the_court(IBench.Request memory request, address[] memory committee, uint256 amount) external {
        address caller = svm.createAddress("caller");
        vm.assume(caller != address(this));
        bytes[] memory calls = new bytes[](3);
        calls[0] = abi.encodeCall(bench.draw, (request, ""));
        calls[1] = abi.encodeCall(bench.endSeats, (committee, amount, amount, amount, amount));
        calls[2] = abi.encodeCall(bench.send, (caller, amount));
        for (uint256 i = 0; i < calls.length; ++i) {
            vm.prank(caller);
            (bool success,) = address(bench).call(calls[i]);
            assert(!success);
        }
    }

    /// @dev Whatever another does for itself leaves an account as it is, also where it takes an account's place.
    function check_another_enlists(bytes32 engine, uint32 place) external {
        uint32[] memory places = new uint32[](1);
        places[0] = place;
        _leavesOne(abi.encodeCall(bench.enlist, (engine, 1, places)));
    }

    function check_another_resigns(bytes32 engine, uint32 index) external {
        uint32[] memory indices = new uint32[](1);
        indices[0] = index;
        _leavesOne(abi.encodeCall(bench.resign, (engine, indices)));
    }

    function check_another_collects() external {
        _leavesOne(abi.encodeCall(bench.collect, ()));
    }

    function check_another_prunes(bytes32 engine) external {
        _leavesOne(abi.encodeCall(bench.prune, (engine, 1)));
    }

    // ------------------------------------------------------------------------------------------------- any state

    /// @dev All that the bench keeps is unknown here: the caller's account, the tickets, and whose they are.
    function _leavesOne(bytes memory data) private {
        svm.enableSymbolicStorage(address(bench));
        bytes32 place = _place(bytes32(uint256(uint160(ONE))), ACCOUNTS);
        bytes32 word = bytes32(svm.createUint(256, "account"));
        vm.store(address(bench), place, word);
        _anyTime();
        vm.roll(svm.createUint(39, "block"));
        address caller = svm.createAddress("caller");
        vm.assume(caller != address(this) && caller != ONE);
        vm.prank(caller);
        (bool success,) = address(bench).call(data);
        if (success) assert(vm.load(address(bench), place) == word);
    }

    function _anyAccount(address owner) private returns (IBench.Account memory account) {
        account.balance = uint96(svm.createUint(96, "balance"));
        account.tickets = uint24(svm.createUint(24, "tickets"));
        account.leaving = uint24(svm.createUint(24, "leaving"));
        account.serving = uint24(svm.createUint(24, "serving"));
        account.readyAt = uint40(svm.createUint(40, "readyAt"));
        account.servingUntil = uint40(svm.createUint(40, "servingUntil"));
        _write(owner, account);
    }

    function _write(address owner, IBench.Account memory account) private {
        uint256 word = uint256(account.balance) | uint256(account.tickets) << 96 | uint256(account.leaving) << 120;
        word |= uint256(account.serving) << 144 | uint256(account.readyAt) << 168;
        word |= uint256(account.servingUntil) << 208;
        vm.store(address(bench), _place(bytes32(uint256(uint160(owner))), ACCOUNTS), bytes32(word));
    }

    /// @dev The one ticket for `ENGINE`.
    function _writeTicket(address owner, uint40 since, uint40 until) private {
        bytes32 place = _place(ENGINE, TICKETS);
        vm.store(address(bench), place, bytes32(uint256(1)));
        bytes32 word = bytes32(uint256(uint160(owner)) | uint256(since) << 160 | uint256(until) << 200);
        vm.store(address(bench), keccak256(abi.encode(place)), word);
    }
}
