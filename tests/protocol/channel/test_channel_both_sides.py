"""Payer and payee together over a link that loses, repeats and reorders, on a contract with state.

The money is followed to the base unit: on chain, in every voucher that was ever signed, and in what the payee believes.
"""

from contextlib import suppress
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from protocol.channel import payee as payee_side
from protocol.channel import payer as payer_side
from protocol.channel.chain import ChainEvent, ExitConfirmed, OpenConfirmed
from protocol.channel.errors import ChannelError
from protocol.channel.ledger import Ledger
from protocol.channel.objects import Close, Hold, Voucher
from protocol.channel.payee import exposure_of, may_begin, start_receiving
from protocol.channel.payer import start_opening
from protocol.channel.paying import (
    AskNewest,
    AskOpened,
    CloseRequested,
    Doubted,
    Exiting,
    ExitRequested,
    HoldReleased,
    HoldRequested,
    NewestShown,
    Open,
    PayerEffect,
    PayerEvent,
    PayerState,
    PaymentDue,
    SendClose,
    SendVoucher,
    SubmitExit,
    SubmitOpen,
    SubmitTopUp,
    SubmitWithdraw,
    TopUpRequested,
    VoucherAcknowledged,
)
from protocol.channel.paying import Settled as PayerSettled
from protocol.channel.receiving import (
    AcknowledgeVoucher,
    AwardFinished,
    AwardTaken,
    ClaimRequested,
    CloseProposed,
    Defending,
    Ended,
    PayeeEffect,
    PayeeEvent,
    PayeeState,
    PresentRequested,
    ReceiptSigned,
    Receiving,
    SubmitClaim,
    SubmitClose,
    SubmitPresent,
    VoucherReceived,
)
from protocol.identity import Digest
from protocol.settlement.deadlines import is_over
from protocol.signing.signed import Signed, sign_struct
from protocol.units import Amount, UnixTime
from tests.protocol.channel.channel_world import DOMAIN, JUDGE, KEY, PAYER, RULES, FakeChannel, Reverted, award

DEPOSIT = 100
AMOUNTS = st.sampled_from([0, 1, 2, 10, 20, 30, 49, 50, 51, DEPOSIT, DEPOSIT + 1]) | st.integers(0, 30)
AWARDS = st.integers(1, 3).map(award)
TIMES = st.sampled_from([0, 1, 9, 10, 11, RULES.challenge - 1, RULES.challenge, RULES.challenge + 1, RULES.hold_period])
Message = tuple[Signed[Voucher], tuple[Hold, ...]]


