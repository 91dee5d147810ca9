"""When a watchtower acts: by the numbers, and against a contract with state whatever happened before."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.channel.chain import ChainEvent
from protocol.channel.holds import build_voucher
from protocol.channel.objects import Hold
from protocol.channel.tower import TURNS, Act, Over, Rest, Standing, decide, gain_of, turn_of
from protocol.channel.watch import HandedMark, WatchOrder, mark_of, money_at_stake, verify_watch_order
from protocol.identity import ZERO_ADDRESS, Address
from protocol.signing.ecdsa import sign
from protocol.signing.eip712 import digest
from protocol.signing.signed import sign_struct
from protocol.units import Amount, UnixTime
from tests.protocol.channel.channel_world import (
    CHANNEL,
    DOMAIN,
    JUDGE,
    KEY,
    PAYEE,
    PAYER,
    RULES,
    FakeChannel,
    award,
)

EXIT = UnixTime(1_000 + RULES.challenge)


def order(sequence: int, cumulative: int, held: int) -> WatchOrder:
    holds = (Hold(award=award(1), arbiter=JUDGE, amount=Amount(held)),) if held else ()
    voucher = build_voucher(CHANNEL, sequence, Amount(cumulative), holds)
    return WatchOrder(
        key=KEY,
        voucher=sign_struct(PAYER, DOMAIN, voucher),
        holds=holds,
        payee_signature=sign(PAYEE, digest(DOMAIN, voucher)),
    )


def standing(deposit: int = 100, claimed: int = 0, exits_at: int = 0, presented: int = 0) -> Standing:
    return Standing(
        deposit=Amount(deposit),
        claimed=Amount(claimed),
        exits_at=UnixTime(exits_at),
        presented=presented,
    )


def acts(gain: int, at: int = 1005, by: int = EXIT, *, presents: bool = True) -> Act:
    return Act(at=UnixTime(at), presents=presents, gain=Amount(gain), by=UnixTime(by))


def decided(of: WatchOrder, where: Standing, turn: int = 0, least: int = 1, seen_at: int = 0) -> Act | Rest | Over:
    return decide(of, where, RULES, turn=turn, least=Amount(least), seen_at=UnixTime(seen_at))


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (standing(), Rest()),
        (standing(deposit=0), Over()),
        (standing(exits_at=EXIT, claimed=15, presented=4), Rest()),
        (standing(exits_at=EXIT, claimed=15, presented=5), Rest()),
        (standing(exits_at=EXIT), acts(37)),
        (standing(exits_at=EXIT, claimed=15, presented=3), acts(22)),
        (standing(exits_at=EXIT, claimed=14, presented=4), acts(1, presents=False)),
        (standing(exits_at=EXIT, claimed=25, presented=3), acts(12)),  # a verdict on the older one has paid
        (standing(exits_at=EXIT, claimed=37, presented=3), Rest()),
        (standing(exits_at=EXIT, deposit=15), acts(15)),
        (standing(exits_at=EXIT, deposit=20), acts(20)),
        (standing(presented=4), Rest()),
        (standing(presented=3), acts(37, at=10, by=0)),
    ],
)
def test_what_is_done_follows_from_order_and_standing(where: Standing, expected: Act | Rest | Over) -> None:
    assert decided(order(4, 15, 22), where) == expected


def test_a_gain_below_the_least_is_left() -> None:
    where = standing(exits_at=EXIT, claimed=10)
    assert isinstance(decided(order(4, 15, 22), where, least=27), Act)
    assert decided(order(4, 15, 22), where, least=28) == Rest()
    assert decided(order(4, 10, 0), where, least=0) == Rest()  # nothing is never worth anything


@pytest.mark.parametrize(("turn", "at"), [(0, 1005), (TURNS // 2, 1007), (TURNS - 1, 1009)])
def test_each_tower_has_a_moment_between_an_eighth_and_a_quarter_of_the_challenge(turn: int, at: int) -> None:
    acted = decided(order(4, 15, 22), standing(exits_at=EXIT), turn=turn)
    assert isinstance(acted, Act)
    assert acted.at == at
    assert RULES.challenge // 8 <= acted.at - 1_000 <= RULES.challenge // 4


def test_turns_differ_between_towers_and_channels_and_are_in_range() -> None:
    towers = [Address(bytes([number]) * 20) for number in range(64)]
    turns = [turn_of(tower, CHANNEL) for tower in towers] + [turn_of(towers[0], award(n)) for n in range(64)]
    assert len(set(turns)) > 100
    assert all(0 <= turn < TURNS for turn in turns)


def test_an_older_presentation_is_answered_once_the_payee_is_away() -> None:
    acted = decided(order(4, 15, 22), standing(presented=3), seen_at=5_000)
    assert isinstance(acted, Act)
    assert acted.at == 5_000 + RULES.challenge // 4


AMOUNTS = st.sampled_from([0, 1, 14, 15, 16, 84, 85, 86, 99, 100]) | st.integers(0, 100)


@settings(max_examples=300)
@given(
    cumulative=AMOUNTS,
    held=AMOUNTS,
    earlier=st.lists(st.tuples(st.booleans(), st.integers(1, 6), AMOUNTS, AMOUNTS), max_size=3),
    exits=st.booleans(),
    turn=st.sampled_from([0, 1, TURNS - 1]),
    late=st.booleans(),
)
def test_whatever_was_on_chain_before_the_payee_has_all_of_the_order_afterwards_and_it_is_done_once(
    *,
    cumulative: int,
    held: int,
    earlier: list[tuple[bool, int, int, int]],
    exits: bool,
    turn: int,
    late: bool,
) -> None:
    told: list[ChainEvent] = []
    contract = FakeChannel(told.append)
    contract.open(100)
    for presents, sequence, paid, promised in earlier:
        old = order(sequence, paid, promised)
        if not presents:
            contract.claim(old.voucher)
        elif sequence > contract.sequence:
            contract.present(old.voucher, old.holds)
    if exits:
        contract.start_exit()
    mine = order(4, cumulative, held)
    verify_watch_order(DOMAIN, mine)
    before = _look(contract)
    acted = decided(mine, before, turn=turn, seen_at=contract.time)
    was_needed = (exits or 0 < before.presented < 4) and gain_of(mine, before) > 0
    assert isinstance(acted, Act) == was_needed
    if not isinstance(acted, Act):
        return
    contract.advance(max(0, acted.at - contract.time) + (RULES.challenge if late else 0))
    if exits and not late:
        assert contract.time <= contract.exits_at - RULES.challenge * 3 // 4
    if acted.presents:
        contract.present(mine.voucher, mine.holds)
    else:
        contract.claim(mine.voucher)
    assert contract.claimed >= min(cumulative, 100)
    if before.presented < 4 and held:
        assert (contract.sequence, contract.held) == (4, held)
    assert decided(mine, _look(contract), turn=turn) == Rest()


def _look(contract: FakeChannel) -> Standing:
    return standing(
        deposit=contract.deposit,
        claimed=contract.claimed,
        exits_at=contract.exits_at,
        presented=contract.sequence,
    )


MARK = HandedMark(sequence=3, cumulative=Amount(10), holds=award(9))


@pytest.mark.parametrize(
    ("deposit", "claimed", "mark", "expected"),
    [
        (100, 0, None, 15 + 22),
        (100, 4, None, 11 + 22),
        (100, 15, None, 22),
        (12, 0, None, 12 + 22),
        (100, 4, MARK, 5 + 22),
        (100, 12, MARK, 3 + 22),
        (100, 0, replace(MARK, cumulative=Amount(15)), 22),
        (100, 0, replace(MARK, holds=order(4, 15, 22).voucher.value.holds), 5),
        (100, 20, mark_of(order(4, 15, 22).voucher.value), 0),
    ],
)
def test_at_stake_is_what_neither_the_chain_nor_the_tower_has(
    deposit: int, claimed: int, mark: HandedMark | None, expected: int
) -> None:
    mine = order(4, 15, 22)
    stake = money_at_stake(mine.voucher.value, mine.holds, deposit=Amount(deposit), claimed=Amount(claimed), mark=mark)
    assert stake == expected


def test_a_hold_without_an_arbiter_is_nothing_that_a_tower_could_save() -> None:
    mine = order(4, 15, 22)
    holds = (replace(mine.holds[0], arbiter=ZERO_ADDRESS),)
    assert money_at_stake(mine.voucher.value, holds, deposit=Amount(100), claimed=Amount(0), mark=None) == 15
