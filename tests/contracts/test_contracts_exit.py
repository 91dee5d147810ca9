"""PaymentChannel: the payer's exit, presented holds and the arbiter. docs/spec/contracts.md, section 3 (M4, M5)."""

from dataclasses import replace
from typing import Any

import pytest
from contracts_desk import CHALLENGE, DOLLAR, HOLD_PERIOD, Desk, reverts, words

from protocol.channel.objects import ChannelKey, Close, Hold, channel_id
from protocol.dispute.objects import Verdict
from protocol.identity import ContentDigest
from protocol.market.objects import Award
from protocol.units import Amount, BasisPoints, UnixTime

PROVIDER_LOST = 2
REQUESTER_LOST = 1
FEE = DOLLAR


def channel_award(desk: Desk, price: int) -> Award:
    return desk.award(price=Amount(price), dispute_fee=Amount(FEE))


def verdict(desk: Desk, award: Award, due: int, finding: int = PROVIDER_LOST) -> Verdict:
    return Verdict(
        award=desk.award_id(award),
        part=0,
        round=0,
        finding=finding,
        output=ContentDigest(bytes(32)),
        fuel=1,
        due=Amount(due),
        severity=BasisPoints(0),
    )


def enforce(
    desk: Desk, key: ChannelKey, award: Award, holds: tuple[Hold, ...], index: int, ruling: Verdict, **changes: Any
) -> Any:
    amount = changes.get("amount", holds[index].amount)
    proof = changes.get("proof", desk.proof(holds, index))
    signature = changes.get("signature", desk.sign(desk.arbiter, ruling))
    return desk.channels.enforce(
        words(key), words(award), amount, proof, words(ruling), signature, sender=desk.stranger.account
    )


# ------------------------------------------------------------------------------------------------------- exit


def test_an_exit_returns_what_is_not_claimed_after_the_challenge_and_not_before(desk: Desk) -> None:
    key = desk.open(10 * DOLLAR)
    exits_at = desk.start_exit(key)
    desk.claim(key, desk.voucher(key, 4 * DOLLAR))  # claims go on during the exit

    desk.wait_until(exits_at)
    with reverts(desk.channels.ExitNotOver):
        desk.channels.withdraw(words(key), sender=desk.requester.account)
    desk.wait_until(exits_at + 1)
    desk.channels.withdraw(words(key), sender=desk.stranger.account)

    assert desk.balance(desk.requester) == 996 * DOLLAR
    assert desk.balance(desk.provider) == 4 * DOLLAR
    assert desk.balances()["channels"] == 0
    with reverts(desk.channels.ChannelUnknown):
        desk.claim(key, desk.voucher(key, 5 * DOLLAR))


def test_only_the_payer_exits_and_the_timer_never_restarts(desk: Desk) -> None:
    key = desk.open()
    for other in (desk.provider, desk.stranger):
        with reverts(desk.channels.NotPayer):
            desk.channels.startExit(words(key), sender=other.account)
    with reverts(desk.channels.ExitNotOver):
        desk.channels.withdraw(words(key), sender=desk.requester.account)
    first = desk.start_exit(key)
    desk.wait_until(first - 1)
    with reverts(desk.channels.ExitPending):
        desk.channels.startExit(words(key), sender=desk.requester.account)
    assert desk.channels.stateOf(channel_id(key)).exitsAt == first


def test_a_top_up_can_not_be_carried_off_by_an_exit_in_flight(desk: Desk) -> None:
    key = desk.open(10 * DOLLAR)
    exits_at = desk.start_exit(key)

    with reverts(desk.channels.ExitPending):
        desk.channels.topUp(words(key), DOLLAR, sender=desk.stranger.account)
    desk.wait_until(exits_at + 1)
    desk.channels.withdraw(words(key), sender=desk.requester.account)

    assert desk.balance(desk.stranger) == 1_000 * DOLLAR


def test_presented_holds_survive_an_exit_until_the_hold_period_is_over(desk: Desk) -> None:
    key = desk.open(10 * DOLLAR)
    award = channel_award(desk, 5 * DOLLAR)
    holds = (desk.hold(award, 6 * DOLLAR),)
    exits_at = desk.start_exit(key)
    desk.present(key, desk.voucher(key, DOLLAR, holds))

    desk.wait_until(exits_at + 1)
    desk.channels.withdraw(words(key), sender=desk.requester.account)
    assert desk.balances()["channels"] == 6 * DOLLAR
    assert desk.balance(desk.provider) == DOLLAR

    desk.wait_until(exits_at + HOLD_PERIOD)
    with reverts(desk.channels.ExitNotOver):
        desk.channels.withdraw(words(key), sender=desk.requester.account)
    desk.wait_until(exits_at + HOLD_PERIOD + 1)
    desk.channels.withdraw(words(key), sender=desk.requester.account)
    assert desk.balance(desk.requester) == 999 * DOLLAR
    assert desk.balances()["channels"] == 0


