"""The market's conversation: what is heard is judged before it is relayed, remembered, and handed to whom it concerns.

Every message may come by gossip or straight from its author; both ways lead through the same checks.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final, Protocol

import structlog
import trio

from node.market.ports import Stakes
from node.operations.clock import Clock
from protocol.errors import ProtocolError, TransientError
from protocol.identity import Address, Digest, PeerId
from protocol.market import observer, observer_states
from protocol.market.evidence import Conflict
from protocol.market.messages import (
    LARGEST,
    AwardAnnouncement,
    BidAnnouncement,
    CommitmentAnnouncement,
    ConflictAnnouncement,
    MarketMessage,
    NotRelayed,
    OfferAnnouncement,
    ProtestAnnouncement,
    RollAnnouncement,
    UnknownOffer,
    encode_message,
    read_message,
    topic_of,
    validate,
)
from protocol.market.observer import ObserverFull, heard_of, known_auction
from protocol.market.observer_states import ObserverState
from protocol.market.transcript import Heard, Transcript
from protocol.signing.eip712 import Domain, digest
from protocol.stake.terms import least_stake
from protocol.units import UnixTime
from protocol.wire.codec import UnknownKind
from protocol.wire.topics import MarketTopic, topic_name

log = structlog.stdlib.get_logger(__name__)

MESSAGE_METHOD: Final = "market/message"
TIDY_EVERY_S: Final = 60.0
RETELL_S: Final = 0.5
PROTESTS_KEPT: Final = 64
OMITTED_LOOKED_UP: Final = 64
"""Bidders left out of one roll whose stakes are looked up: a requester could have made up hundreds."""
EARLY_KEPT: Final = 256
PASSED_ON_EVERY_S: Final = 0.2
"""Early messages that are passed on take a part of what this node may publish, so that a flood leaves it room."""
"""Messages of at most 512 bytes, for the moments until what they are about arrives."""

Listener = Callable[[MarketMessage], Awaitable[None]]


class GossipPeers(Protocol):
    """The network, as far as the conversation needs it."""

    async def publish(self, topic: str, data: bytes) -> None:
        """Gossip a message of our own."""
        ...

    def subscribe(
        self, topic: str, *, judge: Callable[[bytes], bool], deliver: Callable[[bytes], Awaitable[None]]
    ) -> None:
        """Take part in a topic. `judge` returns whether to relay, and raises ProtocolError on a sender's fault."""
        ...

    def serve(self, method: str, handler: Callable[[PeerId, bytes], Awaitable[bytes]], *, max_request: int) -> None:
        """Answer requests of other nodes."""
        ...

    async def call(self, wallet: Address, method: str, body: bytes) -> bytes:
        """Ask a node something."""
        ...


