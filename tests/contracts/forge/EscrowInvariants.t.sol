// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IEscrow} from "../../../contracts/interfaces/IEscrow.sol";
import {ITreasury} from "../../../contracts/interfaces/ITreasury.sol";
import {Acceptance, Award, Receipt, Settlement, Start, Verdict} from "../../../contracts/interfaces/MarketTypes.sol";
import {RefusingToken} from "../../../contracts/mocks/HostileTokens.sol";
import {TestToken} from "../../../contracts/mocks/TestToken.sol";
import {Driven} from "./Driven.sol";
import {Fixture} from "./Fixture.sol";

/// @dev Drives awards through every entry of the escrow, in any order, at and around amounts and deadlines.
contract EscrowHandler is Fixture {
    uint256 private constant LIVE = 3;

    mapping(bytes32 name => uint256) public done;
    mapping(bytes32 award => uint256) public floor; // what the requester accepted and the contract paid
    Award[] private _awards;

    function setUp() public override {
        super.setUp();
        token = TestToken(new RefusingToken());
        _enrich(REQUESTER);
        for (uint256 i = 0; i < LIVE; ++i) {
            fund(1000 * (i + 1), 10 * i, i);
        }
    }

    function awards() external view returns (Award[] memory) {
        return _awards;
    }

    function world()
        external
        view
        returns (IEscrow escrow_, TestToken token_, address requester, address provider, address arbiter)
    {
        return (escrow, token, REQUESTER, PROVIDER, ARBITER);
    }

    function fund(uint256 price, uint256 fee, uint256 terms) public {
        if (_awards.length >= 160) return;
        Award memory award = _award(uint128(price % 5000 + 1), uint128(fee % 100));
        award.slot = uint16(_awards.length);
        award.splitBps = uint16([uint256(0), 1, 5000, 9999, 10_000][terms % 5]);
        if (terms % 7 == 0) award.arbiter = address(0);
        bytes32 id = _marketDigest(hashes.hashAward(award));
        bytes memory signature = _sign(REQUESTER_KEY, id);
        uint256 amount = uint256(award.price) + award.disputeFee;
        uint256 way = terms % 4;
        if (way == 0) {
            vm.prank(REQUESTER);
            escrow.fundMany(bytes.concat(bytes20(award.token), _packFund(award)));
            _count("fundMany");
        } else if (way == 1) {
            ITreasury.Authorization memory paid = _authorize(REQUESTER_KEY, address(escrow), amount, id);
            escrow.fundByAuthorization(award, signature, REQUESTER, paid);
            _count("fundByAuthorization");
        } else if (way == 2) {
            bytes[] memory calls = new bytes[](2);
            calls[0] = _permitCall(REQUESTER_KEY, address(escrow), type(uint256).max);
            calls[1] = abi.encodeCall(escrow.fund, (award, ""));
            vm.prank(REQUESTER);
            escrow.multicall(calls);
            _count("multicall");
        } else {
            vm.prank(REQUESTER);
            escrow.fund(award, signature);
            _count("fund");
        }
        _awards.push(award);
    }

    /// @dev One good item, one that may be anything, and the first again.
    function releaseMany(uint256 which, uint256 due, uint256 part, bool forged) external {
        (Award memory award, bytes32 id) = _pick(which);
        (Award memory other, bytes32 otherId) = _pick(which % LIVE + 1);
        bytes memory first = _item(award, id, _around(award, id, due), uint32(part % 4), REQUESTER_KEY);
        uint128 second = _around(other, otherId, due >> 32);
        bytes memory rest = _item(other, otherId, second, uint32(part % 5), forged ? PROVIDER_KEY : REQUESTER_KEY);
        vm.prank(PROVIDER);
        try escrow.releaseMany(bytes.concat(bytes20(address(token)), first, rest, first)) {
            _count("releaseMany");
        } catch {}
    }

    function settleWithArbiter(uint256 which, uint256 due, bool byProvider, bool disputed) external {
        if (due % 4 != 0) return; // as with settle: else no dispute would live to its verdict
        (Award memory award, bytes32 id) = _pickIn(which, disputed ? IEscrow.State.Disputed : IEscrow.State.Claimed);
        Settlement memory agreed =
            Settlement({award: id, due: _around(award, id, due), settleBy: uint64(block.timestamp)});
        bytes32 digest = _marketDigest(hashes.hashSettlement(agreed));
        uint256 most = escrow.claimOf(id).due;
        uint256 least = escrow.recordOf(id).paid;
        if (least > most) most = least;
        bytes memory byParty = _sign(byProvider ? PROVIDER_KEY : REQUESTER_KEY, digest);
        address party = byProvider ? PROVIDER : REQUESTER;
        try escrow.settleWithArbiter(award, agreed, party, byParty, _sign(ARBITER_KEY, digest)) {
            require(agreed.due >= least && agreed.due <= most, "beyond what a verdict could");
            _count("settleWithArbiter");
        } catch {}
    }

    function _item(Award memory award, bytes32 id, uint128 due, uint32 part, uint256 key)
        private
        view
        returns (bytes memory)
    {
        Acceptance memory acceptance = Acceptance({award: id, part: part, receipt: 0, due: due});
        return _packRelease(award, acceptance, _sign(key, _marketDigest(hashes.hashAcceptance(acceptance))));
    }

    function release(uint256 which, uint256 due, uint256 part, bool byProvider) external {
        (Award memory award, bytes32 id) = _pick(which);
        Acceptance memory acceptance =
            Acceptance({award: id, part: uint32(part % 5), receipt: 0, due: _around(award, id, due)});
        bytes memory signature = _sign(REQUESTER_KEY, _marketDigest(hashes.hashAcceptance(acceptance)));
        vm.prank(byProvider ? PROVIDER : REQUESTER);
        try escrow.release(award, acceptance, signature) {
            _count("release");
            if (acceptance.due > floor[id]) floor[id] = acceptance.due;
        } catch {}
    }

    function settle(uint256 which, uint256 due) external {
        if (due % 4 != 0) return;
        (Award memory award, bytes32 id) = _pick(which);
        Settlement memory agreed =
            Settlement({award: id, due: _around(award, id, due), settleBy: uint64(block.timestamp)});
        bytes32 digest = _marketDigest(hashes.hashSettlement(agreed));
        try escrow.settle(award, agreed, _sign(REQUESTER_KEY, digest), _sign(PROVIDER_KEY, digest)) {
            _count("settle");
        } catch {}
    }

    function recall(uint256 which) external {
        (Award memory award,) = _pick(which);
        vm.prank(REQUESTER);
        try escrow.recall(award) {
            _count("recall");
        } catch {}
    }

    function proveStart(uint256 which, uint256 late) external {
        (Award memory award, bytes32 id) = _pick(which);
        (Start memory start, bytes memory signature) = _start(award, id, late);
        try escrow.proveStart(award, start, signature) {
            require(start.startedAt <= award.startBy, "a late start counted");
            _count("proveStart");
        } catch {}
    }

    function claim(uint256 which, uint256 due, uint256 late) external {
        (Award memory award, bytes32 id) = _pick(which);
        (Start memory start, bytes memory startSignature) = _start(award, id, late);
        Receipt memory receipt;
        receipt.award = id;
        receipt.part = uint32(due % 4);
        receipt.due = _around(award, id, due);
        bytes memory signature = _sign(PROVIDER_KEY, _marketDigest(hashes.hashReceipt(receipt)));
        vm.prank(PROVIDER);
        try escrow.claim(award, start, startSignature, receipt, signature) {
            require(block.timestamp <= uint256(award.deliverBy) + award.pace, "a late claim counted");
            _count("claim");
        } catch {}
    }

    function payClaim(uint256 which) external {
        (Award memory award,) = _pickIn(which, IEscrow.State.Claimed);
        try escrow.payClaim(award) {
            _count("payClaim");
        } catch {}
    }

    function dispute(uint256 which, bool byArbiter) external {
        (Award memory award,) = _pickIn(which, IEscrow.State.Claimed);
        vm.prank(byArbiter ? ARBITER : REQUESTER);
        try escrow.dispute(award) {
            _count("dispute");
        } catch {}
    }

    function judge(uint256 which, uint256 due, uint8 finding) external {
        (Award memory award, bytes32 id) = _pickIn(which, IEscrow.State.Disputed);
        Verdict memory verdict;
        verdict.award = id;
        verdict.due = _around(award, id, due);
        verdict.finding = finding % 3;
        try escrow.applyVerdict(award, verdict, _sign(ARBITER_KEY, _marketDigest(hashes.hashVerdict(verdict)))) {
            _count(verdict.finding == 1 && award.disputeFee != 0 ? bytes32("judge with fee") : bytes32("judge"));
        } catch {}
    }

    function split(uint256 which) external {
        (Award memory award,) = _pickIn(which, IEscrow.State.Disputed);
        try escrow.split(award) {
            _count("split");
        } catch {}
    }

    function refund(uint256 which) external {
        (Award memory award,) = _pick(which);
        try escrow.refund(award) {
            _count("refund");
        } catch {}
    }

    function wait(uint256 time) external {
        uint256[8] memory steps = [uint256(0), 0, 1, 9, 11, 1, PACE + 1, RESOLVE_WITHIN];
        vm.warp(block.timestamp + steps[time % 8]);
    }

    function refuse(uint256 who, bool refused) external {
        RefusingToken(address(token)).setRefused([REQUESTER, PROVIDER, ARBITER][who % 3], refused && who % 2 == 0);
    }

    function withdrawCredit(uint256 who) external {
        address party = [REQUESTER, PROVIDER, ARBITER][who % 3];
        vm.prank(party);
        try escrow.withdrawCredit(address(token), party) {
            _count("withdrawCredit");
        } catch {}
    }

    function _start(Award memory award, bytes32 id, uint256 late)
        private
        view
        returns (Start memory start, bytes memory signature)
    {
        start = Start({award: id, startedAt: award.startBy + (late % 4 == 0 ? 1 : 0)});
        signature = _sign(PROVIDER_KEY, _marketDigest(hashes.hashStart(start)));
    }

    /// @dev Around what is paid, what is claimed, and the price, one beyond it included.
    function _around(Award memory award, bytes32 id, uint256 pick) private view returns (uint128) {
        uint256 base = pick % 4 == 0
            ? escrow.recordOf(id).paid
            : pick % 4 == 1 ? escrow.claimOf(id).due : pick % 4 == 2 ? award.price : pick % award.price;
        base += (pick >> 8) % 3;
        return uint128(base == 0 ? 0 : base - 1);
    }

    function _pick(uint256 which) private view returns (Award memory award, bytes32 id) {
        award = _awards[_awards.length - 1 - which % LIVE];
        id = _marketDigest(hashes.hashAward(award));
    }

    /// @dev One of the live awards in `state` if there is any: else the rare states would hardly be met.
    function _pickIn(uint256 which, IEscrow.State state) private view returns (Award memory award, bytes32 id) {
        for (uint256 i = 0; i < LIVE; ++i) {
            (award, id) = _pick(which % LIVE + i);
            if (escrow.recordOf(id).state == state) return (award, id);
        }
    }

    function _count(bytes32 name) private {
        ++done[name];
    }
}

