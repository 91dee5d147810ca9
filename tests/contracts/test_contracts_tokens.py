"""Hostile tokens, credits and the guardian, on both contracts. docs/spec/contracts.md, section 1."""

from dataclasses import replace
from typing import Any

import pytest
from ape.exceptions import ApeException
from contracts_desk import DOLLAR, Desk, fill, reverts, words

from protocol.channel.objects import Close, channel_id
from protocol.identity import parse_address
from protocol.units import Amount, UnixTime

NOBODY = "0x" + "00" * 20


def deploy(desk: Desk, contract: Any) -> Any:
    """Deploy a token and give the requester $1,000 of it."""
    token = desk.guardian.account.deploy(contract)
    fill(token, desk.requester, (desk.escrow, desk.channels))
    return token


def test_a_token_that_takes_a_fee_is_refused_at_the_door(desk: Desk, project: Any) -> None:
    token = deploy(desk, project.FeeToken)
    with reverts(desk.channels.InexactDeposit):
        desk.open(DOLLAR, token)
    with reverts(desk.escrow.InexactDeposit):
        desk.fund(desk.award(token=parse_address(token.address)))


def test_a_token_that_answers_false_deposits_nothing_and_pays_by_credit(desk: Desk, project: Any) -> None:
    token = deploy(desk, project.FalseToken)
    key = desk.open(10 * DOLLAR, token)
    token.setFailing(True, sender=desk.stranger.account)
    with reverts():
        desk.open(DOLLAR, token)

    desk.claim(key, desk.voucher(key, DOLLAR))

    assert desk.channels.creditOf(desk.provider.account, token) == DOLLAR
    with reverts():
        desk.channels.withdrawCredit(token, desk.provider.account, sender=desk.provider.account)
    token.setFailing(False, sender=desk.stranger.account)
    desk.channels.withdrawCredit(token, desk.provider.account, sender=desk.provider.account)
    assert token.balanceOf(desk.provider.account) == DOLLAR


def test_a_token_that_answers_nothing_works(desk: Desk, project: Any) -> None:
    token = deploy(desk, project.SilentToken)
    key = desk.open(10 * DOLLAR, token)
    desk.claim(key, desk.voucher(key, DOLLAR))
    assert token.balanceOf(desk.provider.account) == DOLLAR


def test_an_address_without_code_is_no_token(desk: Desk) -> None:
    with reverts():
        desk.channels.open(
            desk.requester.account, desk.provider.account, desk.stranger.account, DOLLAR, sender=desk.requester.account
        )


def test_a_refused_payee_does_not_block_the_payer_and_gets_its_money_elsewhere(desk: Desk, project: Any) -> None:
    token = deploy(desk, project.RefusingToken)
    key = desk.open(10 * DOLLAR, token)
    token.setRefused(desk.provider.account, True, sender=desk.stranger.account)
    agreed = Close(channel=channel_id(key), cumulative=Amount(4 * DOLLAR), close_by=UnixTime(desk.now() + 60))
    signatures = desk.sign(desk.requester, agreed), desk.sign(desk.provider, agreed)

    receipt = desk.channels.close(words(key), words(agreed), *signatures, sender=desk.stranger.account)

    assert [log.amount for log in receipt.events.filter(desk.channels.Credited)] == [4 * DOLLAR]
    assert token.balanceOf(desk.requester.account) == 996 * DOLLAR
    desk.channels.withdrawCredit(token, desk.arbiter.account, sender=desk.provider.account)
    assert token.balanceOf(desk.arbiter.account) == 4 * DOLLAR
    assert token.balanceOf(desk.channels) == 0
    with reverts(desk.channels.NoCredit):
        desk.channels.withdrawCredit(token, desk.arbiter.account, sender=desk.provider.account)


def test_a_refused_requester_does_not_block_the_provider_of_an_escrow(desk: Desk, project: Any) -> None:
    token = deploy(desk, project.RefusingToken)
    award = desk.award(token=parse_address(token.address))
    desk.fund(award)
    token.setRefused(desk.requester.account, True, sender=desk.stranger.account)

    desk.release(award, 3, 20 * DOLLAR)

    assert token.balanceOf(desk.provider.account) == 20 * DOLLAR
    assert desk.escrow.creditOf(desk.requester.account, token) == 6 * DOLLAR
    desk.escrow.withdrawCredit(token, desk.stranger.account, sender=desk.requester.account)
    assert token.balanceOf(desk.stranger.account) == 6 * DOLLAR


