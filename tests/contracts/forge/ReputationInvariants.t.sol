// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Reputation} from "../../../contracts/Reputation.sol";
import {IEscrow} from "../../../contracts/interfaces/IEscrow.sol";
import {IReputation} from "../../../contracts/interfaces/IReputation.sol";
import {Acceptance, Award, Commitment, Offer, Start, Verdict} from "../../../contracts/interfaces/MarketTypes.sol";
import {RefusingToken} from "../../../contracts/mocks/HostileTokens.sol";
import {TestToken} from "../../../contracts/mocks/TestToken.sol";
import {Driven} from "./Driven.sol";
import {LawFixture} from "./LawFixture.sol";

/// @dev Drives stakes, locks and bonuses through every entry, in any order, beside escrows that end in every way.
contract ReputationHandler is LawFixture {
    uint256 private constant LIVE = 3;

    mapping(bytes32 name => uint256) public done;
    uint256 public offers;
    Award[] private _awards;

    function setUp() public override {
        super.setUp();
        token = TestToken(new RefusingToken());
        _enrich(REQUESTER);
        _enrich(PROVIDER);
        _raise();
        _stake(3 * LIABILITY);
        for (uint256 i = 0; i < LIVE; ++i) {
            begin(1000 * (i + 1), 10 * i, i);
        }
    }

    function awards() external view returns (Award[] memory) {
        return _awards;
    }

    function world() external view returns (Reputation, IEscrow, TestToken, address[5] memory parties) {
        return (reputation, escrow, token, [REQUESTER, PROVIDER, ARBITER, POOL, STRANGER]);
    }

    function idOf(Award memory award) external view returns (bytes32) {
        return _id(award);
    }

    function begin(uint256 price, uint256 fee, uint256 terms) public {
        if (_awards.length >= 160) return;
        Award memory award = _award(uint128(price % 5000 + 1), uint128(fee % 100));
        award.slot = uint16(_awards.length);
        award.liability = uint128([uint256(0), 1, 99, LIABILITY, LIABILITY][terms % 5]);
        if (terms % 3 == 0) award.rail = address(channels);
        _awards.push(award);
        if (terms % 3 == 0) return;
        vm.prank(REQUESTER);
        escrow.fund(award, "");
    }

    function stake(uint256 amount) external {
        _stake(uint128(amount % LIABILITY + 1));
        _count("stake");
    }

    function unstake(uint256 amount) external {
        vm.prank(PROVIDER);
        try reputation.unstake(uint128(amount % (2 * LIABILITY))) {
            _count("unstake");
        } catch {}
    }

    function withdraw() external {
        vm.prank(PROVIDER);
        try reputation.withdraw() {
            _count("withdraw");
        } catch {}
    }

    function lock(uint256 which, bool byStranger) external {
        (Award memory award, bytes32 id) = _pick(which);
        Start memory start = Start({award: id, startedAt: award.startBy});
        bytes memory signature = _sign(PROVIDER_KEY, _marketDigest(hashes.hashStart(start)));
        vm.prank(byStranger ? STRANGER : PROVIDER);
        try reputation.lock(award, start, signature) {
            require(block.timestamp <= award.startBy, "a late lock counted");
            _count("lock");
        } catch {}
    }

    function depositBonus(uint256 which) external {
        (Award memory award,) = _pick(which);
        vm.prank(REQUESTER);
        try reputation.depositBonus(award) {
            _count("depositBonus");
        } catch {}
    }

    function free(uint256 which) external {
        (Award memory award, bytes32 id) = _pick(which);
        bool time = block.timestamp > _lockedUntil(award);
        try reputation.free(award) {
            require(time || escrow.recordOf(id).state >= IEscrow.State.Accepted, "freed before the end");
            _count(time ? bytes32("free by time") : bytes32("free"));
        } catch {}
    }

    function freeAccepted(uint256 which, uint256 part) external {
        (Award memory award,) = _pick(which);
        (Acceptance memory acceptance, bytes memory signature) = _acceptance(award, uint32(part % 8), 1);
        try reputation.freeAccepted(award, acceptance, signature) {
            _count("freeAccepted");
        } catch {}
    }

    function slash(uint256 which, uint16 severity, uint8 feeTo) external {
        (Award memory award, bytes32 id) = _pick(which);
        uint256 amount = reputation.lockOf(id).amount;
        uint256 before = reputation.accountOf(PROVIDER).stake;
        vm.prank(ARBITER);
        try reputation.slash(award, severity % 10_002, [address(0), ARBITER, REQUESTER, POOL][feeTo % 4]) {
            require(before - reputation.accountOf(PROVIDER).stake <= amount, "slashed more than the lock");
            _count("slash");
        } catch {}
    }

    function contradict(uint256 bond) external {
        Offer memory offer = _offer(uint128(bond % LIABILITY));
        offer.salt = bytes32(offers % 40);
        ++offers;
        (Commitment memory one, bytes memory by) = _commit(offer, "one");
        (Commitment memory other, bytes memory otherBy) = _commit(offer, "other");
        uint256 locked = reputation.accountOf(PROVIDER).locked;
        vm.prank(STRANGER);
        try reputation.punishCommitments(offer, one, by, other, otherBy) {
            require(reputation.accountOf(PROVIDER).stake >= locked, "a bond was taken from a lock");
            _count("contradict");
        } catch {}
    }

    function endEscrow(uint256 which, uint256 how) external {
        (Award memory award,) = _pick(which);
        (Acceptance memory acceptance, bytes memory signature) = _acceptance(award, 3, award.price);
        if (how % 4 == 0) {
            try escrow.release(award, acceptance, signature) {
                _count("accepted");
            } catch {}
        } else if (how % 4 == 1) {
            try escrow.refund(award) {
                _count("refunded");
            } catch {}
        } else {
            try this.claimAndDispute(award, how) {
                _count(how % 4 == 2 ? bytes32("upheld") : bytes32("lost"));
            } catch {}
        }
    }

    function claimAndDispute(Award memory award, uint256 how) external {
        _claimAll(award);
        _dispute(award);
        Verdict memory verdict;
        verdict.award = _id(award);
        verdict.due = how % 4 == 2 ? award.price : award.price - 1;
        vm.prank(ARBITER);
        escrow.applyVerdict(award, verdict, "");
    }

    function wait(uint256 time) external {
        uint256[8] memory steps = [uint256(0), 0, 1, 9, 11, 1, PACE + 1, RESOLVE_WITHIN];
        vm.warp(block.timestamp + (time % 31 == 0 ? COOLDOWN : steps[time % 8]));
    }

    function refuse(uint256 who, bool refused) external {
        RefusingToken(address(token)).setRefused([REQUESTER, PROVIDER, ARBITER, POOL][who % 4], refused && who % 2 == 0);
    }

    function withdrawCredit(uint256 who) external {
        address party = [REQUESTER, PROVIDER, ARBITER, POOL][who % 4];
        vm.prank(party);
        try reputation.withdrawCredit(address(token), party) {
            _count("withdrawCredit");
        } catch {}
    }

    function _pick(uint256 which) private view returns (Award memory award, bytes32 id) {
        award = _awards[_awards.length - 1 - which % LIVE];
        id = _id(award);
    }

    function _count(bytes32 name) private {
        ++done[name];
    }
}

