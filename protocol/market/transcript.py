"""The transcript of an auction, and its verification by anyone (docs/spec/auction.md, A2 and A6).

Theory. The winner is a function of the signed offer, roll and bids, so a verifier trusts nobody: it checks every
signature, computes the winners and their prices again, and compares them with the awards. What a transcript can't show
is what it leaves out. There the verifier's own ears help: `Heard` holds what this peer heard of the auction itself, and
a transcript that leaves out a commitment or a bid which this peer heard in time, or contradicts a roll or an award that
it heard, fails. Another peer that heard less may find the same transcript sound: omission is each peer's own knowledge,
never proof to others. Contradiction is proof, and comes with the `Conflict` that shows it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Final

from protocol.identity import ZERO_DIGEST, Address, Digest, format_address
from protocol.market.award import bids_root, check_award, sorted_bid_ids
from protocol.market.errors import BidError, RuleBroken, WrongOffer
from protocol.market.evidence import Conflict, TwoAwards, TwoCommitments, TwoRolls, is_proved_by
from protocol.market.objects import AuctionFormat, Award, Bid, Commitment, Offer, Roll, RollLeaf
from protocol.market.offer import check_offer_terms
from protocol.market.roll import MAX_BIDDERS, check_roll
from protocol.market.scoring import (
    Candidate,
    NoCandidates,
    Placement,
    candidate_of,
    place,
    place_standby,
    rank,
    remaining_price,
)
from protocol.market.sealing import committed_by
from protocol.market.transcript_errors import (
    BidNotInRoll,
    BidsMismatch,
    MissingAward,
    OmittedBid,
    OmittedCommitment,
    RepeatedPart,
    RequesterConflict,
    RollDiffers,
    TwoBidsOfOne,
    UncountableBid,
    WrongEtaAwarded,
    WrongPrice,
    WrongWinner,
)
from protocol.signing.ecdsa import BadSignature
from protocol.signing.eip712 import Domain, digest
from protocol.signing.signed import Signed, verify_signer
from protocol.units import UnixTime
from protocol.wire.codec import MaxLen

TRANSCRIPT_MAX_BYTES: Final = 512 * 1024
"""Enough for 256 bidders, each with commitment, bid and award."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """Everything that an auction's outcome follows from.

    Attributes:
        offer: The offer.
        roll: The roll; None for a direct hire.
        leaves: The leaves under the roll, in their order.
        commitments: Those that the leaves name. Needed only to show that a full roll is full of real bidders.
        bids: The bids under the award, any order.
        awards: All awards so far, any order.
        excuses: Proofs against bidders that were left out because they committed twice.
    """

    offer: Signed[Offer]
    roll: Signed[Roll] | None
    leaves: Annotated[tuple[RollLeaf, ...], MaxLen(MAX_BIDDERS)] = ()
    commitments: Annotated[tuple[Signed[Commitment], ...], MaxLen(MAX_BIDDERS)] = ()
    bids: Annotated[tuple[Signed[Bid], ...], MaxLen(MAX_BIDDERS)] = ()
    awards: Annotated[tuple[Signed[Award], ...], MaxLen(2 * MAX_BIDDERS)]
    excuses: Annotated[tuple[TwoCommitments, ...], MaxLen(MAX_BIDDERS)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HeardCommitment:
    """A commitment and when this peer first heard it."""

    signed: Signed[Commitment]
    at: UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class HeardBid:
    """A bid and when this peer first heard it."""

    signed: Signed[Bid]
    at: UnixTime


def _nobody() -> Mapping[Address, HeardCommitment]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What this peer heard of one auction itself, every signature checked. Times are unix seconds of its own clock."""

    commitments: Mapping[Address, HeardCommitment] = field(default_factory=_nobody)
    bids: tuple[HeardBid, ...] = ()
    rolls: tuple[Signed[Roll], ...] = ()
    awards: tuple[Signed[Award], ...] = ()
    conflicts: tuple[Conflict, ...] = ()


