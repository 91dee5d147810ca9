// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IEscrow} from "../../../contracts/interfaces/IEscrow.sol";
import {Acceptance, Award, BASIS_POINTS, Settlement, Verdict} from "../../../contracts/interfaces/MarketTypes.sol";
import {EscrowWorld} from "./EscrowWorld.sol";
import {Fact, fact, requireFact} from "./Fact.sol";

/// @dev As in `EscrowProofs`, of the entries that decide who gets what: an acceptance, an agreement of both, the split; and of who may bring a verdict.
/// Where money is given out, each says to the base unit what the provider is paid, who has agreed to it (called, or signed just this), and that all of
/// the award's money goes to the three of them.
/// @custom:halmos --solver-timeout-branching 100ms
contract EscrowOutcomeProofs is EscrowWorld {
    /// @dev An acceptance pays what it says, if the requester means it; the award ends with its last part, and not in a dispute.
    function check_release(Award memory award, Acceptance memory acceptance) external {
        (bytes32 id, IEscrow.Record memory before) = _anyRecord(award);
        _anyTime();
        (address caller, bytes memory signature) = (svm.createAddress("caller"), _signature());
        bytes memory data = abi.encodeCall(escrow.release, (_here(award), acceptance, signature));
        if (!_calls(caller, address(escrow), data)) return;

        requireFact(
            _isReleased(award, id, before, acceptance)
                & _mayEnd(award, id, before, acceptance, fact(caller == PROVIDER))
        );
        requireFact(_isAgreed(caller, REQUESTER, hashes.hashAcceptance(acceptance), signature));
    }

    /// @dev Two agree, and the provider has what they say.
    function check_settle(Award memory award, Settlement memory settlement) external {
        (bytes32 id, IEscrow.Record memory before) = _anyRecord(award);
        _anyTime();
        address caller = svm.createAddress("caller");
        (bytes memory one, bytes memory other) = (_signature(), _signature());
        bytes memory data = abi.encodeCall(escrow.settle, (_here(award), settlement, one, other));
        if (!_calls(caller, address(escrow), data)) return;

        bytes32 agreed = hashes.hashSettlement(settlement);
        requireFact(
            _isSettled(award, id, before, settlement) & _isAgreed(caller, REQUESTER, agreed, one)
                & _isAgreed(caller, PROVIDER, agreed, other)
        );
    }

    /// @dev Nobody speaks for the arbiter but who brings its signature of just this verdict.
    function check_a_verdict_is_the_arbiters(Award memory award, Verdict memory verdict) external {
        _anyRecord(award);
        _anyTime();
        (address caller, bytes memory signature) = (svm.createAddress("caller"), _signature());
        bytes memory data = abi.encodeCall(escrow.applyVerdict, (_here(award), verdict, signature));
        if (!_calls(caller, address(escrow), data)) return;
        requireFact(_isAgreed(caller, ARBITER, hashes.hashVerdict(verdict), signature));
    }

    /// @dev Where nobody was named to judge, nobody does.
    function check_no_verdict_without_arbiter(Award memory award, Verdict memory verdict) external {
        _here(award).arbiter = address(0);
        _writeAny(award);
        _anyTime();
        address caller = svm.createAddress("caller");
        vm.assume(caller != address(0));
        assert(!_calls(caller, address(escrow), abi.encodeCall(escrow.applyVerdict, (award, verdict, _signature()))));
    }

    /// @dev Of what was claimed and isn't paid, `splitBps` to the provider, rounded down; to the requester all the rest, the fee too.
    /// The solver knows nothing of a product of two unknowns but that it is the same as the contract's, and that a share is no
    /// more than the whole: `rest * bps <= rest * 10,000`, since `bps <= 10,000`.
    function check_split(Award memory award) external {
        (bytes32 id, IEscrow.Record memory before) = _anyRecord(award);
        uint256 claimed = escrow.claimOf(id).due;
        uint256 rest = claimed > before.paid ? claimed - before.paid : 0;
        uint256 share = rest * award.splitBps / BASIS_POINTS;
        vm.assume(share <= rest);
        _anyTime();
        if (!_anybodyCalls(address(escrow), abi.encodeCall(escrow.split, (_here(award))))) return;

        IEscrow.Record memory record = escrow.recordOf(id);
        requireFact(
            fact(before.state == IEscrow.State.Disputed) & fact(record.state == IEscrow.State.Split)
                & fact(block.timestamp > before.time) & fact(_got(PROVIDER) == share)
                & _isKept(award, before, record, fact(true), 0)
        );
    }

    // ------------------------------------------------------------------------------------------------- facts

    /// @dev The invariant, and money moved as the record says: to the provider what it says, to the arbiter `fee`, and if the award
    /// is closed the rest back. The differences may wrap: then they are beyond what the bounds let through.
    function _isKept(
        Award memory award,
        IEscrow.Record memory before,
        IEscrow.Record memory record,
        Fact closed,
        uint256 fee
    ) private view returns (Fact) {
        Fact wasOpen =
            fact(before.state != IEscrow.State.None) & fact(before.state < IEscrow.State.Accepted);
        Fact bounded = fact(record.paid >= before.paid) & fact(record.paid <= award.price);
        unchecked {
            Fact back = fact(_got(REQUESTER) == uint256(record.amount) - record.paid - fee) & closed;
            return wasOpen & bounded & fact(record.amount == before.amount) & fact(fee <= award.disputeFee)
                & fact(_got(PROVIDER) == uint256(record.paid) - before.paid) & fact(_got(ARBITER) == fee)
                & (back | ~closed & fact(_got(REQUESTER) == 0) & fact(record.state < IEscrow.State.Accepted));
        }
    }

    function _isReleased(Award memory award, bytes32 id, IEscrow.Record memory before, Acceptance memory acceptance)
        private
        view
        returns (Fact result)
    {
        IEscrow.Record memory record = escrow.recordOf(id);
        result = fact(record.paid == acceptance.due) | fact(record.paid == before.paid);
        result = result & fact(record.paid >= acceptance.due) & fact(acceptance.award == id);
        result = result & _isKept(award, before, record, fact(record.state == IEscrow.State.Accepted), 0);
    }

    /// @dev An acceptance ends an award with its last part, outside of a dispute, and by the provider or in full.
    function _mayEnd(
        Award memory award,
        bytes32 id,
        IEscrow.Record memory before,
        Acceptance memory acceptance,
        Fact byProvider
    ) private view returns (Fact) {
        IEscrow.Record memory record = escrow.recordOf(id);
        Fact closed = fact(record.state == IEscrow.State.Accepted);
        Fact mayClose = ~fact(before.state == IEscrow.State.Disputed)
            & (byProvider | fact(acceptance.due == award.price)) & _isPart(award, acceptance.part, fact(true));
        Fact on = _goesOn(id, before, record, acceptance.due) & _isPart(award, acceptance.part, fact(false));
        return closed & mayClose | ~closed & on;
    }

    /// @dev A dispute goes on; so does a claim, unless all of it was accepted.
    function _goesOn(bytes32 id, IEscrow.Record memory before, IEscrow.Record memory record, uint256 due)
        private
        view
        returns (Fact)
    {
        Fact claimed = fact(before.state == IEscrow.State.Claimed);
        Fact same = fact(record.state == before.state) & fact(record.time == before.time);
        Fact argued = claimed | fact(before.state == IEscrow.State.Disputed);
        return same | ~argued | claimed & fact(due >= escrow.claimOf(id).due);
    }

    /// @dev One of the award's parts; the last if the award is closed.
    function _isPart(Award memory award, uint256 part, Fact closed) private pure returns (Fact) {
        unchecked {
            uint256 end = uint256(award.firstPart) + award.parts;
            return fact(part >= award.firstPart) & fact(part < end) & (~closed | fact(part + 1 == end));
        }
    }

    function _isSettled(Award memory award, bytes32 id, IEscrow.Record memory before, Settlement memory settlement)
        private
        view
        returns (Fact)
    {
        IEscrow.Record memory record = escrow.recordOf(id);
        // The arbiter here is a plain key: it has begun to work when a dispute is open.
        Fact disputed = fact(before.state == IEscrow.State.Disputed);
        return fact(record.state == IEscrow.State.Settled) & fact(record.paid == settlement.due)
            & fact(settlement.award == id) & fact(block.timestamp <= settlement.settleBy)
            & _isFee(disputed, award.disputeFee) & _isKept(award, before, record, fact(true), _got(ARBITER));
    }

    /// @dev The arbiter gets the fee if it has earned it, and nothing else.
    function _isFee(Fact earned, uint256 fee) private view returns (Fact) {
        return (fact(_got(ARBITER) == 0) | earned) & (fact(_got(ARBITER) == fee) | ~earned);
    }

    /// @dev `party` called, or signed just this.
    function _isAgreed(address caller, address party, bytes32 structHash, bytes memory signature)
        private
        view
        returns (Fact)
    {
        return fact(caller == party) | fact(_signer(_digest(structHash), signature) == party);
    }
}
