"""One auction at its requester: the shell of `protocol.market.auction`, and the purchase's source of winners."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

import structlog
import trio

from node.market.gossip import MarketGossip
from node.market.ports import PayerRails, Peers, Signing, Stakes
from node.operations.clock import Clock
from node.operations.randomness import RandomSource
from node.storage.machine_log import Machine, MachineLog
from protocol.errors import ProtocolError, StoaError, TransientError
from protocol.identity import ZERO_DIGEST, Address, Digest
from protocol.market import auction_events as events
from protocol.market.auction import make_transcript, open_auction, transition
from protocol.market.auction_states import (
    Assignment,
    AuctionState,
    Collecting,
    Decided,
    Failed,
    Revealing,
    explain_failure,
)
from protocol.market.auction_views import admitted, next_deadline, outstanding
from protocol.market.award import awarded_at, build_award
from protocol.market.messages import (
    AwardAnnouncement,
    ConflictAnnouncement,
    OfferAnnouncement,
    RollAnnouncement,
)
from protocol.market.objects import Award, Bid, Commitment
from protocol.market.transcript import Transcript
from protocol.signing.eip712 import Domain
from protocol.signing.signed import Signed
from protocol.stake.terms import least_stake
from protocol.task.messages import AWARD_METHOD, AwardNotice
from protocol.task.verification import SECRET_BYTES, Audit, Lot, adapt_rate, decode_verification, seal
from protocol.units import WHOLE, UnixTime
from protocol.wire.codec import encode

log = structlog.stdlib.get_logger(__name__)

LATE_GOSSIP_S: Final = 0.2
"""How long after the last second of a window messages that are on their way are still taken: a peer nearer to a bidder
may have heard it in time, and would rightly miss it in the roll."""
INBOX: Final = 1024

AuctionMessage: TypeAlias = Signed[Commitment] | Signed[Bid]


class NoWinnerLeft(StoaError):
    """Nobody is there to do (the rest of) the work."""


class AuctionInterrupted(ProtocolError):
    """This node was down while bids came in: to award without those that others heard would be to leave them out."""

    advice = "Submit the task again; nothing was promised to anyone."

    def __init__(self, what: str) -> None:
        super().__init__(f"this node was down when {what} closed, so it may have missed some")


class AuctionForgotten(ProtocolError):
    """The node was restored from a backup: it may have signed a roll or an award of this auction since."""

    advice = "Submit the task again. What was promised to a provider for it is paid, or comes back with its hold."

    def __init__(self) -> None:
        super().__init__("this node was restored from a backup, and may have awarded this task otherwise since")


class StakesUnknown(TransientError):
    """The chain can't be reached, so nobody knows which bidders have the stake that the offer asks for."""

    advice = "Check the connection to the chain, and submit the task again; nothing was promised to anyone."

    def __init__(self) -> None:
        super().__init__("the bidders' stakes could not be looked up, because the chain can't be reached")


AuctionLog = MachineLog[OfferAnnouncement, AuctionState, events.AuctionEvent, events.AuctionEffect]


def auction_machine(
    domain: Domain,
) -> Machine[OfferAnnouncement, AuctionState, events.AuctionEvent, events.AuctionEffect]:
    """Return the machine of auctions under `domain`; a stream begins with the offer as it was announced."""
    return Machine(
        context=OfferAnnouncement,
        events=events.AuctionEvent,
        begin=lambda announcement: open_auction(domain, announcement.signed.value),
        transition=transition,
    )


def stream_of(offer_id: Digest) -> str:
    """Return the journal stream of an auction."""
    return f"auction/{offer_id.hex()}"


class Reputations(Protocol):
    """This node's opinion of providers."""

    async def of(self, providers: Iterable[Address]) -> Mapping[Address, int]:
        """Return the reputation of each provider, 0..10,000."""
        ...

    async def note_silence(self, bidders: tuple[Address, ...]) -> None:
        """Count it against bidders that they committed and revealed nothing."""
        ...


