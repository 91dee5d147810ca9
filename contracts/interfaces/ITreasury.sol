// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title What both money contracts do alike: take exact deposits, pay or credit, and stop new business only
/// @dev Assumptions about tokens. A token is chosen by the two parties that use it, and a bad one can hurt only them:
/// - a deposit counts only if the contract's balance grew by exactly the amount, so fee-on-transfer tokens are refused;
/// - a balance that shrinks by itself (negative rebase), or a token whose owner seizes balances, breaks the promise that
///   the contract can pay, for that token alone. Don't use one;
/// - a payout that reverts or returns false becomes a credit of its receiver, so no payee can block another's exit;
/// - a token that calls back finds every state already written and every entry point closed.
/// Tokens sent to the contract without a deposit belong to nobody and stay there.
interface ITreasury {
    /// @notice An ERC-3009 authorization to this contract. Its nonce isn't here: it is the id of what the money is for.
    struct Authorization {
        uint256 validAfter;
        uint256 validBefore;
        uint8 v;
        bytes32 r;
        bytes32 s;
    }

    /// @notice A deposit moved another amount than it should, as with a fee on transfer.
    error InexactDeposit(address token, uint256 expected, uint256 received);
    /// @notice There is no ERC-20 token at this address.
    error NotAToken(address token);
    /// @notice A batch of `length` bytes isn't a header and then items of `item` bytes each, or has no item.
    error BadBatch(uint256 length, uint256 header, uint256 item);
    /// @notice A deposit of nothing.
    error ZeroAmount();
    /// @notice The guardian has paused new business. Exits (claims, refunds, withdrawals, disputes) are never paused.
    error NewBusinessPaused();
    /// @notice Only the guardian may pause and resume.
    error NotGuardian(address caller);
    /// @notice `owner` has no credit in `token`.
    error NoCredit(address owner, address token);
    /// @notice A signature isn't 65 bytes, has a high s or recovers to another address.
    error BadSignature(address expected);

    /// @notice The token refused a payout; `owner` may withdraw `amount` later, to any address.
    event Credited(address indexed owner, address indexed token, uint256 amount);
    /// @notice `owner` withdrew its credit.
    event CreditWithdrawn(address indexed owner, address indexed token, address indexed to, uint256 amount);
    /// @notice The guardian stopped new business.
    event Paused(address indexed guardian);
    /// @notice The guardian resumed new business.
    event Resumed(address indexed guardian);

    /// @notice Send the caller's whole credit in `token` to `to`. Reverts if the token refuses again; the credit stays.
    /// @return amount Base units sent.
    function withdrawCredit(address token, address to) external returns (uint256 amount);

    /// @notice Let this contract take `amount` of `token` from the caller by the caller's ERC-2612 permit. Meant for the first call of
    /// a `multicall`, before what takes the money.
    /// @dev A permit that the token refuses is passed over, since anyone may have sent it before.
    function permit(address token, uint256 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external;

    /// @notice Stop new business: opening, topping up, funding. Guardian only.
    function pause() external;

    /// @notice Allow new business again. Guardian only.
    function resume() external;

    /// @notice Base units of `token` that `owner` may withdraw because a payout was refused.
    function creditOf(address owner, address token) external view returns (uint256);

    /// @notice Whether new business is stopped.
    function paused() external view returns (bool);

    /// @notice Who may pause new business; zero if nobody. It has no power over money.
    function guardian() external view returns (address);
}
