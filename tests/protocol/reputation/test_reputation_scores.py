"""Sheets of scores: what is anchored, what proves a line of it, and what is refused."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import UnexpectedEvent
from protocol.identity import ZERO_DIGEST, Address
from protocol.reputation.anchoring import (
    Anchored,
    Dropped,
    Intended,
    OnChain,
    Overtaken,
    Standing,
    begin,
    find_due,
    may_go,
    transition,
)
from protocol.reputation.scores import (
    MAX_SCORES,
    PROOF_MAX_BYTES,
    BadSheet,
    NoSuchScore,
    Score,
    ScoreTree,
    Sheet,
    is_score,
    make_sheet,
    score_leaf,
)
from protocol.signing.keccak import keccak256
from protocol.units import Seconds, UnixTime
from protocol.wire.codec import encode

ME = Address(b"\xee" * 20)
OTHERS = st.dictionaries(st.binary(min_size=20, max_size=20).map(Address), st.integers(0, 10_000), max_size=40)


@given(OTHERS, st.integers(0, 10_000))
def test_every_line_is_proved_and_no_other_score(opinions: dict[Address, int], wrong: int) -> None:
    tree = ScoreTree(make_sheet(7, opinions))
    for subject, score in opinions.items():
        proof = tree.prove(ME, subject)
        assert (proof.epoch, proof.subject, proof.score) == (7, subject, score)
        assert is_score(proof, tree.root)
        assert is_score(replace(proof, score=wrong), tree.root) == (wrong == score)
        assert not is_score(replace(proof, subject=ME), tree.root) or subject == ME
    if not opinions:
        assert tree.root == ZERO_DIGEST


def test_the_order_in_which_opinions_came_does_not_matter_and_each_of_them_does() -> None:
    opinions = {Address(bytes([number]) * 20): number * 100 for number in range(1, 8)}
    backwards = dict(reversed(opinions.items()))
    root = ScoreTree(make_sheet(1, opinions)).root
    assert ScoreTree(make_sheet(1, backwards)).root == root
    for subject in opinions:
        assert ScoreTree(make_sheet(1, opinions | {subject: 1})).root != root
        assert (
            ScoreTree(make_sheet(1, {each: score for each, score in opinions.items() if each != subject})).root != root
        )


def test_a_leaf_is_what_the_contract_hashes() -> None:
    words = bytes(12) + b"\xab" * 20 + bytes(30) + (5_000).to_bytes(2)
    assert score_leaf(Address(b"\xab" * 20), 5_000) == keccak256(keccak256(words))


def test_sheets_that_prove_a_line_twice_or_too_much_are_refused() -> None:
    one, other = Score(subject=Address(b"\x01" * 20), score=1), Score(subject=Address(b"\x02" * 20), score=2)
    for lines in ((other, one), (one, replace(one, score=9)), (replace(one, score=10_001),)):
        with pytest.raises(BadSheet):
            ScoreTree(Sheet(epoch=1, scores=lines))
    tree = ScoreTree(Sheet(epoch=1, scores=(one, other)))
    with pytest.raises(NoSuchScore):
        tree.prove(ME, ME)
    beyond = ScoreTree(make_sheet(1, {one.subject: 1})).prove(ME, one.subject)
    assert not is_score(replace(beyond, score=10_001), score_leaf(one.subject, 10_001))


def test_the_longest_sheet_has_small_proofs() -> None:
    tree = ScoreTree(make_sheet(1, {Address(number.to_bytes(20)): number % 10_001 for number in range(MAX_SCORES)}))
    proof = tree.prove(ME, Address((9_999).to_bytes(20)))
    assert len(proof.siblings) == 14
    assert len(encode(proof)) <= PROOF_MAX_BYTES // 3
    assert is_score(proof, tree.root)


@pytest.mark.parametrize(
    ("now", "every", "last", "due"),
    [
        (1_000_000, 1_000, 0, 1_000_000),
        (1_000_999, 1_000, 999_000, 1_000_000),
        (1_000_999, 1_000, 1_000_000, None),
        (1_000_999, 1_000, 1_000_001, None),  # a longer epoch than the last one had begins before it
        (1_000_999, 7_000, 1_000_000, None),
        (1_001_000, 7_000, 1_000_000, 1_001_000),
    ],
)
def test_an_epoch_is_due_once_whatever_its_length_was(now: int, every: int, last: int, due: int | None) -> None:
    assert find_due(now=UnixTime(now), every=Seconds(every), on_chain=OnChain(epoch=last)) == due


def test_a_routine_anchor_waits_for_cheap_gas_and_not_for_ever() -> None:
    for now, cheap, goes in ((100, True, True), (100, False, False), (149, False, False), (150, False, True)):
        assert may_go(now=UnixTime(now), epoch=100, patience=Seconds(50), is_gas_cheap=cheap) == goes


def test_the_fate_of_a_sheet_is_told_once() -> None:
    sheet = make_sheet(1, {ME: 1})
    for event, after in ((Anchored(block=4), Standing(sheet=sheet, block=4)), (Overtaken(), Dropped(sheet=sheet))):
        state, _ = transition(begin(sheet), event)
        assert state == after
        for again in (Anchored(block=5), Overtaken()):
            with pytest.raises(UnexpectedEvent):
                transition(state, again)
    assert begin(sheet) == Intended(sheet=sheet)
