"""Requester and provider of one escrowed award, each honest or cheating, on a contract with state."""

from contextlib import suppress

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from protocol.escrow import provider as provider_side
from protocol.escrow import requester as requester_side
from protocol.escrow.errors import EscrowError
from protocol.escrow.provider import (
    AcceptanceReceived,
    ClaimRequested,
    ProviderEffect,
    ProviderEvent,
    ReceiptSigned,
    StartSigned,
    SubmitClaim,
    SubmitPayClaim,
    SubmitProveStart,
)
from protocol.escrow.provider import SubmitRelease as ProviderRelease
from protocol.escrow.provider import SubmitSplit as ProviderSplit
from protocol.escrow.record import BlockSeen, ChainEvent, Closed, Outcome, Unfunded, refundable
from protocol.escrow.requester import (
    AcceptanceSigned,
    ClaimApproved,
    ClaimContested,
    JudgeClaim,
    RequesterEffect,
    RequesterEvent,
    StartSeen,
    SubmitDispute,
    SubmitFund,
    SubmitRecall,
    SubmitRefund,
    SubmitRelease,
    SubmitSplit,
)
from tests.protocol.escrow.escrow_world import AWARD, TERMS, FakeEscrow, Reverted, acceptance, receipt, start

D = TERMS.deadlines
PART = AWARD.price // AWARD.parts


