// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ITreasury} from "../../../contracts/interfaces/ITreasury.sol";
import {Award, Verdict} from "../../../contracts/interfaces/MarketTypes.sol";
import {RefusingToken} from "../../../contracts/mocks/HostileTokens.sol";
import {TestToken} from "../../../contracts/mocks/TestToken.sol";
import {LawFixture} from "./LawFixture.sol";
import {Vm} from "./Vm.sol";

/// @dev Answers whatever it is asked, one byte short of a word.
contract ShortToken {
    fallback() external {
        assembly ("memory-safe") {
            mstore(0, not(0))
            return(0, 31)
        }
    }
}

/// @dev Answers for a balance only if it is asked in ERC-20's own words, to the byte.
contract LiteralToken is TestToken {
    function balanceOf(address account) public view override returns (uint256) {
        require(msg.data.length == 36 && uint256(bytes32(msg.data[4:])) == uint160(account), "not ERC-20's words");
        return super.balanceOf(account);
    }
}

/// @dev What escrow, channels and stakes have from `Treasury`, at its smallest: a unit, nothing, nobody.
contract TreasuryEdgesTest is LawFixture {
    function test_what_answers_less_than_a_word_is_no_token() external {
        Award memory award = _award(1000, 5);
        award.token = address(new ShortToken());
        bytes memory fund = abi.encodeCall(escrow.fund, (award, ""));
        _refused(address(escrow), REQUESTER, fund, ITreasury.NotAToken.selector);
    }

    function test_a_balance_is_asked_for_in_the_standards_words() external {
        token = new LiteralToken();
        _enrich(REQUESTER);
        Award memory award = _award(1000, 5);
        _assertEq(escrow.recordOf(_fund(award)).amount, 1005, "locked");
    }

    /// @dev What recovers to nobody is no word of the address that stands for nobody, nor of any other that has no key.
    function test_what_nobody_signed_is_nobodys() external {
        for (uint160 nobody = 0; nobody < 2; ++nobody) {
            Award memory award = _award(1000, 5);
            award.arbiter = address(nobody);
            bytes32 id = _fund(award);
            _claimAll(award);
            _dispute(award);
            Verdict memory verdict;
            verdict.award = id;
            bytes memory judge = abi.encodeCall(escrow.applyVerdict, (award, verdict, new bytes(65)));
            _refused(address(escrow), STRANGER, judge, ITreasury.BadSignature.selector);
        }
    }

    function test_a_unit_is_paid_credited_and_taken_once() external {
        RefusingToken refusing = new RefusingToken();
        token = refusing;
        _enrich(REQUESTER);
        Award memory award = _award(1, 0);
        _fund(award);
        refusing.setRefused(PROVIDER, true);
        _claimAll(award);
        vm.warp(block.timestamp + PACE + 1);
        escrow.payClaim(award);
        _assertEq(escrow.creditOf(PROVIDER, address(token)), 1, "credit");
        vm.prank(PROVIDER);
        _assertEq(escrow.withdrawCredit(address(token), STRANGER), 1, "taken");
        _assertEq(token.balanceOf(STRANGER), 1, "paid");
        _assertEq(escrow.creditOf(PROVIDER, address(token)), 0, "left");
    }

    /// @dev Who is due nothing is paid nothing and credited nothing, and nothing is told of it.
    function test_of_nothing_there_is_no_transfer_and_no_credit() external {
        RefusingToken refusing = new RefusingToken();
        token = refusing;
        _enrich(REQUESTER);
        Award memory award = _award(1000, 5);
        _fund(award);
        refusing.setRefused(PROVIDER, true);
        vm.warp(uint256(award.deliverBy) + PACE + 1);
        vm.recordLogs();
        escrow.refund(award);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        _assertEq(logs.length, 2, "events: that it is closed, and the transfer back");
    }
}