def test_a_caller_can_not_turn_a_payment_into_a_credit_by_giving_little_gas(desk: Desk) -> None:
    key = desk.open(10 * DOLLAR)
    voucher = desk.voucher(key, DOLLAR)
    signature = desk.sign(desk.requester, voucher)
    paid = 0
    for gas in range(45_000, 130_000, 5_000):
        with desk.chain.isolate():
            try:
                desk.channels.claim(words(key), words(voucher), signature, sender=desk.stranger.account, gas=gas)
            except ApeException:
                continue  # too little: the whole call is undone
            paid += 1
            assert desk.balance(desk.provider) == DOLLAR
            assert desk.channels.creditOf(desk.provider.account, desk.token) == 0
    assert paid


@pytest.mark.parametrize("entry", ["claim", "withdraw", "startExit", "open", "close"])
def test_a_token_that_calls_back_finds_every_entry_closed(desk: Desk, project: Any, entry: str) -> None:
    token = deploy(desk, project.ReentrantToken)
    key = desk.open(10 * DOLLAR, token)
    voucher = desk.voucher(key, 2 * DOLLAR)
    signature = desk.sign(desk.requester, voucher)
    agreed = Close(channel=channel_id(key), cumulative=Amount(DOLLAR), close_by=UnixTime(desk.now() + 999))
    payloads = {
        "claim": lambda: desk.channels.claim.encode_input(words(key), words(voucher), signature),
        "withdraw": lambda: desk.channels.withdraw.encode_input(words(key)),
        "startExit": lambda: desk.channels.startExit.encode_input(words(key)),
        "open": lambda: desk.channels.open.encode_input(desk.stranger.account, desk.stranger.account, token, 1),
        "close": lambda: desk.channels.close.encode_input(
            words(key), words(agreed), desk.sign(desk.requester, agreed), desk.sign(desk.provider, agreed)
        ),
    }
    token.arm(desk.channels, payloads[entry](), sender=desk.stranger.account)

    desk.claim(key, desk.voucher(key, DOLLAR))

    assert token.reentered() is False
    assert bytes(token.answer())[:4] == bytes.fromhex("3ee5aeb5")  # ReentrancyGuardReentrantCall()
    assert token.balanceOf(desk.provider.account) == DOLLAR


def test_the_guardian_stops_new_business_and_never_an_exit(desk: Desk) -> None:
    key, award = desk.open(10 * DOLLAR), desk.funded()
    fresh = desk.award()
    for contract in (desk.channels, desk.escrow):
        with reverts(contract.NotGuardian):
            contract.pause(sender=desk.stranger.account)
        contract.pause(sender=desk.guardian.account)
    with reverts(desk.channels.NewBusinessPaused):
        desk.open()
    with reverts(desk.channels.NewBusinessPaused):
        desk.channels.topUp(words(key), 1, sender=desk.requester.account)
    with reverts(desk.escrow.NewBusinessPaused):
        desk.fund(fresh)

    desk.claim(key, desk.voucher(key, DOLLAR))
    desk.present(key, desk.voucher(key, 2 * DOLLAR))
    exits_at = desk.start_exit(key)
    desk.claim_escrow(award, 0, DOLLAR)
    desk.escrow.dispute(words(award), sender=desk.requester.account)
    desk.wait_until(exits_at + 1_000)
    desk.channels.withdraw(words(key), sender=desk.stranger.account)
    desk.escrow.split(words(award), sender=desk.stranger.account)
    assert desk.balances()["channels"] == desk.balances()["escrow"] == 0

    desk.channels.resume(sender=desk.guardian.account)
    assert desk.open().counter == 2


def test_a_contract_without_a_guardian_can_be_paused_by_nobody(desk: Desk, project: Any) -> None:
    escrow = desk.guardian.account.deploy(project.Escrow, 1, NOBODY)
    for party in (desk.guardian, desk.requester, desk.stranger):
        with reverts(escrow.NotGuardian):
            escrow.pause(sender=party.account)


def test_money_sent_without_a_deposit_changes_no_promise(desk: Desk) -> None:
    desk.token.transfer(desk.channels, 5 * DOLLAR, sender=desk.stranger.account)
    key = desk.open(10 * DOLLAR)
    desk.claim(key, replace(desk.voucher(key, 0), cumulative=Amount(15 * DOLLAR)))
    assert desk.balance(desk.provider) == 10 * DOLLAR
    assert desk.balances()["channels"] == 5 * DOLLAR