HEARD_NOTHING: Final = Heard()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """An auction whose awards follow from its transcript.

    Attributes:
        offer_id: Digest of the offer.
        roll_id: Digest of the roll; zero for a direct hire.
        ranked: Every bid that counts, best first.
        initial: The winners of the first attempt with their prices of the whole task, by slot.
        awards: The awards, by (attempt, slot).
        silent: Bidders of the roll without a bid that counts.
    """

    offer_id: Digest
    roll_id: Digest
    ranked: tuple[Candidate, ...]
    initial: tuple[Placement, ...]
    awards: tuple[Award, ...]
    silent: tuple[Address, ...]


def verify_transcript(domain: Domain, transcript: Transcript, heard: Heard = HEARD_NOTHING) -> Verified:
    """Compute the auction again from its signed messages.

    Args:
        domain: The market's domain on this chain.
        transcript: What the requester, or anyone else, says happened.
        heard: What this peer heard itself.

    Raises:
        BadSignature: A signature is not of whom it must be.
        RuleBroken: The rule that does not hold, `TranscriptError` if the messages are sound each by itself.
    """
    offer = transcript.offer.value
    offer_id = verify_signer(domain, transcript.offer, offer.requester)
    check_offer_terms(offer)
    awards = _check_awards(domain, offer_id, transcript, heard)
    if offer.format == AuctionFormat.DIRECT:
        return _verify_direct(offer_id, transcript, awards)
    if transcript.roll is None:
        raise RollDiffers("an auction's transcript shows its roll")
    roll_id = check_roll(domain, offer_id, offer, transcript.roll, transcript.leaves)
    _check_rolls_heard(domain, transcript, transcript.roll, heard)
    candidates = _check_bids(domain, offer_id, roll_id, transcript)
    _check_omissions(domain, roll_id, transcript, heard)
    root = bids_root(sorted_bid_ids(domain, [candidate.bid for candidate in candidates]))
    for award in awards:
        if award.roll != roll_id:
            raise RollDiffers("an award names another roll")
        if award.bids != root:
            raise BidsMismatch("the bids shown are not those under the award's root: some are missing or added")
    ranked = rank(roll_id, candidates)
    initial = _replay(offer, ranked, awards)
    revealed = {candidate.bid.bidder for candidate in ranked}
    return Verified(
        offer_id=offer_id,
        roll_id=roll_id,
        ranked=ranked,
        initial=initial,
        awards=awards,
        silent=tuple(leaf.bidder for leaf in transcript.leaves if leaf.bidder not in revealed),
    )


def check_bid(
    domain: Domain, offer_id: Digest, offer: Offer, roll_id: Digest, leaf: RollLeaf, signed: Signed[Bid]
) -> Candidate:
    """Check one bid against its leaf of the roll, and return it with its score.

    In the open format a bid names no roll, and the leaf names the bid itself (A4).

    Raises:
        WrongOffer, BidNotInRoll: It is for another offer or roll, or not what the leaf's bidder committed to.
        BadSignature: The bidder did not sign it.
        BidError: It lies outside the offer.
    """
    bid = signed.value
    if bid.offer != offer_id:
        raise WrongOffer("the bid names another offer")
    is_open = offer.format == AuctionFormat.OPEN
    if bid.roll != (ZERO_DIGEST if is_open else roll_id):
        raise BidNotInRoll("the bid was revealed to another roll")
    bid_id = verify_signer(domain, signed, leaf.bidder)
    if bid.bidder != leaf.bidder or leaf.commitment != (bid_id if is_open else committed_by(domain, bid)):
        raise BidNotInRoll(f"the bid of {format_address(bid.bidder)} is not the one that the roll names")
    return candidate_of(offer, bid, leaf.reputation)


def _check_awards(domain: Domain, offer_id: Digest, transcript: Transcript, heard: Heard) -> tuple[Award, ...]:
    """Check each award by itself and against each other, and return them by (attempt, slot)."""
    if not transcript.awards:
        raise MissingAward("the transcript shows no award")
    known: dict[tuple[int, int], Signed[Award]] = {}
    for signed in transcript.awards:
        check_award(domain, offer_id, transcript.offer.value, signed)
        _note_award(transcript.offer, known, signed)
    ours = tuple(known[key].value for key in sorted(known))
    for signed in heard.awards:
        if signed.value.offer == offer_id:
            _note_award(transcript.offer, known, signed)
    return ours


