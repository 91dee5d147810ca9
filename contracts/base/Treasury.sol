// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {Multicall} from "@openzeppelin/contracts/utils/Multicall.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {IERC3009} from "../interfaces/IERC3009.sol";
import {ITreasury} from "../interfaces/ITreasury.sol";

/// @title Money in, money out, signatures and the guardian: what both money contracts do alike
/// @dev Rules in `ITreasury` and docs/spec/contracts.md section 1.
abstract contract Treasury is ITreasury, EIP712, Multicall, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /// @dev Half of the order of secp256k1, rounded up: s must be below, or a second signature would be as good (EIP-2).
    uint256 private constant HALF_ORDER_AND_ONE = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A1;

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
    function permit(address token, uint256 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external
        nonReentrant
    {
        // Whoever saw it in the mempool may have sent it first, or the allowance may be there since long. What needs the
        // allowance fails by itself if it isn't there. (A token without the function answers nothing, which is caught too.)
        try IERC20Permit(token).permit(msg.sender, address(this), amount, deadline, v, r, s) {} catch {}
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
        uint256 before = _balance(token, to);
        IERC20(token).safeTransferFrom(msg.sender, to, amount);
        _requireReceived(token, to, amount, before);
    }

    /// @dev The same from `funder`, by its authorization with this `nonce`, which says what the money is for. Only the receiver can
    /// use an authorization of this kind, so nobody can take the money out of the call.
    function _takeAuthorized(
        address token,
        uint256 amount,
        address funder,
        bytes32 nonce,
        Authorization calldata authorization
    ) internal {
        uint256 before = _balance(token, address(this));
        IERC3009(token)
            .receiveWithAuthorization(
                funder,
                address(this),
                amount,
                authorization.validAfter,
                authorization.validBefore,
                nonce,
                authorization.v,
                authorization.r,
                authorization.s
            );
        _requireReceived(token, address(this), amount, before);
    }

    function _requireReceived(address token, address to, uint256 amount, uint256 before) internal view {
        uint256 received = _balance(token, to) - before;
        if (received != amount) revert InexactDeposit(token, amount, received);
    }

    /// @dev What `holder` has of `token`.
    function _balance(address token, address holder) internal view returns (uint256 amount) {
        bytes4 selector = IERC20.balanceOf.selector;
        bool answered;
        assembly ("memory-safe") {
            mstore(0, selector)
            mstore(4, holder)
            // Scratch space takes both the question and the answer.
            answered := staticcall(gas(), token, 0, 0x24, 0, 0x20)
            answered := and(answered, gt(returndatasize(), 0x1f))
            amount := mload(0)
        }
        if (!answered) revert NotAToken(token);
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
    function _requireSigned(address party, bytes32 digest, bytes calldata signature) internal view {
        // A malformed signature recovers to zero; a party of zero must not match it.
        address recovered = _recover(digest, signature);
        if (recovered == address(0) || recovered != party) revert BadSignature(party);
    }

    /// @dev Who signed `digest`, or zero. What OpenZeppelin's ECDSA does, in one piece of memory: at 300 gas less a signature, which
    /// is what a batch is made of. The precompile answers nothing if v isn't 27 or 28.
    function _recover(bytes32 digest, bytes calldata signature) internal view returns (address recovered) {
        assembly ("memory-safe") {
            let s := calldataload(add(signature.offset, 0x20))
            if and(eq(signature.length, 65), lt(s, HALF_ORDER_AND_ONE)) {
                let free := mload(0x40) // scratch beyond the free pointer: used at once, never kept
                mstore(free, digest)
                mstore(add(free, 0x20), byte(0, calldataload(add(signature.offset, 0x40))))
                mstore(add(free, 0x40), calldataload(signature.offset))
                mstore(add(free, 0x60), s)
                mstore(0, 0) // what stays there if nothing is answered
                pop(staticcall(gas(), 1, free, 0x80, 0, 0x20))
                recovered := mload(0)
            }
        }
    }

    /// @dev Where `data` begins and ends in calldata.
    function _bounds(bytes calldata data) internal pure returns (uint256 place, uint256 end) {
        assembly ("memory-safe") {
            place := data.offset
            end := add(data.offset, data.length)
        }
    }

    /// @dev Where the guard against reentrancy keeps its bit: the first word of transient storage, in which nothing else is kept.
    /// OpenZeppelin's own place is a long constant, which costs up to 90 gas a call.
    function _reentrancyGuardStorageSlot() internal pure override returns (bytes32) {
        return 0;
    }

    function _requireGuardian() private view {
        if (msg.sender != guardian) revert NotGuardian(msg.sender);
    }
}
