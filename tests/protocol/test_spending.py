"""Spending caps, driven by hypothesis against a model that remembers every single addition at its exact second."""

from dataclasses import dataclass

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from protocol.identity import Address, Digest
from protocol.spending import (
    BUCKET_S,
    DAY,
    HOUR,
    AccountClosed,
    Cap,
    InvalidSpend,
    Spend,
    SpendingCapExceeded,
    SpendingCaps,
    SpendingState,
    TaskClosed,
    authorize,
    remaining,
    transition,
)
from protocol.units import MAX_AMOUNT, Amount, UnixTime

START = UnixTime(1_800_000_000)
CAPS = SpendingCaps(per_task=Amount(50), per_hour=Amount(100), per_day=Amount(150), per_peer=Amount(120))
ALICE, BOB = Address(b"a" * 20), Address(b"b" * 20)


def key(number: int) -> Digest:
    return Digest(number.to_bytes(32))


def spend(
    total: int, *, account: int = 1, task: int | None = None, part: int | None = None, peer: Address = ALICE
) -> Spend:
    if task is None:
        return Spend(account=key(account), total=Amount(total), peer=peer)
    task_total = Amount(total if part is None else part)
    return Spend(account=key(account), total=Amount(total), peer=peer, task=key(task), task_total=task_total)


def after(*spends: Spend, at: UnixTime = START) -> SpendingState:
    state = SpendingState()
    for one in spends:
        event = authorize(CAPS, state, at, one)
        if event is not None:
            state = transition(state, event)
    return state


def refusal(state: SpendingState, at: int, one: Spend, caps: SpendingCaps = CAPS) -> SpendingCapExceeded:
    with pytest.raises(SpendingCapExceeded) as caught:
        authorize(caps, state, UnixTime(at), one)
    return caught.value


def test_signing_the_same_spend_twice_counts_once() -> None:
    state = after(spend(100))
    assert authorize(CAPS, state, START, spend(100)) is None
    assert authorize(CAPS, state, START, spend(60)) is None


def test_a_repeat_is_allowed_even_when_the_caps_were_lowered_since() -> None:
    none = SpendingCaps(per_task=Amount(0), per_hour=Amount(0), per_day=Amount(0), per_peer=Amount(0))
    state = after(spend(50, task=7))
    assert authorize(none, state, START, spend(50, task=7)) is None
    assert refusal(state, START, spend(51, task=7), none).cap is Cap.TASK


def test_only_the_lift_of_a_running_total_counts() -> None:
    state = after(spend(60), spend(100))
    assert sum(addition.amount for addition in state.recent) == 100
    assert refusal(state, START, spend(101)).asked == 1


def test_the_task_cap_adds_up_over_accounts_and_says_that_waiting_does_not_help() -> None:
    state = after(spend(30, account=1, task=7), spend(20, account=2, task=7))
    error = refusal(state, START + DAY + HOUR, spend(1, account=3, task=7))
    assert (error.cap, error.limit, error.asked, error.left, error.frees_at) == (Cap.TASK, 50, 1, 0, None)


def test_a_hold_that_was_not_used_up_frees_the_channel_but_not_the_task() -> None:
    """Task 7 holds 40 and costs 30; task 8 then holds 40: the channel can lose 70 at most, task 8 all its 40."""
    state = after(spend(40, task=7), spend(30, task=7), spend(70, task=8, part=40))
    assert sum(addition.amount for addition in state.recent) == 70
    assert state.tasks[key(8)] == 40
    assert refusal(state, START, spend(81, task=8, part=51)).cap is Cap.TASK


def test_the_refusal_names_what_is_left_and_when_it_frees() -> None:
    state = after(spend(40, account=1), spend(50, account=2, peer=BOB))
    error = refusal(state, START, spend(11, account=3))
    assert (error.cap, error.left, error.asked) == (Cap.HOUR, 10, 11)
    assert error.frees_at is not None
    assert START + HOUR <= error.frees_at < START + HOUR + BUCKET_S
    assert authorize(CAPS, state, error.frees_at, spend(11, account=3)) is not None
    assert refusal(state, error.frees_at - 1, spend(11, account=3)).cap is Cap.HOUR
    assert "$0.00001" in str(error)


def test_more_than_a_whole_cap_never_frees() -> None:
    assert refusal(SpendingState(), START, spend(101)).frees_at is None


def test_the_peer_cap_binds_one_peer_alone() -> None:
    state = after(spend(100, account=1))
    later = START + HOUR + BUCKET_S
    error = refusal(state, later, spend(21, account=2))
    assert (error.cap, error.left) == (Cap.PEER, 20)
    assert authorize(CAPS, state, UnixTime(later), spend(21, account=2, peer=BOB)) is not None


def test_what_remains_is_what_may_still_be_added() -> None:
    state = after(spend(30, task=7), spend(20, account=2, peer=BOB))
    left = remaining(CAPS, state, START, peer=ALICE, task=key(7))
    assert left == {Cap.TASK: 20, Cap.HOUR: 50, Cap.DAY: 100, Cap.PEER: 90}
    assert authorize(CAPS, state, START, spend(left[Cap.HOUR], account=3)) is not None
    assert refusal(state, START, spend(left[Cap.HOUR] + 1, account=3)).cap is Cap.HOUR
    none = SpendingCaps(per_task=Amount(0), per_hour=Amount(0), per_day=Amount(0), per_peer=Amount(0))
    assert set(remaining(none, state, START).values()) == {0}


