"""PaymentChannel: opening, claiming, closing. docs/spec/contracts.md, section 3."""

from dataclasses import replace
from typing import Any

import pytest
from contracts_desk import DOLLAR, Desk, reverts, words

from protocol.channel.objects import Close, channel_id
from protocol.identity import Digest, parse_address
from protocol.signing.eip712 import Domain
from protocol.signing.keccak import keccak256
from protocol.signing.signed import sign_struct
from protocol.units import Amount, UnixTime

SECP256K1_N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def high_s(signature: bytes) -> bytes:
    """The other signature of the same key over the same digest, which ecrecover would also accept."""
    s = SECP256K1_N - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes([55 - signature[64]])


def test_opening_locks_the_deposit_under_the_id_that_python_computes(desk: Desk) -> None:
    key = desk.open(10 * DOLLAR)

    state = desk.channels.stateOf(channel_id(key))
    assert (state.deposit, state.claimed, state.exitsAt) == (10 * DOLLAR, 0, 0)
    assert desk.channels.channelId(words(key)) == channel_id(key)
    assert desk.balances()["channels"] == 10 * DOLLAR


def test_the_counter_grows_with_each_channel_so_no_id_comes_back(desk: Desk) -> None:
    first, second = desk.open(), desk.open()

    assert (first.counter, second.counter) == (1, 2)
    assert channel_id(first) != channel_id(second)


def test_opening_refuses_nothing_and_nobody(desk: Desk) -> None:
    me, zero = desk.requester.account, "0x" + "00" * 20
    with reverts(desk.channels.ZeroAmount):
        desk.channels.open(me, desk.provider.account, desk.token, 0, sender=me)
    with reverts(desk.channels.ZeroAddress):
        desk.channels.open(zero, desk.provider.account, desk.token, 1, sender=me)
    with reverts(desk.channels.ZeroAddress):
        desk.channels.open(me, zero, desk.token, 1, sender=me)


def test_anyone_may_top_up_and_the_money_belongs_to_the_channel(desk: Desk) -> None:
    key = desk.open(10 * DOLLAR)

    desk.channels.topUp(words(key), 5 * DOLLAR, sender=desk.stranger.account)

    assert desk.channels.stateOf(channel_id(key)).deposit == 15 * DOLLAR
    assert desk.balance(desk.stranger) == 995 * DOLLAR
    with reverts(desk.channels.ZeroAmount):
        desk.channels.topUp(words(key), 0, sender=desk.stranger.account)


def test_top_up_of_a_channel_that_is_not_open_is_refused(desk: Desk) -> None:
    key = replace(desk.open(), counter=9)
    with reverts(desk.channels.ChannelUnknown):
        desk.channels.topUp(words(key), 1, sender=desk.stranger.account)


def test_a_claim_by_anyone_pays_the_payee_the_difference_once(desk: Desk) -> None:
    key = desk.open(10 * DOLLAR)

    desk.claim(key, desk.voucher(key, 4 * DOLLAR))
    desk.claim(key, desk.voucher(key, 7 * DOLLAR))

    assert desk.balance(desk.provider) == 7 * DOLLAR
    with reverts(desk.channels.NothingToClaim):
        desk.claim(key, desk.voucher(key, 7 * DOLLAR))
    with reverts(desk.channels.NothingToClaim):
        desk.claim(key, desk.voucher(key, 4 * DOLLAR))


def test_an_overdrawn_voucher_pays_what_is_there_and_the_rest_after_a_top_up(desk: Desk) -> None:
    key = desk.open(10 * DOLLAR)
    voucher = desk.voucher(key, 12 * DOLLAR)

    desk.claim(key, voucher)
    assert desk.balance(desk.provider) == 10 * DOLLAR

    desk.channels.topUp(words(key), 5 * DOLLAR, sender=desk.requester.account)
    desk.claim(key, voucher)
    assert desk.balance(desk.provider) == 12 * DOLLAR


@pytest.mark.parametrize("flaw", ["other key", "high s", "short", "long", "v of 0", "empty"])
def test_a_claim_needs_the_one_good_signature(desk: Desk, flaw: str) -> None:
    key = desk.open()
    voucher = desk.voucher(key, DOLLAR)
    good = desk.sign(desk.requester, voucher)
    bad = {
        "other key": desk.sign(desk.stranger, voucher),
        "high s": high_s(good),
        "short": good[:64],
        "long": good + b"\0",
        "v of 0": good[:64] + bytes([good[64] - 27]),
        "empty": b"",
    }[flaw]
    with reverts(desk.channels.BadSignature):
        desk.channels.claim(words(key), words(voucher), bad, sender=desk.provider.account)


@pytest.mark.parametrize("flaw", ["chain", "contract", "version"])
def test_a_voucher_signed_for_another_chain_or_contract_is_worth_nothing(desk: Desk, flaw: str) -> None:
    key = desk.open()
    voucher = desk.voucher(key, DOLLAR)
    here = desk.channel_domain
    elsewhere = {
        "chain": replace(here, chain_id=1),
        "contract": Domain(chain_id=here.chain_id, verifying_contract=parse_address(desk.escrow.address)),
        "version": replace(here, version="2"),
    }[flaw]
    signature = bytes(sign_struct(desk.requester.key, elsewhere, voucher).signature)
    with reverts(desk.channels.BadSignature):
        desk.channels.claim(words(key), words(voucher), signature, sender=desk.provider.account)


def test_a_voucher_of_one_channel_pays_in_no_other(desk: Desk) -> None:
    first, second = desk.open(), desk.open()
    voucher = desk.voucher(first, DOLLAR)
    with reverts(desk.channels.WrongChannel):
        desk.claim(second, voucher)


