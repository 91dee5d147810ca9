// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDisputeArbiter} from "../../../contracts/interfaces/IDisputeArbiter.sol";
import {Award, ChannelKey, Offer, Receipt, Voucher} from "../../../contracts/interfaces/MarketTypes.sol";
import {CourtFixture} from "./CourtFixture.sol";

/// @dev The shortest ways to be refused by the court.
abstract contract CourtRefusals is CourtFixture {
    IDisputeArbiter.Finding internal constant UPHELD = IDisputeArbiter.Finding.Upheld;
    IDisputeArbiter.Finding internal constant WRONG = IDisputeArbiter.Finding.WrongResult;

    function setUp() public virtual override {
        super.setUp();
        _enlist(ARBITERS, 2);
    }

    function _sitting() internal returns (Award memory award, address[] memory committee) {
        award = _claimed(true);
        _open(award, REQUESTER);
        committee = _drawn(award);
    }

    function _presentHold(Award memory award, ChannelKey memory key, uint128 amount) internal {
        _presentHold(award, key, amount, 1, 0);
    }

    function _presentHold(
        Award memory award,
        ChannelKey memory key,
        uint128 amount,
        uint64 sequence,
        uint128 cumulative
    ) internal {
        bytes32 leaf = hashes.holdLeaf(_id(award), address(court), amount);
        Voucher memory voucher = Voucher(channels.channelId(key), sequence, cumulative, amount, leaf);
        bytes memory signature = _signVoucher(REQUESTER_KEY, voucher);
        vm.prank(PROVIDER);
        channels.present(key, voucher, signature, "");
    }

    function _copy(Award memory award) internal pure returns (Award memory) {
        return abi.decode(abi.encode(award), (Award));
    }

    function _sealCall(bytes32 id, address[] memory committee, uint256 seat, bytes32 seal)
        internal
        view
        returns (bytes memory)
    {
        return abi.encodeCall(court.sealVote, (id, committee, seat, seal));
    }

    function _openCall(
        bytes32 id,
        address[] memory committee,
        uint256 seat,
        IDisputeArbiter.Vote memory vote,
        bytes32 secret
    ) internal view returns (bytes memory) {
        return abi.encodeCall(court.openVote, (id, committee, seat, vote, secret));
    }

    function _sum(address[] memory committee, uint256 seats) internal view returns (uint256 sum) {
        for (uint256 seat = 0; seat < seats; ++seat) {
            bool isNew = true;
            for (uint256 other = 0; other < seat; ++other) {
                isNew = isNew && committee[other] != committee[seat];
            }
            if (isNew) sum += bench.accountOf(committee[seat]).balance;
        }
    }

    function _refuseQuorum(
        Award memory award,
        IDisputeArbiter.Vote memory vote,
        IDisputeArbiter.Quorum memory quorum,
        bytes4 reason
    ) internal {
        _refuse(abi.encodeCall(court.settleByQuorum, (_id(award), vote, quorum)), reason);
    }

    function _refuseClose(
        Award memory award,
        address[][] memory committees,
        IDisputeArbiter.Vote[] memory votes,
        bytes4 reason
    ) internal {
        _refuse(abi.encodeCall(court.close, (award, committees, votes)), reason);
    }

    function _refuseOpen(Award memory award, address caller, bytes4 reason) internal {
        (Receipt memory receipt, bytes memory signature) = _receipt(award);
        Offer memory offer = _courtOffer();
        _refuseBy(
            caller,
            award.rail == address(escrow)
                ? abi.encodeCall(court.open, (award, offer))
                : abi.encodeCall(court.openOnChannel, (award, offer, receipt, signature)),
            reason
        );
    }

    function _refuseReceipt(Award memory award, bytes4 reason) internal {
        (Receipt memory receipt, bytes memory signature) = _receipt(award);
        _refuseReceipt(award, receipt, signature, reason);
    }

    function _refuseReceipt(Award memory award, Receipt memory receipt, bytes memory signature, bytes4 reason)
        internal
    {
        _refuseBy(REQUESTER, abi.encodeCall(court.openOnChannel, (award, _courtOffer(), receipt, signature)), reason);
    }

    function _refuseAppeal(Award memory award, Offer memory offer, address caller, bytes4 reason) internal {
        _refuseBy(caller, abi.encodeCall(court.appeal, (award, offer)), reason);
    }

    function _refuse(bytes memory data, bytes4 reason) internal {
        _refuseBy(STRANGER, data, reason);
    }

    function _refuseBy(address caller, bytes memory data, bytes4 reason) internal {
        vm.prank(caller);
        (bool success, bytes memory answer) = address(court).call(data);
        require(!success, "it should have reverted");
        require(bytes4(answer) == reason, "reverted with another error");
    }
}
