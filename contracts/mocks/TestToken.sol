// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";

/// @title The stablecoin of local chains: 6 decimals, ERC-2612 permit, and anyone may mint
/// @dev Anyone may mint, so it is worth nothing anywhere. Never deploy it where the name could mislead somebody.
contract TestToken is ERC20, ERC20Permit {
    constructor() ERC20("Stoa Test Dollar", "tUSD") ERC20Permit("Stoa Test Dollar") {}

    /// @notice Create `amount` base units for `to`.
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    /// @inheritdoc ERC20
    function decimals() public pure override returns (uint8) {
        return 6;
    }
}