def test_a_clock_set_back_frees_nothing() -> None:
    state = after(spend(60, account=1), at=UnixTime(START + HOUR))
    event = authorize(CAPS, state, START, spend(40, account=2))
    assert event is not None
    state = transition(state, event)
    assert refusal(state, START + HOUR, spend(1, account=3)).left == 0


def test_a_closed_account_and_task_are_forgotten_but_the_window_is_not() -> None:
    state = after(spend(50, task=7))
    state = transition(transition(state, AccountClosed(account=key(1))), TaskClosed(task=key(7)))
    assert (dict(state.accounts), dict(state.parts), dict(state.tasks)) == ({}, {}, {})
    assert refusal(state, START, spend(51, account=2)).left == 50


@pytest.mark.parametrize(
    ("total", "part", "task"), [(-1, 0, None), (MAX_AMOUNT + 1, 0, None), (5, 6, 7), (5, -1, 7), (5, 5, None)]
)
def test_a_spend_that_contradicts_itself_is_refused(total: int, part: int, task: int | None) -> None:
    with pytest.raises(InvalidSpend):
        Spend(
            account=key(1),
            total=Amount(total),
            peer=ALICE,
            task=None if task is None else key(task),
            task_total=Amount(part),
        )


@dataclass(frozen=True)
class Exact:
    at: int
    peer: Address
    amount: int


STEPS = st.sampled_from([0, 1, BUCKET_S - 1, BUCKET_S, HOUR, DAY - HOUR])
LIFTS = st.sampled_from([1, 50, 51, 99, 100, 101]) | st.integers(-30, 130)


PART_LIFTS = st.just(0) | st.just(0) | LIFTS  # often none, or the task cap would soon end every other experiment


class SpendingRules(RuleBasedStateMachine):
    """Accounts 1..3, tasks 1 and 2, two peers; an account always pays one peer, as channels do."""

    def __init__(self) -> None:
        super().__init__()
        self.state = SpendingState()
        self.now = int(START)
        self.totals = {1: 0, 2: 0, 3: 0}
        self.parts: dict[tuple[int, int], int] = {}
        self.exact: list[Exact] = []

    @rule(step=STEPS)
    def time_passes(self, step: int) -> None:
        self.now += step

    @precondition(lambda self: self.exact)
    @rule(data=st.data(), window=st.sampled_from([HOUR, DAY]), offset=st.sampled_from([-1, 0, BUCKET_S - 1]))
    def time_passes_to_the_edge_of_a_window(self, data: st.DataObject, window: int, offset: int) -> None:
        entry = data.draw(st.sampled_from(self.exact))
        self.now = max(self.now, entry.at + window + offset)

    @rule(account=st.sampled_from([1, 2, 3]), task=st.sampled_from([1, 2]), lift=LIFTS, part_lift=PART_LIFTS)
    def something_is_signed(self, account: int, task: int, lift: int, part_lift: int) -> None:
        total = max(0, self.totals[account] + lift)
        part = min(total, max(0, self.parts.get((account, task), 0) + part_lift))
        peer = BOB if account == 3 else ALICE
        added = max(0, total - self.totals[account])
        task_added = max(0, part - self.parts.get((account, task), 0))
        try:
            event = authorize(
                CAPS, self.state, UnixTime(self.now), spend(total, account=account, task=task, part=part, peer=peer)
            )
        except SpendingCapExceeded as error:
            self.refused(error, task, peer, added, task_added)
            return
        assert (event is None) == (added == task_added == 0)
        if event is None:
            return
        self.state = transition(self.state, event)
        self.totals[account] += added
        self.parts[account, task] = self.parts.get((account, task), 0) + task_added
        self.exact.append(Exact(self.now, peer, added))

    def refused(self, error: SpendingCapExceeded, task: int, peer: Address, added: int, task_added: int) -> None:
        """A refusal is right at exact seconds, or would be with every entry a minute younger."""
        if error.cap is Cap.TASK:
            assert self.of_task(task) + task_added > CAPS.per_task
            return
        window, limit = {
            Cap.HOUR: (HOUR, CAPS.per_hour),
            Cap.DAY: (DAY, CAPS.per_day),
            Cap.PEER: (DAY, CAPS.per_peer),
        }[error.cap]
        assert self.within(window + BUCKET_S - 1, peer if error.cap is Cap.PEER else None) + added > limit

    def within(self, window: int, peer: Address | None = None) -> int:
        return sum(e.amount for e in self.exact if e.at + window > self.now and peer in (None, e.peer))

    def of_task(self, task: int) -> int:
        return sum(part for (_, of), part in self.parts.items() if of == task)

    @invariant()
    def no_cap_is_exceeded(self) -> None:
        assert self.within(HOUR) <= CAPS.per_hour
        assert self.within(DAY) <= CAPS.per_day
        assert self.within(DAY, ALICE) <= CAPS.per_peer
        assert self.within(DAY, BOB) <= CAPS.per_peer
        assert self.of_task(1) <= CAPS.per_task
        assert self.of_task(2) <= CAPS.per_task

    @invariant()
    def the_window_stays_in_order_and_small(self) -> None:
        untils = [addition.until for addition in self.state.recent]
        assert untils == sorted(untils)
        assert len(untils) <= 2 * (DAY // BUCKET_S + 1)


TestSpendingRules = SpendingRules.TestCase
TestSpendingRules.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
