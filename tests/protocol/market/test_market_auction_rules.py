"""The requester's machine among four bidders, three of whom fit, that do anything, in any order, late and twice."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from protocol.errors import ProtocolError
from protocol.identity import Address
from protocol.market.auction_events import (
    BidderFailed,
    BidHeard,
    CommitmentHeard,
    CommitWindowClosed,
    Opinion,
    PrepareAward,
    PublishAward,
    RevealWindowClosed,
)
from protocol.market.auction_states import Collecting, Decided, Failed, Revealing
from protocol.market.auction_views import outstanding
from protocol.market.transcript import verify_transcript
from protocol.signing.eip712 import digest
from protocol.signing.signed import Signed
from tests.protocol.market.market_world import DOMAIN, NOW, Plan, Requester, address, at, commit, make_offer, reveal

NAMES = ["bob", "carol", "dave", "erin"]
PRICES = st.sampled_from([1, 399_999, 400_000, 400_001])
ETAS = st.sampled_from([1, 600, 601])
PLANS = st.builds(Plan, price=PRICES, eta=ETAS)


class AuctionRules(RuleBasedStateMachine):
    """An auction among four bidders, three of whom fit, that do anything, in any order, late and repeatedly."""

    def __init__(self) -> None:
        super().__init__()
        self.requester = Requester(make_offer(max_bidders=3, parts=2))
        self.committed: dict[str, list[Signed[Any]]] = {}
        self.plans: dict[tuple[str, Any], Plan] = {}
        self.rolls: set[Any] = set()
        self.revealed: set[str] = set()
        self.keys: dict[tuple[int, int], Any] = {}

    def apply(self, event: Any) -> bool:
        before = self.requester.state
        try:
            self.requester.apply(event)
        except ProtocolError:
            assert self.requester.state is before
            return False
        return True

    @initialize(plans=st.lists(PLANS, max_size=4))
    def first_commitments_come(self, plans: list[Plan]) -> None:
        for name, plan in zip(NAMES, plans, strict=False):
            self.commitment_comes(name, plan)

    @precondition(lambda self: isinstance(self.requester.state, Collecting))
    @rule(name=st.sampled_from(NAMES), plan=PLANS)
    def commitment_comes(self, name: str, plan: Plan) -> None:
        signed = commit(self.requester.offer, name, plan)
        if self.apply(CommitmentHeard(at=at(1), signed=signed)):
            self.committed.setdefault(name, []).append(signed)
            self.plans[name, digest(DOMAIN, signed.value)] = plan

    @rule(late=st.booleans())
    def commit_window_closes(self, late: bool) -> None:  # noqa: FBT001 - drawn by hypothesis
        opinions = tuple(Opinion(bidder=address(name), reputation=5000) for name in NAMES)
        if self.apply(CommitWindowClosed(at=at(11 if late else 10), opinions=opinions)):
            assert late
            state = self.requester.state
            honest = [name for name, seals in self.committed.items() if len(seals) == 1]
            if not honest:
                assert isinstance(state, Failed)
                return
            assert isinstance(state, Revealing)
            assert {leaf.bidder for leaf in state.leaves} == {address(name) for name in honest[:3]}
            self.rolls.add(state.roll_id)

    @precondition(lambda self: isinstance(self.requester.state, Revealing))
    @rule(name=st.sampled_from(NAMES), plan=st.none() | PLANS)
    def bid_comes(self, name: str, plan: Plan | None) -> None:
        """Without a plan, what the bidder sealed."""
        state = self.requester.state
        assert isinstance(state, Revealing)
        seals = self.committed.get(name, [])
        sealed = self.plans[name, digest(DOMAIN, seals[0].value)] if seals else None
        shown = plan or sealed or Plan(price=1)
        signed = reveal(self.requester.offer, name, shown, state.roll_id)
        if self.apply(BidHeard(at=at(12), signed=signed)):
            assert len(seals) == 1
            assert shown == sealed
            assert name not in self.revealed
            self.revealed.add(name)

    @precondition(lambda self: isinstance(self.requester.state, Revealing))
    @rule()
    def everyone_reveals(self) -> None:
        for name in NAMES:
            self.bid_comes(name, None)

    @rule(late=st.booleans())
    def reveal_window_closes(self, late: bool) -> None:  # noqa: FBT001 - drawn by hypothesis
        self.requester.now = NOW + 21
        if self.apply(RevealWindowClosed(at=at(21 if late else 20))):
            assert late

    @precondition(lambda self: isinstance(self.requester.state, Decided))
    @rule(behind=st.sampled_from([0, 0, 0, 1]), part=st.integers(0, 2), seconds=st.sampled_from([60, 60, 1000, 1001]))
    def bidder_fails(self, behind: int, part: int, seconds: int) -> None:
        self.requester.now = NOW + seconds
        awards = len(self.requester.awards)
        attempt = max(0, awards - 1 - behind)
        if self.apply(BidderFailed(at=at(seconds), slot=0, attempt=attempt, next_part=part)):
            assert attempt == awards - 1
            assert len(self.requester.awards) == awards + isinstance(self.requester.state, Decided)

    @invariant()
    def one_roll_and_one_award_a_slot_and_attempt(self) -> None:
        assert len(self.rolls) <= 1
        for signed in self.requester.awards:
            award = signed.value
            assert self.keys.setdefault((award.slot, award.attempt), award) == award

    @invariant()
    def repeating_what_is_outstanding_publishes_nothing_new(self) -> None:
        known = {(award.value.slot, award.value.attempt): award.value for award in self.requester.awards}
        for effect in outstanding(self.requester.state):
            assert not isinstance(effect, PrepareAward)  # this shell makes each award at once
            if isinstance(effect, PublishAward):
                assert known[effect.award.slot, effect.award.attempt] == effect.award

    @invariant()
    def whatever_was_awarded_verifies(self) -> None:
        if self.requester.awards:
            verified = verify_transcript(DOMAIN, self.requester.transcript())
            providers: list[Address] = [award.provider for award in verified.awards]
            assert len(set(providers)) == len(providers)


TestAuctionRules = AuctionRules.TestCase
TestAuctionRules.settings = settings(max_examples=120, stateful_step_count=16, deadline=None)
