// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import {IEscrow} from "../interfaces/IEscrow.sol";
import {IPaymentChannel} from "../interfaces/IPaymentChannel.sol";
import {Award, ChannelKey, Verdict} from "../interfaces/MarketTypes.sol";

/// @title An arbiter for tests: a contract that says what its owner tells it to
/// @dev It shows that an arbiter contract needs nothing but these three entries.
contract StandInArbiter {
    address public immutable owner;

    error NotOwner(address caller);

    modifier onlyOwner() {
        if (msg.sender != owner) revert NotOwner(msg.sender);
        _;
    }

    constructor() {
        owner = msg.sender;
    }

    function dispute(IEscrow escrow, Award calldata award) external onlyOwner {
        escrow.dispute(award);
    }

    function judge(IEscrow escrow, Award calldata award, Verdict calldata verdict) external onlyOwner {
        escrow.applyVerdict(award, verdict, "");
    }

    function enforce(
        IPaymentChannel channels,
        ChannelKey calldata key,
        Award calldata award,
        uint128 amount,
        bytes32[] calldata proof,
        Verdict calldata verdict
    ) external onlyOwner {
        channels.enforce(key, award, amount, proof, verdict, "");
    }

    function collect(IERC20 token) external onlyOwner {
        // A test's arbiter: an unchecked transfer shows up as a wrong balance at once.
        require(token.transfer(owner, token.balanceOf(address(this))));
    }
}
