"""A purchase walked through step by step, with real awards and prices."""

from collections.abc import Sequence
from typing import Any

from protocol.identity import Address, ContentDigest
from protocol.market.award import AwardTerms, build_award
from protocol.market.objects import Award, Offer
from protocol.market.scoring import Candidate, candidate_of, place_standby, rank
from protocol.market.sealing import bid_for
from protocol.signing.eip712 import digest
from protocol.signing.signed import Signed, sign_struct
from protocol.task.objects import Receipt, Start
from protocol.task.purchase import Event, PartReceived, RailFunded, Started, WinnerChosen, transition
from protocol.task.purchase_states import Progress, Seeking, State
from protocol.units import Amount, UnixTime
from protocol.wire.codec import decode_as, encode
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
