// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Escrow} from "../../../contracts/Escrow.sol";
import {IEscrow} from "../../../contracts/interfaces/IEscrow.sol";
import {Award, BASIS_POINTS, Receipt, Start} from "../../../contracts/interfaces/MarketTypes.sol";
import {Symbolic} from "./Symbolic.sol";

/// @dev From ANY record that satisfies the invariant, of any award, at any time, whoever makes one call
/// with any arguments leaves a record that satisfies it, and has moved exactly the money that the record says.
///
///     paid <= price,  amount = price + disputeFee,  claimed <= price,
///     of the escrow's balance, amount - paid is this award's while it is open, and nothing once it is closed.
contract EscrowProofs is Symbolic {
    /// @dev Where the compiler puts the two mappings; `setUp` checks it against a real record.
    uint256 private constant RECORDS = 4;
    uint256 private constant CLAIMS = 5;

    Escrow internal escrow;

    function setUp() public override {
        super.setUp();
        escrow = new Escrow(1, GUARDIAN);
        bytes32 id = keccak256("some award");
        _write(id, IEscrow.Record({amount: 7, paid: 3, time: 5, state: IEscrow.State.Claimed}), 6);
        IEscrow.Record memory record = escrow.recordOf(id);
        assert(record.amount == 7 && record.paid == 3 && record.time == 5 && record.state == IEscrow.State.Claimed);
        assert(escrow.claimOf(id).due == 6);
    }

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

        IEscrow.Record memory record = escrow.recordOf(id);
        assert(before.state != IEscrow.State.None && before.state < IEscrow.State.Accepted);
        assert(record.amount == before.amount);
        assert(record.paid >= before.paid && record.paid <= award.price);
        assert(escrow.claimOf(id).due <= award.price);
        // To the provider what the record says, to the arbiter no more than the fee, and all the rest back at the end.
        uint256 paid = record.paid - before.paid;
        uint256 owed = _owed(before) - _owed(record);
        assert(_got(PROVIDER) == paid);
        assert(_got(ARBITER) <= award.disputeFee && paid + _got(ARBITER) <= owed);
        assert(_got(REQUESTER) == owed - paid - _got(ARBITER));
    }

    /// @dev Any award that may have been funded here, in any state.
    function _anyRecord(Award memory award) private returns (bytes32 id, IEscrow.Record memory record) {
        uint256 amount = uint256(award.price) + award.disputeFee;
        uint256 paid = svm.createUint(96, "paid");
        uint256 state = svm.createUint(8, "state");
        uint128 claimed = _any128("claimed");
        vm.assume(amount < 1 << 96 && paid <= award.price && claimed <= award.price);
        vm.assume(award.splitBps <= BASIS_POINTS && state <= uint256(type(IEscrow.State).max));
        id = escrow.digestOf(_here(award));
        record.amount = uint96(amount);
        record.paid = uint96(paid);
        record.time = uint40(svm.createUint(40, "time of the record"));
        record.state = IEscrow.State(state);
        _write(id, record, claimed);
    }

    /// @dev The award, with parties that differ and the token that we watch.
    function _here(Award memory award) private view returns (Award memory) {
        award.requester = REQUESTER;
        award.provider = PROVIDER;
        award.arbiter = ARBITER;
        award.token = address(token);
        return award;
    }

    function _write(bytes32 id, IEscrow.Record memory record, uint128 claimed) private {
        uint256 packed = uint256(record.amount) | uint256(record.paid) << 96 | uint256(record.time) << 192;
        vm.store(address(escrow), _place(id, RECORDS), bytes32(packed | uint256(uint8(record.state)) << 232));
        vm.store(address(escrow), _place(id, CLAIMS), bytes32(uint256(claimed)));
    }

    function _owed(IEscrow.Record memory record) private pure returns (uint256) {
        return record.state >= IEscrow.State.Accepted ? 0 : record.amount - record.paid;
    }
}
