"""Facts with places, steps with times, and the feed that brings them: pure, or with a chain that is a list."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from node.payments import payer_book
from node.payments.errors import ChainRewound, OldFact
from node.payments.feed import Feed
from node.payments.payer_book import Dismissed, DropHold, PayerBook, PayerContext, Promised
from node.payments.ports import Chain, Delivery, Fact, Mark, Rewound
from node.payments.tracked import Step, Tracked, track
from protocol.channel.chain import ExitConfirmed, OpenConfirmed, TopUpConfirmed, WithdrawConfirmed
from protocol.channel.objects import ChannelKey, ChannelRules, channel_id
from protocol.channel.paying import HoldReleased, PaymentDue
from protocol.errors import ProtocolError
from protocol.identity import Address, Digest
from protocol.units import Amount, Seconds, UnixTime

ONE, TWO = Address(b"\1" * 20), Address(b"\2" * 20)
KEY = ChannelKey(payer=ONE, signer=ONE, payee=TWO, token=TWO, counter=1)
RULES = ChannelRules(challenge=Seconds(10), hold_period=Seconds(100))
DEPOSIT = 1_000
OFFERS = (Digest(b"\6" * 32), Digest(b"\7" * 32))

apply = track(payer_book.RULES)


def begun() -> Tracked[PayerBook]:
    return Tracked(state=payer_book.begin(PayerContext(key=KEY, amount=Amount(DEPOSIT), rules=RULES)))


def step(event: payer_book.BookEvent, *, seen: int = 0, block: int = 0, index: int = 0) -> Step[payer_book.BookEvent]:
    return Step(seen=UnixTime(seen), block=block, index=index, event=event)


def opened() -> Tracked[PayerBook]:
    return apply(begun(), step(OpenConfirmed(key=KEY, deposit=Amount(DEPOSIT)), block=5, index=3))[0]


@pytest.mark.parametrize("place", [(5, 3), (5, 2), (4, 9), (1, 0)])
def test_a_fact_at_or_before_the_newest_one_is_refused(place: tuple[int, int]) -> None:
    block, index = place
    with pytest.raises(OldFact):
        apply(opened(), step(TopUpConfirmed(deposit=Amount(1)), block=block, index=index))


def test_a_difference_counts_once_although_the_chain_is_read_again() -> None:
    state = apply(opened(), step(ExitConfirmed(exits_at=UnixTime(9)), block=6))[0]
    withdrawn = step(WithdrawConfirmed(amount=Amount(400)), block=7)
    after = apply(state, withdrawn)[0]
    with pytest.raises(OldFact):
        apply(after, withdrawn)
    assert after.state.account is not None
    assert after.state.account.deposit == DEPOSIT - 400
    assert (after.block, after.index) == (7, 0)


def test_our_own_events_have_no_place_and_move_none() -> None:
    state = apply(opened(), step(promised(0, 10), seen=1))[0]
    assert (state.block, state.index) == (5, 3)


def test_a_hold_comes_free_one_second_after_its_last_deadline_and_not_before() -> None:
    state = apply(opened(), step(promised(0, 10, until=50)))[0].state
    for time, free in ((49, False), (50, False), (51, True)):
        effects = payer_book.outstanding(payer_book.advance(state, UnixTime(time)))
        assert (DropHold(award=award(0)) in effects) is free


def award(number: int) -> Digest:
    return Digest(bytes([number + 1]) * 32)


def promised(number: int, price: int, *, fee: int = 0, until: int = 1_000) -> Promised:
    return Promised(
        award=award(number),
        offer=OFFERS[number % 2],
        arbiter=ONE,
        price=Amount(price),
        dispute_fee=Amount(fee),
        reserved_until=UnixTime(until),
    )


AMOUNTS = st.sampled_from([0, 1, 499, 500, 501, DEPOSIT - 1, DEPOSIT, DEPOSIT + 1])
NUMBERS = st.integers(0, 3)
FEES = st.sampled_from([0, 1])


def payment(number: int, due: int) -> PaymentDue:
    return PaymentDue(award=award(number), due=Amount(due))


EVENTS = st.one_of(
    st.builds(promised, NUMBERS, AMOUNTS, fee=FEES),
    st.builds(payment, NUMBERS, AMOUNTS),
    st.builds(HoldReleased, award=NUMBERS.map(award)),
    st.builds(Dismissed, award=NUMBERS.map(award)),
)


@given(st.lists(EVENTS, max_size=20))
def test_tasks_never_add_up_to_more_than_the_channel_promises(events: Sequence[payer_book.BookEvent]) -> None:
    """The spending caps are told a total per task and one per channel: the first may never exceed the second."""
    book = opened().state
    for event in events:
        try:
            book = payer_book.transition(book, event)
        except ProtocolError:
            continue
        voucher = book.ledger.voucher(channel_id(KEY)) if book.ledger else None
        assert voucher is not None
        total = voucher.cumulative + voucher.held
        assert total <= DEPOSIT
        shares = [book.promised_to(offer) for offer in OFFERS]
        assert sum(shares) == total
        known = [note.award for note in book.notes]
        assert len(set(known)) == len(known)


@dataclass
class ListedFacts:
    """A chain that was written down beforehand; after its end nothing happens."""

    deliveries: list[Delivery]

    def subscribe(self, place: bytes | None) -> "ListedFacts":
        del place
        return self

    async def receive(self) -> Delivery:
        if not self.deliveries:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        return self.deliveries.pop(0)


@dataclass
class Notes:
    values: dict[str, bytes] = field(default_factory=dict[str, bytes])

    async def get(self, name: str) -> bytes | None:
        await trio.lowlevel.checkpoint()
        return self.values.get(name)

    async def set(self, name: str, value: bytes | None) -> None:
        await trio.lowlevel.checkpoint()
        assert value is not None
        self.values[name] = value


def fact(block: int) -> Fact:
    return Fact(block=block, index=0, subject=award(0), event=TopUpConfirmed(deposit=Amount(block)))


def mark(number: int) -> Mark:
    return Mark(number=number, time=UnixTime(100 + number), place=b"%d" % number)


def feed_of(deliveries: list[Delivery], notes: Notes) -> Feed:
    chain: Chain = ListedFacts(deliveries)  # pyright: ignore[reportAssignmentType] - the feed asks for nothing else
    return Feed(chain, notes)


async def test_the_feed_notes_a_place_only_after_everything_before_it_was_taken(autojump_clock: object) -> None:
    del autojump_clock
    notes, taken, heard = Notes(), list[int](), list[int]()
    feed = feed_of([mark(1), fact(2), fact(3), mark(4), mark(5)], notes)

    async def take(given: Fact) -> bool:
        assert feed.number < given.block
        assert notes.values == {}
        taken.append(given.block)
        return True

    async with trio.open_nursery() as nursery:
        await nursery.start(feed.run, take, lambda: heard.append(feed.time))
        await feed.wait_reached(5)
        nursery.cancel_scope.cancel()
    assert taken == [2, 3]
    assert heard == [101, 104, 105]
    assert notes.values == {"payments.facts": b"4"}  # block 5 brought nothing worth a write


async def test_confirmed_blocks_that_vanish_stop_the_node(autojump_clock: object) -> None:
    del autojump_clock

    async def take(_: Fact) -> bool:
        await trio.lowlevel.checkpoint()
        return True

    notes = Notes()
    with pytest.RaisesGroup(ChainRewound):
        async with trio.open_nursery() as nursery:
            rewound = Rewound(to=1, place=b"after the lost blocks")
            await nursery.start(feed_of([mark(1), fact(2), rewound], notes).run, take, lambda: None)
    assert notes.values == {"payments.facts": b"after the lost blocks"}, "the next start goes on from there"
