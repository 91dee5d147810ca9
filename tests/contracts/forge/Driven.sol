// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @dev Tells forge which contract to drive, and which of its functions to leave alone.
abstract contract Driven {
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = _driven();
    }

    function excludeSelectors() external view returns (FuzzSelector[] memory excluded) {
        excluded = new FuzzSelector[](1);
        excluded[0] = FuzzSelector({addr: _driven(), selectors: _leftAlone()});
    }

    function _driven() internal view virtual returns (address);

    /// @dev By default what sets the handler up.
    function _leftAlone() internal pure virtual returns (bytes4[] memory selectors) {
        selectors = new bytes4[](1);
        selectors[0] = bytes4(keccak256("setUp()"));
    }
}