contract ReputationInvariants is Driven {
    ReputationHandler private _handler;

    function setUp() public {
        _handler = new ReputationHandler();
        _handler.setUp();
    }

    function invariant_balance_equals_stakes_bonuses_and_credits() external view {
        (Reputation reputation,, TestToken token, address[5] memory parties) = _handler.world();
        uint256 owed;
        for (uint256 i = 0; i < parties.length; ++i) {
            owed += reputation.accountOf(parties[i]).stake + reputation.creditOf(parties[i], address(token));
        }
        Award[] memory awards = _handler.awards();
        for (uint256 i = 0; i < awards.length; ++i) {
            owed += _lockOf(reputation, awards[i]).bonus;
        }
        require(token.balanceOf(address(reputation)) == owed, "balance differs from what is owed");
    }

    function invariant_locks_add_up_and_are_covered() external view {
        (Reputation reputation,,, address[5] memory parties) = _handler.world();
        uint256 locked;
        Award[] memory awards = _handler.awards();
        for (uint256 i = 0; i < awards.length; ++i) {
            IReputation.Lock memory lock = _lockOf(reputation, awards[i]);
            if (lock.state == IReputation.LockState.Locked) locked += lock.amount;
        }
        IReputation.Account memory account = reputation.accountOf(parties[1]);
        require(account.locked == locked, "locks don't add up");
        require(account.stake >= locked, "a lock isn't covered");
    }

    function invariant_nobody_loses_a_base_unit_in_all() external view {
        (Reputation reputation, IEscrow escrow, TestToken token, address[5] memory parties) = _handler.world();
        uint256 all = token.balanceOf(address(reputation)) + token.balanceOf(address(escrow));
        for (uint256 i = 0; i < parties.length; ++i) {
            all += token.balanceOf(parties[i]);
        }
        require(all == token.totalSupply(), "money appeared or vanished");
    }

    function test_the_handler_reaches_every_entry() external {
        for (uint256 i = 0; i < 2500; ++i) {
            uint256 r = uint256(keccak256(abi.encode(i)));
            (uint256 a, uint256 b, uint256 c) = (uint64(r >> 64), uint64(r >> 128), uint64(r >> 192));
            uint256 step = r % 15;
            if (step == 0) _handler.begin(a, b, c);
            else if (step == 1) _handler.stake(a);
            else if (step == 2) _handler.unstake(a);
            else if (step == 3) _handler.withdraw();
            else if (step <= 5) _handler.lock(a, b % 2 == 0);
            else if (step == 6) _handler.depositBonus(a);
            else if (step <= 8) _handler.free(a);
            else if (step == 9) _handler.freeAccepted(a, b);
            else if (step == 10) _handler.slash(a, uint16(b), uint8(c));
            else if (step == 11) _handler.contradict(a);
            else if (step == 12) _handler.endEscrow(a, b);
            else if (step == 13) _handler.refuse(a, b % 2 == 0);
            else _handler.withdrawCredit(a);
            if (i % 7 == 0) _handler.wait(b);
            if (i % 50 == 0) {
                this.invariant_balance_equals_stakes_bonuses_and_credits();
                this.invariant_locks_add_up_and_are_covered();
                this.invariant_nobody_loses_a_base_unit_in_all();
            }
        }
        bytes32[15] memory names = [
            bytes32("stake"),
            "unstake",
            "withdraw",
            "lock",
            "depositBonus",
            "free",
            "free by time",
            "freeAccepted",
            "slash",
            "contradict",
            "accepted",
            "refunded",
            "upheld",
            "lost",
            "withdrawCredit"
        ];
        for (uint256 i = 0; i < names.length; ++i) {
            require(_handler.done(names[i]) != 0, string(abi.encodePacked("never did ", names[i])));
        }
    }

    function _lockOf(Reputation reputation, Award memory award) private view returns (IReputation.Lock memory) {
        return reputation.lockOf(_handler.idOf(award));
    }

    function _driven() internal view override returns (address) {
        return address(_handler);
    }

    function _leftAlone() internal pure override returns (bytes4[] memory selectors) {
        selectors = new bytes4[](2);
        selectors[0] = ReputationHandler.setUp.selector;
        selectors[1] = ReputationHandler.claimAndDispute.selector;
    }
}