class OneAward(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.requester = requester_side.start_funding(TERMS)
        self.provider = provider_side.await_funds(TERMS)
        self.chain = FakeEscrow(self.confirmed)
        self.owed: dict[int, int] = {}
        self.largest = 0
        self.denied = False

    @initialize(requester_is_honest=st.booleans(), provider_is_honest=st.booleans(), funds=st.booleans())
    def begins(self, requester_is_honest: bool, provider_is_honest: bool, funds: bool) -> None:  # noqa: FBT001
        self.requester_is_honest, self.provider_is_honest = requester_is_honest, provider_is_honest
        if funds:
            self.requester_acts()

    def confirmed(self, event: ChainEvent | BlockSeen) -> None:
        assert self.tell_requester(event)
        assert self.tell_provider(event)

    def tell_requester(self, event: RequesterEvent) -> bool:
        try:
            self.requester, _ = requester_side.transition(self.requester, event)
        except EscrowError:
            return False
        return True

    def tell_provider(self, event: ProviderEvent) -> bool:
        try:
            self.provider, _ = provider_side.transition(self.provider, event)
        except EscrowError:
            return False
        return True

    # what each side orders; the contract takes every order of an honest side

    def requester_acts(self) -> None:
        for effect in requester_side.outstanding(self.requester):
            self.requester_does(effect)

    def requester_does(self, effect: RequesterEffect) -> None:
        match effect:
            case SubmitFund():
                self.chain.fund()
            case SubmitRecall():
                self.chain.recall()
            case SubmitRelease(acceptance=signed):
                self.chain.release(signed, by_provider=False)
            case SubmitRefund():
                self.chain.refund()
            case JudgeClaim(receipt=name, due=due, part=part):
                right = self.owed.get(part) == due
                self.tell_requester(ClaimApproved(receipt=name) if right else ClaimContested(receipt=name))
                self.requester_acts()
            case SubmitDispute():
                self.denied = True
                self.chain.dispute()
            case SubmitSplit():
                self.chain.split()

    def provider_acts(self) -> None:
        for effect in provider_side.outstanding(self.provider):
            self.provider_does(effect)

    def provider_does(self, effect: ProviderEffect) -> None:
        match effect:
            case SubmitProveStart(start=signed):
                self.chain.prove_start(signed)
            case ProviderRelease(acceptance=signed):
                self.chain.release(signed, by_provider=True)
            case SubmitClaim(start=begun, receipt=asked):
                self.chain.claim(begun, asked)
            case SubmitPayClaim():
                self.chain.pay_claim()
            case ProviderSplit():
                self.chain.split()

    @rule()
    def both_act(self) -> None:
        if self.requester_is_honest:
            self.requester_acts()
        if self.provider_is_honest:
            self.provider_acts()

    # work

    @precondition(lambda self: isinstance(self.requester.phase, Unfunded))
    @rule()
    def funds(self) -> None:
        with suppress(Reverted):
            self.chain.fund()

    @rule(seen=st.booleans())
    def starts(self, seen: bool) -> None:  # noqa: FBT001
        allowed = provider_side.may_start(self.provider)
        if self.provider.start is None and self.tell_provider(StartSigned(signed=start(self.chain.now))):
            assert allowed
            if seen:
                self.tell_requester(StartSeen())

    @rule(amount=st.sampled_from([0, 1, PART - 1, PART]), answer=st.sampled_from(["lost", "accepted", "late"]))
    def delivers(self, amount: int, answer: str) -> None:
        allowed = provider_side.may_begin(self.provider)
        part = self.provider.receipt.value.part + 1 if self.provider.receipt else AWARD.first_part
        due = self.provider.asked + amount
        if not allowed:
            return
        assert self.tell_provider(ReceiptSigned(signed=receipt(part, due)))
        self.owed[part] = due
        self.largest = max(self.largest, amount)
        if answer == "accepted":
            self.accepts()

    @precondition(lambda self: self.provider.receipt)
    @rule()
    def accepts(self) -> None:
        newest = self.provider.receipt
        assert newest is not None
        signed = acceptance(newest.value.part, newest.value.due)
        if self.tell_requester(AcceptanceSigned(signed=signed)):
            self.tell_provider(AcceptanceReceived(signed=signed))

    @rule()
    def asks_for_a_claim(self) -> None:
        self.tell_provider(ClaimRequested())

    # cheating

    @precondition(lambda self: not self.provider_is_honest)
    @rule(part=st.integers(AWARD.first_part, TERMS.last_part), due=st.sampled_from([1, PART, AWARD.price]))
    def provider_claims_what_it_likes(self, part: int, due: int) -> None:
        with suppress(Reverted):
            self.chain.claim(start(AWARD.start_by), receipt(part, due))

    @precondition(lambda self: not self.requester_is_honest)
    @rule(what=st.sampled_from(["recall", "dispute", "refund", "split"]))
    def requester_does_what_it_likes(self, what: str) -> None:
        with suppress(Reverted):
            getattr(self.chain, what)()

    @rule(due=st.sampled_from([0, 1, PART, AWARD.price]), lost=st.booleans())
    def arbiter_judges(self, due: int, lost: bool) -> None:  # noqa: FBT001
        with suppress(Reverted):
            self.chain.judge(due, requester_lost=lost)

    @rule(
        until=st.sampled_from([0, int(D.start_by), int(D.deliver_by), int(D.claim_by)]),
        after=st.sampled_from([0, 1, 50, 51, 61]),
    )
    def time_passes(self, until: int, after: int) -> None:
        """An honest side looks at the chain at least every `pace / 2`, as docs/spec/contracts.md asks of it."""
        self.both_act()
        end = max(until, self.chain.now) + after
        while self.chain.now < end:
            self.chain.advance(min(AWARD.pace // 2, end - self.chain.now))
            self.both_act()

    # what always holds

    @invariant()
    def the_money_adds_up(self) -> None:
        for phase in (self.requester.phase, self.provider.phase):
            if isinstance(phase, Closed):
                assert phase.to_provider + phase.to_requester + phase.to_arbiter == self.chain.locked
            elif not isinstance(phase, Unfunded):
                assert phase.paid + refundable(TERMS, phase) == self.chain.locked == AWARD.price + AWARD.dispute_fee
                assert phase.paid == self.chain.paid

    @invariant()
    def both_see_the_same(self) -> None:
        assert self.requester.phase == self.provider.phase

    @invariant()
    def at_most_one_part_is_unpaid(self) -> None:
        assert provider_side.exposure_of(self.provider) <= self.largest

    @invariant()
    def an_honest_provider_gets_what_was_accepted_and_what_nobody_denied(self) -> None:
        if self.chain.outcome is None or not self.provider_is_honest:
            return
        assert self.chain.to_provider >= self.provider.accepted
        if self.chain.outcome is Outcome.REFUNDED:
            unclaimed = self.provider.asked - self.provider.accepted
            assert not unclaimed or not self.provider.start

    @invariant()
    def an_honest_requester_pays_for_nothing_that_it_did_not_owe(self) -> None:
        if self.chain.outcome is None or not self.requester_is_honest:
            return
        if self.chain.outcome in (Outcome.PAID, Outcome.ACCEPTED, Outcome.REFUNDED):
            assert self.chain.to_provider <= max([0, *self.owed.values()])
        if self.chain.outcome is Outcome.REFUNDED:
            assert self.chain.to_provider >= self.requester.accepted

    @invariant()
    def orders_never_outlive_their_phase(self) -> None:
        if isinstance(self.requester.phase, Closed):
            assert not requester_side.outstanding(self.requester)
            assert not provider_side.outstanding(self.provider)


TestOneAward = OneAward.TestCase
TestOneAward.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
