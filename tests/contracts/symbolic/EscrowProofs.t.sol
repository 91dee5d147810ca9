// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IEscrow} from "../../../contracts/interfaces/IEscrow.sol";
import {Award, BASIS_POINTS, Receipt, Start} from "../../../contracts/interfaces/MarketTypes.sol";
import {EscrowWorld} from "./EscrowWorld.sol";

/// @dev From ANY record that satisfies the invariant, of any award, at any time, whoever makes one call
/// with any arguments leaves a record that satisfies it, and has moved exactly the money that the record says.
contract EscrowProofs is EscrowWorld {
    function check_fund(Award memory award) external {
        bytes32 id = escrow.digestOf(_here(award));
        IEscrow.Record memory before = escrow.recordOf(id);
        _anyTime();
        vm.prank(REQUESTER);
        (bool success,) = address(escrow).call(abi.encodeCall(escrow.fund, (award, "")));
        if (!success) return;
        IEscrow.Record memory record = escrow.recordOf(id);
        assert(before.state == IEscrow.State.None && record.state == IEscrow.State.Funded);
        assert(record.amount == uint256(award.price) + award.disputeFee && record.paid == 0);
        assert(token.balanceOf(address(escrow)) == record.amount);
        assert(award.splitBps <= BASIS_POINTS && award.startBy < award.deliverBy);
    }

    function check_fund_again(Award memory award) external {
        (, IEscrow.Record memory before) = _anyRecord(award);
        vm.assume(before.state != IEscrow.State.None);
        assert(!_anybodyCalls(address(escrow), abi.encodeCall(escrow.fund, (award, _signature()))));
    }

    function check_recall(Award memory award) external {
        _keeps(award, abi.encodeCall(escrow.recall, (_here(award))));
    }

    function check_prove_start(Award memory award, Start memory start) external {
        _keeps(award, abi.encodeCall(escrow.proveStart, (_here(award), start, _signature())));
    }

    function check_claim(Award memory award, Start memory start, Receipt memory receipt) external {
        _keeps(award, abi.encodeCall(escrow.claim, (_here(award), start, _signature(), receipt, _signature())));
    }

    function check_pay_claim(Award memory award) external {
        _keeps(award, abi.encodeCall(escrow.payClaim, (_here(award))));
    }

    function check_refund(Award memory award) external {
        _keeps(award, abi.encodeCall(escrow.refund, (_here(award))));
    }

    function check_dispute(Award memory award) external {
        _keeps(award, abi.encodeCall(escrow.dispute, (_here(award))));
    }

    // ------------------------------------------------------------------------------------------------- any state

    function _keeps(Award memory award, bytes memory data) private {
        (bytes32 id, IEscrow.Record memory before) = _anyRecord(award);
        _anyTime();
        if (!_anybodyCalls(address(escrow), data)) return;

        _requireKept(award, id, before, escrow.recordOf(id));
    }
}
