// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ITreasury} from "./ITreasury.sol";

/// @title Guardian: a place whose holder may refuse new business, and may hand the place on
/// @notice The contracts name this one as their guardian, for ever. Who stands behind it changes here: the holder offers the
/// place, and the other takes it. So a guardian can be rotated without an owner and without a new deployment.
///
/// @dev Rules (docs/spec/contracts.md section 9, docs/adr/1651):
/// - the holder can do with the contracts what their guardian can: pause and resume new business. No money is ever here;
/// - nobody but the holder can offer the place, nobody but who it is offered to can take it: a mistyped address costs nothing;
/// - who loses the holder's key loses the place, and the pause with it. Exits don't need either.
interface IGuardian {
    /// @notice Only the holder may call.
    error NotHolder(address caller);
    /// @notice The place isn't offered to this caller.
    error NotOffered(address caller);
    /// @notice A place that nobody holds would be none; name no guardian instead.
    error NoHolder();

    /// @notice `holder` offers the place to `to`; zero takes an offer back.
    event Offered(address indexed holder, address indexed to);
    /// @notice `to` holds the place now, and `from` doesn't.
    event HandedOver(address indexed from, address indexed to);

    /// @notice Offer the place to `to`, instead of to whom it was offered before. Holder only.
    function offer(address to) external;

    /// @notice Take the place. Only who it is offered to.
    function accept() external;

    /// @notice Stop new business of all these contracts, in one transaction. Holder only.
    /// @dev One that refuses lets all fail: this place must be the guardian of each.
    function pause(ITreasury[] calldata contracts) external;

    /// @notice Allow it again. Holder only.
    function resume(ITreasury[] calldata contracts) external;

    /// @notice Who may pause, resume and offer the place.
    function holder() external view returns (address);

    /// @notice Who may take the place; zero if nobody.
    function offeredTo() external view returns (address);
}
