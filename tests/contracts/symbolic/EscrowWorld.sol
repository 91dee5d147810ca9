// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Escrow} from "../../../contracts/Escrow.sol";
import {IEscrow} from "../../../contracts/interfaces/IEscrow.sol";
import {Award, BASIS_POINTS} from "../../../contracts/interfaces/MarketTypes.sol";
import {StructHashHarness} from "../../../contracts/mocks/StructHashHarness.sol";
import {Symbolic} from "./Symbolic.sol";

/// @dev An escrow and ANY record of any award that satisfies the invariant:
///
///     paid <= price,  amount = price + disputeFee,  claimed <= price,
///     of the escrow's balance, amount - paid is this award's while it is open, and nothing once it is closed.
abstract contract EscrowWorld is Symbolic {
    /// @dev Where the compiler puts the two mappings; `setUp` checks it against a real record.
    uint256 private constant RECORDS = 4;
    uint256 private constant CLAIMS = 5;

    Escrow internal escrow;
    StructHashHarness internal hashes;

    function setUp() public override {
        super.setUp();
        escrow = new Escrow(1, GUARDIAN);
        hashes = new StructHashHarness();
        bytes32 id = keccak256("some award");
        _write(id, IEscrow.Record({amount: 7, paid: 3, time: 5, state: IEscrow.State.Claimed}), 6);
        IEscrow.Record memory record = escrow.recordOf(id);
        assert(record.amount == 7 && record.paid == 3 && record.time == 5 && record.state == IEscrow.State.Claimed);
        assert(escrow.claimOf(id).due == 6);
    }

    /// @dev What every call must leave behind: the invariant, and money moved as the record says. To the provider what the record
    /// says, to the arbiter no more than the fee, and all the rest back at the end.
    function _requireKept(Award memory award, bytes32 id, IEscrow.Record memory before, IEscrow.Record memory record)
        internal
        view
    {
        assert(before.state != IEscrow.State.None && before.state < IEscrow.State.Accepted);
        assert(record.amount == before.amount);
        assert(record.paid >= before.paid && record.paid <= award.price);
        assert(escrow.claimOf(id).due <= award.price);
        uint256 paid = record.paid - before.paid;
        uint256 owed = _owed(before) - _owed(record);
        assert(_got(PROVIDER) == paid);
        assert(_got(ARBITER) <= award.disputeFee && paid + _got(ARBITER) <= owed);
        assert(_got(REQUESTER) == owed - paid - _got(ARBITER));
    }

    /// @dev Any record of `award`, with parties that differ and the token that we watch.
    function _anyRecord(Award memory award) internal returns (bytes32 id, IEscrow.Record memory record) {
        return _writeAny(_here(award));
    }

    /// @dev Any award that may have been funded here, in any state.
    function _writeAny(Award memory award) internal returns (bytes32 id, IEscrow.Record memory record) {
        uint256 amount = uint256(award.price) + award.disputeFee;
        uint256 paid = svm.createUint(96, "paid");
        uint256 state = svm.createUint(8, "state");
        uint128 claimed = _any128("claimed");
        vm.assume(amount < 1 << 96 && paid <= award.price && claimed <= award.price);
        vm.assume(award.splitBps <= BASIS_POINTS && state <= uint256(type(IEscrow.State).max));
        id = escrow.digestOf(award);
        record.amount = uint96(amount);
        record.paid = uint96(paid);
        record.time = uint40(svm.createUint(40, "time of the record"));
        record.state = IEscrow.State(state);
        _write(id, record, claimed);
    }

    /// @dev The award, with parties that differ and the token that we watch.
    function _here(Award memory award) internal view returns (Award memory) {
        award.requester = REQUESTER;
        award.provider = PROVIDER;
        award.arbiter = ARBITER;
        award.token = address(token);
        return award;
    }

    /// @dev What the parties sign of `structHash`.
    function _digest(bytes32 structHash) internal view returns (bytes32) {
        return hashes.digest(block.chainid, address(escrow), structHash);
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
