"""The purchase machine under any order of legal and illegal events, beside a model of a few plain numbers."""

from collections.abc import Sequence

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from protocol.errors import ProtocolError
from protocol.identity import Digest
from protocol.market.objects import Award
from protocol.market.scoring import NoCandidates
from protocol.signing.eip712 import digest
from protocol.signing.signed import Signed
from protocol.task import purchase
from protocol.task.objects import Receipt
from protocol.task.pricing import award_part_price
from protocol.task.purchase import (
    CancelRequested,
    Event,
    NoWinner,
    PartReceived,
    PayPart,
    ProviderFailed,
    RailFailed,
    RailFunded,
    outstanding,
    transition,
)
from protocol.task.purchase_states import Progress, Seeking, State
from protocol.units import Amount
from protocol.wire.codec import decode_as, encode
from tests.protocol.market.market_world import DOMAIN, make_offer, word
from tests.protocol.task.purchase_walk import EVENT, award_after, candidates_of, chosen, received, replayed, started

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
