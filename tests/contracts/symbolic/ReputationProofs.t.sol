// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IReputation} from "../../../contracts/interfaces/IReputation.sol";
import {Acceptance, Award} from "../../../contracts/interfaces/MarketTypes.sol";
import {ReputationWorld} from "./ReputationWorld.sol";

/// @dev As in `EscrowProofs`: any account, any lock of any award, one call by anybody.
contract ReputationProofs is ReputationWorld {
    /// @dev Only the award's arbiter slashes.
    function check_slash_by_another(Award memory award, uint16 severity, address feeTo) external {
        _anyWorld(award);
        _anyTime();
        address caller = svm.createAddress("caller");
        vm.assume(caller != ARBITER);
        vm.prank(caller);
        (bool success,) = address(reputation).call(abi.encodeCall(reputation.slash, (award, severity, feeTo)));
        assert(!success);
    }

    /// @dev An acceptance frees the lock whole, and pays the bonus to the provider once.
    function check_free_accepted(Award memory award, Acceptance memory acceptance) external {
        World memory world = _anyWorld(award);
        _anyTime();
        bytes memory data = abi.encodeCall(reputation.freeAccepted, (award, acceptance, _signature()));
        if (!_anybodyCalls(address(reputation), data)) return;

        IReputation.Account memory account = reputation.accountOf(PROVIDER);
        assert(account.stake == world.account.stake && account.locked <= account.stake);
        assert(reputation.lockOf(world.id).state != IReputation.LockState.Locked);
        assert(reputation.lockOf(world.id).bonus == 0);
        assert(_got(PROVIDER) == world.lock.bonus && _got(REQUESTER) == 0);
        assert(world.lock.state == IReputation.LockState.Locked || world.lock.bonus != 0);
    }

    /// @dev What is withdrawn was asked for, has waited, is taken from the stake, and was never locked.
    function check_withdraw(uint128 stake, uint128 locked, uint128 leaving, uint64 readyAt) external {
        vm.assume(locked <= stake);
        _writeAccount(IReputation.Account(stake, locked));
        _writeLeaving(leaving, readyAt);
        _anyTime();
        if (!_anybodyCalls(address(reputation), abi.encodeCall(reputation.withdraw, ()))) return;

        IReputation.Account memory account = reputation.accountOf(PROVIDER);
        assert(account.locked == locked && account.locked <= account.stake);
        assert(_got(PROVIDER) == stake - account.stake && _got(PROVIDER) <= leaving);
        assert(block.timestamp > readyAt && reputation.leavingOf(PROVIDER).amount == 0);
    }
}