class MarketGossip:
    """What this node says and hears of auctions."""

    def __init__(
        self, domain: Domain, wallet: Address, peers: GossipPeers, clock: Clock, stakes: Stakes | None = None
    ) -> None:
        """Take part as the node of `wallet`; without `stakes` no protest about an offer that asks for any counts."""
        self._stakes = stakes
        self._domain, self._wallet, self._peers, self._clock = domain, wallet, peers, clock
        self._observed = ObserverState(domain=domain)
        self._listeners: list[Listener] = []
        self._misconduct = trio.Event()
        self._early: dict[bytes, MarketTopic] = {}
        """Commitments and bids that overtook their offer or roll: gossip brings each message only once."""
        self._protests_send, self._protests = trio.open_memory_channel[ProtestAnnouncement](PROTESTS_KEPT)
        self._ripe_send, self._ripe = trio.open_memory_channel[tuple[MarketTopic, bytes]](EARLY_KEPT)

    @property
    def observed(self) -> ObserverState:
        """Everything that was heard and is still kept."""
        return self._observed

    def heard_of(self, offer_id: Digest) -> Heard:
        """Return what was heard of one auction."""
        return heard_of(self._observed, offer_id)

    async def heard_against(self, transcript: Transcript) -> Heard:
        """Return what was heard of an auction, without commitments that were rightly left out for want of stake (LK8).

        Of a bidder whose stake can't be looked up nothing is held against the requester.
        """
        offer = transcript.offer.value
        heard, needed = heard_of(self._observed, digest(self._domain, offer)), least_stake(offer)
        if not needed:
            return heard
        in_roll = {leaf.bidder for leaf in transcript.leaves}
        omitted = [bidder for bidder in heard.commitments if bidder not in in_roll][:OMITTED_LOOKED_UP]
        backed = in_roll | {bidder for bidder in omitted if await self._has_stake(bidder, needed)}
        kept = {bidder: each for bidder, each in heard.commitments.items() if bidder in backed}
        return replace(heard, commitments=kept)

    async def _has_stake(self, bidder: Address, needed: int) -> bool:
        """Tell whether a bidder certainly has so much free stake."""
        if self._stakes is None:
            return False
        try:
            return await self._stakes.free_of(bidder) >= needed
        except TransientError as error:
            log.info("market.stake_unknown", reason=str(error))
            return False

    def proof_against(self, culprit: Address) -> Conflict | None:
        """Return a proof of a fault of `culprit`, if one is known."""
        return observer.proof_against(self._observed, culprit)

    def strikes_of(self, requester: Address) -> int:
        """Return in how many auctions this node holds a requester to an omission, however faded."""
        return observer.strikes_of(self._observed, requester)

    def is_refused(self, requester: Address) -> bool:
        """Tell whether this node bids on nothing of a requester, since it left others out (A6b)."""
        return observer.is_refused(self._observed, requester, self._clock.now())

    def recall_proof(self, conflict: Conflict) -> None:
        """Hold a proof again that was kept before a restart."""
        self._note(observer_states.ConflictSeen(at=self._clock.now(), conflict=conflict))

    def recall_strike(self, requester: Address, strike: observer_states.Strike) -> None:
        """Hold an omission again that was kept before a restart."""
        self._note(observer_states.StrikeRecalled(requester=requester, strike=strike))

    def next_misconduct(self) -> trio.Event:
        """Return the event of the next proof or strike. Ask first, look second, wait third."""
        return self._misconduct

    def listen(self, listener: Listener) -> None:
        """Hand every sound message of others to `listener`, one at a time."""
        self._listeners.append(listener)

    def join(self) -> None:
        """Take part in all topics, and answer direct messages."""
        for topic in MarketTopic:
            self._peers.subscribe(
                topic_name(self._domain, topic),
                judge=lambda data, topic=topic: self._judge(topic, data),
                deliver=self._deliver,
            )
        self._peers.serve(MESSAGE_METHOD, self._answer, max_request=LARGEST)

    async def tidy(self) -> None:
        """Forget auctions that are long over, for ever."""
        while True:
            await self._clock.sleep(TIDY_EVERY_S)
            self._note(observer_states.TimePassed(at=self._clock.now()))

    async def pass_on_early(self) -> None:
        """Judge again what came before its offer or roll, and gossip what is sound, for ever.

        Nobody relays what it can't judge. So a message that reached only peers who did not know its offer yet would
        go no further, and they alone would hold it against the requester that they have heard it.
        """
        async for topic, data in self._ripe:
            try:
                is_sound = self._judge(topic, data)
            except ProtocolError as error:  # its sender was believed when it came; too late to tell who that was
                log.debug("market.early_message_broken", topic=topic.value.label, reason=str(error))
                continue
            if is_sound:
                await self._peers.publish(topic_name(self._domain, topic), data)
                await self._clock.sleep(PASSED_ON_EVERY_S)

    async def weigh_protests(self) -> None:
        """Hold protests about offers that ask for stake against their requesters if the bidder has it, for ever.

        A requester leaves out who has too little (LK8). Who sends a protest then has nobody to blame.
        """
        async for message in self._protests:
            bid, auction = message.signed.value, known_auction(self._observed, message.signed.value.offer)
            if auction is None:
                continue
            if await self._has_stake(bid.bidder, least_stake(auction.signed_offer.value)):
                self._note(_seen(message, self._clock.now()))
            else:
                log.info("market.protest_without_stake", offer=bid.offer.hex())

    def follow(self, announcement: OfferAnnouncement, *, own: bool) -> None:
        """Follow an auction that this node opened (`own`) or bid in: after a restart nothing of it is remembered.

        One that it bid in makes room for newer ones like any other that was heard.
        """
        self._observe_own(announcement, own=own)

    async def publish(self, message: MarketMessage) -> None:
        """Gossip a message of our own, and remember it like any other.

        But for what a bidder says: that it was said is no proof that anyone heard it in time, so it counts as heard
        once the requester has answered it. Or a bidder on a slow line would hold its own lateness against others.
        """
        if not isinstance(message, CommitmentAnnouncement | BidAnnouncement):
            self._observe_own(message)
        await self._peers.publish(topic_name(self._domain, topic_of(message)), encode_message(message))

    async def tell_all(self, wallets: list[Address], message: MarketMessage) -> None:
        """Send a message straight to some nodes as well: a window may be shorter than a gossip heartbeat."""
        async with trio.open_nursery() as nursery:
            for wallet in wallets:
                nursery.start_soon(self._tell, wallet, message)

    async def insist(self, wallet: Address, message: MarketMessage, by: UnixTime) -> None:
        """Send a message straight to a node, again while it can't be reached, to the end of the second `by` (C7).

        A bid whose requester is starting again must find it: a requester that signs without a bid which its peers
        heard is held to have left it out.
        """
        while not await self._tell(wallet, message) and self._clock.unix_time() + RETELL_S < by + 1:
            await self._clock.sleep(RETELL_S)

    def note_failed_verification(self, offer_id: Digest) -> None:
        """Hold a transcript that failed against its requester."""
        self._note(observer_states.VerificationFailed(at=self._clock.now(), offer_id=offer_id))

    async def _tell(self, wallet: Address, message: MarketMessage) -> bool:
        """Tell whether the node has answered, if only to refuse."""
        try:
            await self._peers.call(wallet, MESSAGE_METHOD, encode_message(message))
        except TransientError as error:
            log.info("market.not_told", reason=str(error))
            return False
        except ProtocolError as error:
            log.info("market.refused", reason=str(error))
        else:
            self._observe_own(message)
        return True

    def _judge(self, topic: MarketTopic, data: bytes) -> bool:
        """Judge and remember at once, so that a bid that follows on the heels of its roll finds the roll known."""
        try:
            self._observe(self._validate(topic, data))
        except (NotRelayed, ObserverFull, UnknownKind) as error:  # W8: a newer peer's message is nobody's fault
            if isinstance(error, UnknownOffer):
                self._keep_early(topic, data)
            log.debug("market.not_relayed", topic=topic.value.label, reason=str(error))
            return False
        return True

    def _keep_early(self, topic: MarketTopic, data: bytes) -> None:
        """Keep a message that came before what it is about; the oldest goes when there are too many."""
        if topic in (MarketTopic.COMMITMENTS, MarketTopic.BIDS):
            self._early[data] = topic
            if len(self._early) > EARLY_KEPT:
                del self._early[next(iter(self._early))]

    def _hear_early(self, offer_id: Digest) -> None:
        """Let what came before this offer or its roll be judged again."""
        for data, topic in list(self._early.items()):
            message = read_message(data)
            if isinstance(message, CommitmentAnnouncement | BidAnnouncement) and message.signed.value.offer == offer_id:
                del self._early[data]
                with suppress(trio.WouldBlock):
                    self._ripe_send.send_nowait((topic, data))

    def _validate(self, topic: MarketTopic, data: bytes) -> MarketMessage:
        return validate(
            self._domain,
            topic,
            data,
            now=self._clock.now(),
            find_auction=lambda offer_id: known_auction(self._observed, offer_id),
        )

    async def _deliver(self, data: bytes) -> None:
        await self._dispatch(read_message(data))

    async def _answer(self, _peer: PeerId, data: bytes) -> bytes:
        topic = topic_of(read_message(data))
        message = self._validate(topic, data)
        if isinstance(message, CommitmentAnnouncement | BidAnnouncement):
            self._check_is_for_us(message.signed.value.offer)
        self._observe(message)
        await self._dispatch(message)
        return b""

    def _check_is_for_us(self, offer_id: Digest) -> None:
        """Take commitments and bids straight only to our own auctions: what is told to one peer alone, others miss.

        Raises:
            UnknownOffer: The auction is another's. By gossip it reaches us and its requester.
        """
        auction = known_auction(self._observed, offer_id)
        if auction is None or auction.signed_offer.value.requester != self._wallet:
            raise UnknownOffer("this auction is another's: tell its requester, and gossip")

    async def _dispatch(self, message: MarketMessage) -> None:
        for listener in self._listeners:
            await listener(message)

    def _observe_own(self, message: MarketMessage, *, own: bool = True) -> None:
        """Remember our own message if there is room; that there is none must not keep us from saying it."""
        try:
            self._note(_seen(message, self._clock.now(), own=own))
        except (NotRelayed, ObserverFull) as error:
            log.info("market.own_message_not_kept", kind=type(message).__name__, reason=str(error))

    def _observe(self, message: MarketMessage) -> None:
        if isinstance(message, ProtestAnnouncement) and self._needs_weighing(message):
            with suppress(trio.WouldBlock):  # so many at once are no honest bidders'
                self._protests_send.send_nowait(message)
            return
        self._note(_seen(message, self._clock.now()))
        match message:
            case OfferAnnouncement(signed=signed):
                self._hear_early(digest(self._domain, signed.value))
            case RollAnnouncement(signed=signed):
                self._hear_early(signed.value.offer)
            case _:
                pass

    def _needs_weighing(self, message: ProtestAnnouncement) -> bool:
        """Tell whether a protest would count, and the bidder's stake may be why it was left out of the roll."""
        auction = known_auction(self._observed, message.signed.value.offer)
        if auction is None or not least_stake(auction.signed_offer.value):
            return False
        if any(leaf.bidder == message.signed.value.bidder for leaf in auction.leaves):
            return False
        after, _ = observer.transition(self._observed, _seen(message, self._clock.now()))
        return after.strikes is not self._observed.strikes

    def _note(self, event: observer_states.ObserverEvent) -> None:
        before = self._observed
        self._observed, effects = observer.transition(before, event)
        if self._observed.proofs is not before.proofs or self._observed.strikes is not before.strikes:
            news, self._misconduct = self._misconduct, trio.Event()
            news.set()
        for effect in effects:
            # Whoever heard both halves has the proof as well, so it is only kept here; the parties publish it.
            log.warning("market.conflict_found", conflict=type(effect.conflict).__name__)


def _seen(message: MarketMessage, at: UnixTime, *, own: bool = False) -> observer_states.ObserverEvent:
    match message:
        case OfferAnnouncement(signed=signed):
            return observer_states.OfferSeen(at=at, signed=signed, own=own)
        case CommitmentAnnouncement(signed=signed):
            return observer_states.CommitmentSeen(at=at, signed=signed)
        case RollAnnouncement(signed=signed, leaves=leaves):
            return observer_states.RollSeen(at=at, signed=signed, leaves=leaves)
        case BidAnnouncement(signed=signed):
            return observer_states.BidSeen(at=at, signed=signed)
        case AwardAnnouncement(signed=signed, bid_ids=bid_ids):
            return observer_states.AwardSeen(at=at, signed=signed, bid_ids=bid_ids)
        case ProtestAnnouncement(signed=signed):
            return observer_states.ProtestSeen(at=at, signed=signed)
        case ConflictAnnouncement(conflict=conflict):
            return observer_states.ConflictSeen(at=at, conflict=conflict)
