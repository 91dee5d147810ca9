"""People, offers and whole auctions for tests of the market. Keys are derived from names, so runs repeat."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from protocol.identity import ZERO_DIGEST, Address, Digest
from protocol.market.auction import make_transcript, open_auction, transition
from protocol.market.auction_events import (
    AuctionEffect,
    AwardMade,
    BidHeard,
    CommitmentHeard,
    CommitWindowClosed,
    Opinion,
    PrepareAward,
    PublishAward,
    RevealWindowClosed,
)
from protocol.market.auction_states import AuctionState, Decided, Failed, Revealing
from protocol.market.award import build_award
from protocol.market.messages import OfferAnnouncement
from protocol.market.objects import AuctionFormat, Award, Bid, Commitment, Offer, Roll, SealedBid
from protocol.market.offer import CheckedOffer, check_offer, manifest_digest
from protocol.market.sealing import bid_for, commitment_of
from protocol.market.transcript import Transcript
from protocol.signing.ecdsa import address_of
from protocol.signing.eip712 import Domain, digest
from protocol.signing.keccak import keccak256
from protocol.signing.signed import Signed, sign_struct
from protocol.task.manifest import Blob, Limits, Manifest, Part
from protocol.task.pricing import Rates, rates_digest
from protocol.task.verification import Copies, Trust, Verification, encode_verification, verification_digest
from protocol.units import Amount, BasisPoints, Seconds, UnixTime
from protocol.wire.codec import encode

NOW = 1_800_000_000
DOMAIN = Domain(chain_id=31337, verifying_contract=Address(b"\x11" * 20))
ELSEWHERE = Domain(chain_id=1, verifying_contract=Address(b"\x11" * 20))


def word(name: str) -> Digest:
    return keccak256(name.encode())


def key(name: str) -> bytes:
    return word(f"key of {name}")


def address(name: str) -> Address:
    return address_of(key(name))


TOKEN, RAIL, ARBITER = (Address(bytes([n]) * 20) for n in (2, 3, 4))
RATES = Rates(start=Amount(5), gfuel=Amount(1000), mib_gfuel=Amount(3), mib_in=Amount(10), mib_out=Amount(20))


def policy_for(copies: int) -> Verification:
    return Copies(count=copies) if copies > 1 else Trust()


def make_manifest(parts: int = 1) -> Manifest:
    return Manifest(
        name="count",
        module=Blob(digest=manifest_digest(b"module"), size=6),
        engine=word("engine"),
        limits=Limits(fuel=10**9, memory_mib=16, output_bytes=1024, log_bytes=1024),
        clock=UnixTime(NOW),
        seed=word("seed"),
        args=("count",),
        parts=tuple(Part(args=(str(part),)) for part in range(parts)),
    )


def at(seconds: int) -> UnixTime:
    """Return the time so many seconds into the story."""
    return UnixTime(NOW + seconds)


def make_offer(**changes: Any) -> Offer:
    parts = changes.get("parts", 1)
    offer = Offer(
        requester=address("alice"),
        token=TOKEN,
        rail=RAIL,
        arbiter=ARBITER,
        manifest=manifest_digest(encode(make_manifest(parts if 0 < parts < 100 else 1))),
        engine=word("engine"),
        rates=rates_digest(RATES),
        verification=verification_digest(policy_for(changes.get("copies", 1))),
        format=AuctionFormat.SEALED_SECOND_PRICE,
        parts=1,
        copies=1,
        w_price=BasisPoints(5000),
        w_reputation=BasisPoints(3000),
        w_speed=BasisPoints(2000),
        max_bidders=16,
        split_bps=BasisPoints(5000),
        budget=Amount(400_000),
        bond=Amount(0),
        min_stake=Amount(0),
        liability=Amount(80_000),
        dispute_fee=Amount(50_000),
        max_eta=Seconds(600),
        start_within=Seconds(30),
        pace=Seconds(3600),
        resolve_within=Seconds(7200),
        commit_by=UnixTime(NOW + 10),
        reveal_by=UnixTime(NOW + 20),
        expires=UnixTime(NOW + 1000),
        salt=word("salt"),
    )
    return replace(offer, **changes)


def signed_offer(offer: Offer) -> Signed[Offer]:
    return sign_struct(key("alice"), DOMAIN, offer)


def announcement(offer: Offer, **changes: Any) -> OfferAnnouncement:
    plain = OfferAnnouncement(
        signed=signed_offer(offer),
        manifest=encode(make_manifest(offer.parts)),
        rates=RATES,
        verification=encode_verification(Trust()),
    )
    return replace(plain, **changes)


def checked(offer: Offer) -> CheckedOffer:
    return check_offer(
        DOMAIN,
        signed_offer(offer),
        manifest=encode(make_manifest(offer.parts)),
        rates=RATES,
        verification=encode_verification(policy_for(offer.copies)),
        now=UnixTime(NOW),
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """What one bidder will do."""

    price: int
    eta: int = 300
    reputation: int = 5000
    reveals: bool = True


def sealed_by(offer: Offer, name: str, plan: Plan) -> SealedBid:
    return SealedBid(
        offer=digest(DOMAIN, offer),
        bidder=address(name),
        price=Amount(plan.price),
        eta=Seconds(plan.eta),
        salt=word(f"salt of {name}"),
    )


def commit(offer: Offer, name: str, plan: Plan) -> Signed[Commitment]:
    return sign_struct(key(name), DOMAIN, commitment_of(sealed_by(offer, name, plan)))


def reveal(offer: Offer, name: str, plan: Plan, roll: Digest) -> Signed[Bid]:
    return sign_struct(key(name), DOMAIN, bid_for(sealed_by(offer, name, plan), roll))


@dataclass
class Requester:
    """A requester with its shell: performs the effects, in memory."""

    offer: Offer
    now: int = NOW

    def __post_init__(self) -> None:
        self.state: AuctionState = open_auction(DOMAIN, self.offer)
        self.awards: list[Signed[Award]] = []
        self.silent: list[Address] = []

    def apply(self, event: Any) -> tuple[AuctionEffect, ...]:
        self.state, effects = transition(self.state, event)
        for effect in effects:
            self.perform(effect)
        return effects

    def perform(self, effect: AuctionEffect) -> None:
        if isinstance(effect, PrepareAward):
            award = build_award(
                digest(DOMAIN, self.offer),
                self.offer,
                effect.terms,
                channel=word("channel"),
                audit_seal=ZERO_DIGEST,
                at=UnixTime(self.now),
            )
            self.apply(AwardMade(at=UnixTime(self.now), award=award))
        elif isinstance(effect, PublishAward):
            self.awards.append(sign_struct(key("alice"), DOMAIN, effect.award))

    def close_commits(self, opinions: Mapping[str, int]) -> None:
        self.now = self.offer.commit_by + 1
        given = tuple(Opinion(bidder=address(name), reputation=value) for name, value in opinions.items())
        self.apply(CommitWindowClosed(at=UnixTime(self.now), opinions=given))

    def close_reveals(self) -> None:
        self.now = self.offer.reveal_by + 1
        self.apply(RevealWindowClosed(at=UnixTime(self.now)))

    @property
    def signed_roll(self) -> Signed[Roll] | None:
        state = self.state
        revealing = state if isinstance(state, Revealing) else getattr(state, "revealing", None)
        return None if revealing is None else sign_struct(key("alice"), DOMAIN, revealing.roll)

    def transcript(self) -> Transcript:
        assert isinstance(self.state, (Decided, Failed))
        return make_transcript(
            self.state, offer=signed_offer(self.offer), roll=self.signed_roll, awards=tuple(self.awards)
        )


def run_auction(offer: Offer, plans: Mapping[str, Plan], *, order: Sequence[str] | None = None) -> Requester:
    """Run an honest auction up to its first awards."""
    requester = Requester(offer)
    is_open = offer.format == AuctionFormat.OPEN
    for name in order or list(plans):
        if is_open:
            requester.apply(BidHeard(at=UnixTime(NOW + 1), signed=reveal(offer, name, plans[name], ZERO_DIGEST)))
        else:
            requester.apply(CommitmentHeard(at=UnixTime(NOW + 1), signed=commit(offer, name, plans[name])))
    requester.close_commits({name: plan.reputation for name, plan in plans.items()})
    state = requester.state
    if isinstance(state, Revealing) and not is_open:
        listed = {leaf.bidder for leaf in state.leaves}
        for name, plan in plans.items():
            if plan.reveals and address(name) in listed:
                signed = reveal(offer, name, plan, state.roll_id)
                requester.apply(BidHeard(at=UnixTime(NOW + 12), signed=signed))
    if isinstance(requester.state, Revealing):
        requester.close_reveals()
    return requester
