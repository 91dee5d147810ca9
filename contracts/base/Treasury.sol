// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {ITreasury} from "../interfaces/ITreasury.sol";

/// @title Money in, money out, signatures and the guardian: what both money contracts do alike
/// @dev Rules in `ITreasury` and docs/spec/contracts.md section 1.
abstract contract Treasury is ITreasury, EIP712, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /// @inheritdoc ITreasury
    address public immutable guardian;

    /// @inheritdoc ITreasury
    bool public paused;

    mapping(address owner => mapping(address token => uint256 amount)) private _credits;

    constructor(address guardian_) EIP712("Stoa", "1") {
        guardian = guardian_;
    }

    /// @dev For entries that bring in new money. Nothing that lets money out may ever carry this.
    modifier newBusiness() {
        if (paused) revert NewBusinessPaused();
        _;
    }

    /// @inheritdoc ITreasury
    function withdrawCredit(address token, address to) external nonReentrant returns (uint256 amount) {
        amount = _credits[msg.sender][token];
        if (amount == 0) revert NoCredit(msg.sender, token);

        _credits[msg.sender][token] = 0;
        emit CreditWithdrawn(msg.sender, token, to, amount);

        IERC20(token).safeTransfer(to, amount);
    }

    /// @inheritdoc ITreasury
    function pause() external {
        _requireGuardian();
        paused = true;
        emit Paused(msg.sender);
    }

    /// @inheritdoc ITreasury
    function resume() external {
        _requireGuardian();
        paused = false;
        emit Resumed(msg.sender);
    }

    /// @inheritdoc ITreasury
    function creditOf(address owner, address token) external view returns (uint256) {
        return _credits[owner][token];
    }

    /// @dev Pull exactly `amount` from the caller, or revert.
    function _take(address token, uint256 amount) internal {
        _takeTo(token, address(this), amount);
    }

    /// @dev The same, for another contract of ours.
    function _takeTo(address token, address to, uint256 amount) internal {
        uint256 before = IERC20(token).balanceOf(to);
        IERC20(token).safeTransferFrom(msg.sender, to, amount);
        uint256 received = IERC20(token).balanceOf(to) - before;
        if (received != amount) revert InexactDeposit(token, amount, received);
    }

    /// @dev Pay `to`, or credit it if the token refuses. A caller can't force a credit by giving too little gas: the 1/64 that
    /// is left after a transfer ran out of gas doesn't reach for the write of the credit, so the whole call reverts.
    function _pay(address token, address to, uint256 amount) internal {
        if (amount == 0 || IERC20(token).trySafeTransfer(to, amount)) return;
        _credits[to][token] += amount;
        emit Credited(to, token, amount);
    }

    /// @dev The consent of `party` to `digest`: it calls, or it has signed.
    function _requireConsent(address party, bytes32 digest, bytes calldata signature) internal view {
        if (msg.sender != party) _requireSigned(party, digest, signature);
    }

    /// @dev 65 bytes, low s, v of 27 or 28: each object has one valid signature per signer and nonce (C4).
    function _requireSigned(address party, bytes32 digest, bytes calldata signature) internal pure {
        (address recovered,,) = ECDSA.tryRecoverCalldata(digest, signature);
        // `recovered` is zero if the signature is malformed; a party of zero must not match it.
        if (recovered == address(0) || recovered != party) revert BadSignature(party);
    }

    function _requireGuardian() private view {
        if (msg.sender != guardian) revert NotGuardian(msg.sender);
    }
}
