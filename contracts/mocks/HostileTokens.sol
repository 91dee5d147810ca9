// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AuthorizedToken} from "./Funders.sol";
import {TestToken} from "./TestToken.sol";

/// @title Takes 1 % of every transfer for itself
contract FeeToken is TestToken {
    function _update(address from, address to, uint256 value) internal override {
        if (from == address(0)) {
            super._update(from, to, value);
            return;
        }
        super._update(from, address(this), value / 100);
        super._update(from, to, value - value / 100);
    }
}

/// @title Refuses to pay the addresses on its list, as stablecoins do with frozen accounts
contract RefusingToken is AuthorizedToken {
    mapping(address account => bool) public refused;

    error Refused(address account);

    function setRefused(address account, bool value) external {
        refused[account] = value;
    }

    function _update(address from, address to, uint256 value) internal override {
        if (refused[to]) revert Refused(to);
        super._update(from, to, value);
    }
}

/// @title Answers "false" instead of reverting, once it is told to
contract FalseToken is TestToken {
    bool public failing;

    function setFailing(bool value) external {
        failing = value;
    }

    function transfer(address to, uint256 value) public override returns (bool) {
        return failing ? false : super.transfer(to, value);
    }

    function transferFrom(address from, address to, uint256 value) public override returns (bool) {
        return failing ? false : super.transferFrom(from, to, value);
    }
}

/// @title Returns nothing at all, as the oldest stablecoins do
contract SilentToken {
    mapping(address account => uint256) public balanceOf;
    mapping(address owner => mapping(address spender => uint256)) public allowance;

    function mint(address to, uint256 amount) external {
        balanceOf[to] += amount;
    }

    function approve(address spender, uint256 amount) external {
        allowance[msg.sender][spender] = amount;
    }

    function transfer(address to, uint256 amount) external {
        balanceOf[msg.sender] -= amount;
        balanceOf[to] += amount;
    }

    function transferFrom(address from, address to, uint256 amount) external {
        allowance[from][msg.sender] -= amount;
        balanceOf[from] -= amount;
        balanceOf[to] += amount;
    }
}

/// @title Calls a target back in the middle of every transfer, and remembers how that ended
contract ReentrantToken is TestToken {
    address public target;
    bytes public payload;
    bool public reentered;
    bytes public answer;

    function arm(address target_, bytes calldata payload_) external {
        target = target_;
        payload = payload_;
        delete answer;
    }

    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (target == address(0)) return;
        (bool success, bytes memory returned) = target.call(payload);
        reentered = reentered || success;
        answer = returned;
    }
}
