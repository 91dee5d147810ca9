"""What makes an offer worth reading: the rules of SPEC 2 and 7, and this node's own taste (docs/spec/objects.md).

`check_offer` is the only door: it takes what came over the wire and returns a `CheckedOffer`, whose id, manifest and
rates everything later relies on.
"""

from dataclasses import dataclass
from typing import Final

from blake3 import blake3

from protocol.identity import ZERO_ADDRESS, Address, ContentDigest, Digest
from protocol.market.errors import OfferError
from protocol.market.objects import AuctionFormat, Offer
from protocol.market.roll import MAX_BIDDERS
from protocol.signing.eip712 import Domain
from protocol.signing.signed import Signed, verify_signer
from protocol.stake.terms import asks_for_stake
from protocol.task.manifest import MANIFEST_MAX_BYTES, Manifest
from protocol.task.pricing import Rates, check_rates, rates_digest
from protocol.task.testing import check_testable
from protocol.task.verification import Verification, assess_deterrence, copies_of, decode_verification
from protocol.units import WHOLE, Amount, Seconds, UnixTime, format_amount
from protocol.wire.codec import decode

MAX_TIME: Final = 2**64 - 1


class WeightsNotWhole(OfferError):
    """The three weights do not add up to 10,000."""

    rule = "O4"


class BadShare(OfferError):
    """A share above the whole, 10,000 basis points."""

    rule = "C1"


class UnknownFormat(OfferError):
    """An auction format that this version does not know."""

    rule = "A4"


class BadCount(OfferError):
    """Copies, parts or bidders that no auction can have."""

    rule = "A4"


class NoBudget(OfferError):
    """A budget of nothing: no score can be measured against it."""

    rule = "A2"


class TimesOutOfOrder(OfferError):
    """Times that are not in the order of section 7, or durations of zero."""

    rule = "T1"


class OfferOver(OfferError):
    """An offer that is past the time at which a bidder could still act on it."""

    rule = "C7"


class FeeWithoutCourt(OfferError):
    """A fee for disputes without an arbiter who could earn it."""

    rule = "L3"


class ContentMismatch(OfferError):
    """A manifest or rates beside the offer that are not those it names."""

    rule = "C3"


class ManifestMismatch(OfferError):
    """A manifest of another engine, or of another number of parts, than the offer says."""

    rule = "O2"


class NotToTaste(OfferError):
    """A sound offer that this node does not deal with: another token, contract, or scale."""

    rule = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CourtBounds:
    """What a court asks of the awards that name it: of any other there is no case (docs/spec/law.md, CT1).

    Attributes:
        address: The court.
        least_fee, greatest_fee: Bounds of `disputeFee`.
        min_resolve_within: Least `resolveWithin`, seconds.
    """

    address: Address
    least_fee: Amount
    greatest_fee: Amount
    min_resolve_within: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferTaste:
    """What this node deals with at all.

    Attributes:
        tokens: Currencies.
        rails: Contracts that it accepts payment through.
        arbiters: Arbiters that it trusts; the zero address, no arbiter, among them if it works without.
        min_pace: Least time to claim, dispute and answer (section 7: ten confirmations; one hour on real networks).
        max_life: Longest time from now to the offer's end.
        max_eta: Longest time to deliver.
        stakes: Whether there are stakes on this network: without, nothing that asks for any is read (LK3).
        court: What the court among `arbiters` asks for: an offer that names it and can have no case is not read.
    """

    tokens: frozenset[Address]
    rails: frozenset[Address]
    arbiters: frozenset[Address]
    min_pace: Seconds
    max_life: Seconds
    max_eta: Seconds
    stakes: bool = False
    court: CourtBounds | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedOffer:
    """An offer that `check_offer` found sound, with all that it names.

    Attributes:
        id: The offer's digest.
        signed: The offer with its signature.
        manifest: The task.
        rates: The prices of the bill.
        policy: How results are verified.
        warnings: What a user should know though it is allowed.
    """

    id: Digest
    signed: Signed[Offer]
    manifest: Manifest
    rates: Rates
    policy: Verification
    warnings: tuple[str, ...]

    @property
    def offer(self) -> Offer:
        """The offer itself."""
        return self.signed.value


