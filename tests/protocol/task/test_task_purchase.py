"""The purchase machine: every row of its table, and a machine over any order of events with real awards and prices."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from protocol.errors import ProtocolError, UnexpectedEvent
from protocol.identity import Address, ContentDigest, Digest
from protocol.market.award import AwardTerms, build_award
from protocol.market.objects import Award, Offer
from protocol.market.scoring import Candidate, NoCandidates, candidate_of, place_standby, rank
from protocol.market.sealing import bid_for
from protocol.signing.eip712 import digest
from protocol.signing.signed import Signed, sign_struct
from protocol.task import purchase
from protocol.task.audit import Finding, Rerun
from protocol.task.objects import Receipt, Start
from protocol.task.pricing import award_part_price
from protocol.task.purchase import (
    AuditDrawn,
    AuditPassed,
    AuditRefuted,
    CancelRequested,
    DisputeTaken,
    Event,
    Failed,
    NoWinner,
    PartReceived,
    PayPart,
    Progress,
    ProviderFailed,
    RailFailed,
    RailFunded,
    Running,
    Seeking,
    SeekWinner,
    Started,
    State,
    WinnerChosen,
    outstanding,
    transition,
)
from protocol.units import Amount, UnixTime
from protocol.wire.codec import DecodeError, decode_as, encode
from tests.protocol.market.market_world import DOMAIN, NOW, Plan, address, key, make_offer, sealed_by, word

NAMES = ("bob", "carol", "dave")
EVENT: Any = Event
EMPTY = ContentDigest(bytes(32))


def candidates_of(offer: Offer, prices: Sequence[int]) -> tuple[Candidate, ...]:
    """Bids at `prices`, ranked as the auction ranks them."""
    roll = word("roll")
    return rank(
        roll,
        [
            candidate_of(offer, bid_for(sealed_by(offer, name, Plan(price=price)), roll), 5000)
            for name, price in zip(NAMES, prices, strict=False)
        ],
    )


def award_after(offer: Offer, ranked: Sequence[Candidate], progress: Progress) -> Signed[Award]:
    """The award that the auction makes once `progress.failed` are out.

    Raises:
        NoCandidates: Nobody is left.
    """
    placement = place_standby(offer, ranked, failed=progress.failed, serving=())
    terms = AwardTerms(
        roll=word("roll"),
        bids=word("bids"),
        provider=placement.candidate.bid.bidder,
        slot=0,
        attempt=progress.attempt,
        first_part=progress.paid_parts,
        whole_price=placement.price,
        eta=placement.candidate.bid.eta,
    )
    award = build_award(
        digest(DOMAIN, offer),
        offer,
        terms,
        channel=word("channel"),
        audit_seal=word("no audit"),
        at=UnixTime(NOW + 21),
    )
    return sign_struct(key("alice"), DOMAIN, award)


def chosen(award: Signed[Award]) -> WinnerChosen:
    return WinnerChosen(award=award, award_id=digest(DOMAIN, award.value))


def name_of(provider: Address) -> str:
    return next(name for name in NAMES if address(name) == provider)


def started(award: Signed[Award], at: int) -> Started:
    start = Start(award=digest(DOMAIN, award.value), at=UnixTime(at))
    return Started(start=sign_struct(key(name_of(award.value.provider)), DOMAIN, start))


def received(award: Signed[Award], part: int, due: int) -> PartReceived:
    receipt = Receipt(
        award=digest(DOMAIN, award.value),
        part=part,
        outcome=0,
        output=EMPTY,
        logs=EMPTY,
        fuel=1,
        peak_mib=1,
        bytes_in=0,
        bytes_out=0,
        due=Amount(due),
        notes=EMPTY,
    )
    signed = sign_struct(key(name_of(award.value.provider)), DOMAIN, receipt)
    return PartReceived(receipt=signed, receipt_id=digest(DOMAIN, receipt))


def replayed(parts: int, events: Sequence[Event]) -> State:
    """The state that a journal of `events` gives, read back from bytes as a restart does."""
    state: State = Seeking(progress=Progress(parts=parts))
    for event in events:
        state, _ = transition(state, decode_as(EVENT, encode(event, EVENT), max_bytes=1 << 20))
    return state


class Walk:
    """One purchase of a task of two parts, step by step."""

    def __init__(self, parts: int = 2) -> None:
        self.offer = make_offer(parts=parts)
        self.ranked = candidates_of(self.offer, (100_000, 120_000, 150_000))
        self.state: State = Seeking(progress=Progress(parts=parts))
        self.events: list[Event] = []

    @property
    def phase(self) -> str:
        return type(self.state).__name__

    def award(self) -> Signed[Award]:
        return award_after(self.offer, self.ranked, self.state.progress)

    def apply(self, event: Event) -> list[str]:
        self.state, effects = transition(self.state, event)
        self.events.append(event)
        return [type(effect).__name__ for effect in effects]

    def to_running(self) -> Signed[Award]:
        award = self.award()
        self.apply(chosen(award))
        self.apply(RailFunded(award_id=digest(DOMAIN, award.value)))
        self.apply(started(award, award.value.start_by))
        return award


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


def drawn(award: Signed[Award], part: int, due: int) -> AuditDrawn:
    held = received(award, part, due)
    return AuditDrawn(receipt=held.receipt, receipt_id=held.receipt_id)


def found(receipt_id: Digest, finding: Finding = Finding.EQUAL) -> AuditPassed:
    return AuditPassed(receipt_id=receipt_id, finding=finding, reason="")


def refuted(receipt_id: Digest) -> AuditRefuted:
    rerun = Rerun(outcome=0, output=EMPTY, fuel=2, peak_mib=1, bytes_in=0, bytes_out=0)
    return AuditRefuted(receipt_id=receipt_id, rerun=rerun, reason="fuel")


@pytest.mark.parametrize("finding", [Finding.EQUAL, Finding.UNDECIDED])
def test_every_row_of_an_audit_that_finds_nothing_wrong(finding: Finding) -> None:
    walk = Walk()
    award = walk.to_running()
    held = drawn(award, 0, 10)
    assert walk.apply(held) == ["AuditPart"]
    assert walk.apply(found(held.receipt_id, finding)) == ["TakePart"]
    assert walk.state.progress.paid_parts == 0, "the finding pays nothing by itself"
    assert walk.apply(received(award, 0, 10)) == ["PayPart", "AwaitPart"]
    assert walk.apply(received(award, 1, 25)) == ["PayPart", "CloseRail"]
    assert (walk.phase, walk.state.progress.spent) == ("Done", 25)


def test_every_row_of_an_audit_that_refutes() -> None:
    walk = Walk()
    award = walk.to_running()
    walk.apply(received(award, 0, 7))
    held = drawn(award, 1, 25)
    walk.apply(held)
    assert walk.apply(refuted(held.receipt_id)) == ["CloseRail", "OpenDispute"]
    state = walk.state
    assert isinstance(state, Seeking)
    assert state.case is not None
    assert (state.case.receipt, state.case.before) == (held.receipt, 7)
    assert (state.progress.paid_parts, state.progress.spent, state.progress.failed) == (1, 7, (award.value.provider,))
    assert walk.apply(DisputeTaken(receipt_id=held.receipt_id)) == ["SeekWinner"]
    second = walk.to_running()
    assert second.value.provider != award.value.provider


def test_a_receipt_in_question_is_the_only_one_and_nothing_but_a_finding_ends_it() -> None:
    walk = Walk()
    award = walk.to_running()
    award_id = digest(DOMAIN, award.value)
    held = drawn(award, 0, 10)
    walk.apply(held)
    other = received(award, 0, 11)
    for event in (
        received(award, 0, 10),
        other,
        drawn(award, 0, 11),
        ProviderFailed(award_id=award_id, reason="gone"),
        CancelRequested(),
        found(other.receipt_id),
        found(held.receipt_id, Finding.DIFFERENT),
        refuted(other.receipt_id),
        DisputeTaken(receipt_id=held.receipt_id),
    ):
        with pytest.raises(UnexpectedEvent):
            transition(walk.state, event)
    walk.apply(found(held.receipt_id))
    for event in (other, refuted(held.receipt_id), found(held.receipt_id), CancelRequested()):
        with pytest.raises(UnexpectedEvent):
            transition(walk.state, event)


def test_nobody_is_hired_before_the_court_has_the_case() -> None:
    walk = Walk()
    held = drawn(walk.to_running(), 0, 10)
    walk.apply(held)
    walk.apply(refuted(held.receipt_id))
    for event in (chosen(walk.award()), NoWinner(reason="none"), CancelRequested(), DisputeTaken(receipt_id=WRONG_ID)):
        with pytest.raises(UnexpectedEvent):
            transition(walk.state, event)


def test_a_drawn_receipt_must_be_the_next_one() -> None:
    walk = Walk()
    award = walk.to_running()
    for wrong in (drawn(award, 1, 10), drawn(award, 0, award.value.price + 1)):
        with pytest.raises(UnexpectedEvent):
            transition(walk.state, wrong)


def test_a_restart_takes_an_audit_up_where_it_stood() -> None:
    walk = Walk()
    held = drawn(walk.to_running(), 0, 10)
    ends: list[list[Event]] = [[], [found(held.receipt_id)], [refuted(held.receipt_id)]]
    for rest in ends:
        state = replayed(2, [*walk.events, held, *rest])
        again, effects = state, outstanding(state)
        assert effects
        assert replayed(2, [*walk.events, held, *rest]) == again


WRONG_ID = word("an award that nobody made")


class PurchaseRules(RuleBasedStateMachine):
    """Any order of legal and illegal events. A model of a few plain numbers says which must pass."""

    @initialize(
        parts=st.sampled_from([1, 2, 3, 7, 7]),
        budget=st.sampled_from([1, 3, 99, 100, 400_000]),
        shares=st.lists(st.sampled_from([0, 1, 50, 99, 100]), min_size=2, max_size=3),
    )
    def begin(self, parts: int, budget: int, shares: list[int]) -> None:
        self.offer = make_offer(parts=parts, budget=Amount(budget))
        self.ranked = candidates_of(self.offer, [budget * share // 100 for share in shares])
        self.state: State = Seeking(progress=Progress(parts=parts))
        self.events: list[Event] = []
        self.award: Signed[Award] | None = None
        self.phase = "seeking"
        self.paid = 0
        self.due: dict[Digest, int] = {}
        self.received: dict[Digest, Receipt] = {}

    @property
    def award_id(self) -> Digest:
        return WRONG_ID if self.award is None else digest(DOMAIN, self.award.value)

    def fire(self, event: Event, *, legal: bool, phase: str) -> bool:
        """Apply `event`; it must pass exactly if the model says so, and must survive the journal."""
        assert decode_as(EVENT, encode(event, EVENT), max_bytes=1 << 20) == event
        before = self.state
        try:
            self.state, effects = transition(before, event)
        except ProtocolError:
            assert not legal, f"{event} was refused in {before}"
            return False
        assert legal, f"{event} passed in {before}"
        self.events.append(event)
        self.phase = phase
        if isinstance(event, PartReceived):
            self.received[event.receipt_id] = event.receipt.value
        self.check_payments(effects)
        return True

    def check_payments(self, effects: Sequence[object]) -> None:
        """Nothing is paid that was not received, and never more than its receipt says."""
        for effect in effects:
            if isinstance(effect, PayPart):
                receipt = self.received[effect.acceptance.receipt]
                paid = (effect.acceptance.award, effect.acceptance.part, effect.acceptance.due)
                assert paid == (receipt.award, receipt.part, receipt.due)

    @rule()
    def winner_chosen(self) -> None:
        try:
            award = award_after(self.offer, self.ranked, self.state.progress)
        except (NoCandidates, AssertionError):  # no standby is left, or no part is
            return
        legal = self.phase == "seeking"
        if self.fire(chosen(award), legal=legal, phase="funding"):
            self.award = award
            self.due[self.award_id] = 0

    @rule(steps=st.integers(1, 6), share=st.sampled_from([0, 1, 50, 99, 100, 100]))
    def all_goes_well(self, steps: int, share: int) -> None:
        """The next legal steps: chance alone would hardly ever reach the later parts."""
        for _ in range(steps):
            match self.phase:
                case "seeking":
                    self.winner_chosen()
                case "funding":
                    self.rail_funded(right=True)
                case "awaiting":
                    self.provider_starts(late=0)
                case "running":
                    self.part_arrives(share=share, step=0)
                case _:
                    return

    @precondition(lambda self: self.phase == "running")
    @rule(share=st.sampled_from([0, 1, 50, 99, 100]))
    def standby_takes_over(self, share: int) -> None:
        self.provider_fails(right=True)
        self.all_goes_well(steps=5, share=share)

    @precondition(lambda self: self.phase == "running")
    @rule(share=st.sampled_from([0, 1, 50, 99, 100]))
    def next_part_arrives(self, share: int) -> None:
        self.part_arrives(share=share, step=0)

    @rule(attempt=st.sampled_from([-1, 1]), part=st.sampled_from([-1, 0, 1]))
    def wrong_winner(self, attempt: int, part: int) -> None:
        progress = self.state.progress
        first, wrong_attempt = progress.paid_parts + part, progress.attempt + attempt
        if wrong_attempt < 0 or not 0 <= first < progress.parts:
            return
        wrong = Progress(parts=progress.parts, paid_parts=first, attempt=wrong_attempt)
        self.fire(chosen(award_after(self.offer, self.ranked, wrong)), legal=False, phase="")

    @precondition(lambda self: len(self.events) > 6)
    @rule()
    def no_winner(self) -> None:
        self.fire(NoWinner(reason="none"), legal=self.phase == "seeking", phase="failed")

    @rule(right=st.booleans())
    def rail_funded(self, right: bool) -> None:  # noqa: FBT001 - hypothesis passes by name
        named = self.award_id if right else WRONG_ID
        self.fire(RailFunded(award_id=named), legal=right and self.phase == "funding", phase="awaiting")

    @precondition(lambda self: len(self.events) > 6)
    @rule(right=st.booleans())
    def rail_failed(self, right: bool) -> None:  # noqa: FBT001
        named = self.award_id if right else WRONG_ID
        self.fire(
            RailFailed(award_id=named, reason=""), legal=right and self.phase in ("funding", "awaiting"), phase="failed"
        )

    @precondition(lambda self: self.award is not None)
    @rule(late=st.sampled_from([-1, 0, 1]))
    def provider_starts(self, late: int) -> None:
        assert self.award is not None
        event = started(self.award, self.award.value.start_by + late)
        self.fire(event, legal=self.phase == "awaiting" and late <= 0, phase="running")

    @precondition(lambda self: self.award is not None)
    @rule(share=st.sampled_from([0, 0, 1, 50, 99, 100, 100]), step=st.sampled_from([0, 0, 0, -1, 1]))
    def part_arrives(self, share: int, step: int) -> None:
        assert self.award is not None
        part = self.paid + step
        if not self.award.value.first_part <= part < self.offer.parts:
            return
        due = self.due[self.award_id] + award_part_price(self.award.value, part) * share // 100
        legal = self.phase == "running" and step == 0
        last = self.paid + 1 == self.offer.parts
        if self.fire(received(self.award, part, due), legal=legal, phase="done" if last else "running"):
            self.paid += 1
            self.due[self.award_id] = due

    @precondition(lambda self: self.phase == "running")
    @rule(too_much=st.booleans())
    def part_arrives_with_an_impossible_total(self, too_much: bool) -> None:  # noqa: FBT001
        assert self.award is not None
        due = self.award.value.price + 1 if too_much else self.due[self.award_id] - 1
        if due >= 0:
            self.fire(received(self.award, self.paid, due), legal=False, phase="")

    @precondition(lambda self: len(self.events) > 2)
    @rule(right=st.booleans())
    def provider_fails(self, right: bool) -> None:  # noqa: FBT001
        legal = right and self.phase in ("funding", "awaiting", "running")
        event = ProviderFailed(award_id=self.award_id if right else WRONG_ID, reason="gone")
        self.fire(event, legal=legal, phase="seeking")

    @precondition(lambda self: len(self.events) > 8)
    @rule()
    def user_cancels(self) -> None:
        legal = self.phase in ("seeking", "funding", "awaiting", "running")
        self.fire(CancelRequested(), legal=legal, phase="cancelled")

    @invariant()
    def what_is_spent_is_what_was_accepted_and_within_the_budget(self) -> None:
        progress = self.state.progress
        assert progress.paid_parts == self.paid <= self.offer.parts
        assert progress.spent == sum(self.due.values()) <= self.offer.budget

    @invariant()
    def no_provider_is_asked_twice_and_attempts_count_the_failed(self) -> None:
        progress = self.state.progress
        assert len(set(progress.failed)) == len(progress.failed) == progress.attempt

    @invariant()
    def the_state_is_the_one_that_the_model_expects(self) -> None:
        assert type(self.state).__name__.lower() == self.phase

    @invariant()
    def a_replay_gives_the_same_state_and_the_same_orders(self) -> None:
        again = replayed(self.offer.parts, self.events)
        assert again == self.state
        assert outstanding(again) == outstanding(self.state)
        self.check_payments(outstanding(again))

    @invariant()
    def every_acceptance_that_was_given_can_be_given_again(self) -> None:
        for award_id, due in self.due.items():
            payment = purchase.latest_payment(self.state, award_id)
            if payment is None:
                assert due == 0
            else:
                assert payment.acceptance.due == due
                self.check_payments([payment])


TestPurchaseRules = PurchaseRules.TestCase
TestPurchaseRules.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
