"""One auction at one of its bidders: the shell of `protocol.market.bidding`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from node.market.gossip import MarketGossip
from node.market.ports import Signing
from node.operations.clock import Clock
from node.storage.machine_log import Machine, MachineLog
from protocol.identity import Digest
from protocol.market.bidding import open_sealed_bidding, open_visible_bidding, outstanding, transition
from protocol.market.bidding_states import (
    AwardHeard,
    BiddingEffect,
    BiddingEvent,
    BiddingState,
    CheckTranscript,
    PublishBid,
    PublishCommitment,
    PublishProof,
    PublishProtest,
    Revealed,
    RollHeard,
    Won,
)
from protocol.market.messages import (
    BidAnnouncement,
    CommitmentAnnouncement,
    ConflictAnnouncement,
    MarketMessage,
    OfferAnnouncement,
    ProtestAnnouncement,
    RollAnnouncement,
)
from protocol.market.objects import AuctionFormat, Award, Bid
from protocol.market.offer import CheckedOffer, check_offer
from protocol.market.sealing import opened
from protocol.signing.eip712 import Domain
from protocol.signing.signed import Signed
from protocol.units import UnixTime

log = structlog.stdlib.get_logger(__name__)

REPEATS: Final = 3
"""How often a commitment or a bid is told again to a requester that asks again: it may have been restarting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BiddingContext:
    """What a bidder's part in an auction begins with; the first record of its stream.

    Attributes:
        announcement: The offer as it was heard.
        bid: The decision; `roll` is zero until the roll is known.
        at: When it was taken.
    """

    announcement: OfferAnnouncement
    bid: Bid
    at: UnixTime


BiddingLog = MachineLog[BiddingContext, BiddingState, BiddingEvent, BiddingEffect]


def bidding_machine(domain: Domain) -> Machine[BiddingContext, BiddingState, BiddingEvent, BiddingEffect]:
    """Return the machine of bids under `domain`."""

    def begin(context: BiddingContext) -> BiddingState:
        checked = check_announced(domain, context.announcement, context.at)
        if checked.offer.format == AuctionFormat.OPEN:
            return open_visible_bidding(domain, checked, context.bid, context.at)
        return open_sealed_bidding(domain, checked, opened(context.bid), context.at)

    return Machine(context=BiddingContext, events=BiddingEvent, begin=begin, transition=transition)


def check_announced(domain: Domain, announcement: OfferAnnouncement, now: UnixTime) -> CheckedOffer:
    """Check an announcement by the rules alone."""
    return check_offer(
        domain,
        announcement.signed,
        manifest=announcement.manifest,
        rates=announcement.rates,
        verification=announcement.verification,
        now=now,
    )


def stream_of(offer_id: Digest) -> str:
    """Return the journal stream of a bidder's part in an auction."""
    return f"bidding/{offer_id.hex()}"


def _unobserved(_before: BiddingState | None, _after: BiddingState) -> None:
    """Nobody watches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BidderRoom:
    """What every bid of this node works with.

    Attributes:
        on_step: Told of each state once it is durable, with the one before it; None before a bid that is new.
    """

    signing: Signing
    gossip: MarketGossip
    clock: Clock
    on_step: Callable[[BiddingState | None, BiddingState], None] = _unobserved


class BiddingRun:
    """A bidder's part in one auction. Events come one at a time, from the service that owns it."""

    def __init__(self, room: BidderRoom, machine: BiddingLog) -> None:
        self._room, self._machine = room, machine
        self.context: Final = machine.context
        self.offer_id: Final = machine.state.terms.offer_id
        self._repeats_left = REPEATS
        self._told = machine.state

    @property
    def state(self) -> BiddingState:
        """Where it stands."""
        return self._machine.state

    async def begin(self) -> None:
        """Say what the state still has to say: after it was opened, and again after a restart."""
        await self._perform_all(outstanding(self._machine.state))

    async def close(self) -> None:
        """Note that the auction is over for this bidder."""
        await self._machine.close()

    async def say_again(self) -> None:
        """Tell the requester once more what it should have heard. Its offer or roll came again, so it may not have."""
        if not self._repeats_left:
            return
        self._repeats_left -= 1
        for effect in outstanding(self._machine.state):
            message = self._message_of(effect)
            if message is not None:
                await self._room.gossip.tell_all([self.context.announcement.signed.value.requester], message)

    async def hear_roll(self, announcement: RollAnnouncement) -> None:
        """Take a roll; reveals if this bidder stands in it.

        Raises:
            ProtocolError: It does not hold together.
        """
        before = self._machine.state
        event = RollHeard(at=self._room.clock.now(), signed=announcement.signed, leaves=announcement.leaves)
        await self._apply(event)
        if isinstance(before, Revealed) and self._machine.state == before:
            await self.say_again()

    async def hear_award(self, award: Signed[Award], bid_ids: tuple[Digest, ...]) -> bool:
        """Take an award; tell whether it is ours.

        Raises:
            ProtocolError: It does not follow from what was heard before.
        """
        await self._apply(AwardHeard(at=self._room.clock.now(), signed=award, bid_ids=bid_ids))
        state = self._machine.state
        return isinstance(state, Won) and state.award.value == award.value

    async def _apply(self, event: BiddingEvent) -> None:
        effects = await self._machine.apply(event)
        # Two events may be on their way at once: what was told last, not what was seen before waiting, is the step.
        before, self._told = self._told, self._machine.state
        self._room.on_step(before, self._told)
        await self._perform_all(effects)

    async def _perform_all(self, effects: tuple[BiddingEffect, ...]) -> None:
        sign, offer = self._room.signing.sign, self.context.announcement.signed.value
        for effect in effects:
            match effect:
                case PublishCommitment() | PublishBid():
                    message = self._message_of(effect)
                    assert message is not None
                    by = offer.commit_by if isinstance(effect, PublishCommitment) else offer.reveal_by
                    await self._say(message, by)
                case PublishProtest(bid=bid):
                    await self._room.gossip.publish(ProtestAnnouncement(signed=sign(bid)))
                case PublishProof(conflict=conflict):
                    log.warning("bidding.requester_cheated", offer=self.offer_id.hex())
                    await self._room.gossip.publish(ConflictAnnouncement(conflict=conflict))
                case CheckTranscript():
                    pass  # the transcript comes with the award notice, which the provider checks before it works

    def _message_of(self, effect: BiddingEffect) -> MarketMessage | None:
        match effect:
            case PublishCommitment(commitment=commitment):
                return CommitmentAnnouncement(signed=self._room.signing.sign(commitment))
            case PublishBid(bid=bid):
                return BidAnnouncement(signed=self._room.signing.sign(bid))
            case _:
                return None

    async def _say(self, message: MarketMessage, by: UnixTime) -> None:
        await self._room.gossip.publish(message)
        await self._room.gossip.insist(self.context.announcement.signed.value.requester, message, by)