def _note_award(offer: Signed[Offer], known: dict[tuple[int, int], Signed[Award]], signed: Signed[Award]) -> None:
    key = (signed.value.attempt, signed.value.slot)
    other = known.setdefault(key, signed)
    if other.value != signed.value:
        raise RequesterConflict(
            f"the requester signed two awards for slot {key[1]}, attempt {key[0]}",
            TwoAwards(offer=offer, first=other, second=signed),
        )


def _verify_direct(offer_id: Digest, transcript: Transcript, awards: tuple[Award, ...]) -> Verified:
    if transcript.roll is not None or transcript.leaves or transcript.bids:
        raise RollDiffers("a direct hire has neither roll nor bids")
    if [award.attempt for award in awards] != [0]:
        raise MissingAward("a direct hire has one award and no standby")
    return Verified(offer_id=offer_id, roll_id=ZERO_DIGEST, ranked=(), initial=(), awards=awards, silent=())


def _check_rolls_heard(domain: Domain, transcript: Transcript, roll: Signed[Roll], heard: Heard) -> None:
    for other in heard.rolls:
        if other.value.offer == roll.value.offer and digest(domain, other.value) != digest(domain, roll.value):
            raise RequesterConflict(
                "the requester signed another roll for this offer",
                TwoRolls(offer=transcript.offer, first=roll, second=other),
            )


def _check_bids(domain: Domain, offer_id: Digest, roll_id: Digest, transcript: Transcript) -> list[Candidate]:
    leaves = {leaf.bidder: leaf for leaf in transcript.leaves}
    candidates: dict[Address, Candidate] = {}
    for signed in transcript.bids:
        bidder = signed.value.bidder
        leaf = leaves.get(bidder)
        if leaf is None:
            raise BidNotInRoll(f"{format_address(bidder)} bid without standing in the roll")
        if bidder in candidates:
            raise TwoBidsOfOne(f"two bids of {format_address(bidder)}")
        try:
            candidates[bidder] = check_bid(domain, offer_id, transcript.offer.value, roll_id, leaf, signed)
        except BidError as error:
            raise UncountableBid(f"the bid of {format_address(bidder)} must not count: {error}") from error
    return list(candidates.values())


def _check_omissions(domain: Domain, roll_id: Digest, transcript: Transcript, heard: Heard) -> None:
    """Compare with what this peer heard in time (A6)."""
    offer = transcript.offer.value
    offer_id = digest(domain, offer)
    leaves = {leaf.bidder: leaf for leaf in transcript.leaves}
    omitted = [
        bidder
        for bidder, commitment in heard.commitments.items()
        if bidder not in leaves and commitment.signed.value.offer == offer_id and commitment.at <= offer.commit_by
    ]
    # Fullness is looked at once, not once a bidder: the transcript's size is its author's choice.
    if omitted and not _is_full(domain, transcript, heard):
        for bidder in omitted:
            if not _is_excused(domain, transcript, heard, bidder):
                raise OmittedCommitment(bidder)
    shown = {signed.value.bidder for signed in transcript.bids}
    until = bids_until(offer)
    for bid in heard.bids:
        bidder = bid.signed.value.bidder
        if bidder in shown or bid.signed.value.offer != offer_id or bid.at > until:
            continue
        if _would_count(domain, offer_id, roll_id, transcript, leaves.get(bidder), bid.signed):
            raise OmittedBid(bidder)


def bids_until(offer: Offer) -> UnixTime:
    """Return the last second at which a bid counts: in the open format bids come while others commit (A4)."""
    return offer.commit_by if offer.format == AuctionFormat.OPEN else offer.reveal_by