def test_a_payer_that_exits_with_a_task_in_flight_still_pays_for_it_by_voucher(desk: Desk) -> None:
    key = desk.open(10 * DOLLAR)
    holds = (desk.hold(channel_award(desk, 5 * DOLLAR), 6 * DOLLAR),)
    exits_at = desk.start_exit(key)
    desk.present(key, desk.voucher(key, 0, holds))
    desk.wait_until(exits_at + 1)
    desk.channels.withdraw(words(key), sender=desk.requester.account)

    desk.claim(key, desk.voucher(key, 5 * DOLLAR, sequence=2))

    assert desk.balance(desk.provider) == 5 * DOLLAR
    assert desk.balances()["channels"] == DOLLAR


def test_holds_count_only_with_the_payees_consent(desk: Desk) -> None:
    key = desk.open()
    voucher = desk.voucher(key, 0, (desk.hold(channel_award(desk, DOLLAR), DOLLAR),))
    payers = desk.sign(desk.requester, voucher)
    with reverts(desk.channels.BadSignature):
        desk.channels.present(words(key), words(voucher), payers, payers, sender=desk.requester.account)
    with reverts(desk.channels.BadSignature):
        desk.channels.present(words(key), words(voucher), b"", b"", sender=desk.provider.account)

    consent = desk.sign(desk.provider, voucher)
    desk.channels.present(words(key), words(voucher), payers, consent, sender=desk.stranger.account)
    assert desk.channels.stateOf(channel_id(key)).held == DOLLAR


def test_an_older_voucher_can_not_replace_the_presented_one(desk: Desk) -> None:
    key = desk.open()
    desk.present(key, desk.voucher(key, DOLLAR, sequence=5))
    for sequence in (0, 4, 5):
        with reverts(desk.channels.StaleVoucher):
            desk.present(key, desk.voucher(key, 2 * DOLLAR, sequence=sequence))
    desk.present(key, desk.voucher(key, DOLLAR, sequence=6))
    assert desk.channels.stateOf(channel_id(key)).sequence == 6


def test_a_deposit_promised_twice_reserves_no_more_than_it_has(desk: Desk) -> None:
    key = desk.open(10 * DOLLAR)
    holds = tuple(desk.hold(channel_award(desk, 9 * DOLLAR), 10 * DOLLAR) for _ in range(2))
    desk.present(key, desk.voucher(key, DOLLAR, holds))
    exits_at = desk.start_exit(key)
    desk.wait_until(exits_at + 1)

    with reverts(desk.channels.ExitNotOver):  # everything is reserved, nothing is free yet
        desk.channels.withdraw(words(key), sender=desk.requester.account)
    assert desk.balances()["channels"] == 9 * DOLLAR


# ------------------------------------------------------------------------------------------------------- arbiter


def test_a_verdict_pays_the_due_the_fee_and_frees_the_rest(desk: Desk) -> None:
    key = desk.open(10 * DOLLAR)
    award = channel_award(desk, 5 * DOLLAR)
    holds = (desk.hold(award, 6 * DOLLAR), desk.hold(channel_award(desk, DOLLAR), 2 * DOLLAR))
    desk.present(key, desk.voucher(key, DOLLAR, holds))

    enforce(desk, key, award, holds, 0, verdict(desk, award, 3 * DOLLAR, REQUESTER_LOST))

    assert desk.balance(desk.provider) == 4 * DOLLAR
    assert desk.balance(desk.arbiter) == FEE
    state = desk.channels.stateOf(channel_id(key))
    assert (state.held, state.deposit, state.claimed) == (2 * DOLLAR, 9 * DOLLAR, 4 * DOLLAR)

    with reverts(desk.channels.ExitNotOver):
        desk.channels.withdraw(words(key), sender=desk.requester.account)
    desk.wait_until(state.exitsAt + 1)
    desk.channels.withdraw(words(key), sender=desk.stranger.account)  # only the other hold stays
    assert desk.balance(desk.requester) == 993 * DOLLAR
    assert desk.balances()["channels"] == 2 * DOLLAR