def manifest_digest(manifest: bytes) -> ContentDigest:
    """Return the name of an encoded manifest."""
    return ContentDigest(blake3(manifest).digest())


def check_offer(
    domain: Domain,
    signed: Signed[Offer],
    *,
    manifest: bytes,
    rates: Rates,
    verification: bytes,
    now: UnixTime,
    taste: OfferTaste | None = None,
) -> CheckedOffer:
    """Check everything about an offer that can be checked before bidding.

    Args:
        domain: The market's domain on this chain.
        signed: The offer.
        manifest: Encoded manifest, as it came with the offer.
        rates: The five rates, likewise.
        verification: Encoded verification policy, likewise.
        now: Unix seconds; a bidder must still be able to act.
        taste: What this node deals with; None to judge by the rules alone (a relay, an archive).

    Raises:
        BadSignature: The requester did not sign it, or did for another chain or contract.
        OfferError: A rule does not hold.
        InvalidManifest, InvalidRates, InvalidVerification, DecodeError: What it names can't be run or billed.
    """
    offer = signed.value
    check_offer_terms(offer)
    check_open(offer, now)
    if taste is not None:
        _check_taste(offer, now, taste)
    offer_id = verify_signer(domain, signed, offer.requester)
    if manifest_digest(manifest) != offer.manifest:
        raise ContentMismatch("the manifest is not the one that the offer names")
    if rates_digest(rates) != offer.rates:
        raise ContentMismatch("the rates are not those that the offer names")
    policy = decode_verification(verification, offer.verification)
    if copies_of(policy) != offer.copies:
        raise BadCount(f"the offer buys {offer.copies} copies, its verification policy compares {copies_of(policy)}")
    decoded = decode(Manifest, manifest, max_bytes=MANIFEST_MAX_BYTES)
    if decoded.engine != offer.engine:
        raise ManifestMismatch("the manifest is for another engine than the offer")
    if len(decoded.parts) != offer.parts:
        raise ManifestMismatch(f"the manifest has {len(decoded.parts)} parts, the offer says {offer.parts}")
    check_rates(rates, decoded)
    check_testable(decoded, policy)
    return CheckedOffer(
        id=offer_id,
        signed=signed,
        manifest=decoded,
        rates=rates,
        policy=policy,
        warnings=_warnings(offer, policy),
    )


def check_offer_terms(offer: Offer) -> None:
    """Check an offer against the rules that its own fields can break; also the requester's check before it signs.

    Raises:
        OfferError: Naming the first rule that does not hold.
    """
    if offer.format not in tuple(AuctionFormat):
        raise UnknownFormat(f"format {offer.format} is not known here")
    weights = offer.w_price + offer.w_reputation + offer.w_speed
    if weights != WHOLE:
        raise WeightsNotWhole(f"the weights add up to {weights}, not to {WHOLE}")
    if offer.split_bps > WHOLE:
        raise BadShare(f"split_bps is {offer.split_bps}, above {WHOLE}")
    if offer.budget == 0:
        raise NoBudget("the budget is zero", advice="set a budget above what the cheapest provider would ask")
    _check_counts(offer)
    _check_times(offer)
    if offer.arbiter == ZERO_ADDRESS and offer.dispute_fee:
        raise FeeWithoutCourt("a dispute fee needs an arbiter")


def check_open(offer: Offer, now: UnixTime) -> None:
    """Check that a bidder can still act on an offer: commit, or be hired (C7).

    Raises:
        OfferOver: It is too late.
    """
    direct = offer.format == AuctionFormat.DIRECT
    until = offer.expires if direct else offer.commit_by
    if now > until:
        raise OfferOver(f"the last second to {'hire' if direct else 'bid'} was {until}, it is {now}")


def _check_counts(offer: Offer) -> None:
    if offer.parts < 1:
        raise BadCount("a task has at least one part")
    if offer.copies < 1:
        raise BadCount("at least one copy must be bought")
    if not 1 <= offer.max_bidders <= MAX_BIDDERS:
        raise BadCount(f"max_bidders is {offer.max_bidders}, must be 1 to {MAX_BIDDERS}")
    if offer.copies > offer.max_bidders:
        raise BadCount(f"{offer.copies} copies can't go to {offer.max_bidders} bidders")
    if offer.format == AuctionFormat.DIRECT and offer.copies != 1:
        raise BadCount("a direct hire is of one provider")