def _would_count(
    domain: Domain, offer_id: Digest, roll_id: Digest, transcript: Transcript, leaf: RollLeaf | None, bid: Signed[Bid]
) -> bool:
    """Whether a bid that the transcript leaves out should have been under the award."""
    offer = transcript.offer.value
    if leaf is None:
        # A sealed bidder outside the roll is out (A1); its commitment was looked at before. In the open format the
        # list is of bids, so one that was heard belongs there unless the list is full.
        full = len(transcript.leaves) >= offer.max_bidders and len(transcript.bids) == len(transcript.leaves)
        if offer.format != AuctionFormat.OPEN or full or bid.value.bidder == offer.requester:
            return False
        leaf = RollLeaf(commitment=digest(domain, bid.value), bidder=bid.value.bidder, reputation=0)
    try:
        check_bid(domain, offer_id, offer, roll_id, leaf, bid)
    except (RuleBroken, BadSignature):
        return False
    return True


def _is_excused(domain: Domain, transcript: Transcript, heard: Heard, bidder: Address) -> bool:
    conflicts: Iterable[Conflict] = (*transcript.excuses, *heard.conflicts)
    return any(is_proved_by(domain, conflict, bidder) for conflict in conflicts)


def _is_full(domain: Domain, transcript: Transcript, heard: Heard) -> bool:
    """Whether the roll is full, and of bidders that really committed: a requester could pad it with inventions."""
    if len(transcript.leaves) < transcript.offer.value.max_bidders:
        return False
    committed = {bidder: commitment.signed for bidder, commitment in heard.commitments.items()}
    committed |= {signed.value.bidder: signed for signed in transcript.commitments}
    for leaf in transcript.leaves:
        signed = committed.get(leaf.bidder)
        if signed is None or digest(domain, signed.value) != leaf.commitment:
            return False
        verify_signer(domain, signed, leaf.bidder)
    return True


def _replay(offer: Offer, ranked: Sequence[Candidate], awards: Sequence[Award]) -> tuple[Placement, ...]:
    """Decide the auction again, attempt by attempt, and compare each award with it."""
    initial = place(offer, ranked)
    serving: dict[int, Award] = {}
    failed: list[Address] = []
    for award in awards:
        if award.attempt == 0:
            if award.slot >= len(initial):
                raise WrongWinner(f"slot {award.slot} was awarded, but only {len(initial)} bids count")
            _compare(offer, award, initial[award.slot])
        else:
            before = _failed_before(award, serving, failed)
            failed.append(before.provider)
            others = [one.provider for slot, one in serving.items() if slot != award.slot]
            try:
                expected = place_standby(offer, ranked, failed=failed, serving=others)
            except NoCandidates as error:
                raise WrongWinner("a standby was awarded, but every bidder had failed or serves") from error
            _compare(offer, award, expected)
        serving[award.slot] = award
    return initial


def _failed_before(award: Award, serving: Mapping[int, Award], failed: Sequence[Address]) -> Award:
    if award.attempt != len(failed) + 1 or award.slot not in serving:
        raise MissingAward(f"attempt {award.attempt} for slot {award.slot} follows an award that is not shown")
    before = serving[award.slot]
    if award.first_part < before.first_part or award.start_by < before.start_by:
        raise RepeatedPart(f"attempt {award.attempt} starts before the attempt that it follows")
    return before


def _compare(offer: Offer, award: Award, expected: Placement) -> None:
    winner = expected.candidate.bid
    if award.provider != winner.bidder:
        raise WrongWinner(
            f"slot {award.slot}, attempt {award.attempt} went to {format_address(award.provider)};"
            f" {format_address(winner.bidder)} won it"
        )
    price = remaining_price(offer, expected.price, award.first_part)
    if award.price != price:
        raise WrongPrice(f"the award pays {award.price}, the auction gives {price}")
    eta = award.start_by + winner.eta
    if award.deliver_by != eta:
        raise WrongEtaAwarded(f"the award is due at {award.deliver_by}, the winner promised {eta}")


def latest_awards(awards: Iterable[Award]) -> tuple[Award, ...]:
    """Return the award that stands for each slot: the latest attempt."""
    latest: dict[int, Award] = {}
    for award in sorted(awards, key=lambda one: one.attempt):
        latest[award.slot] = award
    return tuple(latest[slot] for slot in sorted(latest))
