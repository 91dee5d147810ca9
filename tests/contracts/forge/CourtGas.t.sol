// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDisputeArbiter} from "../../../contracts/interfaces/IDisputeArbiter.sol";
import {Award} from "../../../contracts/interfaces/MarketTypes.sol";
import {CourtFixture} from "./CourtFixture.sol";

/// @dev What one dispute costs in gas before refunds, each step a transaction of its own: docs/spec/law.md, section 5.
/// forge-config: default.isolate = true
contract CourtGasTest is CourtFixture {
    address private constant CONSOLE = 0x000000000000000000636F6e736F6c652e6c6f67;

    function test_what_a_dispute_of_five_arbiters_by_quorum_costs() external {
        _enlist(ARBITERS, 2);
        _enrich(address(court));
        _enrich(address(bench));
        _enrich(address(escrow));
        _enrich(address(reputation));
        _enrich(POOL);
        (uint256 opening, uint256 settling, uint256 closing) = _measureDispute();
        require(opening < 133_500 && settling < 133_500 && closing < 125_000, "dearer than docs/spec/law.md says");
        require(opening + settling + closing < 400_000, "one dispute is too dear");
    }

    /// @dev A bench of five tickets names the same arbiter again and again before it has named five.
    function test_what_the_first_dispute_of_a_new_court_costs() external {
        _enlist(5, 1);
        (uint256 opening, uint256 settling, uint256 closing) = _measureDispute();
        require(opening + settling + closing < 430_000, "dearer than docs/spec/law.md says");
    }

    function _measureDispute() private returns (uint256 opening, uint256 settling, uint256 closing) {
        Award memory award = _claimed(true);
        opening = _measure(REQUESTER, abi.encodeCall(IDisputeArbiter.open, (award, _courtOffer())));
        IDisputeArbiter.Round memory round = _roundOf(award);
        vm.roll(round.drawBlock + 1);
        address[] memory committee = _predict(_id(award), round);
        IDisputeArbiter.Vote memory vote = _vote(IDisputeArbiter.Finding.WrongResult, 0);
        IDisputeArbiter.Quorum memory quorum = _quorum(award, committee, vote, 5);
        settling = _measure(STRANGER, abi.encodeCall(IDisputeArbiter.settleByQuorum, (_id(award), vote, quorum)));
        vm.warp(block.timestamp + _length(award) / 6 + 1);
        closing = _measure(STRANGER, abi.encodeCall(IDisputeArbiter.close, (award, _one(committee), _one(vote))));
        _print("open", opening);
        _print("settle by quorum", settling);
        _print("close", closing);
        _print("one dispute", opening + settling + closing);
    }

    function _print(string memory what, uint256 amount) private view {
        (bool success,) = CONSOLE.staticcall(abi.encodeWithSignature("log(string,uint256)", what, amount));
        require(success);
    }

    function _measure(address sender, bytes memory data) private returns (uint256) {
        vm.prank(sender);
        (bool success, bytes memory answer) = address(court).call(data);
        if (!success) {
            assembly ("memory-safe") {
                revert(add(answer, 32), mload(answer))
            }
        }
        return uint256(vm.lastCallGas().gasTotalUsed);
    }
}