def test_a_voucher_on_a_channel_that_was_never_funded_pays_nothing(desk: Desk) -> None:
    key = replace(desk.open(), counter=2)
    with reverts(desk.channels.ChannelUnknown):
        desk.claim(key, desk.voucher(key, DOLLAR))


def test_a_batch_pays_the_good_claims_at_once_and_reports_the_others(desk: Desk) -> None:
    keys = [desk.open(10 * DOLLAR) for _ in range(3)]
    unknown = replace(keys[0], counter=77)
    items = [
        desk.packed_claim(keys[0], desk.voucher(keys[0], 2 * DOLLAR, sequence=4)),
        desk.packed_claim(keys[0], desk.voucher(keys[0], 2 * DOLLAR, sequence=4)),
        desk.packed_claim(keys[1], desk.voucher(keys[1], DOLLAR), signature=bytes(64) + b"\x1b"),
        desk.packed_claim(unknown, desk.voucher(unknown, DOLLAR)),
        desk.packed_claim(keys[2], desk.voucher(keys[2], 11 * DOLLAR)),
    ]

    receipt = desk.channels.claimMany(desk.provider.account, desk.token, b"".join(items), sender=desk.stranger.account)

    assert desk.balance(desk.provider) == 12 * DOLLAR
    assert [bytes(log.channel) for log in receipt.events.filter(desk.channels.Claimed)] == [
        channel_id(keys[0]),
        channel_id(keys[2]),
    ]
    selectors = {bytes(log.channel): bytes(log.reason) for log in receipt.events.filter(desk.channels.ClaimSkipped)}
    assert selectors == {
        channel_id(keys[0]): selector("NothingToClaim(bytes32,uint128,uint128)"),
        channel_id(keys[1]): selector("BadSignature(address)"),
        channel_id(unknown): selector("ChannelUnknown(bytes32)"),
    }


def test_a_batch_pays_nobody_but_the_payee_that_the_channel_names(desk: Desk) -> None:
    key = desk.open()
    item = desk.packed_claim(key, desk.voucher(key, DOLLAR))

    desk.channels.claimMany(desk.stranger.account, desk.token, item, sender=desk.stranger.account)

    assert desk.balance(desk.stranger) == 1_000 * DOLLAR
    assert desk.balance(desk.provider) == 0


def selector(signature: str) -> bytes:
    return bytes(keccak256(signature.encode())[:4])


def close_of(desk: Desk, key: Any, cumulative: int, close_by: int | None = None) -> Close:
    by = desk.now() + 60 if close_by is None else close_by
    return Close(channel=channel_id(key), cumulative=Amount(cumulative), close_by=UnixTime(by))


def test_a_close_that_both_signed_pays_both_at_once_whoever_sends_it(desk: Desk) -> None:
    key = desk.open(10 * DOLLAR)
    desk.claim(key, desk.voucher(key, 3 * DOLLAR))
    agreed = close_of(desk, key, 4 * DOLLAR)
    signatures = desk.sign(desk.requester, agreed), desk.sign(desk.provider, agreed)

    receipt = desk.channels.close(words(key), words(agreed), *signatures, sender=desk.stranger.account)

    assert desk.balance(desk.provider) == 4 * DOLLAR
    assert desk.balance(desk.requester) == 996 * DOLLAR
    assert desk.balances()["channels"] == 0
    assert [log.toPayee for log in receipt.events.filter(desk.channels.ChannelClosed)] == [4 * DOLLAR]
    with reverts(desk.channels.ChannelUnknown):
        desk.channels.close(words(key), words(agreed), *signatures, sender=desk.stranger.account)


def test_a_close_counts_the_caller_as_its_own_signature(desk: Desk) -> None:
    for sender, lacking in ((desk.provider, desk.requester), (desk.requester, desk.provider)):
        key = desk.open()
        agreed = close_of(desk, key, DOLLAR)
        signature = desk.sign(lacking, agreed)
        pair = (signature, b"") if lacking is desk.requester else (b"", signature)
        desk.channels.close(words(key), words(agreed), *pair, sender=sender.account)
        assert desk.channels.stateOf(channel_id(key)).deposit == 0


def test_neither_side_can_close_alone(desk: Desk) -> None:
    key = desk.open()
    agreed = close_of(desk, key, 0)
    mine = desk.sign(desk.requester, agreed)
    with reverts(desk.channels.BadSignature):
        desk.channels.close(words(key), words(agreed), mine, mine, sender=desk.requester.account)
    with reverts(desk.channels.BadSignature):
        desk.channels.close(words(key), words(agreed), b"", b"", sender=desk.provider.account)


def test_a_close_counts_until_its_last_second_and_within_what_is_there(desk: Desk) -> None:
    key = desk.open(10 * DOLLAR)
    desk.claim(key, desk.voucher(key, 3 * DOLLAR))
    deadline = desk.now() + 50
    for cumulative in (3 * DOLLAR - 1, 10 * DOLLAR + 1):
        agreed = close_of(desk, key, cumulative)
        with reverts(desk.channels.CloseOutOfRange):
            desk.channels.close(
                words(key), words(agreed), desk.sign(desk.requester, agreed), b"", sender=desk.provider.account
            )
    agreed = close_of(desk, key, 3 * DOLLAR, deadline)
    signature = desk.sign(desk.requester, agreed)
    desk.wait_until(deadline + 1)
    with reverts(desk.channels.CloseExpired):
        desk.channels.close(words(key), words(agreed), signature, b"", sender=desk.provider.account)
    foreign = replace(agreed, channel=Digest(bytes(32)))
    with reverts(desk.channels.WrongChannel):
        desk.channels.close(words(key), words(foreign), signature, b"", sender=desk.provider.account)