class BothSides(RuleBasedStateMachine):
    """Honest payer and payee. `payee_is_mallory` below overrides what the payee submits."""

    def __init__(self) -> None:
        super().__init__()
        self.payer: PayerState = start_opening(KEY, Amount(DEPOSIT), RULES)
        self.payee: PayeeState | None = None
        self.link: list[Message] = []
        self.closes: list[Signed[Close]] = []
        self.signed: dict[int, Voucher] = {}
        self.kept: list[Message] = []  # all that was ever signed, for a cheating payee
        self.chain = FakeChannel(self.confirmed)
        self.prices: dict[Digest, tuple[int, int]] = {}
        self.parts: dict[Digest, int] = {}  # greatest part delivered for an award
        self.asked: dict[Digest, int] = {}
        self.gone_paid = 0
        self.steps = 0

    def late(self) -> bool:
        """Tell whether it is time for what ends a channel; earlier it would keep runs short and empty."""
        return self.steps > 6

    @initialize(claim_at=st.sampled_from([0, 1, 30, DEPOSIT, 10**9]))
    def opens(self, claim_at: int) -> None:
        self.claim_at = claim_at
        (effect,) = payer_side.outstanding(self.payer)
        assert isinstance(effect, SubmitOpen)
        self.chain.open(effect.amount)

    # the chain tells both

    def confirmed(self, event: ChainEvent) -> None:
        if isinstance(event, OpenConfirmed):
            self.payee = start_receiving(event, rules=RULES, domain=DOMAIN, claim_at=Amount(self.claim_at))
        else:
            self.to_payee(event)
        self.to_payer(event)

    def to_payer(self, event: PayerEvent) -> bool:
        before = self.payer
        try:
            self.payer, effects = payer_side.transition(self.payer, event)
        except ChannelError:
            assert self.payer is before
            return False
        for effect in effects:
            self.payer_does(effect)
        return True

    def to_payee(self, event: PayeeEvent) -> bool:
        assert self.payee is not None
        before = self.payee
        try:
            self.payee, effects = payee_side.transition(self.payee, event)
        except ChannelError:
            assert self.payee is before
            return False
        self.follow_payments(before, self.payee)
        for effect in effects:
            if isinstance(effect, AcknowledgeVoucher) and self.hears_acknowledgements:
                self.to_payer(VoucherAcknowledged(sequence=effect.sequence))
        return True

    hears_acknowledgements = True

    def follow_payments(self, before: PayeeState, after: PayeeState) -> None:
        if isinstance(before, Ended) or isinstance(after, Ended):
            return
        kept = {each.award for each in after.purse.engagements}
        for each in before.purse.engagements:
            if each.award not in kept:
                self.gone_paid += max(each.paid, each.due)

    def payer_does(self, effect: PayerEffect) -> None:
        match effect:
            case SendVoucher(voucher=voucher, holds=holds):
                # one content for each sequence, never above the deposit of the moment
                assert self.signed.setdefault(voucher.sequence, voucher) == voucher
                assert voucher.cumulative + voucher.held <= self.chain.deposit or isinstance(self.payer, Exiting)
                message = (sign_struct(PAYER, DOMAIN, voucher), holds)
                self.link.append(message)
                self.kept.append(message)
            case SendClose(close=close):
                self.closes.append(sign_struct(PAYER, DOMAIN, close))
            case SubmitExit() | SubmitTopUp() | SubmitWithdraw() | SubmitOpen() | AskNewest() | AskOpened():
                pass  # performed by a rule, later

    def payee_does(self, effect: PayeeEffect) -> None:
        assert isinstance(self.payee, Receiving | Defending)
        with suppress(Reverted):
            match effect:
                case SubmitClaim(signed=signed):
                    self.chain.claim(signed)
                case SubmitPresent(signed=signed):
                    self.chain.present(signed, self.payee.purse.holds)
                case SubmitClose(signed=close):
                    self.chain.close(close)
                case AcknowledgeVoucher():
                    pass

    # commands

    @rule(of=AWARDS, price=AMOUNTS, fee=st.sampled_from([0, 1, 5]), smooth=st.booleans())
    def promises(self, of: Digest, price: int, fee: int, smooth: bool) -> None:  # noqa: FBT001
        self.steps += 1
        if of in self.prices:
            return
        if self.to_payer(HoldRequested(award=of, arbiter=JUDGE, price=Amount(price), dispute_fee=Amount(fee))):
            self.prices[of] = (price, fee)
            if smooth:
                self.newest_arrives()
                self.takes(of, 0, 0)

    def newest_arrives(self) -> None:
        if self.link:
            signed, holds = self.link[-1]
            self.to_payee(VoucherReceived(signed=signed, holds=holds))

    @rule(of=AWARDS, late=st.sampled_from([0, 1, RULES.hold_period, RULES.hold_period + 1]), skew=TIMES)
    def takes(self, of: Digest, late: int, skew: int) -> None:
        price, fee = self.prices.get(of, (1, 1))
        now = self.chain.time + skew
        taken = AwardTaken(
            award=of,
            arbiter=JUDGE,
            price=Amount(price),
            dispute_fee=Amount(fee),
            reserved_until=UnixTime(now + late),
            now=UnixTime(now),
        )
        state = self.payee
        if isinstance(state, Receiving) and state.purse.find(taken.award):
            return
        if self.to_payee(taken):
            assert isinstance(self.payee, Receiving)
            assert late <= RULES.hold_period
            assert 4 * (now - self.payee.purse.seen_at) <= RULES.challenge
            hold = next(each for each in self.payee.purse.holds if each.award == of)
            assert hold.amount == price + fee
            assert self.payee.purse.cumulative + self.payee.purse.held <= self.chain.deposit

    def working(self) -> list[Digest]:
        return (
            [each.award for each in self.payee.purse.engagements]
            if isinstance(self.payee, Receiving | Defending)
            else []
        )

    @precondition(lambda self: self.working())
    @rule(
        which=st.integers(0, 2),
        part=st.sampled_from([0, 1, 2, 9, 10, 29, 30, 31]),
        pays=st.booleans(),
        smooth=st.booleans(),
    )
    def delivers(self, which: int, part: int, pays: bool, smooth: bool) -> None:  # noqa: FBT001
        assert self.payee is not None
        self.steps += 1
        name = self.working()[which % len(self.working())]
        ready = may_begin(self.payee, name)
        due = self.asked.get(name, 0) + part
        if self.to_payee(ReceiptSigned(award=name, due=Amount(due))) and part:
            assert ready or isinstance(self.payee, Defending)
            self.asked[name] = due
            self.parts[name] = max(part, self.parts.get(name, 0))
        if pays and name in self.asked:
            self.to_payer(PaymentDue(award=name, due=Amount(self.asked[name])))
            if smooth:
                self.newest_arrives()

    @precondition(lambda self: self.late() and self.working())
    @rule(of=AWARDS)
    def finishes(self, of: Digest) -> None:
        self.to_payee(AwardFinished(award=of))

    @precondition(lambda self: self.late() and self.prices)
    @rule(of=AWARDS)
    def pays_and_releases(self, of: Digest) -> None:
        if of in self.asked:
            self.to_payer(PaymentDue(award=of, due=Amount(self.asked[of])))
        self.to_payer(HoldReleased(award=of))

    @rule()
    def payer_repeats_itself(self) -> None:
        for effect in payer_side.outstanding(self.payer):
            self.payer_does(effect)

    # the link

    @precondition(lambda self: self.link)
    @rule(data=st.data(), keep=st.booleans())
    def link_delivers(self, data: st.DataObject, keep: bool) -> None:  # noqa: FBT001
        index = data.draw(st.integers(0, len(self.link) - 1))
        signed, holds = self.link[index] if keep else self.link.pop(index)
        self.to_payee(VoucherReceived(signed=signed, holds=holds))

    @precondition(lambda self: len(self.link) > 3)
    @rule()
    def link_loses_everything(self) -> None:
        self.link.clear()

    # the chain

    @precondition(lambda self: self.late())
    @rule(amount=AMOUNTS)
    def tops_up(self, amount: int) -> None:
        self.to_payer(TopUpRequested(amount=Amount(amount)))
        for effect in payer_side.outstanding(self.payer):
            if isinstance(effect, SubmitTopUp):
                self.chain.top_up(effect.amount)

    @rule(requested=st.sampled_from([None, ClaimRequested(), PresentRequested()]))
    def payee_submits(self, requested: ClaimRequested | PresentRequested | None) -> None:
        assert self.payee is not None
        if requested:
            self.to_payee(requested)
        for effect in payee_side.outstanding(self.payee):
            self.payee_does(effect)
        assert not payee_side.outstanding(self.payee)  # what is confirmed is not ordered again

    @precondition(lambda self: self.late())
    @rule()
    def payer_exits(self) -> None:
        self.to_payer(ExitRequested())
        if any(isinstance(effect, SubmitExit) for effect in payer_side.outstanding(self.payer)):
            with suppress(Reverted):
                self.chain.start_exit()
        self.exit_may_have_begun()

    def exit_may_have_begun(self) -> None:
        """What a payee that is there does at once, after whatever may begin an exit."""

    @rule(seconds=TIMES)
    def time_passes(self, seconds: int) -> None:
        if self.chain.exits_at and self.chain.time <= self.chain.exits_at:
            self.payee_submits(None)  # the payee watches the chain during a challenge (M6)
        self.chain.advance(seconds)
        for effect in payer_side.outstanding(self.payer):
            if isinstance(effect, SubmitWithdraw):
                before = self.chain.out["payer"]
                self.chain.withdraw()
                assert self.chain.out["payer"] > before or self.chain.closed  # never a transaction for nothing

    @rule(of=AWARDS, due=AMOUNTS, lost=st.booleans())
    def arbiter_enforces(self, of: Digest, due: int, lost: bool) -> None:  # noqa: FBT001
        if of in self.prices:
            with suppress(Reverted):
                self.chain.enforce(of, *self.prices[of], due, requester_lost=lost)
            self.exit_may_have_begun()

    @precondition(lambda self: self.late())
    @rule(late=st.sampled_from([0, 5]))
    def both_close(self, late: int) -> None:
        self.to_payer(CloseRequested(close_by=UnixTime(self.chain.time + late)))
        for close in self.closes:
            self.to_payee(CloseProposed(signed=close, now=UnixTime(self.chain.time)))

    # what always holds

    @invariant()
    def no_money_appears_or_is_lost(self) -> None:
        assert self.chain.paid_in == sum(self.chain.out.values()) + self.chain.balance

    @invariant()
    def both_know_the_chain(self) -> None:
        for state in (self.payer, self.payee):
            account = getattr(state, "account", None) or getattr(state, "purse", None)
            if account is not None:
                assert (account.deposit, account.claimed) == (self.chain.deposit, self.chain.claimed)
        if isinstance(self.payer, PayerSettled):
            assert self.payer.paid == self.chain.claimed

    @invariant()
    def deposit_is_paid_plus_held_plus_free(self) -> None:
        if isinstance(self.payer, Open):
            ledger = self.payer.ledger
            free = payer_side.free_deposit(self.payer)
            assert free >= 0
            assert self.payer.account.deposit == ledger.cumulative + ledger.held + free
            assert ledger.held == sum(each.amount for each in ledger.holds)

    @invariant()
    def at_most_one_part_is_unpaid(self) -> None:
        if self.payee is not None:
            for name, part in self.parts.items():
                assert exposure_of(self.payee, name) <= part

    @invariant()
    def what_the_payee_counts_as_paid_is_covered_by_its_voucher(self) -> None:
        if not isinstance(self.payee, Receiving | Defending):
            return
        purse = self.payee.purse
        assert self.gone_paid + sum(each.paid for each in purse.engagements) <= purse.cumulative
        holds = {each.award: each.amount for each in purse.holds}
        for each in purse.engagements:
            price, fee = self.prices[each.award]
            if each.award in holds:
                assert holds[each.award] == price + fee - each.paid
            elif each.finished or is_over(each.reserved_until, purse.seen_at):
                assert each.paid >= each.due
            else:
                assert each.paid == price


