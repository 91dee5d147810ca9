"""The purchase machine: every row of its table, with real awards and prices."""

import pytest

from protocol.errors import UnexpectedEvent
from protocol.signing.eip712 import digest
from protocol.task import purchase
from protocol.task.purchase import (
    CancelRequested,
    NoWinner,
    ProviderFailed,
    RailFailed,
    RailFunded,
    SeekWinner,
    transition,
)
from protocol.task.purchase_states import Failed, Progress, Running, Seeking
from protocol.wire.codec import DecodeError, decode_as, encode
from tests.protocol.market.market_world import DOMAIN, word
from tests.protocol.task.purchase_walk import EVENT, Walk, award_after, chosen, received, started


def test_every_row_of_a_purchase_that_goes_well() -> None:
    walk = Walk()
    award = walk.award()
    assert walk.apply(chosen(award)) == ["SendAward", "FundRail"]
    assert walk.phase == "Funding"
    assert walk.apply(RailFunded(award_id=digest(DOMAIN, award.value))) == ["AwaitStart"]
    assert walk.phase == "Awaiting"
    assert walk.apply(started(award, award.value.start_by)) == ["AwaitPart"]
    assert walk.phase == "Running"
    assert walk.apply(received(award, 0, 10)) == ["PayPart", "AwaitPart"]
    assert walk.apply(received(award, 1, 25)) == ["PayPart", "CloseRail"]
    assert walk.phase == "Done"
    assert walk.state.progress.spent == 25  # a running total, not a sum (C6)


def test_nobody_bid_and_the_purchase_fails_with_nothing_to_do() -> None:
    walk = Walk()
    assert walk.apply(NoWinner(reason="no provider bid")) == []
    assert walk.state == Failed(progress=Progress(parts=2), reason="no provider bid")


def test_our_own_empty_purse_ends_the_purchase_and_calls_no_standby() -> None:
    walk = Walk()
    award = walk.award()
    walk.apply(chosen(award))
    assert walk.apply(RailFailed(award_id=digest(DOMAIN, award.value), reason="empty")) == ["CloseRail"]
    assert walk.phase == "Failed"


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_provider_that_fails_is_replaced_from_every_state_under_its_award(steps: int) -> None:
    walk = Walk()
    award = walk.award()
    award_id = digest(DOMAIN, award.value)
    for event in (chosen(award), RailFunded(award_id=award_id), started(award, award.value.start_by))[:steps]:
        walk.apply(event)
    assert walk.apply(ProviderFailed(award_id=award_id, reason="gone")) == ["CloseRail", "SeekWinner"]
    progress = walk.state.progress
    assert (progress.attempt, progress.failed, progress.paid_parts) == (1, (award.value.provider,), 0)


def test_a_standby_gets_the_missing_parts_and_its_own_running_total() -> None:
    walk = Walk(parts=3)
    first = walk.to_running()
    walk.apply(received(first, 0, 7))
    walk.apply(ProviderFailed(award_id=digest(DOMAIN, first.value), reason="gone"))
    second = walk.to_running()
    assert (second.value.first_part, second.value.parts, second.value.attempt) == (1, 2, 1)
    assert second.value.provider != first.value.provider
    walk.apply(received(second, 1, 5))
    assert walk.state.progress.spent == 12


@pytest.mark.parametrize(
    ("steps", "effects"),
    [
        (0, []),
        (1, ["TellCancelled", "CloseRail"]),
        (2, ["TellCancelled", "CloseRail"]),
        (3, ["TellCancelled", "CloseRail"]),
    ],
)
def test_a_purchase_can_be_cancelled_from_every_open_state(steps: int, effects: list[str]) -> None:
    walk = Walk()
    award = walk.award()
    award_id = digest(DOMAIN, award.value)
    for event in (chosen(award), RailFunded(award_id=award_id), started(award, award.value.start_by))[:steps]:
        walk.apply(event)
    assert walk.apply(CancelRequested()) == effects
    assert walk.phase == "Cancelled"