contract EscrowInvariants is Driven {
    EscrowHandler private _handler;

    function setUp() public {
        _handler = new EscrowHandler();
        _handler.setUp();
    }

    function invariant_balance_equals_what_the_awards_and_credits_owe() external view {
        (IEscrow escrow, TestToken token, address requester, address provider, address arbiter) = _handler.world();
        uint256 owed = escrow.creditOf(requester, address(token)) + escrow.creditOf(provider, address(token))
            + escrow.creditOf(arbiter, address(token));
        Award[] memory awards = _handler.awards();
        for (uint256 i = 0; i < awards.length; ++i) {
            IEscrow.Record memory record = escrow.recordOf(escrow.digestOf(awards[i]));
            require(record.amount == awards[i].price + awards[i].disputeFee, "the record forgot its amount");
            require(record.paid <= awards[i].price, "paid above the price");
            if (record.state < IEscrow.State.Accepted) owed += record.amount - record.paid;
        }
        require(token.balanceOf(address(escrow)) == owed, "balance differs from what is owed");
    }

    function invariant_nobody_loses_a_base_unit_in_all() external view {
        (IEscrow escrow, TestToken token, address requester, address provider, address arbiter) = _handler.world();
        uint256 all = token.balanceOf(requester) + token.balanceOf(provider) + token.balanceOf(arbiter)
            + token.balanceOf(address(escrow));
        require(all == token.totalSupply(), "money appeared or vanished");
    }

    function invariant_what_was_accepted_stays_paid() external view {
        (IEscrow escrow,,,,) = _handler.world();
        Award[] memory awards = _handler.awards();
        for (uint256 i = 0; i < awards.length; ++i) {
            bytes32 id = escrow.digestOf(awards[i]);
            require(escrow.recordOf(id).paid >= _handler.floor(id), "an acceptance was taken back");
        }
    }

    function test_the_handler_reaches_every_entry() external {
        for (uint256 i = 0; i < 2600; ++i) {
            uint256 r = uint256(keccak256(abi.encode(i)));
            (uint256 a, uint256 b, uint256 c) = (uint64(r >> 64), uint64(r >> 128), uint64(r >> 192));
            uint256 step = r % 18;
            if (step == 0) {
                _handler.fund(a, b, c);
            } else if (step == 1) {
                _handler.release(a, b, c, r % 2 == 0);
            } else if (step == 2) {
                _handler.settle(a, b);
            } else if (step == 3) {
                _handler.recall(a);
            } else if (step == 4) {
                _handler.proveStart(a, b);
            } else if (step <= 6) {
                _handler.claim(a, b, c);
            } else if (step == 7) {
                _handler.payClaim(a);
            } else if (step <= 9) {
                _handler.dispute(a, b % 2 == 0);
            } else if (step == 10) {
                _handler.dispute(a, true);
                _handler.judge(a, b, uint8(c));
            } else if (step == 11) {
                _handler.split(a);
            } else if (step == 12) {
                _handler.refund(a);
            } else if (step == 13) {
                _handler.refuse(a, b % 2 == 0);
            } else if (step == 14) {
                _handler.releaseMany(a, b, c, r % 3 == 0);
            } else if (step == 15) {
                _handler.settleWithArbiter(a, c % 3 == 0 ? b << 2 : 1, c % 2 == 0, r % 5 < 2);
            } else if (step == 16) {
                _handler.fund(a, b, c);
                _handler.claim(a, b, c);
                _handler.dispute(a, true);
                _handler.judge(a, b << 2, uint8(c >> 8));
            } else if (step == 17 && c % 4 == 0) {
                _handler.fund(a, b, c);
                _handler.claim(0, b, 1);
                _handler.dispute(0, true);
                _handler.wait(7); // as long as an arbiter has, and a second more
                _handler.wait(2);
                _handler.split(0);
            } else {
                _handler.withdrawCredit(a);
            }
            if (i % 5 == 0) _handler.wait(b);
            if (i % 50 == 0) {
                this.invariant_balance_equals_what_the_awards_and_credits_owe();
                this.invariant_nobody_loses_a_base_unit_in_all();
                this.invariant_what_was_accepted_stays_paid();
            }
        }
        (, TestToken token,,, address arbiter) = _handler.world();
        require(token.balanceOf(arbiter) != 0, "no dispute fee was ever paid");
        bytes32[18] memory names = [
            bytes32("fund"),
            "fundMany",
            "fundByAuthorization",
            "multicall",
            "releaseMany",
            "settleWithArbiter",
            "release",
            "settle",
            "recall",
            "proveStart",
            "claim",
            "payClaim",
            "dispute",
            "judge",
            "judge with fee",
            "split",
            "refund",
            "withdrawCredit"
        ];
        for (uint256 i = 0; i < names.length; ++i) {
            require(_handler.done(names[i]) != 0, string(abi.encodePacked("never did ", names[i])));
        }
    }

    function _driven() internal view override returns (address) {
        return address(_handler);
    }
}