def _check_times(offer: Offer) -> None:
    if not offer.commit_by < offer.reveal_by < offer.expires:
        raise TimesOutOfOrder("commit_by < reveal_by < expires must hold")
    for name in ("max_eta", "start_within", "pace", "resolve_within"):
        if getattr(offer, name) < 1:
            raise TimesOutOfOrder(f"{name} is zero; it must be at least one second")
    # The last time that can follow (section 7): an appeal against a claim at the end of the last award. All of them
    # must fit uint64, in Python as in a contract.
    span = offer.start_within + offer.max_eta + 3 * offer.pace + offer.resolve_within
    if offer.expires + span > MAX_TIME:
        raise TimesOutOfOrder("the deadlines that follow from the offer do not fit uint64")


def _check_taste(offer: Offer, now: UnixTime, taste: OfferTaste) -> None:
    if offer.token not in taste.tokens:
        raise NotToTaste("the offer pays in a token that this node does not take")
    if offer.rail not in taste.rails:
        raise NotToTaste("the offer pays through a contract that this node does not know")
    if offer.arbiter not in taste.arbiters:
        raise NotToTaste("the offer names an arbiter that this node does not trust")
    if offer.pace < taste.min_pace:
        raise NotToTaste(f"pace is {offer.pace} s, this node needs {taste.min_pace} to act on the chain")
    if offer.expires - now > taste.max_life:
        raise NotToTaste(f"the offer ends in {offer.expires - now} s, this node looks ahead {taste.max_life}")
    if asks_for_stake(offer) and not taste.stakes:
        raise NotToTaste("the offer asks for stake, and this node knows no contract for stakes")
    if offer.max_eta > taste.max_eta:
        raise NotToTaste(f"max_eta is {offer.max_eta} s, this node accepts {taste.max_eta}")
    if taste.court is not None and offer.arbiter == taste.court.address:
        _check_court(offer, taste.court)


def _check_court(offer: Offer, court: CourtBounds) -> None:
    """Check that a case could be opened: an arbiter that can't judge enforces no hold, and is none.

    A claim that was disputed leaves its provider what the escrow waits beyond the court's least: a pace, as everywhere.
    Without it a requester disputes, stays away from court, and has half of the price back (M8, PT11).
    """
    if not court.least_fee <= offer.dispute_fee <= court.greatest_fee:
        bounds = f"{format_amount(court.least_fee)} to {format_amount(court.greatest_fee)}"
        raise NotToTaste(
            f"the dispute fee is {format_amount(offer.dispute_fee)}, the court that is named takes {bounds}"
        )
    if not has_court_size(offer.budget, offer.parts, offer.dispute_fee):
        raise NotToTaste("a part costs less than a dispute, and the offer names a court all the same (L4)")
    least = court.min_resolve_within + offer.pace
    if offer.resolve_within < least:
        raise NotToTaste(
            f"resolve_within is {offer.resolve_within} s, the court that is named needs {least}:"
            f" {court.min_resolve_within} to judge, and a pace to go there"
        )


def has_court_size(budget: Amount, parts: int, dispute_fee: Amount) -> bool:
    """Tell whether a task is worth a court: its cheapest part costs as much as a dispute at the whole budget (L4)."""
    return budget // parts >= dispute_fee


def _warnings(offer: Offer, policy: Verification) -> tuple[str, ...]:
    warnings: list[str] = []
    part = offer.budget // offer.parts
    if offer.arbiter == ZERO_ADDRESS:
        warnings.append("no arbiter: what is disputed is split between the two sides (M8)")
    elif part < offer.dispute_fee:
        fee = format_amount(offer.dispute_fee)
        warnings.append(f"no court: a part costs at most {format_amount(part)}, a dispute {fee} (L4)")
    deterrence = assess_deterrence(policy, price=offer.budget, liability=offer.liability, budget=offer.budget)
    if not deterrence.deters:
        warnings.append(f"cheating may pay: {deterrence.reason} (L5)")
    return tuple(warnings)