def _unobserved(_event: events.AuctionEvent) -> None:
    """Nobody watches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuctionRoom:
    """What every auction of this node works with.

    Attributes:
        stakes: None on a network without.
        on_event: Told of every event once it is durable.
    """

    signing: Signing
    gossip: MarketGossip
    peers: Peers
    rails: PayerRails
    clock: Clock
    reputations: Reputations
    random: RandomSource
    stakes: Stakes | None = None
    on_event: Callable[[events.AuctionEvent], None] = _unobserved


class AuctionRun:
    """An auction from its offer to its last standby."""

    def __init__(
        self,
        room: AuctionRoom,
        machine: AuctionLog,
        *,
        hire: Address | None,
        was_interrupted: bool = False,
        was_restored: bool = False,
    ) -> None:
        self._room, self._machine = room, machine
        self._was_interrupted = was_interrupted
        self._was_restored = was_restored
        self.hire = hire
        """Who is hired directly, if the offer's format says so."""
        self.announcement: Final = machine.context
        self.offer_id: Final = machine.state.terms.offer_id
        self.policy: Final = decode_verification(
            self.announcement.verification, self.announcement.signed.value.verification
        )
        self._post, self._inbox = trio.open_memory_channel[AuctionMessage](INBOX)
        self._awarding = trio.Lock()
        self._undecidable: StoaError | None = None

    @property
    def state(self) -> AuctionState:
        """Where the auction stands."""
        return self._machine.state

    def post_nowait(self, message: AuctionMessage) -> None:
        """Hand a commitment or a bid over, its signature not yet checked; dropped if far too many wait.

        Raises:
            trio.WouldBlock: Too many wait.
        """
        self._post.send_nowait(message)

    async def transcript(self) -> Transcript:
        """Return what proves the outcome so far.

        Raises:
            UnexpectedEvent: Nothing was awarded.
        """
        state = self._machine.state
        if not isinstance(state, Decided | Failed):
            raise NoWinnerLeft("the auction is not decided yet")
        signing = self._room.signing
        awards: list[Signed[Award]] = []
        for award in state.awards:
            try:
                awards.append(await signing.sign_award(award))
            except StoaError as error:  # of another copy, for which a cap leaves no money: nobody was given that award
                log.warning("auction.award_not_signed", slot=award.slot, reason=str(error))
        return make_transcript(
            state,
            offer=self.announcement.signed,
            roll=signing.sign(state.revealing.roll) if state.revealing else None,
            awards=tuple(awards),
        )

    async def next_award(self, first_part: int, attempt: int, slot: int = 0) -> Signed[Award]:
        """See `Winners`. Asked again after a crash, it gives the same award.

        Of several copies each slot asks by itself; one at a time, since a standby follows from who serves and who
        failed in all slots, which its transcript has to show (A5).
        """
        async with self._awarding:
            return await self._next_award(first_part, attempt, slot)

    async def _next_award(self, first_part: int, attempt: int, slot: int) -> Signed[Award]:
        if self._was_restored and not _is_made(self._machine.state, attempt, slot):
            raise AuctionForgotten
        if self._undecidable is not None:  # a second try would give fewer copies than were asked for
            raise self._undecidable
        try:
            await self._decide()
        except StoaError as error:
            self._undecidable = error
            raise
        assignment = _assignment_of(self._machine.state, slot)
        if assignment.terms.attempt < attempt:
            assert isinstance(self._machine.state, Decided)
            for each in self._machine.state.assignments:
                if each.award is None:
                    raise NoWinnerLeft(f"copy {each.terms.slot} has no award, so nobody could check who comes next")
                await self._room.signing.sign_award(each.award)  # likewise where a cap forbids it
            await self._apply(
                events.BidderFailed(
                    at=self._room.clock.now(), slot=slot, attempt=assignment.terms.attempt, next_part=first_part
                )
            )
            assignment = _assignment_of(self._machine.state, slot)
        award = assignment.award or await self._make_award(assignment)
        return await self._room.signing.sign_award(award)

    async def _make_award(self, assignment: Assignment) -> Award:
        state = self._machine.state
        assert isinstance(state, Decided)
        terms, offer = assignment.terms, state.terms.offer
        price = build_award(
            self.offer_id, offer, terms, channel=ZERO_DIGEST, audit_seal=ZERO_DIGEST, at=self._room.clock.now()
        ).price
        audit_seal = await self._seal(assignment)
        channel = await self._room.rails.prepare(terms.provider, price, offer)
        # A clock that was set back must not date an attempt before the one that it follows: nobody would take it.
        at = UnixTime(max((self._room.clock.now(), *(awarded_at(offer, each) for each in state.awards))))
        award = build_award(self.offer_id, offer, terms, channel=channel, audit_seal=audit_seal, at=at)
        await self._apply(events.AwardMade(at=at, award=award))
        return award

    def lot_of(self, award: Award) -> Lot | None:
        """See `Winners`."""
        state = self._machine.state
        if not isinstance(self.policy, Audit) or not isinstance(state, Decided):
            return None
        secret = next((each.secret for each in state.assignments if each.award == award), None)
        if secret is None:
            return None
        # Who is hired without a roll has no reputation that it knows of: the policy's own rate counts.
        leaves = state.revealing.leaves if state.revealing else ()
        reputation = next((leaf.reputation for leaf in leaves if leaf.bidder == award.provider), WHOLE)
        return Lot(secret=secret, rate=adapt_rate(self.policy.rate, reputation))

    async def send_award(self, award: Signed[Award]) -> None:
        """See `Winners`."""
        state = self._machine.state
        assert isinstance(state, Decided | Failed)
        await self._room.gossip.publish(AwardAnnouncement(signed=award, bid_ids=state.bid_ids))
        if self.hire is not None:  # who is hired keeps no durable note of the offer: it may have started again
            await self._room.gossip.tell_all([self.hire], self.announcement)
        notice = AwardNotice(award=award, transcript=await self.transcript())
        await self._room.peers.call(award.value.provider, AWARD_METHOD, encode(notice))

    async def _seal(self, assignment: Assignment) -> Digest:
        """Draw what the lot is drawn from, before there is an award that seals it."""
        if not isinstance(self.policy, Audit):
            return ZERO_DIGEST
        if assignment.secret is not None:
            return seal(assignment.secret)
        secret, terms = Digest(self._room.random.bytes(SECRET_BYTES)), assignment.terms
        at = self._room.clock.now()
        await self._apply(events.SecretDrawn(at=at, slot=terms.slot, attempt=terms.attempt, secret=secret))
        return seal(secret)

    async def _decide(self) -> None:
        """Run the windows that are still open."""
        state = self._machine.state
        if isinstance(state, Collecting) and self.hire is not None:
            await self._hire(self.hire)
        elif isinstance(state, Collecting):
            if self._missed(state):
                raise AuctionInterrupted("the window for bids")
            await self._room.gossip.publish(self.announcement)
            await self._listen_until_closed()
            state = await self._leave_out_unbacked()
            opinions = await self._room.reputations.of(admitted(state))
            await self._apply(
                events.CommitWindowClosed(
                    at=self._room.clock.now(),
                    opinions=tuple(events.Opinion(bidder=who, reputation=worth) for who, worth in opinions.items()),
                )
            )
        state = self._machine.state
        if isinstance(state, Revealing):
            if self._missed(state) and len(state.bids) < len(state.leaves):
                raise AuctionInterrupted("the window for reveals")
            await self._perform_all(outstanding(state))
            await self._listen_until_closed()
            await self._apply(events.RevealWindowClosed(at=self._room.clock.now()))

    async def _leave_out_unbacked(self) -> Collecting:
        """Leave out who has too little stake (LK8), and look at those who take their places, until all have enough.

        Raises:
            TransientError: The chain can't tell. Then there is no roll: who is left out by mistake may protest.
        """
        state, known = self._machine.state, dict[Address, bool]()
        assert isinstance(state, Collecting)
        needed = least_stake(state.terms.offer)
        while needed:
            unknown = [bidder for bidder in admitted(state) if bidder not in known]
            known.update(await self._have_stake(unknown, needed))
            unbacked = tuple(bidder for bidder in unknown if not known[bidder])
            if not unbacked:
                break
            log.info("auction.bidders_unbacked", bidders=len(unbacked), needed=needed)
            await self._apply(events.BiddersUnbacked(bidders=unbacked))
            state = self._machine.state
            assert isinstance(state, Collecting)
        return state

    async def _have_stake(self, bidders: Iterable[Address], needed: int) -> Mapping[Address, bool]:
        found: dict[Address, bool] = {}
        failures: list[TransientError] = []

        async def look(bidder: Address) -> None:
            try:
                found[bidder] = self._room.stakes is not None and await self._room.stakes.free_of(bidder) >= needed
            except TransientError as error:
                failures.append(error)

        async with trio.open_nursery() as nursery:
            for bidder in bidders:
                nursery.start_soon(look, bidder)
        if failures:
            raise StakesUnknown from failures[0]
        return found

    def _missed(self, state: Collecting | Revealing) -> bool:
        """Whether a window closed while this node was down; bidders insist only until then."""
        closes_at = next_deadline(state)
        return self._was_interrupted and closes_at is not None and self._room.clock.now() >= closes_at

    async def _hire(self, provider: Address) -> None:
        offer = self.announcement.signed.value
        await self._room.gossip.publish(self.announcement)
        await self._room.gossip.tell_all([provider], self.announcement)
        while self._room.clock.now() <= offer.reveal_by:  # no award before that, also of a hire (O4)
            await self._room.clock.sleep(offer.reveal_by + 1 - self._room.clock.unix_time())
        await self._apply(
            events.ProviderChosen(at=self._room.clock.now(), provider=provider, price=offer.budget, eta=offer.max_eta)
        )

    async def close(self) -> None:
        """Note that nothing more will come of it."""
        await self._machine.close()

    async def _listen_until_closed(self) -> None:
        closes_at = next_deadline(self._machine.state)
        assert closes_at is not None
        with trio.move_on_after(max(0.0, closes_at + LATE_GOSSIP_S - self._room.clock.unix_time())):
            while True:
                await self._hear(await self._inbox.receive())
        # The wall clock may have been set back meanwhile; the machine never closes a window early.
        while self._room.clock.now() < closes_at:
            await self._room.clock.sleep(closes_at - self._room.clock.unix_time())

    async def _hear(self, message: AuctionMessage) -> None:
        at = self._room.clock.now()
        value = message.value
        try:
            if isinstance(value, Commitment):
                await self._apply(events.CommitmentHeard(at=at, signed=Signed(value, message.signature)))
            else:
                await self._apply(events.BidHeard(at=at, signed=Signed(value, message.signature)))
        except ProtocolError as error:
            log.debug("auction.message_rejected", reason=str(error))

    async def _apply(self, event: events.AuctionEvent) -> None:
        effects = await self._machine.apply(event)
        self._room.on_event(event)
        # Awards are made and sent by `next_award` and `send_award`, which know the rail and the provider's answer.
        await self._perform_all(effects)

    async def _perform_all(self, effects: tuple[events.AuctionEffect, ...]) -> None:
        for effect in effects:
            match effect:
                case events.PublishRoll(roll=roll, leaves=leaves):
                    message = RollAnnouncement(signed=self._room.signing.sign(roll), leaves=leaves)
                    await self._room.gossip.publish(message)
                    await self._room.gossip.tell_all([leaf.bidder for leaf in leaves], message)
                case events.PublishConflict(conflict=conflict):
                    await self._room.gossip.publish(ConflictAnnouncement(conflict=conflict))
                case events.NoteSilence(bidders=bidders):
                    await self._room.reputations.note_silence(bidders)
                case events.PrepareAward() | events.PublishAward():
                    pass


def _assignment_of(state: AuctionState, slot: int) -> Assignment:
    """Return who holds a slot.

    Raises:
        NoWinnerLeft: Nobody does any more.
    """
    if not isinstance(state, Decided):
        assert isinstance(state, Failed)
        what, advice = explain_failure(state)
        raise NoWinnerLeft(what, advice=advice)
    for each in state.assignments:
        if each.terms.slot == slot:
            return each
    raise NoWinnerLeft(f"no standby is left for copy {slot}", advice="the other copies go on")


def _is_made(state: AuctionState, attempt: int, slot: int) -> bool:
    """Tell whether the award of this attempt was made: then asking for it signs nothing that was not signed before."""
    if not isinstance(state, Decided):
        return False
    return any(
        each.terms.slot == slot and each.terms.attempt >= attempt and each.award is not None
        for each in state.assignments
    )
