// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IGuardian} from "./interfaces/IGuardian.sol";
import {ITreasury} from "./interfaces/ITreasury.sol";

/// @title Guardian: the fixed place that contracts name, and the holder that changes
/// @dev Rules in `IGuardian` and docs/spec/contracts.md section 9. It holds no money and can move none.
contract Guardian is IGuardian {
    /// @inheritdoc IGuardian
    address public holder;
    /// @inheritdoc IGuardian
    address public offeredTo;

    modifier onlyHolder() {
        if (msg.sender != holder) revert NotHolder(msg.sender);
        _;
    }

    constructor(address holder_) {
        if (holder_ == address(0)) revert NoHolder();
        holder = holder_;
        emit HandedOver(address(0), holder_);
    }

    /// @inheritdoc IGuardian
    function offer(address to) external onlyHolder {
        offeredTo = to;
        emit Offered(msg.sender, to);
    }

    /// @inheritdoc IGuardian
    function accept() external {
        // Nobody calls from address zero, so an offer that was taken back is nobody's.
        if (msg.sender != offeredTo) revert NotOffered(msg.sender);
        address from = holder;
        holder = msg.sender;
        offeredTo = address(0);
        emit HandedOver(from, msg.sender);
    }

    /// @inheritdoc IGuardian
    function pause(ITreasury[] calldata contracts) external onlyHolder {
        for (uint256 i; i < contracts.length; ++i) {
            contracts[i].pause();
        }
    }

    /// @inheritdoc IGuardian
    function resume(ITreasury[] calldata contracts) external onlyHolder {
        for (uint256 i; i < contracts.length; ++i) {
            contracts[i].resume();
        }
    }
}