def test_a_start_at_the_last_second_counts_and_one_second_later_does_not() -> None:
    walk = Walk()
    award = walk.award()
    walk.apply(chosen(award))
    walk.apply(RailFunded(award_id=digest(DOMAIN, award.value)))
    with pytest.raises(UnexpectedEvent, match="start_by"):
        transition(walk.state, started(award, award.value.start_by + 1))
    assert isinstance(transition(walk.state, started(award, award.value.start_by))[0], Running)


def test_an_award_that_skips_or_repeats_a_part_is_refused() -> None:
    walk = Walk(parts=3)
    first = walk.to_running()
    walk.apply(received(first, 0, 7))
    walk.apply(ProviderFailed(award_id=digest(DOMAIN, first.value), reason="gone"))
    for wrong in (
        Progress(parts=3, attempt=1),
        Progress(parts=3, paid_parts=2, attempt=1),
        Progress(parts=3, paid_parts=1),
    ):
        with pytest.raises(UnexpectedEvent, match="missing are"):
            transition(walk.state, chosen(award_after(walk.offer, walk.ranked, wrong)))


def test_a_slot_of_several_goes_on_after_parts_that_others_showed_and_counts_their_failures() -> None:
    walk = Walk(parts=3)
    slot = Seeking(progress=Progress(parts=3, copies=2, paid_parts=1, attempt=1))
    ahead = Progress(parts=3, paid_parts=2, attempt=4)
    funding, _ = transition(slot, chosen(award_after(walk.offer, walk.ranked, ahead)))
    assert (funding.progress.paid_parts, funding.progress.attempt) == (2, 4)
    seeking, effects = transition(
        funding, ProviderFailed(award_id=digest(DOMAIN, award_after(walk.offer, walk.ranked, ahead).value), reason="")
    )
    assert seeking.progress.attempt == 5
    assert effects[-1] == SeekWinner(first_part=2, attempt=5, failed=seeking.progress.failed)
    for wrong in (Progress(parts=3, attempt=1), Progress(parts=3, paid_parts=1)):
        with pytest.raises(UnexpectedEvent, match="missing are"):
            transition(slot, chosen(award_after(walk.offer, walk.ranked, wrong)))
    other = Seeking(progress=Progress(parts=3, copies=2, slot=1))
    with pytest.raises(UnexpectedEvent, match="slot 1"):
        transition(other, chosen(award_after(walk.offer, walk.ranked, Progress(parts=3))))


def test_an_acceptance_that_was_signed_is_found_again_after_the_provider_is_replaced_or_the_task_cancelled() -> None:
    for is_replaced in (True, False):
        walk = Walk(parts=3)
        award = walk.to_running()
        award_id = digest(DOMAIN, award.value)
        walk.apply(received(award, 0, 7))
        walk.apply(ProviderFailed(award_id=award_id, reason="gone") if is_replaced else CancelRequested())
        again = purchase.latest_payment(walk.state, award_id)
        assert again is not None
        assert (again.award, again.acceptance.part, again.acceptance.due, again.last) == (award, 0, 7, False)
        assert purchase.latest_payment(walk.state, word("another award")) is None


def test_a_reason_that_is_too_long_can_not_be_read_back() -> None:
    with pytest.raises(DecodeError):
        decode_as(EVENT, encode_unbounded(NoWinner(reason="x" * 513)), max_bytes=1 << 20)


def encode_unbounded(event: NoWinner) -> bytes:
    """Bytes of a record with a text longer than the type allows: a fitting record, its length and text swapped."""
    fits = encode(NoWinner(reason="x" * 512), EVENT)
    size = (512).to_bytes(2, "big")
    assert fits.count(size + b"x") == 1
    return fits.replace(size + b"x", len(event.reason).to_bytes(2, "big") + b"x") + b"x"
