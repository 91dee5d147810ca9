"""The delivery machine: every row of its table, and a machine over any order of events that follows the exposure."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from protocol.errors import ProtocolError, UnexpectedEvent
from protocol.identity import ContentDigest, Digest
from protocol.market.award import AwardTerms, build_award
from protocol.market.objects import Award
from protocol.signing.eip712 import digest
from protocol.signing.signed import Signed, sign_struct
from protocol.task.delivery import (
    Delivered,
    Event,
    InputsHeld,
    Job,
    Offered,
    PartFailed,
    PartPaid,
    PartRan,
    PaymentOverdue,
    RailConfirmed,
    RunPart,
    SecretHeard,
    SendReceipt,
    SendStart,
    SettleRail,
    State,
    Unpaid,
    Withdrawn,
    exposure,
    outstanding,
    transition,
)
from protocol.task.objects import Acceptance, Receipt
from protocol.task.pricing import award_part_price, highest_part_price
from protocol.task.verification import SealMismatch, seal
from protocol.units import Amount, Seconds, UnixTime
from protocol.wire.codec import decode_as, encode
from tests.protocol.market.market_world import DOMAIN, NOW, address, key, make_offer, word

EVENT: Any = Event
EMPTY = ContentDigest(bytes(32))


def make_award(parts: int = 2, *, first_part: int = 0, budget: int = 1000) -> Signed[Award]:
    """An award over the parts of a task from `first_part` on."""
    offer = make_offer(parts=parts, budget=Amount(budget))
    terms = AwardTerms(
        roll=word("roll"),
        bids=word("bids"),
        provider=address("bob"),
        slot=0,
        attempt=min(first_part, 1),
        first_part=first_part,
        whole_price=Amount(budget),
        eta=Seconds(60),
    )
    made = build_award(
        digest(DOMAIN, offer), offer, terms, channel=word("channel"), audit_seal=word("audit"), at=UnixTime(NOW + 21)
    )
    return sign_struct(key("alice"), DOMAIN, made)


def job_of(award: Signed[Award]) -> Job:
    return Job(award=award, award_id=digest(DOMAIN, award.value))


def receipt_of(award_id: Digest, part: int, due: int) -> Receipt:
    return Receipt(
        award=award_id,
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


def paid_by(receipt: Receipt, *, part: int = 0, due: int = 0, award: Digest | None = None) -> PartPaid:
    """An acceptance of `receipt`, or one that is off by `part` or `due`, or names another award."""
    acceptance = Acceptance(
        award=award or receipt.award,
        part=receipt.part + part,
        receipt=digest(DOMAIN, receipt),
        due=Amount(receipt.due + due),
    )
    return PartPaid(acceptance=sign_struct(key("alice"), DOMAIN, acceptance))


def replayed(job: Job, events: Sequence[Event]) -> State:
    """The state that a journal of `events` gives, read back from bytes as a restart does."""
    state: State = Offered(job=job)
    for event in events:
        state, _ = transition(state, decode_as(EVENT, encode(event, EVENT), max_bytes=1 << 20))
    return state


class Walk:
    """One delivery, step by step."""

    def __init__(self, parts: int = 2) -> None:
        self.award = make_award(parts)
        self.job = job_of(self.award)
        self.state: State = Offered(job=self.job)

    @property
    def phase(self) -> str:
        return type(self.state).__name__

    def apply(self, event: Event) -> list[str]:
        self.state, effects = transition(self.state, event)
        return [type(effect).__name__ for effect in effects]

    def receipt(self, part: int, due: int) -> Receipt:
        return receipt_of(self.job.award_id, part, due)

    def to_unpaid(self) -> Receipt:
        receipt = self.receipt(0, 10)
        for event in (RailConfirmed(), InputsHeld(at=UnixTime(NOW + 30)), PartRan(receipt=receipt)):
            self.apply(event)
        return receipt


def test_every_row_of_a_delivery_that_goes_well() -> None:
    walk = Walk()
    first, second = walk.receipt(0, 10), walk.receipt(1, 25)
    assert walk.apply(RailConfirmed()) == ["FetchInputs"]
    assert walk.phase == "Fetching"
    assert walk.apply(InputsHeld(at=walk.award.value.start_by)) == ["SendStart", "RunPart"]
    assert walk.apply(PartRan(receipt=first)) == ["SendReceipt"]
    assert walk.phase == "Unpaid"
    assert walk.apply(paid_by(first)) == ["RunPart"]
    assert walk.phase == "Working"
    assert walk.apply(PartRan(receipt=second)) == ["SendReceipt"]
    assert walk.apply(paid_by(second)) == ["SettleRail"]
    assert walk.phase == "Delivered"
    assert exposure(walk.state) == 0


def test_the_secret_that_opens_the_seal_is_kept_and_another_one_is_refused() -> None:
    walk = Walk(parts=1)
    sealed = sign_struct(key("alice"), DOMAIN, replace(walk.award.value, audit_seal=seal(word("secret"))))
    walk.job = job_of(sealed)
    walk.state = Offered(job=walk.job)
    with pytest.raises(UnexpectedEvent):
        transition(walk.state, SecretHeard(secret=word("secret")))
    receipt = walk.to_unpaid()
    with pytest.raises(SealMismatch):
        transition(walk.state, SecretHeard(secret=word("another")))
    assert walk.apply(SecretHeard(secret=word("secret"))) == []
    assert walk.apply(paid_by(receipt)) == ["SettleRail"]
    assert isinstance(walk.state, Delivered)
    assert walk.state.secret == word("secret")


def test_a_host_that_failed_tells_so_and_settles_what_was_paid_before() -> None:
    walk = Walk()
    first = walk.to_unpaid()
    walk.apply(paid_by(first))
    assert walk.apply(PartFailed(reason="the worker died")) == ["TellFailed", "SettleRail"]
    (settle,) = outstanding(walk.state)
    assert isinstance(settle, SettleRail)
    assert settle.accepted is not None
    assert (settle.accepted.value.due, settle.unpaid) == (10, None)


def test_a_payment_that_is_overdue_leaves_the_receipt_as_evidence() -> None:
    walk = Walk()
    first = walk.to_unpaid()
    assert walk.apply(PaymentOverdue()) == ["TellFailed", "SettleRail"]
    (settle,) = outstanding(walk.state)
    assert isinstance(settle, SettleRail)
    assert (settle.unpaid, settle.accepted) == (first, None)
    assert settle.start is not None
    assert exposure(walk.state) == 10


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
def test_a_delivery_can_be_withdrawn_from_every_open_state(steps: int) -> None:
    walk = Walk()
    for event in (RailConfirmed(), InputsHeld(at=UnixTime(NOW + 30)), PartRan(receipt=walk.receipt(0, 10)))[:steps]:
        walk.apply(event)
    assert walk.apply(Withdrawn(reason="cancelled")) == ["TellFailed", "SettleRail"]
    (settle,) = outstanding(walk.state)
    assert isinstance(settle, SettleRail)
    assert (settle.start is None, settle.unpaid is None) == (steps < 2, steps < 3)


def test_nothing_binds_when_the_inputs_came_one_second_too_late() -> None:
    walk = Walk()
    walk.apply(RailConfirmed())
    with pytest.raises(UnexpectedEvent, match="start_by"):
        transition(walk.state, InputsHeld(at=UnixTime(walk.award.value.start_by + 1)))


def test_an_acceptance_of_less_or_of_another_part_or_award_does_not_pay() -> None:
    walk = Walk()
    first = walk.to_unpaid()
    for wrong in (
        paid_by(first, due=-1),
        paid_by(first, due=1),
        paid_by(first, part=1),
        paid_by(first, award=word("?")),
    ):
        with pytest.raises(UnexpectedEvent):
            transition(walk.state, wrong)
    assert exposure(walk.state) == 10


def test_after_a_restart_the_start_is_sent_again_then_the_receipt_or_the_part_that_was_cut_short() -> None:
    walk = Walk()
    first = walk.to_unpaid()
    assert [type(effect) for effect in outstanding(walk.state)] == [SendStart, SendReceipt]
    walk.apply(paid_by(first))
    start, run = outstanding(walk.state)
    assert isinstance(start, SendStart)
    assert isinstance(run, RunPart)
    assert (run.part, run.paid) == (1, 10)


class DeliveryRules(RuleBasedStateMachine):
    """Any order of legal and illegal events. A model of a few plain numbers says which must pass."""

    @initialize(
        parts=st.sampled_from([1, 2, 3, 7, 7]),
        first=st.sampled_from([0, 0, 1, 2, 6]),
        budget=st.sampled_from([1, 3, 99, 100, 400_000]),
    )
    def begin(self, parts: int, first: int, budget: int) -> None:
        self.award = make_award(parts, first_part=min(first, parts - 1), budget=budget)
        self.job = job_of(self.award)
        self.state: State = Offered(job=self.job)
        self.events: list[Event] = []
        self.phase = "offered"
        self.part = self.award.value.first_part
        self.paid = 0
        self.ran: Receipt | None = None
        self.worked = 0

    @property
    def end(self) -> int:
        return self.award.value.first_part + self.award.value.parts

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
        self.check_orders(effects)
        return True

    def check_orders(self, effects: Sequence[object]) -> None:
        """No part is run while an earlier one is unpaid, none twice after it was paid, none before the start."""
        for effect in effects:
            if isinstance(effect, RunPart):
                assert self.phase == "working"
                assert effect.part == self.part
                assert effect.paid == self.paid
            elif isinstance(effect, SendReceipt):
                assert effect.receipt == self.ran

    @rule()
    def rail_is_confirmed(self) -> None:
        self.fire(RailConfirmed(), legal=self.phase == "offered", phase="fetching")

    @rule(late=st.sampled_from([-1, 0, 1]))
    def inputs_are_held(self, late: int) -> None:
        event = InputsHeld(at=UnixTime(self.award.value.start_by + late))
        self.fire(event, legal=self.phase == "fetching" and late <= 0, phase="working")

    @rule(share=st.sampled_from([0, 1, 50, 99, 100, 100]), step=st.sampled_from([0, 0, 0, -1, 1]), right=st.booleans())
    def part_is_run(self, share: int, step: int, right: bool) -> None:  # noqa: FBT001 - hypothesis passes by name
        if not self.award.value.first_part <= self.part + step < self.end:
            return
        due = self.paid + award_part_price(self.award.value, self.part + step) * share // 100
        receipt = receipt_of(self.job.award_id if right else word("another"), self.part + step, due)
        self.ran_before = self.ran
        self.ran = receipt
        legal = self.phase == "working" and step == 0 and right
        if not self.fire(PartRan(receipt=receipt), legal=legal, phase="unpaid"):
            self.ran = self.ran_before

    @precondition(lambda self: self.ran is not None)
    @rule(part=st.sampled_from([0, 0, 0, 1]), due=st.sampled_from([0, 0, 0, -1, 1]), right=st.booleans())
    def payment_arrives(self, part: int, due: int, right: bool) -> None:  # noqa: FBT001
        assert self.ran is not None
        if self.ran.due + due < 0:
            return
        event = paid_by(self.ran, part=part, due=due, award=None if right else word("another"))
        legal = self.phase == "unpaid" and (part, due, right) == (0, 0, True)
        done = self.ran.part + 1 == self.end
        before, at = self.paid, self.part
        if legal:
            self.paid, self.part = self.ran.due, self.part + 1
            self.phase = "working"  # what `check_orders` expects of the orders that follow
        if not self.fire(event, legal=legal, phase="delivered" if done else "working"):
            assert (self.paid, self.part) == (before, at)

    @rule(steps=st.integers(1, 8), share=st.sampled_from([0, 1, 50, 99, 100]))
    def all_goes_well(self, steps: int, share: int) -> None:
        """The next legal steps: chance alone would hardly ever reach the later parts."""
        for _ in range(steps):
            match self.phase:
                case "offered":
                    self.rail_is_confirmed()
                case "fetching":
                    self.inputs_are_held(late=0)
                case "working":
                    self.part_is_run(share=share, step=0, right=True)
                case "unpaid":
                    self.payment_arrives(part=0, due=0, right=True)
                case _:
                    return

    @precondition(lambda self: len(self.events) > 3)
    @rule()
    def host_fails(self) -> None:
        self.fire(PartFailed(reason="host"), legal=self.phase == "working", phase="dropped")

    @precondition(lambda self: len(self.events) > 3)
    @rule()
    def payment_is_overdue(self) -> None:
        self.fire(PaymentOverdue(), legal=self.phase == "unpaid", phase="dropped")

    @precondition(lambda self: len(self.events) > 4)
    @rule()
    def award_is_withdrawn(self) -> None:
        legal = self.phase in ("offered", "fetching", "working", "unpaid")
        self.fire(Withdrawn(reason="cancelled"), legal=legal, phase="dropped")

    @invariant()
    def never_more_than_one_part_is_unpaid(self) -> None:
        at_risk = exposure(self.state)
        assert 0 <= at_risk <= highest_part_price(self.award.value)
        if isinstance(self.state, Unpaid):
            assert at_risk == self.state.receipt.due - self.paid
            assert at_risk <= award_part_price(self.award.value, self.state.receipt.part)

    @invariant()
    def what_was_paid_is_at_most_the_price(self) -> None:
        assert 0 <= self.paid <= self.award.value.price
        assert getattr(self.state, "paid", 0) == self.paid
        assert type(self.state).__name__.lower() == self.phase

    @invariant()
    def what_is_settled_is_the_last_payment_and_the_work_after_it(self) -> None:
        for effect in outstanding(self.state):
            if isinstance(effect, SettleRail):
                assert (effect.accepted.value.due if effect.accepted else 0) == self.paid
                assert effect.unpaid is None or effect.unpaid == self.ran

    @invariant()
    def a_replay_gives_the_same_state_and_the_same_orders(self) -> None:
        again = replayed(self.job, self.events)
        assert again == self.state
        assert outstanding(again) == outstanding(self.state)
        self.check_orders(outstanding(again))


TestDeliveryRules = DeliveryRules.TestCase
TestDeliveryRules.settings = settings(max_examples=120, stateful_step_count=30, deadline=None)
