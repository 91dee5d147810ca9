"""What the results of several copies say of each other."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import UnexpectedEvent
from protocol.identity import ContentDigest, Digest
from protocol.task.audit import Rerun
from protocol.task.comparison import (
    Basis,
    Comparing,
    Event,
    Held,
    PartSettled,
    ResultPassed,
    ResultsContested,
    contradiction_of,
    decide,
    finding_on,
    is_same,
    transition,
    wait_for_others_s,
)
from protocol.task.outcome import Outcome
from protocol.task.pricing import Rates
from protocol.units import Amount
from protocol.wire.codec import decode_as, encode
from tests.protocol.market.market_world import word
from tests.protocol.task.test_task_receipt import TERMS

EVENT: Any = Event
RATES = Rates(start=Amount(7), gfuel=Amount(10), mib_gfuel=Amount(1), mib_in=Amount(0), mib_out=Amount(0))
NOBODY = "this node can't run it"


def result(number: int) -> Rerun:
    """The result that liar `number` states; 0 is the truth."""
    output = ContentDigest(bytes([number]) * 32)
    return Rerun(outcome=0, output=output, fuel=1_000_000_000, peak_mib=2, bytes_in=5, bytes_out=9)


def held(*numbers: int, begin: int = 0) -> list[Held]:
    return [Held(receipt_id=word(f"receipt {begin + i}"), result=result(n)) for i, n in enumerate(numbers)]


def decided(
    results: Sequence[Held], found: Rerun | str | None, copies: int = 2, state: Comparing | None = None
) -> Event | None:
    return decide(state or Comparing(), RATES, copies, 0, results, found)


def after(*events: Event | None) -> Comparing:
    """The state that a journal of `events` gives, read back from bytes."""
    state = Comparing()
    for event in events:
        assert event is not None
        state, _ = transition(state, decode_as(EVENT, encode(event, EVENT), max_bytes=1 << 20))
    return state


def judged(state: Comparing, each: Held) -> str:
    """What becomes of a receipt."""
    finding = finding_on(state, RATES, 0, each)
    match finding:
        case PartSettled():
            other = "contested" if finding.basis is Basis.THIRD else "refuted"
            return "paid" if is_same(RATES, finding.result, each.result) else other
        case ResultPassed():
            return "paid"
        case ResultsContested():
            assert not is_same(RATES, contradiction_of(finding, RATES, each.receipt_id), each.result)
            return "contested"
        case None:
            return "open"


def test_equal_results_settle_a_part_without_a_referee() -> None:
    event = decided(held(0, 0, 0), None, copies=3)
    assert isinstance(event, PartSettled)
    assert (event.basis, event.result, event.agreeing) == (Basis.AGREEMENT, result(0), 3)


def test_different_results_need_a_referee_and_it_overrules_any_majority() -> None:
    results = held(1, 1, 0)
    assert decided(results, None, copies=3) is None
    state = after(decided(results, result(0), copies=3))
    assert [judged(state, each) for each in results] == ["refuted", "refuted", "paid"]


def test_without_a_referee_the_majority_of_three_is_right_and_a_tie_of_two_is_contested() -> None:
    three = held(0, 1, 0)
    state = after(decided(three, NOBODY, copies=3))
    assert [judged(state, each) for each in three] == ["paid", "refuted", "paid"]
    two = held(0, 1)
    state = after(decided(two, NOBODY))
    assert [judged(state, each) for each in two] == ["contested", "contested"]
    assert isinstance(decided(held(0, 1), NOBODY, copies=3), ResultsContested), "one of three is still missing"
    assert isinstance(decided(held(0, 0, 1), NOBODY, copies=5), ResultsContested), "two of five are no majority"
    assert isinstance(decided(held(0, 0, 1, 1), NOBODY, copies=4), ResultsContested)


@pytest.mark.parametrize(
    ("copies", "stated", "third", "becomes"),
    [
        (2, (0, 1), 0, ["paid", "contested"]),
        (2, (0, 1), 1, ["contested", "paid"]),
        (2, (0, 1), 2, ["contested", "contested"]),
        (2, (0,), 0, ["paid"]),
        (2, (0,), 1, ["contested"]),
        (3, (0, 0, 1), 0, ["paid", "paid", "refuted"]),
        (3, (0, 0, 1), 1, ["contested", "contested", "contested"]),
        (3, (0, 0, 1), 2, ["contested", "contested", "contested"]),
        (3, (0, 1, 2), 0, ["contested", "contested", "contested"]),
        (4, (0, 0, 1, 2), 0, ["paid", "paid", "contested", "contested"]),
        (5, (0, 0, 0, 1, 1), 1, ["contested"] * 5),
    ],
)
def test_a_third_node_has_one_voice_and_what_it_alone_decides_refutes_nobody(
    copies: int, stated: tuple[int, ...], third: int, becomes: list[str]
) -> None:
    results = held(*stated)
    event = decide(Comparing(), RATES, copies, 0, results, NOBODY, result(third))
    assert [judged(after(event), each) for each in results] == becomes


def test_a_run_of_this_nodes_own_outweighs_a_third_ones() -> None:
    results = held(0, 1)
    event = decide(Comparing(), RATES, 2, 0, results, result(0), result(1))
    assert [judged(after(event), each) for each in results] == ["paid", "refuted"]


def test_a_third_result_breaks_the_tie_for_itself_but_not_for_those_who_were_contested() -> None:
    two, third = held(0, 1), held(0, begin=2)
    first = decided(two, NOBODY)
    state = after(first, decided(third, NOBODY, state=after(first)))
    assert [judged(state, each) for each in (*two, *third)] == ["contested", "contested", "paid"]


def test_who_is_alone_passes_and_who_contradicts_it_later_without_a_referee_is_contested() -> None:
    early, late = held(1), held(0, begin=1)
    first = decided(early, NOBODY)
    assert isinstance(first, ResultPassed)
    second = decided(late, NOBODY, state=after(first))
    assert isinstance(second, ResultsContested)
    state = after(first, second)
    assert [judged(state, each) for each in (*early, *late)] == ["paid", "contested"]
    equal = decided(held(1, begin=1), None, state=after(first))
    assert isinstance(equal, PartSettled)
    assert equal.agreeing == 2


def test_an_agreement_is_looked_at_anew_when_a_late_one_differs() -> None:
    liars, honest = held(1, 1), held(0, begin=2)
    first = decided(liars, None, copies=3)
    state = after(first)
    assert judged(state, honest[0]) == "open"
    assert judged(state, held(1, begin=3)[0]) == "paid"
    assert decided(honest, None, copies=3, state=state) is None
    told = after(first, decided(honest, result(0), copies=3, state=state))
    assert judged(told, honest[0]) == "paid"
    outvoted = after(first, decided(honest, NOBODY, copies=3, state=state))
    assert judged(outvoted, honest[0]) == "refuted"


def test_what_is_settled_by_a_referee_or_told_of_a_receipt_stays() -> None:
    settled = decided(held(0, 1), result(0))
    passed = decided(held(0), NOBODY)
    contested = decided(held(0, 1), NOBODY)
    assert settled is not None
    assert passed is not None
    assert contested is not None
    for before, event in (
        (settled, settled),
        (settled, passed),
        (settled, contested),
        (passed, passed),
        (contested, passed),
        (contested, contested),
    ):
        with pytest.raises(UnexpectedEvent):
            transition(after(before), event)


def test_what_is_not_judged_may_differ() -> None:
    same = replace(result(0), bytes_out=10**6)
    assert is_same(RATES, result(0), same), "bytes out cost nothing here"
    assert not is_same(replace(RATES, mib_out=Amount(1)), result(0), same)
    assert not is_same(RATES, result(0), replace(result(0), peak_mib=3))
    leaky = replace(result(0), outcome=int(Outcome.DIVISION_BY_ZERO))
    assert is_same(RATES, leaky, replace(leaky, peak_mib=3)), "the full price is due whatever was used"
    for changes in ({"outcome": 1}, {"fuel": 1}, {"output": result(1).output}):
        assert not is_same(RATES, result(0), replace(result(0), **changes))


@given(
    numbers=st.lists(st.sampled_from([0, 0, 1, 2]), min_size=1, max_size=7),
    copies=st.integers(2, 7),
    referee=st.sampled_from([True, False]),
    cut=st.integers(1, 7),
)
def test_whatever_comes_in_whatever_groups_all_are_judged_and_no_honest_one_is_refuted_for_a_minority(
    numbers: list[int],
    copies: int,
    referee: bool,  # noqa: FBT001 - hypothesis passes by name
    cut: int,
) -> None:
    results = held(*numbers)
    found = result(0) if referee else NOBODY
    events: list[Event] = []
    for group in (results[:cut], results[cut:]):
        waiting = [each for each in group if finding_on(after(*events), RATES, 0, each) is None]
        if waiting:
            event = decided(waiting, None, copies, after(*events)) or decided(waiting, found, copies, after(*events))
            assert event is not None
            events.append(event)
    state = after(*events)
    fates = [judged(state, each) for each in results]
    assert "open" not in fates
    liars = Counter(number for number in numbers if number)
    for number, fate in zip(numbers, fates, strict=True):
        if number == 0 and fate == "refuted":
            assert not referee, "the referee knows"
            assert max(liars.values()) * 2 > max(copies, len(numbers[:cut]))
    if referee and len(set(numbers)) > 1 and cut >= len(numbers):
        assert fates == ["paid" if number == 0 else "refuted" for number in numbers]


def test_a_wait_leaves_the_provider_its_patience_and_its_promised_time() -> None:
    award = TERMS.award
    last = award.first_part + award.parts - 1
    assert wait_for_others_s(award, last) == award.pace / 2
    hasty = replace(award, parts=3, first_part=0, start_by=award.start_by, deliver_by=award.start_by + 90)
    slow = replace(hasty, pace=10**6)
    assert wait_for_others_s(slow, 0) == 10
    assert wait_for_others_s(replace(hasty, pace=4), 0) == 2


def test_findings_survive_their_journey() -> None:
    receipts: tuple[Digest, ...] = tuple(word(str(number)) for number in range(300))
    event = ResultsContested(part=1, receipts=receipts, results=(result(0),) * 300, others=(), reason="")
    assert after(event).single == (event,)