class CheatingPayee(BothSides):
    """The payee submits whichever voucher suits it, late, and never acknowledges."""

    hears_acknowledgements = False

    @precondition(lambda self: self.kept)
    @rule(data=st.data(), presents=st.booleans())
    def payee_submits_an_old_voucher(self, data: st.DataObject, presents: bool) -> None:  # noqa: FBT001
        signed, holds = data.draw(st.sampled_from(self.kept))
        with suppress(Reverted):
            if presents:
                self.chain.present(signed, holds)
            else:
                self.chain.claim(signed)

    @invariant()
    def the_payer_never_loses_more_than_it_signed(self) -> None:
        most = max([self.chain.greatest, *(voucher.cumulative for voucher in self.signed.values())])
        assert self.chain.claimed <= most  # of one voucher with its verdicts, never of two
        assert self.chain.out["arbiter"] <= sum(self.prices[of][1] for of in self.chain.enforced_on)


class WatchfulPayee(BothSides):
    """The payer may leave, and anybody have a hold enforced, at any time, and the payee answers: nothing is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.at_exit: tuple[int, int, int] | None = None  # sequence, cumulative, held

    def confirmed(self, event: ChainEvent) -> None:
        super().confirmed(event)
        if isinstance(event, ExitConfirmed):
            assert isinstance(self.payee, Defending)
            purse = self.payee.purse
            self.at_exit = (purse.sequence, purse.cumulative, purse.held)

    def exit_may_have_begun(self) -> None:
        if isinstance(self.payee, Defending):
            self.payee_submits(None)

    def late(self) -> bool:
        return self.steps > 2

    @invariant()
    def what_was_paid_and_held_is_there(self) -> None:
        if self.at_exit is None or not isinstance(self.payee, Defending):
            return
        sequence, cumulative, held = self.at_exit
        assert self.chain.claimed >= cumulative
        is_judged = sequence in self.chain.enforced_on.values()
        if held and self.chain.sequence == sequence and self.chain.time <= self.chain.reserved_until and not is_judged:
            assert self.chain.deposit + self.chain.out["arbiter"] >= cumulative + held


class ForgetfulPayer(BothSides):
    """The payer is restored from a backup now and then: what the payee holds is all that is left of what it signed."""

    def __init__(self) -> None:
        super().__init__()
        self.backups: list[Ledger] = []

    def to_payer(self, event: PayerEvent) -> bool:
        if isinstance(event, PaymentDue) and isinstance(self.payer, Open | Exiting):
            mine = next((each for each in self.payer.ledger.promises if each.award == event.award), None)
            if mine is not None and mine.price != self.prices[event.award][0]:
                return False  # who has forgotten the award has forgotten the task, and pays nothing for it
        done = super().to_payer(event)
        if isinstance(self.payer, Open | Exiting) and not self.payer.doubt:
            self.backups.append(self.payer.ledger)
        return done

    @precondition(lambda self: self.backups)
    @rule(data=st.data())
    def is_restored(self, data: st.DataObject) -> None:
        if isinstance(self.payer, Open | Exiting):
            self.payer = replace(self.payer, ledger=data.draw(st.sampled_from(self.backups)))
            self.link.clear()
            self.closes.clear()
            assert self.to_payer(Doubted())

    @rule()
    def is_shown(self) -> None:
        if not (isinstance(self.payer, Open | Exiting) and self.payer.doubt):
            return
        if isinstance(self.payee, Receiving | Defending):
            purse = self.payee.purse
            voucher = purse.best.value if purse.best else None
            now = UnixTime(self.chain.time)
            assert self.to_payer(NewestShown(voucher=voucher, holds=purse.holds, now=now))
            assert self.payer.ledger.cumulative >= purse.cumulative

    @invariant()
    def nothing_is_sent_in_doubt(self) -> None:
        if isinstance(self.payer, Open | Exiting) and self.payer.doubt:
            effects = payer_side.outstanding(self.payer)
            assert not any(isinstance(effect, SendVoucher | SendClose | SubmitTopUp) for effect in effects)


BUDGET = settings(max_examples=80, stateful_step_count=50, deadline=None)
TestBothSides = BothSides.TestCase
TestBothSides.settings = BUDGET
TestCheatingPayee = CheatingPayee.TestCase
TestCheatingPayee.settings = BUDGET
TestForgetfulPayer = ForgetfulPayer.TestCase
TestForgetfulPayer.settings = BUDGET
TestWatchfulPayee = WatchfulPayee.TestCase
TestWatchfulPayee.settings = BUDGET
