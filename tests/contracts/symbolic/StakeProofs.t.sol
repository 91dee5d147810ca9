// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IReputation} from "../../../contracts/interfaces/IReputation.sol";
import {Award, BASIS_POINTS, Start} from "../../../contracts/interfaces/MarketTypes.sol";
import {Fact, fact, requireFact} from "./Fact.sol";
import {ReputationWorld} from "./ReputationWorld.sol";

/// @dev As in `ReputationProofs`, of amounts: what a stake, a lock, a leave and a slash make of an account, to the base unit.
/// @custom:halmos --solver-timeout-branching 100ms
contract StakeProofs is ReputationWorld {
    /// @dev A slash costs `lock * severity / 10,000` and the fee, never more than the lock; the stake loses what is paid out, and the
    /// bounty comes out of the penalty. (The product is the contract's; that it is capped is what is shown.)
    function check_slash(Award memory award, uint16 severity) external {
        World memory world = _anyWorld(award);
        _anyTime();
        vm.prank(ARBITER);
        (bool success,) = address(reputation).call(abi.encodeCall(reputation.slash, (award, severity, OTHER)));
        if (!success) return;

        IReputation.Account memory account = reputation.accountOf(PROVIDER);
        uint256 fee = _got(OTHER);
        requireFact(_isSlashed(world, award, severity, fee));
        unchecked {
            uint256 lost = world.account.stake - account.stake;
            requireFact(
                fact(lost <= world.lock.amount) & fact(account.locked <= account.stake)
                    & fact(uint256(world.account.locked) - account.locked == world.lock.amount)
                    & fact(_got(REQUESTER) + _got(POOL) + fee == lost + world.lock.bonus) & fact(_got(PROVIDER) == 0)
            );
        }
    }

    /// @dev A lock is the award's liability, once, out of what is free; the provider called or signed a start.
    function check_lock(Award memory award, Start memory start) external {
        World memory world = _anyWorld(award);
        uint128 leaving = _any128("leaving");
        _writeLeaving(leaving, 1);
        _anyTime();
        (address caller, bytes memory signature) = (svm.createAddress("caller"), _signature());
        bytes memory data = abi.encodeCall(reputation.lock, (award, start, signature));
        if (!_calls(caller, address(reputation), data)) return;

        bytes32 signed = hashes.digest(block.chainid, RAIL, hashes.hashStart(start));
        Fact bySign = fact(start.award == world.id) & fact(_signer(signed, signature) == PROVIDER);
        requireFact(_isLocked(world, award, leaving) & (fact(caller == PROVIDER) | bySign));
    }

    /// @dev Who leaves asks for what is free, once, and waits; free, locked and leaving are the stake.
    function check_unstake(uint128 stake, uint128 locked, uint128 leaving, uint128 amount) external {
        vm.assume(locked <= stake);
        _writeAccount(IReputation.Account(stake, locked));
        _writeLeaving(leaving, 1);
        _anyTime();
        uint256 free = reputation.freeStakeOf(PROVIDER);
        if (!_calls(PROVIDER, address(reputation), abi.encodeCall(reputation.unstake, (amount)))) return;

        IReputation.Account memory account = reputation.accountOf(PROVIDER);
        IReputation.Leaving memory left = reputation.leavingOf(PROVIDER);
        unchecked {
            requireFact(
                fact(leaving == 0) & fact(amount != 0) & fact(amount <= free) & fact(left.amount == amount)
                    & fact(left.readyAt == block.timestamp + COOLDOWN) & fact(account.stake == stake)
                    & fact(account.locked == locked)
                    & fact(reputation.freeStakeOf(PROVIDER) + locked + left.amount == stake)
            );
        }
    }

    /// @dev A stake is added to what is there, and paid by who calls.
    function check_stake(uint128 stake, uint128 locked, uint128 amount) external {
        vm.assume(locked <= stake);
        _writeAccount(IReputation.Account(stake, locked));
        address caller = svm.createAddress("caller");
        vm.assume(caller != address(reputation));
        token.mint(caller, amount);
        if (!_calls(caller, address(reputation), abi.encodeCall(reputation.stake, (PROVIDER, amount)))) return;

        IReputation.Account memory account = reputation.accountOf(PROVIDER);
        unchecked {
            requireFact(
                fact(uint256(account.stake) - stake == amount) & fact(account.locked == locked) & fact(amount != 0)
                    & fact(_got(address(reputation)) == amount) & fact(_got(caller) == 0)
            );
        }
    }

    function _isLocked(World memory world, Award memory award, uint256 leaving) private view returns (Fact result) {
        IReputation.Account memory account = reputation.accountOf(PROVIDER);
        IReputation.Lock memory lock = reputation.lockOf(world.id);
        unchecked {
            result = fact(account.stake == world.account.stake) & fact(lock.amount == award.liability)
                & fact(uint256(account.locked) - world.account.locked == award.liability)
                & fact(uint256(account.locked) + leaving <= account.stake) & fact(award.liability != 0);
        }
        return result & fact(world.lock.state == IReputation.LockState.None) & fact(lock.bonus == world.lock.bonus)
            & fact(lock.state == IReputation.LockState.Locked) & fact(block.timestamp <= award.startBy);
    }

    function _isSlashed(World memory world, Award memory award, uint16 severity, uint256 fee)
        private
        view
        returns (Fact)
    {
        uint256 amount = world.lock.amount;
        uint128 penalty = uint128(amount * severity / BASIS_POINTS);
        uint256 taken;
        unchecked {
            taken = _got(REQUESTER) - world.lock.bonus + _got(POOL);
        }
        Fact capped = fact(taken <= penalty) & fact(taken + fee <= amount);
        Fact whole = fact(taken == penalty) | fact(taken + fee == amount);
        Fact feeFirst = fact(fee == award.disputeFee) | fact(fee == amount) & fact(fee <= award.disputeFee);
        Fact bounty = fact(_got(POOL) == 0) | fact(_got(REQUESTER) - world.lock.bonus == MAX_BOUNTY);
        return capped & whole & feeFirst & bounty & fact(severity <= BASIS_POINTS) & _isSpent(world);
    }

    /// @dev It was locked, and is neither locked nor bound to a bonus any more.
    function _isSpent(World memory world) private view returns (Fact) {
        IReputation.Lock memory lock = reputation.lockOf(world.id);
        return fact(world.lock.state == IReputation.LockState.Locked) & fact(lock.bonus == 0)
            & fact(lock.state == IReputation.LockState.Slashed);
    }
}
