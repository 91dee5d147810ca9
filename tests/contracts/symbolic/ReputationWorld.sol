// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Reputation} from "../../../contracts/Reputation.sol";
import {IReputation} from "../../../contracts/interfaces/IReputation.sol";
import {Award} from "../../../contracts/interfaces/MarketTypes.sol";
import {StructHashHarness} from "../../../contracts/mocks/StructHashHarness.sol";
import {Symbolic} from "./Symbolic.sol";

/// @dev Any account, any lock of any award:
///
///     of a provider, locked <= stake and this award's lock <= locked; a bonus is paid once;
///     what leaves the contract is what stake and bonus have lost.
abstract contract ReputationWorld is Symbolic {
    /// @dev Where the compiler puts the mappings; `setUp` checks it against real ones.
    uint256 private constant ACCOUNTS = 6;
    uint256 private constant LEAVING = 7;
    uint256 private constant LOCKS = 8;
    address internal constant POOL = address(0x9001);
    address internal constant RAIL = address(0xE5C);
    address internal constant OTHER = address(0x07E2);
    uint32 internal constant COOLDOWN = 5000;
    uint128 internal constant MAX_BOUNTY = 1000;

    Reputation internal reputation;
    StructHashHarness internal hashes;

    struct World {
        bytes32 id;
        IReputation.Account account;
        IReputation.Lock lock;
    }

    function setUp() public override {
        super.setUp();
        reputation = new Reputation(RAIL, address(token), POOL, COOLDOWN, MAX_BOUNTY, GUARDIAN);
        hashes = new StructHashHarness();
        bytes32 id = keccak256("some award");
        _write(id, IReputation.Account(9, 4), IReputation.Lock(3, 2, IReputation.LockState.Slashed, true));
        _writeLeaving(5, 6);
        IReputation.Lock memory lock = reputation.lockOf(id);
        assert(lock.amount == 3 && lock.bonus == 2 && lock.state == IReputation.LockState.Slashed && lock.hadBonus);
        assert(reputation.accountOf(PROVIDER).stake == 9 && reputation.accountOf(PROVIDER).locked == 4);
        assert(reputation.leavingOf(PROVIDER).amount == 5 && reputation.leavingOf(PROVIDER).readyAt == 6);
    }

    /// @dev Any account with any lock of `award` that calls may have left behind.
    function _anyWorld(Award memory award) internal returns (World memory world) {
        award.requester = REQUESTER;
        award.provider = PROVIDER;
        award.arbiter = ARBITER;
        award.token = address(token);
        world.id = hashes.digest(block.chainid, RAIL, hashes.hashAward(award));
        uint256 state = svm.createUint(8, "state");
        vm.assume(state <= uint256(type(IReputation.LockState).max));
        uint120 amount = uint120(svm.createUint(120, "amount"));
        uint120 bonus = uint120(svm.createUint(120, "bonus"));
        world.lock = IReputation.Lock(amount, bonus, IReputation.LockState(state), bonus != 0);
        world.account = IReputation.Account(_any128("stake"), _any128("locked"));
        vm.assume(world.account.locked <= world.account.stake);
        if (world.lock.state == IReputation.LockState.Locked) vm.assume(amount <= world.account.locked);
        _write(world.id, world.account, world.lock);
    }

    function _write(bytes32 id, IReputation.Account memory account, IReputation.Lock memory lock) private {
        _writeAccount(account);
        uint256 packed = uint256(lock.amount) | uint256(lock.bonus) << 120 | uint256(uint8(lock.state)) << 240;
        if (lock.hadBonus) packed |= 1 << 248;
        vm.store(address(reputation), _place(id, LOCKS), bytes32(packed));
    }

    function _writeAccount(IReputation.Account memory account) internal {
        bytes32 place = _place(bytes32(uint256(uint160(PROVIDER))), ACCOUNTS);
        vm.store(address(reputation), place, bytes32(uint256(account.stake) | uint256(account.locked) << 128));
    }

    function _writeLeaving(uint128 amount, uint64 readyAt) internal {
        bytes32 place = _place(bytes32(uint256(uint160(PROVIDER))), LEAVING);
        vm.store(address(reputation), place, bytes32(uint256(amount) | uint256(readyAt) << 128));
    }
}