def test_a_requester_that_wins_pays_no_fee(desk: Desk) -> None:
    key = desk.open(10 * DOLLAR)
    award = channel_award(desk, 5 * DOLLAR)
    holds = (desk.hold(award, 6 * DOLLAR),)
    desk.present(key, desk.voucher(key, 0, holds))

    enforce(desk, key, award, holds, 0, verdict(desk, award, 0, PROVIDER_LOST))
    desk.wait_until(desk.channels.stateOf(channel_id(key)).exitsAt + 1)
    desk.channels.withdraw(words(key), sender=desk.stranger.account)

    assert desk.balance(desk.requester) == 1_000 * DOLLAR
    assert (desk.balance(desk.arbiter), desk.balance(desk.provider)) == (0, 0)
    with reverts(desk.channels.ChannelUnknown):
        desk.channels.withdraw(words(key), sender=desk.stranger.account)


def test_parts_that_vouchers_have_paid_are_not_paid_again(desk: Desk) -> None:
    key = desk.open(10 * DOLLAR)
    award = channel_award(desk, 4 * DOLLAR)
    paid = 3 * DOLLAR  # moved from the hold to `cumulative`, part by part
    holds = (desk.hold(award, 5 * DOLLAR - paid),)
    desk.present(key, desk.voucher(key, paid, holds))

    enforce(desk, key, award, holds, 0, verdict(desk, award, 4 * DOLLAR))

    assert desk.balance(desk.provider) == 4 * DOLLAR


def test_what_was_signed_after_the_presented_voucher_is_paid_after_an_enforcement(desk: Desk) -> None:
    key = desk.open(10 * DOLLAR)
    award = channel_award(desk, 5 * DOLLAR)
    holds = (desk.hold(award, 6 * DOLLAR), desk.hold(channel_award(desk, DOLLAR), 2 * DOLLAR))
    desk.present(key, desk.voucher(key, 0, holds))
    ruling = verdict(desk, award, DOLLAR, REQUESTER_LOST)
    enforce(desk, key, award, holds, 0, ruling)
    newer = desk.voucher(key, 2 * DOLLAR, holds, sequence=2)  # two for other work

    with reverts(desk.channels.ExitPending):
        desk.channels.topUp(words(key), 1, sender=desk.stranger.account)
    desk.claim(key, newer)
    assert desk.balance(desk.provider) == 2 * DOLLAR
    desk.present(key, newer)
    enforce(desk, key, award, holds, 0, ruling)  # its hold says that nothing of it was paid for this award
    with reverts(desk.channels.HoldAlreadyEnforced):
        enforce(desk, key, award, holds, 0, ruling)

    assert desk.balance(desk.provider) == 3 * DOLLAR
    assert desk.balance(desk.arbiter) == FEE


def test_money_claimed_by_newer_vouchers_is_not_paid_again_for_an_old_hold(desk: Desk) -> None:
    key = desk.open(10 * DOLLAR)
    award = channel_award(desk, 5 * DOLLAR)
    holds = (desk.hold(award, 6 * DOLLAR),)
    desk.present(key, desk.voucher(key, 0, holds))
    desk.claim(key, desk.voucher(key, 5 * DOLLAR, sequence=2))  # the same work, paid by voucher

    enforce(desk, key, award, holds, 0, verdict(desk, award, 4 * DOLLAR))

    assert desk.balance(desk.provider) == 5 * DOLLAR
    desk.wait_until(desk.channels.stateOf(channel_id(key)).exitsAt + 1)
    desk.channels.withdraw(words(key), sender=desk.stranger.account)
    assert desk.balance(desk.requester) == 995 * DOLLAR


def test_a_hold_is_enforced_once(desk: Desk) -> None:
    key = desk.open(10 * DOLLAR)
    award = channel_award(desk, 2 * DOLLAR)
    holds = (desk.hold(award, 3 * DOLLAR), desk.hold(channel_award(desk, DOLLAR), 2 * DOLLAR))
    desk.present(key, desk.voucher(key, 0, holds))
    ruling = verdict(desk, award, DOLLAR)
    enforce(desk, key, award, holds, 0, ruling)
    with reverts(desk.channels.HoldAlreadyEnforced):
        enforce(desk, key, award, holds, 0, ruling)
    assert desk.channels.isEnforced(channel_id(key), desk.award_id(award))


def test_only_the_named_arbiter_enforces_and_only_what_the_voucher_holds(desk: Desk) -> None:
    key = desk.open(10 * DOLLAR)
    award, other = channel_award(desk, 2 * DOLLAR), channel_award(desk, 2 * DOLLAR)
    holds = (desk.hold(award, 3 * DOLLAR), desk.hold(other, 3 * DOLLAR))
    ruling = verdict(desk, award, DOLLAR)
    with reverts(desk.channels.HoldUnknown):  # nothing presented yet
        enforce(desk, key, award, holds, 0, ruling)
    desk.present(key, desk.voucher(key, 0, holds))

    with reverts(desk.channels.BadSignature):
        enforce(desk, key, award, holds, 0, ruling, signature=desk.sign(desk.provider, ruling))
    with reverts(desk.channels.HoldUnknown):
        enforce(desk, key, award, holds, 0, ruling, amount=3 * DOLLAR - 1)
    with reverts(desk.channels.HoldUnknown):
        enforce(desk, key, award, holds, 0, ruling, proof=())
    with reverts(desk.channels.VerdictMismatch):
        enforce(desk, key, other, holds, 1, ruling)
    with reverts(desk.channels.VerdictAbovePrice):
        enforce(desk, key, award, holds, 0, verdict(desk, award, 2 * DOLLAR + 1))
    stolen = replace(award, arbiter=desk.stranger.raw)  # a verdict by an arbiter that nobody named
    with reverts(desk.channels.HoldUnknown):
        foreign = verdict(desk, stolen, DOLLAR)
        enforce(desk, key, stolen, holds, 0, foreign, signature=desk.sign(desk.stranger, foreign))


def test_leaves_beyond_the_held_sum_and_beyond_the_award_are_refused(desk: Desk) -> None:
    key = desk.open(10 * DOLLAR)
    award = channel_award(desk, 2 * DOLLAR)
    honest = (desk.hold(award, 3 * DOLLAR),)
    desk.present(key, replace(desk.voucher(key, 0, honest), held=Amount(3 * DOLLAR - 1)))
    with reverts(desk.channels.HoldOutOfRange):
        enforce(desk, key, award, honest, 0, verdict(desk, award, DOLLAR))
    greedy = (desk.hold(award, 3 * DOLLAR + 1),)
    desk.present(key, desk.voucher(key, 0, greedy, sequence=2))
    with reverts(desk.channels.HoldOutOfRange):
        enforce(desk, key, award, greedy, 0, verdict(desk, award, DOLLAR))


def test_an_arbiter_contract_needs_nothing_but_the_call(desk: Desk, project: Any) -> None:
    judge = desk.guardian.account.deploy(project.StandInArbiter)
    key = desk.open(10 * DOLLAR)
    award = replace(channel_award(desk, 5 * DOLLAR), arbiter=bytes.fromhex(judge.address[2:]))
    holds = (desk.hold(award, 6 * DOLLAR),)
    desk.present(key, desk.voucher(key, 0, holds))
    ruling = verdict(desk, award, 5 * DOLLAR, REQUESTER_LOST)

    judge.enforce(
        desk.channels,
        words(key),
        words(award),
        6 * DOLLAR,
        desk.proof(holds, 0),
        words(ruling),
        sender=desk.guardian.account,
    )

    assert desk.balance(desk.provider) == 5 * DOLLAR
    assert desk.token.balanceOf(judge) == FEE


def test_a_channel_with_an_enforced_hold_can_still_be_closed_by_both(desk: Desk) -> None:
    key = desk.open(10 * DOLLAR)
    award = channel_award(desk, 2 * DOLLAR)
    holds = (desk.hold(award, 3 * DOLLAR), desk.hold(channel_award(desk, DOLLAR), 2 * DOLLAR))
    desk.present(key, desk.voucher(key, 0, holds))
    enforce(desk, key, award, holds, 0, verdict(desk, award, DOLLAR))
    agreed = Close(channel=channel_id(key), cumulative=Amount(2 * DOLLAR), close_by=UnixTime(desk.now() + 60))

    signature = desk.sign(desk.requester, agreed)
    desk.channels.close(words(key), words(agreed), signature, b"", sender=desk.provider.account)

    assert desk.balance(desk.provider) == 2 * DOLLAR
    assert desk.balance(desk.requester) == 998 * DOLLAR
    assert desk.channels.stateOf(channel_id(key)).exitsAt == 0


@pytest.mark.parametrize("cumulative", [2**128 - 1, 2**128 - 2])
def test_an_absurd_cumulative_does_not_stop_an_enforcement(desk: Desk, cumulative: int) -> None:
    key = desk.open(10 * DOLLAR)
    award = channel_award(desk, 2 * DOLLAR)
    holds = (desk.hold(award, 3 * DOLLAR),)
    desk.present(key, desk.voucher(key, cumulative, holds))

    enforce(desk, key, award, holds, 0, verdict(desk, award, 2 * DOLLAR, REQUESTER_LOST))

    assert desk.balance(desk.provider) == 10 * DOLLAR
    assert desk.balances()["channels"] == 0


def test_the_challenge_lasts_as_long_as_the_contract_says(desk: Desk) -> None:
    key = desk.open()
    exits_at = desk.start_exit(key)
    assert exits_at == desk.chain.blocks.head.timestamp + CHALLENGE
